//! THE list of kinds, and what follows from it: any op, any reply, any object.
//!
//! A new kind is one line in the list at the end of this file, beside its `.proto`, its machine and its proxy.

use alloc::boxed::Box;
use alloc::vec::Vec;
use alloc::{format, string::String};

use bytes::Bytes;
use holdfast_proto::datum::{HasReferences, Reference};
use holdfast_proto::frame::Out;
use holdfast_proto::ops::{Op as _, Response, Unreadable, Writer};
use holdfast_proto::{Reason, Refusal};
use prost::Message as _;

use crate::{Answer, CallId, Creation, Ended, Object, SessionId, Turn, Withdrawal};

/// What there is to know about a kind without having an object of it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its number: the option of its service.
    pub number: u32,
    /// Its name, for people.
    pub name: &'static str,
    /// The full name of its service, as it stands in the paths of RPCs.
    pub service: &'static str,
    /// Number and name of each of its ops, by number.
    pub ops: fn() -> &'static [(u32, &'static str)],
}

/// The name of the kind with this number, for messages.
#[must_use]
pub fn kind_name(kind: u32) -> &'static str {
    KINDS.iter().find(|known| known.number == kind).map_or("unknown kind", |known| known.name)
}

/// Everything that the list of kinds implies. `Kind` is `module::Kind` here, and `module` its ops in `holdfast_proto`.
macro_rules! catalogue {
    ($($Kind:ident in $module:ident),+ $(,)?) => {
        /// All kinds.
        pub const KINDS: &[Kind] = &[$(Kind {
            number: holdfast_proto::$module::KIND,
            name: holdfast_proto::$module::NAME,
            service: holdfast_proto::$module::SERVICE,
            ops: <holdfast_proto::$module::Op as holdfast_proto::ops::Op>::table,
        }),+];

        /// One call of any kind: what is asked of the object.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the kind it is named after")]
        pub enum AnyOp { $($Kind(holdfast_proto::$module::Op)),+ }

        /// What any call is answered with.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the kind it is named after")]
        pub enum AnyReply { $($Kind(holdfast_proto::$module::Reply)),+ }

        $(impl From<holdfast_proto::$module::Reply> for AnyReply {
            fn from(reply: holdfast_proto::$module::Reply) -> Self {
                Self::$Kind(reply)
            }
        })+

        /// An object of any kind: boxed, since the largest kind has ten times the size of the smallest.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "each variant is the kind it is named after")]
        pub enum AnyObject { $($Kind(Box<crate::$module::$Kind>)),+ }

        impl AnyOp {
            /// Reads the request of op number `op` of `kind`. Refused: `UNKNOWN_OP`, `MALFORMED`.
            #[inline]
            pub fn decode(kind: u32, op: u32, request: &[u8]) -> Result<Self, Refusal> {
                match kind {
                    $(holdfast_proto::$module::KIND => match holdfast_proto::$module::Op::decode(op, request) {
                        Ok(op) => Ok(Self::$Kind(op)),
                        Err(unreadable) => Err(unreadable_op(kind, op, &unreadable)),
                    },)+
                    _ => Err(unknown_kind(kind)),
                }
            }

            /// The same for a request that lies in `buffer`, whose long bytes may share it.
            #[inline(never)]
            pub fn decode_in(kind: u32, op: u32, request: &[u8], buffer: &Bytes) -> Result<Self, Refusal> {
                match kind {
                    $(holdfast_proto::$module::KIND => match holdfast_proto::$module::Op::decode_in(op, request, buffer) {
                        Ok(op) => Ok(Self::$Kind(op)),
                        Err(unreadable) => Err(unreadable_op(kind, op, &unreadable)),
                    },)+
                    _ => Err(unknown_kind(kind)),
                }
            }

            /// The number of the kind whose op this is.
            #[must_use]
            pub fn kind(&self) -> u32 {
                match self { $(Self::$Kind(_) => holdfast_proto::$module::KIND),+ }
            }

            /// The number of the op within its kind.
            #[must_use]
            pub fn number(&self) -> u32 {
                match self { $(Self::$Kind(op) => op.number()),+ }
            }

            /// Appends the request.
            pub fn encode(&self, into: &mut Vec<u8>) {
                match self { $(Self::$Kind(op) => op.encode(into)),+ }
            }
        }

        impl HasReferences for AnyOp {
            #[inline]
            fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
                match self { $(Self::$Kind(op) => op.visit_references(visit)),+ }
            }

            #[inline]
            fn change_references<E>(
                &mut self,
                change: &mut dyn FnMut(&mut Reference) -> Result<(), E>,
            ) -> Result<(), E> {
                match self { $(Self::$Kind(op) => op.change_references(change)),+ }
            }
        }

        impl HasReferences for AnyReply {
            #[inline]
            fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
                match self { $(Self::$Kind(reply) => reply.visit_references(visit)),+ }
            }

            #[inline]
            fn change_references<E>(
                &mut self,
                change: &mut dyn FnMut(&mut Reference) -> Result<(), E>,
            ) -> Result<(), E> {
                match self { $(Self::$Kind(reply) => reply.change_references(change)),+ }
            }
        }

        impl Response for AnyReply {
            #[inline]
            fn encoded_len(&self) -> usize {
                match self { $(Self::$Kind(reply) => reply.encoded_len()),+ }
            }

            #[inline]
            fn encode(&self, into: &mut impl Out) {
                match self { $(Self::$Kind(reply) => reply.encode(into)),+ }
            }

            #[inline]
            fn write(self, writer: impl Writer) {
                match self { $(Self::$Kind(reply) => reply.write(writer)),+ }
            }
        }

        impl AnyObject {
            /// Makes an object from the encoded spec of its kind, in which `resolve` is given each reference to replace.
            /// Refused: `UNKNOWN_OP`, `MALFORMED`, and as the kind and `resolve` do.
            pub fn create(
                kind: u32,
                spec: &[u8],
                creation: &mut Creation,
                resolve: &mut dyn FnMut(&mut Reference) -> Result<(), Refusal>,
            ) -> Result<Self, Refusal> {
                match kind {
                    $(holdfast_proto::$module::KIND => {
                        let spec = <crate::$module::$Kind as Object>::Spec::decode(spec);
                        let mut spec = spec.map_err(|error| unreadable_part(kind, "spec", &error))?;
                        spec.change_references(resolve)?;
                        crate::$module::$Kind::create(spec, creation).map(|object| Self::$Kind(Box::new(object)))
                    })+
                    _ => Err(unknown_kind(kind)),
                }
            }

            /// Makes the object that had this [`state`](Self::state). Refused: `UNKNOWN_OP`, `MALFORMED`, `QUOTA`.
            pub fn restore(kind: u32, state: &[u8], creation: &mut Creation) -> Result<Self, Refusal> {
                match kind {
                    $(holdfast_proto::$module::KIND => {
                        let state = <crate::$module::$Kind as Object>::State::decode(state);
                        let state = state.map_err(|error| unreadable_part(kind, "saved state", &error))?;
                        crate::$module::$Kind::restore(state, creation).map(|object| Self::$Kind(Box::new(object)))
                    })+
                    _ => Err(unknown_kind(kind)),
                }
            }

            /// The whole state: the encoded state message of the kind.
            #[must_use]
            pub fn state(&self) -> Vec<u8> {
                match self { $(Self::$Kind(object) => object.state().encode_to_vec()),+ }
            }

            /// One call. Refused: `WRONG_KIND` if the op is of another kind, and as the kind does.
            #[inline]
            pub fn apply(&mut self, op: AnyOp, turn: &mut Turn) -> Answer<AnyReply> {
                match (self, op) {
                    $((Self::$Kind(object), AnyOp::$Kind(op)) => object.apply(op, turn).map(AnyReply::$Kind),)+
                    (object, op) => Answer::Refused(wrong_kind(object.kind(), op.kind())),
                }
            }

            /// A call is not to wait any longer: see [`Object::withdraw`].
            pub fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
                match self { $(Self::$Kind(object) => object.withdraw(call, why, turn)),+ }
            }

            /// Nobody will have the answer to a call: see [`Object::undo`].
            pub fn undo(&mut self, call: CallId, turn: &mut Turn) {
                match self { $(Self::$Kind(object) => object.undo(call, turn)),+ }
            }

            /// The caller has the answer to a call.
            pub fn acknowledge(&mut self, call: CallId, turn: &mut Turn) {
                match self { $(Self::$Kind(object) => object.acknowledge(call, turn)),+ }
            }

            /// Whether a session holds something here, or waits.
            #[must_use]
            pub fn involves(&self, session: SessionId) -> bool {
                match self { $(Self::$Kind(object) => object.involves(session)),+ }
            }

            /// Shows `visit` each call that waits.
            pub fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
                match self { $(Self::$Kind(object) => object.visit_waiting(visit)),+ }
            }

            /// Whether somebody who asks for an object with this encoded spec may have this one. Refused: `OTHER_SPEC`,
            /// `MALFORMED`.
            pub fn admits(&self, spec: &[u8]) -> Result<(), Refusal> {
                match self {
                    $(Self::$Kind(object) => {
                        let spec = <crate::$module::$Kind as Object>::Spec::decode(spec);
                        object.admits(&spec.map_err(|error| unreadable_part(self.kind(), "spec", &error))?)
                    }),+
                }
            }

            /// A session that used this object ended: gives up what it held here.
            pub fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
                match self { $(Self::$Kind(object) => object.leave(session, how, turn)),+ }
            }

            /// The number of its kind.
            #[must_use]
            pub fn kind(&self) -> u32 {
                match self { $(Self::$Kind(_) => holdfast_proto::$module::KIND),+ }
            }

            /// The name of its kind, for people.
            #[must_use]
            pub fn kind_name(&self) -> &'static str {
                match self { $(Self::$Kind(_) => holdfast_proto::$module::NAME),+ }
            }

            /// Whether it is as one that was just created with the default spec.
            #[must_use]
            pub fn is_vacant(&self) -> bool {
                match self { $(Self::$Kind(object) => object.is_vacant()),+ }
            }

            /// The bytes of user data in it, as the limits count them.
            #[inline]
            #[must_use]
            pub fn bytes(&self) -> u64 {
                match self { $(Self::$Kind(object) => object.bytes()),+ }
            }

            /// Shows `visit` each reference to another object that is in it, once.
            pub fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
                match self { $(Self::$Kind(object) => object.visit_references(visit)),+ }
            }

            /// Its state as text.
            #[cfg(any(test, feature = "testing"))]
            #[must_use]
            pub fn shown_state(&self) -> String {
                match self { $(Self::$Kind(object) => format!("{:?}", object.state())),+ }
            }

            /// Panics if it is not as its kind says that it always is.
            #[cfg(any(test, feature = "testing"))]
            pub fn check_invariants(&self) {
                match self { $(Self::$Kind(object) => object.check_invariants()),+ }
            }

            /// How many elements it has, if its kind has any.
            #[must_use]
            pub fn elements(&self) -> Option<u64> {
                match self { $(Self::$Kind(object) => object.elements()),+ }
            }
        }

        /// An arbitrary spec of a kind, encoded, as its [`Tested`](crate::testing::Tested) makes them.
        #[cfg(any(test, feature = "testing"))]
        #[must_use]
        pub fn arbitrary_spec(kind: u32, source: &mut crate::testing::Source) -> Vec<u8> {
            use crate::testing::Tested as _;
            match kind {
                $(holdfast_proto::$module::KIND => crate::$module::$Kind::arbitrary_spec(source).encode_to_vec(),)+
                _ => panic!("no kind {kind}"),
            }
        }

        #[cfg(any(test, feature = "testing"))]
        impl AnyOp {
            /// An arbitrary op of a kind, as its [`Tested`](crate::testing::Tested) makes them.
            #[must_use]
            pub fn arbitrary(kind: u32, source: &mut crate::testing::Source) -> Self {
                use crate::testing::Tested as _;
                match kind {
                    $(holdfast_proto::$module::KIND => Self::$Kind(crate::$module::$Kind::arbitrary_op(source)),)+
                    _ => panic!("no kind {kind}"),
                }
            }

            /// What the op promises.
            #[must_use]
            pub fn promise(&self) -> crate::testing::Promise {
                use crate::testing::Tested as _;
                match self { $(Self::$Kind(op) => crate::$module::$Kind::promise(op)),+ }
            }
        }
    };
}

