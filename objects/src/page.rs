//! Answers that are given a page at a time.

use alloc::vec::Vec;

use prost::Message;

/// How much of a page is left.
pub(crate) struct Page {
    left: usize,
}

impl Page {
    /// A page of as many bytes as were asked for, 0 meaning no wish, and as are allowed.
    pub(crate) fn new(asked: u32, allowed: u32) -> Self {
        let bytes = if asked == 0 { allowed } else { asked.min(allowed) };
        Self { left: bytes as usize }
    }

    /// Counts one more item of a repeated field. Ask [`is_full`](Self::is_full) afterwards, so that every page has one.
    pub(crate) fn count(&mut self, item: &impl Message) {
        const KEY: usize = 1;
        let len = item.encoded_len();
        self.left = self.left.saturating_sub(KEY + prost::length_delimiter_len(len) + len);
    }

    /// As many of the items as fit: at least the first.
    pub(crate) fn fill<'a, T: Message + Clone + 'a>(&mut self, items: impl Iterator<Item = &'a T>) -> Vec<T> {
        let mut filled = Vec::new();
        for item in items {
            self.count(item);
            filled.push(item.clone());
            if self.is_full() {
                break;
            }
        }
        filled
    }

    /// How many items of at most so many bytes fit an empty page: at least one.
    pub(crate) fn items(&self, bytes: usize) -> u64 {
        (self.left / bytes).max(1) as u64
    }

    /// Whether the page has reached its size.
    pub(crate) fn is_full(&self) -> bool {
        self.left == 0
    }
}
