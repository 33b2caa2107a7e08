package holdfast.example;

import com.google.protobuf.ByteString;
import holdfast.v1.Barrier.BarrierSpec;
import holdfast.v1.Barrier.BarrierWaitRequest;
import holdfast.v1.BarrierServiceGrpc;
import holdfast.v1.DatumOuterClass.Datum;
import holdfast.v1.DatumOuterClass.Entry;
import holdfast.v1.Dict.DictGetRequest;
import holdfast.v1.Dict.DictSetRequest;
import holdfast.v1.DictServiceGrpc;
import holdfast.v1.Lock.LockAcquireRequest;
import holdfast.v1.Lock.LockReleaseRequest;
import holdfast.v1.LockServiceGrpc;
import holdfast.v1.Queue.QueueDelivery;
import holdfast.v1.Queue.QueueGetRequest;
import holdfast.v1.Queue.QueueItem;
import holdfast.v1.Queue.QueueJoinRequest;
import holdfast.v1.Queue.QueuePutRequest;
import holdfast.v1.Queue.QueueSizeRequest;
import holdfast.v1.Queue.QueueSpec;
import holdfast.v1.Queue.QueueTaskDoneRequest;
import holdfast.v1.QueueServiceGrpc;
import holdfast.v1.QueueServiceGrpc.QueueServiceBlockingStub;
import holdfast.v1.Value.ValueAddRequest;
import holdfast.v1.Value.ValueGetRequest;
import holdfast.v1.Value.ValueSpec;
import holdfast.v1.ValueServiceGrpc;
import io.grpc.StatusRuntimeException;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Does the same as the programs in the other languages, on the same objects and at the same time. */
final class Work {
    private final Plan plan;
    private final Map<String, Integer> consumedFrom = new TreeMap<>();
    private int redelivered;
    private int abandoned;
    private Connection connection;

    Work(Plan plan) {
        this.plan = plan;
    }

    /** Returns whether every total is what it must be. */
    boolean run() throws Exception {
        long begin = System.nanoTime();
        try (Connection login = Connection.login()) {
            connection = login;
            addToCounter();
            changeEntryUnderLock();
            var queues = openQueue();
            produce(queues);
            var progress = new Progress("consumed", plan.items());
            for (int i = 0; i < plan.items(); i++) {
                consume(queues, QueueGetRequest.getDefaultInstance());
                progress.step();
            }
            // Nobody changes a total any more once all have come here.
            waitForTheOthers();
            long counter = ValueServiceGrpc.newBlockingStub(connection.channel)
                    .withInterceptors(Connection.named("polyglot/counter"))
                    .get(ValueGetRequest.getDefaultInstance()).getValue().getInteger();
            long entry = DictServiceGrpc.newBlockingStub(connection.channel)
                    .withInterceptors(Connection.named("polyglot/dict"))
                    .get(DictGetRequest.newBuilder().setKey(text("total")).build()).getValue().getInteger();
            long unfinished = consumeTheRest(queues);
            boolean ok = plan.expected("counter", (long) plan.parties() * plan.adds()).holds(counter)
                    && plan.expected("entry", (long) plan.parties() * plan.locks()).holds(entry) && unfinished == 0;
            report(counter, entry, (System.nanoTime() - begin) / 1e9, ok);
            return ok;
        }
    }

