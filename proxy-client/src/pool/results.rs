//! What came of tasks, as results.

use std::collections::HashMap;

use holdfast_proto::{Datum, PoolCollected, PoolOutcome};
use prost::Message;
use serde::de::DeserializeOwned;

use crate::codec::{CodecError, from_datum};
use crate::error::{Error, Result};
use crate::function::{is_result, read};

/// The outcome of one task, in the parts in which it came.
pub(super) type Parts = Vec<PoolOutcome>;

/// Puts outcomes together that come in parts.
#[derive(Debug, Default)]
pub(super) struct Assembly(HashMap<u64, Parts>);

impl Assembly {
    /// Takes a part; gives the index of its task and the whole outcome if that was the last.
    pub(super) fn add(&mut self, part: PoolCollected) -> Option<(u64, Parts)> {
        let PoolCollected { index, outcome, more } = part;
        let outcome = outcome.unwrap_or_default();
        if more {
            self.0.entry(index).or_default().push(outcome);
            return None;
        }
        // Most outcomes are one part.
        let mut parts = if self.0.is_empty() { Vec::new() } else { self.0.remove(&index).unwrap_or_default() };
        parts.push(outcome);
        Some((index, parts))
    }
}

/// Whether the task, or a part of it, was cancelled.
pub(super) fn is_cancelled(parts: &[PoolOutcome]) -> bool {
    parts.iter().any(|outcome| outcome.cancelled)
}

/// The result of a task that is one call.
pub(super) fn one<R: DeserializeOwned>(parts: Parts) -> Result<R> {
    read(parts.into_iter().next().unwrap_or_default())
}

/// The results of a task that is so many calls. If the task failed as a whole, that is what came of each of them.
pub(super) fn each<R: DeserializeOwned>(parts: Parts, calls: u32) -> Vec<Result<R>> {
    let calls = calls as usize;
    let results = several(parts).and_then(|results| counted(results, calls));
    results.unwrap_or_else(|error| (0..calls).map(|_| Err(error.clone())).collect())
}

/// The results of a task of however many calls, or the first error among them.
pub(super) fn all<R: DeserializeOwned>(parts: Parts) -> Result<Vec<R>> {
    if parts.len() == 1 && parts[0].outcomes.is_empty() && !is_result::<R>() {
        // As most are: a list, read as a whole.
        let outcome = parts.into_iter().next().unwrap_or_default();
        return read::<Vec<R>>(outcome);
    }
    several(parts)?.into_iter().collect()
}

/// As many results as were wanted.
pub(super) fn counted<R>(results: Vec<R>, calls: usize) -> Result<Vec<R>> {
    if results.len() == calls { Ok(results) } else { Err(miscounted(results.len(), calls)) }
}

fn miscounted(results: usize, calls: usize) -> Error {
    let problem = format!("a worker gave {results} results for {calls} calls: it does not keep the protocol of pools");
    CodecError::Invalid(problem.into()).into()
}

/// The results of several calls; an error if there are none, since the task failed as a whole.
fn several<R: DeserializeOwned>(parts: Parts) -> Result<Vec<Result<R>>> {
    let mut results = Vec::new();
    for part in parts {
        if !part.outcomes.is_empty() {
            results.extend(part.outcomes.into_iter().map(read));
            continue;
        }
        if part.encoded.is_none() && part.returned.is_none() {
            read::<()>(part)?;
            return Err(miscounted(0, 1));
        }
        let list = match part.encoded {
            Some(encoded) => Datum::decode(encoded).map_err(|error| CodecError::Invalid(error.to_string().into()))?,
            None => part.returned.unwrap_or_default(),
        };
        match list {
            Datum::List(elements) | Datum::Tuple(elements) => {
                let returned = |element| PoolOutcome { returned: Some(element), ..PoolOutcome::default() };
                if is_result::<R>() {
                    results.extend(elements.into_iter().map(|element| read(returned(element))));
                } else {
                    results.extend(elements.into_iter().map(|element| Ok(from_datum(element)?)));
                }
            }
            other => {
                let found = other.brief().to_string().into();
                return Err(CodecError::Mismatch { expected: "a list of results".into(), found }.into());
            }
        }
    }
    Ok(results)
}
