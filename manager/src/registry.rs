//! Which object a name stands for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use holdfast_objects::catalog;
use holdfast_proto::datum::Reference;
use holdfast_proto::{ListRequest, ListResponse, ListedObject, OpenMode, OpenRequest, Reason, Refusal, RenameRequest};
use parking_lot::RwLock;

use crate::engine::Engine;
use crate::slot::Slot;

/// How many names one page of a listing looks at, so that it keeps nobody for long who makes or deletes a name.
const NAMES_AT_ONCE: usize = 1024;

/// What a listed object takes of a page beside its name.
const LISTED_BYTES: usize = 32;

/// Which object a name stands for.
///
/// Objects without a name are not here: they live while something refers to their slot, a handle of a session or a token.
///
/// Names are kept twice: by hash, which is how they are looked up, and in order, which is how they are listed. Whoever
/// changes one of the two has locked the order for writing and changes both. A look-up locks nothing but a shard of the
/// hash map; should a rename be half done there, it asks the order instead, where it is done or not begun. So every
/// look-up sees a rename as a whole.
///
/// Every use of the hash map is one expression that clones the `Arc` out; a guard of it is never held across anything else.
#[derive(Debug)]
pub(crate) struct Registry {
    named: DashMap<Arc<str>, Arc<Slot>, RandomState>,
    order: RwLock<BTreeMap<Arc<str>, Arc<Slot>>>,
    /// Rises before and after each rename, and is odd in between.
    renames: AtomicU64,
    name_bytes: usize,
}

impl Registry {
    /// How many references to a slot with a name are the registry's own.
    pub(crate) const REFERENCES: usize = 2;

    pub(crate) fn new(name_bytes: usize) -> Self {
        Self { named: DashMap::default(), order: RwLock::default(), renames: AtomicU64::new(0), name_bytes }
    }

