//! Every method of every proxy, through both libraries, over TLS. What is expected is written once, in `objects/promises.rs`.

use std::sync::OnceLock;

use holdfast_tests::{Manager, Setup, program};

/// Where the managers listen.
fn setup() -> Setup {
    Setup::new(program!()).only_tls()
}

include!("objects/libraries.rs");
