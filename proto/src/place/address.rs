//! Where a manager listens.

use core::fmt;
use core::str::FromStr;
use std::borrow::ToOwned;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::string::String;

/// The longest path of a Unix socket, on Linux.
const SOCKET_PATH_MAX: usize = 107;

/// Where a manager listens: `unix:PATH` or `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port, in plain text: host and port, the host as a name, an IPv4 address, or an IPv6 address in brackets.
    Http(String),
}

/// A text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {problem}; write unix:PATH or http://HOST:PORT")]
pub struct InvalidAddress {
    text: String,
    problem: &'static str,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |problem| InvalidAddress { text: text.to_owned(), problem };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            match path.as_os_str().as_bytes().len() {
                0 => Err(invalid("the path is empty")),
                1..=SOCKET_PATH_MAX => Ok(Self::Unix(path)),
                _ => Err(invalid("the path of a Unix socket has at most 107 bytes")),
            }
        } else if let Some(authority) = text.strip_prefix("http://") {
            let authority = authority.strip_suffix('/').unwrap_or(authority);
            let (host, port) = authority.rsplit_once(':').ok_or_else(|| invalid("the port is missing"))?;
            if host.is_empty() || host.contains(['/', '@', ' ']) {
                Err(invalid("the host is missing or is not a host"))
            } else if port.parse::<u16>().is_err() {
                Err(invalid("the port is not a number from 0 to 65535"))
            } else {
                Ok(Self::Http(authority.to_owned()))
            }
        } else {
            Err(invalid("the scheme is neither unix: nor http://"))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["unix:/run/holdfast/manager.sock", "unix:here.sock", "http://localhost:7070", "http://[::1]:0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("http://a:1/".parse::<Address>().unwrap().to_string(), "http://a:1");
    }

    #[test]
    fn what_is_not_an_address_is_told_why() {
        let long = format!("unix:/{}", "x".repeat(SOCKET_PATH_MAX));
        for (text, problem) in [
            ("", "scheme"),
            ("tcp://a:1", "scheme"),
            ("unix:", "empty"),
            (&long, "107"),
            ("http://a", "port is missing"),
            ("http://a:b", "not a number"),
            ("http://a:65536", "not a number"),
            ("http://:1", "host"),
            ("http://a/b:1", "host"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
