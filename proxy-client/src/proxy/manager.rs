//! The connection to a manager.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::place::{ADDRESS_VARIABLE, AUTHKEY_FILE_VARIABLE, Address};
use holdfast_proto::{
    CreateRequest, CreateResponse, DeleteRequest, DescribeRequest, ExistsRequest, LimitsRequest, OpenMode, OpenRequest,
    OpenResponse, QueueSpec, RenameRequest, StatusRequest, StatusResponse, TakeUpRequest, TakeUpResponse, ValueSpec,
    array, barrier, describe_request, dict, event, latch, list, lock, namespace, pool, queue, rwlock, semaphore, set,
    value,
};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::array::{ask_typecode, check_typecode, spec_of_elements, spec_of_length};
use super::barrier::spec as barrier_spec;
use super::holding::Holding;
use super::latch::spec as latch_spec;
use super::listing::{Description, Kind, Names};
use super::lock::{ask_reentrant, check_reentrant, spec as lock_spec};
use super::parcel::Unpack;
use super::queue::{Delivers, OnReceipt, QueueOptions, ask_delivery, check_delivery};
use super::remote::{Holds, Remote};
use super::rwlock::spec as rwlock_spec;
use super::semaphore::spec as semaphore_spec;
use super::{
    Array, Barrier, Condition, Dict, Element, Event, Latch, List, Lock, Namespace, Question, Queue, RLock, RwLock,
    Semaphore, Set, Value,
};
use crate::child::Child;
use crate::codec::to_datum;
use crate::error::{ConnectError, Result};
use crate::options::Options;
use crate::pool::{Pool, PoolOptions};
use crate::session::renewal::{Renewable, Renewal};
use crate::session::tasks::{self, Async};
use crate::session::threads::{self, Blocking};
use crate::session::{Asking, Exchange, Heard, Mode, SessionLike, Step, Target};
use crate::token::Token;

/// How long a session may take to end that was closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A session with a manager: where proxies come from. Clones share the session.
///
/// When the session is over, because the manager was started anew, or a connection was lost for too long, the next call here
/// opens a new one, within [`Options::reconnect_timeout`]; all threads and tasks that ask meanwhile, on any clone, wait for
/// the same one. A call that has no answer when its session ends is made again in the new one, except
/// [`delete`](Self::delete), [`rename`](Self::rename) and [`replace`](Self::replace), which may have been applied: they fail
/// with [`Error::Ended`](crate::Error::Ended), and the next call opens the session.
///
/// Proxies stay with the session that they came of, and fail when it is over: what it held, such as objects without a name,
/// is gone, and whether an object that was made anew is the same to the program only the program knows. So it opens it again
/// here. A manager that this program started ([`start`](Self::start)) is gone when its session is over, and is not started
/// anew. In a fork of the process the first call here opens a session of the fork's own.
///
/// The session ends, and with it every handle and every object without a name that only this process knew, when the last
/// clone and the last proxy are dropped. Dropping says goodbye; [`close`](Manager::close) also waits for it.
pub struct Manager<M: Mode> {
    renewal: Arc<Renewal<M>>,
    /// Of the calls of what comes of this.
    timeout: Option<Duration>,
    /// The manager itself, if this process started it. After the session, so that goodbye is said first.
    child: Option<Arc<Child>>,
    /// What other processes need to connect.
    authkey_file: Option<Arc<Path>>,
}

impl<M: Mode> Clone for Manager<M> {
    fn clone(&self) -> Self {
        self.with_timeout(self.timeout)
    }
}

impl<M: Mode> fmt::Debug for Manager<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Manager<Async> {
    /// Starts a manager of one's own, as a child process, like `multiprocessing.Manager()`.
    ///
    /// It ends when the last clone of this, and the last proxy that came of it, is dropped, and in any case with this
    /// process, however that ends. Its socket and authkey are in a folder of their own, which goes with it; other processes
    /// connect with a [`Token`], or with the variables that [`share_with`](Self::share_with) sets.
    ///
    /// The program that is run is this one, if its `main` begins with `holdfast::init()` (feature `embedded`), or else
    /// `holdfast`: the one that `HOLDFAST_PROGRAM` names, the one beside this program, or the one in `PATH`.
    pub async fn start() -> Result<Self> {
        Self::start_with(&Options::default()).await
    }

    /// As [`start`](Self::start), with options; the address and authkey among them are not used.
    pub async fn start_with(options: &Options) -> Result<Self> {
        let patience = options.time_to_connect();
        let failed = |error: tokio::task::JoinError| ConnectError::Start(error.to_string());
        let child = tokio::task::spawn_blocking(move || Child::start(patience)).await.map_err(failed)??;
        let options = child.options(options);
        let target = options.resolve()?;
        let session = tasks::Session::open(&target).await?;
        Ok(Self::of(session, &options, &target, Some(child)))
    }

