//! The door to the bare machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_objects::catalog::{AnyObject, AnyOp, AnyReply};
use holdfast_objects::{
    Answer as Outcome, CallId, Client, Creation, Ended, Room, SessionId, Turn, Waiters, Withdrawal,
};
use holdfast_proto::Refusal;
use holdfast_proto::ops::Response as _;

use crate::door::{Answer, Answered, Caller, Door, Input, Setup};
use crate::parse::NAME_MAX;

/// The door to the machine of a kind, with nothing around it.
///
/// It also holds the machine to what its trait says of every kind: who waits, and that nothing is left of a session that
/// ended.
#[derive(Debug)]
pub struct Machine {
    /// Whether the object is made anew from its state after each input.
    is_restored: bool,
    world: Option<World>,
}

/// An object, and what has been done to it.
#[derive(Debug)]
struct World {
    object: AnyObject,
    index: u64,
    bytes: u64,
    waiters: Waiters,
    /// The last call under each name.
    calls: BTreeMap<Caller, CallId>,
    waiting: BTreeMap<CallId, Caller>,
    /// The answers that are kept until their callers have them.
    delivered: BTreeSet<CallId>,
}

/// What a machine's page may hold.
const PAGE_BYTES: u32 = 1 << 16;

/// The bytes that an object may have where the scenario says nothing of it.
const AMPLE: u64 = 1 << 30;

impl Machine {
    /// The machine as it is.
    #[must_use]
    pub fn plain() -> Self {
        Self { is_restored: false, world: None }
    }

    /// The machine, which is made anew from its state after each input.
    #[must_use]
    pub fn restored() -> Self {
        Self { is_restored: true, world: None }
    }
}

impl Door for Machine {
    fn name(&self) -> &'static str {
        if self.is_restored { "the machine, restored after each input" } else { "the machine" }
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn begin(&mut self, setup: &Setup<'_>) -> Result<Result<(), Refusal>, String> {
        self.world = None;
        let (mut bytes, mut waiters) = (AMPLE, Waiters::ANY);
        for (name, value) in setup.limits {
            match name.as_str() {
                "object_bytes" => bytes = *value,
                "object_waiters" => waiters.of_object = usize::try_from(*value).map_err(|error| error.to_string())?,
                _ => return Err(format!("a machine knows the limits object_bytes and object_waiters, not {name}")),
            }
        }
        let made = AnyObject::create(setup.kind.number(), setup.spec, &mut creation(bytes), &mut |_| Ok(()));
        Ok(made.map(|object| {
            self.world = Some(World {
                object,
                index: 1000,
                bytes,
                waiters,
                calls: BTreeMap::new(),
                waiting: BTreeMap::new(),
                delivered: BTreeSet::new(),
            });
        }))
    }

    fn input(&mut self, input: &Input<'_>) -> Result<Vec<Answered>, String> {
        let came = self.world().input(input)?;
        self.settle()?;
        Ok(came)
    }

    fn heard(&mut self, caller: &Caller) -> Result<Vec<Answered>, String> {
        let came = self.world().heard(caller)?;
        self.settle()?;
        Ok(came)
    }

    fn end(&mut self) -> Result<(), String> {
        self.world = None;
        Ok(())
    }
}

impl Machine {
    fn world(&mut self) -> &mut World {
        self.world.as_mut().expect("a scenario begins before anything happens in it")
    }

    /// What holds after each input.
    fn settle(&mut self) -> Result<(), String> {
        let is_restored = self.is_restored;
        let world = self.world();
        if is_restored {
            world.restore()?;
        }
        world.check()
    }
}

impl World {
    fn input(&mut self, input: &Input<'_>) -> Result<Vec<Answered>, String> {
        match *input {
            Input::Call { caller, op, request } => {
                let mut turn = self.turn_of_new_call(caller);
                let outcome = match AnyOp::decode(op.kind, op.number, request) {
                    Ok(op) => self.object.apply(op, &mut turn),
                    Err(refusal) => Outcome::Refused(refusal),
                };
                if let Outcome::Wait(_) = outcome {
                    self.waiting.insert(turn.call, caller.clone());
                    return self.woken(turn);
                }
                let answer = self.answer(turn.call, outcome, turn.index)?;
                let mut came = vec![Answered { caller: caller.clone(), answer }];
                came.extend(self.woken(turn)?);
                Ok(came)
            }
            Input::Open { caller, spec } => {
                let answer = match self.object.admits(spec) {
                    Ok(()) => Answer::Done { response: Vec::new(), index: self.index },
                    Err(refusal) => Answer::Refused(refusal),
                };
                Ok(vec![Answered { caller: caller.clone(), answer }])
            }
            Input::Withdraw(caller) => self.withdraw(caller, Withdrawal::Cancelled),
            Input::LosePatience(caller) => self.withdraw(caller, Withdrawal::Patience),
            Input::Miss(caller) => {
                let call = self.call(caller)?;
                let mut turn = self.turn(call);
                self.object.undo(call, &mut turn);
                self.delivered.remove(&call);
                self.woken(turn)
            }
            Input::Close(session) => self.leave(session, Ended::Closed),
            Input::Lose(session) => self.leave(session, Ended::Lost),
        }
    }

