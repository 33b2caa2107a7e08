//! What was asked, and who waits for the answer.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::task::Waker;
use std::time::{Duration, Instant};

use holdfast_proto::datum::Reference;
use holdfast_proto::frame::{self, CallFrame, ClientSays, Deframer, Pieces};
use holdfast_proto::ops::Request;
use holdfast_proto::{
    AcknowledgeRequest, Call, ClientFrame, CloseRequest, CreateRequest, CreateResponse, Goodbye, OpenRequest, Reason,
    Refusal, TakeUpRequest, Welcome, WithdrawRequest, client_frame,
};
use prost::Message;

use super::busy_poll::Site;
use super::by_number::ByNumber;
use super::{After, End, Reply};
use crate::error::{Error, Result};

/// The most that is around the request in a frame: seven fields with their keys.
const AROUND_REQUEST: usize = 80;

/// Frames beyond this many bytes wait with their callers, not here.
const OUTBOX_BYTES: usize = 4 << 20;

/// So much is worth a write of its own: the manager works on it while the caller asks for more.
const FLUSH_BYTES: usize = 2 << 10;

/// What was asked on a session, and who waits for the answer. The drivers share it under one mutex.
///
/// - A call gets its number when its frame is written into the outbox, so numbers and frames are in the same order.
/// - No more calls are in flight than the manager allows, and no more bytes wait than the outbox takes; who comes later
///   waits in line, and is woken when there is room.
/// - Calls that may wait are not counted among these: what they wait for may be a call that comes later. They have a limit of
///   their own.
/// - A call that may wait, and whose caller gives up, is withdrawn; what it was granted meanwhile is taken back.
/// - An entry in `pending` is there from then until its reply has come *and* its caller has taken it or has given up:
///   a reply without an entry is therefore a fault of the manager, not of timing.
#[derive(Debug)]
pub(super) struct Calls {
    /// Of the last call.
    sequence: u64,
    /// Replies received.
    received: u64,
    pending: ByNumber<Pending>,
    /// Calls whose reply has not come.
    in_flight: u32,
    /// Those of them that may wait.
    waiting: u32,
    /// Those of the others for which nobody waits.
    unattended: u32,
    /// How many that do not wait there may be.
    in_flight_max: u32,
    waiting_max: u32,
    frame_bytes: usize,
    outbox: Pieces,
    /// When the outbox has so many bytes, whoever fills it sees to it that they leave.
    flush_at: usize,
    /// Callers without room for their call, first come first served.
    line: VecDeque<InLine>,
    last_ticket: u64,
    /// Calls that open a handle, by their number, until somebody has it.
    opening: HashSet<u64>,
    /// What the session has to say for itself, in this order.
    own: VecDeque<Own>,
    /// Something of it does not wait for the next call.
    own_is_due: bool,
    /// The earliest deadline that a pending call may have.
    deadline: Option<Instant>,
    /// The first call whose time may not have begun: those before were there when the driver last looked.
    timeless: u64,
    /// Nobody has been told of that deadline.
    deadline_is_new: bool,
    /// How many more calls are taken for part of a crowd, although nothing else is in flight when they are made.
    crowd: u8,
    /// The driver was called since it last looked what there is to do.
    driver_is_called: bool,
    end: Option<End>,
    leaving: Leaving,
}

/// Whether the client has said goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Not,
    /// When the session has said all else that it has to say.
    Wanted,
    /// At once.
    Hurried,
    Said,
}

