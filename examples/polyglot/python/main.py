"""A client of Holdfast in Python with nothing but the .proto files: stubs from grpcio-tools."""

import argparse
import os
import sys

import vectors


def login():
    """A connection to the manager that the environment names, with both sides proven."""
    from connection import Connection, read_authkey

    connection = Connection(os.environ["HOLDFAST_ADDRESS"])
    connection.authenticate(read_authkey(os.environ["HOLDFAST_AUTHKEY_FILE"]))
    return connection


def main() -> int:
    parser = argparse.ArgumentParser(prog="client", description=__doc__, epilog="HOLDFAST_ADDRESS and "
                                     "HOLDFAST_AUTHKEY_FILE say where the manager is, and with which key.")
    modes = parser.add_subparsers(dest="mode", required=True)
    work = modes.add_parser("work", help="counts, locks, produces and consumes, and meets the others at a barrier")
    work.add_argument("--language", default="python", help="what the items say that they are from")
    work.add_argument("--parties", type=int, default=1, help="how many programs do this work at once")
    work.add_argument("--adds", type=int, default=10_000)
    work.add_argument("--locks", type=int, default=200)
    work.add_argument("--items", type=int, default=100)
    work.add_argument("--expect", type=lambda text: dict(part.split("=") for part in text.split(",")), default={},
                      help="counter=N,entry=N, where the totals are not those of the parties; N+ is N or more")
    modes.add_parser("errors", help="each kind of bad input, and what comes of it")
    check = modes.add_parser("vectors", help="checks the handshake against docs/handshake-vectors.json")
    check.add_argument("file")
    plan = parser.parse_args()

    if plan.mode == "vectors":
        return 0 if vectors.check(plan.file) else 1
    connection = login()
    try:
        if plan.mode == "errors":
            from errors import show_errors
            show_errors(os.environ["HOLDFAST_ADDRESS"], connection)
            return 0
        from work import Work
        return 0 if Work(connection, plan).run() else 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
