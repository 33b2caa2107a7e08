//! What is run when a result is there.

use std::fmt;

use super::cell::Callback;
use super::exits::Exits;
use super::result::Read;
use crate::error::Error;

/// What is called when a result of an asynchronous call is there: Python's `callback` and `error_callback`.
///
/// They run in this process, in the one thread, or task, that takes in the results of a pool handle, before whoever waits for the
/// result has it. So what they do delays other results; and who waits in one for another result of the same handle waits for
/// ever. One that panics is reported on standard error, and changes nothing else.
pub struct Callbacks<T> {
    callback: Option<Box<dyn FnOnce(T) + Send>>,
    error_callback: Option<Box<dyn FnOnce(Error) + Send>>,
}

impl<T> Callbacks<T> {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self { callback: None, error_callback: None }
    }

    /// What is called with the result.
    #[must_use]
    pub fn callback(self, callback: impl FnOnce(T) + Send + 'static) -> Self {
        Self { callback: Some(Box::new(callback)), ..self }
    }

    /// What is called with the error, if there is no result.
    #[must_use]
    pub fn error_callback(self, callback: impl FnOnce(Error) + Send + 'static) -> Self {
        Self { error_callback: Some(Box::new(callback)), ..self }
    }

    pub(super) fn reading(self, read: Read<T>, exits: Exits) -> Option<Callback>
    where
        T: 'static,
    {
        let Self { callback, error_callback } = self;
        if callback.is_none() && error_callback.is_none() {
            return None;
        }
        Some(Box::new(move |finished| match (read(finished), callback, error_callback) {
            (Ok(result), Some(callback), _) => callback(result),
            (Err(error), _, Some(callback)) => callback(exits.explain(error)),
            _ => {}
        }))
    }
}

impl<T> Default for Callbacks<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Callbacks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks")
            .field("callback", &self.callback.is_some())
            .field("error_callback", &self.error_callback.is_some())
            .finish()
    }
}
