//! The pieces of the session stream that both of its ends share: how a task that is polled for many reasons avoids being
//! woken by itself ([`SelfWake`]), and how bytes leave through HTTP/2's flow control ([`Outbox`]), stay until the other end has
//! them ([`Sent`]) and arrive ([`Inbox`]); a Unix socket that wakes nobody for nothing ([`UnixSocket`]); and when sockets are
//! polled before a thread sleeps ([`Policy`]).
//!
//! There is no protocol and no object here.

mod busy_poll;
mod inbox;
mod outbox;
mod self_wake;
mod sent;
mod unix_socket;

pub use busy_poll::{BUSY_POLL_VARIABLE, BusyPoll, Look, Next, NotBusyPoll, Policy, Polled, Spell, allowed_cpus, poll};
pub use inbox::Inbox;
pub use outbox::Outbox;
pub use self_wake::{SelfWake, Side};
pub use sent::Sent;
pub use unix_socket::UnixSocket;

/// The largest frame of HTTP/2 that either end takes.
///
/// A large message costs two reads and a write for each frame, so those of 16 KiB, which HTTP/2 has without being told, are
/// small for it. Who announces a frame makes the other end keep as much of it as comes, also before it has proven anything,
/// so they must not be much larger than the window that a stranger has.
pub const FRAME_BYTES: u32 = 128 << 10;