    /// Connects to the manager at an address, with the authkey from the environment or the default file.
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_with(&Options::default().address(address.parse()?)).await
    }

    /// Connects to the manager that the environment names, or to the one that `holdfast serve` runs for this user.
    pub async fn connect_default() -> Result<Self> {
        Self::connect_with(&Options::default()).await
    }

    /// Connects to the manager that a token is from.
    pub async fn connect_token(token: &Token) -> Result<Self> {
        Self::connect_with(&Options::default().address(token.address().clone())).await
    }

    /// Connects as the options say.
    ///
    /// The session is driven by a task of the tokio runtime in which this is called. Cancelling it closes the connection. A
    /// session that follows it is driven by the runtime in which it was asked for.
    pub async fn connect_with(options: &Options) -> Result<Self> {
        let target = options.resolve()?;
        let session = tasks::Session::open(&target).await?;
        Ok(Self::of(session, options, &target, None))
    }

    /// Ends the session: what was asked before is still answered, and when this returns the manager has given back all
    /// that the session had. Every proxy, and every clone of this, fails from now on. If this process started the manager, it ends too.
    pub async fn close(self) {
        // An error means that the session is over already, or that the manager does not answer; it is cut then.
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.renewal.close().close()).await;
        if let Some(child) = self.child.clone() {
            let _ = tokio::task::spawn_blocking(move || child.end()).await;
        }
    }
}

impl Manager<Blocking> {
    /// Starts a manager of one's own, as a child process, like `multiprocessing.Manager()`.
    ///
    /// It ends when the last clone of this, and the last proxy that came of it, is dropped, and in any case with this
    /// process, however that ends. Its socket and authkey are in a folder of their own, which goes with it; other processes
    /// connect with a [`Token`], or with the variables that [`share_with`](Self::share_with) sets.
    ///
    /// The program that is run is this one, if its `main` begins with `holdfast::init()` (feature `embedded`), or else
    /// `holdfast`: the one that `HOLDFAST_PROGRAM` names, the one beside this program, or the one in `PATH`.
    pub fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    /// As [`start`](Self::start), with options; the address and authkey among them are not used.
    pub fn start_with(options: &Options) -> Result<Self> {
        let child = Child::start(options.time_to_connect())?;
        let options = child.options(options);
        let target = options.resolve()?;
        let session = threads::Session::open(&target)?;
        Ok(Self::of(session, &options, &target, Some(child)))
    }

    /// Connects to the manager at an address, with the authkey from the environment or the default file.
    pub fn connect(address: &str) -> Result<Self> {
        Self::connect_with(&Options::default().address(address.parse()?))
    }

    /// Connects to the manager that the environment names, or to the one that `holdfast serve` runs for this user.
    pub fn connect_default() -> Result<Self> {
        Self::connect_with(&Options::default())
    }

    /// Connects to the manager that a token is from.
    pub fn connect_token(token: &Token) -> Result<Self> {
        Self::connect_with(&Options::default().address(token.address().clone()))
    }

    /// Connects as the options say.
    pub fn connect_with(options: &Options) -> Result<Self> {
        let target = options.resolve()?;
        let session = threads::Session::open(&target)?;
        Ok(Self::of(session, options, &target, None))
    }

    /// Ends the session: what was asked before is still answered, and when this returns the manager has given back all
    /// that the session had. Every proxy, and every clone of this, fails from now on. If this process started the manager, it ends too.
    pub fn close(self) {
        self.renewal.close().close(CLOSE_WITHIN);
        if let Some(child) = &self.child {
            child.end();
        }
    }
}

impl<M: Mode> Manager<M> {
    fn of(session: Arc<M::Session>, options: &Options, target: &Target, child: Option<Child>) -> Self {
        let renewal = Arc::new(Renewal::new(session, options, target));
        let authkey_file = options.file_of_authkey().map(Into::into);
        Self { renewal, timeout: options.default_call_timeout(), child: child.map(Arc::new), authkey_file }
    }

    /// Where the manager is.
    #[must_use]
    pub fn address(&self) -> Address {
        self.renewal.address().clone()
    }

