//! What all proxies have in common: a handle in a session.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::datum::{HasReferences, Reference, Target};
use holdfast_proto::ops::{Readable, Request};
use holdfast_proto::{DescribeRequest, Reason, Refusal, ShareRequest, ShareResponse, describe_request, manager};
use prost::Message;

use super::listing::Describe;
use crate::child::Child;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::session::{Asking, Exchange, Heard, Mode, Reply, SessionLike, Step};
use crate::token::Token;

/// An object in a manager, as one proxy and its clones see it. When the last of them is gone the handle is given back.
pub struct Remote<M: Mode> {
    handle: Arc<Handle<M>>,
    timeout: Option<Duration>,
    /// With which its calls come; 0 is none.
    fence: u64,
}

/// One delivery of a handle. As data it is a reference to the object.
pub(crate) struct Handle<M: Mode> {
    session: Arc<M::Session>,
    number: u32,
    kind: u32,
    object: [u8; 16],
    /// For the calls of proxies that are read from data.
    timeout: Option<Duration>,
    /// The manager itself, if this process started it. After the session, so that goodbye is said first.
    child: Option<Arc<Child>>,
}

/// The handle of the manager itself, which needs no opening and no giving back.
const MANAGER: u32 = 0;

impl<M: Mode> Drop for Handle<M> {
    fn drop(&mut self) {
        if self.number != MANAGER {
            self.session.close_handle(self.number);
        }
    }
}

impl<M: Mode> Target for Handle<M> {
    fn handle(&self) -> u32 {
        self.number
    }

    fn kind(&self) -> u32 {
        self.kind
    }

    fn object(&self) -> [u8; 16] {
        self.object
    }
}

#[cfg(feature = "testing")]
impl<M: Mode> Handle<M> {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl<M: Mode> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<M: Mode> Clone for Remote<M> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), timeout: self.timeout, fence: self.fence }
    }
}

impl<M: Mode> fmt::Debug for Remote<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("handle", &self.handle.number).finish_non_exhaustive()
    }
}

impl<M: Mode> Remote<M> {
    /// The manager itself; `child` if this process started it.
    pub(crate) fn manager(session: Arc<M::Session>, timeout: Option<Duration>, child: Option<Arc<Child>>) -> Self {
        let handle = Handle { session, number: MANAGER, kind: manager::KIND, object: [0; 16], timeout, child };
        Self { handle: Arc::new(handle), timeout, fence: 0 }
    }

    /// The manager itself, in another session.
    pub(crate) fn renewed(&self, session: &Arc<M::Session>) -> Self {
        Self::manager(session.clone(), self.timeout, self.handle.child.clone())
    }

    /// An object that was opened in the same session. It keeps alive what this does.
    pub(crate) fn opened(&self, number: u32, kind: u32, object: &[u8]) -> Self {
        let handle = self.delivered(number, kind, object.try_into().unwrap_or_default());
        Self { handle, timeout: self.timeout, fence: 0 }
    }

    fn delivered(&self, number: u32, kind: u32, object: [u8; 16]) -> Arc<Handle<M>> {
        let (session, child) = (self.session().clone(), self.handle.child.clone());
        Arc::new(Handle { session, number, kind, object, timeout: self.timeout, child })
    }

    /// An object to which a reference was read.
    pub(crate) fn read(handle: Arc<Handle<M>>) -> Self {
        let timeout = handle.timeout;
        Self { handle, timeout, fence: 0 }
    }

    /// The session and the number of this object in it, to be told from others of this process that live.
    pub(crate) fn place(&self) -> (usize, u32) {
        (Arc::as_ptr(self.session()).addr(), self.handle.number)
    }

