package holdfast.example;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import holdfast.v1.Dict.DictLenRequest;
import holdfast.v1.DictServiceGrpc;
import holdfast.v1.Manager.DeleteRequest;
import holdfast.v1.Manager.StatusRequest;
import holdfast.v1.ManagerServiceGrpc;
import holdfast.v1.Queue.QueueGetRequest;
import holdfast.v1.Queue.QueueSizeRequest;
import holdfast.v1.QueueServiceGrpc;
import holdfast.v1.Value.ValueGetRequest;
import holdfast.v1.ValueServiceGrpc;
import io.grpc.ClientInterceptor;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;

/** Does what is wrong in six ways, and prints what a Java program sees of it. */
final class Errors {
    private static final String DICT_NAME = "polyglot/errors/java/dict";
    private static final String QUEUE_NAME = "polyglot/errors/java/queue";

    /**
     * The name of the reason of a refusal, as REASON_EMPTY. Null where the library made the error by itself, as that a
     * deadline has passed. The details are in the trailers of the exception; StatusProto, of grpc-protobuf, finds them.
     */
    static String reason(StatusRuntimeException error) {
        com.google.rpc.Status status = StatusProto.fromThrowable(error);
        if (status == null) {
            return null;
        }
        for (Any detail : status.getDetailsList()) {
            if (detail.is(ErrorInfo.class)) {
                try {
                    return detail.unpack(ErrorInfo.class).getReason();
                } catch (InvalidProtocolBufferException broken) {
                    return null;
                }
            }
        }
        return null;
    }

    static boolean show() throws Exception {
        // A connection of its own: a failed handshake ends it.
        try (Connection stranger = new Connection(Connection.environment("HOLDFAST_ADDRESS"))) {
            show("wrong-authkey", () -> stranger.authenticate("A".repeat(43)));
        }
        try (Connection connection = Connection.login()) {
            connection.open(DICT_NAME, Connection.DICT, ByteString.EMPTY);
            ClientInterceptor queue = connection.open(QUEUE_NAME, Connection.QUEUE, ByteString.EMPTY);
            var manager = ManagerServiceGrpc.newBlockingStub(connection.channel);
            var dicts = DictServiceGrpc.newBlockingStub(connection.channel);
            var values = ValueServiceGrpc.newBlockingStub(connection.channel);
            var queues = QueueServiceGrpc.newBlockingStub(connection.channel).withInterceptors(queue);

            ByteString token = connection.token;
            connection.token = ByteString.EMPTY;
            show("no-token", () -> manager.status(StatusRequest.getDefaultInstance()));
            connection.token = token;

            show("missing-object", () -> dicts.withInterceptors(Connection.named("polyglot/nobody has made this"))
                    .len(DictLenRequest.getDefaultInstance()));
            show("wrong-kind", () -> values.withInterceptors(Connection.named(DICT_NAME))
                    .get(ValueGetRequest.getDefaultInstance()));
            // The time runs from here and not from the call: make such a stub for each call.
            show("deadline", () -> queues.withDeadlineAfter(200, TimeUnit.MILLISECONDS)
                    .get(QueueGetRequest.getDefaultInstance()));
            showCancel(queues);

            for (String name : List.of(DICT_NAME, QUEUE_NAME)) {
                manager.delete(DeleteRequest.newBuilder().setName(name).build());
            }
        }
        return true;
    }

    /** A blocking call is cancelled by the context that it was made in. To interrupt its thread does it as well. */
    private static void showCancel(QueueServiceGrpc.QueueServiceBlockingStub queues) throws Exception {
        Context.CancellableContext context = Context.current().withCancellation();
        Runnable get = () -> queues.get(QueueGetRequest.getDefaultInstance());
        CompletableFuture<Void> waiting = CompletableFuture.runAsync(context.wrap(get));
        // Until the call has come to the queue.
        while (queues.size(QueueSizeRequest.getDefaultInstance()).getGetters() == 0) {}
        context.cancel(null);
        show("cancel", () -> {
            try {
                waiting.join();
            } catch (CompletionException error) {
                throw (Exception) error.getCause();
            }
        });
    }

    private interface Wrong {
        void run() throws Exception;
    }

    private static void show(String name, Wrong wrong) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("case", name);
        try {
            wrong.run();
            line.putAll(Map.of("code", "OK", "shown", "nothing was wrong"));
        } catch (StatusRuntimeException error) {
            line.put("code", error.getStatus().getCode().name());
            line.put("reason", reason(error));
            line.put("shown", error.toString());
        }
        Client.print(line);
    }
}
