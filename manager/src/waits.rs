//! The calls that wait, and the answers to those that do not any more.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use holdfast_objects::catalog::AnyReply;
use holdfast_objects::{Answer, CallId, Patience, SessionId, Waiters, Woken};
use holdfast_proto::Refusal;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::deadlines::Deadlines;
use crate::deliveries::{Deliveries, Step};
use crate::limits::Limits;
use crate::slot::{Held, Slot};
use crate::steps::in_steps;

/// The numbers of unary calls have this bit, those of a session's stream do not.
pub(crate) const UNARY: u64 = 1 << 63;

/// All calls that wait.
///
/// - A call is here from the turn in which it began to wait, in whose slot it is noted, until it is answered. So an answer
///   finds it, on whatever thread it is given.
/// - Its answer goes to its session, and waits there until the connection that has the session takes it; also while none
///   has. If the session has ended nobody needs it: its end is told to the object, which takes back what it granted.
/// - Where one turn answers many calls, they are told of it a few at a time, and others have their turn between.
#[derive(Debug)]
pub(crate) struct Waits {
    sessions: DashMap<SessionId, Arc<Waiting>, RandomState>,
    count: AtomicUsize,
    deadlines: Deadlines,
    deliveries: Deliveries,
    limits: Arc<Limits>,
}

/// The calls of one session that wait, and the answers to those that did.
pub(crate) struct Waiting {
    session: SessionId,
    /// How many wait.
    count: AtomicUsize,
    /// There are answers. Read without the lock, at each turn of the connection.
    is_answered: AtomicBool,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    calls: HashMap<u64, Call, RandomState>,
    /// To calls of the stream.
    answers: VecDeque<Answered>,
    /// To unary calls.
    unary: VecDeque<Answered>,
    /// Wakes the connection that has the session.
    waker: Option<Waker>,
}

/// A call that waits.
struct Call {
    slot: Held,
    deadline: Option<Instant>,
}

/// A wait that has been answered.
struct EndedWait {
    deadline: Option<Instant>,
    /// It is the first answer since the connection of its session has taken all.
    is_first: bool,
}

/// A call that waited, and its answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) number: u64,
    pub(crate) index: u64,
    pub(crate) answer: Answer<AnyReply>,
    /// Where it waited.
    pub(crate) slot: Held,
}

impl Waits {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        Self {
            sessions: DashMap::default(),
            count: AtomicUsize::new(0),
            deadlines: Deadlines::default(),
            deliveries: Deliveries::default(),
            limits,
        }
    }

    /// A session begins.
    pub(crate) fn join(&self, session: SessionId) -> Arc<Waiting> {
        let waiting = Arc::new(Waiting {
            session,
            count: AtomicUsize::new(0),
            is_answered: AtomicBool::new(false),
            inside: Mutex::default(),
        });
        self.sessions.insert(session, waiting.clone());
        waiting
    }

    /// A session ends. The slots at which its calls waited are returned, each once: they are to be told.
    pub(crate) fn leave(&self, waiting: &Waiting) -> Vec<Held> {
        self.sessions.remove(&waiting.session);
        let Inside { calls, answers, unary, .. } = std::mem::take(&mut *waiting.inside.lock());
        let ended = waiting.count.swap(0, Ordering::Relaxed);
        self.count.fetch_sub(ended, Ordering::Relaxed);
        let mut slots = Vec::with_capacity(calls.len());
        for (number, call) in calls {
            if let Some(deadline) = call.deadline {
                self.deadlines.remove(deadline, CallId { session: waiting.session, number });
            }
            slots.push(call.slot);
        }
        // What these were granted nobody will hear of.
        slots.extend(answers.into_iter().chain(unary).map(|answered| answered.slot));
        // However many calls waited at one, it is told once.
        slots.sort_unstable_by_key(|slot| Arc::as_ptr(slot).addr());
        slots.dedup_by(|slot, before| Arc::ptr_eq(slot, before));
        slots
    }

    /// How many calls wait.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many more may wait, of this session.
    pub(crate) fn room(&self, waiting: &Waiting) -> Waiters {
        let Limits { waiters, session_waiters, object_waiters, .. } = *self.limits;
        let reached = if waiting.len() >= session_waiters {
            Some(("session_waiters", session_waiters))
        } else if self.len() >= waiters {
            Some(("waiters", waiters))
        } else {
            None
        };
        Waiters { of_object: object_waiters, reached }
    }

    /// A call begins to wait. To be called in the turn that says so, while its slot is locked.
    pub(crate) fn begin(&self, waiting: &Waiting, number: u64, slot: &Arc<Slot>, patience: Patience) {
        let deadline = match patience {
            Patience::Endless => None,
            // One that no clock can show never comes.
            Patience::For(patience) => Instant::now().checked_add(patience),
        };
        waiting.inside.lock().calls.insert(number, Call { slot: slot.clone().into(), deadline });
        waiting.count.fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        // Afterwards: one that is over already must find the call.
        if let Some(deadline) = deadline {
            self.deadlines.add(deadline, waiting.call(number));
        }
    }

    /// Hands the answers of a turn to the sessions whose calls waited: few at once, and of many some, in their order. To be
    /// called when the slot is free again.
    pub(crate) fn answer(self: &Arc<Self>, index: u64, woken: Vec<Woken>) {
        if Deliveries::is_few(&woken) {
            for woken in woken {
                self.hand_out(index, woken);
            }
        } else if self.deliveries.add(index, woken) {
            let waits = self.clone();
            in_steps(move || waits.hand_out_some());
        }
    }

    /// Hands out as many answers as are handed out without a pause. Whether some may be left over.
    fn hand_out_some(&self) -> bool {
        let mut step = Step::default();
        while step.goes_on() {
            let Some((index, woken)) = self.deliveries.next() else { return false };
            step.note(self.hand_out(index, woken));
        }
        true
    }

    /// Hands an answer to the session whose call waited. Whether that has woken its connection.
    fn hand_out(&self, index: u64, Woken { call, answer }: Woken) -> bool {
        let waiting = self.sessions.get(&call.session).map(|waiting| waiting.clone());
        let Some(ended) = waiting.and_then(|waiting| waiting.answer(call.number, index, answer)) else { return false };
        self.count.fetch_sub(1, Ordering::Relaxed);
        if let Some(deadline) = ended.deadline {
            self.deadlines.remove(deadline, call);
        }
        ended.is_first
    }

    /// Refuses calls whose object is gone.
    pub(crate) fn refuse(self: &Arc<Self>, calls: Vec<CallId>, refusal: &Refusal) {
        let refused = |call| Woken { call, answer: Answer::Refused(refusal.clone()) };
        self.answer(0, calls.into_iter().map(refused).collect());
    }

    /// Hands each call whose time is over to `expire`, with the slot at which it waits, as long as it is polled.
    pub(crate) async fn run(&self, mut expire: impl FnMut(&Arc<Slot>, CallId)) {
        let expire = |call: CallId| {
            let waiting = self.sessions.get(&call.session).map(|waiting| waiting.clone());
            if let Some(slot) = waiting.and_then(|waiting| waiting.expire(call.number)) {
                expire(&slot, call);
            }
        };
        self.deadlines.run(expire).await;
    }
}

