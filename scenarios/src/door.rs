//! The ways to an object.

use std::fmt;

use holdfast_proto::Refusal;

use crate::catalogue::{Kind, Op};

/// A way to an object. The same scenarios are run through each, and must come out the same.
///
/// Nothing is left under way when a method returns: all answers that its input caused are among what it returns, also those
/// to calls of other sessions that waited. A door to something that works by itself makes sure of it by asking it, in each
/// session that waits, something that is answered later than those are; it never sleeps.
///
/// An `Err` says what is wrong with the door, or with what is behind it: it fails the scenario, as no refusal does.
pub trait Door {
    /// What it is called in messages.
    fn name(&self) -> &'static str;

    /// Whether it decides when an answer is heard and when patience ends. Scenarios that turn on it are run only through
    /// such doors.
    fn is_exact(&self) -> bool;

    /// Whether its sessions say who they are, and goodbye. Scenarios in which somebody closes, or is told by name, are run
    /// only through such doors.
    fn has_goodbyes(&self) -> bool {
        true
    }

    /// Makes the object of another scenario, and forgets that of the last one. The scenario may expect the refusal.
    fn begin(&mut self, setup: &Setup<'_>) -> Result<Result<(), Refusal>, String>;

    /// One input, and what comes of it, in any order. A session is there from its first input on.
    fn input(&mut self, input: &Input<'_>) -> Result<Vec<Answered>, String>;

    /// The caller has the answer to its call, and lets it be known. What comes of that.
    fn heard(&mut self, caller: &Caller) -> Result<Vec<Answered>, String>;

    /// The scenario is over: what it left behind is cleared away.
    fn end(&mut self) -> Result<(), String>;
}

/// What a scenario begins with.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The kind of the object.
    pub kind: &'a Kind,
    /// How it is made: the encoded spec.
    pub spec: &'a [u8],
    /// Limits that are to hold, by their names.
    pub limits: &'a [(String, u64)],
}

/// Who makes a call: a session, and which of its calls.
///
/// In a text it is the name of the session, and after a `/` that of the call, where several calls of the session wait at
/// once. A name stands for the last call that was made under it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller {
    /// The name of the session. Its client calls itself so.
    pub session: String,
    /// The name of the call in it, or nothing.
    pub call: String,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, call } = self;
        if call.is_empty() { f.write_str(session) } else { write!(f, "{session}/{call}") }
    }
}

/// What is done to the object.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A call.
    Call {
        /// Whose.
        caller: &'a Caller,
        /// Of which op.
        op: &'a Op,
        /// The encoded request.
        request: &'a [u8],
    },
    /// The session asks for the object with an encoded spec. Answered with nothing or refused, as the call of `caller`.
    Open {
        /// Who asks.
        caller: &'a Caller,
        /// How it would have the object.
        spec: &'a [u8],
    },
    /// The caller does not want an answer any more.
    Withdraw(&'a Caller),
    /// The caller has waited for as long as it was willing to. Through a door that is not exact, this waits for it.
    LosePatience(&'a Caller),
    /// The answer to a call was lost on its way to the caller. Only through exact doors.
    Miss(&'a Caller),
    /// The session says goodbye.
    Close(&'a str),
    /// The process of the session dies.
    Lose(&'a str),
}

/// A call was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Whose call.
    pub caller: Caller,
    /// With what.
    pub answer: Answer,
}

/// What a call is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It was done.
    Done {
        /// The encoded response; nothing for an [`Input::Open`].
        response: Vec<u8>,
        /// The index of the reply.
        index: u64,
    },
    /// It was not.
    Refused(Refusal),
}