// An op is moved several times between its bytes and its object, each time as the largest of all: a request that would make all
// others larger has its large field in a box (`build.rs`).
const _: () = assert!(size_of::<AnyOp>() <= 96, "an op has become larger");

#[cold]
fn unknown_kind(kind: u32) -> Refusal {
    let known: Vec<String> = KINDS.iter().map(|known| format!("{} ({})", known.name, known.number)).collect();
    let message =
        format!("there is no kind {kind}: this manager knows {}. A newer manager may know more", known.join(", "));
    Refusal::new(Reason::UnknownOp, message)
}

#[cold]
fn unreadable_op(kind: u32, op: u32, unreadable: &Unreadable) -> Refusal {
    let ops = KINDS.iter().find(|known| known.number == kind).map_or(&[][..], |known| (known.ops)());
    match unreadable {
        Unreadable::Unknown => {
            let known: Vec<String> = ops.iter().map(|(number, name)| format!("{name} ({number})")).collect();
            let message = format!(
                "{} has no op {op}: this manager knows {}. A newer manager may know more",
                kind_name(kind),
                known.join(", ")
            );
            Refusal::new(Reason::UnknownOp, message)
        }
        Unreadable::Malformed(error) => {
            let name = ops.iter().find(|(number, _)| *number == op).map_or("?", |(_, name)| name);
            unreadable_part(kind, &format!("request of {name}"), error)
        }
    }
}

