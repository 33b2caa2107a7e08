//! A message in the buffer in which it came.

use bytes::{Buf, Bytes};

use crate::datum::Blob;

/// A message that is read, where long bytes in it may go on sharing the buffer in which they came.
///
/// They do so only if they are at least half of that buffer: otherwise a part could keep much more memory than it has
/// bytes, of which nobody would know. What is shorter is copied.
#[derive(Debug)]
pub struct Buffered {
    rest: Bytes,
    /// The bytes of the buffer.
    whole: usize,
}

impl Buffered {
    /// `message` lies in `buffer`, and nothing else keeps memory beyond it.
    #[must_use]
    pub fn new(message: &[u8], buffer: &Bytes) -> Self {
        Self { rest: buffer.slice_ref(message), whole: buffer.len() }
    }

    fn may_share(&self, len: usize) -> bool {
        len >= Blob::SHARED && len >= self.whole / 2
    }
}

impl Buf for Buffered {
    fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.rest
    }

    fn advance(&mut self, len: usize) {
        self.rest.advance(len);
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        let part = self.rest.split_to(len);
        if self.may_share(len) { part } else { Bytes::copy_from_slice(&part) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn only_what_is_long_and_most_of_its_buffer_is_shared() {
        for (buffer, len, is_shared) in [
            (Blob::SHARED + 20, Blob::SHARED, true),
            (Blob::SHARED + 20, Blob::SHARED - 1, false),
            (2 * Blob::SHARED, Blob::SHARED, true),
            (2 * Blob::SHARED + 2, Blob::SHARED, false),
        ] {
            let buffer = Bytes::from(vec![1; buffer]);
            let mut message = Buffered::new(&buffer[5..], &buffer);
            message.advance(3);
            let part = message.copy_to_bytes(len);
            assert_eq!(part, buffer[8..8 + len]);
            assert_eq!(part.as_ptr() == buffer[8..].as_ptr(), is_shared, "{len} of {}", buffer.len());
            assert_eq!(message.remaining(), buffer.len() - 8 - len);
        }
    }
}
