"""What a stock gRPC client can do with a manager of Holdfast. Run by ./run, with the path of the program `holdfast`."""

import base64
import hashlib
import hmac
import os
import pathlib
import queue
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

import grpc
from google.protobuf import descriptor_pool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from holdfast.v1 import (
    auth_pb2, auth_pb2_grpc, datum_pb2, dict_pb2, dict_pb2_grpc, manager_pb2, manager_pb2_grpc, options_pb2, refusal_pb2,
    session_pb2, session_pb2_grpc, value_pb2, value_pb2_grpc,
)

PATIENCE = 30
ROOT = pathlib.Path(__file__).parents[2]
DICT = dict_pb2.DESCRIPTOR.services_by_name["DictService"].GetOptions().Extensions[options_pb2.kind]
VALUE = value_pb2.DESCRIPTOR.services_by_name["ValueService"].GetOptions().Extensions[options_pb2.kind]


def scram(authkey, client_first_bare, server_first):
    """As in docs/protocol.md."""
    nonce, salt, rounds = (part[2:] for part in server_first.split(","))
    mac = lambda key, text: hmac.digest(key, text.encode(), "sha256")
    text = lambda data: base64.b64encode(data).decode()
    salted = hashlib.pbkdf2_hmac("sha256", authkey.encode(), base64.b64decode(salt), int(rounds))
    client_key, server_key = mac(salted, "Client Key"), mac(salted, "Server Key")
    unproven = f"c=biws,r={nonce}"
    message = f"{client_first_bare},{server_first},{unproven}"
    signature = mac(hashlib.sha256(client_key).digest(), message)
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    return f"{unproven},p={text(proof)}", f"v={text(mac(server_key, message))}"


