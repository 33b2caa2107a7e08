//! A proxy on its way to another process.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use holdfast_proto::place::Address;

use crate::error::ConnectError;

/// A proxy on its way to another process: a text that stands for one object of one manager.
///
/// It holds a reference: until it is taken up, or its time is over, the object cannot vanish, also when the process that
/// made it ends. It is of no use without the authkey, but treat it as you would the object.
///
/// As text it is `holdfast1.KIND.INCARNATION.SECRET@ADDRESS`; serde uses the same text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub(crate) kind: u32,
    pub(crate) incarnation: [u8; 16],
    pub(crate) secret: Vec<u8>,
    address: Address,
}

const FORMAT: &str = "holdfast1";

impl Token {
    pub(crate) fn new(kind: u32, incarnation: [u8; 16], secret: Vec<u8>, address: Address) -> Self {
        Self { kind, incarnation, secret, address }
    }

    /// Where the manager is, as the process that made the token reached it.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [incarnation, secret] =
            [&self.incarnation[..], &self.secret].map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes));
        write!(f, "{FORMAT}.{}.{incarnation}.{secret}@{}", self.kind, self.address)
    }
}

impl FromStr for Token {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let (head, address) = text.split_once('@').ok_or(ConnectError::Token("it has no address"))?;
        let parts: Vec<&str> = head.split('.').collect();
        let [FORMAT, kind, incarnation, secret] = parts[..] else {
            return Err(ConnectError::Token("it does not begin with holdfast1 and three fields"));
        };
        let kind = kind.parse().map_err(|_| ConnectError::Token("its kind is not a number"))?;
        let bytes = |text, problem| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ConnectError::Token(problem));
        let incarnation = bytes(incarnation, "its incarnation is not base64")?;
        let incarnation = incarnation.try_into().map_err(|_| ConnectError::Token("its incarnation is not a UUID"))?;
        let secret = bytes(secret, "its secret is not base64")?;
        Ok(Self { kind, incarnation, secret, address: address.parse()? })
    }
}

impl serde::Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_written() {
        for address in ["unix:/tmp/a@b.sock", "http://[::1]:7070", "https://[::1]:7070"] {
            let address: Address = address.parse().expect("an address");
            let token = Token::new(2, [7; 16], vec![1; 32], address);
            assert_eq!(token.to_string().parse::<Token>().ok(), Some(token));
        }
        for text in [
            "",
            "@",
            "holdfast1.2@unix:a",
            "holdfast2.2.AA.AA@unix:a",
            "holdfast1.x.AA.AA@unix:a",
            "holdfast1.2.AA.AA@unix:a",
        ] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
