//! The bytes between clients and sessions: listeners, TLS, HTTP/2 connections, the session stream, and the way to the unary
//! services. It knows no kind and no op.

mod connection;
mod listener;
mod session_stream;
mod tls;
mod unary;

pub(crate) use connection::{Shared, serve, serve_tls};
pub(crate) use listener::{Accepted, Listener, make_private_folder};
