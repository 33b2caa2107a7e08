//! Who has a session.

use alloc::string::String;
use core::fmt;

/// The process that has a session, as far as it is known: for people, who are told who holds something and who died.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// What it calls itself. Empty if it said nothing.
    pub name: String,
    /// The id of the process on its host: 0 if it is not known.
    pub pid: u32,
    /// The name of its host. Empty if it said nothing.
    pub host: String,
}

/// Names are written like literals: they are the client's own words.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pid, host } = self;
        match &**name {
            "" => f.write_str("a client without a name")?,
            name => write!(f, "{name:?}")?,
        }
        match (pid, &**host) {
            (0, "") => Ok(()),
            (0, host) => write!(f, " (on {host:?})"),
            (pid, "") => write!(f, " (process {pid})"),
            (pid, host) => write!(f, " (process {pid} on {host:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_known_of_a_client_is_told() {
        let text = |name: &str, pid, host: &str| Client { name: name.into(), pid, host: host.into() }.to_string();
        assert_eq!(text("worker", 12, "here"), r#""worker" (process 12 on "here")"#);
        assert_eq!(text("worker", 12, ""), r#""worker" (process 12)"#);
        assert_eq!(text("worker", 0, "here"), r#""worker" (on "here")"#);
        assert_eq!(text("a\n\x1b[1mb", 0, ""), r#""a\n\u{1b}[1mb""#);
        assert_eq!(Client::default().to_string(), "a client without a name");
    }
}