/// `waits` is the handle of the object at which the call may wait; 0, which is the manager's, if it does not.
#[derive(Debug)]
enum Pending {
    /// No reply yet.
    Waiting { waker: Option<Waker>, patience: Patience, op: &'static str, waits: u32 },
    /// The deadline passed; the caller does not know yet. One that may wait has been withdrawn.
    Expired { op: &'static str, waits: u32, is_answered: bool },
    /// The caller does not wait any more.
    Abandoned { waits: bool },
    /// The caller has not taken it yet.
    Answered { answer: Result<Reply, Refusal>, waits: u32 },
}

/// A call that the session makes without anybody waiting for it.
#[derive(Debug)]
enum Own {
    /// Nobody has a proxy for this handle any more.
    Close(u32),
    /// Nobody wants what this call is granted.
    Withdraw { handle: u32, call: u64 },
    /// The caller has the answer to this call.
    Acknowledge { handle: u32, call: u64 },
    /// Somebody does not wait for what comes of it.
    Cast { handle: u32, op: u32, request: Vec<u8> },
}

impl Pending {
    /// The handle of the object at which the call may wait.
    fn handle(&self) -> u32 {
        match self {
            Self::Waiting { waits, .. } | Self::Expired { waits, .. } | Self::Answered { waits, .. } => *waits,
            Self::Abandoned { .. } => 0,
        }
    }

    /// Whether it is counted among the calls that may wait.
    fn waits(&self) -> bool {
        match self {
            Self::Waiting { waits, .. } | Self::Expired { waits, is_answered: false, .. } => *waits != 0,
            Self::Abandoned { waits } => *waits,
            Self::Expired { .. } | Self::Answered { .. } => false,
        }
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as it takes.
    Endless,
    /// So long since the driver has looked, which is at once where its thread is free: all who ask before that share one
    /// look at the clock.
    For(Duration),
    /// Until then.
    Until(Instant),
}

impl Patience {
    pub(super) fn of(timeout: Option<Duration>) -> Self {
        timeout.map_or(Self::Endless, Self::For)
    }

    pub(super) fn until(deadline: Option<Instant>) -> Self {
        deadline.map_or(Self::Endless, Self::Until)
    }

    /// From now on its time runs. The clock is not looked at where that makes no difference.
    fn begin(self, now: impl FnOnce() -> Instant) -> Self {
        match self {
            Self::For(timeout) => Self::until(now().checked_add(timeout)),
            begun => begun,
        }
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Until(deadline) => Some(deadline),
            Self::Endless | Self::For(_) => None,
        }
    }
}

/// A call that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked(u64);

/// Where calls come one after the other, each may be moved by its own task. Where they come together one task should move
/// them all, so that they share frames; and where they lately did, the first of the next lot is not alone for long.
const CROWD: u8 = 16;

/// A caller in line. Whoever holds a ticket and stops waiting hands it back, or the one behind would never be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct InLine {
    ticket: Ticket,
    waker: Option<Waker>,
    deadline: Option<Instant>,
}

/// Why a call was not made.
pub(super) enum NotAsked {
    /// There is no room, and there was no waker to stand in line with.
    Full,
    /// There is no room: the caller stands in line, until its time is over.
    Line(Ticket, Option<Instant>),
    /// It cannot be made.
    Error(Error),
    /// The session has ended.
    Ended(End),
}

/// What has become of a call.
pub(super) enum Outcome {
    Waiting,
    Answered(Result<Reply, Refusal>),
    /// Its time is over. This is the op.
    Expired(&'static str),
    Ended(End),
}

/// Where one call is written.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    calls: &'a mut Calls,
    op: &'a mut &'static str,
    opens: &'a mut bool,
    waits: &'a mut u32,
    kept: &'a mut Vec<Reference>,
}

impl Writer<'_> {
    /// Keeps a proxy that is in the request until the calls are free again. The request may be dropped before, and the last
    /// proxy to an object gives its handle back, for which it needs the calls.
    pub(crate) fn keep(&mut self, reference: &Reference) {
        self.kept.push(reference.clone());
    }

    /// The number that the call will have.
    #[cfg(feature = "testing")]
    pub(crate) fn number(&self) -> u64 {
        self.calls.sequence + 1
    }

    /// Writes a call of any op, whose request is encoded already.
    #[cfg(feature = "testing")]
    pub(crate) fn call_any(self, handle: u32, fence: u64, op: u32, waits: bool, request: &[u8]) {
        let Calls { outbox, received, sequence, .. } = self.calls;
        *self.op = "an op of a test";
        *self.waits = if waits { handle } else { 0 };
        let call = Call { sequence: *sequence + 1, handle, op, request: request.to_vec().into(), fence };
        let frame = ClientFrame { received: *received, frame: Some(client_frame::Frame::Call(call)) };
        frame::put_client(outbox, &frame);
    }

    /// Writes the call of this exchange, with a fence unless that is 0. One that may wait is withdrawn if its caller gives up;
    /// so is one that is to be undone then.
    pub(crate) fn call<R: Request>(self, handle: u32, fence: u64, is_undone: bool, request: &R) -> Result<()> {
        let calls = self.calls;
        *self.op = R::NAME;
        *self.waits = if R::WAITS || is_undone { handle } else { 0 };
        *self.opens =
            R::KIND == OpenRequest::KIND && [OpenRequest::OP, CreateRequest::OP, TakeUpRequest::OP].contains(&R::OP);
        // What is around a request takes less than the manager allows for it.
        let bytes = request.written_len();
        if bytes > calls.frame_bytes.saturating_sub(AROUND_REQUEST) {
            return Err(Refusal::new(
                Reason::ValueTooLarge,
                format!(
                    "{}: the call has {bytes} bytes and the manager takes {} at most: store less at once",
                    R::NAME,
                    calls.frame_bytes
                ),
            )
            .into());
        }
        let sequence = calls.sequence + 1;
        if fence == 0 {
            frame::put_sized_call(&mut calls.outbox, calls.received, sequence, handle, R::OP, request, bytes);
        } else {
            let call = CallFrame { sequence, handle, op: R::OP, request: &[], fence };
            frame::put_fenced_call(&mut calls.outbox, calls.received, call, request);
        }
        Ok(())
    }
}

