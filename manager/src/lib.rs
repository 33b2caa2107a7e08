//! The manager process of Holdfast, as a library: `holdfast serve` and programs that bring their own manager run it.
//!
//! A call's way through it: `transport` reads a frame from a session's stream, or a unary request, `session` finds the
//! object behind the handle or the name, `engine` puts the call in order and applies it to the object in its `slot`, and the reply goes straight back.
//! [`Server`] puts the parts together.
//!
//! What no part does: hold a lock across an await, start a task for a call, or know what a kind's ops mean.

mod admission;
mod auth;
mod certificate;
mod deadlines;
mod deliveries;
mod detached;
mod engine;
mod epoch;
mod file_limit;
mod freed_apart;
mod health;
mod heap;
#[cfg(feature = "history")]
pub mod history;
mod limits;
mod network;
mod poller;
mod private;
mod process;
mod quiet;
mod reclaim;
mod registry;
mod rpc;
mod server;
mod session;
pub mod settings;
mod slot;
mod steps;
mod tokens;
mod transport;
mod waits;

pub use certificate::{Certificate, CertificateError};
pub use epoch::EpochError;
pub use file_limit::raise_file_limit;
pub use holdfast_stream::BusyPoll;
pub use limits::Limits;
pub use network::Network;
pub use private::run_private;
pub use server::{Config, Listen, Server, StartError, Stopped, runtime};
