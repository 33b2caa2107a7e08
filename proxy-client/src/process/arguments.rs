//! The arguments of a function on their way to another process.
//!
//! Without proxies they are in what the child is told. Proxies lead to objects of a manager, which alone can pass them on: so
//! arguments that hold some are put into an object of that manager, a cell that nobody else knows, and the child gets a token for it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use holdfast_proto::datum::HasReferences;
use holdfast_proto::{Datum, datum};
use prost::Message;
use serde::Serialize;
use tokio::sync::oneshot;

use super::access::Access;
use super::boot::Arguments;
use super::descriptors;
use super::error::ProcessError;
use crate::child::Child;
use crate::error::{Error, Result};
use crate::function;
use crate::proxy::parcel::Pack;
use crate::proxy::remote::{Handle, Remote};
use crate::session::{Mode, SessionLike};
use crate::token::Token;

/// How long arguments with proxies are kept for a child that has not taken them.
pub(super) const KEPT: Duration = Duration::from_secs(600);

/// Arguments that were written, and what they hold besides data.
pub(super) struct Written<M: Mode> {
    datum: Datum,
    pub(super) given: Vec<OwnedFd>,
    /// A proxy among them, by which their manager is found.
    proxy: Option<Remote<M>>,
}

/// Arguments on their way.
pub(super) struct Sent {
    pub(super) arguments: Arguments,
    /// The manager that they are from.
    pub(super) access: Option<Access>,
    /// If this process started it. It is to live as long as the child.
    pub(super) manager: Option<Arc<Child>>,
}

/// Writes the arguments of the process of this name.
pub(super) fn write<M: Mode, A: function::Arguments + Serialize>(name: &str, arguments: &A) -> Result<Written<M>> {
    let (datum, given) = descriptors::gather(|| function::write(arguments));
    let datum = datum?;
    let (mut proxy, mut is_other) = (None, false);
    datum.visit_references(&mut |reference: &datum::Reference| {
        let handle: Option<Arc<Handle<M>>> = reference.target();
        is_other |= handle.is_none();
        proxy = proxy.take().or(handle);
    });
    if is_other {
        return Err(ProcessError::OtherLibrary { name: name.to_owned() }.into());
    }
    Ok(Written { datum, given, proxy: proxy.map(Remote::read) })
}

impl<M: Mode> Written<M> {
    /// What is to be done with those that hold proxies before they can be sent.
    pub(super) fn pack(&self) -> Option<M::Output<Pack<M>>> {
        self.proxy.as_ref().map(|proxy| Pack::run(proxy, self.datum.clone(), KEPT))
    }

    /// What the child is told; `token` if they hold proxies.
    pub(super) fn sent(&self, token: Option<Token>, packed: fn(String) -> Arguments) -> Sent {
        let arguments = match token {
            Some(token) => packed(token.to_string()),
            None => Arguments::Here(self.datum.encode_to_vec().into()),
        };
        let access = self.proxy.as_ref().map(|proxy| Access::from(&*proxy.session().peer().0));
        Sent { arguments, access, manager: self.proxy.as_ref().and_then(Remote::own_manager) }
    }
}

/// The session of a child with the manager from which its arguments are.
pub(super) enum Connection {
    None,
    Blocking(crate::blocking::Manager),
    /// It is driven by a thread, as the function may run no runtime.
    Async {
        ends: oneshot::Sender<()>,
        thread: JoinHandle<()>,
    },
}

impl Connection {
    /// Says goodbye.
    pub(super) fn close(self) {
        match self {
            Self::None => {}
            Self::Blocking(manager) => manager.close(),
            Self::Async { ends, thread } => {
                drop(ends);
                // It has said itself what went wrong.
                let _ = thread.join();
            }
        }
    }
}

/// Reads the arguments, from the manager where they hold proxies.
pub(super) fn fetch(arguments: Option<Arguments>) -> Result<(Datum, Connection)> {
    match arguments {
        None => Ok((Datum::Tuple([].into()), Connection::None)),
        Some(Arguments::Here(bytes)) => {
            let datum = Datum::decode(bytes);
            let datum = datum.map_err(|error| crate::CodecError::Invalid(error.to_string().into()))?;
            Ok((datum, Connection::None))
        }
        Some(Arguments::Blocking(token)) => {
            let token: Token = token.parse()?;
            let manager = crate::blocking::Manager::connect_token(&token)?;
            let datum = manager.unpack(&token)?;
            Ok((datum, Connection::Blocking(manager)))
        }
        Some(Arguments::Async(token)) => fetch_async(token.parse()?),
    }
}

/// The same for the async library, on a thread that goes on to drive the session.
fn fetch_async(token: Token) -> Result<(Datum, Connection)> {
    let failed = |error: io::Error| ProcessError::Start {
        name: "the session of the arguments".to_owned(),
        cause: error.to_string(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (ends, ended) = oneshot::channel::<()>();
    let (fetches, fetched) = std::sync::mpsc::sync_channel(1);
    let drive = move || {
        runtime.block_on(async {
            let fetch = async {
                let manager = crate::Manager::connect_token(&token).await?;
                let datum = manager.unpack(&token).await?;
                Ok((manager, datum))
            };
            match fetch.await {
                Ok((manager, datum)) => {
                    let _ = fetches.send(Ok(datum));
                    let _ = ended.await;
                    manager.close().await;
                }
                Err(error) => {
                    let _ = fetches.send(Err::<_, Error>(error));
                }
            }
        });
    };
    let thread = thread::Builder::new().name("holdfast-session".to_owned()).spawn(drive).map_err(failed)?;
    let datum = fetched.recv().expect("the thread says what came of it")?;
    Ok((datum, Connection::Async { ends, thread }))
}
