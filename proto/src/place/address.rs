//! Where a manager listens.

use core::fmt;
use core::str::FromStr;
use std::borrow::ToOwned;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};

/// The longest path of a Unix socket, on Linux.
const SOCKET_PATH_MAX: usize = 107;

/// Where a manager listens: `unix:PATH`, `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port, in plain text: host and port, the host as a name, an IPv4 address, or an IPv6 address in brackets.
    Http(String),
    /// A TCP port, with TLS: host and port, as above.
    Https(String),
}

impl Address {
    /// The host of a TCP port, an IPv6 address without its brackets. `None` for a Unix socket.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let (Self::Http(authority) | Self::Https(authority)) = self else { return None };
        let (host, _) = authority.rsplit_once(':')?;
        Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
    }

    /// Checks an address that was not read from a text, as reading it does.
    ///
    /// # Errors
    ///
    /// A Unix socket cannot have this path: it is empty, or longer than the 107 bytes that Linux has for it.
    pub fn check(&self) -> Result<(), InvalidAddress> {
        let Self::Unix(path) = self else { return Ok(()) };
        check_path(path).map_err(|problem| InvalidAddress { text: self.to_string(), problem })
    }
}

/// A text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {problem}; write unix:PATH, http://HOST:PORT or https://HOST:PORT")]
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
            check_path(&path).map_err(invalid)?;
            Ok(Self::Unix(path))
        } else if let Some(authority) = text.strip_prefix("http://") {
            check_authority(authority).map(Self::Http).map_err(invalid)
        } else if let Some(authority) = text.strip_prefix("https://") {
            check_authority(authority).map(Self::Https).map_err(invalid)
        } else {
            Err(invalid("the scheme is none of unix:, http:// and https://"))
        }
    }
}

/// Whether a Unix socket can have this path. An error says what is wrong.
fn check_path(path: &Path) -> Result<(), &'static str> {
    match path.as_os_str().as_bytes().len() {
        0 => Err("the path is empty"),
        1..=SOCKET_PATH_MAX => Ok(()),
        _ => Err(
            "the path of a Unix socket has at most 107 bytes: take a folder whose path is shorter, as in /run or /tmp",
        ),
    }
}

/// Host and port, without a slash at the end. An error says what is wrong.
fn check_authority(authority: &str) -> Result<String, &'static str> {
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':').ok_or("the port is missing")?;
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        Err("the host is missing or is not a host")
    } else if port.parse::<u16>().is_err() {
        Err("the port is not a number from 0 to 65535")
    } else {
        Ok(authority.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https(authority) => write!(f, "https://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn addresses_are_read_and_written() {
        for text in [
            "unix:/run/holdfast/manager.sock",
            "unix:here.sock",
            "http://localhost:7070",
            "http://[::1]:0",
            "https://localhost:7070",
            "https://[::1]:0",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("http://a:1/".parse::<Address>().unwrap().to_string(), "http://a:1");
        assert_eq!("https://a:1/".parse::<Address>().unwrap(), Address::Https("a:1".to_owned()));
    }

    #[test]
    fn a_host_is_what_stands_before_the_port() {
        let host = |text: &str| text.parse::<Address>().unwrap().host().map(ToOwned::to_owned);
        assert_eq!(host("https://[::1]:7070").as_deref(), Some("::1"));
        assert_eq!(host("https://a.example:7070").as_deref(), Some("a.example"));
        assert_eq!(host("http://127.0.0.1:0").as_deref(), Some("127.0.0.1"));
        assert_eq!(host("unix:/a:1"), None);
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
            ("https://a", "port is missing"),
            ("https://:1", "host"),
            ("httpss://a:1", "scheme"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn an_address_that_was_made_by_hand_is_checked_too() {
        let of = |length| Address::Unix("x".repeat(length).into()).check();
        assert!(of(1).is_ok() && of(SOCKET_PATH_MAX).is_ok());
        assert!(of(0).is_err_and(|error| error.to_string().contains("empty")));
        assert!(of(SOCKET_PATH_MAX + 1).is_err_and(|error| error.to_string().contains("shorter")));
    }
}
