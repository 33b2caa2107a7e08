//! How a worker runs a task.

use std::mem;

use holdfast_proto::datum::HasReferences;
use holdfast_proto::{Datum, PoolArguments, PoolDone, PoolOutcome, PoolRaised, PoolShape, PoolTask};
use prost::Message;

use super::too_large;
use crate::codec::CodecError;
use crate::error::{Error, Result};
use crate::function::panics::{self, Panicked};
use crate::function::{self, Callable, Came};
use crate::proxy::remote::CHUNK_BYTES;

/// What is around an outcome in a request is less.
const AROUND_OUTCOME: usize = 4096;

/// A scalar has about so many bytes.
const SCALAR_BYTES: usize = 16;

/// What is around a result among others.
const AROUND_RESULT: usize = 8;

/// What a panic is called.
const PANIC: &str = "panic";

/// What it is called when arguments cannot be read, or a result not be written.
const CODEC: &str = "CodecError";

/// The functions that a worker serves.
pub(super) struct Serving {
    functions: Vec<(&'static str, &'static dyn Callable)>,
    /// The largest outcome, or part of one.
    outcome_bytes: usize,
    part_bytes: usize,
}

impl Serving {
    /// Those of these names, in this order. Requests may have so many bytes.
    pub(super) fn new(names: &[String], frame_bytes: usize) -> Result<Self> {
        let find = |name: &String| {
            let found = function::find(name).map(|registered| (registered.name(), registered.item()));
            found.ok_or_else(|| Error::NotRegistered { function: name.clone().into() })
        };
        let functions = names.iter().map(find).collect::<Result<_>>()?;
        let outcome_bytes = frame_bytes.saturating_sub(AROUND_OUTCOME);
        Ok(Self { functions, outcome_bytes, part_bytes: outcome_bytes.min(CHUNK_BYTES) })
    }

    /// Runs a task. What came of it is in one or more parts.
    pub(super) fn run(&self, task: PoolTask) -> Vec<PoolDone> {
        let PoolTask { task: number, function, shape, arguments, .. } = task;
        let Some(&(name, function)) = self.functions.get(function as usize) else {
            return vec![done(number, raised(CODEC, "the worker does not serve this function".to_owned()))];
        };
        let arguments = match read(arguments) {
            Ok(arguments) => arguments,
            Err(error) => return vec![done(number, unreadable(name, &error))],
        };
        let shape = PoolShape::try_from(shape).unwrap_or_default();
        if shape == PoolShape::Call {
            let outcome = encoded(call(name, || function.call(arguments)));
            return match outcome.encoded_len() > self.outcome_bytes {
                true => vec![too_large(number)],
                false => vec![done(number, outcome)],
            };
        }
        let calls = match arguments {
            Datum::List(calls) | Datum::Tuple(calls) => calls,
            other => {
                let problem = format!("several calls of {name} are a list, and this is {}", other.brief());
                return vec![done(number, raised(CODEC, problem))];
            }
        };
        let mut parts = Parts::new(number, self);
        let mut calls = calls.into_vec().into_iter();
        // Catching costs as much as a short call, so it is done once, and once more after each panic.
        while !calls.as_slice().is_empty() {
            let mut tell = |came| match came {
                Ok(Came::Returned(datum)) => parts.push_returned(datum),
                Ok(came) => parts.push(came.into()),
                Err(error) => parts.push(unreadable(name, &error)),
            };
            let are_tuples = shape == PoolShape::Starmap;
            let all = panics::catch(|| function.call_each(&mut calls, are_tuples, &mut tell));
            if let Err(panicked) = all {
                parts.push(panic_of(panicked));
            }
        }
        parts.finish()
    }
}

/// The outcomes of several calls, gathered to parts.
struct Parts<'a> {
    task: u64,
    serving: &'a Serving,
    parts: Vec<PoolDone>,
    /// Of the part that is being gathered: results as long as all calls returned, or else outcomes.
    returned: Vec<Datum>,
    outcomes: Vec<PoolOutcome>,
    bytes: usize,
}

impl<'a> Parts<'a> {
    fn new(task: u64, serving: &'a Serving) -> Self {
        Self { task, serving, parts: Vec::new(), returned: Vec::new(), outcomes: Vec::new(), bytes: 0 }
    }

