//! What can be told about objects without asking them anything.

use std::fmt;
use std::mem;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::{DescribeRequest, DescribeResponse, KINDS, ListRequest, ListResponse, ListedObject};

use super::Mode;
use super::remote::Remote;
use crate::error::Result;
use crate::session::renewal::Renewable;
use crate::session::{Asking, Exchange, Heard, Step};

/// The type of an object.
///
/// A manager that is newer than this library may have kinds that this library does not know; they have a number and no
/// name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(u32);

impl Kind {
    /// Its number in the protocol.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Its name, such as `dict`, if this library knows it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        KINDS.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// The kinds of objects that this library knows.
    pub fn known() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|(number, _)| Self(*number)).filter(|kind| *kind != Self::MANAGER)
    }

    /// The manager itself, which is no object among others.
    const MANAGER: Self = Self(holdfast_proto::manager::KIND);
}

impl From<u32> for Kind {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {}", self.0),
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::known().find(|kind| kind.name() == Some(text)).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A text is not the name of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind(String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<String> = Kind::known().map(|kind| kind.to_string()).collect();
        write!(f, "there is no kind {:?}: the kinds are {}", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownKind {}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// How many elements it has. `None` if its kind has none, or if a call was being applied to it at that moment.
    pub elements: Option<u64>,
    /// The bytes of user data in it, as the limits count them. `None` if a call was being applied to it at that moment.
    pub bytes: Option<u64>,
}

impl From<ListedObject> for Listed {
    fn from(object: ListedObject) -> Self {
        let ListedObject { name, kind, elements, bytes } = object;
        Self { name, kind: Kind(kind), elements, bytes }
    }
}

/// What there is to know about an object without asking it anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Its type.
    pub kind: Kind,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The bytes of user data in it, as the limits count them.
    pub bytes: u64,
    /// How many elements it has, if its kind has any.
    pub elements: Option<u64>,
    /// How many handles of all sessions, and tokens, refer to it. It may be off by those that are being made or given back
    /// at that moment.
    pub references: u64,
    /// How long ago it was made.
    pub age: Duration,
    /// Whether a fault inside it was caught, so that it can only be deleted.
    pub poisoned: bool,
}

impl From<DescribeResponse> for Description {
    fn from(response: DescribeResponse) -> Self {
        let DescribeResponse { kind, name, bytes, elements, references, age_ms, poisoned } = response;
        let age = Duration::from_millis(age_ms);
        Self { kind: Kind(kind), name, bytes, elements, references, age, poisoned }
    }
}

/// The listing of names, page by page.
#[derive(Debug)]
pub struct Names<M: Mode> {
    manager: Remote<M>,
    request: ListRequest,
    listed: Vec<Listed>,
}

impl<M: Mode> Names<M> {
    pub(super) fn new(manager: Remote<M>, prefix: &str, kind: Option<Kind>) -> Self {
        let kind = kind.map_or(0, Kind::number);
        let request = ListRequest { prefix: prefix.to_owned(), kind, cursor: String::new() };
        Self { manager, request, listed: Vec::new() }
    }
}

impl<M: Mode> Unpin for Names<M> {}

impl<M: Mode> Exchange for Names<M> {
    type Value = Vec<Listed>;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.manager.ask(asking, &self.request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Vec<Listed>>> {
        let (response, _) = self.manager.decode::<ListResponse>(heard)?;
        self.listed.extend(response.objects.into_iter().map(Listed::from));
        if response.cursor.is_empty() {
            return Ok(Step::Done(mem::take(&mut self.listed)));
        }
        self.request.cursor = response.cursor;
        Ok(Step::Again)
    }
}

impl<M: Mode> Renewable<M> for Names<M> {
    fn begin(&mut self, session: &Arc<M::Session>) {
        self.manager = self.manager.renewed(session);
        self.listed.clear();
        self.request.cursor.clear();
    }

    fn is_repeatable(&self) -> bool {
        true
    }
}

/// The description of an object.
#[derive(Debug)]
pub struct Describe<M: Mode> {
    pub(super) manager: Remote<M>,
    /// The handle must stay open until the manager has answered.
    pub(super) _object: Remote<M>,
    pub(super) request: DescribeRequest,
}

impl<M: Mode> Unpin for Describe<M> {}

impl<M: Mode> Exchange for Describe<M> {
    type Value = Description;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.manager.ask(asking, &self.request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Description>> {
        Ok(Step::Done(self.manager.decode::<DescribeResponse>(heard)?.0.into()))
    }
}
