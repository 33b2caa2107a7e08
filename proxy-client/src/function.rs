//! Functions that other processes can be asked to run.

mod arguments;
mod outcome;
pub(crate) mod panics;

use std::any::{TypeId, type_name};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::vec;

use holdfast_proto::{Datum, PoolOutcome};
use serde::Serialize;

pub use arguments::Arguments;
pub(crate) use arguments::write;
pub(crate) use outcome::{Came, is_result, read, returned};

use crate::codec::CodecError;
use crate::error::{Error, Result};

/// A function that another process can be asked to run with the arguments `A`, a tuple.
///
/// Every function with [`#[holdfast::function]`](macro@crate::function) over it is one, under its own name, so that what it is called with is
/// checked by the compiler; and so is [`Named`], for functions of other programs, in any language.
pub trait Function<A>: 'static {
    /// What it returns.
    type Output;

    /// The name under which it is registered. An error if it is not: [`Error::NotRegistered`].
    #[doc(hidden)]
    fn registered_name(&self) -> Result<Cow<'static, str>>;
}

/// A function by its name, that takes the arguments `A`, a tuple, and returns `R`. What it takes and returns is not checked
/// before it is called.
///
/// ```
/// use holdfast::Named;
///
/// // Served by a worker in Python.
/// let word_count = Named::<(String,), u64>::new("word_count");
/// # let _ = word_count;
/// ```
pub struct Named<A, R> {
    name: Cow<'static, str>,
    signature: PhantomData<fn(A) -> R>,
}

impl<A, R> Named<A, R> {
    /// The function of that name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), signature: PhantomData }
    }
}

impl<A, R> Clone for Named<A, R> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), signature: PhantomData }
    }
}

impl<A, R> fmt::Debug for Named<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Named").field(&self.name).finish()
    }
}

impl<A: 'static, R: 'static> Function<A> for Named<A, R> {
    type Output = R;

    fn registered_name(&self) -> Result<Cow<'static, str>> {
        Ok(self.name.clone())
    }
}

/// What can be called here.
#[doc(hidden)]
pub trait Call<A>: Function<A> {
    fn call(&self, arguments: A) -> Self::Output;
}

macro_rules! functions {
    ($(($($A:ident $a:ident)*))*) => {$(
        impl<F, R, $($A),*> Function<($($A,)*)> for F
        where
            F: Fn($($A),*) -> R + 'static,
        {
            type Output = R;

            fn registered_name(&self) -> Result<Cow<'static, str>> {
                let found = all().find(|registered| registered.item.id() == TypeId::of::<F>());
                let found = found.ok_or_else(|| Error::NotRegistered { function: type_name::<F>().into() })?;
                Ok(Cow::Borrowed(found.name))
            }
        }

        impl<F, R, $($A),*> Call<($($A,)*)> for F
        where
            F: Fn($($A),*) -> R + 'static,
        {
            fn call(&self, ($($a,)*): ($($A,)*)) -> R {
                self($($a),*)
            }
        }
    )*};
}

functions! {
    ()
    (A1 a1)
    (A1 a1 A2 a2)
    (A1 a1 A2 a2 A3 a3)
    (A1 a1 A2 a2 A3 a3 A4 a4)
    (A1 a1 A2 a2 A3 a3 A4 a4 A5 a5)
    (A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6)
    (A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6 A7 a7)
    (A1 a1 A2 a2 A3 a3 A4 a4 A5 a5 A6 a6 A7 a7 A8 a8)
}

/// A function with its arguments. Calling it says what it returned if that was an `Err`.
#[doc(hidden)]
#[expect(unreachable_pub, reason = "a method that the attribute's code never calls has it in its type")]
pub type Prepared<'a> = Box<dyn FnOnce() -> Result<(), String> + 'a>;

/// Who is told what came of a call.
#[doc(hidden)]
#[expect(unreachable_pub, reason = "as above")]
pub type Tell<'a> = &'a mut dyn FnMut(Result<Came, CodecError>);

/// A registered function, whatever its types.
#[doc(hidden)]
pub trait Callable: Sync {
    /// The type that this function alone has.
    fn id(&self) -> TypeId;
    /// Calls it with a tuple of arguments.
    fn call(&self, arguments: Datum) -> Result<PoolOutcome, CodecError>;
    /// Calls it with one of these after the other, until there are none or it panics, and tells what comes of each. They are
    /// tuples of arguments, or the only argument of each call.
    fn call_each(&self, calls: &mut vec::IntoIter<Datum>, are_tuples: bool, tell: Tell<'_>);
    /// Reads a tuple of arguments, and gives what calls it with them, where nobody asks what it returns: that says whether it
    /// failed.
    fn prepare(&self, arguments: Datum) -> Result<Prepared<'_>, CodecError>;
}

/// A function with its types.
#[doc(hidden)]
pub struct Item<F, A> {
    function: F,
    arguments: PhantomData<fn(A)>,
}

impl<F: Call<A>, A> Item<F, A> {
    #[doc(hidden)]
    pub const fn new(function: F) -> Self {
        Self { function, arguments: PhantomData }
    }
}

impl<F, A> Callable for Item<F, A>
where
    F: Call<A> + Sync,
    A: Arguments,
    F::Output: Serialize,
{
    fn id(&self) -> TypeId {
        TypeId::of::<F>()
    }

    fn call(&self, arguments: Datum) -> Result<PoolOutcome, CodecError> {
        returned(&self.function.call(A::read(arguments)?)).map(PoolOutcome::from)
    }

    fn call_each(&self, calls: &mut vec::IntoIter<Datum>, are_tuples: bool, tell: Tell<'_>) {
        for call in calls {
            let arguments = if are_tuples { A::read(call) } else { A::read_only(call) };
            tell(arguments.and_then(|arguments| returned(&self.function.call(arguments))));
        }
    }

    fn prepare(&self, arguments: Datum) -> Result<Prepared<'_>, CodecError> {
        let arguments = A::read(arguments)?;
        Ok(Box::new(move || {
            let returned = returned(&self.function.call(arguments));
            // What it returns need not be data, as nobody reads it.
            match returned {
                Ok(Came::Raised(raised)) => Err(raised.message),
                Ok(Came::Returned(_)) | Err(_) => Ok(()),
            }
        }))
    }
}

