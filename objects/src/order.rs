//! Which of two pieces of data comes first: Python's order, for sorting.

use core::cmp::Ordering;

use holdfast_proto::Datum;

use crate::key::{BigFloat, Equality, TWO_TO_63, exact_integer};

/// Python's order, and whether it was asked for where it has none.
///
/// - Numbers compare by their exact value: booleans as 0 and 1, integers of any size, floats without rounding.
/// - Texts compare by code point, bytes by byte.
/// - Lists compare with lists and tuples with tuples, by the first elements that differ; what is equal is passed over,
///   also where it has no order. If all are equal the shorter comes first.
/// - All else has no order, nor has data of different types, nor a NaN. (Python compares NaN and sorts to nonsense.)
///
/// What has no order is still put into one, so that a sort ends as it should; [`has_gap`](Self::has_gap) tells then. A
/// sort compares what stands side by side in the end, and what is between two that have an order has one too: so there
/// is a gap if and only if two of the elements have no order, whatever the algorithm.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    equality: &'a Equality,
    gap: bool,
}

impl<'a> Order<'a> {
    pub(crate) fn new(equality: &'a Equality) -> Self {
        Self { equality, gap: false }
    }

    /// Whether two were compared that have no order.
    pub(crate) fn has_gap(&self) -> bool {
        self.gap
    }

    /// Which of two comes first.
    pub(crate) fn compare(&mut self, a: &Datum, b: &Datum) -> Ordering {
        match (a, b) {
            (Datum::List(a), Datum::List(b)) | (Datum::Tuple(a), Datum::Tuple(b)) => self.compare_members(a, b),
            _ => compare_plain(a, b).unwrap_or_else(|| {
                self.gap = true;
                rank(a).cmp(&rank(b))
            }),
        }
    }

    /// Which of two lists, or of two tuples, comes first.
    pub(crate) fn compare_members(&mut self, a: &[Datum], b: &[Datum]) -> Ordering {
        for (a, b) in a.iter().zip(b) {
            let gap_before = self.gap;
            let ordering = self.compare(a, b);
            if self.gap && !gap_before && self.equality.same(a, b) {
                self.gap = false;
                continue;
            }
            if ordering.is_ne() {
                return ordering;
            }
        }
        a.len().cmp(&b.len())
    }
}

/// The order of all that holds no other data. `None` if there is none.
#[inline]
pub(crate) fn compare_plain(a: &Datum, b: &Datum) -> Option<Ordering> {
    match (a, b) {
        (Datum::Integer(a), Datum::Integer(b)) => Some(a.cmp(b)),
        // UTF-8 is ordered as the code points are.
        (Datum::Text(a), Datum::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Datum::Bytes(a), Datum::Bytes(b)) => Some(a.cmp(b)),
        (Datum::Float(a), Datum::Float(b)) => a.partial_cmp(b),
        (Datum::Float(a), b) => compare_with_float(b, *a).map(Ordering::reverse),
        (a, Datum::Float(b)) => compare_with_float(a, *b),
        _ => compare_integers(a, b),
    }
}

/// The types among which there is an order, as far as a type can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Number,
    NotANumber,
    Text,
    Bytes,
    List,
    Tuple,
    Unordered,
}

pub(crate) fn rank(datum: &Datum) -> Rank {
    match datum {
        Datum::Float(float) if float.is_nan() => Rank::NotANumber,
        Datum::Boolean(_) | Datum::Integer(_) | Datum::BigInteger(_) | Datum::Float(_) => Rank::Number,
        Datum::Text(_) => Rank::Text,
        Datum::Bytes(_) => Rank::Bytes,
        Datum::List(_) => Rank::List,
        Datum::Tuple(_) => Rank::Tuple,
        Datum::Unset | Datum::Null | Datum::Set(_) | Datum::Map(_) | Datum::Opaque(_) | Datum::Reference(_) => {
            Rank::Unordered
        }
    }
}

/// An integer of any size, or a boolean.
enum Integer<'a> {
    Small(i64),
    /// Two's complement, big-endian, beyond 64 bits.
    Big(&'a [u8]),
}

