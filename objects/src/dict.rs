//! A shared mapping that keeps the order in which keys were put in: kind `dict`.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use holdfast_proto::datum::{HasReferences as _, Reference};
use holdfast_proto::dict::{Op, Reply, Spec};
use holdfast_proto::{
    Datum, DictAddRequest, DictAddResponse, DictClearResponse, DictCompareAndSetRequest, DictCompareAndSetResponse,
    DictContainsRequest, DictContainsResponse, DictDeleteRequest, DictDeleteResponse, DictGetManyRequest,
    DictGetManyResponse, DictGetRequest, DictGetResponse, DictLenResponse, DictPopItemResponse, DictPopRequest,
    DictPopResponse, DictScanRequest, DictScanResponse, DictSetDefaultRequest, DictSetDefaultResponse, DictSetRequest,
    DictSetResponse, DictUpdateRequest, DictUpdateResponse, Entry, Lookup, Reason, Refusal, ScanWhat,
    dict_compare_and_set_request,
};

use crate::key::{Equality, Key};
use crate::ordered_map::{self, Free, OrderedMap, Place, Taken};
use crate::page::Page;
use crate::value::nothing_expected;
use crate::{Answer, Creation, Object, Turn, door, number};

/// What an entry costs above its key and its value: its version, its ordinal and its place in the hash table.
const ENTRY_BYTES: u64 = 24;

/// Python's dict. Every entry has a version: the index of the call that last wrote it.
///
/// - Keys compare as in Python. A key that is written again keeps the form in which it was first put in.
/// - A cursor of a scan is the ordinal of the next entry, so it stays good whatever changes between pages.
/// - No op blocks, and no session holds anything of it.
#[derive(Debug)]
pub struct Dict {
    equality: Equality,
    entries: OrderedMap<Held>,
    bytes: u64,
}

/// What a key leads to.
#[derive(Debug, Default)]
struct Held {
    value: Datum,
    /// The index of the call that last wrote it.
    version: u64,
}

/// All there is to know about a [`Dict`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<EntryState>,
    /// Of the next new entry. 1 if there are no entries.
    #[prost(uint64, tag = "2")]
    pub next_ordinal: u64,
}

/// All there is to know about an entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EntryState {
    /// The key.
    #[prost(message, required, tag = "1")]
    pub key: Datum,
    /// What the key leads to.
    #[prost(message, required, tag = "2")]
    pub value: Datum,
    /// The index of the call that last wrote it.
    #[prost(uint64, tag = "3")]
    pub version: u64,
    /// Its place in the order: rises from entry to entry.
    #[prost(uint64, tag = "4")]
    pub ordinal: u64,
}

impl Object for Dict {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(_: Spec, creation: &mut Creation) -> Result<Self, Refusal> {
        let equality = Equality::new(creation.seed);
        Ok(Self { entries: OrderedMap::new(equality.clone()), equality, bytes: 0 })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let equality = Equality::new(creation.seed);
        let mut entries = Vec::with_capacity(state.entries.len());
        let mut bytes = 0;
        for EntryState { key, value, version, ordinal } in state.entries {
            let key = door::key("key", Some(key), &equality)?.into_datum();
            let value = door::value("value", Some(value), &equality)?;
            bytes += cost(&key, &value);
            entries.push(ordered_map::Entry { key, held: Held { value, version }, ordinal });
        }
        creation.room.grow(bytes)?;
        let entries = OrderedMap::restore(equality.clone(), entries, state.next_ordinal).map_err(|flaw| {
            Refusal::new(Reason::Malformed, format!("the saved state is not that of a dict ({flaw:?}): it was damaged"))
        })?;
        Ok(Self { equality, entries, bytes })
    }

