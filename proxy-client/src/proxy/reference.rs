//! Proxies as data: what is stored in one object and leads to another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::datum::{self, Target};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::remote::{Handle, Remote, Tokens};
use crate::codec::passing;
use crate::session::Mode;

/// A proxy to an object of one kind.
pub trait Proxy<M: Mode>: Sized {
    #[doc(hidden)]
    const KIND: u32;
    #[doc(hidden)]
    const NAME: &'static str;
    #[doc(hidden)]
    fn of(remote: Remote<M>) -> Self;
}

/// A proxy to an object whose kind the program does not know beforehand.
///
/// Where it does know, it reads the proxy itself: the values of a `Dict<String, Dict<String, i64>>` are dicts.
#[derive(Clone)]
pub struct Reference<M: Mode>(Remote<M>);

impl<M: Mode> Reference<M> {
    pub(crate) fn of(remote: Remote<M>) -> Self {
        Self(remote)
    }

    /// The number of the object's kind, as in the protocol: 2 for a dict, 3 for a value.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.0.target().kind()
    }

    /// The object as what it is, if it is a `P`. Asks nothing of the manager.
    #[must_use]
    pub fn get<P: Proxy<M>>(&self) -> Option<P> {
        (self.kind() == P::KIND).then(|| P::of(self.0.clone()))
    }

    /// Whether both are the same object, of the same life of a manager.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.target().object() == other.0.target().object()
    }

    /// The same object, with another time for each call of the proxies that come of this; `None` for as long as it takes.
    #[must_use]
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self(self.0.with_timeout(timeout))
    }

    /// A [`Token`](crate::Token) with which another process can open the object, `uses` times, within `lifetime` (at most a
    /// day).
    pub fn token(&self, uses: u32, lifetime: Duration) -> M::Output<Tokens<M>> {
        self.0.share(self.kind(), uses, lifetime)
    }
}

impl<M: Mode> fmt::Debug for Reference<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl<M: Mode> Serialize for Reference<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, M: Mode> Deserialize<'de> for Reference<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        passing::deserialize(deserializer, "shared object", |reference| target(&reference).map(Self))
    }
}

/// Writes a proxy.
pub(crate) fn serialize<M: Mode, S: Serializer>(remote: &Remote<M>, serializer: S) -> Result<S::Ok, S::Error> {
    passing::serialize(datum::Reference::new(remote.target().clone()), serializer)
}

/// Reads a proxy.
pub(crate) fn deserialize<'de, M: Mode, P: Proxy<M>, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    passing::deserialize(deserializer, P::NAME, |reference| {
        let kind = reference.kind();
        if kind != P::KIND {
            return Err(format!("expected a reference to a {}, found one to an object of kind {kind}", P::NAME));
        }
        target(&reference).map(P::of)
    })
}

fn target<M: Mode>(reference: &datum::Reference) -> Result<Remote<M>, String> {
    let handle: Option<Arc<Handle<M>>> = reference.target();
    handle.map(Remote::read).ok_or_else(|| {
        "a blocking proxy cannot be read from an async session, nor the other way round: use the types of one library"
            .to_owned()
    })
}

/// What all proxy types have in common, and that they are data: stored in an object one is a reference, and reading that
/// gives the proxy.
macro_rules! proxy {
    ($Kind:ident<$($T:ident),*> in $module:ident) => {
        impl<$($T,)* M: $crate::session::Mode> $crate::proxy::Proxy<M> for $Kind<$($T,)* M> {
            const KIND: u32 = holdfast_proto::$module::KIND;
            const NAME: &'static str = holdfast_proto::$module::NAME;

            fn of(remote: $crate::proxy::remote::Remote<M>) -> Self {
                Self::of(remote)
            }
        }

        impl<$($T,)* M: $crate::session::Mode> $Kind<$($T,)* M> {
            /// The same object, with another time for each call; `None` for as long as it takes.
            #[must_use]
            pub fn with_timeout(&self, timeout: Option<std::time::Duration>) -> Self {
                Self::of(self.remote.with_timeout(timeout))
            }

            /// The same object, for one who was granted this fence: its calls are refused with
            /// [`Reason::StaleFence`]($crate::Reason::StaleFence) once the object has seen a higher one, since what was granted
            /// has passed to somebody else then.
            #[must_use]
            pub fn fenced(&self, fence: $crate::Fence) -> Self {
                Self::of(self.remote.fenced(fence))
            }

            /// A [`Token`]($crate::Token) with which another process can open this object, `uses` times, within `lifetime` (at
            /// most a day).
            pub fn token(
                &self,
                uses: u32,
                lifetime: std::time::Duration,
            ) -> M::Output<$crate::proxy::remote::Tokens<M>> {
                self.remote.share(holdfast_proto::$module::KIND, uses, lifetime)
            }

            /// What the manager knows about this object: its name, its size, how many refer to it, its age.
            pub fn describe(&self) -> M::Output<$crate::proxy::listing::Describe<M>> {
                self.remote.describe()
            }

            /// This object, without its type.
            #[must_use]
            pub fn reference(&self) -> $crate::proxy::Reference<M> {
                $crate::proxy::Reference::of(self.remote.clone())
            }
        }

        impl<$($T,)* M: $crate::session::Mode> Clone for $Kind<$($T,)* M> {
            fn clone(&self) -> Self {
                Self::of(self.remote.clone())
            }
        }

        impl<$($T,)* M: $crate::session::Mode> std::fmt::Debug for $Kind<$($T,)* M> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($Kind)).field("remote", &self.remote).finish()
            }
        }

        impl<$($T,)* M: $crate::session::Mode> serde::Serialize for $Kind<$($T,)* M> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::proxy::reference::serialize(&self.remote, serializer)
            }
        }

        impl<'de, $($T,)* M: $crate::session::Mode> serde::Deserialize<'de> for $Kind<$($T,)* M> {
            fn deserialize<Source: serde::Deserializer<'de>>(deserializer: Source) -> Result<Self, Source::Error> {
                $crate::proxy::reference::deserialize(deserializer)
            }
        }
    };
}
pub(super) use proxy;
