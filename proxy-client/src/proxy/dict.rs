//! A shared mapping.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::mem;

use holdfast_proto::{
    Datum, DictAddRequest, DictClearRequest, DictCompareAndSetRequest, DictContainsRequest, DictDeleteRequest,
    DictGetManyRequest, DictGetManyResponse, DictGetRequest, DictLenRequest, DictPopItemRequest, DictPopRequest,
    DictScanRequest, DictScanResponse, DictSetDefaultRequest, DictSetRequest, DictUpdateRequest, Entry, ScanWhat,
    dict_compare_and_set_request,
};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reference::proxy;
use super::remote::{CHUNK_BYTES, Chunked, Holds, Remote};
use super::{Exchange, Mode, Output};
use crate::codec::{from_datum, to_datum};
use crate::error::Result;
use crate::session::{Asking, Heard, Step};

/// A shared mapping that keeps the order in which keys were put in: Python's manager dict, with the compound updates that
/// it lacks.
///
/// Clones are proxies to the same dict. Each method is one call, applied atomically, unless it says otherwise; see the
/// [crate] for what holds for every call. Keys compare as in Python: 1, 1.0 and true are one key; NaN is refused.
pub struct Dict<K, V, M: Mode> {
    remote: Remote<M>,
    _entries: Holds<(K, V)>,
}

proxy!(Dict<K, V> in dict);

impl<K, V, M: Mode> Dict<K, V, M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote, _entries: PhantomData }
    }

    /// How many entries there are.
    pub fn len(&self) -> Output<M, DictLenRequest, u64> {
        self.remote.once(Ok(DictLenRequest {}), |response, _| Ok(response.len))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> Output<M, DictLenRequest, bool> {
        self.remote.once(Ok(DictLenRequest {}), |response, _| Ok(response.len == 0))
    }

    /// Removes everything, and returns how many entries there were.
    pub fn clear(&self) -> Output<M, DictClearRequest, u64> {
        self.remote.once(Ok(DictClearRequest {}), |response, _| Ok(response.removed))
    }
}

/// What must be there for a compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'a, V: ?Sized> {
    /// A value that is equal to this one, as Python compares.
    Value(&'a V),
    /// An entry that was last written with this version. 0 for no entry at all.
    Version(u64),
}

impl<V: ?Sized> Expected<'_, V> {
    /// No entry at all.
    pub const ABSENT: Self = Self::Version(0);
}

/// What came of a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap<V> {
    /// Whether what was there was what was expected, so that it was replaced.
    pub swapped: bool,
    /// What is there now, if anything is.
    pub value: Option<V>,
    /// The version of what is there now; 0 if nothing is.
    pub version: u64,
}

impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned, M: Mode> Dict<K, V, M> {
    /// The value of a key, if it has one: Python's `d.get(key)`.
    pub fn get<Q: Serialize + ?Sized>(&self, key: &Q) -> Output<M, DictGetRequest, Option<V>>
    where
        K: Borrow<Q>,
    {
        self.remote.once(datum(key).map(|key| DictGetRequest { key }), |response, _| maybe(response.value))
    }

    /// The value of a key and its version, if it has one: for [`compare_and_set`](Self::compare_and_set).
    pub fn get_with_version<Q: Serialize + ?Sized>(&self, key: &Q) -> Output<M, DictGetRequest, Option<(V, u64)>>
    where
        K: Borrow<Q>,
    {
        self.remote.once(datum(key).map(|key| DictGetRequest { key }), |response, _| {
            Ok(maybe(response.value)?.map(|value| (value, response.version)))
        })
    }

    /// The values of many keys, in their order.
    ///
    /// What does not fit one answer is asked for in several, each of them atomic.
    pub fn get_many<'a, Q: Serialize + ?Sized + 'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Q>,
    ) -> M::Output<GetMany<V, M>>
    where
        K: Borrow<Q>,
    {
        let keys = keys.into_iter().map(|key| Ok(to_datum(key)?)).collect::<Result<Vec<_>>>();
        self.remote.run(GetMany { remote: self.remote.clone(), keys, asked: 0, values: Vec::new() })
    }

    /// Puts a value under a key, whether or not there was one: Python's `d[key] = value`. Returns its version.
    pub fn set<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Output<M, DictSetRequest, u64>
    where
        K: Borrow<Q>,
    {
        let request = || Ok(DictSetRequest { key: datum(key)?, value: datum(value)? });
        self.remote.once(request(), |_, index| Ok(index))
    }

    /// Removes a key: Python's `del d[key]`.
    ///
    /// Refused with [`Reason::MissingKey`](crate::Reason::MissingKey) if there is no such key.
    pub fn delete<Q: Serialize + ?Sized>(&self, key: &Q) -> Output<M, DictDeleteRequest, ()>
    where
        K: Borrow<Q>,
    {
        self.remote.once(datum(key).map(|key| DictDeleteRequest { key }), |_, _| Ok(()))
    }

    /// Whether there is such a key.
    pub fn contains<Q: Serialize + ?Sized>(&self, key: &Q) -> Output<M, DictContainsRequest, bool>
    where
        K: Borrow<Q>,
    {
        self.remote.once(datum(key).map(|key| DictContainsRequest { key }), |response, _| Ok(response.contains))
    }

    /// Removes a key and returns its value: Python's `d.pop(key)`.
    ///
    /// Refused with [`Reason::MissingKey`](crate::Reason::MissingKey) if there is no such key.
    pub fn pop<Q: Serialize + ?Sized>(&self, key: &Q) -> Output<M, DictPopRequest, V>
    where
        K: Borrow<Q>,
    {
        let request = datum(key).map(|key| DictPopRequest { key, default: None });
        self.remote.once(request, |response, _| some(response.value))
    }

    /// Removes a key and returns its value, or `default` if there is none: Python's `d.pop(key, default)`.
    pub fn pop_or<Q: Serialize + ?Sized>(&self, key: &Q, default: &V) -> Output<M, DictPopRequest, V>
    where
        K: Borrow<Q>,
    {
        let request = || Ok(DictPopRequest { key: datum(key)?, default: datum(default)? });
        self.remote.once(request(), |response, _| some(response.value))
    }

    /// Removes and returns the entry that was put in last: Python's `d.popitem()`.
    ///
    /// Refused with [`Reason::Empty`](crate::Reason::Empty) if there is none.
    pub fn popitem(&self) -> Output<M, DictPopItemRequest, (K, V)> {
        self.remote.once(Ok(DictPopItemRequest {}), |response, _| Ok((some(response.key)?, some(response.value)?)))
    }

    /// The value of a key, under which `default` is put first if there is none: Python's `d.setdefault(key, default)`.
    pub fn setdefault<Q: Serialize + ?Sized>(&self, key: &Q, default: &V) -> Output<M, DictSetDefaultRequest, V>
    where
        K: Borrow<Q>,
    {
        let request = || Ok(DictSetDefaultRequest { key: datum(key)?, default: datum(default)? });
        self.remote.once(request(), |response, _| some(response.value))
    }

    /// Puts a value under a key if there is none, and returns whether it did.
    pub fn insert_if_absent<Q: Serialize + ?Sized>(&self, key: &Q, value: &V) -> Output<M, DictSetDefaultRequest, bool>
    where
        K: Borrow<Q>,
    {
        let request = || Ok(DictSetDefaultRequest { key: datum(key)?, default: datum(value)? });
        self.remote.once(request(), |response, _| Ok(response.inserted))
    }

    /// Puts many entries in, in order: Python's `d.update(entries)`.
    ///
    /// Up to about 256 KiB are one call, applied as a whole or not at all; more are sent in several calls, each of them so.
    pub fn update(&self, entries: impl IntoIterator<Item = (K, V)>) -> M::Output<Update<M>> {
        let entry = |(key, value): (K, V)| Ok(Entry { key: datum(&key)?, value: datum(&value)? });
        let entries = entries.into_iter().map(entry).collect::<Result<Vec<_>>>();
        self.remote.chunked(entries, |entries| DictUpdateRequest { entries }, (), |(), _| {})
    }

    /// Adds to the number under a key and returns the sum. A missing key counts as 0; a float on either side makes the sum
    /// a float.
    ///
    /// Refused with [`Reason::WrongType`](crate::Reason::WrongType) if there is something else than a number, and with
    /// [`Reason::Overflow`](crate::Reason::Overflow) if the sum does not fit 64 bits, or is not finite.
    pub fn add<Q: Serialize + ?Sized>(&self, key: &Q, delta: V) -> Output<M, DictAddRequest, V>
    where
        K: Borrow<Q>,
    {
        let request = || Ok(DictAddRequest { key: datum(key)?, delta: datum(&delta)? });
        self.remote.once(request(), |response, _| some(response.value))
    }

    /// Puts `new` under a key, or removes the key if `new` is `None`, if what is there is what is expected. Says whether it
    /// was, and what is there now.
    pub fn compare_and_set<Q: Serialize + ?Sized>(
        &self,
        key: &Q,
        expected: Expected<'_, V>,
        new: Option<&V>,
    ) -> Output<M, DictCompareAndSetRequest, Swap<V>>
    where
        K: Borrow<Q>,
    {
        use dict_compare_and_set_request::Expected as Wire;
        let request = || {
            let expected = match expected {
                Expected::Value(value) => Wire::Value(to_datum(value)?),
                Expected::Version(version) => Wire::Version(version),
            };
            let new = new.map(to_datum).transpose()?;
            Ok(DictCompareAndSetRequest { key: datum(key)?, expected: Some(expected), new })
        };
        self.remote.once(request(), |response, _| {
            Ok(Swap { swapped: response.swapped, value: maybe(response.value)?, version: response.version })
        })
    }

    /// All keys, in order, in a collection of the caller's choice: a `Vec<K>`, a `HashSet<K>`...
    ///
    /// Read a page at a time: a key that is there throughout is returned once, one that comes or goes meanwhile may be.
    pub fn keys<C: FromIterator<K>>(&self) -> M::Output<Scan<K, C, M>> {
        self.scan(ScanWhat::Keys, |entry| some(entry.key), C::from_iter)
    }

    /// All values, in the order of the keys. Read a page at a time, as [`keys`](Self::keys) are.
    pub fn values<C: FromIterator<V>>(&self) -> M::Output<Scan<V, C, M>> {
        self.scan(ScanWhat::Values, |entry| some(entry.value), C::from_iter)
    }

    /// All entries, in order. Read a page at a time, as [`keys`](Self::keys) are.
    pub fn items<C: FromIterator<(K, V)>>(&self) -> M::Output<Scan<(K, V), C, M>> {
        self.scan(ScanWhat::Items, |entry| Ok((some(entry.key)?, some(entry.value)?)), C::from_iter)
    }

    /// A plain copy, for example a `HashMap<K, V>`: Python's `d.copy()`, which is no proxy either. Read a page at a time, as
    /// [`keys`](Self::keys) are.
    pub fn copy<C: FromIterator<(K, V)>>(&self) -> M::Output<Scan<(K, V), C, M>> {
        self.items()
    }

    /// A plain copy with other entries put over it: Python's `d | other`. The shared dict is not changed;
    /// [`update`](Self::update) does that.
    pub fn merge<C: FromIterator<(K, V)>>(
        &self,
        other: impl IntoIterator<Item = (K, V)>,
    ) -> M::Output<Scan<(K, V), C, M>> {
        let mut scan = self.scanning(ScanWhat::Items, |entry| Ok((some(entry.key)?, some(entry.value)?)), C::from_iter);
        scan.after = other.into_iter().collect();
        self.remote.run(scan)
    }

    fn scan<T, C>(
        &self,
        what: ScanWhat,
        each: fn(Entry) -> Result<T>,
        collect: fn(Vec<T>) -> C,
    ) -> M::Output<Scan<T, C, M>> {
        self.remote.run(self.scanning(what, each, collect))
    }

    fn scanning<T, C>(&self, what: ScanWhat, each: fn(Entry) -> Result<T>, collect: fn(Vec<T>) -> C) -> Scan<T, C, M> {
        let request = DictScanRequest { cursor: 0, what: what.into(), bytes: 0 };
        Scan { remote: self.remote.clone(), request, read: Vec::new(), after: Vec::new(), each, collect }
    }
}

