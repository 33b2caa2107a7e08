//! How file descriptors get past serde, from the arguments of a process to the process.
//!
//! An argument gives its descriptor away while it is written, and takes it up again while it is read in the child; what stands
//! for it in the data meanwhile is its place among all that go with the arguments. The descriptors themselves go over the
//! socket between the two, so an argument may carry one wherever serde carries the argument.
//!
//! - A descriptor can be given away only while the arguments of a process are written by the thread that writes them
//!   ([`gather`]), and taken up only while that process reads them ([`scatter`]). Everywhere else it is an error, before the
//!   argument has given anything away.
//! - Each is taken up at most once. What nobody has taken up when the arguments are read is closed.

use std::cell::RefCell;
use std::mem;
use std::os::fd::OwnedFd;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// More do not go with the arguments of one process: what Linux takes with one message (`SCM_MAX_FD`), less what the library
/// itself sends.
pub(crate) const MOST: usize = 250;

thread_local! {
    /// What was given away by the arguments that are being written; nothing if none are.
    static GIVEN: RefCell<Option<Vec<OwnedFd>>> = const { RefCell::new(None) };
    /// What is there to be taken up by the arguments that are being read.
    static OFFERED: RefCell<Vec<Option<OwnedFd>>> = const { RefCell::new(Vec::new()) };
}

/// What stands for a descriptor in data.
#[derive(Serialize, Deserialize)]
struct Place {
    #[serde(rename = "$holdfast::Descriptor")]
    place: usize,
}

/// Writes an argument that carries a descriptor, which `give` gives away. It is called only where that can be done.
pub(crate) fn serialize<S: Serializer>(
    give: impl FnOnce() -> Result<OwnedFd, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let given = GIVEN.with_borrow(|given| given.as_ref().map(Vec::len));
    let place = match given {
        None => {
            return Err(S::Error::custom("an open file can only be an argument of a process that is started with it"));
        }
        Some(MOST) => return Err(S::Error::custom(format_args!("no more than {MOST} open files go with one process"))),
        Some(place) => place,
    };
    let descriptor = give().map_err(S::Error::custom)?;
    GIVEN.with_borrow_mut(|given| given.get_or_insert_default().push(descriptor));
    Place { place }.serialize(serializer)
}

/// Reads an argument that carries a descriptor, and takes that up.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OwnedFd, D::Error> {
    let Place { place } = Place::deserialize(deserializer)?;
    let taken = OFFERED.with_borrow_mut(|offered| offered.get_mut(place)?.take());
    taken.ok_or_else(|| D::Error::custom("an open file can only be read from the arguments of this process, and once"))
}

/// Writes arguments, and gathers what they give away.
pub(crate) fn gather<T>(write: impl FnOnce() -> T) -> (T, Vec<OwnedFd>) {
    let _ends = Gathering(GIVEN.replace(Some(Vec::new())));
    let written = write();
    (written, GIVEN.take().unwrap_or_default())
}

/// Arguments are being written, perhaps inside of others.
struct Gathering(Option<Vec<OwnedFd>>);

impl Drop for Gathering {
    fn drop(&mut self) {
        GIVEN.set(self.0.take());
    }
}

/// Reads arguments, which take up what is theirs; the rest is closed.
pub(crate) fn scatter<T>(descriptors: Vec<OwnedFd>, read: impl FnOnce() -> T) -> T {
    let _ends = Scattering(OFFERED.replace(descriptors.into_iter().map(Some).collect()));
    read()
}

/// Arguments are being read.
struct Scattering(Vec<Option<OwnedFd>>);

impl Drop for Scattering {
    fn drop(&mut self) {
        OFFERED.set(mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;
    use crate::codec::{CodecError, from_datum, to_datum};

    /// An argument that carries one end of a pipe.
    struct End(RefCell<Option<OwnedFd>>);

    impl End {
        fn new(descriptor: impl Into<OwnedFd>) -> Self {
            Self(RefCell::new(Some(descriptor.into())))
        }

        fn is_empty(&self) -> bool {
            self.0.borrow().is_none()
        }
    }

    impl Serialize for End {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serialize(|| self.0.take().ok_or_else(|| "it was given away before".to_owned()), serializer)
        }
    }

    impl<'de> Deserialize<'de> for End {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            super::deserialize(deserializer).map(End::new)
        }
    }

    /// serde keeps what is in it for a while before it knows what it is.
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        End(End),
    }

    #[test]
    fn descriptors_go_with_arguments_and_come_back_in_their_places() {
        let (first_reader, first_writer) = std::io::pipe().expect("a pipe");
        let (mut second_reader, second_writer) = std::io::pipe().expect("a pipe");
        let arguments = (End::new(first_writer), vec![Either::Number(1), Either::End(End::new(second_writer))]);
        let (datum, descriptors) = gather(|| to_datum(&arguments));
        assert_eq!(descriptors.len(), 2);
        assert!(arguments.0.is_empty(), "it was given away");

        let read: (End, Vec<Either>) = scatter(descriptors, || from_datum(datum.expect("data"))).expect("two ends");
        let (first, mut second) = read;
        drop(first);
        let Some(Either::End(second)) = second.pop() else { panic!("an end") };
        File::from(second.0.take().expect("a descriptor")).write_all(b"second").expect("written");
        let mut text = String::new();
        second_reader.read_to_string(&mut text).expect("read to its end");
        assert_eq!(text, "second");
        assert_eq!(std::io::read_to_string(first_reader).expect("read to its end"), "");
    }

    #[test]
    fn elsewhere_nothing_is_given_away_and_it_is_an_error() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let end = End::new(writer);
        assert!(matches!(to_datum(&end), Err(CodecError::Invalid(text)) if text.contains("argument of a process")));
        assert!(serde_json::to_string(&end).is_err());
        assert!(!end.is_empty(), "it still has it");

        let (datum, descriptors) = gather(|| to_datum(&end).expect("data"));
        assert!(from_datum::<End>(datum.clone()).is_err(), "nothing is offered");
        let twice = (datum.clone(), datum);
        let twice = holdfast_proto::Datum::Tuple([twice.0, twice.1].into());
        assert!(scatter(descriptors, || from_datum::<(End, End)>(twice)).is_err(), "one descriptor, taken twice");
        assert_eq!(std::io::read_to_string(reader).expect("read to its end"), "", "all of them were closed");
    }

    #[test]
    fn what_is_not_taken_up_is_closed_and_too_many_are_refused() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        scatter(vec![writer.into()], || ());
        assert_eq!(std::io::read_to_string(reader).expect("read to its end"), "");

        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let ends = || End::new(reader.try_clone().expect("a copy"));
        let (written, descriptors) = gather(|| to_datum(&(0..=MOST).map(|_| ends()).collect::<Vec<_>>()));
        assert!(matches!(written, Err(CodecError::Invalid(text)) if text.contains("no more than")));
        assert_eq!(descriptors.len(), MOST);
    }
}