    fn withdraw(&mut self, caller: &Caller, why: Withdrawal) -> Result<Vec<Answered>, String> {
        let call = self.call(caller)?;
        let waits = self.waiting.contains_key(&call);
        let mut turn = self.turn(call);
        if self.object.withdraw(call, why, &mut turn) != waits {
            return Err(format!("the machine does not know whether the call of {caller} waited"));
        }
        let is_answered = turn.woken.iter().any(|woken| woken.call == call);
        // Who must have something before it is answered goes on waiting when its patience is over.
        let must_be_answered = waits && why == Withdrawal::Cancelled;
        if must_be_answered && !is_answered {
            return Err(format!("the call of {caller}, which was withdrawn, was not answered in the same turn"));
        }
        self.woken(turn)
    }

    fn leave(&mut self, session: &str, how: Ended) -> Result<Vec<Answered>, String> {
        let session = id(session);
        let mut turn = self.turn(CallId { session, number: 0 });
        self.object.leave(session, how, &mut turn);
        self.waiting.retain(|call, _| call.session != session);
        self.delivered.retain(|call| call.session != session);
        if self.object.involves(session) {
            return Err("the machine has not forgotten a session that ended".into());
        }
        self.woken(turn)
    }

    fn heard(&mut self, caller: &Caller) -> Result<Vec<Answered>, String> {
        let call = self.call(caller)?;
        if !self.delivered.remove(&call) {
            return Ok(Vec::new());
        }
        let mut turn = self.turn(call);
        self.object.acknowledge(call, &mut turn);
        self.woken(turn)
    }

    fn call(&self, caller: &Caller) -> Result<CallId, String> {
        self.calls.get(caller).copied().ok_or_else(|| format!("{caller} made no call"))
    }

    fn turn_of_new_call(&mut self, caller: &Caller) -> Turn {
        let call = CallId { session: id(&caller.session), number: self.index };
        self.calls.insert(caller.clone(), call);
        let mut turn = self.turn(call);
        turn.waiters = self.waiters;
        turn
    }

    /// Indexes rise as in a manager that has other objects, too.
    fn turn(&mut self, call: CallId) -> Turn {
        self.index += 7;
        let room = Room::new(self.bytes.saturating_sub(self.object.bytes()), "object_bytes");
        let mut turn = Turn::new(self.index, call, PAGE_BYTES, room);
        turn.client = Some(Arc::new(Client { name: name(call.session), pid: 4711, host: "here".into() }));
        turn
    }

    /// The answers to calls that waited.
    fn woken(&mut self, turn: Turn) -> Result<Vec<Answered>, String> {
        let mut came = Vec::new();
        for woken in turn.woken {
            let Some(caller) = self.waiting.remove(&woken.call) else {
                return Err(format!("the machine answered {:?}, which did not wait: {:?}", woken.call, woken.answer));
            };
            came.push(Answered { caller, answer: self.answer(woken.call, woken.answer, turn.index)? });
        }
        Ok(came)
    }

    fn answer(&mut self, call: CallId, outcome: Outcome<AnyReply>, index: u64) -> Result<Answer, String> {
        let reply = match outcome {
            Outcome::Done(reply) => reply,
            Outcome::Delivered(reply) => {
                self.delivered.insert(call);
                reply
            }
            Outcome::Refused(refusal) => return Ok(Answer::Refused(refusal)),
            Outcome::Wait(_) => return Err(format!("{call:?}, which waited, was answered with waiting")),
        };
        let mut response = Vec::new();
        reply.encode(&mut response);
        Ok(Answer::Done { response, index })
    }

    fn restore(&mut self) -> Result<(), String> {
        let restored = AnyObject::restore(self.object.kind(), &self.object.state(), &mut creation(self.bytes));
        self.object = restored.map_err(|refusal| format!("the object does not take its own state: {refusal}"))?;
        Ok(())
    }

    /// That the machine is as its kind says that it always is, and says of those who wait what it answered.
    fn check(&self) -> Result<(), String> {
        self.object.check_invariants();
        let mut shown = BTreeSet::new();
        self.object.visit_waiting(&mut |call| {
            shown.insert(call);
        });
        if !shown.iter().eq(self.waiting.keys()) {
            return Err(format!("the machine shows that {shown:?} wait, and not {:?}", self.waiting));
        }
        match self.waiting.iter().find(|(call, _)| !self.object.involves(call.session)) {
            Some((_, caller)) => Err(format!("the machine does not know the session of {caller}, which waits")),
            None => Ok(()),
        }
    }
}

fn creation(bytes: u64) -> Creation {
    Creation { seed: 1, room: Room::new(bytes, "object_bytes") }
}

/// The id of the session that is called so: its name, filled up.
fn id(name: &str) -> SessionId {
    let mut id = [0; NAME_MAX];
    id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    SessionId(id)
}

fn name(session: SessionId) -> String {
    session.0.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}
