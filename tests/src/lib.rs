//! Whole-system tests of Holdfast: real managers and real clients, each a process of its own.
//!
//! The tests are in `tests/`; this library is what they have in common. [`Manager`] is a manager process with chosen
//! limits, [`Process`] any other, [`Raw`] a client that says whatever a test wants it to say, and [`Witness`] an honest
//! client beside it that must never notice; [`Wire`](http2::Wire) is a client without a library, which breaks HTTP/2 too, and
//! [`Pulse`] times honest clients meanwhile.
//!
//! - Every wait is for something, and ends with a panic after [`PATIENCE`].
//! - Every process ends with the test that started it, also when that test is killed: its standard input closes.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that goes wrong is to panic")]

mod cutter;
pub mod death;
mod doors;
pub mod history;
pub mod http2;
mod manager;
mod mutate;
mod party;
mod process;
mod pulse;
mod raw;
mod rpc;
mod siege;
mod stopped;
mod tls;
mod wait;
mod witness;

pub use cutter::{Cut, Cutter, Part, Until, Weather};
pub use doors::{ManagerDoor, Way};
pub use manager::{Manager, Setup};
pub use mutate::fuzz;
pub use party::{Ask, HOST, Party};
pub use process::Process;
pub use pulse::{Pulse, Seen};
pub use raw::{Ended, Raw, Stream, call, handshake};
pub use rpc::{Answer, Open, Rpc};
pub use siege::{Siege, times};
pub use stopped::Stopped;
pub use tls::{Between, acceptor, certificate, connect_tls};
pub use wait::{PATIENCE, until, until_async, until_within, within};
pub use witness::Witness;

/// The program that managers and workers are started from. It is built for the tests of this package alone.
#[macro_export]
macro_rules! program {
    () => {
        ::std::path::Path::new(env!("CARGO_BIN_EXE_holdfast-test-program"))
    };
}
