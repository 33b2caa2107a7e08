//! What nearly every key and number in a request looks like, told at a glance.

use compact_str::CompactString;

use super::Datum;
use super::wire::{INTEGER, TEXT, unzigzag};
use crate::fields::{Fields, LENGTH_DELIMITED, VARINT, key};

impl Datum {
    /// Reads a message of less than 128 bytes that holds one integer or one text and nothing else, as encoders write them.
    /// `None` says nothing about it: then [`Message`](prost::Message) is to read it.
    #[inline(always)]
    pub(crate) fn read_short(message: &[u8]) -> Option<Self> {
        const INTEGER_KEY: u8 = key(INTEGER, VARINT);
        const TEXT_KEY: u8 = key(TEXT, LENGTH_DELIMITED);
        match message {
            [INTEGER_KEY, varint @ ..] => {
                let mut fields = Fields::new(varint);
                let integer = unzigzag(fields.varint().ok()?);
                fields.is_empty().then_some(Self::Integer(integer))
            }
            [TEXT_KEY, len, text @ ..] if usize::from(*len) == text.len() => {
                CompactString::from_utf8(text).ok().map(Self::Text)
            }
            _ => None,
        }
    }
}
