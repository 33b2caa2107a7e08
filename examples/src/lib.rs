//! Example programs for Holdfast.
