//! One client process's life with the manager.

use std::collections::{HashMap, hash_map};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use holdfast_objects::catalog::{self, AnyOp, AnyReply};
use holdfast_objects::mutant::{Mutant, mutant};
use holdfast_objects::{Answer, Client, Ended, SessionId, Withdrawal};
use holdfast_proto::datum::{HasReferences as _, Named, Reference, Target as _};
use holdfast_proto::frame::{self, CallFrame, Pieces};
use holdfast_proto::ops::{Op, Response, Unreadable};
use holdfast_proto::{
    AcknowledgeRequest, AcknowledgeResponse, CloseRequest, CloseResponse, CreateRequest, CreateResponse,
    DeleteResponse, DescribeRequest, DescribeResponse, ExistsResponse, HANDLE_METADATA, Limit, LimitsResponse,
    OBJECT_BINARY_METADATA, OBJECT_METADATA, OpenResponse, Reason, Refusal, RenameResponse, ShareRequest,
    ShareResponse, StatusResponse, TakeUpRequest, TakeUpResponse, WithdrawRequest, WithdrawResponse, describe_request,
    manager,
};
use slab::Slab;
use uuid::Uuid;

use crate::admission::Admission;
use crate::detached::Resumables;
use crate::engine::{Asked, Engine};
use crate::limits::Limits;
use crate::registry::Registry;
use crate::rpc::{Method, Target};
use crate::slot::{Held, Slot};
use crate::steps::in_steps;
use crate::tokens::Tokens;
use crate::waits::{Answered, UNARY, Waiting};

/// What all sessions share: the objects and how they are reached.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Arc<Limits>,
    pub(crate) admission: Arc<Admission>,
    /// New at each start.
    pub(crate) incarnation: Uuid,
    pub(crate) resumables: Resumables,
    sessions: AtomicUsize,
}

