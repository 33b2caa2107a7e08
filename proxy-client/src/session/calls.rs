//! What was asked, and who waits for the answer.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use holdfast_proto::datum::Reference;
use holdfast_proto::frame::{self, CallFrame, ClientSays, Deframer};
use holdfast_proto::ops::Request;
use holdfast_proto::{
    Call, ClientFrame, CloseRequest, CreateRequest, CreateResponse, Goodbye, OpenRequest, Refusal, TakeUpRequest,
    Welcome, client_frame,
};
use prost::Message;

use super::by_number::ByNumber;
use super::{After, End, Reply};
use crate::error::{Error, Result};

/// The most that is around the request in a frame: seven fields with their keys.
const AROUND_REQUEST: usize = 64;

/// Frames beyond this many bytes wait with their callers, not here.
const OUTBOX_BYTES: usize = 4 << 20;

/// So much is worth a write of its own: the manager works on it while the caller asks for more.
const FLUSH_BYTES: usize = 2 << 10;

/// What was asked on a session, and who waits for the answer. The drivers share it under one mutex.
///
/// - A call gets its number when its frame is written into the outbox, so numbers and frames are in the same order.
/// - No more calls are in flight than the manager allows, and no more bytes wait than the outbox takes; who comes later
///   waits in line, and is woken when there is room.
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
    in_flight_max: u32,
    frame_bytes: usize,
    outbox: BytesMut,
    /// When the outbox has so many bytes, whoever fills it sees to it that they leave.
    flush_at: usize,
    /// Callers without room for their call, first come first served.
    line: VecDeque<InLine>,
    last_ticket: u64,
    /// Calls that open a handle, by their number, until somebody has it.
    opening: HashSet<u64>,
    /// Handles that nobody has a proxy for any more, still to be given back.
    closing: Vec<u32>,
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
    Wanted,
    Said,
}

#[derive(Debug)]
enum Pending {
    /// No reply yet.
    Waiting { waker: Option<Waker>, patience: Patience, op: &'static str },
    /// The deadline passed; the caller does not know yet.
    Expired(&'static str),
    /// The caller does not wait any more.
    Abandoned,
    /// The caller has not taken it yet.
    Answered(Result<Reply, Refusal>),
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
    kept: &'a mut Vec<Reference>,
}

impl Writer<'_> {
    /// Keeps a proxy that is in the request until the calls are free again. The request may be dropped before, and the last
    /// proxy to an object gives its handle back, for which it needs the calls.
    pub(crate) fn keep(&mut self, reference: &Reference) {
        self.kept.push(reference.clone());
    }

    /// Writes the call of this exchange.
    pub(crate) fn call<R: Request>(self, handle: u32, request: &R) -> Result<()> {
        let calls = self.calls;
        *self.op = R::NAME;
        *self.opens =
            R::KIND == OpenRequest::KIND && [OpenRequest::OP, CreateRequest::OP, TakeUpRequest::OP].contains(&R::OP);
        // What is around a request takes less than the manager allows for it.
        let bytes = request.encoded_len();
        if bytes > calls.frame_bytes.saturating_sub(AROUND_REQUEST) {
            return Err(Refusal::new(
                holdfast_proto::Reason::ValueTooLarge,
                format!(
                    "{}: the call has {bytes} bytes and the manager takes {} at most: store less at once",
                    R::NAME,
                    calls.frame_bytes
                ),
            )
            .into());
        }
        frame::put_sized_call(&mut calls.outbox, calls.received, calls.sequence + 1, handle, R::OP, request, bytes);
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
            in_flight_max: welcome.calls_in_flight,
            frame_bytes: welcome.frame_bytes as usize,
            outbox: BytesMut::new(),
            flush_at: FLUSH_BYTES,
            line: VecDeque::new(),
            last_ticket: 0,
            opening: HashSet::new(),
            closing: Vec::new(),
            deadline: None,
            timeless: 1,
            deadline_is_new: false,
            crowd: 0,
            driver_is_called: false,
            end: None,
            leaving: Leaving::Not,
        }
    }

