package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	pb "holdfast.example/polyglot/holdfastv1"
)

// plan is what there is to do.
type plan struct {
	language                    string
	parties, adds, locks, items int
	expected                    totals
}

// work does the same as the programs in the other languages, on the same objects and at the same time.
func work(ctx context.Context, plan plan) error {
	begin := time.Now()
	connection, err := login(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()

	if err := addToCounter(ctx, connection, plan.adds); err != nil {
		return fmt.Errorf("adding to the counter: %w", err)
	}
	abandoned, err := changeEntryUnderLock(ctx, connection, plan.locks)
	if err != nil {
		return fmt.Errorf("changing the entry under the lock: %w", err)
	}
	consumed, err := produceAndConsume(ctx, connection, plan.language, plan.items)
	if err != nil {
		return fmt.Errorf("producing and consuming: %w", err)
	}
	if err := waitForTheOthers(ctx, connection, plan.parties); err != nil {
		return fmt.Errorf("waiting at the barrier: %w", err)
	}
	counter, entry, unfinished, err := readTotals(ctx, connection, consumed)
	if err != nil {
		return fmt.Errorf("reading the totals: %w", err)
	}

	ok := plan.expected.counter.or(plan.parties*plan.adds).holds(counter) &&
		plan.expected.entry.or(plan.parties*plan.locks).holds(entry) && unfinished == 0
	print(map[string]any{
		"language": plan.language, "door": "unary", "calls": connection.calls.Load(), "seconds": time.Since(begin).Seconds(),
		"counter": counter, "entry": entry, "produced": plan.items, "consumed_from": consumed.from,
		"redelivered": consumed.redelivered, "abandoned": abandoned, "ok": ok,
	})
	if !ok {
		return errors.New("a total is off: see the line above")
	}
	return nil
}

// addToCounter needs no lock: each add is one call, and each call is atomic.
func addToCounter(ctx context.Context, connection *Connection, times int) error {
	spec, err := proto.Marshal(&pb.ValueSpec{Initial: integer(0)})
	if err != nil {
		return err
	}
	counter, err := connection.open(ctx, "polyglot/counter", kindValue, spec)
	if err != nil {
		return err
	}
	values := pb.NewValueServiceClient(connection)
	progress := newProgress("adds", times)
	for range times {
		if _, err := values.Add(counter, &pb.ValueAddRequest{Delta: integer(1)}); err != nil {
			return err
		}
		progress.step()
	}
	return nil
}

// changeEntryUnderLock reads an entry, and writes back one more: two calls, which only the lock makes one. It returns how
// often the one who had the lock before was lost with it.
func changeEntryUnderLock(ctx context.Context, connection *Connection, times int) (abandoned int, err error) {
	lock, err := connection.open(ctx, "polyglot/lock", kindLock, nil)
	if err != nil {
		return 0, err
	}
	dict, err := connection.open(ctx, "polyglot/dict", kindDict, nil)
	if err != nil {
		return 0, err
	}
	locks, dicts := pb.NewLockServiceClient(connection), pb.NewDictServiceClient(connection)
	progress := newProgress("locks", times)
	for range times {
		// Without a patience this waits as long as it takes, and the lock is ours then.
		granted, err := locks.Acquire(lock, &pb.LockAcquireRequest{})
		if err != nil {
			return abandoned, err
		}
		if granted.Abandoned != nil {
			abandoned++ // whoever died has written the entry, or has not: it is whole in both cases
		}
		total, err := dicts.Get(dict, &pb.DictGetRequest{Key: text("total")})
		if err != nil {
			return abandoned, err
		}
		// No entry yet is an integer of 0 to the stubs, as every field that is not set.
		more := integer(total.GetValue().GetInteger() + 1)
		if _, err := dicts.Set(dict, &pb.DictSetRequest{Key: text("total"), Value: more}); err != nil {
			return abandoned, err
		}
		if _, err := locks.Release(lock, &pb.LockReleaseRequest{Fence: &granted.Fence}); err != nil {
			return abandoned, err
		}
		progress.step()
	}
	return abandoned, nil
}

// consumption is what came out of the queue.
type consumption struct {
	from        map[string]int
	redelivered int
}

// openQueue takes care of ON_DONE: what is taken out comes back if its consumer dies before it says that it is done.
func openQueue(ctx context.Context, connection *Connection) (context.Context, error) {
	spec, err := proto.Marshal(&pb.QueueSpec{Delivery: pb.QueueDelivery_QUEUE_DELIVERY_ON_DONE})
	if err != nil {
		return nil, err
	}
	return connection.open(ctx, "polyglot/queue", kindQueue, spec)
}

func produceAndConsume(ctx context.Context, connection *Connection, language string, items int) (*consumption, error) {
	queue, err := openQueue(ctx, connection)
	if err != nil {
		return nil, err
	}
	queues := pb.NewQueueServiceClient(connection)
	produced := newProgress("produced", items)
	for number := range items {
		item := record(entry("from", text(language)), entry("number", integer(int64(number))))
		if _, err := queues.Put(queue, &pb.QueuePutRequest{Items: []*pb.Datum{item}}); err != nil {
			return nil, err
		}
		produced.step()
	}
	consumed := &consumption{from: map[string]int{}}
	progress := newProgress("consumed", items)
	for range items {
		if err := consumed.one(queue, queues, nil); err != nil {
			return nil, err
		}
		progress.step()
	}
	return consumed, nil
}

// one takes an item, whoever produced it, and says that it is done.
func (c *consumption) one(queue context.Context, queues pb.QueueServiceClient, patience *int64) error {
	got, err := queues.Get(queue, &pb.QueueGetRequest{PatienceMs: patience})
	if err != nil {
		return err
	}
	for _, item := range got.Items {
		c.from[field(item.Item, "from").GetText()]++
		if item.Redelivered {
			c.redelivered++
		}
		if _, err := queues.TaskDone(queue, &pb.QueueTaskDoneRequest{Deliveries: []uint64{item.Delivery}}); err != nil {
			return err
		}
	}
	return nil
}

func waitForTheOthers(ctx context.Context, connection *Connection, parties int) error {
	spec, err := proto.Marshal(&pb.BarrierSpec{Parties: int64(parties)})
	if err != nil {
		return err
	}
	barrier, err := connection.open(ctx, "polyglot/barrier", kindBarrier, spec)
	if err != nil {
		return err
	}
	_, err = pb.NewBarrierServiceClient(connection).Wait(barrier, &pb.BarrierWaitRequest{})
	if err == nil {
		print(map[string]any{"progress": "barrier", "done": parties})
	}
	return err
}

// readTotals is for when all have come to the barrier: nobody changes anything any more.
func readTotals(ctx context.Context, connection *Connection, consumed *consumption) (counter, entry int64, unfinished uint64, err error) {
	value, err := pb.NewValueServiceClient(connection).Get(named(ctx, "polyglot/counter"), &pb.ValueGetRequest{})
	if err != nil {
		return 0, 0, 0, err
	}
	total, err := pb.NewDictServiceClient(connection).Get(named(ctx, "polyglot/dict"), &pb.DictGetRequest{Key: text("total")})
	if err != nil {
		return 0, 0, 0, err
	}
	// A program that was killed has put in more than it took out. Nobody waits for the rest, so whoever comes takes it.
	queue, err := openQueue(ctx, connection)
	if err != nil {
		return 0, 0, 0, err
	}
	queues := pb.NewQueueServiceClient(connection)
	notAtAll := int64(0)
	for err == nil {
		err = consumed.one(queue, queues, &notAtAll)
	}
	if reason(err) != "REASON_EMPTY" {
		return 0, 0, 0, err
	}
	// Join waits for what the others have taken and not done yet.
	if _, err := queues.Join(queue, &pb.QueueJoinRequest{}); err != nil {
		return 0, 0, 0, err
	}
	size, err := queues.Size(queue, &pb.QueueSizeRequest{})
	return value.GetValue().GetInteger(), total.GetValue().GetInteger(), size.GetUnfinished() + size.GetSize(), err
}

// total is what there must be at the end: exactly, or at least, so much.
type total struct {
	number  int64
	orMore  bool
	isKnown bool
}

func (t total) or(number int) total {
	if t.isKnown {
		return t
	}
	return total{number: int64(number)}
}

func (t total) holds(number int64) bool {
	return number == t.number || t.orMore && number > t.number
}

// totals is a flag: counter=60000,entry=1200. A number with a + after it is a least one.
type totals struct{ counter, entry total }

func (t *totals) String() string { return "" }

func (t *totals) Set(text string) error {
	for _, part := range strings.Split(text, ",") {
		name, digits, _ := strings.Cut(part, "=")
		atLeast, orMore := strings.CutSuffix(digits, "+")
		number, err := strconv.ParseInt(atLeast, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no total: write counter=60000,entry=1200", part)
		}
		switch name {
		case "counter":
			t.counter = total{number, orMore, true}
		case "entry":
			t.entry = total{number, orMore, true}
		default:
			return fmt.Errorf("there is no total %q: write counter=60000,entry=1200", name)
		}
	}
	return nil
}

// progress prints how far a step is, once a second and at its end.
type progress struct {
	name       string
	done, of   int
	lastLineAt time.Time
}

func newProgress(name string, of int) *progress {
	return &progress{name: name, of: of, lastLineAt: time.Now()}
}

func (p *progress) step() {
	p.done++
	if p.done == p.of || time.Since(p.lastLineAt) >= time.Second/2 {
		p.lastLineAt = time.Now()
		print(map[string]any{"progress": p.name, "done": p.done})
	}
}