    /// The same session, with another time for each call of the proxies that come of this; `None` for as long as it takes.
    #[must_use]
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        let Self { renewal, child, authkey_file, .. } = self;
        Self { renewal: renewal.clone(), timeout, child: child.clone(), authkey_file: authkey_file.clone() }
    }

    /// Sets the environment of a child process so that its `connect_default` leads to this manager.
    ///
    /// The address and the name of the authkey file are set; an authkey that was given as such is not passed on.
    pub fn share_with(&self, command: &mut Command) {
        command.env(ADDRESS_VARIABLE, self.address().to_string());
        if let Some(file) = &self.authkey_file {
            command.env(AUTHKEY_FILE_VARIABLE, &**file);
        }
    }

    /// The dict of that name, which is made if there is none. It lives until it is deleted.
    pub fn dict<K, V>(&self, name: &str) -> M::Renewing<Open<M, Dict<K, V, M>>> {
        self.open(name, dict::KIND, Ok(Bytes::new()), Dict::of)
    }

    /// A new dict without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_dict<K, V>(&self) -> M::Renewing<Open<M, Dict<K, V, M>>> {
        self.create(dict::KIND, Ok(Bytes::new()), Dict::of)
    }

    /// The dict that a token stands for.
    pub fn dict_from_token<K, V>(&self, token: &Token) -> M::Renewing<Open<M, Dict<K, V, M>>> {
        self.take_up(token, dict::KIND, Dict::of)
    }

    /// The cell of that name, which is made, with `initial` in it, if there is none. It lives until it is deleted.
    pub fn value<T: Serialize + DeserializeOwned>(&self, name: &str, initial: &T) -> M::Renewing<Open<M, Value<T, M>>> {
        self.open(name, value::KIND, value_spec(initial), Value::of)
    }

    /// A new cell without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_value<T: Serialize + DeserializeOwned>(&self, initial: &T) -> M::Renewing<Open<M, Value<T, M>>> {
        self.create(value::KIND, value_spec(initial), Value::of)
    }

    /// The cell that a token stands for.
    pub fn value_from_token<T>(&self, token: &Token) -> M::Renewing<Open<M, Value<T, M>>> {
        self.take_up(token, value::KIND, Value::of)
    }

    /// The list of that name, which is made if there is none. It lives until it is deleted.
    pub fn list<T>(&self, name: &str) -> M::Renewing<Open<M, List<T, M>>> {
        self.open(name, list::KIND, Ok(Bytes::new()), List::of)
    }

    /// A new list without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_list<T>(&self) -> M::Renewing<Open<M, List<T, M>>> {
        self.create(list::KIND, Ok(Bytes::new()), List::of)
    }

    /// The list that a token stands for.
    pub fn list_from_token<T>(&self, token: &Token) -> M::Renewing<Open<M, List<T, M>>> {
        self.take_up(token, list::KIND, List::of)
    }

    /// The set of that name, which is made if there is none. It lives until it is deleted.
    pub fn set<T>(&self, name: &str) -> M::Renewing<Open<M, Set<T, M>>> {
        self.open(name, set::KIND, Ok(Bytes::new()), Set::of)
    }

    /// A new set without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_set<T>(&self) -> M::Renewing<Open<M, Set<T, M>>> {
        self.create(set::KIND, Ok(Bytes::new()), Set::of)
    }

    /// The set that a token stands for.
    pub fn set_from_token<T>(&self, token: &Token) -> M::Renewing<Open<M, Set<T, M>>> {
        self.take_up(token, set::KIND, Set::of)
    }

    /// The namespace of that name, which is made if there is none. It lives until it is deleted.
    pub fn namespace(&self, name: &str) -> M::Renewing<Open<M, Namespace<M>>> {
        self.open(name, namespace::KIND, Ok(Bytes::new()), Namespace::of)
    }

    /// A new namespace without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_namespace(&self) -> M::Renewing<Open<M, Namespace<M>>> {
        self.create(namespace::KIND, Ok(Bytes::new()), Namespace::of)
    }

    /// The namespace that a token stands for.
    pub fn namespace_from_token(&self, token: &Token) -> M::Renewing<Open<M, Namespace<M>>> {
        self.take_up(token, namespace::KIND, Namespace::of)
    }

    /// The array of that name, which is made, with so many zeros in it, if there is none. It lives until it is deleted.
    ///
    /// Where it exists, `length` is not looked at: ask for its [`len`](Array::len). It must have been made for elements of
    /// the type `T`, or else this is refused with [`Reason::WrongType`](crate::Reason::WrongType).
    pub fn array<T: Element>(&self, name: &str, length: u64) -> M::Renewing<Open<M, Array<T, M>>> {
        self.run_checked(Ok(self.way_to(name, array::KIND, spec_of_length::<T>(length))), Array::of, typecode::<T, M>())
    }

    /// The array of that name, which is made with these elements if there is none, as [`array`](Self::array) does.
    ///
    /// Refused with [`Reason::ValueTooLarge`](crate::Reason::ValueTooLarge) if the elements are more than one request (4 MiB
    /// by default): make it with a length then, and use [`set_slice`](Array::set_slice).
    pub fn array_of<T: Element>(&self, name: &str, initial: &[T]) -> M::Renewing<Open<M, Array<T, M>>> {
        self.run_checked(Ok(self.way_to(name, array::KIND, spec_of_elements(initial))), Array::of, typecode::<T, M>())
    }

    /// A new array of so many zeros without a name, which lives while a process has a proxy to it or a token for it waits.
    ///
    /// Refused with [`Reason::Quota`](crate::Reason::Quota) if the manager has no room for it.
    pub fn new_array<T: Element>(&self, length: u64) -> M::Renewing<Open<M, Array<T, M>>> {
        self.create(array::KIND, Ok(spec_of_length::<T>(length)), Array::of)
    }

    /// A new array of these elements without a name; otherwise as [`new_array`](Self::new_array), and refused as
    /// [`array_of`](Self::array_of) is.
    pub fn new_array_of<T: Element>(&self, initial: &[T]) -> M::Renewing<Open<M, Array<T, M>>> {
        self.create(array::KIND, Ok(spec_of_elements(initial)), Array::of)
    }

    /// The array that a token stands for. It must have been made for elements of the type `T`, or else this is refused with
    /// [`Reason::WrongType`](crate::Reason::WrongType).
    pub fn array_from_token<T: Element>(&self, token: &Token) -> M::Renewing<Open<M, Array<T, M>>> {
        self.run_checked(Ok(self.way_of(token, array::KIND)), Array::of, typecode::<T, M>())
    }

    /// The lock of that name, which is made if there is none. It lives until it is deleted.
    ///
    /// Refused with [`Reason::OtherSpec`](crate::Reason::OtherSpec) if there is one that was made otherwise.
    pub fn lock(&self, name: &str) -> M::Renewing<Open<M, Lock<M>>> {
        self.lock_with(name, Holding::default())
    }

    /// The same, and what becomes of it when its holder ends.
    pub fn lock_with(&self, name: &str, holding: Holding) -> M::Renewing<Open<M, Lock<M>>> {
        self.open(name, lock::KIND, Ok(lock_spec(false, holding).encode_to_vec().into()), Lock::of)
    }

    /// A new lock without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_lock(&self) -> M::Renewing<Open<M, Lock<M>>> {
        self.create(lock::KIND, Ok(Bytes::new()), Lock::of)
    }

    /// The lock that a token stands for. Refused with [`Reason::OtherSpec`](crate::Reason::OtherSpec) if it is
    /// [reentrant](Self::rlock_from_token).
    pub fn lock_from_token(&self, token: &Token) -> M::Renewing<Open<M, Lock<M>>> {
        self.run_checked(Ok(self.way_of(token, lock::KIND)), Lock::of, reentrant::<false, M>())
    }

    /// The reentrant lock of that name, as [`lock`](Self::lock).
    pub fn rlock(&self, name: &str) -> M::Renewing<Open<M, RLock<M>>> {
        self.rlock_with(name, Holding::default())
    }

    /// The same, and what becomes of it when its holder ends.
    pub fn rlock_with(&self, name: &str, holding: Holding) -> M::Renewing<Open<M, RLock<M>>> {
        self.open(name, lock::KIND, Ok(lock_spec(true, holding).encode_to_vec().into()), RLock::of)
    }

    /// A new reentrant lock without a name, as [`new_lock`](Self::new_lock).
    pub fn new_rlock(&self) -> M::Renewing<Open<M, RLock<M>>> {
        let spec = lock_spec(true, Holding::default()).encode_to_vec();
        self.create(lock::KIND, Ok(spec.into()), RLock::of)
    }

    /// The queue of that name, first in, first out and without a limit, which is made if there is none. It lives until it is
    /// deleted.
    ///
    /// Refused with [`Reason::OtherSpec`](crate::Reason::OtherSpec) if there is one that was made otherwise.
    pub fn queue<T>(&self, name: &str) -> M::Renewing<Open<M, Queue<T, OnReceipt, M>>> {
        self.queue_with(name, QueueOptions::fifo())
    }

    /// The same, with another order, a limit, or deliveries that are done by saying so.
    pub fn queue_with<T, D: Delivers>(
        &self,
        name: &str,
        options: QueueOptions<D>,
    ) -> M::Renewing<Open<M, Queue<T, D, M>>> {
        self.open(name, queue::KIND, Ok(queue_spec(options)), Queue::of)
    }

    /// A new queue without a name, as [`queue`](Self::queue), which lives while a process has a proxy to it or a token for it
    /// waits.
    pub fn new_queue<T>(&self) -> M::Renewing<Open<M, Queue<T, OnReceipt, M>>> {
        self.new_queue_with(QueueOptions::fifo())
    }

    /// The same, as [`queue_with`](Self::queue_with).
    pub fn new_queue_with<T, D: Delivers>(&self, options: QueueOptions<D>) -> M::Renewing<Open<M, Queue<T, D, M>>> {
        self.create(queue::KIND, Ok(queue_spec(options)), Queue::of)
    }

    /// The queue that a token stands for. Its items must be no longer the queue's when `D` says, or else this is refused with
    /// [`Reason::WrongType`](crate::Reason::WrongType).
    pub fn queue_from_token<T, D: Delivers>(&self, token: &Token) -> M::Renewing<Open<M, Queue<T, D, M>>> {
        let check = Check { ask: ask_delivery, hear: check_delivery::<D, M> };
        self.run_checked(Ok(self.way_of(token, queue::KIND)), Queue::of, check)
    }

    /// The reentrant lock that a token stands for. Refused with [`Reason::OtherSpec`](crate::Reason::OtherSpec) if it is
    /// [not reentrant](Self::lock_from_token).
    pub fn rlock_from_token(&self, token: &Token) -> M::Renewing<Open<M, RLock<M>>> {
        self.run_checked(Ok(self.way_of(token, lock::KIND)), RLock::of, reentrant::<true, M>())
    }

    /// The condition of that name, with a reentrant lock of its own: Python's `Condition()`. It is made if there is none, and
    /// lives until it is deleted.
    ///
    /// It is the condition with the empty name of the [`rlock`](Self::rlock) of that name, and refused as that is.
    pub fn condition(&self, name: &str) -> M::Renewing<Open<M, Condition<M>>> {
        self.condition_with(name, Holding::default())
    }

    /// The same, and what becomes of its lock when the holder ends.
    pub fn condition_with(&self, name: &str, holding: Holding) -> M::Renewing<Open<M, Condition<M>>> {
        self.open(name, lock::KIND, Ok(lock_spec(true, holding).encode_to_vec().into()), Condition::of)
    }

    /// A new condition without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_condition(&self) -> M::Renewing<Open<M, Condition<M>>> {
        let spec = lock_spec(true, Holding::default()).encode_to_vec();
        self.create(lock::KIND, Ok(spec.into()), Condition::of)
    }

    /// The condition with the empty name of the lock that a token stands for.
    pub fn condition_from_token(&self, token: &Token) -> M::Renewing<Open<M, Condition<M>>> {
        self.take_up(token, lock::KIND, Condition::of)
    }

    /// The lock for many readers or one writer of that name, which is made if there is none. It lives until it is deleted.
    ///
    /// Refused with [`Reason::OtherSpec`](crate::Reason::OtherSpec) if there is one that was made otherwise.
    pub fn rwlock(&self, name: &str) -> M::Renewing<Open<M, RwLock<M>>> {
        self.rwlock_with(name, Holding::default())
    }

    /// The same, and what becomes of it when its writer ends. What readers have is given back in any case. Who may release it
    /// is not to be chosen.
    pub fn rwlock_with(&self, name: &str, holding: Holding) -> M::Renewing<Open<M, RwLock<M>>> {
        self.open(name, rwlock::KIND, Ok(rwlock_spec(holding).encode_to_vec().into()), RwLock::of)
    }

    /// A new lock for many readers or one writer without a name, which lives while a process has a proxy to it or a token for
    /// it waits.
    pub fn new_rwlock(&self) -> M::Renewing<Open<M, RwLock<M>>> {
        self.create(rwlock::KIND, Ok(Bytes::new()), RwLock::of)
    }

    /// The lock for many readers or one writer that a token stands for.
    pub fn rwlock_from_token(&self, token: &Token) -> M::Renewing<Open<M, RwLock<M>>> {
        self.take_up(token, rwlock::KIND, RwLock::of)
    }

    /// The semaphore of that name, which is made with so many permits if there is none: Python's `Semaphore(value)`. It lives
    /// until it is deleted.
    ///
    /// Refused with [`Reason::OtherSpec`](crate::Reason::OtherSpec) if there is one that was made otherwise, also with another
    /// number of permits.
    pub fn semaphore(&self, name: &str, value: u64) -> M::Renewing<Open<M, Semaphore<M>>> {
        self.semaphore_with(name, value, Holding::default())
    }

    /// The same, and what becomes of permits when the process ends that has them.
    ///
    /// With [`Holding::released_by_anyone`], and so with [`Holding::multiprocessing`], permits belong to nobody: anybody
    /// [releases](Semaphore::release) them, also more than there were at first, and no end of a process brings any back, not
    /// even if it is killed. [`OnLoss`](super::OnLoss) is not to be chosen then: refused with
    /// [`Reason::Malformed`](crate::Reason::Malformed).
    pub fn semaphore_with(&self, name: &str, value: u64, holding: Holding) -> M::Renewing<Open<M, Semaphore<M>>> {
        self.open(
            name,
            semaphore::KIND,
            Ok(semaphore_spec(value, false, holding).encode_to_vec().into()),
            Semaphore::of,
        )
    }

    /// A new semaphore without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_semaphore(&self, value: u64) -> M::Renewing<Open<M, Semaphore<M>>> {
        self.create(
            semaphore::KIND,
            Ok(semaphore_spec(value, false, Holding::default()).encode_to_vec().into()),
            Semaphore::of,
        )
    }

    /// The bounded semaphore of that name, as [`semaphore`](Self::semaphore): Python's `BoundedSemaphore(value)`, of which no more
    /// is released than was acquired. Permits that belong to the process that took them are bounded in any case.
    pub fn bounded_semaphore(&self, name: &str, value: u64) -> M::Renewing<Open<M, Semaphore<M>>> {
        self.bounded_semaphore_with(name, value, Holding::default())
    }

    /// The same, and what becomes of permits when the process ends that has them, as [`semaphore_with`](Self::semaphore_with).
    pub fn bounded_semaphore_with(
        &self,
        name: &str,
        value: u64,
        holding: Holding,
    ) -> M::Renewing<Open<M, Semaphore<M>>> {
        self.open(name, semaphore::KIND, Ok(semaphore_spec(value, true, holding).encode_to_vec().into()), Semaphore::of)
    }

    /// A new bounded semaphore without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_bounded_semaphore(&self, value: u64) -> M::Renewing<Open<M, Semaphore<M>>> {
        self.create(
            semaphore::KIND,
            Ok(semaphore_spec(value, true, Holding::default()).encode_to_vec().into()),
            Semaphore::of,
        )
    }

    /// The semaphore that a token stands for, bounded or not.
    pub fn semaphore_from_token(&self, token: &Token) -> M::Renewing<Open<M, Semaphore<M>>> {
        self.take_up(token, semaphore::KIND, Semaphore::of)
    }

    /// The event of that name, which is made if there is none. It lives until it is deleted.
    pub fn event(&self, name: &str) -> M::Renewing<Open<M, Event<M>>> {
        self.open(name, event::KIND, Ok(Bytes::new()), Event::of)
    }

    /// A new event without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_event(&self) -> M::Renewing<Open<M, Event<M>>> {
        self.create(event::KIND, Ok(Bytes::new()), Event::of)
    }

    /// The event that a token stands for.
    pub fn event_from_token(&self, token: &Token) -> M::Renewing<Open<M, Event<M>>> {
        self.take_up(token, event::KIND, Event::of)
    }

    /// The barrier of that name, which is made for so many parties if there is none: Python's `Barrier(parties)`. It lives
    /// until it is deleted.
    ///
    /// Refused with [`Reason::OutOfRange`](crate::Reason::OutOfRange) for 0, and with
    /// [`Reason::OtherSpec`](crate::Reason::OtherSpec) if there is one that was made otherwise.
    pub fn barrier(&self, name: &str, parties: u64) -> M::Renewing<Open<M, Barrier<M>>> {
        self.open(name, barrier::KIND, Ok(barrier_spec(parties, None).encode_to_vec().into()), Barrier::of)
    }

    /// The same, and how long its parties wait where they do not say: Python's `Barrier(parties, timeout=...)`.
    pub fn barrier_with(&self, name: &str, parties: u64, patience: Duration) -> M::Renewing<Open<M, Barrier<M>>> {
        let spec = barrier_spec(parties, Some(patience)).encode_to_vec();
        self.open(name, barrier::KIND, Ok(spec.into()), Barrier::of)
    }

    /// A new barrier without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_barrier(&self, parties: u64) -> M::Renewing<Open<M, Barrier<M>>> {
        self.create(barrier::KIND, Ok(barrier_spec(parties, None).encode_to_vec().into()), Barrier::of)
    }

    /// The barrier that a token stands for.
    pub fn barrier_from_token(&self, token: &Token) -> M::Renewing<Open<M, Barrier<M>>> {
        self.take_up(token, barrier::KIND, Barrier::of)
    }

    /// The latch of that name, which is made with this count if there is none: Java's `CountDownLatch(count)`. It lives until it
    /// is deleted.
    ///
    /// Refused with [`Reason::OtherSpec`](crate::Reason::OtherSpec) if there is one that was made otherwise.
    pub fn latch(&self, name: &str, count: u64) -> M::Renewing<Open<M, Latch<M>>> {
        self.open(name, latch::KIND, Ok(latch_spec(count).encode_to_vec().into()), Latch::of)
    }

    /// A new latch without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_latch(&self, count: u64) -> M::Renewing<Open<M, Latch<M>>> {
        self.create(latch::KIND, Ok(latch_spec(count).encode_to_vec().into()), Latch::of)
    }

    /// The latch that a token stands for.
    pub fn latch_from_token(&self, token: &Token) -> M::Renewing<Open<M, Latch<M>>> {
        self.take_up(token, latch::KIND, Latch::of)
    }

    /// The pool of that name, which is made if there is none, and whose workers are whoever [works](Pool::worker) for it. It lives until
    /// it is deleted.
    ///
    /// Refused with [`Reason::OtherSpec`](crate::Reason::OtherSpec) if there is one that was made otherwise.
    pub fn pool(&self, name: &str) -> M::Renewing<Open<M, Pool<M>>> {
        self.open(name, pool::KIND, Ok(Bytes::new()), Pool::of_default)
    }

    /// The same, made as the options say: how often tasks are tried, and how many may wait. No local workers are started:
    /// [`staffed`](Pool::staffed) does.
    pub fn pool_with(&self, name: &str, options: &PoolOptions) -> M::Renewing<Open<M, Pool<M>>> {
        self.open(name, pool::KIND, Ok(options.spec().encode_to_vec().into()), Pool::of)
    }

    /// A new pool without a name, which lives while a process has a proxy to it or a token for it waits.
    pub fn new_pool(&self) -> M::Renewing<Open<M, Pool<M>>> {
        self.create(pool::KIND, Ok(Bytes::new()), Pool::of_default)
    }

    /// The same, made as the options say, as [`pool_with`](Self::pool_with).
    pub fn new_pool_with(&self, options: &PoolOptions) -> M::Renewing<Open<M, Pool<M>>> {
        self.create(pool::KIND, Ok(options.spec().encode_to_vec().into()), Pool::of)
    }

    /// The pool that a token stands for.
    pub fn pool_from_token(&self, token: &Token) -> M::Renewing<Open<M, Pool<M>>> {
        self.take_up(token, pool::KIND, Pool::of)
    }

    /// What another process packed, in this session.
    pub(crate) fn unpack(&self, token: &Token) -> M::Output<Unpack<M>> {
        let remote = Remote::<M>::manager(self.renewal.current(), self.timeout, self.child.clone());
        remote.run(Unpack::new(remote.clone(), token))
    }

    /// Deletes the object of that name, at once and for everyone who has a proxy to it.
    ///
    /// Refused with [`Reason::UnknownObject`](crate::Reason::UnknownObject) if there is none.
    pub fn delete(&self, name: &str) -> Asked<M, DeleteRequest, ()> {
        self.renewing(|manager| Question::once(manager, DeleteRequest { name: name.to_owned() }, |_| ()))
    }

    /// The objects whose names begin with `prefix`, in the order of the bytes of their names; all for the empty prefix.
    ///
    /// They are read page by page while others go on, so this is not one moment: a name that is there from the first page to
    /// the last is listed once; one that is made, deleted or renamed meanwhile may be listed or not. All are kept in memory.
    pub fn names(&self, prefix: &str) -> M::Renewing<Names<M>> {
        self.renewing(|manager| Names::new(manager, prefix, None))
    }

    /// The same, of one kind alone: `manager.names_of("jobs/", "dict".parse()?)`.
    pub fn names_of(&self, prefix: &str, kind: Kind) -> M::Renewing<Names<M>> {
        self.renewing(|manager| Names::new(manager, prefix, Some(kind)))
    }

    /// The type of the object of that name, if there is one.
    pub fn exists(&self, name: &str) -> Asked<M, ExistsRequest, Option<Kind>> {
        let request = ExistsRequest { name: name.to_owned() };
        self.renewing(|manager| Question::new(manager, request, |found| found.exists.then(|| found.kind.into())))
    }

    /// Gives the object named `from` the name `to`. Nobody finds it under both names, or under neither; proxies stay good.
    ///
    /// Refused with [`Reason::UnknownObject`](crate::Reason::UnknownObject) if there is none,
    /// [`Reason::Exists`](crate::Reason::Exists) if the name is taken, and
    /// [`Reason::InvalidName`](crate::Reason::InvalidName).
    pub fn rename(&self, from: &str, to: &str) -> Asked<M, RenameRequest, ()> {
        self.rename_as(from, to, false)
    }

    /// The same, but an object that has the name `to` is deleted for it, as by [`delete`](Self::delete): Python's
    /// `os.replace`.
    pub fn replace(&self, from: &str, to: &str) -> Asked<M, RenameRequest, ()> {
        self.rename_as(from, to, true)
    }

    fn rename_as(&self, from: &str, to: &str, replace: bool) -> Asked<M, RenameRequest, ()> {
        let request = RenameRequest { from: from.to_owned(), to: to.to_owned(), replace };
        self.renewing(|manager| Question::once(manager, request, |_| ()))
    }

    /// What the manager knows about the object of that name, which is not opened for it.
    ///
    /// Refused with [`Reason::UnknownObject`](crate::Reason::UnknownObject) if there is none.
    pub fn describe(&self, name: &str) -> Asked<M, DescribeRequest, Description> {
        let object = Some(describe_request::Object::Name(name.to_owned()));
        self.renewing(|manager| Question::new(manager, DescribeRequest { object }, Description::from))
    }

    /// What the manager holds at the moment. Also the cheapest way to see that it lives.
    pub fn status(&self) -> Asked<M, StatusRequest, Status> {
        self.renewing(|manager| Question::new(manager, StatusRequest {}, Status::from))
    }

    /// Every limit of the manager, and how much of it is used.
    pub fn limits(&self) -> Asked<M, LimitsRequest, Vec<Limit>> {
        self.renewing(|manager| {
            Question::new(manager, LimitsRequest {}, |response| response.limits.into_iter().map(Limit::from).collect())
        })
    }

    pub(super) fn open<P>(
        &self,
        name: &str,
        kind: u32,
        spec: Result<Bytes>,
        make: fn(Remote<M>) -> P,
    ) -> M::Renewing<Open<M, P>> {
        self.run(spec.map(|spec| self.way_to(name, kind, spec)), make)
    }

    fn create<P>(&self, kind: u32, spec: Result<Bytes>, make: fn(Remote<M>) -> P) -> M::Renewing<Open<M, P>> {
        self.run(spec.map(|spec| Way::Create(CreateRequest { kind, spec })), make)
    }

    fn take_up<P>(&self, token: &Token, kind: u32, make: fn(Remote<M>) -> P) -> M::Renewing<Open<M, P>> {
        self.run(Ok(self.way_of(token, kind)), make)
    }

    fn way_to(&self, name: &str, kind: u32, spec: Bytes) -> Way {
        let mode = OpenMode::OpenOrCreate.into();
        Way::Open(OpenRequest { name: name.to_owned(), kind, spec, mode })
    }

    fn way_of(&self, token: &Token, kind: u32) -> Way {
        Way::TakeUp(TakeUpRequest { token: token.secret.clone(), kind }, token.incarnation)
    }

    fn run<P>(&self, request: Result<Way>, make: fn(Remote<M>) -> P) -> M::Renewing<Open<M, P>> {
        self.start_opening(request, make, None)
    }

    fn run_checked<P>(
        &self,
        request: Result<Way>,
        make: fn(Remote<M>) -> P,
        check: Check<M>,
    ) -> M::Renewing<Open<M, P>> {
        self.start_opening(request, make, Some(check))
    }

    fn start_opening<P>(
        &self,
        request: Result<Way>,
        make: fn(Remote<M>) -> P,
        check: Option<Check<M>>,
    ) -> M::Renewing<Open<M, P>> {
        self.renewing(|remote| Open {
            remote,
            request,
            way: None,
            kind: 0,
            check,
            opened: None,
            make,
            _proxy: PhantomData,
        })
    }

    /// Asks the manager itself: in the session that there is, or in a new one.
    fn renewing<E: Renewable<M>>(&self, make: impl FnOnce(Remote<M>) -> E) -> M::Renewing<E> {
        let session = self.renewal.current();
        let remote = Remote::manager(session.clone(), self.timeout, self.child.clone());
        M::run_renewing(&self.renewal, session, self.timeout, make(remote))
    }
}

