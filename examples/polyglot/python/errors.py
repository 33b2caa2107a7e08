"""Each kind of bad input, and what a Python program sees of it."""

import json

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from connection import PATIENCE, Connection, named
from holdfast.v1 import (
    dict_pb2, dict_pb2_grpc, manager_pb2, options_pb2, queue_pb2, queue_pb2_grpc, value_pb2, value_pb2_grpc,
)

DICT, QUEUE = "polyglot/errors/python/dict", "polyglot/errors/python/queue"


def reason(error: grpc.RpcError) -> str | None:
    """The name of the reason of a refusal, as REASON_EMPTY. An error that the library made by itself has none."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "holdfast.v1":
            return info.reason
    return None


def show_errors(address: str, connection: Connection) -> None:
    # A connection of its own: a handshake that failed ends it.
    wrong = Connection(address)
    show("wrong-authkey", lambda: wrong.authenticate("A" * 43))
    wrong.close()

    dicts = dict_pb2_grpc.DictServiceStub(connection.channel)
    queues = queue_pb2_grpc.QueueServiceStub(connection.channel)
    values = value_pb2_grpc.ValueServiceStub(connection.channel)
    connection.open(DICT, number_of(dict_pb2))
    queue = connection.open(QUEUE, number_of(queue_pb2))
    call, get = connection.call, queue_pb2.QueueGetRequest()

    show("no-token", lambda: connection.manager.Status(manager_pb2.StatusRequest(), timeout=PATIENCE))
    nobody = named("polyglot/nobody has made this")
    show("missing-object", lambda: call(dicts.Len, dict_pb2.DictLenRequest(), nobody, PATIENCE))
    show("wrong-kind", lambda: call(values.Get, value_pb2.ValueGetRequest(), named(DICT), PATIENCE))
    # The deadline goes to the manager with the call, and the call is withdrawn there when it passes.
    show("deadline", lambda: call(queues.Get, get, queue, 0.2))

    def until_waiting(getters: int) -> None:
        while call(queues.Size, queue_pb2.QueueSizeRequest(), queue, PATIENCE).getters != getters:
            pass

    def cancel() -> None:
        until_waiting(0)
        waiting = queues.Get.future(get, metadata=connection.metadata(queue))
        until_waiting(1)
        waiting.cancel()
        until_waiting(0)
        try:
            waiting.result(PATIENCE)
        except grpc.FutureCancelledError:
            # The future has no more to tell; the call that it stands for is an RpcError like any other.
            raise waiting from None

    show("cancel", cancel)
    for name in [DICT, QUEUE]:
        call(connection.manager.Delete, manager_pb2.DeleteRequest(name=name), timeout=PATIENCE)


def number_of(module) -> int:
    (service,) = module.DESCRIPTOR.services_by_name.values()
    return service.GetOptions().Extensions[options_pb2.kind]


def show(case: str, call) -> None:
    try:
        call()
    except grpc.RpcError as error:
        shown = f"{type(error).__name__}: {error.code()}: {error.details()}"
        print(json.dumps({"case": case, "code": error.code().name, "reason": reason(error), "shown": shown}), flush=True)
    else:
        raise AssertionError(f"{case}: this was to be refused")
