//! The checker: explains every answer of a run, or says what cannot be explained.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_manager::history::{CallInput, Given, Input, Left, Made, Record, Sort, Withdrawn};
use holdfast_objects::catalog::{AnyObject, AnyOp, kind_name};
use holdfast_objects::{Answer, CallId, Client, Creation, Ended, Room, SessionId, Turn, Withdrawal};
use holdfast_proto::Reason;

use super::laws::Laws;
use super::log::{Begin, End, Entry, How, What};

/// What was checked.
#[derive(Clone, Copy, Debug)]
pub struct Checked {
    /// Calls that clients began.
    pub calls: usize,
    /// Those whose answers they saw.
    pub answered: usize,
    /// Inputs that the manager applied: calls, and what no client asked for.
    pub inputs: usize,
    /// On so many objects.
    pub objects: usize,
    /// How long that took.
    pub time: Duration,
}

/// What cannot be explained.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What it is.
    pub what: String,
    /// After how many inputs it was found.
    pub inputs: usize,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} inputs: {}", self.inputs, self.what)
    }
}

/// Holds what the clients saw against what the manager did.
///
/// - Replayed against the objects as models, each input of the manager gives the answers that were recorded.
/// - Each call of the manager's is one that a client began, with the same object, op, request and fence, and is applied once;
///   those of a session in the order of their numbers, and none after the session has ended.
/// - Each answer that a client saw is the one that the manager gave: the same index, the same bytes.
/// - A call has a higher index than all that had ended before it began, on whatever object: real time is respected.
/// - Each index was given once, and none is missing.
/// - What a client did not wait for any longer was withdrawn or taken back.
/// - The laws of `Laws` hold, and nothing is left of sessions that have ended.
///
/// It takes time in proportion to the number of calls: nothing is searched for, since the index says where each call belongs.
pub fn check(records: &[Record], logs: &[Vec<Entry>]) -> Result<Checked, Violation> {
    let begin = Instant::now();
    let mut checker = Checker::default();
    let at = |inputs| move |what| Violation { what, inputs };
    checker.read_logs(logs).map_err(at(0))?;
    for record in records {
        checker.inputs += 1;
        let result = checker.input(record);
        result.map_err(|what| Violation { what: format!("{what}; in {}", shown(record)), inputs: checker.inputs })?;
    }
    let inputs = checker.inputs;
    checker.check_indexes().map_err(at(inputs))?;
    let answered = checker.check_answers().map_err(at(inputs))?;
    checker.check_real_time().map_err(at(inputs))?;
    checker.check_given_up().map_err(at(inputs))?;
    checker.check_ends().map_err(at(inputs))?;
    let (calls, objects) = (checker.calls.len(), checker.objects.len());
    Ok(Checked { calls, answered, inputs, objects, time: begin.elapsed() })
}

#[derive(Default)]
struct Checker {
    calls: HashMap<CallId, Call>,
    objects: HashMap<Id, Model>,
    sessions: HashMap<SessionId, Session>,
    indexes: Vec<u64>,
    inputs: usize,
}

type Id = [u8; 16];

/// A call, from both sides.
struct Call {
    object: Id,
    op: u32,
    request: u64,
    fence: u64,
    waits: bool,
    begin: u64,
    end: Option<(u64, Outcome)>,
    /// At which index it was applied. 0 if it was not.
    applied: u64,
    /// At which index it was answered, and what.
    answered: Option<(u64, u64, Sort)>,
    /// Whether its answer was taken back, or it was withdrawn.
    taken_back: bool,
}

enum Outcome {
    Answered { index: u64, given: u64, acknowledge: bool },
    Refused { given: u64, reason: i32 },
    GivenUp,
    Lost,
}

#[derive(Default)]
struct Session {
    /// The number of the last call that was applied, and when it began.
    last: u64,
    last_begin: u64,
    has_left: bool,
}

struct Model {
    object: AnyObject,
    page_bytes: u32,
    index: u64,
    /// The highest fence with which a call came.
    fence: u64,
    laws: Laws,
    /// The ops of calls that wait.
    waiting: HashMap<CallId, AnyOp>,
}