impl Calls {
    pub(super) fn new(welcome: &Welcome) -> Self {
        Self {
            sequence: 0,
            received: 0,
            pending: ByNumber::new(),
            in_flight: 0,
            waiting: 0,
            unattended: 0,
            in_flight_max: welcome.calls_in_flight,
            waiting_max: welcome.waiting_calls,
            frame_bytes: welcome.frame_bytes as usize,
            outbox: Pieces::default(),
            flush_at: FLUSH_BYTES,
            line: VecDeque::new(),
            last_ticket: 0,
            opening: HashSet::new(),
            own: VecDeque::new(),
            own_is_due: false,
            deadline: None,
            timeless: 1,
            deadline_is_new: false,
            crowd: 0,
            driver_is_called: false,
            end: None,
            leaving: Leaving::Not,
        }
    }

    /// Whether a call can be made at once. One that may wait does not take the place of others.
    pub(super) fn has_room(&self, may_wait: bool) -> bool {
        (may_wait || self.in_flight - self.waiting < self.in_flight_max) && self.outbox.len() < OUTBOX_BYTES
    }

    /// Calls that do not wait, and that somebody waits for.
    fn attended(&self) -> u32 {
        (self.in_flight - self.waiting).saturating_sub(self.unattended)
    }

    /// Makes a call: `write` writes its frame. `waker` is for the reply, or for room if there is none; `ticket` is what
    /// the caller holds who was in line before, and is used up. `kept` is to be dropped when the calls are free again.
    pub(super) fn ask(
        &mut self,
        kept: &mut Vec<Reference>,
        ticket: Option<Ticket>,
        patience: Patience,
        waker: Option<&Waker>,
        may_wait: bool,
        write: impl FnOnce(Writer<'_>) -> Result<()>,
    ) -> Result<Asked, NotAsked> {
        if let Some(end) = &self.end {
            return Err(NotAsked::Ended(end.clone()));
        }
        if !self.own.is_empty() {
            // What was dropped before this call is given back before it, so that it has the room that this made.
            self.put_own();
        }
        // One that leaves may have taken their room for what it gives back.
        let all = self.in_flight_max.saturating_add(self.waiting_max);
        if may_wait && (self.waiting >= self.waiting_max || self.in_flight >= all) {
            return Err(NotAsked::Error(too_many_wait(self.waiting_max)));
        }
        if !self.has_room(may_wait) {
            // Nobody stands in line whom nobody could call: those behind would wait for it.
            return Err(match waker {
                Some(_) => self.stand_in_line(ticket, patience, waker),
                None => NotAsked::Full,
            });
        }
        if let Some(ticket) = ticket {
            self.line.retain(|other| other.ticket != ticket);
        }
        let (mut op, mut opens, mut waits) = ("", false, 0);
        let writer = Writer { calls: self, op: &mut op, opens: &mut opens, waits: &mut waits, kept };
        write(writer).map_err(NotAsked::Error)?;
        let is_first = self.attended() == 0;
        self.crowd = if is_first { self.crowd.saturating_sub(1) } else { CROWD };
        // Where nothing else is in flight the driver need not look: such a call may be moved by its own task.
        let patience = if is_first { patience.begin(Instant::now) } else { patience };
        self.note_deadline(patience.deadline());
        let asked = self.count(Pending::Waiting { waker: waker.cloned(), patience, op, waits });
        if opens {
            self.opening.insert(asked.0);
        }
        Ok(asked)
    }

    fn stand_in_line(&mut self, ticket: Option<Ticket>, patience: Patience, waker: Option<&Waker>) -> NotAsked {
        let deadline = patience.begin(Instant::now).deadline();
        self.note_deadline(deadline);
        let waker = waker.cloned();
        let Some(ticket) = ticket else {
            self.last_ticket += 1;
            let ticket = Ticket(self.last_ticket);
            self.line.push_back(InLine { ticket, waker, deadline });
            return NotAsked::Line(ticket, deadline);
        };
        match self.line.iter_mut().find(|other| other.ticket == ticket) {
            Some(place) => place.waker = waker,
            // It was called, and somebody else took the room: it is still the first.
            None => self.line.push_front(InLine { ticket, waker, deadline }),
        }
        NotAsked::Line(ticket, deadline)
    }

    /// A caller in line does not wait any more: whoever is called next may be called in its place.
    pub(super) fn leave_line(&mut self, ticket: Ticket) -> Option<Waker> {
        let before = self.line.len();
        self.line.retain(|other| other.ticket != ticket);
        if self.line.len() == before { self.call_next() } else { None }
    }

    fn call_next(&mut self) -> Option<Waker> {
        self.line.pop_front().and_then(|next| next.waker)
    }

    fn note_deadline(&mut self, deadline: Option<Instant>) {
        if let Some(new) = deadline
            && self.deadline.is_none_or(|earliest| new < earliest)
        {
            self.deadline = Some(new);
            self.deadline_is_new = true;
        }
    }

    fn count(&mut self, pending: Pending) -> Asked {
        self.sequence += 1;
        self.in_flight += 1;
        self.waiting += u32::from(pending.waits());
        self.unattended += u32::from(matches!(pending, Pending::Abandoned { waits: false }));
        self.pending.insert(self.sequence, pending);
        Asked(self.sequence)
    }

    /// What has become of a call. Once it is not `Waiting`, the call is forgotten.
    pub(super) fn outcome(&mut self, asked: Asked, waker: Option<&Waker>) -> Outcome {
        match self.pending.get_mut(asked.0) {
            Some(Pending::Waiting { waker: old, .. }) => {
                if let Some(end) = &self.end {
                    let end = end.clone();
                    self.pending.remove(asked.0);
                    return Outcome::Ended(end);
                }
                if let Some(waker) = waker
                    && !old.as_ref().is_some_and(|old| old.will_wake(waker))
                {
                    *old = Some(waker.clone());
                }
                Outcome::Waiting
            }
            Some(Pending::Expired { op, is_answered, .. }) => {
                let (op, is_answered) = (*op, *is_answered);
                if is_answered {
                    self.pending.remove(asked.0);
                } else {
                    self.abandon(asked);
                }
                Outcome::Expired(op)
            }
            Some(Pending::Answered { .. }) => match self.pending.remove(asked.0) {
                Some(Pending::Answered { answer, waits }) => {
                    if !self.opening.is_empty() {
                        self.opening.remove(&asked.0);
                    }
                    if let Ok(Reply { acknowledge: true, .. }) = answer {
                        self.push_own(Own::Acknowledge { handle: waits, call: asked.0 });
                    }
                    Outcome::Answered(answer)
                }
                _ => unreachable!("it was just found"),
            },
            Some(Pending::Abandoned { .. }) | None => {
                unreachable!("a call is asked about until its outcome is known, and not afterwards")
            }
        }
    }

    /// The caller does not wait any more. The call may still be applied, but for one that may wait: it is withdrawn, and what
    /// it was granted taken back.
    pub(super) fn abandon(&mut self, asked: Asked) {
        let Some(pending) = self.pending.get_mut(asked.0) else { return };
        match pending {
            Pending::Answered { .. } => {
                if let Some(Pending::Answered { answer, waits }) = self.pending.remove(asked.0) {
                    if answer.is_ok() {
                        self.withdraw(asked.0, waits);
                    }
                    self.give_back(asked.0, &answer);
                }
            }
            Pending::Expired { is_answered: true, .. } => {
                self.pending.remove(asked.0);
            }
            // One that had expired was withdrawn then.
            Pending::Expired { waits, .. } => {
                let waits = *waits != 0;
                *pending = Pending::Abandoned { waits };
                self.unattended += u32::from(!waits);
            }
            Pending::Waiting { waits, .. } => {
                let waits = *waits;
                *pending = Pending::Abandoned { waits: waits != 0 };
                self.unattended += u32::from(waits == 0);
                self.withdraw(asked.0, waits);
            }
            Pending::Abandoned { .. } => {}
        }
    }

    /// Nobody wants what this call is granted, if it is one that may wait.
    fn withdraw(&mut self, call: u64, waits: u32) {
        if waits != 0 {
            self.push_own(Own::Withdraw { handle: waits, call });
        }
    }

    /// Nobody wants this answer: the handles that it brings are given back.
    fn give_back(&mut self, sequence: u64, answer: &Result<Reply, Refusal>) {
        for handle in answer.iter().flat_map(|reply| &reply.delivered) {
            self.close_handle(*handle);
        }
        if !self.opening.is_empty()
            && self.opening.remove(&sequence)
            && let Ok(reply) = answer
            // The handle is the same field in the responses to all calls that open one.
            && let Ok(CreateResponse { handle, .. }) = CreateResponse::decode(&*reply.body)
        {
            self.close_handle(handle);
        }
    }

    /// Takes a reply; the waker of its caller is appended to `woken`.
    pub(super) fn answer(
        &mut self,
        sequence: u64,
        answer: Result<Reply, Refusal>,
        woken: &mut Vec<Waker>,
    ) -> Result<(), String> {
        self.received += 1;
        let pending = self.pending.get_mut(sequence);
        let waited = pending.as_ref().is_some_and(|pending| pending.waits());
        match pending {
            Some(Pending::Abandoned { waits }) => {
                self.unattended = self.unattended.saturating_sub(u32::from(!*waits));
                self.pending.remove(sequence);
                self.give_back(sequence, &answer);
            }
            Some(Pending::Answered { .. } | Pending::Expired { is_answered: true, .. }) | None => {
                return Err(format!("the manager answered call {sequence}, which was not open"));
            }
            // It was withdrawn, and what it was granted was taken back.
            Some(Pending::Expired { waits, is_answered, .. }) if *waits != 0 => {
                *is_answered = true;
                self.give_back(sequence, &answer);
            }
            Some(pending) => {
                let waits = pending.handle();
                if let Pending::Waiting { waker: Some(waker), .. } =
                    mem::replace(pending, Pending::Answered { answer, waits })
                {
                    woken.push(waker);
                }
            }
        }
        // Only now: what answers no open call ends the session, and is not counted.
        self.in_flight = self.in_flight.saturating_sub(1);
        self.waiting = self.waiting.saturating_sub(u32::from(waited));
        // One reply makes room for one call.
        woken.extend(self.call_next());
        Ok(())
    }

    /// Of the last call that was written.
    pub(super) fn last_sequence(&self) -> u64 {
        self.sequence
    }

    /// How many replies have come in this session.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the client has said goodbye, or is about to.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving != Leaving::Not
    }

