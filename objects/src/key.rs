//! What data means as a key: Python's equality, and a hash that agrees with it.

use core::hash::{BuildHasher, Hasher};

use foldhash::quality::{FixedState, FoldHasher};
use hashbrown::HashTable;
use holdfast_proto::{Datum, Reason, Refusal};

/// Data that can be a key: valid, and without a NaN at any depth, so that it equals itself.
#[derive(Clone, Debug)]
pub(crate) struct Key(Datum);

impl Key {
    /// Takes data that is valid as a value for a key. Refused: `NAN_KEY`.
    pub(crate) fn new(datum: Datum) -> Result<Self, Refusal> {
        if holds_nan(&datum) { Err(nan_key(&datum)) } else { Ok(Self(datum)) }
    }

    /// What most keys are: every text can be one.
    #[inline]
    pub(crate) fn text(datum: Datum) -> Self {
        debug_assert!(matches!(datum, Datum::Text(_)), "a text, not {}", datum.type_name());
        Self(datum)
    }

    /// Drops it.
    #[inline]
    pub(crate) fn discard(self) {
        self.0.discard();
    }

    pub(crate) fn into_datum(self) -> Datum {
        self.0
    }

    pub(crate) fn datum(&self) -> &Datum {
        &self.0
    }
}

#[cold]
fn nan_key(datum: &Datum) -> Refusal {
    let message = alloc::format!(
        "a key is or holds a NaN ({}), which never equals itself and could not be found again: use another key",
        datum.brief()
    );
    Refusal::new(Reason::NanKey, message)
}

fn holds_nan(datum: &Datum) -> bool {
    match datum {
        Datum::Float(float) => float.is_nan(),
        Datum::List(elements) | Datum::Tuple(elements) | Datum::Set(elements) => elements.iter().any(holds_nan),
        Datum::Map(entries) => entries.iter().any(|(key, value)| holds_nan(key) || holds_nan(value)),
        _ => false,
    }
}

/// Equality as in Python, and hashes that agree with it.
///
/// - 1, 1.0 and true are equal; so are a float and a big integer of exactly the same value, and 0.0 and -0.0.
/// - A list never equals a tuple, a text never equals bytes. Sets and maps are equal in any order.
/// - NaN equals nothing, also inside a container. (Python says so too, except of one and the same object.)
///
/// The hashes are keyed with a seed that nobody outside knows, so that nobody can choose data whose hashes collide; no
/// answer depends on it. Sets and maps are compared by hash tables, in time that is linear in their size at each of the
/// levels at which they nest.
#[derive(Clone, Debug)]
pub(crate) struct Equality {
    state: FixedState,
}

