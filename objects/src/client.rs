//! Who is at the other end of a session.

use alloc::string::String;

/// Who is at the other end of a session, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// What it calls itself.
    pub name: String,
    /// Its process id on its host; 0 if it is not known.
    pub pid: u32,
    /// Its host; empty if it is not known.
    pub host: String,
}
