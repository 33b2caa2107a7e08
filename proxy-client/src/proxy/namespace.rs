//! A shared object with attributes.

use holdfast_proto::{
    Attribute, Datum, NamespaceAddRequest, NamespaceCompareAndSetRequest, NamespaceContainsRequest,
    NamespaceDeleteRequest, NamespaceGetRequest, NamespaceScanRequest, NamespaceScanResponse, NamespaceSetManyRequest,
    NamespaceSetRequest, namespace_compare_and_set_request,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dict::{Expected, Swap, datum, maybe, some};
use super::reference::proxy;
use super::remote::{Chunked, Paged, Remote};
use super::{Mode, Output};
use crate::codec::{CodecError, from_datum, to_datum};
use crate::error::Result;

/// A shared object with attributes: Python's manager Namespace, with the compound updates that it lacks.
///
/// Attributes may be of different types: each call says of which. Their names are texts of 1 to 256 bytes; others are
/// refused with [`Reason::InvalidName`](crate::Reason::InvalidName).
///
/// Clones are proxies to the same namespace. Each method is one call, applied atomically, unless it says otherwise; see
/// the [crate] for what holds for every call.
pub struct Namespace<M: Mode> {
    remote: Remote<M>,
}

proxy!(Namespace<> in namespace);

impl<M: Mode> Namespace<M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote }
    }

    /// The value of an attribute: Python's `ns.name`.
    ///
    /// Refused with [`Reason::MissingAttribute`](crate::Reason::MissingAttribute) if there is none.
    pub fn get<V: DeserializeOwned>(&self, name: &str) -> Output<M, NamespaceGetRequest, V> {
        self.remote.once(Ok(NamespaceGetRequest { name: name.to_owned() }), |response, _| some(response.value))
    }

    /// The value of an attribute and its version, for [`compare_and_set`](Self::compare_and_set).
    ///
    /// Refused with [`Reason::MissingAttribute`](crate::Reason::MissingAttribute) if there is none.
    pub fn get_with_version<V: DeserializeOwned>(&self, name: &str) -> Output<M, NamespaceGetRequest, (V, u64)> {
        let request = NamespaceGetRequest { name: name.to_owned() };
        self.remote.once(Ok(request), |response, _| Ok((some(response.value)?, response.version)))
    }

    /// Sets an attribute, whether or not it was there: Python's `ns.name = value`. Returns its version.
    pub fn set<V: Serialize + ?Sized>(&self, name: &str, value: &V) -> Output<M, NamespaceSetRequest, u64> {
        let request = datum(value).map(|value| NamespaceSetRequest { name: name.to_owned(), value });
        self.remote.once(request, |_, index| Ok(index))
    }

    /// Removes an attribute: Python's `del ns.name`.
    ///
    /// Refused with [`Reason::MissingAttribute`](crate::Reason::MissingAttribute) if there is none.
    pub fn delete(&self, name: &str) -> Output<M, NamespaceDeleteRequest, ()> {
        self.remote.once(Ok(NamespaceDeleteRequest { name: name.to_owned() }), |_, _| Ok(()))
    }

    /// Whether there is such an attribute: Python's `hasattr(ns, name)`.
    pub fn contains(&self, name: &str) -> Output<M, NamespaceContainsRequest, bool> {
        let request = NamespaceContainsRequest { name: name.to_owned() };
        self.remote.once(Ok(request), |response, _| Ok(response.contains))
    }

    /// Adds to the number in an attribute and returns the sum. A float on either side makes the sum a float.
    ///
    /// Refused with [`Reason::MissingAttribute`](crate::Reason::MissingAttribute) if there is none, with
    /// [`Reason::WrongType`](crate::Reason::WrongType) if it is something else than a number, and with
    /// [`Reason::Overflow`](crate::Reason::Overflow) if the sum does not fit 64 bits, or is not finite.
    pub fn add<V: Serialize + DeserializeOwned>(&self, name: &str, delta: V) -> Output<M, NamespaceAddRequest, V> {
        let request = datum(&delta).map(|delta| NamespaceAddRequest { name: name.to_owned(), delta });
        self.remote.once(request, |response, _| some(response.value))
    }

    /// Sets an attribute, or removes it if `new` is `None`, if what is there is what is expected. Says whether it was, and
    /// what is there now.
    pub fn compare_and_set<V: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        expected: Expected<'_, V>,
        new: Option<&V>,
    ) -> Output<M, NamespaceCompareAndSetRequest, Swap<V>> {
        use namespace_compare_and_set_request::Expected as Wire;
        let request = || {
            let expected = match expected {
                Expected::Value(value) => Wire::Value(to_datum(value)?),
                Expected::Version(version) => Wire::Version(version),
            };
            let new = new.map(to_datum).transpose()?;
            Ok(NamespaceCompareAndSetRequest { name: name.to_owned(), expected: Some(expected), new })
        };
        self.remote.once(request(), |response, _| {
            Ok(Swap { swapped: response.swapped, value: maybe(response.value)?, version: response.version })
        })
    }

    /// The names of all attributes, in the order in which they were first set: Python's `dir(ns)`.
    ///
    /// Read a page at a time: an attribute that is there throughout is returned once, one that comes or goes meanwhile may
    /// be.
    pub fn names<C: FromIterator<String>>(&self) -> M::Output<Paged<NamespaceScanRequest, String, C, M>> {
        let take = |request: &mut NamespaceScanRequest, page: NamespaceScanResponse, read: &mut Vec<String>| {
            read.extend(page.attributes.into_iter().map(|attribute| attribute.name));
            Ok(next_page(request, page.cursor))
        };
        self.remote.paged(Ok(scan(true)), take, |read| Ok(C::from_iter(read)))
    }

    /// All attributes, whose values are all of one type (an enum of your own, perhaps). Read as [`names`](Self::names) are.
    pub fn items<V: DeserializeOwned, C: FromIterator<(String, V)>>(
        &self,
    ) -> M::Output<Paged<NamespaceScanRequest, (String, V), C, M>> {
        let take = |request: &mut NamespaceScanRequest, page: NamespaceScanResponse, read: &mut Vec<(String, V)>| {
            for attribute in page.attributes {
                read.push((attribute.name, some(attribute.value)?));
            }
            Ok(next_page(request, page.cursor))
        };
        self.remote.paged(Ok(scan(false)), take, |read| Ok(C::from_iter(read)))
    }

    /// All attributes as one value: a struct whose fields they are, or a map. Attributes that the struct does not have are
    /// left out. Read as [`names`](Self::names) are, so what takes less than 256 KiB is of one moment.
    pub fn get_all<S: DeserializeOwned>(&self) -> M::Output<Paged<NamespaceScanRequest, (Datum, Datum), S, M>> {
        let take = |request: &mut NamespaceScanRequest, page: NamespaceScanResponse, read: &mut Vec<_>| {
            let entry = |attribute: Attribute| (Datum::from(&*attribute.name), attribute.value.unwrap_or_default());
            read.extend(page.attributes.into_iter().map(entry));
            Ok(next_page(request, page.cursor))
        };
        self.remote.paged(Ok(scan(false)), take, |read| Ok(from_datum(Datum::Map(read.into()))?))
    }

    /// Sets many attributes: the fields of a struct, or the entries of a map whose keys are texts.
    ///
    /// Up to about 256 KiB are one call, applied as a whole or not at all; more are sent in several calls, each of them so.
    pub fn set_many<S: Serialize + ?Sized>(
        &self,
        attributes: &S,
    ) -> M::Output<Chunked<Attribute, NamespaceSetManyRequest, (), M>> {
        let make = |attributes| NamespaceSetManyRequest { attributes };
        self.remote.chunked(attributes_of(attributes), make, (), |(), _| {})
    }
}

fn scan(names_only: bool) -> NamespaceScanRequest {
    NamespaceScanRequest { cursor: 0, names_only, bytes: 0 }
}

fn next_page(request: &mut NamespaceScanRequest, cursor: u64) -> bool {
    request.cursor = cursor;
    cursor != 0
}

fn attributes_of<S: Serialize + ?Sized>(value: &S) -> Result<Vec<Attribute>> {
    let mismatch = |found: &Datum| {
        let expected = "a struct, or a map whose keys are texts, to set attributes from".into();
        CodecError::Mismatch { expected, found: found.type_name().into() }
    };
    let entries = match to_datum(value)? {
        Datum::Map(entries) => entries,
        other => return Err(mismatch(&other).into()),
    };
    let attribute = |(name, value): (Datum, Datum)| match name {
        Datum::Text(name) => Ok(Attribute { name: name.into(), value: Some(value) }),
        other => Err(mismatch(&other).into()),
    };
    entries.into_iter().map(attribute).collect()
}