impl Equality {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: FixedState::with_seed(seed) }
    }

    /// The same for data that is equal.
    #[inline]
    pub(crate) fn hash(&self, datum: &Datum) -> u64 {
        let mut hasher = self.state.build_hasher();
        match datum {
            // Most keys are texts. They need no tag: outside of a container nothing comes before or after them.
            Datum::Text(text) => hasher.write(text.as_bytes()),
            other => self.feed(other, &mut hasher),
        }
        hasher.finish()
    }

    /// Whether two pieces of data are equal.
    #[inline(always)]
    pub(crate) fn same(&self, a: &Datum, b: &Datum) -> bool {
        match (a, b) {
            (Datum::Text(a), Datum::Text(b)) => a == b,
            (Datum::Integer(a), Datum::Integer(b)) => a == b,
            _ => self.same_slowly(a, b),
        }
    }

    /// Whether all sets in this have distinct members, and all maps distinct keys. Refused: `MALFORMED`, `NAN_KEY`.
    ///
    /// Constant time for all but containers.
    #[inline]
    pub(crate) fn check_distinct(&self, datum: &Datum) -> Result<(), Refusal> {
        match datum {
            Datum::List(_) | Datum::Tuple(_) | Datum::Set(_) | Datum::Map(_) => self.check_members(datum),
            _ => Ok(()),
        }
    }

    fn same_slowly(&self, a: &Datum, b: &Datum) -> bool {
        match (a, b) {
            (Datum::Null, Datum::Null) => true,
            (Datum::Text(a), Datum::Text(b)) => a == b,
            (Datum::Bytes(a), Datum::Bytes(b)) => a == b,
            (Datum::BigInteger(a), Datum::BigInteger(b)) => a == b,
            (Datum::List(a), Datum::List(b)) | (Datum::Tuple(a), Datum::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.same(a, b))
            }
            (Datum::Set(a), Datum::Set(b)) => self.same_sets(a, b),
            (Datum::Map(a), Datum::Map(b)) => self.same_maps(a, b),
            (Datum::Opaque(a), Datum::Opaque(b)) => a == b,
            (Datum::Reference(a), Datum::Reference(b)) => a == b,
            (Datum::Float(a), Datum::Float(b)) => a == b,
            (Datum::Float(float), other) | (other, Datum::Float(float)) => same_as_float(other, *float),
            _ => small_integer(a).is_some_and(|a| small_integer(b) == Some(a)),
        }
    }

    /// Both have distinct members, so they are equal if they are equally many and all of one are in the other.
    fn same_sets(&self, a: &[Datum], b: &[Datum]) -> bool {
        if a.len() != b.len() {
            return false;
        }
        let members = self.index(b, |member| member);
        a.iter().all(|member| members.find(self.hash(member), |other| self.same(member, other)).is_some())
    }

    fn same_maps(&self, a: &[(Datum, Datum)], b: &[(Datum, Datum)]) -> bool {
        if a.len() != b.len() {
            return false;
        }
        let entries = self.index(b, |(key, _)| key);
        a.iter().all(|(key, value)| {
            let other = entries.find(self.hash(key), |(other, _)| self.same(key, other));
            other.is_some_and(|(_, other)| self.same(value, other))
        })
    }

    /// A table of `items` by their key.
    fn index<'a, T>(&self, items: &'a [T], key: fn(&T) -> &Datum) -> HashTable<&'a T> {
        let mut table = HashTable::with_capacity(items.len());
        for item in items {
            table.insert_unique(self.hash(key(item)), item, |item| self.hash(key(item)));
        }
        table
    }

    fn check_members(&self, datum: &Datum) -> Result<(), Refusal> {
        match datum {
            Datum::List(elements) | Datum::Tuple(elements) => elements.iter().try_for_each(|e| self.check_distinct(e)),
            Datum::Set(members) => {
                members.iter().try_for_each(|member| self.check_distinct(member))?;
                self.check_no_two(members, |member| member, "a set has the member")
            }
            Datum::Map(entries) => {
                for (key, value) in entries {
                    self.check_distinct(key)?;
                    self.check_distinct(value)?;
                }
                self.check_no_two(entries, |(key, _)| key, "a map has the key")
            }
            _ => Ok(()),
        }
    }

    fn check_no_two<T>(&self, items: &[T], key: fn(&T) -> &Datum, what: &str) -> Result<(), Refusal> {
        let mut table: HashTable<&Datum> = HashTable::with_capacity(items.len());
        for datum in items.iter().map(key) {
            if holds_nan(datum) {
                return Err(nan_key(datum));
            }
            let hash = self.hash(datum);
            if table.find(hash, |other| self.same(datum, other)).is_some() {
                let message =
                    alloc::format!("{what} {} twice (1, 1.0 and true are equal): send it once", datum.brief());
                return Err(Refusal::new(Reason::Malformed, message));
            }
            table.insert_unique(hash, datum, |datum| self.hash(datum));
        }
        Ok(())
    }

    /// The data that is equal is fed alike: each number as the integer that it is, sets and maps as sums.
    #[inline(never)]
    fn feed(&self, datum: &Datum, hasher: &mut FoldHasher<'static>) {
        match datum {
            Datum::Text(text) => tagged(hasher, tag::TEXT, text.as_bytes()),
            Datum::Integer(integer) => feed_integer(hasher, *integer),
            Datum::Boolean(boolean) => feed_integer(hasher, i64::from(*boolean)),
            Datum::Float(float) => feed_float(hasher, *float),
            Datum::BigInteger(bytes) => tagged(hasher, tag::BIG_INTEGER, bytes),
            Datum::Bytes(bytes) => tagged(hasher, tag::BYTES, bytes),
            Datum::Unset | Datum::Null => hasher.write_u8(tag::NULL),
            Datum::List(elements) => self.feed_sequence(hasher, tag::LIST, elements),
            Datum::Tuple(elements) => self.feed_sequence(hasher, tag::TUPLE, elements),
            Datum::Set(members) => {
                let sum = members.iter().fold(0u64, |sum, member| sum.wrapping_add(self.hash(member)));
                feed_sum(hasher, tag::SET, members.len(), sum);
            }
            Datum::Map(entries) => {
                let sum = entries.iter().fold(0u64, |sum, entry| sum.wrapping_add(self.hash_entry(entry)));
                feed_sum(hasher, tag::MAP, entries.len(), sum);
            }
            Datum::Opaque(opaque) => {
                tagged(hasher, tag::OPAQUE, opaque.codec.as_bytes());
                hasher.write(&opaque.data);
            }
            Datum::Reference(reference) => tagged(hasher, tag::REFERENCE, &reference.object()),
        }
    }

    fn feed_sequence(&self, hasher: &mut FoldHasher<'static>, tag: u8, elements: &[Datum]) {
        hasher.write_u8(tag);
        hasher.write_usize(elements.len());
        for element in elements {
            self.feed(element, hasher);
        }
    }

    fn hash_entry(&self, (key, value): &(Datum, Datum)) -> u64 {
        let mut hasher = self.state.build_hasher();
        self.feed(key, &mut hasher);
        self.feed(value, &mut hasher);
        hasher.finish()
    }
}

