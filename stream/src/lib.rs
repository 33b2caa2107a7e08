//! The pieces of the session stream that both of its ends share: how a task that is polled for many reasons avoids being
//! woken by itself ([`SelfWake`]), and how bytes leave through HTTP/2's flow control ([`Outbox`]), and stay until the other end
//! has them ([`Sent`]).
//!
//! There is no socket, no protocol and no object here.

mod outbox;
mod self_wake;
mod sent;

pub use outbox::Outbox;
pub use self_wake::{SelfWake, Side};
pub use sent::Sent;