    /// The session goes on over another connection, and the manager has the calls up to this one. Those after it are put
    /// at the front of what is to be sent: of `kept`, which was sent before, and of what has not been sent. Each says anew
    /// how many replies have come: that number must not fall.
    pub(super) fn resend(&mut self, kept: Pieces, calls_received: u64) -> Result<(), String> {
        let unsent = mem::take(&mut self.outbox);
        let mut next = calls_received + 1;
        for mut frames in [kept, unsent] {
            let mut deframer = Deframer::new(usize::MAX);
            while !frames.is_empty() {
                deframer.push(frames.take(usize::MAX));
                while let Some(message) = deframer.next_shared().map_err(|error| error.to_string())? {
                    let frame = frame::read_client(&message).map_err(|error| error.to_string())?.frame;
                    let Some(ClientSays::Call(call)) = frame else { continue };
                    let CallFrame { sequence, handle, op, request, fence } = call;
                    if sequence == next {
                        let call = Call { sequence, handle, op, request: message.slice_ref(request), fence };
                        let frame = Some(client_frame::Frame::Call(call));
                        frame::put_client(&mut self.outbox, &ClientFrame { received: self.received, frame });
                        next += 1;
                    }
                }
            }
        }
        if next != self.sequence + 1 {
            let problem = format!("the manager has the calls up to {calls_received} of {}", self.sequence);
            return Err(format!("{problem}, and those after it are not here any more"));
        }
        Ok(())
    }