/// What keeps data of different types apart in a hash.
mod tag {
    pub(super) const NULL: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const BIG_INTEGER: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const LIST: u8 = 7;
    pub(super) const TUPLE: u8 = 8;
    pub(super) const SET: u8 = 9;
    pub(super) const MAP: u8 = 10;
    pub(super) const OPAQUE: u8 = 11;
    pub(super) const REFERENCE: u8 = 12;
}

fn tagged(hasher: &mut FoldHasher<'static>, tag: u8, bytes: &[u8]) {
    hasher.write_u8(tag);
    hasher.write(bytes);
}

fn feed_sum(hasher: &mut FoldHasher<'static>, tag: u8, len: usize, sum: u64) {
    hasher.write_u8(tag);
    hasher.write_usize(len);
    hasher.write_u64(sum);
}

fn feed_integer(hasher: &mut FoldHasher<'static>, integer: i64) {
    hasher.write_u8(tag::INTEGER);
    hasher.write_u64(integer as u64);
}

fn feed_float(hasher: &mut FoldHasher<'static>, float: f64) {
    if let Some(integer) = exact_integer(float) {
        feed_integer(hasher, integer);
    } else if let Some(big) = BigFloat::new(float) {
        tagged(hasher, tag::BIG_INTEGER, big.bytes());
    } else {
        hasher.write_u8(tag::FLOAT);
        hasher.write_u64(float.to_bits());
    }
}

fn small_integer(datum: &Datum) -> Option<i64> {
    match datum {
        Datum::Integer(integer) => Some(*integer),
        Datum::Boolean(boolean) => Some(i64::from(*boolean)),
        _ => None,
    }
}

fn same_as_float(datum: &Datum, float: f64) -> bool {
    match datum {
        Datum::BigInteger(bytes) => BigFloat::new(float).is_some_and(|big| *big.bytes() == **bytes),
        _ => small_integer(datum).is_some_and(|integer| exact_integer(float) == Some(integer)),
    }
}

/// 2 to the power of 63: the first integer that an `i64` cannot hold.
pub(crate) const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// The integer of 64 bits that this float is, if it is one.
pub(crate) fn exact_integer(float: f64) -> Option<i64> {
    let integer = float as i64;
    // The cast saturates: what is too large would come out as a neighbour of 2^63 and convert back to it.
    (float < TWO_TO_63 && integer as f64 == float).then_some(integer)
}

/// A float that is an integer of more than 64 bits, in the form of `Datum::BigInteger`.
pub(crate) struct BigFloat {
    bytes: [u8; Self::LEN],
    start: usize,
}