/// What a call of one request to the manager itself gives.
type Asked<M, R, T> = <M as Mode>::Renewing<Question<M, R, T>>;

/// A call that is made on an object once it is opened, to see whether it is what the proxy takes it for.
struct Check<M: Mode> {
    ask: fn(&Remote<M>, Asking<'_>) -> Result<()>,
    hear: fn(&Remote<M>, Heard) -> Result<()>,
}

fn typecode<T: Element, M: Mode>() -> Check<M> {
    Check { ask: ask_typecode, hear: check_typecode::<T, M> }
}

fn reentrant<const REENTRANT: bool, M: Mode>() -> Check<M> {
    Check { ask: ask_reentrant, hear: check_reentrant::<REENTRANT, M> }
}

fn value_spec<T: Serialize>(initial: &T) -> Result<Bytes> {
    Ok(ValueSpec { initial: Some(to_datum(initial)?) }.encode_to_vec().into())
}

fn queue_spec<D: Delivers>(options: QueueOptions<D>) -> Bytes {
    QueueSpec::from(options).encode_to_vec().into()
}

/// How an object is reached.
#[derive(Debug)]
enum Way {
    Open(OpenRequest),
    Create(CreateRequest),
    /// With the incarnation of the manager that gave the token.
    TakeUp(TakeUpRequest, [u8; 16]),
}

/// Reads what answers one way to open an object: its handle and its id.
type Hear<M> = fn(&Remote<M>, Heard) -> Result<(u32, Vec<u8>)>;

/// The opening of an object.
pub struct Open<M: Mode, P> {
    remote: Remote<M>,
    request: Result<Way>,
    way: Option<Hear<M>>,
    kind: u32,
    check: Option<Check<M>>,
    /// The object, while it is being checked.
    opened: Option<Remote<M>>,
    make: fn(Remote<M>) -> P,
    _proxy: Holds<P>,
}

impl<M: Mode, P> Unpin for Open<M, P> {}

impl<M: Mode, P> fmt::Debug for Open<M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl<M: Mode, P> Exchange for Open<M, P> {
    type Value = P;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        if let (Some(opened), Some(check)) = (&self.opened, &self.check) {
            return (check.ask)(opened, asking);
        }
        match self.request.as_ref().map_err(Clone::clone)? {
            Way::Open(request) => {
                self.kind = request.kind;
                self.way = Some(|remote, heard| {
                    let (response, _) = remote.decode::<OpenResponse>(heard)?;
                    Ok((response.handle, response.object))
                });
                self.remote.ask(asking, request)
            }
            Way::Create(request) => {
                self.kind = request.kind;
                self.way = Some(|remote, heard| {
                    let (response, _) = remote.decode::<CreateResponse>(heard)?;
                    Ok((response.handle, response.object))
                });
                self.remote.ask(asking, request)
            }
            Way::TakeUp(_, incarnation) if self.remote.session().peer().0.incarnation != *incarnation => {
                // It is only asked whether the session lives: the token may be of the life that follows it.
                self.way = Some(|_, _| Err(ConnectError::Incarnation.into()));
                self.remote.ask(asking, &StatusRequest {})
            }
            Way::TakeUp(request, _) => {
                self.kind = request.kind;
                self.way = Some(|remote, heard| {
                    let (response, _) = remote.decode::<TakeUpResponse>(heard)?;
                    Ok((response.handle, response.object))
                });
                self.remote.ask(asking, request)
            }
        }
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<P>> {
        if let (Some(opened), Some(check)) = (self.opened.take(), &self.check) {
            (check.hear)(&self.remote, heard)?;
            return Ok(Step::Done((self.make)(opened)));
        }
        let (handle, object) = self.way.expect("it was asked")(&self.remote, heard)?;
        let opened = self.remote.opened(handle, self.kind, &object);
        if self.check.is_some() {
            self.opened = Some(opened);
            return Ok(Step::Again);
        }
        Ok(Step::Done((self.make)(opened)))
    }
}

impl<M: Mode, P> Renewable<M> for Open<M, P> {
    fn begin(&mut self, session: &Arc<M::Session>) {
        self.remote = self.remote.renewed(session);
        (self.way, self.opened) = (None, None);
    }

    /// What it opened or made in a session that is over was given back with it.
    fn is_repeatable(&self) -> bool {
        true
    }
}

/// What a manager holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Objects, with and without a name.
    pub objects: u64,
    /// Sessions that are open, this one among them.
    pub sessions: u64,
    /// Bytes of user data in all objects, as the limits count them.
    pub bytes: u64,
    /// The process id of the manager.
    pub pid: u32,
    /// The version of the manager.
    pub version: String,
}

impl From<StatusResponse> for Status {
    fn from(status: StatusResponse) -> Self {
        let StatusResponse { objects, sessions, bytes, pid, version } = status;
        Self { objects, sessions, bytes, pid, version }
    }
}

/// A limit of a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// Its name, as refusals say it.
    pub name: String,
    /// How much there may be.
    pub value: u64,
    /// How much there is: in the whole manager, or in this session for what a session has. `None` where the limit is of one
    /// call, one name, one page or one object.
    pub used: Option<u64>,
}

impl From<holdfast_proto::Limit> for Limit {
    fn from(limit: holdfast_proto::Limit) -> Self {
        let holdfast_proto::Limit { name, value, used } = limit;
        Self { name, value, used }
    }
}
