//! What becomes of what a process holds when the process ends.

use std::time::Duration;

use crate::fence::Fence;

/// What becomes of what a process holds when its session is lost: when it was killed, crashed, or vanished for longer than
/// the grace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// It is given back at once, and whoever gets it next is told that it was [`Abandoned`].
    #[default]
    Release,
    /// It stays held, by nobody, until somebody resets the object, or releases it with its fence.
    Keep,
    /// The object is broken: who waits and who comes is refused with [`Reason::Broken`](crate::Reason::Broken), until
    /// somebody resets it.
    Break,
}

/// What becomes of what a process holds when its session is closed: when it said goodbye.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnClose {
    /// It is given back.
    #[default]
    Release,
    /// It stays held, by nobody, until somebody releases it who may, or resets the object.
    Keep,
}

/// What is said of those who hold an object, when it is made. Who opens it later must say the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    pub(crate) on_loss: OnLoss,
    pub(crate) on_close: OnClose,
    pub(crate) released_by_anyone: bool,
}

impl Holding {
    /// What is held belongs to the process that took it, and is given back when it ends, however it does.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As CPython's `multiprocessing.Manager` has it: anybody may release, and what a process holds when it says goodbye stays
    /// held. One that is killed gives it back nevertheless, which CPython's does not.
    #[must_use]
    pub fn multiprocessing() -> Self {
        Self { on_loss: OnLoss::Release, on_close: OnClose::Keep, released_by_anyone: true }
    }

    /// What becomes of it when the process is killed or vanishes.
    #[must_use]
    pub fn on_loss(self, on_loss: OnLoss) -> Self {
        Self { on_loss, ..self }
    }

    /// What becomes of it when the process says goodbye.
    #[must_use]
    pub fn on_close(self, on_close: OnClose) -> Self {
        Self { on_close, ..self }
    }

    /// Whether any process may release it, and not only the one that holds it. A reentrant lock is released by its holder in
    /// any case.
    #[must_use]
    pub fn released_by_anyone(self, released_by_anyone: bool) -> Self {
        Self { released_by_anyone, ..self }
    }
}

impl From<OnLoss> for i32 {
    fn from(on_loss: OnLoss) -> Self {
        use holdfast_proto::OnLoss as Wire;
        match on_loss {
            OnLoss::Release => Wire::Release,
            OnLoss::Keep => Wire::Keep,
            OnLoss::Break => Wire::Break,
        }
        .into()
    }
}

impl From<OnClose> for i32 {
    fn from(on_close: OnClose) -> Self {
        use holdfast_proto::OnClose as Wire;
        match on_close {
            OnClose::Release => Wire::Release,
            OnClose::Keep => Wire::Keep,
        }
        .into()
    }
}

/// Who held something when it was lost: what that protected may be half changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandoned {
    /// The fence with which it was held.
    pub fence: Fence,
    /// What the client called itself.
    pub name: String,
    /// Its process id, if it is known.
    pub pid: Option<u32>,
    /// Its host; empty if it is not known.
    pub host: String,
}

impl From<holdfast_proto::Abandoned> for Abandoned {
    fn from(abandoned: holdfast_proto::Abandoned) -> Self {
        let holdfast_proto::Abandoned { fence, name, pid, host } = abandoned;
        Self { fence: fence.into(), name, pid: (pid != 0).then_some(pid), host }
    }
}

/// A patience as it stands in requests: whole milliseconds, and not less than was said.
pub(crate) fn patience_ms(patience: Option<Duration>) -> Option<i64> {
    let up = |patience: Duration| patience.as_nanos().div_ceil(1_000_000);
    patience.map(|patience| i64::try_from(up(patience)).unwrap_or(i64::MAX))
}
