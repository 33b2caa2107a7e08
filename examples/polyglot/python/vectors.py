"""Checks the handshake against what other implementations have computed, and that it refuses what it must."""

import json
import pathlib

from handshake import prove


def check(path: str) -> bool:
    file = json.loads(pathlib.Path(path).read_text())
    if not file["vectors"] or not file["refused"]:
        raise ValueError(f"{path} has no vectors")
    good = True
    for vector in file["vectors"]:
        binding = bytes.fromhex(vector["binding_hex"])
        made = prove(vector["authkey"], vector["client_first"], vector["server_first"], binding)
        if made != (vector["client_final"], vector["server_final"]):
            print(f"{vector['name']}: made {made}")
            good = False
    for challenge in file["refused"]:
        try:
            prove("0123456789abcdef", challenge["client_first"], challenge["server_first"])
        except ValueError:
            continue
        print(f"{challenge['name']}: was answered")
        good = False
    if good:
        print(f"{len(file['vectors'])} vectors hold, {len(file['refused'])} challenges are refused")
    return good
