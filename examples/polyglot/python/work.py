"""The work that six programs in six languages do at the same time, on the same objects."""

import collections
import json
import time

import grpc

from connection import PATIENCE, Connection, named
from errors import reason
from holdfast.v1 import (
    barrier_pb2, barrier_pb2_grpc, datum_pb2, dict_pb2, dict_pb2_grpc, lock_pb2, lock_pb2_grpc, options_pb2, queue_pb2,
    queue_pb2_grpc, value_pb2, value_pb2_grpc,
)


def kind(module) -> int:
    """The number of a kind stands in its .proto file, as an option of its service."""
    (service,) = module.DESCRIPTOR.services_by_name.values()
    return service.GetOptions().Extensions[options_pb2.kind]


def integer(number: int) -> datum_pb2.Datum:
    return datum_pb2.Datum(integer=number)


def text(words: str) -> datum_pb2.Datum:
    return datum_pb2.Datum(text=words)


def mapping(**entries: datum_pb2.Datum) -> datum_pb2.Datum:
    pairs = [datum_pb2.Entry(key=text(key), value=value) for key, value in entries.items()]
    return datum_pb2.Datum(map=datum_pb2.Map(entries=pairs))


def field(datum: datum_pb2.Datum, name: str) -> datum_pb2.Datum:
    return next(entry.value for entry in datum.map.entries if entry.key.text == name)


class Progress:
    """Prints how far a step is, twice a second and at its end."""

    def __init__(self, name: str, of: int) -> None:
        self.name, self.done, self.of, self.printed = name, 0, of, time.monotonic()

    def step(self) -> None:
        self.done += 1
        if self.done == self.of or time.monotonic() - self.printed >= 0.5:
            self.printed = time.monotonic()
            print(json.dumps({"progress": self.name, "done": self.done}), flush=True)


