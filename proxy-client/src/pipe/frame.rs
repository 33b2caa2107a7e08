//! What stands before each message, and between messages: four bytes.

use super::{MAX_MESSAGE_BYTES, PipeError};

/// How long a header is.
pub(super) const HEADER_BYTES: usize = 4;

const HELD: u32 = u32::MAX;
const RELEASED: u32 = u32::MAX - 1;

/// Four bytes, little-endian. What is not one of the two words is the length of a message that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// So many bytes are a message: a datum.
    Message(usize),
    /// The end is now that of the process whose pidfd comes along with the first of these bytes.
    Held,
    /// The end is nobody's for now, or that of a process which cannot be watched.
    Released,
}

impl Header {
    /// Of a message that is as long as this, if it is not too long.
    pub(super) fn of_message(bytes: usize) -> Result<Self, PipeError> {
        if bytes <= MAX_MESSAGE_BYTES { Ok(Self::Message(bytes)) } else { Err(PipeError::TooLarge { bytes }) }
    }

    pub(super) fn written(self) -> [u8; HEADER_BYTES] {
        match self {
            // MAX_MESSAGE_BYTES is far below the two words.
            Self::Message(bytes) => bytes as u32,
            Self::Held => HELD,
            Self::Released => RELEASED,
        }
        .to_le_bytes()
    }

    /// The header at the front of these bytes, if all of it is there.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, PipeError> {
        let Some(header) = bytes.first_chunk() else { return Ok(None) };
        match u32::from_le_bytes(*header) {
            HELD => Ok(Some(Self::Held)),
            RELEASED => Ok(Some(Self::Released)),
            bytes => Self::of_message(bytes as usize).map(Some),
        }
    }

    /// The length of the header and all that belongs to it.
    pub(super) fn frame_bytes(self) -> usize {
        match self {
            Self::Message(bytes) => HEADER_BYTES + bytes,
            Self::Held | Self::Released => HEADER_BYTES,
        }
    }
}