impl Waiting {
    /// The id of a call of this session.
    pub(crate) fn call(&self, number: u64) -> CallId {
        CallId { session: self.session, number }
    }

    /// How many calls wait.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Another connection has the session, or none: who is to be woken for an answer.
    pub(crate) fn set_waker(&self, waker: Option<Waker>) {
        self.inside.lock().waker = waker;
    }

    /// The next answer to a call of the stream.
    #[inline]
    pub(crate) fn next_answer(&self) -> Option<Answered> {
        if self.is_answered.load(Ordering::Acquire) { self.take(|inside| &mut inside.answers) } else { None }
    }

    /// The next answer to a unary call.
    #[inline]
    pub(crate) fn next_unary_answer(&self) -> Option<Answered> {
        if self.is_answered.load(Ordering::Acquire) { self.take(|inside| &mut inside.unary) } else { None }
    }

    fn take(&self, of: impl FnOnce(&mut Inside) -> &mut VecDeque<Answered>) -> Option<Answered> {
        let mut inside = self.inside.lock();
        let answered = of(&mut inside).pop_front();
        if inside.answers.is_empty() && inside.unary.is_empty() {
            inside.answers.shrink_to(64);
            inside.unary.shrink_to(64);
            self.is_answered.store(false, Ordering::Release);
        }
        answered
    }

    /// What has ended, if the call waited.
    fn answer(&self, number: u64, index: u64, answer: Answer<AnyReply>) -> Option<EndedWait> {
        let mut inside = self.inside.lock();
        let Call { slot, deadline } = inside.calls.remove(&number)?;
        if inside.calls.capacity() > 64 && inside.calls.len() < inside.calls.capacity() / 8 {
            inside.calls.shrink_to(64);
        }
        let answers = if number & UNARY == 0 { &mut inside.answers } else { &mut inside.unary };
        answers.push_back(Answered { number, index, answer, slot });
        self.count.fetch_sub(1, Ordering::Relaxed);
        let is_first = !self.is_answered.load(Ordering::Relaxed);
        self.is_answered.store(true, Ordering::Release);
        let waker = inside.waker.clone();
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(EndedWait { deadline, is_first })
    }

    /// The time of a call is over: where it waits.
    fn expire(&self, number: u64) -> Option<Arc<Slot>> {
        let mut inside = self.inside.lock();
        let call = inside.calls.get_mut(&number)?;
        call.deadline = None;
        Some(Arc::clone(&call.slot))
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("calls", &self.len()).finish_non_exhaustive()
    }
}