    /// Whether both are the same object in the same session.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.handle.object == other.handle.object && Arc::ptr_eq(self.session(), other.session())
    }

    /// The manager itself, if this process started it.
    pub(crate) fn own_manager(&self) -> Option<Arc<Child>> {
        self.handle.child.clone()
    }

    /// What a reference to this object holds on to.
    pub(crate) fn target(&self) -> &Arc<Handle<M>> {
        &self.handle
    }

    pub(crate) fn session(&self) -> &Arc<M::Session> {
        &self.handle.session
    }

    /// The same object, with another time for each call.
    pub(crate) fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self { handle: self.handle.clone(), timeout, fence: self.fence }
    }

    /// The same object, whose calls come with a fence.
    pub(crate) fn fenced(&self, fence: Fence) -> Self {
        Self { handle: self.handle.clone(), timeout: self.timeout, fence: fence.get() }
    }

    /// Makes one call. The request may already be an error, so that proxies need not make a difference.
    pub(crate) fn once<R: Request, T>(
        &self,
        request: Result<R>,
        finish: fn(R::Response, u64) -> Result<T>,
    ) -> M::Output<Single<M, R, T>> {
        self.run(Single::new(self, request, finish))
    }

    /// Makes one call that may wait. Its time runs from when its patience is over, if that ends.
    pub(crate) fn wait<R: Request, T>(
        &self,
        patience: Option<Duration>,
        request: Result<R>,
        finish: fn(R::Response, u64) -> Result<T>,
    ) -> M::Output<Single<M, R, T>> {
        M::run(self.session(), self.time_of_wait(patience), Single::new(self, request, finish))
    }

    /// Makes one call that may wait, and that is granted what belongs to this object.
    pub(crate) fn grant<R: Request, T>(
        &self,
        patience: Option<Duration>,
        request: Result<R>,
        finish: fn(Self, R::Response, &R) -> Result<T>,
    ) -> M::Output<Grant<M, R, T>> {
        let exchange = Grant { remote: self.clone(), request: request.map_err(Box::new), finish };
        M::run(self.session(), self.time_of_wait(patience), exchange)
    }

    /// How long a call may take that does not wait.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.timeout
    }

    /// How long a call may take that waits so long.
    pub(crate) fn time_of_wait(&self, patience: Option<Duration>) -> Option<Duration> {
        self.timeout.zip(patience).and_then(|(timeout, patience)| timeout.checked_add(patience))
    }

    /// Makes one call on this object, and does not wait for what comes of it.
    pub(crate) fn cast<R: Request>(&self, request: &R) {
        self.session().cast(self.handle.number, request);
    }

    /// Runs an exchange of several calls.
    pub(crate) fn run<E: Exchange>(&self, exchange: E) -> M::Output<E> {
        M::run(self.session(), self.timeout, exchange)
    }

    /// Writes a call on this object.
    pub(crate) fn ask<R: Request>(&self, asking: Asking<'_>, request: &R) -> Result<()> {
        self.put(asking, false, request)
    }

    /// The same, of an exchange that `may_wait`: what the call is granted is taken back if its caller gives up, although it does
    /// not wait.
    pub(crate) fn ask_undone<R: Request>(&self, asking: Asking<'_>, request: &R) -> Result<()> {
        self.put(asking, true, request)
    }

    fn put<R: Request>(&self, mut asking: Asking<'_>, is_undone: bool, request: &R) -> Result<()> {
        let mut is_elsewhere = false;
        request.visit_references(&mut |reference| {
            let handle: Option<Arc<Handle<M>>> = reference.target();
            is_elsewhere |= !handle.is_some_and(|handle| Arc::ptr_eq(&handle.session, self.session()));
            asking.0.keep(reference);
        });
        if is_elsewhere {
            return Err(Error::OtherSession { op: R::NAME });
        }
        asking.0.call(self.handle.number, self.fence, is_undone, request)
    }

    /// Reads a response message. Each reference in it holds on to a handle from now on.
    pub(crate) fn decode<T: Readable + HasReferences>(&self, heard: Heard) -> Result<(T, u64)> {
        let Heard(Reply { index, body, delivered, .. }) = heard;
        // Each of them is given back when it is dropped, also if nobody comes to take it.
        let delivered: Vec<_> = delivered.iter().map(|&number| self.delivered(number, 0, [0; 16])).collect();
        let mut delivered = delivered.into_iter();
        let unreadable = |why: &dyn fmt::Display| {
            let problem = format!("the manager's answer cannot be read ({why}): is it of another version?");
            Error::from(Refusal::new(Reason::Unspecified, problem))
        };
        let mut response = body.read::<T>().map_err(|error| unreadable(&error))?;
        response.change_references(&mut |reference| -> Result<()> {
            let (kind, object) = (reference.kind(), reference.object());
            let handle = delivered.next().filter(|handle| handle.number == reference.handle());
            let mut handle = handle.ok_or_else(|| unreadable(&"a reference in it was not delivered"))?;
            let known = Arc::get_mut(&mut handle).expect("it is new");
            (known.kind, known.object) = (kind, object);
            *reference = Reference::new(handle);
            Ok(())
        })?;
        Ok((response, index))
    }

    /// Makes a token for this object.
    pub(crate) fn share(&self, kind: u32, uses: u32, lifetime: Duration) -> M::Output<Tokens<M>> {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let request = ShareRequest { handle: self.handle.number, uses, lifetime_ms };
        self.run(Tokens { manager: self.of_session(), object: self.clone(), kind, request })
    }

    /// Asks the manager about this object.
    pub(crate) fn describe(&self) -> M::Output<Describe<M>> {
        let request = DescribeRequest { object: Some(describe_request::Object::Handle(self.handle.number)) };
        self.run(Describe { manager: self.of_session(), _object: self.clone(), request })
    }

    /// The manager itself, to be asked about this object.
    pub(crate) fn of_session(&self) -> Self {
        Self::manager(self.session().clone(), self.timeout, None)
    }
}

