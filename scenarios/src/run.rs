//! How a scenario is run through a door.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use prost_reflect::MessageDescriptor;

use crate::door::{Answer, Answered, Caller, Door, Input, Setup};
use crate::scenario::{Action, Expected, Place, Scenario, Step, What, reason_name};
use crate::template::{self, Bindings, Variable};

/// What came of a scenario that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was as it says.
    Passed,
    /// It was not run: it needs an exact door, and this is none.
    NeedsExactDoor,
    /// It was not run: it needs sessions that say who they are and goodbye, and those of this door do not.
    NeedsGoodbyes,
}

/// Where and how a scenario did not come out as it says.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The name of the file.
    pub file: String,
    /// What the scenario says.
    pub title: String,
    /// The door that it was run through.
    pub door: &'static str,
    /// The line.
    pub line: usize,
    /// What stands there.
    pub text: String,
    /// What was wrong.
    pub problem: String,
}

impl Scenario {
    /// Runs it through a door.
    pub fn run(&self, door: &mut impl Door) -> Result<Outcome, Failure> {
        if self.is_exact() && !door.is_exact() {
            return Ok(Outcome::NeedsExactDoor);
        }
        if self.needs_goodbyes() && !door.has_goodbyes() {
            return Ok(Outcome::NeedsGoodbyes);
        }
        let name = door.name();
        let mut run = Run::new(self, door);
        run.all().map(|()| Outcome::Passed).map_err(|(place, problem)| Failure {
            file: self.file.clone(),
            title: self.title.clone(),
            door: name,
            line: place.line,
            text: place.text,
            problem,
        })
    }

    fn first_place(&self) -> Place {
        Place { line: self.line, text: format!("# {}", self.title) }
    }
}

/// Where something is wrong, and what.
type Wrong = (Place, String);

/// The answers that are to come, each with where that stands.
type ToCome<'s> = BTreeMap<Caller, (Place, &'s Expected)>;

/// A scenario on its way.
struct Run<'a, D> {
    scenario: &'a Scenario,
    door: &'a mut D,
    bindings: Bindings,
    /// The response that the last call under each name has. A session that asked for the object has none.
    calls: BTreeMap<Caller, Option<MessageDescriptor>>,
    waiting: BTreeSet<Caller>,
    /// Those whose answer is on its way.
    held: BTreeSet<Caller>,
    /// The sessions that have ended.
    ended: BTreeSet<String>,
    /// What came while its time had not come: patience that ended at once.
    early: Vec<Answered>,
}

impl<'a, D: Door> Run<'a, D> {
    fn new(scenario: &'a Scenario, door: &'a mut D) -> Self {
        Self {
            scenario,
            door,
            bindings: Bindings::new(),
            calls: BTreeMap::new(),
            waiting: BTreeSet::new(),
            held: BTreeSet::new(),
            ended: BTreeSet::new(),
            early: Vec::new(),
        }
    }

    fn all(&mut self) -> Result<(), Wrong> {
        let scenario = self.scenario;
        let first = || scenario.first_place();
        self.begin()?;
        for (at, step) in scenario.steps.iter().enumerate() {
            self.step(step, scenario.steps.get(at + 1))?;
        }
        let declared = |caller: &&Caller| !scenario.still_waits_at_the_end(caller);
        if let Some(caller) = self.waiting.iter().find(declared) {
            let problem =
                format!("a call of {caller} was never answered: if it should not be, end with `{caller} still waits`");
            return Err((scenario.steps.last().map_or_else(first, |step| step.at.clone()), problem));
        }
        self.door.end().map_err(|problem| (first(), problem))
    }

    fn begin(&mut self) -> Result<(), Wrong> {
        let scenario = self.scenario;
        let here = |problem| (scenario.first_place(), problem);
        let spec = scenario.spec.fill(&self.bindings).map_err(here)?;
        let setup = Setup { kind: &scenario.kind, spec: &spec, limits: &scenario.limits };
        let made = self.door.begin(&setup).map_err(here)?;
        match (&scenario.refused, made) {
            (None, Ok(())) => Ok(()),
            (Some((line, expected)), made) => {
                let answer = match made {
                    Ok(()) => Answer::Done { response: Vec::new(), index: 0 },
                    Err(refusal) => Answer::Refused(refusal),
                };
                let compared = expected.compare(&answer, None, &mut self.bindings);
                compared.map_err(|problem| (Place { line: *line, text: "spec".into() }, problem))
            }
            (None, Err(refusal)) => Err(here(format!("the object was not made: {refusal}"))),
        }
    }

