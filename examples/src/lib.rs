//! Example programs for Holdfast, in `examples/`: `cargo run --release --example shared_counters`.
//!
//! The library itself is empty. The code in the project's README is compiled as its documentation tests.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