    /// Whether a driver has something to send.
    pub(super) fn has_output(&self) -> bool {
        !self.outbox.is_empty() || !self.own.is_empty() || self.is_about_to_leave()
    }

    fn is_about_to_leave(&self) -> bool {
        matches!(self.leaving, Leaving::Wanted | Leaving::Hurried)
    }

    /// Whether what has just come made room for something that is due, and for which nobody asks again.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        (self.own_is_due && self.has_room_for_own()) || (self.own.is_empty() && self.is_about_to_leave())
    }

    /// Whether the driver must be woken to learn what there is to do, which the caller then does: of the many who ask before
    /// it has run only the first need.
    #[inline]
    pub(super) fn call_driver(&mut self) -> bool {
        !mem::replace(&mut self.driver_is_called, true)
    }

    /// The driver runs, and looks at everything after this. Whether it has nothing more to do, since the session is over.
    pub(super) fn driver_looks(&mut self) -> bool {
        self.driver_is_called = false;
        if self.timeless <= self.sequence {
            self.begin_times(Instant::now());
        }
        self.is_ended()
    }

    /// The time of the calls that were made since the last look runs from now on.
    fn begin_times(&mut self, now: Instant) {
        for number in mem::replace(&mut self.timeless, self.sequence + 1)..=self.sequence {
            if let Some(Pending::Waiting { patience, .. }) = self.pending.get_mut(number) {
                *patience = patience.begin(|| now);
                let deadline = patience.deadline();
                self.note_deadline(deadline);
            }
        }
    }

    /// Whether so much is to be sent that it should not wait until the driver runs. Where it cannot leave, this is not said
    /// again before there is as much again.
    #[inline]
    pub(super) fn should_flush(&mut self) -> bool {
        let should = self.outbox.len() >= self.flush_at;
        if should {
            self.flush_at = self.outbox.len() + FLUSH_BYTES;
        }
        should
    }

    /// Moves what is to be sent into `out`.
    pub(super) fn take_output(&mut self, out: &mut Pieces, woken: &mut Vec<Waker>) {
        self.put_own();
        // The end of the session would come before what is left.
        if self.leaving == Leaving::Hurried || (self.leaving == Leaving::Wanted && self.own.is_empty()) {
            let goodbye = client_frame::Frame::Goodbye(Goodbye::default());
            frame::put_client(&mut self.outbox, &ClientFrame { received: self.received, frame: Some(goodbye) });
            self.leaving = Leaving::Said;
        }
        if self.outbox.len() >= OUTBOX_BYTES {
            woken.extend(self.line.drain(..).filter_map(|next| next.waker));
        }
        if out.is_empty() {
            mem::swap(out, &mut self.outbox);
        } else {
            out.append(&mut self.outbox);
        }
        self.flush_at = FLUSH_BYTES;
    }

    /// Writes the calls that the session makes for itself, as far as calls may be made.
    fn put_own(&mut self) {
        while self.has_room_for_own()
            && let Some(own) = self.own.pop_front()
        {
            match own {
                Own::Close(handle) => self.put(0, &CloseRequest { handle, deliveries: 1 }),
                Own::Withdraw { handle, call } => self.put(0, &WithdrawRequest { handle, call, undo: true }),
                Own::Acknowledge { handle, call } => {
                    let mut calls = vec![call];
                    while let Some(Own::Acknowledge { handle: same, call }) = self.own.front()
                        && *same == handle
                    {
                        calls.push(*call);
                        self.own.pop_front();
                    }
                    self.put(0, &AcknowledgeRequest { handle, calls });
                }
                Own::Cast { handle, op, request } => {
                    let call = Call { sequence: self.sequence + 1, handle, op, request: request.into(), fence: 0 };
                    let frame = Some(client_frame::Frame::Call(call));
                    frame::put_client(&mut self.outbox, &ClientFrame { received: self.received, frame });
                    self.count(Pending::Abandoned { waits: false });
                }
            }
        }
        self.own_is_due &= !self.own.is_empty();
    }

    /// Whether the session may make a call for itself. One that leaves has no more calls that wait, and takes their room too.
    fn has_room_for_own(&self) -> bool {
        self.in_flight - self.waiting < self.in_flight_max
            || (self.leaving != Leaving::Not && self.in_flight - self.in_flight_max < self.waiting_max)
    }

    fn put<R: Request>(&mut self, handle: u32, request: &R) {
        frame::put_call(&mut self.outbox, self.received, self.sequence + 1, handle, R::OP, request);
        self.count(Pending::Abandoned { waits: false });
    }

    fn push_own(&mut self, own: Own) {
        if self.end.is_none() && self.leaving != Leaving::Said {
            self.own_is_due |= !matches!(own, Own::Acknowledge { .. });
            self.own.push_back(own);
        }
    }

    /// A proxy is gone. The handle is given back with the next output.
    pub(super) fn close_handle(&mut self, handle: u32) {
        // The end of the session gives every handle back.
        if self.leaving == Leaving::Not {
            self.push_own(Own::Close(handle));
        }
    }

    /// Makes a call with the next output, and does not wait for what comes of it.
    pub(super) fn cast<R: Request>(&mut self, handle: u32, request: &R) {
        self.push_own(Own::Cast { handle, op: R::OP, request: request.encode_to_vec() });
    }

    /// The client ends the session. What was asked before is still answered, and what is to be given back is given back before.
    pub(super) fn say_goodbye(&mut self) {
        if self.leaving == Leaving::Not {
            self.leaving = Leaving::Wanted;
            // The end of the session gives every handle back.
            self.own.retain(|own| !matches!(own, Own::Close(_)));
            self.own_is_due = !self.own.is_empty();
        }
    }

    /// The client ends the session at once: nobody is left who could wait until there is room for what is to be given back.
    pub(super) fn hurry(&mut self) {
        if self.leaving == Leaving::Wanted {
            self.leaving = Leaving::Hurried;
        }
    }

    /// Whether goodbye waits for other things to be said.
    pub(super) fn has_more_to_say(&self) -> bool {
        self.end.is_none() && self.is_about_to_leave()
    }

    /// Whether the one call in flight may be moved by its own task: nothing else is to be sent, nobody waits for a deadline
    /// to be noted, and calls come one at a time. Others may wait meanwhile, if this one does not.
    pub(super) fn is_alone(&self, may_wait: bool) -> bool {
        let in_flight = if may_wait { self.in_flight.saturating_sub(self.unattended) } else { self.attended() };
        in_flight == 1 && self.crowd == 0 && !self.deadline_is_new && self.own.is_empty()
    }

    /// What a call waits for that waits for others and has no answer yet.
    pub(super) fn site(&mut self, asked: Asked) -> Option<Site> {
        match self.pending.get_mut(asked.0) {
            Some(Pending::Waiting { op, waits: handle, .. }) if *handle != 0 => Some(Site { handle: *handle, op }),
            _ => None,
        }
    }

    /// The task that waits for this call is awake, and need not be woken for it.
    pub(super) fn mute(&mut self, asked: Asked) {
        if let Some(Pending::Waiting { waker, .. }) = self.pending.get_mut(asked.0) {
            *waker = None;
        }
    }

    /// When a call may run out of time.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.deadline_is_new = false;
        self.deadline
    }

    /// Ends the calls whose time is over.
    pub(super) fn expire(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        let mut earliest: Option<Instant> = None;
        let mut late = Vec::new();
        for (number, pending) in self.pending.iter_mut() {
            if let Pending::Waiting { waker, patience: Patience::Until(deadline), .. } = pending {
                if *deadline <= now {
                    woken.extend(waker.take());
                    late.push(*number);
                } else {
                    earliest = Some(earliest.map_or(*deadline, |earliest| earliest.min(*deadline)));
                }
            }
        }
        for number in late {
            if let Some(pending) = self.pending.get_mut(number)
                && let Pending::Waiting { op, waits, .. } = *pending
            {
                *pending = Pending::Expired { op, waits, is_answered: false };
                self.withdraw(number, waits);
            }
        }
        for place in &self.line {
            if let Some(deadline) = place.deadline {
                if deadline <= now {
                    woken.extend(place.waker.clone());
                } else {
                    earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                }
            }
        }
        self.deadline = earliest;
    }

    /// The session is over: nobody will be answered any more.
    pub(super) fn end(&mut self, end: End, woken: &mut Vec<Waker>) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        self.own.clear();
        self.outbox.clear();
        woken.extend(self.line.drain(..).filter_map(|next| next.waker));
        for pending in self.pending.values_mut() {
            if let Pending::Waiting { waker, .. } = pending {
                woken.extend(waker.take());
            }
        }
    }

    /// How the session ended, if it is over.
    pub(super) fn ending(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The session is over, and now it is known what became of its manager.
    pub(super) fn note_after(&mut self, after: After) {
        if let Some(end) = &mut self.end {
            end.after = after;
        }
    }

    /// Whether the session is over.
    pub(super) fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// One who waits, for a reply or for room, and could drive the session instead of the thread that did.
    pub(super) fn wake_one(&self) -> Option<Waker> {
        if self.pending.is_empty() && self.line.is_empty() {
            return None;
        }
        self.pending
            .values()
            .find_map(|pending| match pending {
                Pending::Waiting { waker, .. } => waker.clone(),
                _ => None,
            })
            .or_else(|| self.line.iter().find_map(|place| place.waker.clone()))
    }
}