    fn step(&mut self, step: &Step, next: Option<&Step>) -> Result<(), Wrong> {
        let here = |problem| (step.at.clone(), problem);
        self.check(step).map_err(here)?;
        let mut came: VecDeque<Answered> = self.input(step).map_err(here)?.into();
        let mut expected = self.expected(step)?;
        while let Some(answered) = came.pop_front() {
            let caller = &answered.caller;
            let Some((place, answer)) = expected.remove(caller) else {
                if self.is_early(step, next, caller) {
                    self.early.push(answered);
                    continue;
                }
                return Err(here(format!("{caller} was answered, which nobody expects: {}", self.shown(&answered))));
            };
            let there = |problem| (place.clone(), problem);
            let response = self.calls.get(caller).cloned().flatten();
            answer.compare(&answered.answer, response.as_ref(), &mut self.bindings).map_err(there)?;
            self.waiting.remove(caller);
            if answer.is_held {
                self.held.insert(caller.clone());
            } else if response.is_some() {
                came.extend(self.door.heard(caller).map_err(there)?);
            }
        }
        match expected.into_values().next() {
            None => Ok(()),
            Some((place, answer)) => Err((place, format!("expected: {answer}\n  got:      no answer"))),
        }
    }

    /// What a step takes for granted.
    fn check(&self, step: &Step) -> Result<(), String> {
        let Step { caller, action, .. } = step;
        if self.ended.contains(&caller.session) {
            return Err(format!("the session {} has ended: use another name", caller.session));
        }
        let waits = self.waiting.contains(caller);
        let expects_nothing = matches!(step.answer, Some(Expected { what: What::Nothing, .. }));
        match action {
            Action::Call(..) | Action::Opens(_) if waits => {
                Err(format!("{caller} waits already: name this call, as {}/other", caller.session))
            }
            Action::Withdraws | Action::LosesPatience if !self.calls.contains_key(caller) => {
                Err(format!("{caller} made no call"))
            }
            Action::Withdraws | Action::LosesPatience if waits == expects_nothing => Err(if waits {
                format!("{caller} waits, so it is answered")
            } else {
                format!("{caller} does not wait")
            }),
            Action::StillWaits if !waits => Err(format!("{caller} does not wait")),
            Action::Hears | Action::Misses if !self.held.contains(caller) => {
                Err(format!("no answer to {caller} is on its way: what is said with `~>` is"))
            }
            _ => Ok(()),
        }
    }

    /// Puts the input of a step in.
    fn input(&mut self, step: &Step) -> Result<Vec<Answered>, String> {
        let caller = &step.caller;
        match &step.action {
            Action::Call(op, request) => {
                let request = request.fill(&self.bindings)?;
                self.calls.insert(caller.clone(), Some(op.response()));
                self.held.remove(caller);
                self.door.input(&Input::Call { caller, op, request: &request })
            }
            Action::Opens(spec) => {
                let spec = spec.fill(&self.bindings)?;
                self.calls.insert(caller.clone(), None);
                self.door.input(&Input::Open { caller, spec: &spec })
            }
            Action::Withdraws => self.door.input(&Input::Withdraw(caller)),
            Action::LosesPatience if !self.early.is_empty() => Ok(std::mem::take(&mut self.early)),
            Action::LosesPatience => self.door.input(&Input::LosePatience(caller)),
            Action::StillWaits => Ok(Vec::new()),
            Action::Hears => {
                self.held.remove(caller);
                self.door.heard(caller)
            }
            Action::Misses => {
                self.held.remove(caller);
                self.door.input(&Input::Miss(caller))
            }
            Action::Closes => self.end(&caller.session, Input::Close(&caller.session)),
            Action::Dies => self.end(&caller.session, Input::Lose(&caller.session)),
        }
    }

