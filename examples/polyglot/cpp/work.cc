// Does the same as the programs in the other languages, on the same objects and at the same time.

#include <chrono>

#include "client.h"
#include "connection.h"
#include "holdfast/v1/barrier.grpc.pb.h"
#include "holdfast/v1/dict.grpc.pb.h"
#include "holdfast/v1/lock.grpc.pb.h"
#include "holdfast/v1/queue.grpc.pb.h"
#include "holdfast/v1/value.grpc.pb.h"

using namespace holdfast::v1;
using Clock = std::chrono::steady_clock;

namespace {

// Prints how far a step is, twice a second and at its end.
class Progress {
 public:
  Progress(std::string name, int64_t of) : name_(std::move(name)), of_(of) {}

  void step() {
    done_++;
    if (done_ == of_ || Clock::now() - printed_ >= std::chrono::milliseconds(500)) {
      printed_ = Clock::now();
      Line().text("progress", name_).number("done", done_).print();
    }
  }

 private:
  std::string name_;
  int64_t of_, done_ = 0;
  Clock::time_point printed_ = Clock::now();
};

// Needs no lock: each add is one call, and each call is atomic.
void add_to_counter(Connection& connection, int64_t times) {
  ValueSpec spec;
  *spec.mutable_initial() = integer(0);
  const On counter = connection.open("polyglot/counter", kValue, spec.SerializeAsString());
  const auto values = ValueService::NewStub(connection.channel);
  ValueAddRequest one;
  *one.mutable_delta() = integer(1);
  Progress progress("adds", times);
  for (int64_t i = 0; i < times; i++) {
    connection.call(*values, &ValueService::Stub::Add, one, counter);
    progress.step();
  }
}

// Reads an entry and writes back one more: two calls, which only the lock makes one. Returns how often the one who had the
// lock before was lost with it.
int64_t change_entry_under_lock(Connection& connection, int64_t times) {
  const On lock = connection.open("polyglot/lock", kLock), dict = connection.open("polyglot/dict", kDict);
  const auto locks = LockService::NewStub(connection.channel);
  const auto dicts = DictService::NewStub(connection.channel);
  DictGetRequest get;
  *get.mutable_key() = text("total");
  Progress progress("locks", times);
  int64_t abandoned = 0;
  for (int64_t i = 0; i < times; i++) {
    // Without a patience this waits as long as it takes, and the lock is ours then.
    const auto granted = connection.call(*locks, &LockService::Stub::Acquire, LockAcquireRequest(), lock);
    abandoned += granted.has_abandoned();  // whoever died has written the entry, or has not: it is whole in both cases
    // No entry yet is an integer of 0 to the stubs, as every field that is not set.
    const int64_t total = connection.call(*dicts, &DictService::Stub::Get, get, dict).value().integer();
    DictSetRequest set;
    *set.mutable_key() = text("total");
    *set.mutable_value() = integer(total + 1);
    connection.call(*dicts, &DictService::Stub::Set, set, dict);
    LockReleaseRequest release;
    release.set_fence(granted.fence());
    connection.call(*locks, &LockService::Stub::Release, release, lock);
    progress.step();
  }
  return abandoned;
}

// What came out of the queue.
struct Consumed {
  std::map<std::string, int64_t> from;
  int64_t redelivered = 0;
};

// With ON_DONE what is taken out comes back if its consumer dies before it says that it is done.
On open_queue(Connection& connection) {
  QueueSpec spec;
  spec.set_delivery(QUEUE_DELIVERY_ON_DONE);
  return connection.open("polyglot/queue", kQueue, spec.SerializeAsString());
}

// An item is a map with texts as keys: what a struct is in Rust, and a dict in Python.
Datum item(const std::string& language, int64_t number) {
  Datum item;
  auto* from = item.mutable_map()->add_entries();
  *from->mutable_key() = text("from");
  *from->mutable_value() = text(language);
  auto* count = item.mutable_map()->add_entries();
  *count->mutable_key() = text("number");
  *count->mutable_value() = integer(number);
  return item;
}

std::string language_of(const Datum& item) {
  for (const auto& entry : item.map().entries())
    if (entry.key().text() == "from") return entry.value().text();
  return "nobody";
}

void produce(Connection& connection, const On& queue, const Plan& plan) {
  const auto queues = QueueService::NewStub(connection.channel);
  Progress progress("produced", plan.items);
  for (int64_t number = 0; number < plan.items; number++) {
    QueuePutRequest put;
    *put.add_items() = item(plan.language, number);
    connection.call(*queues, &QueueService::Stub::Put, put, queue);
    progress.step();
  }
}

// Takes an item, whoever produced it, and says that it is done.
void consume(Connection& connection, const On& queue, const QueueGetRequest& get, Consumed& consumed) {
  const auto queues = QueueService::NewStub(connection.channel);
  const auto got = connection.call(*queues, &QueueService::Stub::Get, get, queue);
  for (const auto& item : got.items()) {
    consumed.from[language_of(item.item())]++;
    consumed.redelivered += item.redelivered();
    QueueTaskDoneRequest done;
    done.add_deliveries(item.delivery());
    connection.call(*queues, &QueueService::Stub::TaskDone, done, queue);
  }
}

// A program that was killed has put in more than it took out. Nobody waits for the rest, so whoever comes takes it.
// Returns what is not done then, which must be nothing.
uint64_t consume_the_rest(Connection& connection, const On& queue, Consumed& consumed) {
  QueueGetRequest at_once;
  at_once.set_patience_ms(0);
  try {
    while (true) consume(connection, queue, at_once, consumed);
  } catch (const CallError& error) {
    if (error.reason != "REASON_EMPTY") throw;
  }
  // Join waits for what the others have taken and not done yet.
  const auto queues = QueueService::NewStub(connection.channel);
  connection.call(*queues, &QueueService::Stub::Join, QueueJoinRequest(), queue);
  const auto size = connection.call(*queues, &QueueService::Stub::Size, QueueSizeRequest(), queue);
  return size.size() + size.unfinished();
}

void wait_for_the_others(Connection& connection, int64_t parties) {
  BarrierSpec spec;
  spec.set_parties(parties);
  const On barrier = connection.open("polyglot/barrier", kBarrier, spec.SerializeAsString());
  connection.call(*BarrierService::NewStub(connection.channel), &BarrierService::Stub::Wait, BarrierWaitRequest(), barrier);
  Line().text("progress", "barrier").number("done", parties).print();
}

int64_t read_counter(Connection& connection) {
  const auto values = ValueService::NewStub(connection.channel);
  return connection.call(*values, &ValueService::Stub::Get, ValueGetRequest(), named("polyglot/counter")).value().integer();
}

int64_t read_entry(Connection& connection) {
  DictGetRequest get;
  *get.mutable_key() = text("total");
  const auto dicts = DictService::NewStub(connection.channel);
  return connection.call(*dicts, &DictService::Stub::Get, get, named("polyglot/dict")).value().integer();
}

Total expected(const Plan& plan, const std::string& name, int64_t usual) {
  const auto said = plan.expected.find(name);
  return (said == plan.expected.end() ? Total() : said->second).otherwise(usual);
}

}  // namespace

