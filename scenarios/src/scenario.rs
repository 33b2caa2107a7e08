//! What stands in a scenario file, once it is read.

use std::fmt;

use crate::catalogue::{Kind, Op};
use crate::door::Caller;
use crate::template::{Template, Variable};

use holdfast_proto::Reason;

/// What a kind does, told in steps.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The name of the file.
    pub file: String,
    /// What it says.
    pub title: String,
    /// Where it begins.
    pub line: usize,
    /// The kind of the object.
    pub kind: Kind,
    pub(crate) limits: Vec<(String, u64)>,
    pub(crate) spec: Template,
    /// Where the spec stands, and why no object can be made with it, if none can.
    pub(crate) refused: Option<(usize, Expected)>,
    pub(crate) steps: Vec<Step>,
}

/// One input, and all that is to come of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: Place,
    pub(crate) caller: Caller,
    pub(crate) action: Action,
    /// What comes of it for the caller, where the action is one that is answered.
    pub(crate) answer: Option<Expected>,
    /// The answers to calls that waited.
    pub(crate) others: Vec<Other>,
}

/// The answer to a call that waited.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) at: Place,
    pub(crate) caller: Caller,
    pub(crate) answer: Expected,
}

/// A line, and what stands there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// What a caller does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Call(Op, Template),
    Opens(Template),
    Withdraws,
    LosesPatience,
    StillWaits,
    Hears,
    Misses,
    Closes,
    Dies,
}

/// What comes of a call.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) what: What,
    /// The answer is on its way, and the caller does not have it yet.
    pub(crate) is_held: bool,
    /// As it stands in the file.
    pub(crate) said: String,
}

/// What comes of a call.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Waits,
    /// It had its answer before.
    Nothing,
    Refused(Reason, Option<String>),
    /// This response, if there is one to what was asked, and the index of the reply.
    Done(Option<Template>, Option<Variable>),
}

impl Scenario {
    /// Whether it turns on when an answer is heard or when patience ends, so that only an exact door will do.
    ///
    /// Where patience is lost in the line after the one in which the call began to wait, it does not matter when.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let holds_back = |step: &Step| step.answers().any(|answer| answer.is_held);
        let late = self.steps.iter().enumerate().any(|(at, step)| {
            let before = at.checked_sub(1).map(|before| &self.steps[before]);
            let is_seen = !step.is_answered_with_waiting() && before.is_some_and(|it| it.begins_wait_of(&step.caller));
            step.is_lost_patience() && !is_seen
        });
        late || self.steps.iter().any(holds_back)
    }

    /// Whether somebody closes in it, or is told by name.
    #[must_use]
    pub fn needs_goodbyes(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.action, Action::Closes) || step.answers().any(|answer| answer.names_a_client()))
    }

    /// The ops that are called in it.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Call(op, _) => Some(op),
            _ => None,
        })
    }

    /// The ops of which calls wait in it.
    pub fn ops_that_wait(&self) -> impl Iterator<Item = &Op> {
        self.steps.iter().filter_map(|step| match (&step.action, &step.answer) {
            (Action::Call(op, _), Some(Expected { what: What::Waits, .. })) => Some(op),
            _ => None,
        })
    }
}

impl Step {
    pub(crate) fn is_lost_patience(&self) -> bool {
        matches!(self.action, Action::LosesPatience)
    }

    /// All that is to come of it.
    fn answers(&self) -> impl Iterator<Item = &Expected> {
        self.answer.iter().chain(self.others.iter().map(|other| &other.answer))
    }

    /// Whether it is a call that begins to wait under this name.
    pub(crate) fn begins_wait_of(&self, caller: &Caller) -> bool {
        matches!(self.action, Action::Call(..)) && self.is_answered_with_waiting() && self.caller == *caller
    }

    /// Whether no answer comes of it to its caller, who waits.
    fn is_answered_with_waiting(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| matches!(answer.what, What::Waits))
    }
}

impl Expected {
    fn names_a_client(&self) -> bool {
        let paths = ["abandoned.name", "broken_by.name"];
        matches!(&self.what, What::Done(Some(response), _) if paths.iter().any(|path| response.has_field(path)))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// The name of a reason as scenarios have it.
pub(crate) fn reason_name(reason: Reason) -> &'static str {
    reason.as_str_name().strip_prefix("REASON_").expect("reasons are called so")
}