fn integer(datum: &Datum) -> Option<Integer<'_>> {
    match datum {
        Datum::Boolean(boolean) => Some(Integer::Small(i64::from(*boolean))),
        Datum::Integer(integer) => Some(Integer::Small(*integer)),
        Datum::BigInteger(bytes) => Some(Integer::Big(bytes)),
        _ => None,
    }
}

fn compare_integers(a: &Datum, b: &Datum) -> Option<Ordering> {
    Some(match (integer(a)?, integer(b)?) {
        (Integer::Small(a), Integer::Small(b)) => a.cmp(&b),
        (Integer::Big(a), Integer::Small(_)) => sign(a),
        (Integer::Small(_), Integer::Big(b)) => sign(b).reverse(),
        (Integer::Big(a), Integer::Big(b)) => compare_big(a, b),
    })
}

/// How a big integer compares with every small one.
fn sign(big: &[u8]) -> Ordering {
    if big.first().is_some_and(|first| first >> 7 == 1) { Ordering::Less } else { Ordering::Greater }
}

fn compare_big(a: &[u8], b: &[u8]) -> Ordering {
    // Each is in its shortest form: more bytes are further from 0. Equally many are ordered as the bytes, in two's
    // complement also below 0.
    let by_size = match sign(a) {
        Ordering::Less => b.len().cmp(&a.len()),
        _ => a.len().cmp(&b.len()),
    };
    sign(a).cmp(&sign(b)).then(by_size).then_with(|| a.cmp(b))
}

