//! One client process's life with the manager.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use holdfast_objects::catalog::{self, AnyOp};
use holdfast_objects::{Answer, Ended, SessionId};
use holdfast_proto::frame::{self, CallFrame};
use holdfast_proto::ops::{Op, Response, Unreadable};
use holdfast_proto::{
    CloseResponse, CreateRequest, CreateResponse, DeleteResponse, HANDLE_METADATA, OBJECT_BINARY_METADATA,
    OBJECT_METADATA, OpenResponse, Reason, Refusal, ShareRequest, ShareResponse, StatusResponse, TakeUpRequest,
    TakeUpResponse, manager,
};
use slab::Slab;
use uuid::Uuid;

use crate::engine::Engine;
use crate::limits::Limits;
use crate::registry::Registry;
use crate::rpc::{Method, Target};
use crate::slot::Slot;
use crate::tokens::Tokens;

/// What all sessions share: the objects and how they are reached.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Arc<Limits>,
    /// New at each start.
    pub(crate) incarnation: Uuid,
    sessions: AtomicUsize,
}

impl Store {
    pub(crate) fn new(limits: Limits) -> Self {
        let limits = Arc::new(limits);
        Self {
            engine: Engine::new(limits.clone()),
            registry: Registry::new(limits.name_bytes),
            tokens: Tokens::new(limits.tokens),
            incarnation: Uuid::now_v7(),
            sessions: AtomicUsize::new(0),
            limits,
        }
    }
}

/// One client process's life with the manager: the handles it has, and the calls it makes with them.
///
/// However it ends, it ends like one that gave back everything: each object it had a handle to is told, and each handle
/// is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    id: Uuid,
    /// By handle, less one: handle 0 is the manager.
    handles: Slab<Arc<Slot>>,
    /// What unary calls opened by name. The name may stand for another object by now.
    named: HashMap<Box<str>, Arc<Slot>>,
    store: Arc<Store>,
    how: Ended,
}

