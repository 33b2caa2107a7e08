//! The clients of a run: they make arbitrary calls on objects of every kind, and write down what comes of each.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use holdfast::proxy::anything::{Anything, Question, Told};
use holdfast::proxy::{Async, Blocking};
use holdfast::{Error, Options, blocking};
use holdfast_objects::catalog::AnyOp;
use holdfast_objects::testing::Source;
use holdfast_proto::datum::HasReferences as _;

use super::log::{Begin, End, How, Log, What};
use super::ops::{Held, arbitrary, may_wait};
use super::plan::{Named, Plan};

/// How long a call may take that does not wait for others.
const CALL: Duration = Duration::from_secs(30);

/// A client tells its test each time that it has made so many calls.
pub(super) const TOLD_CALLS: u64 = 32;

/// The connection of a client, through either library.
enum Manager {
    Async(holdfast::Manager),
    Blocking(blocking::Manager),
}

enum Object {
    Async(Anything<Async>),
    Blocking(Anything<Blocking>),
}

struct Client {
    plan: Plan,
    client: u64,
    life: u64,
    manager: Manager,
    log: Arc<Log>,
    made: AtomicU64,
    over: Arc<AtomicBool>,
}

/// Makes calls until the test is over.
pub fn run(plan: Plan, client: u64, life: u64, log: &Path) {
    let over = Arc::new(AtomicBool::new(false));
    thread::spawn({
        let over = over.clone();
        move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            over.store(true, Ordering::Relaxed);
        }
    });
    let log = Arc::new(Log::create(log));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options::default().call_timeout(Some(CALL)).busy_poll(Duration::ZERO);
    let new =
        |manager| Client { plan, client, life, manager, log: log.clone(), made: AtomicU64::new(0), over: over.clone() };
    if client % 4 == 3 {
        let Some(manager) = connect(&over, || blocking::Manager::connect_with(&options).ok()) else { return };
        let client = new(Manager::Blocking(manager));
        thread::scope(|scope| {
            for actor in 0..plan.actors {
                let client = &client;
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(client.act(actor));
                });
            }
        });
        if let Manager::Blocking(manager) = client.manager {
            manager.close();
        }
    } else {
        let Some(manager) = connect(&over, || runtime.block_on(holdfast::Manager::connect_with(&options)).ok()) else {
            return;
        };
        runtime.block_on(async {
            let client = new(Manager::Async(manager));
            futures_util::future::join_all((0..plan.actors).map(|actor| client.act(actor))).await;
            if let Manager::Async(manager) = client.manager {
                manager.close().await;
            }
        });
    }
}

/// Tries until it is let in: the way to the manager may be closed for a moment.
fn connect<T>(over: &AtomicBool, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    while !over.load(Ordering::Relaxed) {
        if let Some(connected) = attempt() {
            return Some(connected);
        }
    }
    None
}

