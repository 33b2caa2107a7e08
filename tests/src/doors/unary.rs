//! A session of a scenario that makes unary calls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::{BufMut as _, BytesMut};
use futures_util::FutureExt as _;
use holdfast::{Reason, Refusal};
use holdfast_proto::frame::PREFIX;
use holdfast_proto::{Goodbye, OpenMode, OpenRequest, client_frame};
use holdfast_scenarios::catalogue::Op;
use holdfast_scenarios::door::{Answer, Answered, Caller};

use super::{Came, Object};
use crate::raw::{Ended, Raw, Stream};
use crate::rpc::{self, Rpc};

/// A session that makes unary calls on a connection of its own.
pub(super) struct UnarySession {
    // First, so that it is dropped first: calls on a connection that is gone cannot be cancelled.
    raw: Raw,
    /// Says who it is, and goodbye, where it says anything.
    stream: Option<Stream>,
    /// Whether it has the object by its name.
    has_named: bool,
    /// How many handles of the object it has.
    handles: u64,
    unanswered: Vec<(Caller, Call)>,
}

/// A call that has no answer yet. Whoever drops it cancels it: its stream is reset.
type Call = Pin<Box<dyn Future<Output = Result<rpc::Answer, Ended>> + Send>>;

impl UnarySession {
    /// One that says nothing of itself.
    pub(super) fn silent(raw: Raw) -> Self {
        Self { raw, stream: None, has_named: false, handles: 0, unanswered: Vec::new() }
    }

    /// One beside a stream that says who it is.
    pub(super) async fn named(raw: Raw, name: &str) -> Self {
        let mut stream = raw.stream().await.unwrap();
        stream.hello_named(name).await;
        Self { stream: Some(stream), ..Self::silent(raw) }
    }

    /// How many references to the object it has, and how many of its calls have no answer.
    pub(super) fn count(&self) -> (u64, u64) {
        let unanswered = self.unanswered.len() as u64;
        // The wait of each has one, and its request another one.
        (self.handles + u64::from(self.has_named) + 2 * unanswered, unanswered)
    }

    pub(super) async fn call(
        &mut self,
        caller: &Caller,
        op: &Op,
        request: &[u8],
        object: &Object,
    ) -> Result<(), String> {
        let mut body = BytesMut::new();
        body.put_u8(0);
        body.put_u32(u32::try_from(request.len()).unwrap());
        body.put_slice(request);
        let rpc = Rpc::to(&op.path()).object(&object.name).body(body);
        let mut open = self.raw.begin_rpc(&rpc, false).await.map_err(|ended| ended.to_string())?;
        open.send(rpc.bytes(), true).await.map_err(|ended| ended.to_string())?;
        self.has_named = true;
        self.unanswered.push((caller.clone(), Box::pin(open.answer())));
        Ok(())
    }

    pub(super) async fn open(&mut self, object: &Object, spec: &[u8]) -> Result<Result<(), Refusal>, String> {
        let Object { name, kind } = object.clone();
        let open = OpenRequest { name, kind, spec: spec.to_vec().into(), mode: OpenMode::OpenOrCreate.into() };
        let answer = self.raw.rpc(&Rpc::of(&open)).await.map_err(|ended| ended.to_string())?;
        Ok(result(&answer)?.map(|_| self.handles += 1))
    }

    /// Resets the stream of a call. What its caller is told then nobody hears: that the manager has ended the wait is seen
    /// in what it counts.
    pub(super) fn withdraw(&mut self, caller: &Caller) -> Option<Answered> {
        let at = self.unanswered.iter().position(|(waiting, _)| waiting == caller)?;
        let (caller, call) = self.unanswered.remove(at);
        drop(call);
        let refusal = Refusal::new(Reason::Withdrawn, "the call was reset, so that it granted nothing");
        Some(Answered { caller, answer: Answer::Refused(refusal) })
    }

    /// Says goodbye, where it says anything, and ends the connection.
    pub(super) async fn close(mut self) -> Result<(), String> {
        if let Some(stream) = &mut self.stream {
            stream.say(0, Some(client_frame::Frame::Goodbye(Goodbye::default()))).await;
            let ended = stream.end().await;
            if ended.code() != Some(0) {
                return Err(format!("a session that said goodbye ended with {ended}"));
            }
        }
        self.raw.cut();
        Ok(())
    }

    /// Takes what has come.
    pub(super) fn drain(&mut self, came: &mut Came) -> Result<(), String> {
        let mut waiting = Vec::new();
        for (caller, mut call) in self.unanswered.drain(..) {
            let Some(answer) = (&mut call).now_or_never() else {
                waiting.push((caller, call));
                continue;
            };
            let answer = answer.map_err(|ended| format!("the call of {caller} ended with {ended}"))?;
            let done = |response| Answer::Done { response, index: answer.index.unwrap_or_default() };
            let answer = result(&answer)?.map_or_else(Answer::Refused, done);
            came.push(Answered { caller, answer });
        }
        self.unanswered = waiting;
        Ok(())
    }
}

/// The response.
fn result(answer: &rpc::Answer) -> Result<Result<Vec<u8>, Refusal>, String> {
    if answer.code() == Some(0) {
        return Ok(Ok(answer.body[PREFIX..].to_vec()));
    }
    let refusal = answer.details.as_ref().and_then(|details| Some(Refusal::new(details.reason()?, &*details.message)));
    refusal.map(Err).ok_or_else(|| format!("no refusal, but {answer:?}"))
}

impl fmt::Debug for UnarySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<&Caller> = self.unanswered.iter().map(|(caller, _)| caller).collect();
        f.debug_struct("UnarySession").field("raw", &self.raw).field("unanswered", &calls).finish_non_exhaustive()
    }
}
