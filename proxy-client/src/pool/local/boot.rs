//! What a local worker is told, and what it does.

use std::io;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::datum::Reference;
use holdfast_proto::{Datum, PoolTerminateRequest};
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::codec::{CodecError, from_datum};
use crate::error::{Error, Result};
use crate::function::{self, panics};
use crate::options::Options;
use crate::pool::Pool;
use crate::pool::worker::{Worker, WorkerOptions};
use crate::process::current_process;
use crate::process::worker::Entry;
use crate::proxy::parcel::Pack;
use crate::proxy::remote::{Remote, Single};
use crate::session::Mode;
use crate::token::Token;

/// By which the process knows that it is a worker.
pub(super) const ENTRY: &str = "pool";

/// How long the token for a worker is good.
const TAKEN_WITHIN: Duration = Duration::from_secs(600);

/// The exit code of a worker that could not begin, or whose manager is gone.
const FAILED: i32 = 1;

inventory::submit! {
    Entry::new(ENTRY, work)
}

/// What a local worker is told.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Boot {
    /// Of a cell with the pool and the arguments of the initializer.
    pub(super) token: String,
    pub(super) is_async: bool,
    pub(super) max_tasks: u64,
    pub(super) initializer: Option<String>,
}

/// Puts the pool and the arguments where a worker can take them up.
pub(super) fn pack<M: Mode>(pool: &Remote<M>, place: &M::Place, arguments: Option<Datum>) -> Result<String> {
    let reference = Datum::Reference(Reference::new(pool.target().clone()));
    let parcel = Datum::Tuple([reference, arguments.unwrap_or(Datum::Null)].into());
    let pack = Pack::new(pool, parcel, TAKEN_WITHIN);
    Ok(M::block(place, pool.session(), pool.time(), pack)?.to_string())
}

/// All that a local worker does. What it says goes to standard error.
fn work(message: Bytes) -> i32 {
    match begin(message) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}: {error}", current_process().name());
            FAILED
        }
    }
}

fn begin(message: Bytes) -> Result<()> {
    let boot = Datum::decode(message).map_err(|error| CodecError::Invalid(error.to_string().into()))?;
    let boot: Boot = from_datum(boot)?;
    let token: Token = boot.token.parse()?;
    if boot.is_async {
        return begin_async(boot, &token);
    }
    let manager = crate::blocking::Manager::connect_with(&options(&token))?;
    let parcel = manager.unpack(&token)?;
    serve::<crate::session::threads::Blocking>(parcel, boot, ())?;
    manager.close();
    Ok(())
}

/// The manager that the token is from, which knows the worker by the name of its process.
fn options(token: &Token) -> Options {
    Options::default().address(token.address().clone()).name(current_process().name())
}

/// The same for a pool of the async library, whose session is driven by a thread, as the functions run on this one.
fn begin_async(boot: Boot, token: &Token) -> Result<()> {
    let failed = |error: io::Error| Error::Thread { cause: error.to_string().into() };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let place: Handle = runtime.handle().clone();
    let (ends, ended) = oneshot::channel::<()>();
    let drive = move || _ = runtime.block_on(ended);
    let driver = thread::Builder::new().name("holdfast-session".to_owned()).spawn(drive).map_err(failed)?;
    let manager = place.block_on(crate::Manager::connect_with(&options(token)))?;
    let parcel = place.block_on(manager.unpack(token))?;
    serve::<crate::session::tasks::Async>(parcel, boot, place.clone())?;
    place.block_on(manager.close());
    drop(ends);
    // It has nothing to say.
    let _ = driver.join();
    Ok(())
}

fn serve<M: Mode>(parcel: Datum, boot: Boot, place: M::Place) -> Result<()> {
    let (pool, arguments) = match parcel {
        Datum::Tuple(parts) => match <[Datum; 2]>::try_from(parts.into_vec()) {
            Ok([pool, arguments]) => (from_datum::<Pool<M>>(pool)?, arguments),
            Err(_) => return Err(unreadable()),
        },
        _ => return Err(unreadable()),
    };
    if let Some(name) = &boot.initializer
        && let Err(problem) = initialize(name, arguments)
    {
        // Whoever waits for the pool is told; that the worker ends then would only say that it failed.
        let reason = format!("the initializer {name} failed in a worker: {problem}");
        let terminate = Single::new(&pool.remote, Ok(PoolTerminateRequest { reason: reason.clone() }), |_, _| Ok(()));
        M::block(&place, pool.remote.session(), pool.remote.time(), terminate)?;
        return Err(Error::Worker { cause: reason.into() });
    }
    let options = WorkerOptions::new().name(current_process().name()).max_tasks(boot.max_tasks);
    Worker::at(&pool, options, place).work()?;
    Ok(())
}

fn unreadable() -> Error {
    CodecError::Invalid("what the worker was told is not what workers are told".into()).into()
}

fn initialize(name: &str, arguments: Datum) -> Result<(), String> {
    let Some(registered) = function::find(name) else {
        return Err("no function of that name is registered in this program".to_owned());
    };
    match panics::catch(|| registered.item().call(arguments)) {
        Ok(Ok(outcome)) => outcome.raised.map_or(Ok(()), |raised| Err(raised.message)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panicked) => Err(format!("it panicked: {panicked}")),
    }
}
