//! A shared cell.

use std::marker::PhantomData;

use holdfast_proto::{
    Datum, ValueAddRequest, ValueCompareAndSetRequest, ValueGetRequest, ValueSetRequest, value_compare_and_set_request,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dict::{Expected, Swap};
use super::reference::proxy;
use super::remote::{Holds, Remote};
use super::{Mode, Output};
use crate::codec::{from_datum, to_datum};
use crate::error::Result;

/// A shared cell with one value: Python's `multiprocessing.Value`, with the updates that it lacks.
///
/// Clones are proxies to the same cell. Each method is one call, applied atomically; see the [crate] for what holds for
/// every call.
pub struct Value<T, M: Mode> {
    remote: Remote<M>,
    _value: Holds<T>,
}

proxy!(Value<T> in value);

impl<T, M: Mode> Value<T, M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote, _value: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned, M: Mode> Value<T, M> {
    /// What is in the cell.
    pub fn get(&self) -> Output<M, ValueGetRequest, T> {
        self.remote.once(Ok(ValueGetRequest {}), |response, _| read(response.value))
    }

    /// What is in the cell, and its version: for [`compare_and_set`](Self::compare_and_set).
    pub fn get_with_version(&self) -> Output<M, ValueGetRequest, (T, u64)> {
        self.remote.once(Ok(ValueGetRequest {}), |response, _| Ok((read(response.value)?, response.version)))
    }

    /// Replaces what is in the cell, and returns its new version.
    pub fn set(&self, value: &T) -> Output<M, ValueSetRequest, u64> {
        let request = to_datum(value).map(|value| ValueSetRequest { value: Some(value) });
        self.remote.once(request.map_err(Into::into), |_, index| Ok(index))
    }

    /// Adds to the number in the cell and returns the sum. A float on either side makes the sum a float.
    ///
    /// Refused with [`Reason::WrongType`](crate::Reason::WrongType) if there is no number in it, and with
    /// [`Reason::Overflow`](crate::Reason::Overflow) if the sum does not fit 64 bits, or is not finite.
    pub fn add(&self, delta: T) -> Output<M, ValueAddRequest, T> {
        let request = to_datum(&delta).map(|delta| ValueAddRequest { delta: Some(delta) });
        self.remote.once(request.map_err(Into::into), |response, _| read(response.value))
    }

    /// Puts `new` into the cell if what is there is what is expected. Says whether it was, and what is there now.
    pub fn compare_and_set(&self, expected: Expected<'_, T>, new: &T) -> Output<M, ValueCompareAndSetRequest, Swap<T>> {
        use value_compare_and_set_request::Expected as Wire;
        let request = || {
            let expected = match expected {
                Expected::Value(value) => Wire::Value(to_datum(value)?),
                Expected::Version(version) => Wire::Version(version),
            };
            Ok(ValueCompareAndSetRequest { expected: Some(expected), new: Some(to_datum(new)?) })
        };
        self.remote.once(request(), |response, _| {
            Ok(Swap { swapped: response.swapped, value: Some(read(response.value)?), version: response.version })
        })
    }
}

fn read<T: DeserializeOwned>(value: Option<Datum>) -> Result<T> {
    Ok(from_datum(value.unwrap_or_default())?)
}
