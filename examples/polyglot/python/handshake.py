"""The handshake: SCRAM-SHA-256 (RFC 5802, RFC 7677) as docs/protocol.md says in section 2."""

import base64
import hashlib
import hmac


def prove(authkey: str, client_first: str, server_first: str, binding: bytes = b"") -> tuple[str, str]:
    """Answers the manager's challenge.

    Returns client_final, which shows the manager that we hold the authkey, and the server_final with which it has to
    show the same. The binding is empty in plain text.
    """
    header, bare = client_first.split(",,")
    own_nonce = bare.split(",r=")[1]
    names, (nonce, salt, iterations) = zip(*(part.split("=", 1) for part in server_first.split(",")))
    salt, iterations = base64.b64decode(salt, validate=True), int(iterations)
    # What is weaker comes from nobody who means well.
    if (names != ("r", "s", "i") or not nonce.startswith(own_nonce) or len(nonce) < len(own_nonce) + 18
            or len(salt) < 16 or not 4096 <= iterations <= 1_000_000):
        raise ValueError("the manager's challenge is none that a client may answer")

    def mac(key: bytes, text: str) -> bytes:
        return hmac.digest(key, text.encode(), "sha256")

    def encode(data: bytes) -> str:
        return base64.b64encode(data).decode()

    salted = hashlib.pbkdf2_hmac("sha256", authkey.encode(), salt, iterations)
    client_key, server_key = mac(salted, "Client Key"), mac(salted, "Server Key")
    unproven = f"c={encode(f'{header},,'.encode() + binding)},r={nonce}"
    transcript = f"{bare},{server_first},{unproven}"
    signature = mac(hashlib.sha256(client_key).digest(), transcript)
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    return f"{unproven},p={encode(proof)}", f"v={encode(mac(server_key, transcript))}"
