//! What is to be done.

use alloc::boxed::Box;

use bytes::Bytes;
use holdfast_proto::datum::{HasReferences as _, Reference};
use holdfast_proto::{Datum, PoolArguments, PoolShape, Reason, Refusal};

use super::line::{Place, Stands};
use crate::key::Equality;
use crate::{CallId, door};

/// What a task counts beside its arguments or its outcome.
pub(super) const TASK_BYTES: u64 = 48;

/// What data counts that is encoded, beside its length.
pub(super) const ENCODED_BYTES: u64 = 24;

/// A task that is not done: it waits for a worker, or one has it.
#[derive(Debug)]
pub(super) struct Task {
    /// Its place among all that were submitted.
    pub(super) number: u64,
    pub(super) arguments: Arguments,
    pub(super) owner: Owner,
    /// In the line of its function, or with the worker of this number.
    pub(super) place: Place<u64>,
    /// Where its function is.
    pub(super) function: u32,
    /// How many workers were lost with it.
    pub(super) attempts: u32,
    /// How many may be.
    pub(super) tries: u32,
    pub(super) shape: PoolShape,
}

/// Who wants to know what comes of a task.
#[derive(Debug)]
pub(super) enum Owner {
    /// A job, by where it is; and the index of the task in it.
    Job { job: u32, index: u64 },
    /// A call that waits for it.
    Run(Box<CallId>),
}

/// What a task is called with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arguments {
    Datum(Datum),
    Encoded(Bytes),
}

impl Task {
    /// Whether it is given to a worker together with no other: it must not be lost without having been begun, or a worker
    /// was lost with it and another may be.
    pub(super) fn goes_alone(&self) -> bool {
        self.attempts > 0 || self.tries == 1
    }

    /// What it counts.
    pub(super) fn bytes(&self) -> u64 {
        TASK_BYTES + self.arguments.bytes()
    }
}

impl Stands for Task {
    type Holder = u64;

    fn order(&self) -> u64 {
        self.number
    }

    fn place(&mut self) -> &mut Place<u64> {
        &mut self.place
    }
}

impl Arguments {
    /// Those of a request. Refused: `MALFORMED`, `NAN_KEY`.
    pub(super) fn read(arguments: PoolArguments, equality: &Equality) -> Result<Self, Refusal> {
        match arguments {
            PoolArguments { datum: Some(datum), encoded: None } => {
                door::value("arguments", Some(datum), equality).map(Self::Datum)
            }
            PoolArguments { datum: None, encoded: Some(encoded) } => Ok(Self::Encoded(encoded)),
            _ => {
                let problem = "the arguments of a task are data or the encoding of data: say exactly one of the two";
                Err(Refusal::new(Reason::Malformed, problem))
            }
        }
    }

    pub(super) fn message(&self) -> PoolArguments {
        match self {
            Self::Datum(datum) => PoolArguments { datum: Some(datum.copy()), encoded: None },
            Self::Encoded(encoded) => PoolArguments { datum: None, encoded: Some(encoded.clone()) },
        }
    }

    /// What they count.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Datum(datum) => datum.bytes(),
            Self::Encoded(encoded) => ENCODED_BYTES + encoded.len() as u64,
        }
    }

    pub(super) fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        if let Self::Datum(datum) = self {
            datum.visit_references(visit);
        }
    }
}

/// How the arguments of a request are to be understood. Refused: `MALFORMED`.
pub(super) fn shape(number: i32) -> Result<PoolShape, Refusal> {
    PoolShape::try_from(number)
        .map_err(|_| Refusal::new(Reason::Malformed, alloc::format!("there is no shape {number} of arguments")))
}