#[cold]
fn too_many_wait(limit: u32) -> Error {
    let problem = format!("{limit} calls of this session wait already, the limit named session_waiters: raise it");
    Refusal::new(Reason::Quota, problem).into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use holdfast_proto::{DictLenRequest, LockAcquireRequest};

    use super::super::Body;
    use super::*;

    fn calls() -> Calls {
        Calls::new(&Welcome { calls_in_flight: 1000, frame_bytes: 1 << 20, ..Welcome::default() })
    }

    fn ask(calls: &mut Calls, patience: Patience) -> Asked {
        let asked = calls
            .ask(&mut Vec::new(), None, patience, None, false, |writer| writer.call(1, 0, false, &DictLenRequest {}));
        asked.ok().expect("there is room")
    }

    #[test]
    fn the_time_of_a_call_runs_from_the_drivers_next_look() {
        let mut calls = calls();
        let endless = ask(&mut calls, Patience::Endless);
        let timed = ask(&mut calls, Patience::For(Duration::from_secs(3600)));
        assert_eq!(calls.deadline(), None);
        let before = Instant::now();
        calls.driver_looks();
        let deadline = calls.deadline().expect("the driver has looked");
        assert!(deadline >= before + Duration::from_secs(3600));

        calls.expire(deadline, &mut Vec::new());
        assert!(matches!(calls.outcome(timed, None), Outcome::Expired("DictService/Len")));
        assert!(matches!(calls.outcome(endless, None), Outcome::Waiting));
        assert_eq!(calls.deadline(), None, "nobody else has one");
    }

    #[test]
    fn the_time_of_a_call_that_is_alone_runs_at_once() {
        let mut calls = calls();
        ask(&mut calls, Patience::For(Duration::from_secs(3600)));
        assert!(calls.deadline().is_some());
    }

    #[test]
    fn an_answer_to_what_was_answered_is_a_fault_and_is_not_counted() {
        let mut calls = Calls::new(&Welcome {
            calls_in_flight: 1000,
            waiting_calls: 10,
            frame_bytes: 1 << 20,
            ..Welcome::default()
        });
        let request = LockAcquireRequest::default();
        let mut acquire = || {
            calls.ask(&mut Vec::new(), None, Patience::Endless, None, true, |writer| writer.call(1, 0, false, &request))
        };
        for _ in 0..2 {
            assert!(acquire().is_ok(), "there is room");
        }
        let refused = || Err(Refusal::new(Reason::Withdrawn, ""));
        calls.answer(1, refused(), &mut Vec::new()).expect("it waits");
        for _ in 0..2 {
            calls.answer(1, refused(), &mut Vec::new()).expect_err("it was answered");
        }
        assert_eq!((calls.in_flight, calls.waiting, calls.attended()), (1, 1, 0));
    }

    #[test]
    fn what_the_manager_does_not_have_is_sent_again_with_what_has_come_by_now() {
        let mut calls = calls();
        let asked: Vec<Asked> = (0..4).map(|_| ask(&mut calls, Patience::Endless)).collect();
        let mut sent = Pieces::default();
        calls.take_output(&mut sent, &mut Vec::new());
        ask(&mut calls, Patience::Endless);
        let reply =
            Reply { index: 0, body: Body::keep(&[], &Bytes::new()), delivered: Box::default(), acknowledge: false };
        calls.answer(asked[0].0, Ok(reply), &mut Vec::new()).expect("it was asked");

        calls.resend(sent.clone(), 2).expect("all that is missing is here");
        let mut again = Pieces::default();
        calls.take_output(&mut again, &mut Vec::new());
        let mut deframer = Deframer::new(1000);
        deframer.push(again.take(usize::MAX));
        for expected in 3..=5 {
            let message = deframer.next().expect("frames").expect("one more");
            let again = frame::read_client(message).expect("a frame");
            let Some(ClientSays::Call(call)) = again.frame else { panic!("not a call, but {again:?}") };
            assert_eq!((again.received, call.sequence, call.handle), (1, expected, 1));
        }
        assert_eq!(deframer.next(), Ok(None));

        assert!(calls.resend(Pieces::default(), 2).is_err(), "nobody could send what is missing");
        assert!(calls.resend(sent, 6).is_err(), "nobody has made so many calls");
    }

    #[test]
    fn goodbye_comes_after_all_that_is_given_back() {
        let welcome = Welcome { calls_in_flight: 2, waiting_calls: 1, frame_bytes: 1 << 20, ..Welcome::default() };
        let mut calls = Calls::new(&welcome);
        for _ in 0..5 {
            calls.cast(1, &DictLenRequest {});
        }
        calls.say_goodbye();
        let said = |calls: &mut Calls| {
            let mut out = Pieces::default();
            calls.take_output(&mut out, &mut Vec::new());
            let mut deframer = Deframer::new(1000);
            deframer.push(out.take(usize::MAX));
            let mut said = Vec::new();
            while let Some(message) = deframer.next().expect("frames") {
                said.push(match frame::read_client(message).expect("a frame").frame {
                    Some(ClientSays::Call(call)) => call.sequence,
                    Some(ClientSays::Goodbye(_)) => 0,
                    other => panic!("{other:?}"),
                });
            }
            said
        };
        let refused = || Err(Refusal::new(Reason::NotHeld, ""));
        assert_eq!(said(&mut calls), [1, 2, 3], "also where calls would stand that wait");
        assert!(!calls.is_due() && calls.has_more_to_say());
        calls.answer(1, refused(), &mut Vec::new()).expect("it was asked");
        assert!(calls.is_due(), "nobody else would ask whether there is room");
        assert_eq!(said(&mut calls), [4]);
        calls.hurry();
        assert_eq!(said(&mut calls), [0], "nobody waits for the rest");
        assert!(!calls.has_more_to_say());
    }

    #[test]
    fn the_driver_is_called_once_until_it_looks() {
        let mut calls = calls();
        assert!(calls.call_driver());
        assert!(!calls.call_driver());
        calls.driver_looks();
        assert!(calls.call_driver());
    }

    #[test]
    fn much_output_does_not_wait_for_the_driver() {
        let mut calls = calls();
        let until_flush = |calls: &mut Calls| {
            let before = calls.outbox.len();
            while !calls.should_flush() {
                ask(calls, Patience::Endless);
            }
            calls.outbox.len() - before
        };
        let near = |bytes: usize| (FLUSH_BYTES..FLUSH_BYTES + 64).contains(&bytes);
        assert!(near(until_flush(&mut calls)));
        assert!(near(until_flush(&mut calls)), "it could not leave, and is not asked about at every call");
        calls.take_output(&mut Pieces::default(), &mut Vec::new());
        assert!(near(until_flush(&mut calls)), "it left");
    }
}
