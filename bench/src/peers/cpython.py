"""CPython's side of the comparison: a multiprocessing manager, and clients of it.

    cpython.py serve ADDRESS          the manager; says its address, then serves until killed
    cpython.py get ADDRESS CALLS      `d[k]`, CALLS times
    cpython.py count ADDRESS CALLS    `d[k] = d[k] + 1`, CALLS proxy calls in all, two for each increment
    cpython.py iterate ADDRESS CALLS  `for x in l` over a list of 100,000, CALLS times
    cpython.py create ADDRESS CALLS   `m.dict()`, CALLS times, each dropped at once
    cpython.py lock ADDRESS CALLS     a lock acquired and released, CALLS times
    cpython.py contend ADDRESS CALLS REGISTER
                                      one of many that want the same lock, until it had another holder CALLS times; each
                                      writes into the file REGISTER that it has it
    cpython.py queue ADDRESS CALLS    an item put and taken, CALLS times
    cpython.py produce ADDRESS CALLS  CALLS items put for others
    cpython.py consume ADDRESS CALLS  CALLS items taken
    cpython.py barrier ADDRESS CALLS  one party of a barrier, for CALLS rounds, counted by the one that comes first
    cpython.py pipe ADDRESS CALLS     a number sent through a `Pipe` to a process that sends it back, CALLS times; the
                                      manager has no part in it
    cpython.py pool_map CALLS         `Pool(2).map` of 100,000 calls, until there were CALLS
    cpython.py pool_apply CALLS       `Pool(2).apply`, CALLS times
    cpython.py pool_unordered CALLS   `Pool(2).imap_unordered` of CALLS calls, chunks of one
    cpython.py pool_executor CALLS    `ProcessPoolExecutor(2).submit` and its result, CALLS times
    cpython.py pool_ready CALLS       `Pool(8)` of spawned processes, until each has done something
    cpython.py spawn CALLS            a process started by the method `spawn` and joined, CALLS times
    cpython.py start                  `multiprocessing.Manager()` until the first `d[k]`

An address is the path of a Unix socket, or HOST:PORT. A client says `ready` once connected and warm, waits for a line, works, and prints one line of JSON. Times are of the
machine-wide monotonic clock.
"""

import json
import multiprocessing
import os
import queue as queues
import struct
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing.managers import AcquirerProxy, BarrierProxy, DictProxy, ListProxy, SyncManager
from time import monotonic_ns

AUTHKEY = b"both ends are processes of one benchmark"
PARTIES = 16
ITEM = b"x" * 100


class Shared(SyncManager):
    """A manager with one object of each type that every client finds."""


def parsed(address):
    host, colon, port = address.rpartition(":")
    return (host, int(port)) if colon and "/" not in address else address


def serve(address):
    table = {"counter": 0}
    numbers = list(range(100_000))
    Shared.register("table", callable=lambda: table, proxytype=DictProxy)
    Shared.register("numbers", callable=lambda: numbers, proxytype=ListProxy)
    lock, queue, barrier = threading.Lock(), queues.Queue(), threading.Barrier(PARTIES)
    Shared.register("lock", callable=lambda: lock, proxytype=AcquirerProxy)
    Shared.register("queue", callable=lambda: queue)
    Shared.register("barrier", callable=lambda: barrier, proxytype=BarrierProxy)
    server = Shared(address=parsed(address), authkey=AUTHKEY).get_server()
    bound = server.address
    print(bound if isinstance(bound, str) else "%s:%d" % bound, flush=True)
    server.serve_forever()


def connect(address):
    multiprocessing.current_process().authkey = AUTHKEY
    Shared.register("table", proxytype=DictProxy)
    Shared.register("numbers", proxytype=ListProxy)
    Shared.register("lock", proxytype=AcquirerProxy)
    Shared.register("queue")
    Shared.register("barrier", proxytype=BarrierProxy)
    manager = Shared(address=parsed(address), authkey=AUTHKEY)
    manager.connect()
    return manager


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


