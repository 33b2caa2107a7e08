//! What becomes of what a session holds when the session ends.

use alloc::format;

use holdfast_proto::{Abandoned, OnClose, OnLoss, Reason, Refusal};

use crate::{Ended, Turn};

/// What becomes of what a session holds when the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is given back.
    Release,
    /// It is given back, and whoever gets it next is told that it was abandoned.
    Abandon,
    /// It stays held, by nobody.
    Keep,
    /// The object is broken.
    Break,
}

/// What the spec of an object says about those who hold something of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    on_loss: OnLoss,
    on_close: OnClose,
}

impl Policy {
    /// As the numbers in a spec say. Refused: `MALFORMED`.
    pub(crate) fn read(on_loss: i32, on_close: i32) -> Result<Self, Refusal> {
        let unknown = |field, number| Refusal::new(Reason::Malformed, format!("there is no {field} {number}"));
        Ok(Self {
            on_loss: OnLoss::try_from(on_loss).map_err(|_| unknown("on_loss", on_loss))?,
            on_close: OnClose::try_from(on_close).map_err(|_| unknown("on_close", on_close))?,
        })
    }

    /// What becomes of it if the session ends in this way.
    pub(crate) fn fate(self, how: Ended) -> Fate {
        match (how, self.on_loss, self.on_close) {
            (Ended::Closed, _, OnClose::Release) => Fate::Release,
            (Ended::Closed, _, OnClose::Keep) | (Ended::Lost, OnLoss::Keep, _) => Fate::Keep,
            (Ended::Lost, OnLoss::Release, _) => Fate::Abandon,
            (Ended::Lost, OnLoss::Break, _) => Fate::Break,
        }
    }
}

/// What is told of the client whose session ends in this turn, and who held something with this fence.
pub(crate) fn abandoned(fence: u64, turn: &Turn) -> Abandoned {
    let client = turn.client.as_deref().cloned().unwrap_or_default();
    Abandoned { fence, name: client.name, pid: client.pid, host: client.host }
}

/// What is asked of an object that broke when one who held something of it was lost.
pub(crate) fn broken(by: &Abandoned) -> Refusal {
    let Abandoned { fence, name, pid, host } = by;
    let message = format!(
        "broken since its holder {name:?} (process {pid} on {host:?}, fence {fence}) was lost: see to what it left behind, then reset it"
    );
    Refusal::new(Reason::Broken, message)
}