#[cold]
fn unreadable_part(kind: u32, part: &str, error: &prost::DecodeError) -> Refusal {
    let message = format!("the {part} is not the message that the kind {} has for it: {error}", kind_name(kind));
    Refusal::new(Reason::Malformed, message)
}

#[cold]
fn wrong_kind(object: u32, op: u32) -> Refusal {
    let message = format!(
        "the object is of the kind {} and the op of the kind {}: open an object of that kind",
        kind_name(object),
        kind_name(op)
    );
    Refusal::new(Reason::WrongKind, message)
}

catalogue! {
    Dict in dict,
    Value in value,
    List in list,
    Set in set,
    Array in array,
    Namespace in namespace,
    Lock in lock,
    Rwlock in rwlock,
    Semaphore in semaphore,
    Event in event,
    Barrier in barrier,
    Latch in latch,
    Queue in queue,
    Pool in pool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Room;

    #[test]
    fn numbers_and_names_are_distinct() {
        for (at, kind) in KINDS.iter().enumerate() {
            let others = &KINDS[at + 1..];
            assert!(others.iter().all(|other| other.number != kind.number && other.name != kind.name), "{kind:?}");
            assert!(others.iter().all(|other| other.service != kind.service), "{kind:?}");
            assert_eq!(kind_name(kind.number), kind.name);
            assert!((kind.ops)().is_sorted_by(|a, b| a.0 < b.0));
        }
    }

    #[test]
    fn refusals_name_kind_and_op_and_what_to_do() {
        let message = |kind, op, request: &[u8], reason| {
            let refusal = AnyOp::decode(kind, op, request).unwrap_err();
            assert_eq!(refusal.why(), reason);
            refusal.message
        };
        let unknown = message(99, 1, b"", Reason::UnknownOp);
        assert!(unknown.starts_with("there is no kind 99: this manager knows dict (2), value (3), "), "{unknown}");
        assert!(unknown.ends_with("). A newer manager may know more"), "{unknown}");
        assert_eq!(
            message(3, 99, b"", Reason::UnknownOp),
            "value has no op 99: this manager knows Get (1), Set (2), Add (3), CompareAndSet (4). A newer manager may \
             know more"
        );
        let malformed = message(2, 1, b"\xff", Reason::Malformed);
        assert!(
            malformed.starts_with("the request of Get is not the message that the kind dict has for it: "),
            "{malformed}"
        );
    }

    #[test]
    fn a_spec_or_state_that_cannot_be_read_is_malformed() {
        let mut creation = Creation { seed: 1, room: Room::new(1000, "object_bytes") };
        for kind in KINDS {
            let refusal = AnyObject::create(kind.number, b"\xff", &mut creation, &mut |_| Ok(())).unwrap_err();
            assert!(refusal.why() == Reason::Malformed && refusal.message.contains(kind.name), "{refusal}");
            let refusal = AnyObject::restore(kind.number, b"\xff", &mut creation).unwrap_err();
            assert!(refusal.why() == Reason::Malformed && refusal.message.contains(kind.name), "{refusal}");
        }
        assert_eq!(AnyObject::create(1, b"", &mut creation, &mut |_| Ok(())).unwrap_err().why(), Reason::UnknownOp);
        assert_eq!(AnyObject::restore(99, b"", &mut creation).unwrap_err().why(), Reason::UnknownOp);
    }
}