    fn state(&self) -> State {
        let entries = self.entries.iter_from(0).map(|entry| EntryState {
            key: entry.key.clone(),
            value: entry.held.value.clone(),
            version: entry.held.version,
            ordinal: entry.ordinal,
        });
        State { entries: entries.collect(), next_ordinal: self.entries.next_ordinal() }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        // Each arm makes its own answer: one that all share would be put together a second time.
        match op {
            Op::Get(request) => self.get(request).map(Reply::Get).into(),
            Op::Set(request) => self.set(request, turn).map(Reply::Set).into(),
            Op::Delete(request) => self.delete(request, turn).map(Reply::Delete).into(),
            Op::Contains(request) => self.contains(request).map(Reply::Contains).into(),
            Op::Len(_) => Ok(Reply::Len(DictLenResponse { len: self.entries.len() as u64 })).into(),
            Op::Pop(request) => self.pop(request, turn).map(Reply::Pop).into(),
            Op::PopItem(_) => self.pop_item(turn).map(Reply::PopItem).into(),
            Op::SetDefault(request) => self.set_default(request, turn).map(Reply::SetDefault).into(),
            Op::Update(request) => self.update(request, turn).map(Reply::Update).into(),
            Op::GetMany(request) => self.get_many(request, turn).map(Reply::GetMany).into(),
            Op::Scan(request) => self.scan(&request, turn).map(Reply::Scan).into(),
            Op::Clear(_) => Ok(Reply::Clear(self.clear(turn))).into(),
            Op::Add(request) => self.add(request, turn).map(Reply::Add).into(),
            Op::CompareAndSet(request) => self.compare_and_set(request, turn).map(Reply::CompareAndSet).into(),
        }
    }

    fn is_vacant(&self) -> bool {
        self.entries.is_empty()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        for entry in self.entries.iter_from(0) {
            entry.key.visit_references(visit);
            entry.held.value.visit_references(visit);
        }
    }

    fn elements(&self) -> Option<u64> {
        Some(self.entries.len() as u64)
    }
}

/// What writes.
impl Dict {
    pub(crate) fn set(&mut self, request: DictSetRequest, turn: &mut Turn) -> Result<DictSetResponse, Refusal> {
        let key = self.key(request.key)?;
        let value = self.value("value", request.value)?;
        match self.entries.place(&key) {
            Place::Taken(place) => self.overwrite(&place, value, turn)?,
            Place::Free(place) => self.append(&place, key, value, turn)?,
        }
        Ok(DictSetResponse {})
    }

    pub(crate) fn delete(
        &mut self,
        request: DictDeleteRequest,
        turn: &mut Turn,
    ) -> Result<DictDeleteResponse, Refusal> {
        let key = self.key(request.key)?;
        match self.entries.place(&key) {
            Place::Taken(place) => {
                self.remove(&place, turn);
                Ok(DictDeleteResponse {})
            }
            Place::Free(_) => Err(missing_key(&key)),
        }
    }

    fn pop(&mut self, request: DictPopRequest, turn: &mut Turn) -> Result<DictPopResponse, Refusal> {
        let key = self.key(request.key)?;
        let default = door::optional("default", request.default, &self.equality)?;
        let value = match self.entries.place(&key) {
            Place::Taken(place) => self.remove(&place, turn).held.value,
            Place::Free(_) => default.ok_or_else(|| missing_key(&key))?,
        };
        Ok(DictPopResponse { value: Some(value) })
    }

    fn pop_item(&mut self, turn: &mut Turn) -> Result<DictPopItemResponse, Refusal> {
        let Some((place, _)) = self.entries.last() else {
            return Err(Refusal::new(Reason::Empty, "the dict is empty: there is no entry to take"));
        };
        let entry = self.remove(&place, turn);
        Ok(DictPopItemResponse { key: Some(entry.key), value: Some(entry.held.value) })
    }

    fn set_default(
        &mut self,
        request: DictSetDefaultRequest,
        turn: &mut Turn,
    ) -> Result<DictSetDefaultResponse, Refusal> {
        let key = self.key(request.key)?;
        let default = self.value("default", request.default)?;
        match self.entries.place(&key) {
            Place::Taken(place) => {
                let value = self.entries.entry(&place).held.value.clone();
                Ok(DictSetDefaultResponse { value: Some(value), inserted: false })
            }
            Place::Free(place) => {
                self.append(&place, key, default.clone(), turn)?;
                Ok(DictSetDefaultResponse { value: Some(default), inserted: true })
            }
        }
    }

    pub(crate) fn update(
        &mut self,
        request: DictUpdateRequest,
        turn: &mut Turn,
    ) -> Result<DictUpdateResponse, Refusal> {
        let batch = self.batch(request.entries)?;
        let (old, new) = self.cost_of(&batch);
        if !self.entries.has_place_for(batch.len()) {
            return Err(full());
        }
        turn.room.replace(old, new)?;
        self.bytes = self.bytes - old + new;
        for (key, value) in batch {
            match self.entries.place(&key) {
                Place::Taken(place) => drop(self.entries.overwrite(&place, Held { value, version: turn.index })),
                Place::Free(place) => self.entries.append(&place, key, Held { value, version: turn.index }),
            }
        }
        Ok(DictUpdateResponse {})
    }

