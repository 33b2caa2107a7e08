//! References to other objects, as data.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

use super::Datum;

/// A reference to another object, as data.
///
/// On the wire it is numbers; in memory it holds on to what it refers to, whatever that is where it lives: in the manager
/// the object itself, in a client a handle. So a datum that is copied, moved, stored or dropped counts by itself, and
/// there is no second account of who refers to whom that could differ from the data.
///
/// Two references are equal if they are to the same object.
pub struct Reference(Arc<dyn Target>);

/// What a [`Reference`] holds on to.
pub trait Target: Any + fmt::Debug + Send + Sync {
    /// The handle by which the session at the other end of the wire knows the object; 0 if it knows none.
    fn handle(&self) -> u32 {
        0
    }

    /// The number of the object's kind.
    fn kind(&self) -> u32;

    /// The object's id: a UUID. Zeros where it is not known.
    fn object(&self) -> [u8; 16];

    /// One reference is dropped, and `others` are left.
    fn released(&self, others: usize) {
        let _ = others;
    }
}

/// Data, or a message with data in it, in which there may be references.
pub trait HasReferences {
    /// Shows `visit` each reference in this, at every depth. Takes no time where there are no containers.
    fn visit_references(&self, visit: &mut dyn FnMut(&Reference));

    /// Lets `change` replace each reference in this, at every depth, until it fails. Takes no time where there are no
    /// containers.
    fn change_references<E>(&mut self, change: &mut dyn FnMut(&mut Reference) -> Result<(), E>) -> Result<(), E>;
}

impl HasReferences for Datum {
    #[inline(always)]
    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        if self.may_refer() {
            self.visit_inside(visit);
        }
    }

    #[inline(always)]
    fn change_references<E>(&mut self, change: &mut dyn FnMut(&mut Reference) -> Result<(), E>) -> Result<(), E> {
        if self.may_refer() { self.change_inside(change) } else { Ok(()) }
    }
}

impl Datum {
    /// Most data is neither a reference nor a container, which every call tells of all its data.
    #[inline(always)]
    fn may_refer(&self) -> bool {
        matches!(self, Self::Reference(_) | Self::List(_) | Self::Tuple(_) | Self::Set(_) | Self::Map(_))
    }

    fn visit_inside(&self, visit: &mut dyn FnMut(&Reference)) {
        match self {
            Self::Reference(reference) => visit(reference),
            Self::List(elements) | Self::Tuple(elements) | Self::Set(elements) => {
                elements.iter().for_each(|element| element.visit_references(visit));
            }
            Self::Map(entries) => entries.iter().for_each(|(key, value)| {
                key.visit_references(visit);
                value.visit_references(visit);
            }),
            _ => {}
        }
    }

    fn change_inside<E>(&mut self, change: &mut dyn FnMut(&mut Reference) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Reference(reference) => change(reference),
            Self::List(elements) | Self::Tuple(elements) | Self::Set(elements) => {
                elements.iter_mut().try_for_each(|element| element.change_references(change))
            }
            Self::Map(entries) => entries.iter_mut().try_for_each(|(key, value)| {
                key.change_references(change)?;
                value.change_references(change)
            }),
            _ => Ok(()),
        }
    }
}

/// A reference as it came over the wire: names only, which hold on to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// As in the message `Reference`.
    pub handle: u32,
    /// As in the message `Reference`.
    pub kind: u32,
    /// As in the message `Reference`. Zeros if it was not there.
    pub object: [u8; 16],
}

impl Target for Named {
    fn handle(&self) -> u32 {
        self.handle
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn object(&self) -> [u8; 16] {
        self.object
    }
}

impl Reference {
    /// A reference that holds on to `target`.
    #[must_use]
    pub fn new(target: Arc<dyn Target>) -> Self {
        Self(target)
    }

    /// The handle by which the session at the other end of the wire knows the object; 0 if it knows none.
    #[must_use]
    pub fn handle(&self) -> u32 {
        self.0.handle()
    }

    /// The number of the object's kind.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.0.kind()
    }

    /// The object's id.
    #[must_use]
    pub fn object(&self) -> [u8; 16] {
        self.0.object()
    }

    /// What this holds on to, if it is a `T`.
    #[must_use]
    pub fn target<T: Target>(&self) -> Option<Arc<T>> {
        let any: Arc<dyn Any + Send + Sync> = self.0.clone();
        any.downcast().ok()
    }

    /// Where its target is in memory: the same for all references that hold on to the same.
    #[must_use]
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Clone for Reference {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.0.released(Arc::strong_count(&self.0) - 1);
    }
}

impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        (self.object(), self.kind()) == (other.object(), other.kind())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference").field("kind", &self.kind()).field("object", &self.object()).finish_non_exhaustive()
    }
}
