//! Which object a name stands for.

use std::sync::Arc;

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use holdfast_objects::catalog;
use holdfast_proto::{OpenMode, OpenRequest, Reason, Refusal};

use crate::engine::Engine;
use crate::slot::Slot;

/// Which object a name stands for.
///
/// Objects without a name are not here: they live while something refers to their slot, a handle of a session or a token.
///
/// Every use of the map is one expression that clones the `Arc` out; a guard of it is never held across anything else.
#[derive(Debug)]
pub(crate) struct Registry {
    named: DashMap<Box<str>, Arc<Slot>, RandomState>,
    name_bytes: usize,
}

impl Registry {
    pub(crate) fn new(name_bytes: usize) -> Self {
        Self { named: DashMap::default(), name_bytes }
    }

    /// The object of that name, made now if it may be. Also tells whether it was.
    pub(crate) fn open(&self, request: &OpenRequest, engine: &Engine) -> Result<(Arc<Slot>, bool), Refusal> {
        let name = &*request.name;
        self.check(name)?;
        let mode = OpenMode::try_from(request.mode)
            .map_err(|_| Refusal::new(Reason::Malformed, format!("there is no OpenMode {}", request.mode)))?;
        let found = self.named.get(name).map(|slot| slot.clone());
        match (found, mode) {
            (Some(slot), _) => existing(slot, name, request.kind, mode),
            (None, OpenMode::Open) => Err(unknown(name)),
            (None, OpenMode::OpenOrCreate | OpenMode::Create) => {
                let slot = engine.create(request.kind, &request.spec)?;
                let other = match self.named.entry(name.into()) {
                    Entry::Occupied(other) => Some(other.get().clone()),
                    Entry::Vacant(place) => {
                        place.insert(slot.clone());
                        None
                    }
                };
                // Another session was quicker: its object is the one, and ours goes.
                other.map_or(Ok((slot, true)), |other| existing(other, name, request.kind, mode))
            }
        }
    }

    /// The object of that name, which must be of that kind.
    pub(crate) fn find(&self, name: &str, kind: u32) -> Result<Arc<Slot>, Refusal> {
        self.check(name)?;
        let found = self.named.get(name).map(|slot| slot.clone());
        let (slot, _) = existing(found.ok_or_else(|| unknown(name))?, name, kind, OpenMode::Open)?;
        Ok(slot)
    }

    /// Deletes the object of that name.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Refusal> {
        let (_, slot) = self.named.remove(name).ok_or_else(|| unknown(name))?;
        slot.delete();
        Ok(())
    }

    fn check(&self, name: &str) -> Result<(), Refusal> {
        let invalid = |problem: String| Err(Refusal::new(Reason::InvalidName, problem));
        if name.is_empty() {
            invalid("the name of an object is empty: name it, or make one without a name".to_owned())
        } else if name.len() > self.name_bytes {
            invalid(format!("the name has {} bytes and the limit named name_bytes is {}", name.len(), self.name_bytes))
        } else {
            Ok(())
        }
    }
}

fn existing(slot: Arc<Slot>, name: &str, kind: u32, mode: OpenMode) -> Result<(Arc<Slot>, bool), Refusal> {
    if slot.kind() != kind {
        return Err(Refusal::new(
            Reason::WrongKind,
            format!(
                "{:?} is a {}, not a {}: open it as what it is, or choose another name",
                name,
                catalog::kind_name(slot.kind()),
                catalog::kind_name(kind)
            ),
        ));
    }
    if mode == OpenMode::Create {
        return Err(Refusal::new(
            Reason::Exists,
            format!("{:?} exists already: open it, or choose another name", name),
        ));
    }
    Ok((slot, false))
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(
        Reason::UnknownObject,
        format!("there is no object named {name:?}: make it with Open, or check the name"),
    )
}
