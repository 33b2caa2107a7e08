"""A connection: the handshake on it, and the metadata that each call on it carries."""

import base64
import hmac
import os

import grpc

from handshake import prove
from holdfast.v1 import auth_pb2, auth_pb2_grpc, manager_pb2, manager_pb2_grpc

# For the calls that never wait. Those that do have no deadline here: they wait as long as it takes.
PATIENCE = 600


class Connection:
    """One channel, which is one connection, and so one session: its handles are good here alone."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address.removeprefix("http://"), [
            # Channels to one address share a connection otherwise, and the token is that of a connection.
            ("grpc.use_local_subchannel_pool", 1),
            # Over a Unix socket the authority would be the path of the socket, percent-encoded, which HTTP/2 refuses.
            ("grpc.default_authority", "localhost"),
            # A connection that is made anew would have another session, and no token.
            ("grpc.client_idle_timeout_ms", 2**31 - 1),
            # A proxy that the environment names, for the web, does not lead to a manager.
            ("grpc.enable_http_proxy", 0),
            # The library's own 4 MiB are less than a value may have.
            ("grpc.max_receive_message_length", 64 << 20),
        ])
        self.token: bytes | None = None
        self.calls = 0
        self.manager = manager_pb2_grpc.ManagerServiceStub(self.channel)

    def authenticate(self, authkey: str) -> None:
        """Proves to the manager that we hold the authkey, and has it prove the same."""
        auth = auth_pb2_grpc.AuthServiceStub(self.channel)
        client_first = "n,,n=manager,r=" + base64.b64encode(os.urandom(18)).decode()
        begun = self.call(auth.Begin, auth_pb2.BeginRequest(client_first=client_first), timeout=PATIENCE)
        client_final, server_final = prove(authkey, client_first, begun.server_first)
        finished = self.call(auth.Finish, auth_pb2.FinishRequest(client_final=client_final), timeout=PATIENCE)
        if not hmac.compare_digest(finished.server_final, server_final):
            raise ConnectionError("who answers at this address does not hold the authkey")
        self.token = finished.token

    def open(self, name: str, kind: int, spec=None) -> tuple[str, str]:
        """The object of this name, which is made unless it is there. The spec says how."""
        request = manager_pb2.OpenRequest(name=name, kind=kind, spec=spec.SerializeToString() if spec else b"")
        return ("holdfast-handle", str(self.call(self.manager.Open, request, timeout=PATIENCE).handle))

    def call(self, method, request, thing=None, timeout=None):
        """Makes a call, on the thing that `open` or `named` has given."""
        self.calls += 1
        return method(request, metadata=self.metadata(thing), timeout=timeout)

    def metadata(self, thing=None):
        token = [("holdfast-token-bin", self.token)] if self.token else []
        return token + ([thing] if thing else [])

    def close(self) -> None:
        self.channel.close()


def read_authkey(path: str) -> str:
    """Takes white space off the ends, as the manager does, and refuses a file that others can read."""
    if os.stat(path).st_mode & 0o077:
        raise PermissionError(f"others can read {path}: chmod 600 it")
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def named(name: str) -> tuple[str, bytes]:
    """The object of this name. The manager looks the name up at each call."""
    return ("holdfast-object-bin", name.encode())