impl BigFloat {
    /// The largest float has 1024 bits, and there is a sign.
    const LEN: usize = 129;

    /// Every finite float of that size is an integer: its last bit counts at least 2^11.
    pub(crate) fn new(float: f64) -> Option<Self> {
        if !float.is_finite() || exact_integer(float).is_some() || float.abs() < TWO_TO_63 {
            return None;
        }
        const MANTISSA_BITS: u32 = 52;
        let bits = float.to_bits();
        let mantissa = bits & ((1 << MANTISSA_BITS) - 1) | 1 << MANTISSA_BITS;
        let exponent = (bits >> MANTISSA_BITS & 0x7ff) as usize - 1075;
        let end = Self::LEN - exponent / 8;
        let mut bytes = [0; Self::LEN];
        bytes[end - 8..end].copy_from_slice(&(mantissa << (exponent % 8)).to_be_bytes());
        if float < 0.0 {
            negate(&mut bytes);
        }
        let start =
            bytes.windows(2).take_while(|pair| matches!((pair[0], pair[1] >> 7), (0x00, 0) | (0xff, 1))).count();
        Some(Self { bytes, start })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// Two's complement: the bits are inverted, and one is added.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use holdfast_proto::datum::OpaqueDatum;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Source, naively_equal};

    fn equality() -> Equality {
        Equality::new(0x5eed)
    }

    fn int(integer: i64) -> Datum {
        Datum::Integer(integer)
    }

    fn float(float: f64) -> Datum {
        Datum::Float(float)
    }

    fn big(integer: i128) -> Datum {
        let bytes = integer.to_be_bytes();
        let start = bytes.windows(2).take_while(|pair| matches!((pair[0], pair[1] >> 7), (0, 0) | (0xff, 1))).count();
        let big = Datum::BigInteger(bytes[start..].into());
        assert_eq!(big.check(), Ok(()));
        big
    }

    fn list(elements: &[Datum]) -> Datum {
        Datum::List(elements.into())
    }

    fn tuple(elements: &[Datum]) -> Datum {
        Datum::Tuple(elements.into())
    }

    fn set(members: &[Datum]) -> Datum {
        Datum::Set(members.into())
    }

    fn map(entries: &[(Datum, Datum)]) -> Datum {
        Datum::Map(entries.into())
    }

    fn opaque(codec: &str, data: &[u8]) -> Datum {
        Datum::Opaque(Box::new(OpaqueDatum { codec: codec.into(), data: data.into() }))
    }

    const TWO_TO_53: i64 = 1 << 53;

    #[test]
    fn equal_as_in_python() {
        let classes = vec![
            vec![int(1), float(1.0), Datum::Boolean(true)],
            vec![int(0), float(0.0), float(-0.0), Datum::Boolean(false)],
            vec![int(TWO_TO_53), float(TWO_TO_53 as f64)],
            vec![int(TWO_TO_53 + 1)],
            vec![int(i64::MAX)],
            vec![int(i64::MIN), float(-TWO_TO_63)],
            vec![big(1 << 63), float(TWO_TO_63)],
            vec![big(-(1 << 63) - 2048), float(-TWO_TO_63 - 2048.0)],
            vec![big(-(1 << 63) - 1)],
            vec![big((1 << 63) + 1)],
            vec![big(1 << 100), float(2f64.powi(100))],
            vec![big(-(1 << 100)), float(-(2f64.powi(100)))],
            vec![big(3 << 64), float(3.0 * 2f64.powi(64))],
            vec![float(f64::MAX)],
            vec![float(f64::INFINITY)],
            vec![float(f64::NEG_INFINITY)],
            vec![float(0.5)],
            vec![float(5e-324)],
            vec![Datum::Null],
            vec![Datum::from("1")],
            vec![Datum::Bytes(b"1"[..].into())],
            vec![opaque("pickle", b"1")],
            vec![opaque("pickle1", b"")],
            vec![list(&[])],
            vec![tuple(&[])],
            vec![set(&[])],
            vec![map(&[])],
            vec![list(&[int(1), int(2)]), list(&[float(1.0), float(2.0)])],
            vec![list(&[int(2), int(1)])],
            vec![tuple(&[int(1), int(2)]), tuple(&[Datum::Boolean(true), float(2.0)])],
            vec![list(&[list(&[int(1)]), list(&[])]), list(&[list(&[float(1.0)]), list(&[])])],
            vec![list(&[list(&[]), list(&[int(1)])])],
            vec![set(&[int(1), int(2)]), set(&[float(2.0), Datum::Boolean(true)])],
            vec![set(&[set(&[int(1)]), int(2)]), set(&[int(2), set(&[float(1.0)])])],
            vec![map(&[(int(1), int(3)), (int(2), int(4))]), map(&[(float(2.0), int(4)), (int(1), float(3.0))])],
            vec![map(&[(int(1), int(4)), (int(2), int(3))])],
        ];
        let equality = equality();
        let all: Vec<(usize, &Datum)> =
            classes.iter().enumerate().flat_map(|(class, data)| data.iter().map(move |datum| (class, datum))).collect();
        for (class, a) in &all {
            for (other, b) in &all {
                let context = format!("{a:?} and {b:?}");
                assert_eq!(equality.same(a, b), class == other, "{context}");
                assert_eq!(equality.hash(a) == equality.hash(b), class == other, "{context}");
            }
        }
    }

    #[test]
    fn nan_equals_nothing_and_is_no_key() {
        let nan = || float(f64::NAN);
        let holders = [nan(), list(&[int(1), nan()]), tuple(&[tuple(&[nan()])]), map(&[(int(1), nan())])];
        for holder in holders {
            assert!(!equality().same(&holder, &holder), "{holder:?}");
            equality().check_distinct(&holder).unwrap();
            assert_eq!(Key::new(holder).unwrap_err().why(), Reason::NanKey);
        }
        for member in [set(&[nan()]), map(&[(tuple(&[nan()]), int(1))]), list(&[set(&[nan()])])] {
            assert_eq!(equality().check_distinct(&member).unwrap_err().why(), Reason::NanKey);
        }
    }

    #[test]
    fn members_and_keys_are_distinct() {
        let twice = [
            set(&[int(1), float(1.0)]),
            set(&[tuple(&[Datum::Boolean(true)]), int(1), tuple(&[int(1)])]),
            map(&[(int(0), int(1)), (float(-0.0), int(2))]),
            list(&[map(&[(int(1), set(&[int(2), int(2)]))])]),
        ];
        for datum in twice {
            let refusal = equality().check_distinct(&datum).unwrap_err();
            assert_eq!(refusal.why(), Reason::Malformed);
            assert!(refusal.message.contains("twice"), "{refusal}");
        }
        equality().check_distinct(&set(&[int(1), tuple(&[int(1)]), list(&[int(1)]), Datum::from("1")])).unwrap();
    }

    #[test]
    fn large_sets_are_compared_in_linear_time() {
        let members: Vec<Datum> = (0..200_000).map(int).collect();
        let reversed: Vec<Datum> = (0..200_000).rev().map(|integer| float(integer as f64)).collect();
        assert!(equality().same(&set(&members), &set(&reversed)));
    }

    proptest! {
        #[test]
        fn agrees_with_naive_equality(a in any::<u64>(), b in any::<u64>()) {
            let (a, b) = (Source::new(a).datum(), Source::new(b).datum());
            let equality = equality();
            for (a, b) in [(&a, &b), (&a, &a), (&b, &a)] {
                prop_assume!(a.check().is_ok() && equality.check_distinct(a).is_ok());
                prop_assume!(b.check().is_ok() && equality.check_distinct(b).is_ok());
                let same = equality.same(a, b);
                prop_assert_eq!(same, naively_equal(a, b));
                prop_assert!(!same || equality.hash(a) == equality.hash(b));
            }
        }

        #[test]
        fn a_float_equals_the_integer_that_it_is(mantissa in any::<i32>(), shift in 0u32..90) {
            let integer = i128::from(mantissa) << shift;
            let datum = i64::try_from(integer).map_or_else(|_| big(integer), int);
            let as_float = float(integer as f64);
            prop_assert!(equality().same(&datum, &as_float));
            prop_assert_eq!(equality().hash(&datum), equality().hash(&as_float));
        }
    }
}
