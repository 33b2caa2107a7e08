//! Data as messages show it.

use core::fmt::{self, Display};

use super::Datum;

/// The characters of a text, and twice the bytes of anything else, that are shown.
const SHOWN: usize = 64;

/// A datum for a message to a person: one line, short, and without control characters. Containers show their size only.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a>(&'a Datum);

impl<'a> Brief<'a> {
    pub(super) fn new(datum: &'a Datum) -> Self {
        Self(datum)
    }
}

impl Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Datum::Unset | Datum::Null => f.write_str(self.0.type_name()),
            Datum::Boolean(boolean) => write!(f, "{boolean}"),
            Datum::Integer(integer) => write!(f, "{integer}"),
            Datum::Float(float) => write!(f, "{float:?}"),
            Datum::Text(text) => brief_text(text, f),
            Datum::BigInteger(bytes) => {
                f.write_str("0x")?;
                brief_bytes(bytes, f)
            }
            Datum::Bytes(bytes) => {
                f.write_str("bytes ")?;
                brief_bytes(bytes, f)
            }
            Datum::List(elements) | Datum::Tuple(elements) | Datum::Set(elements) => {
                write!(f, "{} of {}", self.0.type_name(), elements.len())
            }
            Datum::Map(entries) => write!(f, "a map of {}", entries.len()),
            Datum::Reference(reference) => {
                f.write_str("the object ")?;
                brief_bytes(&reference.object(), f)
            }
            Datum::Opaque(opaque) => write!(f, "{} bytes of {:?}", opaque.data.len(), opaque.codec.as_str()),
        }
    }
}

fn brief_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match text.char_indices().nth(SHOWN) {
        None => write!(f, "{text:?}"),
        Some((end, _)) => write!(f, "{:?}... ({} bytes)", &text[..end], text.len()),
    }
}

fn brief_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes.iter().take(SHOWN / 2) {
        write!(f, "{byte:02x}")?;
    }
    if bytes.len() > SHOWN / 2 {
        write!(f, "... ({} bytes)", bytes.len())?;
    }
    Ok(())
}