    /// Nobody of a session that ended waits for anything.
    fn end(&mut self, session: &str, input: Input<'_>) -> Result<Vec<Answered>, String> {
        self.ended.insert(session.to_owned());
        self.waiting.retain(|caller| caller.session != session);
        self.held.retain(|caller| caller.session != session);
        self.door.input(&input)
    }

    /// The answers that a step says come of it, and where it says so.
    fn expected<'s>(&mut self, step: &'s Step) -> Result<ToCome<'s>, Wrong> {
        let mut expected = BTreeMap::new();
        match &step.answer {
            Some(Expected { what: What::Waits, .. }) => {
                self.waiting.insert(step.caller.clone());
            }
            None | Some(Expected { what: What::Nothing, .. }) => {}
            Some(answer) => {
                expected.insert(step.caller.clone(), (step.at.clone(), answer));
            }
        }
        for other in &step.others {
            if !self.waiting.contains(&other.caller) {
                return Err((other.at.clone(), format!("{} does not wait", other.caller)));
            }
            if expected.insert(other.caller.clone(), (other.at.clone(), &other.answer)).is_some() {
                return Err((other.at.clone(), format!("{} is answered twice", other.caller)));
            }
        }
        Ok(expected)
    }

    /// Whether an answer belongs to the next line, in which the patience ends that nobody could hold.
    fn is_early(&self, step: &Step, next: Option<&Step>, caller: &Caller) -> bool {
        let is_of = |next: &Step| next.caller == *caller || next.others.iter().any(|other| other.caller == *caller);
        let is_of_its_end = |next: &Step| next.is_lost_patience() && step.begins_wait_of(&next.caller) && is_of(next);
        !self.door.is_exact() && next.is_some_and(is_of_its_end)
    }

    fn shown(&self, answered: &Answered) -> String {
        answered.answer.shown(self.calls.get(&answered.caller).cloned().flatten().as_ref())
    }
}

impl Scenario {
    fn still_waits_at_the_end(&self, caller: &Caller) -> bool {
        let end = self.steps.iter().rev().take_while(|step| matches!(step.action, Action::StillWaits));
        end.into_iter().any(|step| step.caller == *caller)
    }
}

impl Expected {
    /// Compares an answer with this one.
    fn compare(
        &self,
        answer: &Answer,
        response: Option<&MessageDescriptor>,
        bindings: &mut Bindings,
    ) -> Result<(), String> {
        let problem = match (&self.what, answer) {
            (What::Done(expected, variable), Answer::Done { response: got, index }) => {
                let same = expected.as_ref().map_or(Ok(()), |expected| expected.compare(got, bindings));
                let at = |variable: &Variable| variable.compare("the index", (*index).into(), bindings);
                match same.and_then(|()| variable.as_ref().map_or(Ok(()), at)) {
                    Ok(()) => return Ok(()),
                    Err(problem) => format!(" ({problem})"),
                }
            }
            (What::Refused(reason, about), Answer::Refused(refusal)) if *reason == refusal.why() => {
                match about.as_ref().filter(|about| !refusal.message.contains(about.as_str())) {
                    None => return Ok(()),
                    Some(about) => format!(" (the message does not have {about:?})"),
                }
            }
            _ => String::new(),
        };
        Err(format!("expected: {self}\n  got:      {}{problem}", answer.shown(response)))
    }
}

impl Answer {
    /// For people.
    fn shown(&self, response: Option<&MessageDescriptor>) -> String {
        match (self, response) {
            (Self::Done { response, .. }, Some(message)) => template::shown(message, response),
            (Self::Done { .. }, None) => "done".to_owned(),
            (Self::Refused(refusal), _) => format!("refused {} {:?}", reason_name(refusal.why()), refusal.message),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, title, door, line, text, problem } = self;
        write!(f, "{file}:{line}: {}\n  {problem}\n  in {title:?}, through {door}", text.trim())
    }
}

impl std::error::Error for Failure {}