    fn clear(&mut self, turn: &mut Turn) -> DictClearResponse {
        DictClearResponse { removed: self.entries.clear(&mut self.bytes, turn) }
    }

    pub(crate) fn add(&mut self, request: DictAddRequest, turn: &mut Turn) -> Result<DictAddResponse, Refusal> {
        let key = self.key(request.key)?;
        let delta = self.value("delta", request.delta)?;
        let place = self.entries.place(&key);
        let number = match &place {
            Place::Taken(place) => &self.entries.entry(place).held.value,
            Place::Free(_) => &Datum::Integer(0),
        };
        let sum = number::add(number, &delta, &UnderKey(&key))?;
        match place {
            Place::Taken(place) => {
                self.overwrite(&place, sum.copy(), turn)?;
                key.discard();
            }
            Place::Free(place) => self.append(&place, key, sum.copy(), turn)?,
        }
        delta.discard();
        Ok(DictAddResponse { value: Some(sum) })
    }

    pub(crate) fn compare_and_set(
        &mut self,
        request: DictCompareAndSetRequest,
        turn: &mut Turn,
    ) -> Result<DictCompareAndSetResponse, Refusal> {
        let key = self.key(request.key)?;
        let expected = self.expected(request.expected)?;
        let new = door::optional("new", request.new, &self.equality)?;
        let place = self.entries.place(&key);
        let entry = match &place {
            Place::Taken(place) => Some(self.entries.entry(place)),
            Place::Free(_) => None,
        };
        if !expected.is_met_by(entry, &self.equality) {
            let (value, version) =
                entry.map_or((None, 0), |entry| (Some(entry.held.value.clone()), entry.held.version));
            return Ok(DictCompareAndSetResponse { swapped: false, value, version });
        }
        let version = if new.is_some() { turn.index } else { 0 };
        match (place, new.clone()) {
            (Place::Taken(place), Some(value)) => self.overwrite(&place, value, turn)?,
            (Place::Free(place), Some(value)) => self.append(&place, key, value, turn)?,
            (Place::Taken(place), None) => drop(self.remove(&place, turn)),
            (Place::Free(_), None) => {}
        }
        Ok(DictCompareAndSetResponse { swapped: true, value: new, version })
    }
}

/// What reads.
impl Dict {
    pub(crate) fn get(&self, request: DictGetRequest) -> Result<DictGetResponse, Refusal> {
        let key = self.key(request.key)?;
        let found = match self.entries.get(&key) {
            Some(entry) => DictGetResponse { value: Some(entry.held.value.copy()), version: entry.held.version },
            None => DictGetResponse::default(),
        };
        key.discard();
        Ok(found)
    }

    pub(crate) fn contains(&self, request: DictContainsRequest) -> Result<DictContainsResponse, Refusal> {
        let key = self.key(request.key)?;
        Ok(DictContainsResponse { contains: self.entries.get(&key).is_some() })
    }

    fn get_many(&self, request: DictGetManyRequest, turn: &Turn) -> Result<DictGetManyResponse, Refusal> {
        let keys: Result<Vec<Key>, Refusal> =
            request.keys.into_iter().map(|key| door::key("keys", Some(key), &self.equality)).collect();
        let mut lookups = Vec::new();
        let mut page = Page::new(request.bytes, turn.page_bytes);
        for key in keys? {
            let lookup = Lookup { value: self.entries.get(&key).map(|entry| entry.held.value.clone()) };
            page.count(&lookup);
            lookups.push(lookup);
            if page.is_full() {
                break;
            }
        }
        Ok(DictGetManyResponse { lookups })
    }

    pub(crate) fn scan(&self, request: &DictScanRequest, turn: &Turn) -> Result<DictScanResponse, Refusal> {
        let (keys, values) = match ScanWhat::try_from(request.what) {
            Ok(ScanWhat::Items) => (true, true),
            Ok(ScanWhat::Keys) => (true, false),
            Ok(ScanWhat::Values) => (false, true),
            Err(_) => return Err(Refusal::new(Reason::Malformed, unknown_part(request.what))),
        };
        let mut found = self.entries.iter_from(request.cursor);
        let mut entries = Vec::new();
        let mut page = Page::new(request.bytes, turn.page_bytes);
        for entry in found.by_ref() {
            let key = keys.then(|| entry.key.clone());
            let entry = Entry { key, value: values.then(|| entry.held.value.clone()) };
            page.count(&entry);
            entries.push(entry);
            if page.is_full() {
                break;
            }
        }
        let cursor = found.next().map_or(0, |next| next.ordinal);
        Ok(DictScanResponse { entries, cursor })
    }
}