/// A function with its name, and where it got it.
#[doc(hidden)]
pub struct Registered {
    name: &'static str,
    file: &'static str,
    line: u32,
    item: &'static dyn Callable,
}

inventory::collect!(Registered);

impl Registered {
    #[doc(hidden)]
    pub const fn new(name: &'static str, file: &'static str, line: u32, item: &'static dyn Callable) -> Self {
        Self { name, file, line, item }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn item(&self) -> &'static dyn Callable {
        self.item
    }
}

/// All functions that are registered in this program.
pub(crate) fn all() -> impl Iterator<Item = &'static Registered> {
    inventory::iter::<Registered>.into_iter()
}

/// The one of that name.
pub(crate) fn find(name: &str) -> Option<&'static Registered> {
    all().find(|registered| registered.name == name)
}

/// Two functions of one name, if there are any, as a person is told of them.
pub(crate) fn ambiguity() -> Option<String> {
    let mut known: Vec<_> = all().collect();
    known.sort_by_key(|registered| (registered.name, registered.file, registered.line));
    let [first, second] = *known.windows(2).find(|pair| pair[0].name == pair[1].name)? else { return None };
    Some(format!(
        "two functions are registered as {:?}, at {}:{} and at {}:{}: give one of them another name, with \
         #[holdfast::function(name = \"...\")]",
        first.name, first.file, first.line, second.file, second.line
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[crate::function]
    fn sum(a: i64, b: i64) -> i64 {
        a + b
    }

    #[crate::function(name = "text.length")]
    fn length(text: String) -> usize {
        text.len()
    }

    #[crate::function]
    fn half(n: i64) -> Result<i64, String> {
        if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }

    fn unregistered() {}

    fn call(name: &str, arguments: &impl Serialize) -> PoolOutcome {
        let arguments = crate::codec::to_datum(arguments).expect("data");
        find(name).expect("registered").item.call(arguments).expect("it takes these")
    }

    /// Calls it with its only argument.
    fn only(name: &str, argument: Datum) -> Result<Came, CodecError> {
        let mut came = None;
        let mut calls = vec![argument].into_iter();
        find(name).expect("registered").item.call_each(&mut calls, false, &mut |told| came = Some(told));
        came.expect("one was told")
    }

    #[test]
    fn a_function_is_found_by_itself_and_by_its_name() {
        assert_eq!(sum.registered_name().expect("registered"), "sum");
        assert_eq!(length.registered_name().expect("registered"), "text.length");
        assert!(
            matches!(unregistered.registered_name(), Err(Error::NotRegistered { function }) if function.ends_with("unregistered"))
        );
        assert_eq!(ambiguity(), None);
    }

    #[test]
    fn what_it_returns_comes_back() {
        assert_eq!(read::<i64>(call("sum", &(2, 3))).expect("a number"), 5);
        assert_eq!(read::<usize>(call("text.length", &("abc",))).expect("a number"), 3);
        let only = only("text.length", Datum::Text("four".into())).map(PoolOutcome::from);
        assert_eq!(read::<usize>(only.expect("it takes a text")).expect("a number"), 4);
    }

    #[test]
    fn an_error_comes_back_as_that_error_or_as_what_was_raised() {
        type Half = Result<i64, String>;
        assert_eq!(read::<Half>(call("half", &(4,))).expect("an outcome"), Ok(2));
        assert_eq!(read::<Half>(call("half", &(5,))).expect("an outcome"), Err("5 is odd".to_owned()));
        assert_eq!(read::<i64>(call("half", &(4,))).expect("a number"), 2);
        let raised = read::<i64>(call("half", &(5,))).expect_err("it was raised");
        assert!(matches!(&raised, Error::Raised(raised) if raised.message == "5 is odd"), "{raised:?}");
    }

    #[crate::function]
    fn unanswered() -> Result<i64> {
        Err(Error::Cancelled)
    }

    #[test]
    fn an_error_of_this_library_comes_back_with_its_message() {
        let says = |error| matches!(&error, Error::Raised(raised) if raised.message == Error::Cancelled.to_string());
        let returned = read::<Result<i64>>(call("unanswered", &[(); 0])).expect("an outcome");
        assert!(returned.is_err_and(says));
        assert!(says(read::<i64>(call("unanswered", &[(); 0])).expect_err("it was raised")));
    }

    #[test]
    fn arguments_that_do_not_fit_are_an_error() {
        for arguments in [Datum::Null, Datum::Tuple([Datum::Null, Datum::Null].into()), Datum::Tuple([].into())] {
            assert!(find("sum").expect("registered").item.call(arguments).is_err());
        }
        assert!(only("sum", Datum::Integer(1)).is_err());
    }
}