impl Session {
    /// Opens a session, unless there are too many.
    pub(crate) fn open(store: &Arc<Store>) -> Result<Self, Refusal> {
        let limit = store.limits.sessions;
        if store.sessions.fetch_add(1, Ordering::Relaxed) >= limit {
            store.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::new(
                Reason::Quota,
                format!("there are {limit} sessions, the limit named sessions: close some, or raise it"),
            ));
        }
        Ok(Self {
            id: Uuid::now_v7(),
            handles: Slab::new(),
            named: HashMap::new(),
            store: store.clone(),
            how: Ended::Lost,
        })
    }

    /// The id of the session.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// The client said goodbye.
    pub(crate) fn close(&mut self) {
        self.how = Ended::Closed;
    }

    /// Makes one call and appends its reply.
    pub(crate) fn call(&mut self, call: &CallFrame<'_>, replies: &mut BytesMut) {
        let (index, answer) = self.answer(call, replies);
        if let Err(refusal) = answer {
            frame::put_refusal(replies, call.sequence, index, &refusal);
        }
    }

    /// The index of the call, and `Ok` if its response was appended.
    fn answer(&mut self, call: &CallFrame<'_>, replies: &mut BytesMut) -> (u64, Result<(), Refusal>) {
        let limit = self.store.limits.value_bytes;
        if call.request.len() > limit {
            return (0, Err(too_large(call.request.len(), limit)));
        }
        let Some(key) = call.handle.checked_sub(1) else {
            let result = self.manage(call.op, call.request);
            return (0, result.map(|reply| frame::put_response(replies, call.sequence, 0, &reply)));
        };
        let Some(slot) = self.handles.get(key as usize) else {
            return (0, Err(unknown_handle(call.handle)));
        };
        let op = match AnyOp::decode(slot.kind(), call.op, call.request) {
            Ok(op) => op,
            Err(refusal) => return (0, Err(refusal)),
        };
        match self.store.engine.apply(slot, SessionId(*self.id.as_bytes()), op) {
            (index, Answer::Done(reply)) => {
                frame::put_response(replies, call.sequence, index, &reply);
                (index, Ok(()))
            }
            (index, Answer::Refused(refusal)) => (index, Err(refusal)),
        }
    }

    /// Makes one call that came as a request of its own, and appends its response. Also tells its index: 0 if it has none.
    ///
    /// An object that is named is opened for this session, and stays open until the session ends.
    pub(crate) fn call_unary(
        &mut self,
        method: Method,
        target: &Target,
        request: &[u8],
        response: &mut BytesMut,
    ) -> (u64, Result<(), Refusal>) {
        if method.is_of_manager() {
            return (0, self.manage(method.op, request).map(|reply| reply.encode(response)));
        }
        let found = AnyOp::decode(method.kind, method.op, request)
            .and_then(|op| self.find(method.kind, target).map(|slot| (slot, op)));
        let (slot, op) = match found {
            Ok(found) => found,
            Err(refusal) => return (0, Err(refusal)),
        };
        match self.store.engine.apply(&slot, SessionId(*self.id.as_bytes()), op) {
            (index, Answer::Done(reply)) => {
                reply.encode(response);
                (index, Ok(()))
            }
            (index, Answer::Refused(refusal)) => (index, Err(refusal)),
        }
    }

    /// The object that a unary call is about.
    fn find(&mut self, kind: u32, target: &Target) -> Result<Arc<Slot>, Refusal> {
        let slot = match target {
            Target::Name(name) => return self.find_named(name, kind),
            Target::Handle(handle) => self.handles[self.key(*handle)?].clone(),
            Target::Nothing => return Err(unnamed()),
        };
        if slot.kind() == kind {
            return Ok(slot);
        }
        let (is, asked) = (catalog::kind_name(slot.kind()), catalog::kind_name(kind));
        let problem = format!("the handle is of a {is}, not of a {asked}: call the service of its kind");
        Err(Refusal::new(Reason::WrongKind, problem))
    }

    fn find_named(&mut self, name: &str, kind: u32) -> Result<Arc<Slot>, Refusal> {
        let slot = self.store.registry.find(name, kind)?;
        match self.named.get_mut(name) {
            // One that was deleted holds nothing for this session any more.
            Some(known) => known.clone_from(&slot),
            None => {
                self.check_handles()?;
                self.named.insert(name.into(), slot.clone());
            }
        }
        Ok(slot)
    }

    /// A call on the manager itself.
    fn manage(&mut self, op: u32, request: &[u8]) -> Result<manager::Reply, Refusal> {
        use manager::{Op as Ask, Reply};
        let op = Ask::decode(op, request).map_err(|unreadable| match unreadable {
            Unreadable::Unknown => Refusal::new(
                Reason::UnknownOp,
                format!("the manager has no op with number {op}: is the client newer than the manager?"),
            ),
            Unreadable::Malformed(error) => {
                Refusal::new(Reason::Malformed, format!("the request cannot be read: {error}"))
            }
        })?;
        Ok(match op {
            Ask::Open(request) => {
                self.check_handles()?;
                let (slot, created) = self.store.registry.open(&request, &self.store.engine)?;
                Reply::Open(OpenResponse { handle: self.keep(slot), created })
            }
            Ask::Create(CreateRequest { kind, spec }) => {
                self.check_handles()?;
                let slot = self.store.engine.create(kind, &spec)?;
                Reply::Create(CreateResponse { handle: self.keep(slot) })
            }
            Ask::Close(request) => {
                let key = self.key(request.handle)?;
                // The session goes on, and may have another handle to the same object: nothing of it is left yet.
                drop(self.handles.remove(key));
                Reply::Close(CloseResponse {})
            }
            Ask::Delete(request) => {
                self.store.registry.delete(&request.name)?;
                Reply::Delete(DeleteResponse {})
            }
            Ask::Share(request) => Reply::Share(self.share(&request)?),
            Ask::TakeUp(TakeUpRequest { token, kind }) => {
                self.check_handles()?;
                let slot = self.store.tokens.take_up(&token, kind, Instant::now())?;
                Reply::TakeUp(TakeUpResponse { handle: self.keep(slot) })
            }
            Ask::Status(_) => Reply::Status(self.status()),
        })
    }

    fn share(&self, request: &ShareRequest) -> Result<ShareResponse, Refusal> {
        let slot = self.handles[self.key(request.handle)?].clone();
        let token = self.store.tokens.share(slot, request, Instant::now())?;
        Ok(ShareResponse { token: token.into() })
    }

    fn status(&self) -> StatusResponse {
        let usage = self.store.engine.usage();
        StatusResponse {
            objects: usage.objects() as u64,
            sessions: self.store.sessions.load(Ordering::Relaxed) as u64,
            bytes: usage.bytes(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn check_handles(&self) -> Result<(), Refusal> {
        let limit = self.store.limits.handles;
        if self.handles.len() + self.named.len() < limit {
            return Ok(());
        }
        let problem = format!("this session has {limit} handles, the limit named handles: drop proxies, or raise it");
        Err(Refusal::new(Reason::Quota, problem))
    }

    fn key(&self, handle: u32) -> Result<usize, Refusal> {
        let key = handle.checked_sub(1).map(|key| key as usize);
        key.filter(|key| self.handles.contains(*key)).ok_or_else(|| unknown_handle(handle))
    }

    fn keep(&mut self, slot: Arc<Slot>) -> u32 {
        let key = self.handles.insert(slot);
        u32::try_from(key + 1).expect("the limit on handles is far below 2^32")
    }
}

/// The request is larger than the limit.
pub(crate) fn too_large(bytes: usize, limit: usize) -> Refusal {
    let problem = format!(
        "the request has {bytes} bytes and the limit named value_bytes is {limit}: store less at once, or raise it"
    );
    Refusal::new(Reason::ValueTooLarge, problem)
}

fn unnamed() -> Refusal {
    let problem = format!(
        "the call names no object: send its name as the metadata {OBJECT_METADATA} or {OBJECT_BINARY_METADATA}, or its \
         handle, which ManagerService gives, as {HANDLE_METADATA}"
    );
    Refusal::new(Reason::Malformed, problem)
}

fn unknown_handle(handle: u32) -> Refusal {
    Refusal::new(Reason::UnknownHandle, format!("this session has no handle {handle}: open the object first"))
}

impl Drop for Session {
    fn drop(&mut self) {
        self.store.sessions.fetch_sub(1, Ordering::Relaxed);
        let handles = std::mem::take(&mut self.handles).into_iter().map(|(_, slot)| slot);
        let handles = handles.chain(std::mem::take(&mut self.named).into_values()).collect();
        let end = End { handles, session: SessionId(*self.id.as_bytes()), how: self.how, store: self.store.clone() };
        end.start();
    }
}

/// The end of a session, object by object.
struct End {
    handles: Vec<Arc<Slot>>,
    session: SessionId,
    how: Ended,
    store: Arc<Store>,
}

impl End {
    /// How many objects are left without a pause for others.
    const AT_ONCE: usize = 1024;

    /// Leaves a few objects at once, and many without holding up other sessions.
    fn start(mut self) {
        if self.handles.len() <= Self::AT_ONCE {
            self.leave_some();
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                while self.leave_some() {
                    tokio::task::yield_now().await;
                }
            });
        } else {
            while self.leave_some() {}
        }
    }

    /// Whether some are left over.
    fn leave_some(&mut self) -> bool {
        for slot in self.handles.split_off(self.handles.len().saturating_sub(Self::AT_ONCE)) {
            self.store.engine.leave(&slot, self.session, self.how);
        }
        !self.handles.is_empty()
    }
}
