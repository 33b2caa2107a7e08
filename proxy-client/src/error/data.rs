//! Errors of this library as data, so that registered functions can return them: with `?`, as any function does.
//!
//! What is sent is the message. What was refused, and by whom, is of no use in another process, whose objects are others; so what
//! is read is an error that a function returned elsewhere.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, Raised};

/// As its message.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As [`Error::Raised`] with that message.
impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let message = String::deserialize(deserializer)?;
        Ok(Self::Raised(Box::new(Raised { kind: "Err".to_owned(), message, trace: String::new() })))
    }
}
