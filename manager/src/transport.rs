//! The bytes between clients and sessions: listeners, TLS, HTTP/2 connections, the session stream, unary calls, and the
//! way to the services that need no session. It knows no kind and no op.

mod connection;
mod listener;
mod metadata;
mod services;
mod session_cell;
mod session_stream;
mod status;
mod stint;
mod tls;
mod traffic;
mod unary;

pub(crate) use connection::{Shared, serve, serve_tls};
pub(crate) use listener::{Accepted, Listener, make_private_folder};
