//! What was sent, and may have to be sent again.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use holdfast_proto::frame::Pieces;

/// Frames that were sent and that the other end may not have, so that they can be sent again on another connection.
///
/// Frames have numbers that rise; those without one belong to the next. They are kept as they were sent, in pieces that
/// share their memory with what is on its way.
#[derive(Debug)]
pub struct Sent {
    pieces: VecDeque<Bytes>,
    /// Where the first piece begins, in bytes since the beginning.
    begin: u64,
    /// Where the last one ends.
    end: u64,
    /// Numbers of frames, and where each ends.
    marks: VecDeque<(u64, u64)>,
    /// The frames up to this number are not kept any more.
    forgotten: u64,
    /// When more bytes are kept the oldest are forgotten, whether the other end has them or not.
    limit: usize,
}

impl Sent {
    /// For frames whose numbers are above `before`, of which about `limit` bytes are kept.
    #[must_use]
    pub fn new(before: u64, limit: usize) -> Self {
        Self { pieces: VecDeque::new(), begin: 0, end: 0, marks: VecDeque::new(), forgotten: before, limit }
    }

    /// The frame with this number, and no later one, ends so many bytes after what was sent.
    pub(crate) fn mark(&mut self, number: u64, waiting: usize) {
        if number > self.marks.back().map_or(self.forgotten, |(last, _)| *last) {
            self.marks.push_back((number, self.end + waiting as u64));
        }
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        self.end += piece.len() as u64;
        self.pieces.push_back(piece);
        while self.end - self.begin > self.limit as u64
            && let Some((number, _)) = self.marks.front()
            && self.forget_next(*number)
        {}
    }

    pub(crate) fn forget(&mut self, number: u64) {
        while self.forget_next(number) {}
    }

    /// Forgets the frames up to the first mark, if they have been sent and their numbers are not above this one.
    fn forget_next(&mut self, number: u64) -> bool {
        let Some((last, end)) = self.marks.front().copied().filter(|(last, end)| *last <= number && *end <= self.end)
        else {
            return false;
        };
        self.marks.pop_front();
        self.forgotten = last;
        while self.begin < end {
            let piece = self.pieces.front_mut().expect("what was sent up to a mark is in pieces");
            let part = usize::try_from(end - self.begin).map_or(piece.len(), |rest| rest.min(piece.len()));
            self.begin += part as u64;
            piece.advance(part);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        true
    }

    /// The number before the first frame that is kept, and the bytes of all.
    pub(crate) fn into_parts(self) -> (u64, Pieces) {
        let mut kept = Pieces::default();
        for piece in self.pieces {
            kept.push(piece);
        }
        (self.forgotten, kept)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    /// Frames of ten bytes each, sent in pieces of seven.
    fn sent(limit: usize) -> Sent {
        let mut sent = Sent::new(5, limit);
        let frames = BytesMut::from_iter((6..16).flat_map(|number: u8| [number; 10]));
        let mut frames = frames.freeze();
        for number in 6..16 {
            sent.mark(number, 10 * (usize::try_from(number).expect("small") - 5));
        }
        while !frames.is_empty() {
            sent.push(frames.split_to(frames.len().min(7)));
        }
        sent
    }

    fn numbers(sent: Sent) -> (u64, Vec<u8>) {
        let (forgotten, kept) = sent.into_parts();
        (forgotten, BytesMut::from(kept).chunks(10).map(|frame| frame[0]).collect())
    }

    #[test]
    fn what_the_other_end_has_is_forgotten_frame_by_frame() {
        let mut all = sent(1000);
        all.forget(5);
        assert_eq!(numbers(all), (5, (6..16).collect()));
        let mut some = sent(1000);
        some.forget(9);
        some.forget(8);
        assert_eq!(numbers(some), (9, (10..16).collect()));
        let mut none = sent(1000);
        none.forget(99);
        assert_eq!(numbers(none), (15, vec![]));
    }

    #[test]
    fn what_is_beyond_the_limit_is_forgotten_and_known_to_be() {
        assert_eq!(numbers(sent(35)), (12, (13..16).collect()));
    }

    #[test]
    fn what_has_not_left_is_not_forgotten() {
        let mut sent = Sent::new(0, 100);
        sent.mark(1, 10);
        sent.push(Bytes::from_static(b"12345"));
        sent.forget(1);
        let (forgotten, kept) = sent.into_parts();
        assert_eq!((forgotten, BytesMut::from(kept)), (0, BytesMut::from("12345")));
    }
}