    /// The object of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Slot>> {
        let before = self.renames.load(Ordering::Acquire);
        let found = self.named.get(name).map(|slot| slot.clone());
        // What a rename has changed in the map was changed under the lock of a shard, which the look-up has had after it:
        // it sees that the count is another one now.
        if before.is_multiple_of(2) && self.renames.load(Ordering::Acquire) == before {
            return found;
        }
        self.order.read().get(name).cloned()
    }

    /// The object of that name, or the refusal that there is none.
    pub(crate) fn demand(&self, name: &str) -> Result<Arc<Slot>, Refusal> {
        self.find(name).ok_or_else(|| unknown(name))
    }

    /// The object of that name, made now if it may be. Also tells whether it was.
    pub(crate) fn open(
        &self,
        request: &OpenRequest,
        engine: &Engine,
        resolve: &mut dyn FnMut(&mut Reference) -> Result<(), Refusal>,
    ) -> Result<(Arc<Slot>, bool), Refusal> {
        let name = &*request.name;
        self.check(name)?;
        let mode = OpenMode::try_from(request.mode)
            .map_err(|_| Refusal::new(Reason::Malformed, format!("there is no OpenMode {}", request.mode)))?;
        match (self.find(name), mode) {
            (Some(slot), _) => existing(slot, name, request, mode),
            (None, OpenMode::Open) => Err(unknown(name)),
            (None, OpenMode::OpenOrCreate | OpenMode::Create) => {
                let slot = engine.create(request.kind, &request.spec, resolve)?;
                match self.add(name, &slot) {
                    None => Ok((slot, true)),
                    // Another session was quicker: its object is the one, and ours goes.
                    Some(other) => existing(other, name, request, mode),
                }
            }
        }
    }

    /// Gives a new object its name, unless another one has it, which is returned.
    fn add(&self, name: &str, slot: &Arc<Slot>) -> Option<Arc<Slot>> {
        let mut order = self.order.write();
        if let Some(other) = order.get(name) {
            return Some(other.clone());
        }
        let name: Arc<str> = name.into();
        slot.set_name(Some(name.clone()));
        order.insert(name.clone(), slot.clone());
        self.named.insert(name, slot.clone());
        None
    }

    /// The object of that name, which must be of that kind.
    pub(crate) fn find_kind(&self, name: &str, kind: u32) -> Result<Arc<Slot>, Refusal> {
        self.check(name)?;
        let request = OpenRequest { kind, ..OpenRequest::default() };
        let (slot, _) = existing(self.demand(name)?, name, &request, OpenMode::Open)?;
        Ok(slot)
    }

    /// Deletes the object of that name.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Refusal> {
        let slot = {
            let mut order = self.order.write();
            let slot = order.remove(name).ok_or_else(|| unknown(name))?;
            self.named.remove(name);
            slot.set_name(None);
            slot
        };
        // A large object is freed here, where nothing is locked.
        slot.delete();
        Ok(())
    }

    /// Gives an object another name. Nobody finds it under both, or under neither.
    pub(crate) fn rename(&self, request: &RenameRequest) -> Result<(), Refusal> {
        let RenameRequest { from, to, replace } = request;
        self.check(to)?;
        let replaced = {
            let mut order = self.order.write();
            let slot = order.get(&**from).cloned().ok_or_else(|| unknown(from))?;
            if from == to {
                return Ok(());
            }
            if !replace && order.contains_key(&**to) {
                return Err(Refusal::new(
                    Reason::Exists,
                    format!("{to:?} exists already: choose another name, or say that it is to be replaced"),
                ));
            }
            let name: Arc<str> = Arc::from(&**to);
            self.renames.fetch_add(1, Ordering::AcqRel);
            order.remove(&**from);
            self.named.remove(&**from);
            slot.set_name(Some(name.clone()));
            // A map keeps the key that it has: the name of what is replaced is as good as ours.
            self.named.insert(name.clone(), slot.clone());
            let replaced = order.insert(name, slot);
            self.renames.fetch_add(1, Ordering::Release);
            replaced
        };
        if let Some(replaced) = replaced {
            replaced.set_name(None);
            replaced.delete();
        }
        Ok(())
    }

    /// A page of the names that begin with a prefix, in the order of their bytes.
    ///
    /// The cursor is the last name that was looked at, so a page begins where the one before ended, whatever changed.
    pub(crate) fn list(&self, request: &ListRequest, page_bytes: u32) -> ListResponse {
        let ListRequest { prefix, kind, cursor } = request;
        let mut left = page_bytes as usize;
        let mut found = Vec::new();
        let mut last = None;
        let begin = if cursor > prefix { Bound::Excluded(&**cursor) } else { Bound::Included(&**prefix) };
        {
            let order = self.order.read();
            let mut names =
                order.range::<str, _>((begin, Bound::Unbounded)).take_while(|(name, _)| name.starts_with(&**prefix));
            for (name, slot) in names.by_ref().take(NAMES_AT_ONCE) {
                last = Some(name.clone());
                if *kind == 0 || *kind == slot.kind() {
                    found.push((name.clone(), slot.clone()));
                    left = left.saturating_sub(name.len() + LISTED_BYTES);
                }
                if left == 0 {
                    break;
                }
            }
            if names.next().is_none() {
                last = None;
            }
        }
        let objects = found.iter().map(|(name, slot)| listed(name, slot)).collect();
        ListResponse { objects, cursor: last.map(|name| (*name).to_owned()).unwrap_or_default() }
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

fn existing(slot: Arc<Slot>, name: &str, request: &OpenRequest, mode: OpenMode) -> Result<(Arc<Slot>, bool), Refusal> {
    let kind = request.kind;
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
    // Who only opens what is there, and says nothing about it, takes it as it is.
    if mode != OpenMode::Open || !request.spec.is_empty() {
        slot.admits(&request.spec)?;
    }
    Ok((slot, false))
}

fn listed(name: &str, slot: &Slot) -> ListedObject {
    let facts = slot.facts_at_once();
    ListedObject {
        name: name.to_owned(),
        kind: slot.kind(),
        elements: facts.and_then(|facts| facts.elements),
        bytes: facts.map(|facts| facts.bytes),
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(
        Reason::UnknownObject,
        format!("there is no object named {name:?}: make it with Open, or check the name"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use holdfast_proto::{dict, value};

    use super::*;
    use crate::limits::Limits;

    fn new() -> (Registry, Engine) {
        (Registry::new(512), Engine::new(Arc::new(Limits::default()), 1))
    }

    fn open(registry: &Registry, engine: &Engine, name: &str, kind: u32) -> Arc<Slot> {
        let request = OpenRequest { name: name.to_owned(), kind, ..OpenRequest::default() };
        registry.open(&request, engine, &mut |_| Ok(())).unwrap().0
    }

    fn rename(registry: &Registry, from: &str, to: &str, replace: bool) -> Result<(), Refusal> {
        registry.rename(&RenameRequest { from: from.to_owned(), to: to.to_owned(), replace })
    }

    /// Ends all threads of a test with the first of them, also if that one panics.
    struct Over<'a>(&'a AtomicBool);

    impl Over<'_> {
        fn is_over(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// All names, and how many pages they took.
    fn names(registry: &Registry, prefix: &str, kind: u32, page_bytes: u32) -> (Vec<String>, usize) {
        let mut request = ListRequest { prefix: prefix.to_owned(), kind, cursor: String::new() };
        let (mut names, mut pages) = (Vec::new(), 0);
        loop {
            let page = registry.list(&request, page_bytes);
            assert!(page.objects.len() <= NAMES_AT_ONCE);
            names.extend(page.objects.into_iter().map(|object| object.name));
            pages += 1;
            if page.cursor.is_empty() {
                return (names, pages);
            }
            assert!(page.cursor > request.cursor, "a page gets further");
            request.cursor = page.cursor;
        }
    }

    #[test]
    fn names_are_listed_by_prefix_and_kind_in_the_order_of_their_bytes() {
        let (registry, engine) = new();
        for name in ["b/2", "a", "b/10", "b", "b0", "é", "b/1"] {
            open(&registry, &engine, name, dict::KIND);
        }
        open(&registry, &engine, "b/3", value::KIND);
        let listed = |prefix, kind, page| names(&registry, prefix, kind, page).0;
        assert_eq!(listed("", 0, 1 << 20), ["a", "b", "b/1", "b/10", "b/2", "b/3", "b0", "é"]);
        assert_eq!(listed("b/", 0, 1 << 20), ["b/1", "b/10", "b/2", "b/3"]);
        assert_eq!(listed("b/", value::KIND, 1 << 20), ["b/3"]);
        assert_eq!(listed("b/", 99, 1 << 20), [""; 0]);
        assert_eq!(listed("c", 0, 1 << 20), [""; 0]);
        assert_eq!(names(&registry, "b/", 0, 1), (listed("b/", 0, 1 << 20), 4), "one on each page at least");
        // A cursor from elsewhere neither repeats nor skips.
        let elsewhere = ListRequest { prefix: "b/".to_owned(), kind: 0, cursor: "a".to_owned() };
        assert_eq!(registry.list(&elsewhere, 1 << 20).objects.len(), 4);
        let elsewhere = ListRequest { prefix: "b/".to_owned(), kind: 0, cursor: "c".to_owned() };
        assert_eq!(registry.list(&elsewhere, 1 << 20), ListResponse::default());
    }

    #[test]
    fn a_page_looks_at_a_bounded_number_of_names_also_if_it_lists_none() {
        let (registry, engine) = new();
        for number in 0..2 * NAMES_AT_ONCE {
            open(&registry, &engine, &format!("{number:08}"), dict::KIND);
        }
        let page = registry.list(&ListRequest { kind: value::KIND, ..ListRequest::default() }, 1 << 20);
        assert_eq!((page.objects.len(), &*page.cursor), (0, &*format!("{:08}", NAMES_AT_ONCE - 1)));
        assert_eq!(names(&registry, "", value::KIND, 1 << 20), (vec![], 2));
    }

    #[test]
    fn a_name_that_stays_is_listed_once_whatever_changes_around_it() {
        let (registry, engine) = new();
        let stays: Vec<String> = (0..3000).map(|number| format!("{number:05}")).collect();
        for name in &stays {
            open(&registry, &engine, name, dict::KIND);
        }
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..2 {
                let (registry, engine, over, stays) = (&registry, &engine, &over, &stays);
                scope.spawn(move || {
                    let over = Over(over);
                    for number in (0..stays.len()).cycle().skip(writer * 1000).take_while(|_| !over.is_over()) {
                        let (name, other) = (format!("{number:05}-{writer}"), format!("{number:05}.{writer}"));
                        open(registry, engine, &name, dict::KIND);
                        rename(registry, &name, &other, true).unwrap();
                        registry.delete(&other).unwrap();
                    }
                });
            }
            let _over = Over(&over);
            for _ in 0..20 {
                let mut listed = names(&registry, "", 0, 4096).0;
                assert!(listed.is_sorted_by(|a, b| a < b), "in order and without repetition");
                listed.retain(|name| name.len() == 5);
                assert_eq!(listed, stays);
            }
        });
    }

    #[test]
    fn a_rename_keeps_the_object_and_asks_before_it_replaces_another() {
        let (registry, engine) = new();
        let (old, other) =
            (open(&registry, &engine, "old", dict::KIND), open(&registry, &engine, "other", value::KIND));
        let why = |refused: Result<(), Refusal>| refused.unwrap_err().why();
        assert_eq!(why(rename(&registry, "none", "new", true)), Reason::UnknownObject);
        assert_eq!(why(rename(&registry, "old", "other", false)), Reason::Exists);
        assert_eq!(why(rename(&registry, "old", "", false)), Reason::InvalidName);
        assert_eq!(why(rename(&registry, "old", &"x".repeat(513), false)), Reason::InvalidName);
        rename(&registry, "old", "old", false).unwrap();
        assert!(other.facts().is_ok() && Arc::ptr_eq(&registry.find("old").unwrap(), &old), "nothing has changed");

        rename(&registry, "old", "new", false).unwrap();
        assert!(registry.find("old").is_none());
        assert_eq!(old.name().as_deref(), Some("new"));
        rename(&registry, "new", "other", true).unwrap();
        assert!(Arc::ptr_eq(&registry.find("other").unwrap(), &old), "of another kind, too");
        assert_eq!(other.facts().unwrap_err().why(), Reason::UnknownObject, "what is replaced is deleted");
        assert_eq!(other.name(), None);
        assert_eq!(names(&registry, "", 0, 1 << 20).0, ["other"]);
        registry.delete("other").unwrap();
        assert_eq!((old.name(), engine.usage().bytes()), (None, 0));
    }

    /// While one thread renames to and fro, nobody finds the object under both names or under neither.
    #[test]
    fn nobody_sees_a_rename_half_done() {
        let (registry, engine) = new();
        open(&registry, &engine, "a", dict::KIND);
        // A rename between two look-ups is no fault. So they are compared only if no more than one rename can have taken
        // effect among them: the count, which follows each rename, is the same before and after.
        let (over, renamed, compared) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            let registry = &registry;
            for _ in 0..2 {
                scope.spawn(|| {
                    let over = Over(&over);
                    while !over.is_over() {
                        let before = renamed.load(Ordering::SeqCst);
                        let looks = ["a", "b", "a", "b"].map(|name| registry.find(name).is_some());
                        if renamed.load(Ordering::SeqCst) == before {
                            // Without a rename the answers alternate; where one took effect two are alike.
                            let alike = looks.windows(2).filter(|pair| pair[0] == pair[1]).count();
                            assert!(alike <= 1, "{looks:?}");
                            compared.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            let over = Over(&over);
            let mut rounds = 0;
            while (compared.load(Ordering::Relaxed) < 20_000 || rounds < 20_000) && !over.is_over() {
                for (from, to) in [("a", "b"), ("b", "a")] {
                    rename(registry, from, to, rounds % 3 == 0).unwrap();
                    renamed.fetch_add(1, Ordering::SeqCst);
                }
                rounds += 1;
            }
        });
    }

    /// Whoever replaces a name never leaves a moment without it.
    #[test]
    fn a_name_that_is_replaced_is_never_missing() {
        let (registry, engine) = new();
        open(&registry, &engine, "current", dict::KIND);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let over = Over(&over);
                    while !over.is_over() {
                        assert!(registry.find("current").is_some());
                    }
                });
            }
            let _over = Over(&over);
            for _ in 0..20_000 {
                open(&registry, &engine, "next", dict::KIND);
                rename(&registry, "next", "current", true).unwrap();
            }
        });
        assert_eq!(engine.usage().objects(), 1, "all that was replaced is gone");
    }
}
