"""CPython's side of the comparison: a multiprocessing manager on a Unix socket, and clients of it.

    cpython.py serve SOCKET          the manager; says `ready`, then serves until killed
    cpython.py get SOCKET CALLS      `d[k]`, CALLS times
    cpython.py count SOCKET CALLS    `d[k] = d[k] + 1`, CALLS proxy calls in all, two for each increment
    cpython.py start                 `multiprocessing.Manager()` until the first `d[k]`

A client says `ready` once connected and warm, waits for a line, works, and prints one line of JSON. Times are of the
machine-wide monotonic clock.
"""

import json
import multiprocessing
import sys
from multiprocessing.managers import DictProxy, SyncManager
from time import monotonic_ns

AUTHKEY = b"both ends are processes of one benchmark"


class Shared(SyncManager):
    """A manager with one dict that every client finds."""


def serve(path):
    table = {"counter": 0}
    Shared.register("table", callable=lambda: table, proxytype=DictProxy)
    server = Shared(address=path, authkey=AUTHKEY).get_server()
    print("ready", flush=True)
    server.serve_forever()


def connect(path):
    multiprocessing.current_process().authkey = AUTHKEY
    Shared.register("table", proxytype=DictProxy)
    manager = Shared(address=path, authkey=AUTHKEY)
    manager.connect()
    return manager.table()


def ready():
    print("ready", flush=True)
    if sys.stdin.readline().strip() != "go":
        sys.exit("the harness is gone")


def report(calls, start, end, singles=()):
    lap = {"calls": calls, "start_ns": start, "end_ns": end}
    if singles:
        singles = sorted(singles)
        lap["p50_us"] = singles[len(singles) // 2] / 1000
        lap["p99_us"] = singles[len(singles) * 99 // 100] / 1000
    print(json.dumps(lap), flush=True)


def get(path, calls):
    table = connect(path)
    for _ in range(max(1, calls // 10)):
        table["counter"]
    ready()
    singles = []
    start = last = monotonic_ns()
    for _ in range(calls):
        table["counter"]
        now = monotonic_ns()
        singles.append(now - last)
        last = now
    report(calls, start, monotonic_ns(), singles)


def count(path, calls):
    table = connect(path)
    increments = max(1, calls // 2)
    for _ in range(max(1, increments // 10)):
        table["counter"] = table["counter"] + 1
    ready()
    start = monotonic_ns()
    for _ in range(increments):
        table["counter"] = table["counter"] + 1
    report(2 * increments, start, monotonic_ns())


def start():
    ready()
    begun = monotonic_ns()
    with multiprocessing.Manager() as manager:
        table = manager.dict(counter=0)
        table["counter"]
        replied = monotonic_ns()
    report(1, begun, replied)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "serve":
        serve(*rest)
    elif what == "start":
        start()
    else:
        path, calls = rest
        {"get": get, "count": count}[what](path, int(calls))