/// What the ops are made of. What takes room asks for it first and changes nothing if there is none.
impl Dict {
    #[inline(always)]
    fn key(&self, key: Option<Datum>) -> Result<Key, Refusal> {
        door::key("key", key, &self.equality)
    }

    #[inline(always)]
    fn value(&self, field: &str, value: Option<Datum>) -> Result<Datum, Refusal> {
        door::value(field, value, &self.equality)
    }

    fn expected(&self, expected: Option<dict_compare_and_set_request::Expected>) -> Result<Expected, Refusal> {
        match expected {
            Some(dict_compare_and_set_request::Expected::Value(value)) => {
                self.value("value", Some(value)).map(Expected::Value)
            }
            Some(dict_compare_and_set_request::Expected::Version(version)) => Ok(Expected::Version(version)),
            None => Err(nothing_expected()),
        }
    }

    #[inline]
    fn overwrite(&mut self, place: &Taken, value: Datum, turn: &mut Turn) -> Result<(), Refusal> {
        let (old, new) = (self.entries.entry(place).held.value.bytes(), value.bytes());
        if old != new {
            turn.room.replace(old, new)?;
            self.bytes = self.bytes - old + new;
        }
        self.entries.overwrite(place, Held { value, version: turn.index }).value.discard();
        Ok(())
    }

    fn append(&mut self, place: &Free, key: Key, value: Datum, turn: &mut Turn) -> Result<(), Refusal> {
        if !self.entries.has_place_for(1) {
            return Err(full());
        }
        let bytes = cost(key.datum(), &value);
        turn.room.grow(bytes)?;
        self.bytes += bytes;
        self.entries.append(place, key, Held { value, version: turn.index });
        Ok(())
    }

    fn remove(&mut self, place: &Taken, turn: &mut Turn) -> ordered_map::Entry<Held> {
        let entry = self.entries.remove(place);
        let bytes = cost(&entry.key, &entry.held.value);
        turn.room.shrink(bytes);
        self.bytes -= bytes;
        entry
    }

    /// The entries of an update, each key once: where it came first, with the value that came last.
    fn batch(&self, entries: Vec<Entry>) -> Result<Vec<(Key, Datum)>, Refusal> {
        let mut batch = OrderedMap::new(self.equality.clone());
        for Entry { key, value } in entries {
            let key = self.key(key)?;
            let value = self.value("value", value)?;
            match batch.place(&key) {
                Place::Taken(place) => drop(batch.overwrite(&place, value)),
                Place::Free(place) => batch.append(&place, key, value),
            }
        }
        batch.into_entries().map(|entry| Ok((Key::new(entry.key)?, entry.held))).collect()
    }

    /// What an update frees and takes.
    fn cost_of(&self, batch: &[(Key, Datum)]) -> (u64, u64) {
        batch.iter().fold((0, 0), |(old, new), (key, value)| match self.entries.get(key) {
            Some(entry) => (old + entry.held.value.bytes(), new + value.bytes()),
            None => (old, new + cost(key.datum(), value)),
        })
    }
}

/// What must be there for a compare-and-set.
enum Expected {
    Value(Datum),
    /// 0 for no entry: no entry has the version 0.
    Version(u64),
}

impl Expected {
    fn is_met_by(&self, entry: Option<&ordered_map::Entry<Held>>, equality: &Equality) -> bool {
        match self {
            Self::Value(expected) => entry.is_some_and(|entry| equality.same(&entry.held.value, expected)),
            Self::Version(expected) => entry.map_or(0, |entry| entry.held.version) == *expected,
        }
    }
}

/// A place in a dict, for messages.
struct UnderKey<'a>(&'a Key);

impl fmt::Display for UnderKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value under the key {}", self.0.datum().brief())
    }
}

/// What an entry costs, as the limits count.
fn cost(key: &Datum, value: &Datum) -> u64 {
    key.bytes() + value.bytes() + ENTRY_BYTES
}

#[cold]
fn missing_key(key: &Key) -> Refusal {
    Refusal::new(Reason::MissingKey, format!("the dict has no key {}", key.datum().brief()))
}

#[cold]
fn full() -> Refusal {
    Refusal::new(
        Reason::Quota,
        "a dict can have about four billion entries and this one has: delete some, or use several dicts",
    )
}

#[cold]
fn unknown_part(what: i32) -> alloc::string::String {
    format!("the field \"what\" of the request is {what}: set it to 0 (items), 1 (keys) or 2 (values)")
}

#[cfg(test)]
mod tests;