    private void report(long counter, long entry, double seconds, boolean ok) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("language", plan.language());
        line.put("door", "unary");
        line.put("calls", connection.calls.get());
        line.put("seconds", seconds);
        line.put("counter", counter);
        line.put("entry", entry);
        line.put("produced", plan.items());
        line.put("consumed_from", consumedFrom);
        line.put("redelivered", redelivered);
        line.put("abandoned", abandoned);
        line.put("ok", ok);
        Client.print(line);
    }

    /** Needs no lock: each add is one call, and each call is atomic. */
    private void addToCounter() {
        var spec = ValueSpec.newBuilder().setInitial(integer(0)).build();
        var values = ValueServiceGrpc.newBlockingStub(connection.channel)
                .withInterceptors(connection.open("polyglot/counter", Connection.VALUE, spec.toByteString()));
        var one = ValueAddRequest.newBuilder().setDelta(integer(1)).build();
        var progress = new Progress("adds", plan.adds());
        for (int i = 0; i < plan.adds(); i++) {
            values.add(one);
            progress.step();
        }
    }

    /** Reads an entry and writes back one more: two calls, which only the lock makes one. */
    private void changeEntryUnderLock() {
        var locks = LockServiceGrpc.newBlockingStub(connection.channel)
                .withInterceptors(connection.open("polyglot/lock", Connection.LOCK, ByteString.EMPTY));
        var dicts = DictServiceGrpc.newBlockingStub(connection.channel)
                .withInterceptors(connection.open("polyglot/dict", Connection.DICT, ByteString.EMPTY));
        var get = DictGetRequest.newBuilder().setKey(text("total")).build();
        var progress = new Progress("locks", plan.locks());
        for (int i = 0; i < plan.locks(); i++) {
            // Without a patience this waits as long as it takes, and the lock is ours then.
            var granted = locks.acquire(LockAcquireRequest.getDefaultInstance());
            if (granted.hasAbandoned()) {
                abandoned++; // whoever died has written the entry, or has not: it is whole in both cases
            }
            // No entry yet is an integer of 0 to the stubs, as every field that is not set.
            long total = dicts.get(get).getValue().getInteger();
            dicts.set(DictSetRequest.newBuilder().setKey(text("total")).setValue(integer(total + 1)).build());
            locks.release(LockReleaseRequest.newBuilder().setFence(granted.getFence()).build());
            progress.step();
        }
    }

    /** With ON_DONE what is taken out comes back if its consumer dies before it says that it is done. */
    private QueueServiceBlockingStub openQueue() {
        var spec = QueueSpec.newBuilder().setDelivery(QueueDelivery.QUEUE_DELIVERY_ON_DONE).build();
        return QueueServiceGrpc.newBlockingStub(connection.channel)
                .withInterceptors(connection.open("polyglot/queue", Connection.QUEUE, spec.toByteString()));
    }

    private void produce(QueueServiceBlockingStub queues) {
        var progress = new Progress("produced", plan.items());
        for (int number = 0; number < plan.items(); number++) {
            // A map with texts as keys: what a struct is in Rust, and a dict in Python.
            var item = holdfast.v1.DatumOuterClass.Map.newBuilder()
                    .addEntries(Entry.newBuilder().setKey(text("from")).setValue(text(plan.language())))
                    .addEntries(Entry.newBuilder().setKey(text("number")).setValue(integer(number)));
            queues.put(QueuePutRequest.newBuilder().addItems(Datum.newBuilder().setMap(item)).build());
            progress.step();
        }
    }

    /** Takes an item, whoever produced it, and says that it is done. */
    private void consume(QueueServiceBlockingStub queues, QueueGetRequest get) {
        for (QueueItem item : queues.get(get).getItemsList()) {
            consumedFrom.merge(languageOf(item.getItem()), 1, Integer::sum);
            redelivered += item.getRedelivered() ? 1 : 0;
            queues.taskDone(QueueTaskDoneRequest.newBuilder().addDeliveries(item.getDelivery()).build());
        }
    }

    /**
     * A program that was killed has put in more than it took out. Nobody waits for the rest, so whoever comes takes it.
     * Returns what is not done then, which must be nothing.
     */
    private long consumeTheRest(QueueServiceBlockingStub queues) {
        var atOnce = QueueGetRequest.newBuilder().setPatienceMs(0).build();
        try {
            while (true) {
                consume(queues, atOnce);
            }
        } catch (StatusRuntimeException error) {
            if (!"REASON_EMPTY".equals(Errors.reason(error))) {
                throw error;
            }
        }
        // Join waits for what the others have taken and not done yet.
        queues.join(QueueJoinRequest.getDefaultInstance());
        var size = queues.size(QueueSizeRequest.getDefaultInstance());
        return size.getSize() + size.getUnfinished();
    }

    private void waitForTheOthers() {
        var spec = BarrierSpec.newBuilder().setParties(plan.parties()).build();
        var barriers = BarrierServiceGrpc.newBlockingStub(connection.channel)
                .withInterceptors(connection.open("polyglot/barrier", Connection.BARRIER, spec.toByteString()));
        barriers.wait(BarrierWaitRequest.getDefaultInstance());
        Client.print(Map.of("progress", "barrier", "done", plan.parties()));
    }

    private static Datum integer(long number) {
        return Datum.newBuilder().setInteger(number).build();
    }

    private static Datum text(String words) {
        return Datum.newBuilder().setText(words).build();
    }

    private static String languageOf(Datum item) {
        return item.getMap().getEntriesList().stream().filter(entry -> entry.getKey().getText().equals("from"))
                .findFirst().map(entry -> entry.getValue().getText()).orElse("nobody");
    }

    /** A total that there must be at the end: exactly so much, or at least. */
    record Total(long number, boolean orMore) {
        boolean holds(long seen) {
            return seen == number || orMore && seen > number;
        }
    }

    /** What there is to do. */
    record Plan(String language, int parties, int adds, int locks, int items, Map<String, Total> totals) {
        static Plan of(List<String> arguments) {
            Map<String, String> said = new HashMap<>(Map.of("--language", "java", "--parties", "1", "--adds", "10000",
                    "--locks", "200", "--items", "100", "--expect", ""));
            for (int i = 0; i < arguments.size(); i += 2) {
                if (i + 1 == arguments.size() || said.replace(arguments.get(i), arguments.get(i + 1)) == null) {
                    throw new IllegalArgumentException("there is no " + arguments.get(i) + ", or it wants a value");
                }
            }
            Map<String, Total> totals = new HashMap<>();
            for (String part : said.get("--expect").split(",")) {
                if (!part.isEmpty() && !part.matches("(counter|entry)=[0-9]+[+]?")) {
                    throw new IllegalArgumentException(part + " is no total: write counter=60000,entry=1200");
                } else if (!part.isEmpty()) {
                    // A number with a + after it is a least one.
                    String[] both = part.replace("+", "").split("=");
                    totals.put(both[0], new Total(Long.parseLong(both[1]), part.endsWith("+")));
                }
            }
            return new Plan(said.get("--language"), Integer.parseInt(said.get("--parties")),
                    Integer.parseInt(said.get("--adds")), Integer.parseInt(said.get("--locks")),
                    Integer.parseInt(said.get("--items")), totals);
        }

        Total expected(String name, long usual) {
            return totals.getOrDefault(name, new Total(usual, false));
        }
    }

    /** Prints how far a step is, twice a second and at its end. */
    private static final class Progress {
        private final String name;
        private final int of;
        private int done;
        private long printed = System.nanoTime();

        Progress(String name, int of) {
            this.name = name;
            this.of = of;
        }

        void step() {
            done++;
            if (done == of || System.nanoTime() - printed >= 500_000_000) {
                printed = System.nanoTime();
                Client.print(Map.of("progress", name, "done", done));
            }
        }
    }
}
