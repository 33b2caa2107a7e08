//! Example programs for Holdfast, in `examples/`: `cargo run --release --example shared_counters`.
//!
//! The library itself is empty. The code in the project's README, in the guide for those who come from Python and in
//! the one to processes is compiled as its documentation tests.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/processes.md")]
struct Processes;

#[cfg(doctest)]
#[doc = include_str!("../../docs/from-multiprocessing.md")]
struct FromMultiprocessing;

#[cfg(doctest)]
#[doc = include_str!("../../docs/pipes.md")]
struct Pipes;

#[cfg(doctest)]
#[doc = include_str!("../../docs/pools.md")]
struct Pools;
