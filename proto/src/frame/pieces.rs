//! Bytes on their way, of which long ones are not copied.

use alloc::collections::VecDeque;
use core::mem;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::encode_varint;

use crate::datum::Blob;

/// Where messages are written: any [`BufMut`], which copies all bytes, or [`Pieces`], which share long ones.
///
/// A trait of its own, since `BufMut` is for those who write unsafe code to implement.
pub trait Out {
    /// Appends one byte.
    fn byte(&mut self, byte: u8);
    /// Appends a copy of bytes.
    fn slice(&mut self, bytes: &[u8]);
    /// Appends a varint.
    fn varint(&mut self, bits: u64);
    /// Appends bytes that can be shared.
    fn put_shared(&mut self, bytes: &Bytes);
    /// Appends a message as prost writes it, which copies all bytes.
    fn message(&mut self, message: &impl Message);
}

impl<B: BufMut> Out for B {
    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        self.put_u8(byte);
    }

    #[inline(always)]
    fn slice(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    #[inline(always)]
    fn varint(&mut self, bits: u64) {
        encode_varint(bits, self);
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        self.put_slice(bytes);
    }

    #[inline]
    fn message(&mut self, message: &impl Message) {
        message.encode_raw(self);
    }
}

/// Where frames are put one after the other.
pub trait Frames: Out {
    /// The buffer in which the end lies, to append to it.
    fn flat(&mut self) -> &mut BytesMut;
}

impl Frames for BytesMut {
    #[inline(always)]
    fn flat(&mut self) -> &mut BytesMut {
        self
    }
}

/// Bytes in the order in which they leave: short ones gathered in buffers, and between them long ones that are shared with
/// whoever else has them.
///
/// What all of them hold counts as its length, whether it was copied or not.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    /// What comes before the tail, none of it empty.
    front: VecDeque<Bytes>,
    /// The bytes of all these.
    front_len: usize,
    tail: BytesMut,
}

impl Pieces {
    /// How many bytes there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.front_len + self.tail.len()
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The room that the tail has without another allocation.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.tail.capacity() - self.tail.len()
    }

    /// Appends bytes, which are shared if they are long.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < Blob::SHARED {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.end_tail();
            self.push_front(bytes);
        }
    }

    /// Takes the bytes that come first, at most `limit`: those that lie in one piece. Empty if there are none.
    #[inline]
    pub fn take(&mut self, limit: usize) -> Bytes {
        if self.front.is_empty() {
            self.tail.split_to(limit.min(self.tail.len())).freeze()
        } else {
            self.take_front(limit)
        }
    }

    #[cold]
    fn take_front(&mut self, limit: usize) -> Bytes {
        let Some(first) = self.front.front_mut() else { return Bytes::new() };
        let part = first.split_to(limit.min(first.len()));
        if first.is_empty() {
            self.front.pop_front();
        }
        self.front_len -= part.len();
        part
    }

    /// Moves all bytes of `other` behind these. Those that lie in pieces of their own are not copied.
    pub fn append(&mut self, other: &mut Self) {
        let Self { front, tail, .. } = mem::take(other);
        if !front.is_empty() {
            self.end_tail();
        }
        for piece in front {
            self.push_front(piece);
        }
        self.tail.unsplit(tail);
    }

    /// Lets go of everything, memory for what comes later included.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What comes next goes behind a new piece.
    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.push_front(tail);
        }
    }

    fn push_front(&mut self, piece: Bytes) {
        self.front_len += piece.len();
        self.front.push_back(piece);
    }
}

impl Frames for Pieces {
    #[inline(always)]
    fn flat(&mut self) -> &mut BytesMut {
        &mut self.tail
    }
}

impl Out for Pieces {
    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        self.tail.byte(byte);
    }

    #[inline(always)]
    fn slice(&mut self, bytes: &[u8]) {
        self.tail.slice(bytes);
    }

    #[inline(always)]
    fn varint(&mut self, bits: u64) {
        Out::varint(&mut self.tail, bits);
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        self.push(bytes.clone());
    }

    #[inline]
    fn message(&mut self, message: &impl Message) {
        Out::message(&mut self.tail, message);
    }
}

/// The same bytes in one piece.
impl From<Pieces> for BytesMut {
    fn from(mut pieces: Pieces) -> Self {
        let mut all = Self::with_capacity(pieces.len());
        while !pieces.is_empty() {
            all.extend_from_slice(&pieces.take(usize::MAX));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// What is done to pieces, and to plain bytes that are to remain the same.
    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, usize),
        Push(u8, usize),
        Append(u8, usize, usize),
        Take(usize),
        Clear,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let len = || prop_oneof![0usize..40, (Blob::SHARED - 2)..(Blob::SHARED + 3)];
        prop_oneof![
            4 => (any::<u8>(), 0usize..40).prop_map(|(byte, len)| Step::Put(byte, len)),
            4 => (any::<u8>(), len()).prop_map(|(byte, len)| Step::Push(byte, len)),
            2 => (any::<u8>(), len(), 0usize..40).prop_map(|(byte, len, more)| Step::Append(byte, len, more)),
            6 => prop_oneof![0usize..50, Just(30_000), Just(usize::MAX)].prop_map(Step::Take),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn pieces_are_as_bytes_in_a_row(steps in prop::collection::vec(any_step(), 0..40)) {
            let mut pieces = Pieces::default();
            let mut plain: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Put(byte, len) => {
                        pieces.slice(&vec![byte; len]);
                        plain.extend(vec![byte; len]);
                    }
                    Step::Push(byte, len) => {
                        pieces.push(vec![byte; len].into());
                        plain.extend(vec![byte; len]);
                    }
                    Step::Append(byte, len, more) => {
                        let mut other = Pieces::default();
                        other.push(vec![byte; len].into());
                        other.slice(&vec![byte; more]);
                        pieces.append(&mut other);
                        prop_assert!(other.is_empty());
                        plain.extend(vec![byte; len + more]);
                    }
                    Step::Take(limit) => {
                        let taken = pieces.take(limit);
                        prop_assert!(taken.len() <= limit);
                        prop_assert_eq!(taken.is_empty(), limit == 0 || plain.is_empty());
                        prop_assert!(plain.starts_with(&taken));
                        plain.drain(..taken.len());
                    }
                    Step::Clear => {
                        pieces.clear();
                        plain.clear();
                    }
                }
                prop_assert_eq!((pieces.len(), pieces.is_empty()), (plain.len(), plain.is_empty()));
            }
            prop_assert_eq!(&BytesMut::from(pieces)[..], &plain[..]);
        }
    }

    #[test]
    fn long_ones_stay_where_they_are_and_short_ones_are_gathered() {
        let long = Bytes::from(vec![7; Blob::SHARED]);
        let short = Bytes::from(vec![8; 10]);
        let mut pieces = Pieces::default();
        pieces.put_shared(&short);
        pieces.put_shared(&long);
        pieces.put_shared(&short);
        assert_eq!(pieces.take(usize::MAX), short);
        let part = pieces.take(1000);
        assert_eq!((part.len(), part.as_ptr()), (1000, long.as_ptr()));
        assert_eq!(pieces.take(usize::MAX).as_ptr(), long[1000..].as_ptr());
        let gathered = pieces.take(usize::MAX);
        assert!(gathered == short && gathered.as_ptr() != short.as_ptr());
    }
}