impl Store {
    pub(crate) fn new(limits: Limits, epoch: u16) -> Self {
        let limits = Arc::new(limits);
        Self {
            engine: Engine::new(limits.clone(), epoch),
            registry: Registry::new(limits.name_bytes),
            tokens: Tokens::new(limits.tokens),
            admission: Admission::new(limits.clone()),
            incarnation: Uuid::now_v7(),
            resumables: Resumables::default(),
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
    handles: Slab<Handle>,
    /// The keys of those handles that were delivered in references, by where their slots are.
    delivered: HashMap<usize, usize, RandomState>,
    /// What unary calls opened by name. The name may stand for another object by now.
    named: HashMap<Box<str>, Held>,
    /// Objects whose handles were given back while the session held something of them, or waited, by where their slots are:
    /// they are told of its end.
    involved: HashMap<usize, Held, RandomState>,
    waiting: Arc<Waiting>,
    /// The number of the last unary call.
    last_unary: u64,
    client: Arc<Client>,
    store: Arc<Store>,
    how: Ended,
    /// Whether it is among those that can be resumed.
    resumable: bool,
}

/// What a unary call may have been granted, and by which call.
#[derive(Debug)]
pub(crate) struct Grant {
    slot: Held,
    number: u64,
}

impl Grant {
    /// The number of the call.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// What became of a unary call.
#[derive(Debug)]
pub(crate) enum Unary {
    Answered(UnaryAnswer),
    /// Its answer comes from [`Waiting::next_unary_answer`].
    Waits(Grant),
}

/// The answer to a unary call; its response is where it was to be appended.
#[derive(Debug)]
pub(crate) struct UnaryAnswer {
    /// 0 if it has none.
    pub(crate) index: u64,
    pub(crate) result: Result<(), Refusal>,
    /// What it may have been granted.
    pub(crate) grant: Option<Grant>,
}

/// What a handle stands for.
#[derive(Debug)]
struct Handle {
    slot: Held,
    /// How often the client was told of it and has not given it back: more than once only for references, of which many
    /// may be on their way to a client that gives one back.
    deliveries: u32,
}

impl Session {
    /// Opens a session, unless there are too many.
    pub(crate) fn open(store: &Arc<Store>, client: Client) -> Result<Self, Refusal> {
        let limit = store.limits.sessions;
        if store.sessions.fetch_add(1, Ordering::Relaxed) >= limit {
            store.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::new(
                Reason::Quota,
                format!("there are {limit} sessions, the limit named sessions: close some, or raise it"),
            ));
        }
        let id = Uuid::now_v7();
        Ok(Self {
            id,
            handles: Slab::new(),
            delivered: HashMap::default(),
            named: HashMap::new(),
            involved: HashMap::default(),
            waiting: store.engine.waits().join(SessionId(*id.as_bytes())),
            last_unary: UNARY,
            store: store.clone(),
            how: Ended::Lost,
            resumable: false,
            client: Arc::new(client),
        })
    }

    /// The id of the session.
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    /// Its calls that wait, and the answers to those that do not any more.
    pub(crate) fn waiting(&self) -> &Arc<Waiting> {
        &self.waiting
    }

    /// Whose session it is.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The client has said who it is.
    pub(crate) fn introduce(&mut self, client: Client) {
        self.client = Arc::new(client);
    }

    /// It is among those that can be resumed, until it ends.
    pub(crate) fn be_resumable(&mut self) {
        self.resumable = true;
    }

    /// The client said goodbye.
    pub(crate) fn close(&mut self) {
        self.how = Ended::Closed;
    }

    /// Makes one call and appends its reply, unless it waits. Whether there is a reply.
    pub(crate) fn call(&mut self, call: &CallFrame<'_>, buffer: Option<&Bytes>, replies: &mut Pieces) -> bool {
        let (index, answer) = self.answer(call, buffer, replies);
        match answer {
            Ok(replied) => replied,
            Err(refusal) => {
                frame::put_refusal(replies, call.sequence, index, &refusal);
                true
            }
        }
    }

    /// The index of the call, and whether its response was appended.
    fn answer(
        &mut self,
        call: &CallFrame<'_>,
        buffer: Option<&Bytes>,
        replies: &mut Pieces,
    ) -> (u64, Result<bool, Refusal>) {
        let limit = self.store.limits.value_bytes;
        if call.request.len() > limit {
            return (0, Err(too_large(call.request.len(), limit)));
        }
        let Some(key) = call.handle.checked_sub(1) else {
            let result = self.manage(call.op, call.request);
            return (0, result.map(|reply| frame::put_response(replies, call.sequence, 0, reply)).map(|()| true));
        };
        let Some(Handle { slot, .. }) = self.handles.get(key as usize) else {
            return (0, Err(unknown_handle(call.handle)));
        };
        let decoded = match buffer {
            Some(buffer) => AnyOp::decode_in(slot.kind(), call.op, call.request, buffer),
            None => AnyOp::decode(slot.kind(), call.op, call.request),
        };
        let mut op = match decoded {
            Ok(op) => op,
            Err(refusal) => return (0, Err(refusal)),
        };
        if let Err(refusal) = self.resolve_all(slot, &mut op) {
            return (0, Err(refusal));
        }
        let asked = Asked { number: call.sequence, fence: call.fence, op };
        let (index, answer) = self.store.engine.apply(slot, &self.waiting, asked);
        match answer {
            // What nearly every answer is: most objects have no references to give.
            Answer::Done(reply) if !slot.refers() => frame::put_response(replies, call.sequence, index, reply),
            Answer::Done(reply) => self.reply(call.sequence, index, reply, true, false, replies),
            Answer::Delivered(reply) => {
                let refers = slot.refers();
                self.reply(call.sequence, index, reply, refers, true, replies);
            }
            Answer::Wait(_) => return (index, Ok(false)),
            Answer::Refused(refusal) => return (index, Err(refusal)),
        }
        (index, Ok(true))
    }

    /// Appends the reply to a call that waited.
    pub(crate) fn put_answer(&mut self, answered: Answered, replies: &mut Pieces) {
        let Answered { number, index, answer, slot } = answered;
        match answer {
            Answer::Done(reply) => self.reply(number, index, reply, slot.refers(), false, replies),
            Answer::Delivered(reply) => self.reply(number, index, reply, slot.refers(), true, replies),
            Answer::Refused(refusal) => frame::put_refusal(replies, number, index, &refusal),
            Answer::Wait(_) => unreachable!("a call that waited is answered"),
        }
    }

    fn reply(
        &mut self,
        sequence: u64,
        index: u64,
        mut reply: AnyReply,
        refers: bool,
        acknowledge: bool,
        replies: &mut Pieces,
    ) {
        let delivered = if refers { self.deliver(&mut reply) } else { Vec::new() };
        match (delivered.is_empty(), acknowledge) {
            (true, false) => frame::put_response(replies, sequence, index, reply),
            (true, true) => frame::put_response_to_acknowledge(replies, sequence, index, reply),
            (false, _) => frame::put_special_response(replies, sequence, index, &reply, delivered, acknowledge),
        }
    }

    /// Lets the references in a request be to the objects that their handles stand for.
    #[inline]
    fn resolve_all(&self, slot: &Arc<Slot>, op: &mut AnyOp) -> Result<(), Refusal> {
        op.change_references(&mut |reference| {
            slot.will_refer();
            self.resolve(reference)
        })
    }

    /// The object that a reference of the client stands for.
    fn resolve(&self, reference: &mut Reference) -> Result<(), Refusal> {
        let key = self.key(reference.handle())?;
        *reference = self.handles[key].slot.to_reference();
        Ok(())
    }

    /// Gives the session a handle for each reference in a reply, and each reference its handle. Returns the handles.
    ///
    /// No limit keeps them away: what was taken out of an object would be lost. They count as handles, so a session that
    /// has too many opens no more; and an object has one handle of this sort, however often it is delivered.
    #[inline]
    fn deliver(&mut self, reply: &mut AnyReply) -> Vec<u32> {
        let mut delivered = Vec::new();
        let Ok(()) = reply.change_references(&mut |reference| -> Result<(), Infallible> {
            if let Some(slot) = reference.target::<Slot>() {
                let (kind, object) = (reference.kind(), reference.object());
                let handle = self.deliver_one(slot);
                delivered.push(handle);
                *reference = Reference::new(Arc::new(Named { handle, kind, object }));
            }
            Ok(())
        });
        delivered
    }

    fn deliver_one(&mut self, slot: Arc<Slot>) -> u32 {
        let key = match self.delivered.entry(Arc::as_ptr(&slot).addr()) {
            hash_map::Entry::Occupied(known) => {
                let key = *known.get();
                self.handles[key].deliveries += 1;
                key
            }
            hash_map::Entry::Vacant(place) => {
                *place.insert(self.handles.insert(Handle { slot: slot.into(), deliveries: 1 }))
            }
        };
        handle_of(key)
    }

    /// Makes one call that came as a request of its own, and appends its response, unless it waits.
    ///
    /// An object that is named is opened for this session, and stays open until the session ends.
    pub(crate) fn call_unary(
        &mut self,
        method: Method,
        target: &Target,
        fence: u64,
        request: &[u8],
        response: &mut BytesMut,
    ) -> Unary {
        if method.is_of_manager() {
            let result = self.manage(method.op, request).map(|reply| reply.encode(response));
            return Unary::Answered(UnaryAnswer { index: 0, result, grant: None });
        }
        let found = self.find(method.kind, target).and_then(|slot| {
            let mut op = AnyOp::decode(method.kind, method.op, request)?;
            self.resolve_all(&slot, &mut op)?;
            Ok((slot, op))
        });
        let (slot, op) = match found {
            Ok(found) => found,
            Err(refusal) => return Unary::Answered(UnaryAnswer { index: 0, result: Err(refusal), grant: None }),
        };
        self.last_unary += 1;
        let grant = Grant { slot: slot.into(), number: self.last_unary };
        let asked = Asked { number: grant.number, fence, op };
        match self.store.engine.apply(&grant.slot, &self.waiting, asked) {
            (_, Answer::Wait(_)) => Unary::Waits(grant),
            (index, answer) => Unary::Answered(self.answer_unary(index, answer, grant, response)),
        }
    }

    /// Appends the response to a unary call that waited.
    pub(crate) fn put_unary_answer(&mut self, answered: Answered, response: &mut BytesMut) -> UnaryAnswer {
        let Answered { number, index, answer, slot } = answered;
        self.answer_unary(index, answer, Grant { slot, number }, response)
    }

    fn answer_unary(
        &mut self,
        index: u64,
        answer: Answer<AnyReply>,
        grant: Grant,
        response: &mut BytesMut,
    ) -> UnaryAnswer {
        match answer {
            Answer::Done(mut reply) | Answer::Delivered(mut reply) => {
                // Each reference in it tells its handle; there is nobody who could not read the response.
                self.deliver(&mut reply);
                reply.encode(response);
                UnaryAnswer { index, result: Ok(()), grant: Some(grant) }
            }
            Answer::Refused(refusal) => UnaryAnswer { index, result: Err(refusal), grant: None },
            Answer::Wait(_) => unreachable!("a call that waits is not answered"),
        }
    }

    /// The client does not want the answer to a unary call any more, or cannot have it.
    pub(crate) fn cancel_unary(&self, grant: &Grant) {
        let call = self.waiting.call(grant.number);
        let engine = &self.store.engine;
        if !engine.withdraw(&grant.slot, call, Withdrawal::Cancelled) {
            engine.undo(&grant.slot, call);
        }
    }

    /// The response to a unary call has left.
    pub(crate) fn acknowledge_unary(&self, grant: &Grant) {
        self.store.engine.acknowledge(&grant.slot, self.waiting.call(grant.number));
    }

    /// The object that a unary call is about.
    fn find(&mut self, kind: u32, target: &Target) -> Result<Arc<Slot>, Refusal> {
        let slot = match target {
            Target::Name(name) => return self.find_named(name, kind),
            Target::Handle(handle) => Arc::clone(&self.handles[self.key(*handle)?].slot),
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
        let slot = self.store.registry.find_kind(name, kind)?;
        match self.named.get_mut(name) {
            Some(known) => {
                let old = std::mem::replace(known, slot.clone().into());
                if !Arc::ptr_eq(&old, &slot) {
                    self.keep_involved(old);
                }
            }
            None => {
                self.check_handles()?;
                self.named.insert(name.into(), slot.clone().into());
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
                let store = &self.store;
                let (slot, created) =
                    store.registry.open(&request, &store.engine, &mut |reference| self.resolve(reference))?;
                let object = slot.object().into();
                Reply::Open(OpenResponse { handle: self.keep(slot), created, object })
            }
            Ask::Create(CreateRequest { kind, spec }) => {
                self.check_handles()?;
                let slot = self.store.engine.create(kind, &spec, &mut |reference| self.resolve(reference))?;
                let object = slot.object().into();
                Reply::Create(CreateResponse { handle: self.keep(slot), object })
            }
            Ask::Close(request) => {
                self.close_handle(&request)?;
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
                let object = slot.object().into();
                Reply::TakeUp(TakeUpResponse { handle: self.keep_held(slot), object })
            }
            Ask::Status(_) => Reply::Status(self.status()),
            Ask::List(request) => Reply::List(self.store.registry.list(&request, self.store.limits.page_bytes)),
            Ask::Exists(request) => {
                let kind = self.store.registry.find(&request.name).map(|slot| slot.kind());
                Reply::Exists(ExistsResponse { exists: kind.is_some(), kind: kind.unwrap_or_default() })
            }
            Ask::Rename(request) => {
                self.store.registry.rename(&request)?;
                Reply::Rename(RenameResponse {})
            }
            Ask::Describe(request) => Reply::Describe(self.describe(request)?),
            Ask::Limits(_) => Reply::Limits(self.limits()),
            Ask::Withdraw(request) => Reply::Withdraw(self.withdraw(&request)?),
            Ask::Acknowledge(request) => {
                self.acknowledge(&request)?;
                Reply::Acknowledge(AcknowledgeResponse {})
            }
        })
    }

    fn withdraw(&self, request: &WithdrawRequest) -> Result<WithdrawResponse, Refusal> {
        let slot = &self.handles[self.key(request.handle)?].slot;
        let call = self.waiting.call(request.call & !UNARY);
        let engine = &self.store.engine;
        let withdrawn = engine.withdraw(slot, call, Withdrawal::Cancelled);
        if request.undo && !withdrawn && !mutant(Mutant::WithdrawKeepsTheGrant) {
            engine.undo(slot, call);
        }
        Ok(WithdrawResponse { withdrawn })
    }

    fn acknowledge(&self, request: &AcknowledgeRequest) -> Result<(), Refusal> {
        let slot = &self.handles[self.key(request.handle)?].slot;
        for number in &request.calls {
            self.store.engine.acknowledge(slot, self.waiting.call(number & !UNARY));
        }
        Ok(())
    }

    /// The session goes on, and may have another handle to the same object: nothing of it is left yet.
    fn close_handle(&mut self, request: &CloseRequest) -> Result<(), Refusal> {
        let key = self.key(request.handle)?;
        let (had, back) = (&mut self.handles[key].deliveries, request.deliveries.max(1));
        *had = had.checked_sub(back).ok_or_else(|| {
            let problem =
                format!("handle {} was delivered {had} times and cannot be given back {back}", request.handle);
            Refusal::new(Reason::Malformed, problem)
        })?;
        if *had == 0 {
            let slot = self.handles.remove(key).slot;
            let place = Arc::as_ptr(&slot).addr();
            if self.delivered.get(&place) == Some(&key) {
                self.delivered.remove(&place);
            }
            if !mutant(Mutant::LeaveNotToldAfterClose) {
                self.keep_involved(slot);
            }
        }
        Ok(())
    }

    /// The session has no way to this object any more, unless it has another one. What it holds there must not be forgotten.
    fn keep_involved(&mut self, slot: Held) {
        if slot.involves(SessionId(*self.id.as_bytes())) {
            self.involved.insert(Arc::as_ptr(&slot).addr(), slot);
        }
    }

    fn share(&self, request: &ShareRequest) -> Result<ShareResponse, Refusal> {
        let slot = self.handles[self.key(request.handle)?].slot.clone();
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

    fn describe(&self, request: DescribeRequest) -> Result<DescribeResponse, Refusal> {
        let slot = match request.object {
            Some(describe_request::Object::Handle(handle)) => Arc::clone(&self.handles[self.key(handle)?].slot),
            Some(describe_request::Object::Name(name)) => self.store.registry.demand(&name)?,
            None => {
                let problem = "the request names no object: set its field \"handle\" or \"name\"";
                return Err(Refusal::new(Reason::Malformed, problem));
            }
        };
        let facts = slot.facts()?;
        let name = slot.name();
        // The one in hand, and those of the registry.
        let ours = 1 + if name.is_some() { Registry::REFERENCES } else { 0 };
        Ok(DescribeResponse {
            kind: slot.kind(),
            name: name.map(|name| (*name).to_owned()),
            bytes: facts.bytes,
            elements: facts.elements,
            references: Arc::strong_count(&slot).saturating_sub(ours) as u64,
            age_ms: u64::try_from(slot.age().as_millis()).unwrap_or(u64::MAX),
            poisoned: facts.poisoned,
        })
    }

    fn limits(&self) -> LimitsResponse {
        let store = &self.store;
        let (connections, unauthenticated) = store.admission.count();
        let used = |name: &str| {
            Some(match name {
                "connections" => connections as u64,
                "unauthenticated" => unauthenticated as u64,
                "host_connections" => store.admission.most_of_a_host() as u64,
                "sessions" => store.sessions.load(Ordering::Relaxed) as u64,
                "objects" => store.engine.usage().objects() as u64,
                "handles" => self.handles.len() as u64,
                "tokens" => store.tokens.len() as u64,
                "total_bytes" => store.engine.usage().bytes(),
                "waiters" => store.engine.waits().len() as u64,
                "session_waiters" => self.waiting.len() as u64,
                _ => return None,
            })
        };
        let limits = store.limits.values();
        LimitsResponse {
            limits: limits.map(|(name, value)| Limit { name: name.to_owned(), value, used: used(name) }).collect(),
        }
    }

    fn check_handles(&self) -> Result<(), Refusal> {
        let limit = self.store.limits.handles;
        if self.handles.len() + self.named.len() + self.involved.len() < limit {
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
        self.keep_held(slot.into())
    }

    fn keep_held(&mut self, slot: Held) -> u32 {
        handle_of(self.handles.insert(Handle { slot, deliveries: 1 }))
    }
}

fn handle_of(key: usize) -> u32 {
    u32::try_from(key + 1).expect("the limits on handles and objects are far below 2^32")
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
        tracing::debug!(session = %self.id, client = %self.client, how = ?self.how, "a session ended");
        if self.resumable {
            self.store.resumables.remove(self.id);
        }
        self.store.sessions.fetch_sub(1, Ordering::Relaxed);
        let handles = std::mem::take(&mut self.handles).into_iter().map(|(_, handle)| handle.slot);
        let handles = handles.chain(std::mem::take(&mut self.named).into_values());
        let handles = handles.chain(std::mem::take(&mut self.involved).into_values());
        let handles = handles.chain(self.store.engine.waits().leave(&self.waiting)).collect();
        let session = SessionId(*self.id.as_bytes());
        let (how, client, store) = (self.how, self.client.clone(), self.store.clone());
        End { handles, session, how, client, store }.start();
    }
}

/// The end of a session, object by object.
struct End {
    handles: Vec<Held>,
    session: SessionId,
    how: Ended,
    client: Arc<Client>,
    store: Arc<Store>,
}

impl End {
    /// How many objects are left without a pause for others: 0.1 ms, as long as a stint.
    const AT_ONCE: usize = 256;

    /// Leaves a few objects at once, and many without holding up other sessions.
    fn start(mut self) {
        in_steps(move || self.leave_some());
    }

    /// Whether some are left over.
    fn leave_some(&mut self) -> bool {
        for slot in self.handles.split_off(self.handles.len().saturating_sub(Self::AT_ONCE)) {
            self.store.engine.leave(&slot, self.session, self.how, &self.client);
        }
        !self.handles.is_empty()
    }
}
