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
        let backtrace = frames_of_function(&Backtrace::force_capture().to_string());
        *caught = Some(Panicked { message: message(info.payload()), location, backtrace });
        true
    })
}

/// Of a backtrace the part between what panicking takes and the call of the function: what a person can do something about.
/// All of it, if that part is not to be found, as in a program without symbols.
fn frames_of_function(backtrace: &str) -> String {
    // How a panic begins, from within.
    const PANICKING: [&str; 5] =
        ["rust_begin_unwind", "core::panicking::", "std::panicking::", "core::option::", "core::result::"];
    let begins_frame =
        |line: &str| line.trim_start().split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    let mut frames: Vec<String> = Vec::new();
    for line in backtrace.lines() {
        match frames.last_mut() {
            Some(frame) if !begins_frame(line) => *frame = format!("{frame}\n{line}"),
            _ => frames.push(line.to_owned()),
        }
    }
    let symbol = |frame: &str| frame.lines().next().unwrap_or_default().to_owned();
    let is_panicking = |frame: &str| PANICKING.iter().any(|name| symbol(frame).contains(name));
    let from_panic = frames.iter().skip_while(|frame| !is_panicking(frame)).skip_while(|frame| is_panicking(frame));
    let rest: Vec<&str> = from_panic.map(String::as_str).collect();
    match rest.iter().position(|frame| symbol(frame).contains("holdfast::function::")) {
        Some(length @ 1..) => rest[..length].join("\n"),
        _ => backtrace.to_owned(),
    }
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
    fn of_a_backtrace_the_frames_of_the_function_are_told() {
        let trace = "   0: holdfast::function::panics::note\n             at a.rs:1:2\n   1: __rustc::rust_begin_unwind\n   \
                     2: core::panicking::panic_fmt\n             at b.rs:3:4\n   3: mine::helper\n             at mine.rs:5:6\n   \
                     4: mine::work\n   5: holdfast::function::Call::call\n   6: std::panicking::catch_unwind\n   7: main";
        // What catches it, further out, is called panicking too.
        assert_eq!(frames_of_function(trace), "   3: mine::helper\n             at mine.rs:5:6\n   4: mine::work");
        for unknown in ["", "disabled backtrace", "   0: <unknown>\n   1: <unknown>"] {
            assert_eq!(frames_of_function(unknown), unknown);
        }
    }

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
