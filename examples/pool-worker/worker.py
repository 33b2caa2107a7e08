"""A worker in Python for a pool, with nothing but stubs from the .proto files and the handshake of examples/polyglot/python: it
serves callers in any language.

    worker.py ADDRESS AUTHKEY_FILE POOL

ADDRESS is that of a manager, unix:PATH or http://HOST:PORT. The worker says `ready` once it has joined, and ends when the pool is
closed and all is done.
"""

import base64
import hmac
import os
import pathlib
import socket
import sys
import traceback

import grpc

from handshake import prove  # that of examples/polyglot/python
from holdfast.v1 import (
    auth_pb2, auth_pb2_grpc, datum_pb2, manager_pb2, manager_pb2_grpc, options_pb2, pool_pb2, pool_pb2_grpc,
)

PATIENCE = 30
POOL = pool_pb2.DESCRIPTOR.services_by_name["PoolService"].GetOptions().Extensions[options_pb2.kind]


def word_count(text):
    """How often each word is there."""
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def divide(a, b):
    return a / b


def whoami():
    return f"Python {sys.version_info.major}, process {os.getpid()}"


FUNCTIONS = {function.__name__: function for function in (word_count, divide, whoami)}


def from_datum(datum):
    """What a datum is in Python."""
    kind = datum.WhichOneof("kind")
    if kind == "null":
        return None
    if kind in ("list", "tuple", "set"):
        return {"list": list, "tuple": tuple, "set": set}[kind](map(from_datum, getattr(datum, kind).elements))
    if kind == "map":
        return {from_datum(entry.key): from_datum(entry.value) for entry in datum.map.entries}
    if kind in ("boolean", "integer", "float", "text", "bytes"):
        return getattr(datum, kind)
    if kind == "big_integer":
        return int.from_bytes(datum.big_integer, "big", signed=True)
    raise TypeError(f"this worker takes no {kind}")


def to_datum(value):
    """A value of Python as a datum."""
    sequence = lambda values: datum_pb2.Sequence(elements=map(to_datum, values))
    match value:
        case None:
            return datum_pb2.Datum(null=datum_pb2.NULL)
        case bool():
            return datum_pb2.Datum(boolean=value)
        case int() if -(2**63) <= value < 2**63:
            return datum_pb2.Datum(integer=value)
        case int():
            return datum_pb2.Datum(big_integer=value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True))
        case float():
            return datum_pb2.Datum(float=value)
        case str():
            return datum_pb2.Datum(text=value)
        case bytes():
            return datum_pb2.Datum(bytes=value)
        case list():
            return datum_pb2.Datum(list=sequence(value))
        case tuple():
            return datum_pb2.Datum(tuple=sequence(value))
        case set():
            return datum_pb2.Datum(set=sequence(value))
        case dict():
            entries = [datum_pb2.Entry(key=to_datum(key), value=to_datum(of)) for key, of in value.items()]
            return datum_pb2.Datum(map=datum_pb2.Map(entries=entries))
    raise TypeError(f"a result of type {type(value).__name__} is no data")


def call(function, arguments):
    """The outcome of one call."""
    try:
        return pool_pb2.PoolOutcome(returned=to_datum(function(*arguments)))
    except Exception as error:
        raised = pool_pb2.PoolRaised(type=type(error).__name__, message=str(error), trace=traceback.format_exc())
        return pool_pb2.PoolOutcome(raised=raised)


def run(task):
    """The outcome of a task: of one call, or of several."""
    function = list(FUNCTIONS.values())[task.function]
    encoded = task.arguments.HasField("encoded")
    datum = datum_pb2.Datum.FromString(task.arguments.encoded) if encoded else task.arguments.datum
    arguments = from_datum(datum)
    if task.shape == pool_pb2.POOL_SHAPE_CALL:
        return call(function, arguments)
    several = [(one,) for one in arguments] if task.shape == pool_pb2.POOL_SHAPE_MAP else arguments
    outcomes = [call(function, one) for one in several]
    if any(outcome.HasField("raised") for outcome in outcomes):
        return pool_pb2.PoolOutcome(outcomes=outcomes)
    results = datum_pb2.Sequence(elements=[outcome.returned for outcome in outcomes])
    return pool_pb2.PoolOutcome(returned=datum_pb2.Datum(list=results))


def authenticate(channel, authkey):
    """The token that every call comes with."""
    auth = auth_pb2_grpc.AuthServiceStub(channel)
    client_first = "n,,n=manager,r=" + base64.b64encode(os.urandom(18)).decode()
    begun = auth.Begin(auth_pb2.BeginRequest(client_first=client_first), timeout=PATIENCE)
    final, expected = prove(authkey, client_first, begun.server_first)
    finished = auth.Finish(auth_pb2.FinishRequest(client_final=final), timeout=PATIENCE)
    if not hmac.compare_digest(finished.server_final, expected):
        sys.exit("the manager does not hold the authkey")
    return finished.token


def main(address, authkey_file, name):
    # Over a Unix socket this library would send the path of the socket as authority, which is not a valid one.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(address.removeprefix("http://"), options) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE)
        token = authenticate(channel, pathlib.Path(authkey_file).read_text().strip())
        identity = [("holdfast-token-bin", token)]
        manager = manager_pb2_grpc.ManagerServiceStub(channel)
        opened = manager.Open(manager_pb2.OpenRequest(name=name, kind=POOL), timeout=PATIENCE, metadata=identity)
        metadata = [*identity, ("holdfast-handle", str(opened.handle))]
        pool = pool_pb2_grpc.PoolServiceStub(channel)
        join = pool_pb2.PoolJoinRequest(
            functions=list(FUNCTIONS), name="worker.py", pid=os.getpid(), host=socket.gethostname())
        worker = pool.Join(join, timeout=PATIENCE, metadata=metadata).worker
        print("ready", flush=True)
        done = []
        while True:
            taken = pool.Take(pool_pb2.PoolTakeRequest(worker=worker, done=done), metadata=metadata)
            if taken.shut_down and not taken.tasks:
                return
            done = [pool_pb2.PoolDone(task=task.task, outcome=run(task)) for task in taken.tasks]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
