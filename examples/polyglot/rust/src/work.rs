//! The work that six programs in six languages do at the same time, on the same objects.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use serde_json::json;
use tonic::Status;

use crate::connection::{Connection, Door};
use crate::datum::{as_integer, integer, map, text, text_in};
use crate::pb::barrier_service_client::BarrierServiceClient;
use crate::pb::dict_service_client::DictServiceClient;
use crate::pb::lock_service_client::LockServiceClient;
use crate::pb::queue_service_client::QueueServiceClient;
use crate::pb::value_service_client::ValueServiceClient;
use crate::pb::*;
use crate::{Expected, Plan, errors::reason, kind};

/// What came out of the queue.
#[derive(Default)]
struct Consumed {
    from: BTreeMap<String, u64>,
    redelivered: u64,
}

pub async fn work(connection: &Connection, plan: &Plan) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    add_to_counter(connection, plan.adds).await?;
    let abandoned = change_entry_under_lock(connection, plan.locks).await?;
    let mut consumed = produce_and_consume(connection, plan).await?;
    wait_for_the_others(connection, plan.parties).await?;

    // Nobody changes anything any more.
    let mut value = ValueServiceClient::new(connection.named("polyglot/counter"));
    let counter = as_integer(value.get(ValueGetRequest {}).await?.get_ref().value.as_ref());
    let mut dict = DictServiceClient::new(connection.named("polyglot/dict"));
    let entry = dict.get(DictGetRequest { key: Some(text("total")) }).await?;
    let entry = as_integer(entry.get_ref().value.as_ref());
    let size = drain(connection, &mut consumed).await?;

    let expected = |expected: Expected, each| expected.or(plan.parties * each);
    let ok = expected(plan.counter, plan.adds).holds(counter)
        && expected(plan.entry, plan.locks).holds(entry)
        && (size.size, size.unfinished) == (0, 0);
    println!(
        "{}",
        json!({
            "language": plan.language, "door": "unary", "calls": connection.calls(),
            "seconds": begin.elapsed().as_secs_f64(), "counter": counter, "entry": entry, "produced": plan.items,
            "consumed_from": consumed.from, "redelivered": consumed.redelivered, "abandoned": abandoned, "ok": ok,
        })
    );
    if ok { Ok(()) } else { Err("a total is off: see the line above".into()) }
}

/// Needs no lock: each add is one call, and each call is atomic.
async fn add_to_counter(connection: &Connection, adds: i64) -> Result<(), Status> {
    let spec = ValueSpec { initial: Some(integer(0)) };
    let mut value = ValueServiceClient::new(connection.open("polyglot/counter", kind::VALUE, spec).await?);
    let mut progress = Progress::new("adds", adds);
    for _ in 0..adds {
        value.add(ValueAddRequest { delta: Some(integer(1)) }).await?;
        progress.step();
    }
    Ok(())
}

/// Reads an entry and writes back one more: two calls, which only the lock makes one. Tells how often the lock came from
/// somebody who was lost with it.
async fn change_entry_under_lock(connection: &Connection, locks: i64) -> Result<u64, Status> {
    let mut lock = LockServiceClient::new(connection.open("polyglot/lock", kind::LOCK, LockSpec::default()).await?);
    let mut dict = DictServiceClient::new(connection.open("polyglot/dict", kind::DICT, DictSpec {}).await?);
    let mut progress = Progress::new("locks", locks);
    let mut abandoned = 0;
    for _ in 0..locks {
        // Without a patience this waits as long as it takes, and the lock is ours then.
        let grant = lock.acquire(LockAcquireRequest::default()).await?.into_inner();
        // Whoever died has written the entry or has not: it is whole in both cases.
        abandoned += u64::from(grant.abandoned.is_some());
        let total = dict.get(DictGetRequest { key: Some(text("total")) }).await?.into_inner();
        let more = integer(as_integer(total.value.as_ref()) + 1);
        dict.set(DictSetRequest { key: Some(text("total")), value: Some(more) }).await?;
        lock.release(LockReleaseRequest { fence: Some(grant.fence), actor: 0 }).await?;
        progress.step();
    }
    Ok(abandoned)
}

async fn open_queue(connection: &Connection) -> Result<QueueServiceClient<Door>, Status> {
    // What is taken comes back if its consumer dies before it says that it is done.
    let spec = QueueSpec { delivery: QueueDelivery::OnDone.into(), ..QueueSpec::default() };
    Ok(QueueServiceClient::new(connection.open("polyglot/queue", kind::QUEUE, spec).await?))
}

async fn produce_and_consume(connection: &Connection, plan: &Plan) -> Result<Consumed, Status> {
    let mut queue = open_queue(connection).await?;
    let mut progress = Progress::new("produced", plan.items);
    for number in 0..plan.items {
        let item = map([("from", text(&plan.language)), ("number", integer(number))]);
        queue.put(QueuePutRequest { items: vec![item], ..QueuePutRequest::default() }).await?;
        progress.step();
    }
    let mut consumed = Consumed::default();
    let mut progress = Progress::new("consumed", plan.items);
    for _ in 0..plan.items {
        consume(&mut queue, &mut consumed, None).await?;
        progress.step();
    }
    Ok(consumed)
}

/// Takes one item, whoever produced it, and says that it is done.
async fn consume(
    queue: &mut QueueServiceClient<Door>,
    consumed: &mut Consumed,
    patience_ms: Option<i64>,
) -> Result<(), Status> {
    for item in queue.get(QueueGetRequest { max: 1, patience_ms }).await?.into_inner().items {
        let from = text_in(item.item.as_ref(), "from").unwrap_or("?");
        *consumed.from.entry(from.to_owned()).or_default() += 1;
        consumed.redelivered += u64::from(item.redelivered);
        queue.task_done(QueueTaskDoneRequest { deliveries: vec![item.delivery] }).await?;
    }
    Ok(())
}

async fn wait_for_the_others(connection: &Connection, parties: i64) -> Result<(), Status> {
    let spec = BarrierSpec { parties, patience_ms: None };
    let mut barrier = BarrierServiceClient::new(connection.open("polyglot/barrier", kind::BARRIER, spec).await?);
    barrier.wait(BarrierWaitRequest { patience_ms: None }).await?;
    println!("{}", json!({"progress": "barrier", "done": parties}));
    Ok(())
}

/// A program that was killed has put in more than it has taken out: whoever comes takes the rest. Then waits for what others
/// have taken and not done yet.
async fn drain(connection: &Connection, consumed: &mut Consumed) -> Result<QueueSizeResponse, Status> {
    let mut queue = open_queue(connection).await?;
    loop {
        match consume(&mut queue, consumed, Some(0)).await {
            Ok(()) => {}
            Err(status) if reason(&status).as_deref() == Some("REASON_EMPTY") => break,
            Err(status) => return Err(status),
        }
    }
    queue.join(QueueJoinRequest { patience_ms: None }).await?;
    Ok(queue.size(QueueSizeRequest {}).await?.into_inner())
}

/// Prints how far a step is, twice a second and at its end.
struct Progress {
    name: &'static str,
    done: i64,
    of: i64,
    printed: Instant,
}

impl Progress {
    fn new(name: &'static str, of: i64) -> Self {
        Self { name, done: 0, of, printed: Instant::now() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.done == self.of || self.printed.elapsed() >= Duration::from_millis(500) {
            self.printed = Instant::now();
            println!("{}", json!({"progress": self.name, "done": self.done}));
        }
    }
}