class Work:
    def __init__(self, connection: Connection, plan) -> None:
        self.connection, self.call, self.plan = connection, connection.call, plan
        self.locks = lock_pb2_grpc.LockServiceStub(connection.channel)
        self.dicts = dict_pb2_grpc.DictServiceStub(connection.channel)
        self.queues = queue_pb2_grpc.QueueServiceStub(connection.channel)
        self.values = value_pb2_grpc.ValueServiceStub(connection.channel)
        self.barriers = barrier_pb2_grpc.BarrierServiceStub(connection.channel)
        self.consumed_from: collections.Counter[str] = collections.Counter()
        self.abandoned = self.redelivered = 0

    def run(self) -> bool:
        begin = time.monotonic()
        self.add_to_counter()
        self.change_entry_under_lock()
        self.produce_and_consume()
        self.wait_for_the_others()
        counter, entry, size = self.totals()
        plan = self.plan
        ok = (holds(plan.expect.get("counter", str(plan.parties * plan.adds)), counter)
              and holds(plan.expect.get("entry", str(plan.parties * plan.locks)), entry)
              and size.size == size.unfinished == 0)
        print(json.dumps({
            "language": plan.language, "door": "unary", "calls": self.connection.calls,
            "seconds": time.monotonic() - begin, "counter": counter, "entry": entry, "produced": plan.items,
            "consumed_from": self.consumed_from, "redelivered": self.redelivered, "abandoned": self.abandoned, "ok": ok,
        }), flush=True)
        return ok

    def add_to_counter(self) -> None:
        """Needs no lock: each add is one call, and each call is atomic."""
        spec = value_pb2.ValueSpec(initial=integer(0))
        counter = self.connection.open("polyglot/counter", kind(value_pb2), spec)
        progress = Progress("adds", self.plan.adds)
        for _ in range(self.plan.adds):
            self.call(self.values.Add, value_pb2.ValueAddRequest(delta=integer(1)), counter, PATIENCE)
            progress.step()

    def change_entry_under_lock(self) -> None:
        """Reads an entry and writes back one more: two calls, which only the lock makes one."""
        lock = self.connection.open("polyglot/lock", kind(lock_pb2))
        shared = self.connection.open("polyglot/dict", kind(dict_pb2))
        progress = Progress("locks", self.plan.locks)
        for _ in range(self.plan.locks):
            # Without a patience this waits as long as it takes, and the lock is ours then.
            grant = self.call(self.locks.Acquire, lock_pb2.LockAcquireRequest(), lock)
            # Whoever died with the lock has written the entry or has not: it is whole in both cases.
            self.abandoned += grant.HasField("abandoned")
            got = self.call(self.dicts.Get, dict_pb2.DictGetRequest(key=text("total")), shared, PATIENCE)
            # No entry yet is an integer of 0 to the stubs, as every field that is not set.
            more = dict_pb2.DictSetRequest(key=text("total"), value=integer(got.value.integer + 1))
            self.call(self.dicts.Set, more, shared, PATIENCE)
            self.call(self.locks.Release, lock_pb2.LockReleaseRequest(fence=grant.fence), lock, PATIENCE)
            progress.step()

    def open_queue(self):
        # What is taken comes back if its consumer dies before it says that it is done.
        spec = queue_pb2.QueueSpec(delivery=queue_pb2.QUEUE_DELIVERY_ON_DONE)
        return self.connection.open("polyglot/queue", kind(queue_pb2), spec)

    def produce_and_consume(self) -> None:
        queue = self.open_queue()
        progress = Progress("produced", self.plan.items)
        for number in range(self.plan.items):
            item = mapping(**{"from": text(self.plan.language), "number": integer(number)})
            self.call(self.queues.Put, queue_pb2.QueuePutRequest(items=[item]), queue)
            progress.step()
        progress = Progress("consumed", self.plan.items)
        for _ in range(self.plan.items):
            self.consume(queue, queue_pb2.QueueGetRequest())
            progress.step()

    def consume(self, queue, request: queue_pb2.QueueGetRequest) -> None:
        """Takes one item, whoever produced it, and says that it is done."""
        for item in self.call(self.queues.Get, request, queue).items:
            self.consumed_from[field(item.item, "from").text] += 1
            self.redelivered += item.redelivered
            self.call(self.queues.TaskDone, queue_pb2.QueueTaskDoneRequest(deliveries=[item.delivery]), queue, PATIENCE)

    def wait_for_the_others(self) -> None:
        spec = barrier_pb2.BarrierSpec(parties=self.plan.parties)
        barrier = self.connection.open("polyglot/barrier", kind(barrier_pb2), spec)
        self.call(self.barriers.Wait, barrier_pb2.BarrierWaitRequest(), barrier)
        print(json.dumps({"progress": "barrier", "done": self.plan.parties}), flush=True)

    def totals(self) -> tuple[int, int, queue_pb2.QueueSizeResponse]:
        """All have come to the barrier: nobody changes anything any more."""
        counter = self.call(self.values.Get, value_pb2.ValueGetRequest(), named("polyglot/counter"), PATIENCE)
        entry = self.call(self.dicts.Get, dict_pb2.DictGetRequest(key=text("total")), named("polyglot/dict"), PATIENCE)
        # A program that was killed has put in more than it has taken out: whoever comes takes the rest.
        queue = self.open_queue()
        try:
            while True:
                self.consume(queue, queue_pb2.QueueGetRequest(patience_ms=0))
        except grpc.RpcError as error:
            if reason(error) != "REASON_EMPTY":
                raise
        # What others have taken and not done yet.
        self.call(self.queues.Join, queue_pb2.QueueJoinRequest(), queue)
        size = self.call(self.queues.Size, queue_pb2.QueueSizeRequest(), queue, PATIENCE)
        return counter.value.integer, entry.value.integer, size


def holds(expected: str, number: int) -> bool:
    """A number with a + after it is a least one."""
    return number >= int(expected[:-1]) if expected.endswith("+") else number == int(expected)
