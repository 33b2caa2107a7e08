//! Whole-system tests of Holdfast.
