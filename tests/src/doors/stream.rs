//! A session of a scenario, on its stream.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use holdfast::Refusal;
use holdfast_proto::ops::Request;
use holdfast_proto::{
    AcknowledgeRequest, Goodbye, OpenMode, OpenRequest, Reply, WithdrawRequest, client_frame, reply, server_frame,
};
use holdfast_scenarios::catalogue::Op;
use holdfast_scenarios::door::{Answer, Answered, Caller};
use prost::Message as _;

use super::{Came, Object};
use crate::raw::{Ended, Raw, Stream};

/// A session that makes its calls on its stream.
#[derive(Debug)]
pub(super) struct StreamSession {
    // First, so that it is dropped first: a stream of a connection that is gone cannot say that it is reset.
    raw: Raw,
    stream: Stream,
    handle: u32,
    /// How many handles of the object it has.
    handles: u64,
    /// Those without an answer, by their sequence numbers.
    unanswered: BTreeMap<u64, Caller>,
    /// The last call under each name.
    last: BTreeMap<Caller, u64>,
    /// Calls whose answers are to be acknowledged.
    unheard: Vec<u64>,
}

impl StreamSession {
    pub(super) async fn begin(raw: Raw, name: &str, object: &Object) -> Self {
        let mut stream = raw.stream().await.unwrap();
        stream.hello_named(name).await;
        let Object { name, kind } = object.clone();
        let open = OpenRequest { name, kind, mode: OpenMode::Open.into(), ..OpenRequest::default() };
        let handle = stream.ask(0, &open).await.unwrap().handle;
        let (unanswered, last) = (BTreeMap::new(), BTreeMap::new());
        Self { raw, stream, handle, handles: 1, unanswered, last, unheard: Vec::new() }
    }

    /// How many references to the object it has, and how many of its calls have no answer.
    pub(super) fn count(&self) -> (u64, u64) {
        let unanswered = self.unanswered.len() as u64;
        // The wait of each has one, too.
        (self.handles + unanswered, unanswered)
    }

    pub(super) async fn call(&mut self, caller: &Caller, op: &Op, request: &[u8]) {
        let sequence = self.stream.call_as(self.handle, op.number, request.to_vec()).await;
        self.unanswered.insert(sequence, caller.clone());
        self.last.insert(caller.clone(), sequence);
    }

    pub(super) async fn open(&mut self, object: &Object, spec: &[u8], came: &mut Came) -> Result<(), Refusal> {
        let Object { name, kind } = object.clone();
        let open = OpenRequest { name, kind, spec: spec.to_vec().into(), mode: OpenMode::OpenOrCreate.into() };
        self.ask(&open, came).await.map(|_| self.handles += 1)
    }

    pub(super) async fn withdraw(&mut self, caller: &Caller, came: &mut Came) -> Result<(), String> {
        let call = *self.last.get(caller).ok_or_else(|| format!("{caller} made no call"))?;
        let waits = self.unanswered.contains_key(&call);
        let withdraw = WithdrawRequest { handle: self.handle, call, undo: false };
        let response = self.ask(&withdraw, came).await.map_err(|refusal| refusal.to_string())?;
        if response.withdrawn == waits {
            return Ok(());
        }
        Err(format!("the call of {caller} was withdrawn: {}, and it waited: {waits}", response.withdrawn))
    }

    /// The answer has come, as its client lets the manager know where it wants to.
    pub(super) async fn heard(&mut self, caller: &Caller, came: &mut Came) -> Result<(), String> {
        let Some(at) = self.unheard.iter().position(|call| self.last.get(caller) == Some(call)) else { return Ok(()) };
        let calls = vec![self.unheard.remove(at)];
        let heard = self.ask(&AcknowledgeRequest { handle: self.handle, calls }, came).await;
        heard.map(drop).map_err(|refusal| refusal.to_string())
    }

    /// Says goodbye, and waits until the manager has ended the session.
    pub(super) async fn close(mut self) -> Result<(), String> {
        let goodbye = client_frame::Frame::Goodbye(Goodbye::default());
        self.stream.say(self.stream.received, Some(goodbye)).await;
        loop {
            match self.stream.next().await {
                Ok(server_frame::Frame::Reply(_)) => {}
                Ok(frame) => return Err(format!("a session that said goodbye was told {frame:?}")),
                Err(Ended::Status { code: 0, .. }) => break,
                Err(ended) => return Err(format!("a session that said goodbye ended with {ended}")),
            }
        }
        self.raw.cut();
        Ok(())
    }

    /// Takes what has come.
    pub(super) fn drain(&mut self, came: &mut Came) -> Result<(), String> {
        while !self.unanswered.is_empty()
            && let Some(reply) = self.stream.reply().now_or_never()
        {
            self.take(reply.map_err(|ended| format!("a session ended with {ended}"))?, came);
        }
        Ok(())
    }

    /// Asks the manager for something. Answers to calls that waited may come before.
    async fn ask<R: Request>(&mut self, request: &R, came: &mut Came) -> Result<R::Response, Refusal> {
        let sequence = self.stream.call_as(0, R::OP, request.encode_to_vec()).await;
        loop {
            let reply = self.stream.reply().await.unwrap_or_else(|ended| panic!("no reply, but {ended}"));
            if reply.sequence == sequence {
                return result(reply).map(|(response, _)| R::Response::decode(&*response).unwrap());
            }
            self.take(reply, came);
        }
    }

    fn take(&mut self, reply: Reply, came: &mut Came) {
        let caller = self.unanswered.remove(&reply.sequence);
        let caller = caller.unwrap_or_else(|| panic!("a call was answered that has its answer: {reply:?}"));
        if reply.acknowledge {
            self.unheard.push(reply.sequence);
        }
        let done = |(response, index)| Answer::Done { response, index };
        let answer = result(reply).map_or_else(Answer::Refused, done);
        came.push(Answered { caller, answer });
    }
}

/// The response and its index.
fn result(reply: Reply) -> Result<(Vec<u8>, u64), Refusal> {
    match reply.result.unwrap() {
        reply::Result::Response(response) => Ok((response.to_vec(), reply.index)),
        reply::Result::Refusal(refusal) => Err(refusal),
    }
}