impl Checker {
    fn read_logs(&mut self, logs: &[Vec<Entry>]) -> Result<(), String> {
        for entry in logs.iter().flatten() {
            let id = call_id(&entry.session, entry.number)?;
            match &entry.what {
                Some(What::Begin(Begin { object, op, request, fence, waits })) => {
                    let call = Call {
                        object: id_of(object)?,
                        op: *op,
                        request: hash(request),
                        fence: *fence,
                        waits: *waits,
                        begin: entry.at,
                        end: None,
                        applied: 0,
                        answered: None,
                        taken_back: false,
                    };
                    if self.calls.insert(id, call).is_some() {
                        return Err(format!("a client made two calls with one number: {id:?}"));
                    }
                }
                Some(What::End(end)) => {
                    let call = self.calls.get_mut(&id).ok_or_else(|| format!("{id:?} ended and never began"))?;
                    call.end = Some((entry.at, outcome(end)));
                }
                None => return Err("a client wrote something that cannot be read".into()),
            }
        }
        Ok(())
    }

    fn input(&mut self, record: &Record) -> Result<(), String> {
        let input = record.input.as_ref().ok_or("the manager wrote something that cannot be read")?;
        let object = id_of(&record.object)?;
        if let Input::Made(made) = input {
            let before = self.objects.insert(object, Model::new(made)?);
            return if before.is_none() { Ok(()) } else { Err("two objects have the same id".into()) };
        }
        let call = call_id(&record.session, record.number)?;
        self.indexes.push(record.index);
        let model = self.objects.get_mut(&object).ok_or("an object is used that was never made")?;
        if record.index <= model.index {
            return Err(format!("the index {} comes after {} on one object", record.index, model.index));
        }
        model.index = record.index;
        let mut turn = Turn::new(record.index, call, model.page_bytes, Room::new(u64::MAX / 2, "object_bytes"));
        turn.fence = record.fence;
        match input {
            Input::Made(_) => unreachable!("it was dealt with"),
            Input::Call(asked) => {
                let session = self.sessions.entry(call.session).or_default();
                let known = self.calls.get_mut(&call).ok_or_else(|| format!("nobody made the call {call:?}"))?;
                session.note(call, known.begin)?;
                known.check(object, asked, record.index)?;
                if asked.fence != 0 {
                    if asked.fence < model.fence {
                        return Err(format!(
                            "a call with the fence {} was let in after one with {}",
                            asked.fence, model.fence
                        ));
                    }
                    model.fence = asked.fence;
                }
                let op = AnyOp::decode(model.object.kind(), asked.op, &asked.request).map_err(|why| why.to_string())?;
                let answer = model.object.apply(op.clone(), &mut turn);
                let given = Given::from(&answer);
                let recorded = record.answer.as_ref().ok_or("a call has no answer")?;
                if given != *recorded {
                    return Err(format!("the model answers {} and the manager {}", show(&given), show(recorded)));
                }
                model.laws.called(&op, &given);
                model.laws.answered(call, &op, &given, record.index)?;
                if matches!(answer, Answer::Wait(_)) {
                    model.waiting.insert(call, op);
                } else {
                    known.answer(record.index, &given)?;
                }
            }
            Input::Withdraw(Withdrawn { patience, waited }) => {
                let why = if *patience { Withdrawal::Patience } else { Withdrawal::Cancelled };
                model.laws.other(call, input);
                if model.object.withdraw(call, why, &mut turn) != *waited {
                    return Err(format!(
                        "the manager says {waited} of whether the call waited, and the model does not"
                    ));
                }
                if let Some(known) = self.calls.get_mut(&call).filter(|_| *waited && !patience) {
                    known.taken_back = true;
                }
            }
            Input::Undo(_) => {
                model.laws.other(call, input);
                model.object.undo(call, &mut turn);
                if let Some(known) = self.calls.get_mut(&call) {
                    known.taken_back = true;
                }
            }
            Input::Acknowledge(_) => model.object.acknowledge(call, &mut turn),
            Input::Leave(Left { closed, name, pid, host }) => {
                model.laws.other(call, input);
                turn.client = Some(Arc::new(Client { name: name.clone(), pid: *pid, host: host.clone() }));
                let how = if *closed { Ended::Closed } else { Ended::Lost };
                model.object.leave(call.session, how, &mut turn);
                self.sessions.entry(call.session).or_default().has_left = true;
            }
        }
        model.object.check_invariants();
        if turn.woken.len() != record.woken.len() {
            let (model, manager) = (turn.woken.len(), record.woken.len());
            return Err(format!("the model lets {model} calls go on that waited, and the manager {manager}"));
        }
        for (modelled, recorded) in turn.woken.iter().zip(&record.woken) {
            let (call, given) = (modelled.call, Given::from(&modelled.answer));
            if call != call_id(&recorded.session, recorded.number)? || given != recorded.answer {
                let (model, manager) = (show(&given), show(&recorded.answer));
                return Err(format!(
                    "{call:?}, which waited, is answered {model} by the model, and by the manager {manager}"
                ));
            }
            let op = model.waiting.remove(&call).ok_or_else(|| format!("{call:?} is answered and did not wait"))?;
            model.laws.answered(call, &op, &given, record.index)?;
            self.calls.get_mut(&call).ok_or("a call is answered that nobody made")?.answer(record.index, &given)?;
        }
        Ok(())
    }

