//! What Holdfast is measured against.

pub(crate) mod cpython;
pub(crate) mod echo;
pub(crate) mod redis;
