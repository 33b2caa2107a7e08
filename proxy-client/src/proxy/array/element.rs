//! What an element of an array can be.

use holdfast_proto::ArrayElements;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an element of a shared array can be: an integer of 8 to 64 bits, a float, or a character.
///
/// No other types are elements.
pub trait Element: Wire + Copy + PartialEq + Serialize + DeserializeOwned {}

/// A number, to which can be added.
pub trait Number: Element {
    /// What can be added: `i64` to integers, also to those without a sign, and `f64` to floats.
    type Delta: Serialize;
}

/// How elements travel. Out of reach for other crates, so that there are no other elements.
pub trait Wire: Sized {
    /// The typecodes of arrays of such elements. The first is for those that are made.
    #[doc(hidden)]
    const TYPECODES: &'static [&'static str];
    /// The name of the type, for messages.
    #[doc(hidden)]
    const NAME: &'static str;

    /// Elements as a message.
    #[doc(hidden)]
    fn message(elements: &[Self]) -> ArrayElements;

    /// The elements in a message, if they are of this type.
    #[doc(hidden)]
    fn elements(message: ArrayElements) -> Option<Vec<Self>>;
}

macro_rules! numbers {
    ($($Number:ident in $field:ident as $Wire:ident, $Delta:ident, [$($typecode:literal),+], $back:expr;)+) => {$(
        impl Element for $Number {}

        impl Number for $Number {
            type Delta = $Delta;
        }

        impl Wire for $Number {
            const TYPECODES: &'static [&'static str] = &[$($typecode),+];
            const NAME: &'static str = stringify!($Number);

            fn message(elements: &[Self]) -> ArrayElements {
                let $field = elements.iter().map(|element| $Wire::from(*element)).collect();
                ArrayElements { $field, ..ArrayElements::default() }
            }

            fn elements(message: ArrayElements) -> Option<Vec<Self>> {
                message.$field.into_iter().map($back).collect()
            }
        }
    )+};
}

numbers! {
    i8 in integers as i64, i64, ["b"], |integer| Self::try_from(integer).ok();
    u8 in naturals as u64, i64, ["B"], |natural| Self::try_from(natural).ok();
    i16 in integers as i64, i64, ["h"], |integer| Self::try_from(integer).ok();
    u16 in naturals as u64, i64, ["H"], |natural| Self::try_from(natural).ok();
    i32 in integers as i64, i64, ["i"], |integer| Self::try_from(integer).ok();
    u32 in naturals as u64, i64, ["I"], |natural| Self::try_from(natural).ok();
    i64 in integers as i64, i64, ["q", "l"], Some;
    u64 in naturals as u64, i64, ["Q", "L"], Some;
    f32 in floats as f64, f64, ["f"], |float| Some(float as Self);
    f64 in floats as f64, f64, ["d"], Some;
}

impl Element for char {}

impl Wire for char {
    const TYPECODES: &'static [&'static str] = &["w", "u"];
    const NAME: &'static str = "char";

    fn message(elements: &[Self]) -> ArrayElements {
        ArrayElements { characters: elements.iter().collect(), ..ArrayElements::default() }
    }

    fn elements(message: ArrayElements) -> Option<Vec<Self>> {
        Some(message.characters.chars().collect())
    }
}
