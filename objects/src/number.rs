//! Addition, for every kind that counts.

use alloc::format;
use core::fmt::Display;

use holdfast_proto::{Datum, Reason, Refusal};

/// `number + delta`: two integers make an integer, a float on either side makes a float.
///
/// `place` says for the refusals where the number is. Refused: `WRONG_TYPE` if either is not an integer of 64 bits or a
/// float; `OVERFLOW` if the sum of integers does not fit 64 bits, or that of finite numbers is not finite.
#[inline]
pub(crate) fn add(number: &Datum, delta: &Datum, place: &dyn Display) -> Result<Datum, Refusal> {
    if let (Datum::Integer(number), Datum::Integer(delta)) = (number, delta)
        && let Some(sum) = number.checked_add(*delta)
    {
        return Ok(Datum::Integer(sum));
    }
    add_slowly(number, delta, place)
}

/// All but what nearly always comes.
#[inline(never)]
fn add_slowly(number: &Datum, delta: &Datum, place: &dyn Display) -> Result<Datum, Refusal> {
    let sum = match (number, delta) {
        (Datum::Integer(_), Datum::Integer(_)) => None,
        _ => {
            let delta = as_float(delta).ok_or_else(|| wrong_type(delta, &"the delta"))?;
            let number = as_float(number).ok_or_else(|| wrong_type(number, place))?;
            let sum = number + delta;
            let overflows = sum.is_infinite() && number.is_finite() && delta.is_finite();
            (!overflows).then_some(Datum::Float(sum))
        }
    };
    sum.ok_or_else(|| {
        let message = format!("{} + {}: the sum does not fit its type, {place} stays", number.brief(), delta.brief());
        Refusal::new(Reason::Overflow, message)
    })
}

fn as_float(datum: &Datum) -> Option<f64> {
    match datum {
        Datum::Integer(integer) => Some(*integer as f64),
        Datum::Float(float) => Some(*float),
        _ => None,
    }
}

fn wrong_type(datum: &Datum, place: &dyn Display) -> Refusal {
    let message = format!("{place} is {}: only integers of 64 bits and floats can be added", datum.type_name());
    Refusal::new(Reason::WrongType, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_by_the_rules() {
        let int = Datum::Integer;
        let float = Datum::Float;
        let sums = [
            (int(1), int(2), Ok(int(3))),
            (int(i64::MAX), int(-1), Ok(int(i64::MAX - 1))),
            (int(i64::MAX), int(1), Err(Reason::Overflow)),
            (int(i64::MIN), int(-1), Err(Reason::Overflow)),
            (int(1), float(0.5), Ok(float(1.5))),
            (float(0.5), int(1), Ok(float(1.5))),
            (int(i64::MAX), float(1.0), Ok(float(9_223_372_036_854_775_808.0))),
            (float(f64::MAX), float(f64::MAX), Err(Reason::Overflow)),
            (float(f64::MIN), float(f64::MIN), Err(Reason::Overflow)),
            (float(f64::INFINITY), float(1.0), Ok(float(f64::INFINITY))),
            (Datum::Boolean(true), int(1), Err(Reason::WrongType)),
            (int(1), Datum::Boolean(true), Err(Reason::WrongType)),
            (Datum::Boolean(true), float(1.0), Err(Reason::WrongType)),
            (Datum::Null, int(1), Err(Reason::WrongType)),
            (Datum::from("1"), int(1), Err(Reason::WrongType)),
            (Datum::BigInteger([1; 9].into()), int(1), Err(Reason::WrongType)),
            (int(1), Datum::BigInteger([1; 9].into()), Err(Reason::WrongType)),
        ];
        for (number, delta, sum) in sums {
            let is = add(&number, &delta, &"the number").map_err(|refusal| refusal.why());
            assert_eq!(is, sum, "{number:?} + {delta:?}");
        }
        assert!(matches!(add(&float(f64::NAN), &int(1), &"it"), Ok(Datum::Float(sum)) if sum.is_nan()));
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let refusal = add(&Datum::from("x"), &Datum::from(1), &"the value under \"k\"").unwrap_err();
        assert_eq!(
            refusal.message,
            "the value under \"k\" is a text: only integers of 64 bits and floats can be added"
        );
    }
}
