//! The manager process of Holdfast, as a library: `holdfast serve` and programs that bring their own manager run it.
//!
//! A call's way through it: `transport` reads a frame from a session's stream, `session` finds the object behind the
//! handle, `engine` puts the call in order and applies it to the object in its `slot`, and the reply goes straight back.
//! [`Server`] puts the parts together.
//!
//! What no part does: hold a lock across an await, start a task for a call, or know what a kind's ops mean.

mod auth;
mod certificate;
mod engine;
mod file_limit;
mod limits;
mod private;
mod registry;
mod server;
mod session;
mod slot;
mod tokens;
mod transport;

pub use certificate::{Certificate, CertificateError};
pub use file_limit::raise_file_limit;
pub use limits::Limits;
pub use private::run_private;
pub use server::{AUTHENTICATE_WITHIN, Config, Listen, Server, StartError, Stopped};
