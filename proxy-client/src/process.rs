//! Processes that this program starts, and what they are started with.

pub(crate) mod descriptors;
