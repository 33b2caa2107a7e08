//! The door: where data from clients comes in. What is behind it is present, valid and fit for its place.

use alloc::format;

use holdfast_proto::datum::Invalid;
use holdfast_proto::{Datum, Reason, Refusal};

use crate::key::{Equality, Key};

/// The key in the request's field `field`. Refused: `MALFORMED`, `NAN_KEY`.
#[inline(always)]
pub(crate) fn key(field: &str, datum: Option<Datum>, equality: &Equality) -> Result<Key, Refusal> {
    match datum {
        Some(datum @ Datum::Text(_)) => Ok(Key::text(datum)),
        other => Key::new(value(field, other, equality)?),
    }
}

/// The data in the request's field `field`. Refused: `MALFORMED`, and `NAN_KEY` for NaN in a set or as a map's key.
#[inline(always)]
pub(crate) fn value(field: &str, datum: Option<Datum>, equality: &Equality) -> Result<Datum, Refusal> {
    match datum {
        // Nearly always, and then there is nothing to check.
        Some(datum) if datum.is_scalar() || matches!(datum, Datum::Text(_)) => Ok(datum),
        other => checked(field, other, equality),
    }
}

#[inline(never)]
fn checked(field: &str, datum: Option<Datum>, equality: &Equality) -> Result<Datum, Refusal> {
    let datum = datum.ok_or_else(|| Refusal::missing(field))?;
    datum.check().map_err(|invalid| malformed(field, invalid))?;
    equality.check_distinct(&datum)?;
    Ok(datum)
}

/// The data in the request's field `field`, which need not be there.
#[inline]
pub(crate) fn optional(field: &str, datum: Option<Datum>, equality: &Equality) -> Result<Option<Datum>, Refusal> {
    datum.map(|datum| value(field, Some(datum), equality)).transpose()
}

#[cold]
fn malformed(field: &str, invalid: Invalid) -> Refusal {
    Refusal::new(Reason::Malformed, format!("the field {field:?} of the request cannot be taken: {invalid}"))
}