    /// Whether a call can be made at once.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight < self.in_flight_max && self.outbox.len() < OUTBOX_BYTES
    }

    /// Makes a call: `write` writes its frame. `waker` is for the reply, or for room if there is none; `ticket` is what
    /// the caller holds who was in line before, and is used up. `kept` is to be dropped when the calls are free again.
    pub(super) fn ask(
        &mut self,
        kept: &mut Vec<Reference>,
        ticket: Option<Ticket>,
        patience: Patience,
        waker: Option<&Waker>,
        write: impl FnOnce(Writer<'_>) -> Result<()>,
    ) -> Result<Asked, NotAsked> {
        if let Some(end) = &self.end {
            return Err(NotAsked::Ended(end.clone()));
        }
        if !self.closing.is_empty() {
            // What was dropped before this call is given back before it, so that it has the room that this made.
            self.put_closing();
        }
        if !self.has_room() {
            // Nobody stands in line whom nobody could call: those behind would wait for it.
            return Err(match waker {
                Some(_) => self.stand_in_line(ticket, patience, waker),
                None => NotAsked::Full,
            });
        }
        if let Some(ticket) = ticket {
            self.line.retain(|other| other.ticket != ticket);
        }
        let (mut op, mut opens) = ("", false);
        write(Writer { calls: self, op: &mut op, opens: &mut opens, kept }).map_err(NotAsked::Error)?;
        self.crowd = if self.in_flight > 0 { CROWD } else { self.crowd.saturating_sub(1) };
        // Where nothing else is in flight the driver need not look: such a call may be moved by its own task.
        let patience = if self.in_flight == 0 { patience.begin(Instant::now) } else { patience };
        self.note_deadline(patience.deadline());
        let asked = self.count(Pending::Waiting { waker: waker.cloned(), patience, op });
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
            Some(Pending::Expired(op)) => {
                let op = *op;
                self.abandon(asked);
                Outcome::Expired(op)
            }
            Some(Pending::Answered(_)) => match self.pending.remove(asked.0) {
                Some(Pending::Answered(answer)) => {
                    if !self.opening.is_empty() {
                        self.opening.remove(&asked.0);
                    }
                    Outcome::Answered(answer)
                }
                _ => unreachable!("it was just found"),
            },
            Some(Pending::Abandoned) | None => {
                unreachable!("a call is asked about until its outcome is known, and not afterwards")
            }
        }
    }

    /// The caller does not wait any more. The call may still be applied.
    pub(super) fn abandon(&mut self, asked: Asked) {
        match self.pending.get_mut(asked.0) {
            Some(Pending::Answered(_)) => {
                if let Some(Pending::Answered(answer)) = self.pending.remove(asked.0) {
                    self.give_back(asked.0, &answer);
                }
            }
            Some(pending) => *pending = Pending::Abandoned,
            None => {}
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
        self.in_flight = self.in_flight.saturating_sub(1);
        match self.pending.get_mut(sequence) {
            Some(Pending::Abandoned) => {
                self.pending.remove(sequence);
                self.give_back(sequence, &answer);
            }
            Some(Pending::Answered(_)) | None => {
                return Err(format!("the manager answered call {sequence}, which was not open"));
            }
            Some(pending) => {
                if let Pending::Waiting { waker: Some(waker), .. } = mem::replace(pending, Pending::Answered(answer)) {
                    woken.push(waker);
                }
            }
        }
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
    pub(super) fn resend(&mut self, kept: BytesMut, calls_received: u64) -> Result<(), String> {
        let unsent = mem::take(&mut self.outbox);
        let mut next = calls_received + 1;
        for frames in [kept, unsent] {
            let mut deframer = Deframer::new(usize::MAX);
            deframer.push(frames.freeze());
            while let Some(message) = deframer.next().map_err(|error| error.to_string())? {
                let frame = frame::read_client(message).map_err(|error| error.to_string())?.frame;
                let Some(ClientSays::Call(CallFrame { sequence, handle, op, request })) = frame else { continue };
                if sequence == next {
                    let call = Call { sequence, handle, op, request: Bytes::copy_from_slice(request) };
                    let frame = Some(client_frame::Frame::Call(call));
                    frame::put_client(&mut self.outbox, &ClientFrame { received: self.received, frame });
                    next += 1;
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
        !self.outbox.is_empty() || !self.closing.is_empty() || self.leaving == Leaving::Wanted
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
    pub(super) fn take_output(&mut self, out: &mut BytesMut, woken: &mut Vec<Waker>) {
        self.put_closing();
        if self.leaving == Leaving::Wanted {
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
            out.extend_from_slice(&self.outbox);
            self.outbox.clear();
        }
        self.flush_at = FLUSH_BYTES;
    }

    /// Writes the giving back of handles, as far as calls may be made.
    fn put_closing(&mut self) {
        while self.in_flight < self.in_flight_max
            && let Some(handle) = self.closing.pop()
        {
            let request = CloseRequest { handle, deliveries: 1 };
            frame::put_call(&mut self.outbox, self.received, self.sequence + 1, 0, CloseRequest::OP, &request);
            self.count(Pending::Abandoned);
        }
    }

    /// A proxy is gone. The handle is given back with the next output.
    pub(super) fn close_handle(&mut self, handle: u32) {
        if self.end.is_none() && self.leaving == Leaving::Not {
            self.closing.push(handle);
        }
    }

    /// The client ends the session. What was asked before is still answered.
    pub(super) fn say_goodbye(&mut self) {
        if self.leaving == Leaving::Not {
            self.leaving = Leaving::Wanted;
            // The end of the session gives every handle back.
            self.closing.clear();
        }
    }

    /// Whether the one call in flight may be moved by its own task: nothing else is to be sent, nobody waits for a deadline
    /// to be noted, and calls come one at a time.
    pub(super) fn is_alone(&self) -> bool {
        self.in_flight == 1 && self.crowd == 0 && !self.deadline_is_new && self.closing.is_empty()
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
        for pending in self.pending.values_mut() {
            if let Pending::Waiting { waker, patience: Patience::Until(deadline), op } = pending {
                if *deadline <= now {
                    woken.extend(waker.take());
                    *pending = Pending::Expired(op);
                } else {
                    earliest = Some(earliest.map_or(*deadline, |earliest| earliest.min(*deadline)));
                }
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
        self.closing.clear();
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
        self.pending
            .values()
            .find_map(|pending| match pending {
                Pending::Waiting { waker, .. } => waker.clone(),
                _ => None,
            })
            .or_else(|| self.line.iter().find_map(|place| place.waker.clone()))
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::DictLenRequest;

    use super::super::Body;
    use super::*;

    fn calls() -> Calls {
        Calls::new(&Welcome { calls_in_flight: 1000, frame_bytes: 1 << 20, ..Welcome::default() })
    }

    fn ask(calls: &mut Calls, patience: Patience) -> Asked {
        let asked = calls.ask(&mut Vec::new(), None, patience, None, |writer| writer.call(1, &DictLenRequest {}));
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
    fn what_the_manager_does_not_have_is_sent_again_with_what_has_come_by_now() {
        let mut calls = calls();
        let asked: Vec<Asked> = (0..4).map(|_| ask(&mut calls, Patience::Endless)).collect();
        let mut sent = BytesMut::new();
        calls.take_output(&mut sent, &mut Vec::new());
        ask(&mut calls, Patience::Endless);
        let reply = Reply { index: 0, body: Body::keep(&[], &Bytes::new()), delivered: Box::default() };
        calls.answer(asked[0].0, Ok(reply), &mut Vec::new()).expect("it was asked");

        calls.resend(sent.clone(), 2).expect("all that is missing is here");
        let mut again = BytesMut::new();
        calls.take_output(&mut again, &mut Vec::new());
        let mut deframer = Deframer::new(1000);
        deframer.push(again.freeze());
        for expected in 3..=5 {
            let message = deframer.next().expect("frames").expect("one more");
            let again = frame::read_client(message).expect("a frame");
            let Some(ClientSays::Call(call)) = again.frame else { panic!("not a call, but {again:?}") };
            assert_eq!((again.received, call.sequence, call.handle), (1, expected, 1));
        }
        assert_eq!(deframer.next(), Ok(None));

        assert!(calls.resend(BytesMut::new(), 2).is_err(), "nobody could send what is missing");
        assert!(calls.resend(sent, 6).is_err(), "nobody has made so many calls");
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
        calls.take_output(&mut BytesMut::new(), &mut Vec::new());
        assert!(near(until_flush(&mut calls)), "it left");
    }
}