/// One call.
pub struct Single<M: Mode, R: Request, T> {
    remote: Remote<M>,
    /// The error is apart, since what it takes would be moved around with every call.
    request: Option<Result<R, Box<Error>>>,
    finish: fn(R::Response, u64) -> Result<T>,
}

impl<M: Mode, R: Request, T> Single<M, R, T> {
    /// One call on this object.
    pub(crate) fn new(remote: &Remote<M>, request: Result<R>, finish: fn(R::Response, u64) -> Result<T>) -> Self {
        Self { remote: remote.clone(), request: Some(request.map_err(Box::new)), finish }
    }
}

impl<M: Mode, R: Request, T> Unpin for Single<M, R, T> {}

impl<M: Mode, R: Request, T> fmt::Debug for Single<M, R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).finish_non_exhaustive()
    }
}

impl<M: Mode, R: Request, T> Exchange for Single<M, R, T> {
    type Value = T;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let request = self.request.take().expect("a single call is asked once");
        self.remote.ask(asking, &request.map_err(|error| *error)?)
    }

    fn may_wait(&self) -> bool {
        R::WAITS
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<T>> {
        let (response, index) = self.remote.decode::<R::Response>(heard)?;
        (self.finish)(response, index).map(Step::Done)
    }
}

/// One call whose result belongs to the object, and gives it back some day.
pub struct Grant<M: Mode, R: Request, T> {
    remote: Remote<M>,
    request: Result<R, Box<Error>>,
    finish: fn(Remote<M>, R::Response, &R) -> Result<T>,
}

impl<M: Mode, R: Request, T> Unpin for Grant<M, R, T> {}

impl<M: Mode, R: Request, T> fmt::Debug for Grant<M, R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).finish_non_exhaustive()
    }
}

impl<M: Mode, R: Request, T> Exchange for Grant<M, R, T> {
    type Value = T;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.remote.ask(asking, self.request.as_ref().map_err(|error| (**error).clone())?)
    }

    fn may_wait(&self) -> bool {
        R::WAITS
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<T>> {
        let (response, _) = self.remote.decode::<R::Response>(heard)?;
        let request = self.request.as_ref().map_err(|error| (**error).clone())?;
        (self.finish)(self.remote.clone(), response, request).map(Step::Done)
    }
}

/// What gives back what it holds when it is dropped.
pub trait Guard {
    /// It does not hold it any more. Nothing may be dropped here.
    fn disarm(&mut self);
}