    /// What most calls come to.
    #[inline]
    fn push_returned(&mut self, datum: Datum) {
        let fits = self.bytes == 0 || self.bytes + SCALAR_BYTES <= self.serving.part_bytes;
        if datum.is_scalar() && fits && self.outcomes.is_empty() {
            self.bytes += SCALAR_BYTES + AROUND_RESULT;
            self.returned.push(datum);
        } else {
            self.push(PoolOutcome { returned: Some(datum), ..PoolOutcome::default() });
        }
    }

    fn push(&mut self, mut outcome: PoolOutcome) {
        let mut bytes = size(&outcome);
        if bytes > self.serving.outcome_bytes {
            outcome =
                raised(CODEC, format!("what one call returned has {bytes} bytes, and a request fewer: return less"));
            bytes = size(&outcome);
        }
        if self.bytes > 0 && self.bytes + bytes > self.serving.part_bytes {
            self.cut(true);
        }
        self.bytes += bytes + AROUND_RESULT;
        match outcome.returned {
            Some(returned) if self.outcomes.is_empty() => self.returned.push(returned),
            _ => {
                let returned = mem::take(&mut self.returned).into_iter();
                self.outcomes.extend(
                    returned.map(|returned| PoolOutcome { returned: Some(returned), ..PoolOutcome::default() }),
                );
                self.outcomes.push(outcome);
            }
        }
    }

    fn cut(&mut self, more: bool) {
        let (returned, outcomes) = (mem::take(&mut self.returned), mem::take(&mut self.outcomes));
        let outcome = match outcomes.is_empty() {
            true => encoded(PoolOutcome { returned: Some(Datum::List(returned.into())), ..PoolOutcome::default() }),
            false => PoolOutcome { outcomes, ..PoolOutcome::default() },
        };
        self.bytes = 0;
        self.parts.push(PoolDone { task: self.task, outcome: Some(outcome), more, too_large: false });
    }

    fn finish(mut self) -> Vec<PoolDone> {
        self.cut(false);
        self.parts
    }
}

/// About how many bytes it takes.
fn size(outcome: &PoolOutcome) -> usize {
    match &outcome.returned {
        Some(datum) if datum.is_scalar() => SCALAR_BYTES,
        _ => outcome.encoded_len(),
    }
}

fn done(task: u64, outcome: PoolOutcome) -> PoolDone {
    PoolDone { task, outcome: Some(outcome), more: false, too_large: false }
}

fn read(arguments: Option<PoolArguments>) -> Result<Datum, CodecError> {
    let PoolArguments { datum, encoded } = arguments.unwrap_or_default();
    match encoded {
        Some(encoded) => Datum::decode(encoded).map_err(|error| CodecError::Invalid(error.to_string().into())),
        None => Ok(datum.unwrap_or_default()),
    }
}

/// Calls the function, and catches its panic.
fn call(name: &str, call: impl FnOnce() -> Result<PoolOutcome, CodecError>) -> PoolOutcome {
    match panics::catch(call) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => unreadable(name, &error),
        Err(panicked) => panic_of(panicked),
    }
}

/// What is said of a panic.
fn panic_of(panicked: Panicked) -> PoolOutcome {
    let Panicked { message, location, backtrace } = panicked;
    let trace = if location.is_empty() { String::new() } else { format!("at {location}\n{backtrace}") };
    let panic = PoolRaised { r#type: PANIC.to_owned(), message, trace, value: None };
    PoolOutcome { raised: Some(panic), ..PoolOutcome::default() }
}

fn unreadable(name: &str, error: &CodecError) -> PoolOutcome {
    raised(CODEC, format!("what {name} takes or returns is not as it was called: {error}"))
}

fn raised(kind: &str, message: String) -> PoolOutcome {
    let raised = PoolRaised { r#type: kind.to_owned(), message, trace: String::new(), value: None };
    PoolOutcome { raised: Some(raised), ..PoolOutcome::default() }
}

/// The same, with what it returned encoded, unless that leads to other objects.
fn encoded(outcome: PoolOutcome) -> PoolOutcome {
    let Some(returned) = &outcome.returned else { return outcome };
    let mut refers = false;
    returned.visit_references(&mut |_| refers = true);
    if refers {
        return outcome;
    }
    PoolOutcome { encoded: Some(returned.encode_to_vec().into()), ..PoolOutcome::default() }
}
