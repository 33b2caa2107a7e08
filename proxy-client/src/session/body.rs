//! The message in a reply.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use holdfast_proto::ops::Readable;
use prost::DecodeError;

/// So many bytes fit beside the length, in no more memory than what is shared takes.
const SHORT: usize = 23;

/// The bytes of a response message until its caller takes them.
///
/// A short one is copied: that takes less time than to count one who shares the buffer, and does not keep all that came with
/// it. A long one shares the buffer that it came in.
#[derive(Clone)]
pub(crate) struct Body(Place);

#[derive(Clone)]
enum Place {
    Here { len: u8, bytes: [u8; SHORT] },
    Shared(Bytes),
}

const _: () = assert!(size_of::<Body>() == size_of::<Bytes>());

impl Body {
    /// Keeps `message`, which lies in `buffer`.
    #[inline]
    pub(crate) fn keep(message: &[u8], buffer: &Bytes) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..message.len()) {
            Some(here) => {
                here.copy_from_slice(message);
                Self(Place::Here { len: message.len() as u8, bytes })
            }
            None => Self(Place::Shared(buffer.slice_ref(message))),
        }
    }
}

impl Body {
    /// Reads the message, in which long bytes may share the buffer.
    #[inline]
    pub(crate) fn read<T: Readable>(&self) -> Result<T, DecodeError> {
        match &self.0 {
            Place::Here { len, bytes } => T::read_any(&bytes[..usize::from(*len)]),
            Place::Shared(bytes) => T::read_in(bytes, bytes),
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Here { len, bytes } => &bytes[..usize::from(*len)],
            Place::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_length_is_kept() {
        let buffer = Bytes::from_iter(0..=99);
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 90] {
            let body = Body::keep(&buffer[5..5 + len], &buffer);
            assert_eq!(*body, buffer[5..5 + len]);
            assert_eq!(body.as_ptr() == buffer[5..].as_ptr(), len > SHORT, "{len} bytes");
        }
    }
}
