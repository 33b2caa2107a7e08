//! Bytes of any length, of which long ones are shared.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use bytes::Bytes;

/// Bytes that do not change, in 16 bytes wherever they stand.
///
/// - Short ones, of less than [`SHARED`](Self::SHARED) bytes, are its own: to clone them copies them.
/// - Longer ones are shared: to clone them takes the same time however long they are, and what is written of them
///   ([`Out::put_shared`](crate::frame::Out::put_shared)) or read ([`Buffered`](crate::Buffered)) need not be copied.
/// - What it is compared by, ordered by and hashed as are the bytes alone.
#[derive(Clone)]
pub struct Blob(Place);

#[derive(Clone)]
enum Place {
    Own(Box<[u8]>),
    /// At least [`Blob::SHARED`] of them.
    Shared(Box<Bytes>),
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Blob>() == 16);

impl Blob {
    /// From so many bytes on they are shared. A copy of fewer takes a few microseconds, and less memory than it might keep.
    pub const SHARED: usize = 64 << 10;

    /// The bytes in what can be shared, if they are long enough for that.
    #[must_use]
    pub fn shared(&self) -> Option<&Bytes> {
        match &self.0 {
            Place::Own(_) => None,
            Place::Shared(bytes) => Some(bytes),
        }
    }

    /// The bytes as a vector. Those that nobody else has are not copied to other memory.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Place::Own(bytes) => bytes.into_vec(),
            Place::Shared(bytes) => (*bytes).into(),
        }
    }
}

impl Deref for Blob {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Own(bytes) => bytes,
            Place::Shared(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Box<[u8]>> for Blob {
    fn from(bytes: Box<[u8]>) -> Self {
        Self(if bytes.len() < Self::SHARED { Place::Own(bytes) } else { Place::Shared(Box::new(bytes.into())) })
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.into_boxed_slice().into()
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Box::<[u8]>::from(bytes).into()
    }
}

impl<const N: usize> From<[u8; N]> for Blob {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

/// Without a copy, if they are long enough to be shared.
impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        if bytes.len() < Self::SHARED { (&*bytes).into() } else { Self(Place::Shared(Box::new(bytes))) }
    }
}

impl FromIterator<u8> for Blob {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        bytes.into_iter().collect::<Vec<u8>>().into()
    }
}

impl Default for Blob {
    fn default() -> Self {
        [].into()
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

impl PartialOrd for Blob {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Blob {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Blob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;
    use core::hash::BuildHasher;
    use std::hash::RandomState;

    use proptest::prelude::*;

    use super::*;

    /// Short and long ones, alike but for a few bytes.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![0usize..9, (Blob::SHARED - 2)..(Blob::SHARED + 3)];
        (len, 0u8..2, any::<prop::sample::Index>()).prop_map(|(len, byte, at)| {
            let mut bytes = vec![1; len];
            if len > 0 {
                bytes[at.index(len)] = byte;
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn blobs_are_as_the_bytes_in_them(a in any_bytes(), b in any_bytes()) {
            let blobs = |bytes: &[u8]| {
                let shared = Blob::from(Bytes::copy_from_slice(bytes));
                [Blob::from(bytes), bytes.to_vec().into(), bytes.iter().copied().collect(), shared.clone(), shared]
            };
            let state = RandomState::new();
            for x in blobs(&a) {
                prop_assert_eq!(&*x, &*a);
                prop_assert_eq!(x.shared().is_some(), a.len() >= Blob::SHARED);
                for y in blobs(&b) {
                    prop_assert_eq!(x == y, a == b);
                    prop_assert_eq!(x.cmp(&y), a.cmp(&b));
                }
                prop_assert_eq!(state.hash_one(&x), state.hash_one(&*a));
                prop_assert_eq!(format!("{x:?}"), format!("{a:?}"));
                prop_assert_eq!(x.into_vec(), a.clone());
            }
        }
    }

    #[test]
    fn long_ones_are_shared_and_stay_where_they_are() {
        let bytes = vec![7; Blob::SHARED];
        let place = bytes.as_ptr();
        let blob = Blob::from(bytes);
        let clone = blob.clone();
        assert_eq!((blob.as_ptr(), clone.as_ptr()), (place, place));
        drop(blob);
        let vec = clone.into_vec();
        assert_eq!(vec.as_ptr(), place, "nobody else has it");
    }
}