/// One call by which a guard gives back what it holds, or has it made into something else.
///
/// Where the call is not made, the guard is dropped with this, and does what it does then.
pub struct Ending<M: Mode, G, R: Request, T> {
    remote: Remote<M>,
    guard: G,
    request: Result<R, Box<Error>>,
    /// Whether the object grants something new, which is taken back from a caller that has given up.
    grants: bool,
    finish: fn(&Remote<M>, R::Response) -> T,
}

impl<M: Mode> Remote<M> {
    /// Ends what a guard holds.
    pub(crate) fn end<G: Guard, R: Request>(&self, guard: G, request: Result<R>) -> M::Output<Ending<M, G, R, ()>> {
        let (remote, request) = (self.clone(), request.map_err(Box::new));
        self.run(Ending { remote, guard, request, grants: false, finish: |_, _| () })
    }

    /// Makes what a guard holds into something else that the object grants.
    pub(crate) fn exchange<G: Guard, R: Request, T>(
        &self,
        guard: G,
        request: Result<R>,
        finish: fn(&Self, R::Response) -> T,
    ) -> M::Output<Ending<M, G, R, T>> {
        let (remote, request) = (self.clone(), request.map_err(Box::new));
        self.run(Ending { remote, guard, request, grants: true, finish })
    }
}

impl<M: Mode, G, R: Request, T> Unpin for Ending<M, G, R, T> {}

impl<M: Mode, G, R: Request, T> fmt::Debug for Ending<M, G, R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).finish_non_exhaustive()
    }
}

impl<M: Mode, G: Guard, R: Request, T> Exchange for Ending<M, G, R, T> {
    type Value = T;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let request = self.request.as_ref().map_err(|error| (**error).clone())?;
        if self.grants {
            self.remote.ask_undone(asking, request)?;
        } else {
            self.remote.ask(asking, request)?;
        }
        self.guard.disarm();
        Ok(())
    }

    fn may_wait(&self) -> bool {
        self.grants
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<T>> {
        let (response, _) = self.remote.decode::<R::Response>(heard)?;
        Ok(Step::Done((self.finish)(&self.remote, response)))
    }
}

/// The reading of something a page at a time.
pub struct Paged<R: Request, T, C, M: Mode> {
    remote: Remote<M>,
    request: Result<R>,
    read: Vec<T>,
    take: Take<R, T>,
    collect: fn(Vec<T>) -> Result<C>,
}

/// Takes what is on a page, and says whether the request, which it changes, leads to another one.
pub(crate) type Take<R, T> = fn(&mut R, <R as Request>::Response, &mut Vec<T>) -> Result<bool>;

impl<M: Mode> Remote<M> {
    /// Asks for page after page. The request may already be an error.
    pub(crate) fn paged<R: Request, T, C>(
        &self,
        request: Result<R>,
        take: Take<R, T>,
        collect: fn(Vec<T>) -> Result<C>,
    ) -> M::Output<Paged<R, T, C, M>> {
        self.run(Paged { remote: self.clone(), request, read: Vec::new(), take, collect })
    }

    /// Sends items in as many calls as it takes, and adds up what they come to.
    pub(crate) fn chunked<T: Message + 'static, R: Request, A>(
        &self,
        items: Result<Vec<T>>,
        make: fn(Vec<T>) -> R,
        total: A,
        add: fn(&mut A, R::Response),
    ) -> M::Output<Chunked<T, R, A, M>> {
        self.run(Chunked::new(self, items, make, total, add))
    }

    /// The same where each call may wait so long.
    pub(crate) fn chunked_wait<T: Message + 'static, R: Request, A>(
        &self,
        patience: Option<Duration>,
        items: Result<Vec<T>>,
        make: impl Fn(Vec<T>) -> R + Send + Sync + 'static,
        total: A,
        add: fn(&mut A, R::Response),
    ) -> M::Output<Chunked<T, R, A, M>> {
        M::run(self.session(), self.time_of_wait(patience), Chunked::new(self, items, make, total, add))
    }
}

