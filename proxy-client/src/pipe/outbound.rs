//! The message that is being sent.

use std::io::IoSlice;
use std::os::fd::AsFd;

use holdfast_proto::Datum;
use prost::Message;
use prost::encoding::encode_varint;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use super::PipeError;
use super::frame::Header;

/// Bytes and texts of at least this length are written from where they lie. Below it a second piece costs more than the copy.
const APART_BYTES: usize = 16 << 10;

/// What a large message took beyond this is given back.
const KEPT_BYTES: usize = 64 << 10;

/// One message as far as it was not written yet, or none.
///
/// There is never more than one: the next begins when all of this one is written, so messages are never torn by each other.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// The frame; or only its beginning, and the rest is in `apart`.
    head: Vec<u8>,
    /// Bytes or a text, whose content is the end of the frame. Otherwise unset.
    apart: Datum,
    /// How many bytes of both were written.
    written: usize,
}

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// Takes a message. Only an empty one may.
    pub(super) fn begin(&mut self, message: Datum) -> Result<(), PipeError> {
        let bytes = message.encoded_len();
        self.head.extend_from_slice(&Header::of_message(bytes)?.written());
        let apart = content(&message).len();
        if apart < APART_BYTES {
            message.encode_raw(&mut self.head);
        } else {
            self.head.push(key(&message));
            encode_varint(apart as u64, &mut self.head);
            self.apart = message;
        }
        Ok(())
    }

    /// Writes as much as there is room for: whether that was all.
    pub(super) fn write(&mut self, socket: impl AsFd) -> Result<bool, PipeError> {
        while !self.is_empty() {
            let apart = content(&self.apart);
            let sent = match self.head.get(self.written..) {
                Some(head) if apart.is_empty() => send(&socket, head, FLAGS),
                Some(head) => sendmsg(
                    &socket,
                    &[IoSlice::new(head), IoSlice::new(apart)],
                    &mut SendAncillaryBuffer::default(),
                    FLAGS,
                ),
                None => send(&socket, &apart[self.written - self.head.len()..], FLAGS),
            };
            match sent {
                Ok(sent) => self.written += sent,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    self.clear();
                    return Err(PipeError::Closed);
                }
                Err(errno) => return Err(errno.into()),
            }
            if self.written == self.head.len() + content(&self.apart).len() {
                self.clear();
            }
        }
        Ok(true)
    }

    /// Gives the message up, if nothing of it was written: whether that is so.
    pub(super) fn give_up(&mut self) -> bool {
        let is_untouched = self.written == 0;
        if is_untouched {
            self.clear();
        }
        is_untouched
    }

    /// Drops what is there, which nobody will read.
    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.head.shrink_to(KEPT_BYTES);
        self.apart = Datum::Unset;
        self.written = 0;
    }
}

/// Nobody waits here, and nobody is killed by a signal because the other end is closed.
pub(super) const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// What is written of bytes and texts after their length.
fn content(message: &Datum) -> &[u8] {
    match message {
        Datum::Bytes(bytes) => bytes,
        Datum::Text(text) => text.as_bytes(),
        _ => &[],
    }
}

/// The first byte of bytes or a text, which says what it is.
fn key(message: &Datum) -> u8 {
    let empty = if let Datum::Text(_) = message { Datum::Text("".into()) } else { Datum::Bytes([].into()) };
    let mut written = [0; 2];
    empty.encode_raw(&mut &mut written[..]);
    written[0]
}
