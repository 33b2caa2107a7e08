//! The one table of errors.

use alloc::string::String;
use core::fmt;

use crate::{Reason, Refusal};

impl Refusal {
    /// A refusal for `reason`, explained by `message`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason: reason as i32, message: message.into() }
    }

    /// A request lacks the field `field`.
    #[must_use]
    pub fn missing(field: &str) -> Self {
        Self::new(Reason::Malformed, alloc::format!("the request lacks its field {field:?}"))
    }

    /// Why not.
    #[must_use]
    pub fn why(&self) -> Reason {
        self.reason()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Refusal {}

impl Reason {
    /// The gRPC status code that carries this reason, as a number.
    ///
    /// <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>
    #[must_use]
    pub fn grpc_code(self) -> i32 {
        const INVALID_ARGUMENT: i32 = 3;
        const NOT_FOUND: i32 = 5;
        const ALREADY_EXISTS: i32 = 6;
        const RESOURCE_EXHAUSTED: i32 = 8;
        const FAILED_PRECONDITION: i32 = 9;
        const OUT_OF_RANGE: i32 = 11;
        const UNIMPLEMENTED: i32 = 12;
        const INTERNAL: i32 = 13;
        const UNKNOWN: i32 = 2;
        const UNAUTHENTICATED: i32 = 16;
        const CANCELLED: i32 = 1;
        const DEADLINE_EXCEEDED: i32 = 4;
        match self {
            Self::Unspecified => UNKNOWN,
            Self::UnknownObject | Self::UnknownHandle | Self::MissingKey | Self::Empty | Self::UnknownToken => {
                NOT_FOUND
            }
            Self::UnknownOp => UNIMPLEMENTED,
            Self::WrongKind | Self::WrongType => FAILED_PRECONDITION,
            Self::Overflow | Self::IndexOutOfRange => OUT_OF_RANGE,
            Self::NanKey | Self::InvalidName | Self::ValueTooLarge | Self::Malformed => INVALID_ARGUMENT,
            Self::Quota => RESOURCE_EXHAUSTED,
            Self::Poisoned => INTERNAL,
            Self::Exists => ALREADY_EXISTS,
            Self::Unauthenticated => UNAUTHENTICATED,
            Self::MissingValue => NOT_FOUND,
            Self::MissingAttribute => NOT_FOUND,
            Self::NotHeld | Self::StaleFence | Self::OverRelease | Self::Broken | Self::ShutDown | Self::OtherSpec => {
                FAILED_PRECONDITION
            }
            Self::OutOfRange => INVALID_ARGUMENT,
            Self::Full => RESOURCE_EXHAUSTED,
            Self::Withdrawn => CANCELLED,
            Self::TimedOut => DEADLINE_EXCEEDED,
            Self::NotRegistered => FAILED_PRECONDITION,
            Self::NoJob => NOT_FOUND,
        }
    }
}
