//! What the tests of pools start: each scenario is a program that has pools, whose workers are this program again. The first argument is
//! the scenario; one that goes wrong panics.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong is to panic")]

#[path = "pools/async_library.rs"]
mod async_library;
#[path = "pools/callers.rs"]
mod callers;
#[path = "pools/deaths.rs"]
mod deaths;
#[path = "pools/errors.rs"]
mod errors;
#[path = "pools/functions.rs"]
mod functions;
#[path = "pools/methods.rs"]
mod methods;
#[path = "pools/results.rs"]
mod results;
#[path = "pools/workers.rs"]
mod workers;

fn main() {
    let _family = holdfast::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["methods"] => methods::methods(),
        ["imap"] => methods::imap(),
        ["parts"] => methods::parts(),
        ["proxies"] => methods::proxies(),
        ["results"] => results::results(),
        ["callbacks"] => results::callbacks(),
        ["executor"] => results::executor(),
        ["errors"] => errors::errors(),
        ["broken"] => errors::broken(),
        ["tries"] => deaths::tries(),
        ["storm", calls] => deaths::storm(calls.parse().unwrap()),
        ["pool-dropped"] => deaths::pool_dropped(),
        ["caller", what] => callers::caller(what),
        ["options"] => workers::options(),
        ["joined"] => workers::joined(),
        ["watch"] => workers::watch(),
        ["async"] => async_library::methods(),
        ["async-executor"] => async_library::executor(),
        _ => panic!("no such scenario: {arguments:?}"),
    }
}

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    holdfast_tests::until(what, || is_so().then_some(()));
}
