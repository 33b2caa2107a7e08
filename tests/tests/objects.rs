//! Every method of every proxy, through both libraries. What is expected is written once, in `objects/`.

use std::sync::OnceLock;

use holdfast_tests::{Manager, Setup, program};

/// Where the managers listen.
fn setup() -> Setup {
    Setup::new(program!())
}

include!("objects/libraries.rs");
