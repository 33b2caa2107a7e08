//! What both ends of Holdfast agree on.
//!
//! Messages and the table of ops come from the `.proto` files in `holdfast/v1`, through `build.rs`; the rest is the
//! handshake as a machine without I/O ([`scram`]), the data that users store ([`Datum`]), the one table of errors
//! ([`Refusal`]) and its form as a gRPC status ([`status`]), and the framing of the session stream ([`frame`]).
//!
//! There is no socket, clock, file, thread or source of randomness here: the crate is `no_std`. Two features add to it
//! for the programs at both ends: `std`, where a manager is found on a machine ([`place`]: addresses, default paths and
//! the authkey file) and what its TLS [`certificate`] says, and `grpc`, tonic's server for the handshake and the
//! descriptors of all services.

#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod buffered;
#[cfg(feature = "std")]
pub mod certificate;
pub mod datum;
mod fields;
pub mod frame;
pub mod ops;
#[cfg(feature = "std")]
pub mod place;
mod refusal;
pub mod scram;
pub mod status;
mod written;

pub use buffered::Buffered;
pub use datum::Datum;

/// The version of the session protocol, as sent in [`Hello`].
pub const PROTOCOL: u32 = 1;

/// The metadata key under which the token of an authenticated connection is sent, in binary.
pub const TOKEN_METADATA: &str = "holdfast-token-bin";

/// The path of the session stream.
pub const CONNECT_PATH: &str = "/holdfast.v1.SessionService/Connect";

/// The metadata key of a unary call under which the object is named, percent-encoded.
pub const OBJECT_METADATA: &str = "holdfast-object";

/// The metadata key of a unary call under which the object is named, in binary: the name in UTF-8.
pub const OBJECT_BINARY_METADATA: &str = "holdfast-object-bin";

/// The metadata key of a unary call under which the handle of the object is given, in decimal.
pub const HANDLE_METADATA: &str = "holdfast-handle";
/// The metadata of a unary call that comes with a fence: a number in decimal. See `Call.fence`.
pub const FENCE_METADATA: &str = "holdfast-fence";

/// The metadata key under which a unary call is told its index, in decimal, among the trailers.
pub const INDEX_METADATA: &str = "holdfast-index";

/// The metadata that tells the incarnation of the manager where a session was not resumed: 16 bytes.
pub const INCARNATION_METADATA: &str = "holdfast-incarnation-bin";

/// All that the `.proto` files say, as an encoded `google.protobuf.FileDescriptorSet`, with what they import.
#[cfg(feature = "grpc")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

mod generated {
    #![allow(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::map_identity,
        clippy::semicolon_if_nothing_returned,
        reason = "written by prost and tonic, differently with each feature"
    )]
    include!(concat!(env!("OUT_DIR"), "/holdfast.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/holdfast.v1.references.rs"));
}
pub use generated::*;