bool work(const Plan& plan) {
  const auto begin = Clock::now();
  Connection connection = login();
  add_to_counter(connection, plan.adds);
  const int64_t abandoned = change_entry_under_lock(connection, plan.locks);

  const On queue = open_queue(connection);
  produce(connection, queue, plan);
  Consumed consumed;
  Progress progress("consumed", plan.items);
  for (int64_t i = 0; i < plan.items; i++) {
    consume(connection, queue, QueueGetRequest(), consumed);
    progress.step();
  }

  // Nobody changes a total any more once all have come here.
  wait_for_the_others(connection, plan.parties);
  const int64_t counter = read_counter(connection), entry = read_entry(connection);
  const uint64_t unfinished = consume_the_rest(connection, queue, consumed);
  const bool ok = expected(plan, "counter", plan.parties * plan.adds).holds(counter) &&
                  expected(plan, "entry", plan.parties * plan.locks).holds(entry) && unfinished == 0;
  const std::chrono::duration<double> seconds = Clock::now() - begin;
  Line()
      .text("language", plan.language).text("door", "unary")
      .number("calls", connection.calls).number("seconds", seconds.count())
      .number("counter", counter).number("entry", entry).number("produced", plan.items)
      .numbers("consumed_from", consumed.from)
      .number("redelivered", consumed.redelivered).number("abandoned", abandoned).flag("ok", ok)
      .print();
  return ok;
}
