//! Panics of functions, as what is told of them.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panicked {
    /// What it was called with.
    pub(crate) message: String,
    /// The place in the source; empty if a hook of the program's own kept it to itself.
    pub(crate) location: String,
    /// The calls that led there; empty as the place.
    pub(crate) backtrace: String,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, location, backtrace } = self;
        if location.is_empty() {
            return f.write_str(message);
        }
        write!(f, "{message}, at {location}\n{backtrace}")
    }
}

thread_local! {
    /// Whether somebody catches the panics of this thread, and the last that the hook saw then.
    static CAUGHT: RefCell<Option<Option<Panicked>>> = const { RefCell::new(None) };
}

/// Calls it, and catches its panic, which is not printed then. Panics of other threads are none of this one's.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !note(info) {
                before(info);
            }
        }));
    });
    let outer = CAUGHT.replace(Some(None));
    // What it was working on is dropped, or is the program's own matter, as with a thread that panics.
    let called = panic::catch_unwind(AssertUnwindSafe(call));
    // The last is the one that went on to here; those before it were caught further inside.
    let caught = CAUGHT.replace(outer).flatten();
    called.map_err(|payload| {
        caught.unwrap_or_else(|| Panicked {
            message: message(&*payload),
            location: String::new(),
            backtrace: String::new(),
        })
    })
}

/// Keeps what the hook is told, if somebody catches it.
fn note(info: &PanicHookInfo<'_>) -> bool {
    CAUGHT.with_borrow_mut(|caught| {
        let Some(caught) = caught else { return false };
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::force_capture().to_string();
        *caught = Some(Panicked { message: message(info.payload()), location, backtrace });
        true
    })
}

fn message(payload: &dyn Any) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without a message".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place_and_its_backtrace() {
        assert_eq!(catch(|| 5), Ok(5));
        let here = line!() + 1;
        let panicked = catch(|| panic!("of {} kinds", 2)).expect_err("it panicked");
        assert_eq!(panicked.message, "of 2 kinds");
        assert!(panicked.location.starts_with(&format!("{}:{here}:", file!())), "{}", panicked.location);
        assert!(
            panicked.backtrace.contains("a_panic_is_told_with_its_place_and_its_backtrace"),
            "{}",
            panicked.backtrace
        );
        assert_eq!(catch(|| panic::panic_any(7)).expect_err("it panicked").message, "a panic without a message");
    }

    #[test]
    fn the_panic_that_ends_it_is_told_and_not_one_that_was_caught_inside() {
        let panicked = catch(|| {
            let inner = catch(|| panic!("inner")).expect_err("it panicked");
            assert_eq!(inner.message, "inner");
            let _ = panic::catch_unwind(|| panic!("caught by the function"));
            panic!("outer")
        });
        assert_eq!(panicked.expect_err("it panicked").message, "outer");
    }
}