pub(super) fn datum<T: Serialize + ?Sized>(value: &T) -> Result<Option<Datum>> {
    Ok(Some(to_datum(value)?))
}

pub(super) fn maybe<T: DeserializeOwned>(value: Option<Datum>) -> Result<Option<T>> {
    Ok(value.map(from_datum).transpose()?)
}

/// A manager that does not send what it must sends nothing, which is of no type.
pub(super) fn some<T: DeserializeOwned>(value: Option<Datum>) -> Result<T> {
    Ok(from_datum(value.unwrap_or_default())?)
}

/// The reading of many keys.
#[derive(Debug)]
pub struct GetMany<V, M: Mode> {
    remote: Remote<M>,
    keys: Result<Vec<Datum>>,
    /// How many keys were in the last request.
    asked: usize,
    values: Vec<Option<V>>,
}

impl<V, M: Mode> Unpin for GetMany<V, M> {}

impl<V: DeserializeOwned, M: Mode> Exchange for GetMany<V, M> {
    type Value = Vec<Option<V>>;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let keys = self.keys.as_ref().map_err(Clone::clone)?;
        let mut bytes = 0;
        let rest = keys[self.values.len()..].iter().cloned();
        let chunk = rest.take_while(|key| {
            let fits = bytes < CHUNK_BYTES;
            bytes += key.encoded_len();
            fits
        });
        let request = DictGetManyRequest { keys: chunk.collect(), bytes: 0 };
        self.asked = request.keys.len();
        self.remote.ask(asking, &request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Self::Value>> {
        let (response, _) = self.remote.decode::<DictGetManyResponse>(heard)?;
        // An answer of no value to a question of some would be asked for ever.
        let answered = response.lookups.len().min(self.asked);
        for lookup in response.lookups.into_iter().take(answered) {
            self.values.push(maybe(lookup.value)?);
        }
        let total = self.keys.as_ref().map_or(0, Vec::len);
        if self.values.len() < total && answered > 0 {
            return Ok(Step::Again);
        }
        Ok(Step::Done(mem::take(&mut self.values)))
    }
}

/// The writing of many entries.
pub type Update<M> = Chunked<Entry, DictUpdateRequest, (), M>;

/// The reading of all keys, values or entries.
pub struct Scan<T, C, M: Mode> {
    remote: Remote<M>,
    request: DictScanRequest,
    read: Vec<T>,
    after: Vec<T>,
    each: fn(Entry) -> Result<T>,
    collect: fn(Vec<T>) -> C,
}

impl<T, C, M: Mode> Unpin for Scan<T, C, M> {}

impl<T, C, M: Mode> fmt::Debug for Scan<T, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("request", &self.request).field("read", &self.read.len()).finish_non_exhaustive()
    }
}

impl<T, C, M: Mode> Exchange for Scan<T, C, M> {
    type Value = C;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.remote.ask(asking, &self.request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<C>> {
        let (response, _) = self.remote.decode::<DictScanResponse>(heard)?;
        for entry in response.entries {
            self.read.push((self.each)(entry)?);
        }
        if response.cursor != 0 {
            self.request.cursor = response.cursor;
            return Ok(Step::Again);
        }
        let mut all = mem::take(&mut self.read);
        all.append(&mut self.after);
        Ok(Step::Done((self.collect)(all)))
    }
}
