//! Short ways to write and read data.

use crate::pb::{Datum, Entry, Map, datum::Kind};

pub fn integer(number: i64) -> Datum {
    Datum { kind: Some(Kind::Integer(number)) }
}

pub fn text(text: &str) -> Datum {
    Datum { kind: Some(Kind::Text(text.into())) }
}

pub fn map<const N: usize>(entries: [(&str, Datum); N]) -> Datum {
    let entries = entries.into_iter().map(|(key, value)| Entry { key: Some(text(key)), value: Some(value) });
    Datum { kind: Some(Kind::Map(Map { entries: entries.collect() })) }
}

/// The integer, or 0 where there is none.
pub fn as_integer(datum: Option<&Datum>) -> i64 {
    match datum {
        Some(Datum { kind: Some(Kind::Integer(number)) }) => *number,
        _ => 0,
    }
}

/// The text under a key of a map.
pub fn text_in<'a>(datum: Option<&'a Datum>, key: &str) -> Option<&'a str> {
    let Some(Kind::Map(map)) = &datum?.kind else { return None };
    let entry = map.entries.iter().find(|entry| entry.key.as_ref() == Some(&text(key)))?;
    match &entry.value.as_ref()?.kind {
        Some(Kind::Text(text)) => Some(text),
        _ => None,
    }
}
