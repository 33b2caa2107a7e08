//! Example programs for Holdfast, in `examples/`: `cargo run --release --example shared_counters`.
//!
//! The library itself is empty. The code in the project's README and in the guide for those who come from Python is
//! compiled as its documentation tests.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/from-multiprocessing.md")]
struct FromMultiprocessing;

#[cfg(doctest)]
#[doc = include_str!("../../docs/pools.md")]
struct Pools;
