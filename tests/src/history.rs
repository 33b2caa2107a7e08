//! Histories: what many clients saw of a manager while things went wrong, held against what the manager did.
//!
//! [`run`](Ran::run) starts a manager and client processes that make arbitrary calls on objects of every kind, kills, stops and
//! cuts off clients as a [`Plan`] says, and keeps two sorts of records: the manager writes every input that it applies, the
//! clients when each call began and what came of it. [`check()`] replays the inputs against the objects as models, and explains
//! every answer that a client saw, or says what cannot be explained.

mod check;
mod client;
mod laws;
mod log;
mod ops;
mod plan;
mod run;

pub use check::{Checked, Violation, check};
pub use client::run as run_client;
pub use log::{Begin, End, Entry, How, What};
pub use plan::{Fault, Named, Plan};
pub use run::{Faults, Ran, Unplanned};
