//! What becomes of what a process held or waited for, when it goes: with real processes.
//!
//! `docs/death.md` says what is promised. `death/table.rs` reads it, and does all that it says.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "death/asleep.rs"]
mod asleep;
#[path = "death/cpython.rs"]
mod cpython;
#[path = "death/latency.rs"]
mod latency;
#[path = "death/options.rs"]
mod options;
#[path = "death/rows.rs"]
mod rows;
#[path = "death/table.rs"]
mod table;