fn compare_with_float(datum: &Datum, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    Some(match integer(datum)? {
        Integer::Small(_) if float >= TWO_TO_63 => Ordering::Less,
        Integer::Small(_) if float < -TWO_TO_63 => Ordering::Greater,
        // What is cut off counts only where the whole parts are equal; a float with a fraction is far below 2^63.
        Integer::Small(small) => small.cmp(&(float as i64)).then_with(|| compare_fraction(float)),
        Integer::Big(big) => match BigFloat::new(float) {
            Some(float) => compare_big(big, float.bytes()),
            None if float.is_infinite() => {
                if float > 0.0 {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            None => sign(big),
        },
    })
}

/// How the whole part of a float of less than 64 bits compares with the float.
fn compare_fraction(float: f64) -> Ordering {
    if exact_integer(float).is_some() {
        Ordering::Equal
    } else if float > 0.0 {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;

    fn big(integer: i128) -> Datum {
        let bytes = integer.to_be_bytes();
        let start = bytes.windows(2).take_while(|pair| matches!((pair[0], pair[1] >> 7), (0, 0) | (0xff, 1))).count();
        let big = Datum::BigInteger(bytes[start..].into());
        assert_eq!(big.check(), Ok(()));
        big
    }

    fn number(integer: i128) -> Datum {
        i64::try_from(integer).map_or_else(|_| big(integer), Datum::Integer)
    }

    /// How two compare; `None` if there is a gap.
    fn compared(a: &Datum, b: &Datum) -> Option<Ordering> {
        let equality = Equality::new(3);
        let mut order = Order::new(&equality);
        let ordering = order.compare(a, b);
        (!order.has_gap()).then_some(ordering)
    }

    #[test]
    fn numbers_are_ordered_by_their_exact_value() {
        let int = Datum::Integer;
        let float = Datum::Float;
        const TWO_TO_53: i64 = 1 << 53;
        let ascending = vec![
            vec![float(f64::NEG_INFINITY)],
            vec![float(f64::MIN)],
            vec![big(-(1 << 100) - 1)],
            vec![big(-(1 << 100)), float(-(2f64.powi(100)))],
            vec![big(-(1 << 63) - 2049)],
            vec![big(-(1 << 63) - 2048), float(-TWO_TO_63 - 2048.0)],
            vec![big(-(1 << 63) - 1)],
            vec![int(i64::MIN), float(-TWO_TO_63)],
            vec![int(i64::MIN + 1)],
            vec![int(-2)],
            vec![float(-1.5)],
            vec![int(-1), float(-1.0)],
            vec![float(-0.5)],
            vec![float(-5e-324)],
            vec![int(0), float(0.0), float(-0.0), Datum::Boolean(false)],
            vec![float(5e-324)],
            vec![float(0.5)],
            vec![int(1), float(1.0), Datum::Boolean(true)],
            vec![float(1.5)],
            vec![int(TWO_TO_53), float(TWO_TO_53 as f64)],
            vec![int(TWO_TO_53 + 1)],
            vec![int(TWO_TO_53 + 2), float((TWO_TO_53 + 2) as f64)],
            vec![int(i64::MAX - 1)],
            vec![int(i64::MAX)],
            vec![big(1 << 63), float(TWO_TO_63)],
            vec![big((1 << 63) + 1)],
            vec![big(3 << 64), float(3.0 * 2f64.powi(64))],
            vec![big(1 << 100), float(2f64.powi(100))],
            vec![big((1 << 100) + 1)],
            vec![float(f64::MAX)],
            vec![float(f64::INFINITY)],
        ];
        let all: Vec<(usize, &Datum)> =
            ascending.iter().enumerate().flat_map(|(at, equals)| equals.iter().map(move |datum| (at, datum))).collect();
        for (at, a) in &all {
            for (other, b) in &all {
                assert_eq!(compared(a, b), Some(at.cmp(other)), "{a:?} and {b:?}");
            }
            assert_eq!(compared(a, &float(f64::NAN)), None);
            assert_eq!(compared(&float(f64::NAN), a), None);
        }
    }

    #[test]
    fn texts_are_ordered_by_code_point() {
        let ascending = ["", "A", "B", "a", "ab", "b", "é", "\u{ffff}", "\u{10000}"];
        for (at, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(compared(&Datum::from(*a), &Datum::from(*b)), Some(at.cmp(&other)), "{a} and {b}");
            }
        }
    }

    #[test]
    fn there_is_no_order_between_types() {
        let of_each = [
            Datum::Null,
            Datum::from(1),
            Datum::from("1"),
            Datum::Bytes(b"1"[..].into()),
            Datum::List([1.into()].into()),
            Datum::Tuple([1.into()].into()),
            Datum::Set([1.into()].into()),
            Datum::Map([(1.into(), 1.into())].into()),
        ];
        for (at, a) in of_each.iter().enumerate() {
            for (other, b) in of_each.iter().enumerate() {
                let has_order = at == other
                    && matches!(rank(a), Rank::Number | Rank::Text | Rank::Bytes | Rank::List | Rank::Tuple);
                assert_eq!(compared(a, b), has_order.then_some(Ordering::Equal), "{a:?} and {b:?}");
                // Inside a list, what is equal is passed over.
                let (a, b) = (Datum::List([a.clone(), 1.into()].into()), Datum::List([b.clone(), 2.into()].into()));
                assert_eq!(compared(&a, &b), (at == other).then_some(Ordering::Less), "{a:?} and {b:?}");
            }
        }
    }

    proptest! {
        /// Two numbers that are both whole multiples of a power of two are ordered as the multiples are.
        #[test]
        fn a_float_and_an_integer_are_ordered_exactly(
            mantissa in -(1i64 << 53)..(1i64 << 53),
            shift in -10i32..60,
            near in -2i128..3,
            other in any::<i64>(),
        ) {
            let float = mantissa as f64 * 2f64.powi(shift);
            let whole = if shift < 0 { i128::from(mantissa) >> -shift } else { i128::from(mantissa) << shift };
            for integer in [whole + near, i128::from(other)] {
                let scaled = |integer: i128| if shift < 0 { integer << -shift } else { integer };
                let exact = if shift < 0 { i128::from(mantissa) } else { whole };
                let expected = scaled(integer).cmp(&exact);
                let (integer, float) = (number(integer), Datum::Float(float));
                prop_assert_eq!(compared(&integer, &float), Some(expected), "{}", format!("{integer:?} {float:?}"));
                prop_assert_eq!(compared(&float, &integer), Some(expected.reverse()));
            }
        }

        #[test]
        fn integers_of_any_size_are_ordered(a in any::<i128>(), b in any::<i128>(), by in 0u32..127) {
            for (a, b) in [(a, b), (a >> by, b), (a >> by, b >> by)] {
                prop_assert_eq!(compared(&number(a), &number(b)), Some(a.cmp(&b)));
            }
        }
    }
}
