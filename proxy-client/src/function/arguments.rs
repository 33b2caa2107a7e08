//! The arguments of a function, as a tuple.

use holdfast_proto::Datum;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{CodecError, from_datum, to_datum};

/// What a function is called with: a tuple of up to eight values that can be sent.
pub trait Arguments: Sized + 'static {
    /// Reads all of them from a tuple.
    #[doc(hidden)]
    fn read(arguments: Datum) -> Result<Self, CodecError>;

    /// Reads the only one.
    #[doc(hidden)]
    fn read_only(argument: Datum) -> Result<Self, CodecError>;
}

/// Writes all of them as a tuple, as every language knows it: serde has null for the empty one.
pub(crate) fn write<A: Serialize>(arguments: &A) -> Result<Datum, CodecError> {
    Ok(match to_datum(arguments)? {
        Datum::Null => Datum::Tuple([].into()),
        tuple => tuple,
    })
}

/// There are so many, and not one.
fn not_one(arguments: usize) -> CodecError {
    let problem = format!("the function takes {arguments} arguments, and is called with one: say starmap, with tuples");
    CodecError::Invalid(problem.into())
}

impl Arguments for () {
    fn read(arguments: Datum) -> Result<Self, CodecError> {
        match arguments {
            Datum::Tuple(none) | Datum::List(none) if none.is_empty() => Ok(()),
            other => from_datum::<[(); 0]>(other).map(|_| ()),
        }
    }

    fn read_only(_: Datum) -> Result<Self, CodecError> {
        Err(not_one(0))
    }
}

impl<A: DeserializeOwned + 'static> Arguments for (A,) {
    fn read(arguments: Datum) -> Result<Self, CodecError> {
        from_datum(arguments)
    }

    fn read_only(argument: Datum) -> Result<Self, CodecError> {
        Ok((from_datum(argument)?,))
    }
}

macro_rules! arguments {
    ($($count:literal ($($A:ident)*))*) => {$(
        impl<$($A: DeserializeOwned + 'static),*> Arguments for ($($A,)*) {
            fn read(arguments: Datum) -> Result<Self, CodecError> {
                from_datum(arguments)
            }

            fn read_only(_: Datum) -> Result<Self, CodecError> {
                Err(not_one($count))
            }
        }
    )*};
}

arguments! {
    2 (A1 A2)
    3 (A1 A2 A3)
    4 (A1 A2 A3 A4)
    5 (A1 A2 A3 A4 A5)
    6 (A1 A2 A3 A4 A5 A6)
    7 (A1 A2 A3 A4 A5 A6 A7)
    8 (A1 A2 A3 A4 A5 A6 A7 A8)
}