impl Client {
    /// One of the threads or tasks.
    async fn act(&self, actor: u64) {
        let mut opened: HashMap<String, Object> = HashMap::new();
        let mut held: Vec<Held> = Vec::new();
        let mut last_fence = 0;
        for calls in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            // Each call has choices of its own, which do not depend on what came of others.
            let mut source = self.plan.source(&[4, self.client, self.life, actor, calls]);
            let next = held.pop().filter(|_| source.below(3) != 0);
            let (named, op) = match &next {
                Some(held) => (held.named.clone(), held.follow_up(&mut source)),
                None => {
                    let named = self.plan.object(&mut source, calls + self.life * 50);
                    let unique = self.client << 40 | self.life << 32 | actor << 24 | calls;
                    let op = arbitrary(named.kind, &mut source, unique);
                    (named, op)
                }
            };
            let mut refers = false;
            op.visit_references(&mut |_| refers = true);
            if refers {
                // The library refuses what it knows to refer to nothing.
                continue;
            }
            if opened.len() > 40 {
                opened.clear();
                held.clear();
            }
            let Some(object) = self.object(&mut opened, &named).await else { continue };
            // Some come with the fence of what was granted last, whether that is still held or not.
            let fence = if source.below(12) == 0 { last_fence } else { 0 };
            match self.call(object, &op, fence, &mut source).await {
                Ok(told) => {
                    if let Some(next) = next.and_then(|held| held.after(&op)) {
                        held.push(next);
                    }
                    if let Some(granted) = Held::of(&named, &op, &told.response) {
                        if granted.fence != 0 {
                            last_fence = granted.fence;
                        }
                        held.push(granted);
                    }
                }
                Err(Error::Refused(_) | Error::Timeout { .. }) => {}
                Err(_) => {
                    opened.clear();
                    held.clear();
                }
            }
            if self.made.fetch_add(1, Ordering::Relaxed) % TOLD_CALLS == TOLD_CALLS - 1 {
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "{TOLD_CALLS}").and_then(|()| out.flush());
            }
        }
    }

    /// `None` if there is no session to be had at the moment.
    async fn object<'a>(&self, opened: &'a mut HashMap<String, Object>, named: &Named) -> Option<&'a Object> {
        if !opened.contains_key(&named.name) {
            let Named { kind, name, spec } = named;
            let object = match &self.manager {
                Manager::Async(manager) => manager.anything(name, *kind, spec.clone()).await.map(Object::Async),
                Manager::Blocking(manager) => manager.anything(name, *kind, spec.clone()).map(Object::Blocking),
            };
            opened.insert(name.clone(), object.ok()?);
        }
        opened.get(&named.name)
    }

    /// Makes a call and writes down what comes of it.
    async fn call(&self, object: &Object, op: &AnyOp, fence: u64, source: &mut Source) -> Result<Told, Error> {
        let mut request = Vec::new();
        op.encode(&mut request);
        // Some wait long enough for whoever else there is to go away meanwhile, or themselves.
        let longest = if source.below(8) == 0 { 600 } else { 50 };
        let given_up = Duration::from_millis(5 + source.below(longest));
        let waits = may_wait(op);
        let drops = source.below(2) == 0;
        // Others are left alone now and then, too.
        let in_time = if waits || source.below(40) == 0 { given_up } else { CALL };
        let (session, id) = match object {
            Object::Async(object) => (object.session(), object.object()),
            Object::Blocking(object) => (object.session(), object.object()),
        };
        let question = Question { op: op.number(), request: request.clone(), fence, waits };
        let number = Arc::new(AtomicU64::new(0));
        let begin = {
            let (log, session, noted) = (self.log.clone(), session.clone(), number.clone());
            let begun = Begin { object: id.into(), op: op.number(), request, fence, waits };
            move |number| {
                noted.store(number, Ordering::Relaxed);
                log.write(&session, number, What::Begin(begun));
            }
        };
        let told = match object {
            Object::Async(object) if drops => tokio::time::timeout(in_time, object.ask(question, CALL, begin))
                .await
                .unwrap_or(Err(Error::Timeout { op: "a call that was dropped", timeout: in_time })),
            Object::Async(object) => object.ask(question, in_time, begin).await,
            Object::Blocking(object) => object.ask(question, in_time, begin),
        };
        let number = number.load(Ordering::Relaxed);
        if number != 0 {
            self.log.write(&session, number, What::End(end(&told)));
        }
        told
    }
}

fn end(told: &Result<Told, Error>) -> End {
    match told {
        Ok(Told { index, response, acknowledge }) => End {
            how: How::Answered.into(),
            index: *index,
            body: response.clone(),
            acknowledge: *acknowledge,
            reason: 0,
        },
        Err(Error::Refused(refusal)) => End {
            how: How::Refused.into(),
            body: refusal.message.clone().into_bytes(),
            reason: refusal.reason,
            ..End::default()
        },
        Err(Error::Timeout { .. }) => End { how: How::GivenUp.into(), ..End::default() },
        Err(error) => End { how: How::Lost.into(), body: error.to_string().into_bytes(), ..End::default() },
    }
}
