//! What the guards of one grant have in common.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::fence::Fence;

/// Whose grant it is: a session and the handle of the lock in it, and the actor.
pub(super) type Whose = ((usize, u32), u64);

/// What one or more guards of a lock hold, as this process knows it.
///
/// A reentrant lock is granted once, however often its holder takes it, and a wait on a condition with one of the guards gives
/// it back for all of them, and gets a new fence for all of them.
#[derive(Debug)]
pub(super) struct Hold {
    fence: AtomicU64,
    /// Not while a wait has given it back, and never again after one that did not get it back.
    is_held: AtomicBool,
    /// Set if guards that are made later may share it.
    whose: Option<Whose>,
}

/// Those that may be shared.
static SHARED: Mutex<BTreeMap<Whose, Weak<Hold>>> = Mutex::new(BTreeMap::new());

impl Hold {
    /// What one guard alone holds.
    pub(super) fn alone(fence: u64) -> Arc<Self> {
        Arc::new(Self::new(fence, None))
    }

    /// What all guards hold that this actor has, if it has it with this fence already.
    pub(super) fn shared(fence: u64, whose: Whose) -> Arc<Self> {
        let mut shared = SHARED.lock();
        let known = shared.get(&whose).and_then(Weak::upgrade);
        if let Some(known) = &known
            && known.is_held()
            && known.fence().get() == fence
        {
            return known.clone();
        }
        let hold = Arc::new(Self::new(fence, Some(whose)));
        shared.insert(whose, Arc::downgrade(&hold));
        // The last of those who have it may be gone by now, and its end looks into the map.
        drop(shared);
        drop(known);
        hold
    }

    fn new(fence: u64, whose: Option<Whose>) -> Self {
        Self { fence: AtomicU64::new(fence), is_held: AtomicBool::new(true), whose }
    }

    /// The newest.
    pub(super) fn fence(&self) -> Fence {
        Fence::new(self.fence.load(Ordering::Acquire))
    }

    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// A wait gives it back.
    pub(super) fn let_go(&self) {
        self.is_held.store(false, Ordering::Release);
    }

    /// The wait was refused before it gave it back.
    pub(super) fn keep(&self) {
        self.is_held.store(true, Ordering::Release);
    }

    /// The wait has got it back.
    pub(super) fn renew(self: &Arc<Self>, fence: u64) {
        self.fence.store(fence, Ordering::Release);
        self.keep();
        if let Some(whose) = self.whose {
            SHARED.lock().insert(whose, Arc::downgrade(self));
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(whose) = &self.whose {
            let mut shared = SHARED.lock();
            if shared.get(whose).is_some_and(|hold| ptr::eq(hold.as_ptr(), self)) {
                shared.remove(whose);
            }
        }
    }
}