class Manager:
    """A manager process of the tests' own."""

    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory(prefix="holdfast-stock-")
        folder = pathlib.Path(self.folder.name)
        key = folder / "authkey"
        self.process = subprocess.Popen(
            [program, "serve", "--print-address", "--authkey-file", key, "--listen", "http://127.0.0.1:0",
             "--listen", f"unix:{folder}/manager.sock", "--listen", "https://127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True)
        self.addresses = [self.process.stdout.readline().strip() for _ in range(3)]
        assert all(self.addresses), "the manager did not start"
        self.authkey = key.read_text().strip()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.folder.cleanup()
        return status

    def connect(self, address=0, authenticate=True):
        return Client(self, self.addresses[address], authenticate)


class Client:
    """One channel, which is one connection: the pool of subchannels is the channel's own."""

    def __init__(self, manager, address, authenticate):
        # Over a Unix socket this library would send the path of the socket as authority, which is not a valid one.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "localhost")]
        self.channel = grpc.insecure_channel(address.removeprefix("http://"), options)
        grpc.channel_ready_future(self.channel).result(PATIENCE)
        self.token = None
        self.auth = auth_pb2_grpc.AuthServiceStub(self.channel)
        self.manager = manager_pb2_grpc.ManagerServiceStub(self.channel)
        self.dict = dict_pb2_grpc.DictServiceStub(self.channel)
        self.value = value_pb2_grpc.ValueServiceStub(self.channel)
        if authenticate:
            self.authenticate(manager.authkey)

    def authenticate(self, authkey):
        bare = "n=manager,r=" + base64.b64encode(os.urandom(18)).decode()
        begun = self.auth.Begin(auth_pb2.BeginRequest(client_first="n,," + bare), timeout=PATIENCE)
        final, expected = scram(authkey, bare, begun.server_first)
        finished = self.auth.Finish(auth_pb2.FinishRequest(client_final=final), timeout=PATIENCE)
        assert hmac.compare_digest(finished.server_final, expected), "the manager does not hold the authkey"
        self.token = finished.token

    def metadata(self, *more):
        return [*([("holdfast-token-bin", self.token)] if self.token else []), *more]

    def call(self, method, request, *metadata, timeout=PATIENCE):
        return method(request, timeout=timeout, metadata=self.metadata(*metadata))

    def call_with(self, method, request, *metadata):
        """The response, and the trailers by name."""
        response, call = method.with_call(request, timeout=PATIENCE, metadata=self.metadata(*metadata))
        return response, dict(call.trailing_metadata())

    def open(self, name, kind, **more):
        return self.call(self.manager.Open, manager_pb2.OpenRequest(name=name, kind=kind, **more)).handle

    def close(self):
        self.channel.close()


def named(name):
    return ("holdfast-object-bin", name.encode())


def handle(number):
    return ("holdfast-handle", str(number))


def integer(number):
    return datum_pb2.Datum(integer=number)


def text(words):
    return datum_pb2.Datum(text=words)


class StockClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Manager(PROGRAM)

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0, "the manager was to end well, with every client answered"

    def connect(self, *arguments, **more):
        client = self.server.connect(*arguments, **more)
        self.addCleanup(client.close)
        return client

    def refused(self, code, reason, call, *arguments, **more):
        """The call is refused with this code and reason, told in both ways. Returns its error."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, **more)
        error = caught.exception
        self.assertEqual(error.code(), code, error)
        status = rpc_status.from_call(error)
        self.assertEqual(status.code, code.value[0])
        self.assertEqual(status.message, error.details())
        info, refusal = error_details_pb2.ErrorInfo(), refusal_pb2.Refusal()
        self.assertTrue(status.details[0].Unpack(info))
        self.assertTrue(status.details[1].Unpack(refusal))
        self.assertEqual((info.reason, info.domain), (reason, "holdfast.v1"))
        self.assertEqual(refusal_pb2.Reason.Name(refusal.reason), reason)
        self.assertEqual(info.metadata["number"], str(refusal.reason))
        self.assertEqual(refusal.message, error.details())
        self.assertTrue(error.details())
        return error

    def test_dict_by_name_and_by_handle(self):
        for address in range(2):
            client = self.connect(address)
            name = f"dict {address}: 100 % süß"
            number = client.open(name, DICT)
            percent = ("holdfast-object", f"dict {address}: 100 %25 s%C3%BC%C3%9F")
            total = 0
            for way in [handle(number), named(name), percent]:
                add = dict_pb2.DictAddRequest(key=text("hits"), delta=integer(2))
                total += 2
                self.assertEqual(client.call(client.dict.Add, add, way).value.integer, total)
                get = dict_pb2.DictGetRequest(key=text("hits"))
                self.assertEqual(client.call(client.dict.Get, get, way).value.integer, total)
            _, trailers = client.call_with(
                client.dict.Set, dict_pb2.DictSetRequest(key=integer(1), value=text("x" * 300_000)), handle(number))
            got = client.call(client.dict.Get, dict_pb2.DictGetRequest(key=integer(1)), named(name))
            self.assertEqual(got.value.text, "x" * 300_000)
            self.assertEqual(str(got.version), trailers["holdfast-index"])

    def test_value_and_objects_without_a_name(self):
        client = self.connect()
        spec = value_pb2.ValueSpec(initial=integer(40)).SerializeToString()
        made = client.call(client.manager.Create, manager_pb2.CreateRequest(kind=VALUE, spec=spec))
        add = value_pb2.ValueAddRequest(delta=integer(2))
        self.assertEqual(client.call(client.value.Add, add, handle(made.handle)).value.integer, 42)
        share = manager_pb2.ShareRequest(handle=made.handle, uses=1, lifetime_ms=60_000)
        token = client.call(client.manager.Share, share).token
        other = self.connect()
        taken = other.call(other.manager.TakeUp, manager_pb2.TakeUpRequest(token=token, kind=VALUE))
        got = other.call(other.value.Get, value_pb2.ValueGetRequest(), handle(taken.handle))
        self.assertEqual(got.value.integer, 42)
        other.call(other.manager.Close, manager_pb2.CloseRequest(handle=taken.handle))
        self.refused(grpc.StatusCode.NOT_FOUND, "REASON_UNKNOWN_HANDLE",
                     other.call, other.value.Get, value_pb2.ValueGetRequest(), handle(taken.handle))

    def test_refusals(self):
        client = self.connect()
        number = client.open("refusals", DICT)
        codes = grpc.StatusCode
        get, add = dict_pb2.DictGetRequest(key=integer(1)), dict_pb2.DictAddRequest(key=integer(1), delta=integer(1))
        client.call(client.dict.Set, dict_pb2.DictSetRequest(key=integer(1), value=text("no number")), handle(number))
        nan = dict_pb2.DictSetRequest(key=datum_pb2.Datum(float=float("nan")), value=integer(1))
        huge = dict_pb2.DictSetRequest(key=integer(1), value=text("x" * (4 << 20)))
        opening = lambda **more: manager_pb2.OpenRequest(**more)
        refused = [
            (codes.INVALID_ARGUMENT, "REASON_MALFORMED", client.dict.Get, get, []),
            (codes.INVALID_ARGUMENT, "REASON_MALFORMED", client.dict.Get, get, [handle(number), named("refusals")]),
            (codes.INVALID_ARGUMENT, "REASON_MALFORMED", client.dict.Get, get, [handle("one")]),
            (codes.INVALID_ARGUMENT, "REASON_MALFORMED", client.dict.Get, dict_pb2.DictGetRequest(), [handle(number)]),
            (codes.INVALID_ARGUMENT, "REASON_NAN_KEY", client.dict.Set, nan, [handle(number)]),
            (codes.INVALID_ARGUMENT, "REASON_VALUE_TOO_LARGE", client.dict.Set, huge, [handle(number)]),
            (codes.INVALID_ARGUMENT, "REASON_INVALID_NAME", client.dict.Get, get, [named("")]),
            (codes.NOT_FOUND, "REASON_UNKNOWN_OBJECT", client.dict.Get, get, [named("nobody")]),
            (codes.NOT_FOUND, "REASON_UNKNOWN_HANDLE", client.dict.Get, get, [handle(99)]),
            (codes.NOT_FOUND, "REASON_MISSING_KEY", client.dict.Pop, dict_pb2.DictPopRequest(key=integer(7)),
             [handle(number)]),
            (codes.FAILED_PRECONDITION, "REASON_WRONG_TYPE", client.dict.Add, add, [handle(number)]),
            (codes.FAILED_PRECONDITION, "REASON_WRONG_KIND", client.value.Get, value_pb2.ValueGetRequest(),
             [named("refusals")]),
            (codes.FAILED_PRECONDITION, "REASON_WRONG_KIND", client.value.Get, value_pb2.ValueGetRequest(),
             [handle(number)]),
            (codes.ALREADY_EXISTS, "REASON_EXISTS", client.manager.Open, opening(name="refusals", kind=DICT, mode=2), []),
            (codes.UNIMPLEMENTED, "REASON_UNKNOWN_OP", client.manager.Open, opening(name="n", kind=9999), []),
            (codes.INVALID_ARGUMENT, "REASON_MALFORMED", client.manager.Status, manager_pb2.StatusRequest(),
             [handle(number)]),
        ]
        for code, reason, method, request, metadata in refused:
            with self.subTest(reason=reason, metadata=metadata):
                self.refused(code, reason, client.call, method, request, *metadata)
        self.assertEqual(client.call(client.dict.Get, get, handle(number)).value.text, "no number")

    def test_what_does_not_exist_is_unimplemented(self):
        client = self.connect()
        for path in ["/holdfast.v1.DictService/Nothing", "/holdfast.v1.NothingService/Get", "/Get"]:
            method = client.channel.unary_unary(path)
            error = self.refused(grpc.StatusCode.UNIMPLEMENTED, "REASON_UNKNOWN_OP", client.call, method, b"")
            self.assertIn("this manager knows", error.details())

    def test_compression_is_refused(self):
        client = self.connect()
        request = manager_pb2.OpenRequest(name="x" * 400, kind=DICT)
        with self.assertRaises(grpc.RpcError) as caught:
            client.manager.Open(
                request, timeout=PATIENCE, metadata=client.metadata(), compression=grpc.Compression.Gzip)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
        self.assertIn("compress", caught.exception.details())

    def test_without_authentication(self):
        client = self.connect(authenticate=False)
        open_it = manager_pb2.OpenRequest(name="made by a stranger", kind=DICT)
        unauthenticated = grpc.StatusCode.UNAUTHENTICATED, "REASON_UNAUTHENTICATED"
        self.refused(*unauthenticated, client.call, client.manager.Open, open_it)
        # The token of another connection is worth nothing, and neither is one that was made up.
        for token in [self.connect().token, bytes(32), b""]:
            client.token = token
            self.refused(*unauthenticated, client.call, client.manager.Open, open_it)
        honest = self.connect()
        self.refused(grpc.StatusCode.NOT_FOUND, "REASON_UNKNOWN_OBJECT",
                     honest.call, honest.dict.Len, dict_pb2.DictLenRequest(), named("made by a stranger"))

    def test_a_wrong_key_is_refused(self):
        client = self.connect(authenticate=False)
        with self.assertRaises(grpc.RpcError) as caught:
            client.authenticate("A" * 43)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)

    def test_the_session_is_that_of_the_connection(self):
        watcher = self.connect()
        status = lambda: watcher.call(watcher.manager.Status, manager_pb2.StatusRequest())
        before = status()
        client = self.server.connect()
        for _ in range(10):
            made = client.call(client.manager.Create, manager_pb2.CreateRequest(kind=DICT))
        self.assertEqual(status().sessions, before.sessions + 1)
        self.assertEqual(status().objects, before.objects + 10)
        # A handle is of its session alone.
        self.refused(grpc.StatusCode.NOT_FOUND, "REASON_UNKNOWN_HANDLE",
                     watcher.call, watcher.dict.Len, dict_pb2.DictLenRequest(), handle(made.handle))
        client.close()
        # The end of the connection is seen by the manager a little later.
        for _ in range(10_000):
            if status().objects == before.objects:
                break
        self.assertEqual((status().objects, status().sessions), (before.objects, before.sessions))

    def test_calls_beside_a_session_stream_share_its_session(self):
        client = self.connect()
        made = client.call(client.manager.Create, manager_pb2.CreateRequest(kind=DICT))
        frames, replies = queue.Queue(), queue.Queue()
        stub = session_pb2_grpc.SessionServiceStub(client.channel)
        stream = stub.Connect(iter(frames.get, None), metadata=client.metadata())
        threading.Thread(target=lambda: [replies.put(frame) for frame in stream], daemon=True).start()
        frames.put(session_pb2.ClientFrame(hello=session_pb2.Hello(protocol=1, name="stock")))
        self.assertEqual(replies.get(timeout=PATIENCE).WhichOneof("frame"), "welcome")
        request = dict_pb2.DictSetRequest(key=integer(1), value=integer(2)).SerializeToString()
        call = session_pb2.Call(sequence=1, handle=made.handle, op=2, request=request)
        frames.put(session_pb2.ClientFrame(call=call))
        self.assertEqual(replies.get(timeout=PATIENCE).reply.WhichOneof("result"), "response")
        length = client.call(client.dict.Len, dict_pb2.DictLenRequest(), handle(made.handle))
        self.assertEqual(length.len, 1)
        frames.put(session_pb2.ClientFrame(received=1, goodbye=session_pb2.Goodbye()))
        frames.put(None)
        self.assertEqual(stream.code(), grpc.StatusCode.OK)

    def test_many_calls_at_once(self):
        client = self.connect()
        number = client.open("many", DICT)
        add = dict_pb2.DictAddRequest(key=text("sum"), delta=integer(1))
        calls = [client.dict.Add.future(add, timeout=PATIENCE, metadata=client.metadata(handle(number)))
                 for _ in range(2000)]
        self.assertEqual(sorted(call.result().value.integer for call in calls), list(range(1, 2001)))

    def test_the_documentation(self):
        blocks = lambda page: re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        algorithm, _by_hand, fetched, plain, session = blocks("docs/protocol.md")
        address = self.server.addresses[1]
        names = {**globals(), "address": address, "authkey": self.server.authkey}
        exec(algorithm + plain + session, names)
        self.addCleanup(names["channel"].close)
        self.assertEqual(names["sum"].value.integer, 1)
        host, port = self.server.addresses[2].removeprefix("https://").split(":")
        tls = {**globals(), "host": host, "port": int(port), "authkey": self.server.authkey, "header": "p=tls-server-end-point,,"}
        exec(algorithm + fetched + session, tls)
        self.addCleanup(tls["channel"].close)
        self.assertEqual(tls["sum"].value.integer, 2)
        (usage,) = blocks("README.md")
        for module in [datum_pb2, dict_pb2, dict_pb2_grpc, manager_pb2, manager_pb2_grpc]:
            names.update(vars(module))
        printed = []
        exec(usage, {**names, "print": printed.append})
        self.assertEqual(printed, [1])

    def test_health(self):
        stranger = self.connect(authenticate=False)
        health = health_pb2_grpc.HealthStub(stranger.channel)
        check = lambda name: health.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE).status
        for name in ["", "holdfast.v1.DictService", "holdfast.v1.ManagerService", "holdfast.v1.AuthService"]:
            self.assertEqual(check(name), health_pb2.HealthCheckResponse.SERVING, name)
        with self.assertRaises(grpc.RpcError) as caught:
            check("nothing")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_reflection(self):
        stranger = self.connect(authenticate=False)
        database = ProtoReflectionDescriptorDatabase(stranger.channel)
        services = set(database.get_services())
        ours = {"AuthService", "DictService", "ManagerService", "SessionService", "ValueService"}
        self.assertLessEqual({f"holdfast.v1.{name}" for name in ours}, services)
        self.assertIn("grpc.health.v1.Health", services)
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("holdfast.v1.DictService")
        self.assertEqual(service.FindMethodByName("Add").input_type.full_name, "holdfast.v1.DictAddRequest")
        # A call with nothing but what reflection said.
        from google.protobuf import json_format, message_factory
        method = service.FindMethodByName("Add")
        request, response = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
        client = self.connect()
        client.open("reflected", DICT)
        add = client.channel.unary_unary(
            f"/{service.full_name}/{method.name}", request.SerializeToString, response.FromString)
        asked = json_format.ParseDict({"key": {"text": "a"}, "delta": {"integer": 5}}, request())
        answer = json_format.MessageToDict(client.call(add, asked, named("reflected")))
        self.assertEqual(answer, {"value": {"integer": "5"}})

    def test_health_says_when_the_manager_stops(self):
        server = Manager(PROGRAM)
        client = server.connect()
        watch = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
        number = client.open("a session", DICT)
        client.call(client.dict.Len, dict_pb2.DictLenRequest(), handle(number))
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
        self.assertEqual(list(watch), [])
        client.close()
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=2)