def one_at_a_time(calls, call):
    for _ in range(max(1, calls // 10)):
        call()
    ready()
    singles = []
    start = last = monotonic_ns()
    for _ in range(calls):
        call()
        now = monotonic_ns()
        singles.append(now - last)
        last = now
    report(calls, start, monotonic_ns(), singles)


def get(address, calls):
    table = connect(address).table()
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


def count(address, calls):
    table = connect(address).table()
    increments = max(1, calls // 2)
    for _ in range(max(1, increments // 10)):
        table["counter"] = table["counter"] + 1
    ready()
    start = monotonic_ns()
    for _ in range(increments):
        table["counter"] = table["counter"] + 1
    report(2 * increments, start, monotonic_ns())


def iterate(address, calls):
    numbers = connect(address).numbers()
    for _ in islice(numbers, 1000):
        pass
    ready()
    read = 0
    start = monotonic_ns()
    for _ in range(calls):
        for _ in numbers:
            read += 1
    end = monotonic_ns()
    if read != calls * len(numbers):
        sys.exit("the list is not what it was")
    report(calls, start, end)


def create(address, calls):
    manager = connect(address)
    for _ in range(max(1, calls // 10)):
        manager.dict()
    ready()
    start = monotonic_ns()
    for _ in range(calls):
        manager.dict()
    report(calls, start, monotonic_ns())


def lock(address, calls):
    lock = connect(address).lock()

    def acquire_and_release():
        lock.acquire()
        lock.release()

    one_at_a_time(calls, acquire_and_release)


def contend(address, calls, register):
    lock = connect(address).lock()
    record = struct.Struct("<QQ")  # the holder before, and how many hand-offs there were
    me = os.getpid()
    register = os.open(register, os.O_RDWR)
    for _ in range(max(1, calls // PARTIES // 10)):
        with lock:
            pass
    ready()
    mine = 0
    start = monotonic_ns()
    while True:
        with lock:
            last, count = record.unpack(os.pread(register, record.size, 0))
            if count >= calls:
                break
            if last != me:
                os.pwrite(register, record.pack(me, count + 1), 0)
                mine += 1
    report(mine, start, monotonic_ns())


def queue(address, calls):
    queue = connect(address).queue()

    def put_and_get():
        queue.put(1)
        queue.get()

    one_at_a_time(calls, put_and_get)


def produce(address, calls):
    queue = connect(address).queue()
    ready()
    start = monotonic_ns()
    for _ in range(calls):
        queue.put(ITEM)
    report(0, start, monotonic_ns())


def consume(address, calls):
    queue = connect(address).queue()
    ready()
    start = monotonic_ns()
    for _ in range(calls):
        if queue.get() != ITEM:
            sys.exit("an item is not what it was")
    report(calls, start, monotonic_ns())


def barrier(address, calls):
    barrier = connect(address).barrier()
    for _ in range(max(1, calls // 10)):
        barrier.wait()
    ready()
    rounds = 0
    start = monotonic_ns()
    for _ in range(calls):
        if barrier.wait() == 0:
            rounds += 1
    report(rounds, start, monotonic_ns())


def echo(pipe):
    try:
        while True:
            pipe.send(pipe.recv())
    except EOFError:
        pass


def pipe(address, calls):
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(target=echo_without, args=(ours, theirs))
    other.start()
    theirs.close()

    def call():
        ours.send(1)
        ours.recv()

    one_at_a_time(calls, call)
    ours.close()
    other.join()


def echo_without(ours, theirs):
    # It has a copy of the other end, without closing which there is no end.
    ours.close()
    echo(theirs)


def square(x):
    return x * x


def pool_map(calls):
    with multiprocessing.Pool(2) as pool:
        pool.map(square, range(1000))
        ready()
        maps = max(1, calls // 100_000)
        start = monotonic_ns()
        for _ in range(maps):
            if pool.map(square, range(100_000))[-1] != 99_999**2:
                sys.exit("the squares are none")
        report(maps * 100_000, start, monotonic_ns())


def pool_apply(calls):
    with multiprocessing.Pool(2) as pool:
        one_at_a_time(calls, lambda: pool.apply(square, (7,)))


def pool_unordered(calls):
    with multiprocessing.Pool(2) as pool:
        for _ in pool.imap_unordered(square, range(1000)):
            pass
        ready()
        start = monotonic_ns()
        for _ in pool.imap_unordered(square, range(calls)):
            pass
        report(calls, start, monotonic_ns())


def pool_executor(calls):
    with ProcessPoolExecutor(2) as executor:
        one_at_a_time(calls, lambda: executor.submit(square, 7).result())


def pool_ready(calls):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(9)
    ready()
    start = monotonic_ns()
    pool = context.Pool(8, barrier.wait)
    barrier.wait()
    report(calls, start, monotonic_ns())
    pool.terminate()


def start():
    ready()
    begun = monotonic_ns()
    with multiprocessing.Manager() as manager:
        table = manager.dict(counter=0)
        table["counter"]
        replied = monotonic_ns()
    report(1, begun, replied)


def nothing():
    pass


def spawn(calls):
    context = multiprocessing.get_context("spawn")

    def call():
        process = context.Process(target=nothing)
        process.start()
        process.join()

    one_at_a_time(calls, call)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "serve":
        serve(*rest)
    elif what == "start":
        start()
    elif what.startswith("pool_"):
        works = [pool_map, pool_apply, pool_unordered, pool_executor, pool_ready]
        {work.__name__: work for work in works}[what](int(rest[0]))
    elif what == "spawn":
        spawn(int(rest[0]))
    else:
        address, calls, *more = rest
        works = [get, count, iterate, create, lock, contend, queue, produce, consume, barrier, pipe]
        {work.__name__: work for work in works}[what](address, int(calls), *more)