    /// Each index was given once, and none is missing.
    fn check_indexes(&mut self) -> Result<(), String> {
        let mut seen = vec![false; self.indexes.len() + 1];
        for index in &self.indexes {
            let place = usize::try_from(*index).ok().and_then(|index| seen.get_mut(index));
            match place {
                Some(seen) if !*seen && *index > 0 => *seen = true,
                _ => {
                    return Err(format!(
                        "of {} indexes {index} was given twice, or another one is missing",
                        self.indexes.len()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Each answer that a client saw is the one that the manager gave. How many there were.
    fn check_answers(&self) -> Result<usize, String> {
        let mut seen = 0;
        for (id, call) in &self.calls {
            let manager = || match call.answered {
                Some((index, _, sort)) => format!("the manager answered {sort:?} at {index}"),
                None => format!("the manager has no answer to it, and applied it at {}", call.applied),
            };
            match &call.end {
                Some((_, Outcome::Answered { index, given, acknowledge })) => {
                    let sort = if *acknowledge { Sort::Delivered } else { Sort::Done };
                    if call.answered != Some((*index, *given, sort)) {
                        return Err(format!("the client saw {id:?} answered {sort:?} at {index}, and {}", manager()));
                    }
                    seen += 1;
                }
                Some((_, Outcome::Refused { given, reason })) => {
                    let is_same =
                        call.answered.is_some_and(|(_, answer, sort)| sort == Sort::Refused && answer == *given);
                    // What came too late does not reach the object.
                    let fence = self.objects.get(&call.object).map_or(0, |model| model.fence);
                    let is_late = *reason == Reason::StaleFence as i32 && 0 < call.fence && call.fence < fence;
                    if !(is_same || call.applied == 0 && is_late) {
                        let reason = Reason::try_from(*reason);
                        return Err(format!("the client saw {id:?} refused for {reason:?}, and {}", manager()));
                    }
                    seen += 1;
                }
                Some((_, Outcome::GivenUp | Outcome::Lost)) | None => {}
            }
        }
        Ok(seen)
    }

    /// A call has a higher index than all whose answers were there before it began.
    fn check_real_time(&self) -> Result<(), String> {
        let mut begins: Vec<(u64, u64)> =
            self.calls.values().filter(|call| call.applied != 0).map(|call| (call.begin, call.applied)).collect();
        let mut ends: Vec<(u64, u64)> = self.calls.values().filter_map(Call::seen).collect();
        begins.sort_unstable();
        ends.sort_unstable();
        let (mut ends, mut highest) = (ends.into_iter().peekable(), 0);
        for (begin, index) in begins {
            while let Some((_, ended)) = ends.next_if(|(end, _)| *end < begin) {
                highest = highest.max(ended);
            }
            if index <= highest {
                return Err(format!("a call with the index {index} began after one had ended that has {highest}"));
            }
        }
        Ok(())
    }

    /// What a client did not wait for any longer was taken back, unless its session ended: it says so before its next call.
    fn check_given_up(&self) -> Result<(), String> {
        for (id, call) in &self.calls {
            let Some((end, Outcome::GivenUp)) = call.end else { continue };
            let went_on = self.sessions.get(&id.session).is_some_and(|session| session.last_begin > end);
            // What was refused, or in vain, granted nothing.
            let was_granted = call.answered.is_none_or(|(_, _, sort)| sort != Sort::Refused);
            if call.waits && call.applied != 0 && went_on && was_granted && !call.taken_back {
                return Err(format!("{id:?} was given up by its client, which went on, and it was not taken back"));
            }
        }
        Ok(())
    }

    /// Nothing is left of sessions: all have ended.
    fn check_ends(&self) -> Result<(), String> {
        for model in self.objects.values() {
            for session in self.sessions.keys() {
                if model.object.involves(*session) {
                    let kind = kind_name(model.object.kind());
                    return Err(format!("{session:?} has ended, and a {kind} was not told: {:?}", model.object));
                }
            }
        }
        Ok(())
    }
}

impl Model {
    fn new(made: &Made) -> Result<Self, String> {
        let Made { kind, spec, page_bytes } = made;
        let mut creation = Creation { seed: 1, room: Room::new(u64::MAX / 2, "object_bytes") };
        let object = AnyObject::create(*kind, spec, &mut creation, &mut |_| Ok(())).map_err(|why| why.to_string())?;
        let laws = Laws::default();
        Ok(Self { object, page_bytes: *page_bytes, index: 0, fence: 0, laws, waiting: HashMap::new() })
    }
}

impl Session {
    /// Calls are applied in the order of their numbers, each once, while the session lives.
    fn note(&mut self, call: CallId, begin: u64) -> Result<(), String> {
        if self.has_left {
            return Err(format!("{call:?} was applied after its session had ended"));
        }
        if call.number <= self.last {
            return Err(format!(
                "the call {} was applied after {}, which the session made later or which it is",
                call.number, self.last
            ));
        }
        (self.last, self.last_begin) = (call.number, begin);
        Ok(())
    }
}

impl Call {
    /// What the manager applied is what the client asked.
    fn check(&mut self, object: Id, asked: &CallInput, index: u64) -> Result<(), String> {
        let is_same = self.object == object
            && self.op == asked.op
            && self.request == hash(&asked.request)
            && self.fence == asked.fence;
        if !is_same {
            return Err("the manager applied something else than the client asked".into());
        }
        self.applied = index;
        Ok(())
    }

    fn answer(&mut self, index: u64, given: &Given) -> Result<(), String> {
        let answer = (index, hash_of(given.sort(), &given.body, given.detail), given.sort());
        match self.answered.replace(answer) {
            None => Ok(()),
            Some((before, ..)) => Err(format!("a call is answered twice, at {before} and at {index}")),
        }
    }

    /// When the client had its answer, and the index of that.
    fn seen(&self) -> Option<(u64, u64)> {
        match (&self.end, self.answered) {
            (Some((at, Outcome::Answered { .. } | Outcome::Refused { .. })), Some((index, ..))) => Some((*at, index)),
            _ => None,
        }
    }
}

fn outcome(end: &End) -> Outcome {
    match end.how() {
        How::Answered => Outcome::Answered {
            index: end.index,
            given: hash_of(if end.acknowledge { Sort::Delivered } else { Sort::Done }, &end.body, 0),
            acknowledge: end.acknowledge,
        },
        How::Refused => {
            Outcome::Refused { given: hash_of(Sort::Refused, &end.body, end.reason.into()), reason: end.reason }
        }
        How::GivenUp => Outcome::GivenUp,
        How::Lost => Outcome::Lost,
    }
}

fn hash_of(sort: Sort, body: &[u8], detail: i64) -> u64 {
    hash(&(sort as i32, body, detail))
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn id_of(bytes: &[u8]) -> Result<Id, String> {
    bytes.try_into().map_err(|_| "an id has not 16 bytes".into())
}

fn call_id(session: &[u8], number: u64) -> Result<CallId, String> {
    Ok(CallId { session: SessionId(id_of(session)?), number })
}

fn show(given: &Given) -> String {
    match given.sort() {
        Sort::Refused => format!("Refused({}: {})", given.detail, String::from_utf8_lossy(&given.body)),
        Sort::Wait => format!("Wait({} ms)", given.detail),
        sort => format!("{sort:?}({:?})", given.body),
    }
}

fn shown(record: &Record) -> String {
    let mut shown = format!("{record:?}");
    if shown.len() > 600 {
        shown.truncate((0..=600).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0));
    }
    shown
}

#[cfg(test)]
mod tests;
