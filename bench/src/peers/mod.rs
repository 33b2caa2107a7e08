//! What Holdfast is measured against.

pub(crate) mod cpython;
pub(crate) mod echo;
pub(crate) mod etcd;
mod http;
pub(crate) mod redis;
