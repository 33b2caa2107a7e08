//! The shared objects of Holdfast: pure state machines, one file per kind.
//!
//! There is no clock, socket, file, thread, randomness or async in this crate, and there cannot be: it is `no_std` and
//! forbids unsafe code. What an object needs of the world arrives as data, in the op or in the [`Turn`]; the same inputs
//! always give the same answers and the same state.
//!
//! The kinds are listed in [`catalog`]; what an object is stands in [`Object`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod array;
pub mod barrier;
pub mod catalog;
mod client;
pub mod dict;
mod door;
pub mod event;
mod holding;
mod key;
pub mod latch;
pub mod list;
pub mod lock;
pub mod mutant;
pub mod namespace;
mod number;
mod object;
mod order;
mod ordered_map;
mod page;
pub mod pool;
pub mod queue;
pub mod rwlock;
pub mod semaphore;
pub mod set;
mod slice;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod turn;
pub mod value;
mod wait_queue;

pub use client::Client;
pub use object::{Answer, Creation, Ended, Object, Patience, Room, Withdrawal};
pub use turn::{CallId, CallState, LARGE, Remains, SessionId, Turn, Waiters, Woken};