impl<R: Request, T, C, M: Mode> Unpin for Paged<R, T, C, M> {}

impl<R: Request, T, C, M: Mode> fmt::Debug for Paged<R, T, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).field("read", &self.read.len()).finish_non_exhaustive()
    }
}

impl<R: Request, T, C, M: Mode> Exchange for Paged<R, T, C, M> {
    type Value = C;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.remote.ask(asking, self.request.as_ref().map_err(Clone::clone)?)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<C>> {
        let (response, _) = self.remote.decode::<R::Response>(heard)?;
        let request = self.request.as_mut().map_err(|error| error.clone())?;
        if (self.take)(request, response, &mut self.read)? {
            return Ok(Step::Again);
        }
        (self.collect)(mem::take(&mut self.read)).map(Step::Done)
    }
}

/// The sending of many items.
pub struct Chunked<T, R: Request, A, M: Mode> {
    remote: Remote<M>,
    items: Result<std::vec::IntoIter<T>>,
    make: Box<dyn Fn(Vec<T>) -> R + Send + Sync>,
    total: Option<A>,
    add: fn(&mut A, R::Response),
}

impl<T, R: Request, A, M: Mode> Chunked<T, R, A, M> {
    fn new(
        remote: &Remote<M>,
        items: Result<Vec<T>>,
        make: impl Fn(Vec<T>) -> R + Send + Sync + 'static,
        total: A,
        add: fn(&mut A, R::Response),
    ) -> Self {
        let items = items.map(Vec::into_iter);
        Self { remote: remote.clone(), items, make: Box::new(make), total: Some(total), add }
    }
}

impl<T, R: Request, A, M: Mode> Unpin for Chunked<T, R, A, M> {}

impl<T, R: Request, A, M: Mode> fmt::Debug for Chunked<T, R, A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).finish_non_exhaustive()
    }
}

impl<T: Message, R: Request, A, M: Mode> Exchange for Chunked<T, R, A, M> {
    type Value = A;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let items = self.items.as_mut().map_err(|error| error.clone())?;
        self.remote.ask(asking, &(self.make)(next_chunk(items)))
    }

    fn may_wait(&self) -> bool {
        R::WAITS
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<A>> {
        let (response, _) = self.remote.decode::<R::Response>(heard)?;
        let mut total = self.total.take().expect("an exchange ends once");
        (self.add)(&mut total, response);
        if self.items.as_ref().is_ok_and(|rest| !rest.as_slice().is_empty()) {
            self.total = Some(total);
            return Ok(Step::Again);
        }
        Ok(Step::Done(total))
    }
}

/// A bulk write or read sends at most about this much at once, so that no call keeps others from the object for long.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// Takes as many items as one call is to send: at least one, if there is one.
fn next_chunk<T: Message>(items: &mut std::vec::IntoIter<T>) -> Vec<T> {
    let mut bytes = 0;
    let mut chunk = Vec::new();
    while let Some(next) = items.as_slice().first() {
        bytes += next.encoded_len();
        if bytes > CHUNK_BYTES && !chunk.is_empty() {
            break;
        }
        chunk.extend(items.next());
    }
    chunk
}

/// The making of a token.
#[derive(Debug)]
pub struct Tokens<M: Mode> {
    manager: Remote<M>,
    /// The handle must stay open until the manager has answered.
    object: Remote<M>,
    kind: u32,
    request: ShareRequest,
}

impl<M: Mode> Unpin for Tokens<M> {}

impl<M: Mode> Exchange for Tokens<M> {
    type Value = Token;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.manager.ask(asking, &self.request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Token>> {
        let (response, _) = self.manager.decode::<ShareResponse>(heard)?;
        let peer = self.object.session().peer().0;
        Ok(Step::Done(Token::new(self.kind, peer.incarnation, response.token, peer.address.clone())))
    }
}

/// For proxies that are generic over what they hold without holding any of it.
pub(crate) type Holds<T> = PhantomData<fn(T) -> T>;
