//! Replies that are short, as nearly all are.

use super::{Frames, PREFIX, REPLY_INDEX, REPLY_RESPONSE, REPLY_SEQUENCE, SERVER_REPLY};
use crate::fields::{LENGTH_DELIMITED, VARINT, key};
use crate::ops::Written;

/// A reply whose lengths have one byte each, and are filled in when they are known: it is written in one pass, where the
/// compiler sees all bounds, and copied at once.
struct ShortReply {
    bytes: [u8; Self::MAX],
    len: usize,
}

/// The longest response that is written so.
const RESPONSE_MAX: usize = 64;

/// Where a reply that is not empty begins: after the prefix, the field's key and its length.
const REPLY: usize = PREFIX + 2;

impl ShortReply {
    /// The two fields before the response have a key and up to ten bytes each, the response a key and its length, and what
    /// comes after it two bytes.
    const MAX: usize = REPLY + 2 * 11 + 2 + RESPONSE_MAX + 2;

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    #[inline(always)]
    fn number(&mut self, tag: u32, mut value: u64) {
        let key = key(tag, VARINT);
        let bits = |at: u32| (value >> (7 * at)) as u8;
        match value {
            // A field that is 0 is not written.
            0 => {}
            1..0x80 => self.put([key, bits(0)]),
            0x80..0x4000 => self.put([key, bits(0) | 0x80, bits(1)]),
            0x4000..0x20_0000 => self.put([key, bits(0) | 0x80, bits(1) | 0x80, bits(2)]),
            _ => {
                self.put([key]);
                while value >= 0x80 {
                    self.put([value as u8 | 0x80]);
                    value >>= 7;
                }
                self.put([value as u8]);
            }
        }
    }
}

/// Appends the reply and says so, if its response of `len` bytes is short enough.
#[inline]
pub(super) fn put_short_reply(
    out: &mut impl Frames,
    sequence: u64,
    index: u64,
    response: &impl Written,
    len: usize,
    after: &[u8],
) -> bool {
    const { assert!(ShortReply::MAX - PREFIX < 0x80, "all lengths have one byte") };
    if len > RESPONSE_MAX {
        return false;
    }
    let mut reply = ShortReply { bytes: [0; ShortReply::MAX], len: REPLY };
    reply.number(REPLY_SEQUENCE, sequence);
    reply.number(REPLY_INDEX, index);
    reply.put([key(REPLY_RESPONSE, LENGTH_DELIMITED), len as u8]);
    let end = reply.len + len;
    response.put(&mut &mut reply.bytes[reply.len..end]);
    let response_end = end;
    let end = response_end + after.len();
    reply.bytes[response_end..end].copy_from_slice(after);
    reply.bytes[PREFIX - 1] = (end - PREFIX) as u8;
    reply.bytes[PREFIX] = key(SERVER_REPLY, LENGTH_DELIMITED);
    reply.bytes[PREFIX + 1] = (end - REPLY) as u8;
    out.flat().extend_from_slice(&reply.bytes[..end]);
    true
}
