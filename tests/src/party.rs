//! A session of the raw client that has several calls under way.

use std::collections::HashMap;

use bytes::Bytes;
use holdfast::{Address, Authkey, Refusal};
use holdfast_proto::{
    AcknowledgeRequest, DescribeRequest, Goodbye, Hello, OpenMode, OpenRequest, Reply, StatusRequest, Welcome,
    client_frame, describe_request, ops, reply,
};
use prost::Message;

use crate::manager::Manager;
use crate::raw::{Ended, Raw, Stream};

/// What parties call their host.
pub const HOST: &str = "a host of tests";

/// One call of any op of any kind: how parties ask without a proxy.
#[derive(Clone, Debug)]
pub struct Ask {
    op: u32,
    request: Bytes,
}

impl<R: ops::Request> From<R> for Ask {
    fn from(request: R) -> Self {
        Self { op: R::OP, request: request.encode_to_vec().into() }
    }
}

/// A session of the raw client that has several calls under way, and whose connection can be lost and made anew.
#[derive(Debug)]
pub struct Party {
    raw: Raw,
    stream: Stream,
    /// What the session is.
    pub welcome: Welcome,
    address: Address,
    authkey: Authkey,
    replies: HashMap<u64, Reply>,
    /// Calls by the object behind whose handle they were made, for those that are to be acknowledged.
    handles: HashMap<u64, u32>,
}

impl Party {
    /// A session at a manager, over one of its addresses.
    pub async fn join(manager: &Manager, address: usize) -> Self {
        Self::join_as(&manager.addresses[address], manager.authkey(), "a party").await
    }

    /// A session at an address, of somebody with this name.
    pub async fn join_as(address: &Address, authkey: Authkey, name: &str) -> Self {
        let (raw, mut stream) = connect(address, &authkey).await;
        let hello = Hello {
            name: name.to_owned(),
            resumable: true,
            pid: std::process::id(),
            host: HOST.to_owned(),
            ..Hello::default()
        };
        let welcome = stream.hello_as(0, hello).await.unwrap();
        let (address, replies, handles) = (address.clone(), HashMap::new(), HashMap::new());
        Self { raw, stream, welcome, address, authkey, replies, handles }
    }

    /// Opens an object of a name, and makes it if there is none. Returns its handle.
    pub async fn open(&mut self, name: &str, kind: u32, spec: &impl Message) -> u32 {
        self.open_as(name, kind, spec.encode_to_vec().into()).await
    }

    /// The same, with a spec that is encoded already.
    pub async fn open_as(&mut self, name: &str, kind: u32, spec: Bytes) -> u32 {
        let open = OpenRequest { name: name.to_owned(), kind, spec, ..OpenRequest::default() };
        self.ask(0, open).await.unwrap().handle
    }

    /// Opens an object of a name that is there, however it was made. Returns its handle.
    pub async fn find(&mut self, name: &str, kind: u32) -> u32 {
        let mode = OpenMode::Open.into();
        self.ask(0, OpenRequest { name: name.to_owned(), kind, mode, ..OpenRequest::default() }).await.unwrap().handle
    }

    /// Makes a call, and does not wait for its reply. Returns its number.
    pub async fn send(&mut self, handle: u32, ask: impl Into<Ask>) -> u64 {
        let Ask { op, request } = ask.into();
        let call = self.stream.call_as(handle, op, request).await;
        self.handles.insert(call, handle);
        call
    }

    /// Makes a call, and waits for its response.
    pub async fn ask<R: ops::Request>(&mut self, handle: u32, request: R) -> Result<R::Response, Refusal> {
        let call = self.send(handle, request).await;
        self.answer::<R>(call).await
    }

    /// Waits for the response to a call that was made.
    pub async fn answer<R: ops::Request>(&mut self, call: u64) -> Result<R::Response, Refusal> {
        Ok(R::Response::decode(self.response(call).await?).unwrap())
    }

    /// Waits for the response to a call that was made, whatever it is. What the manager wants to be told of is acknowledged.
    pub async fn response(&mut self, call: u64) -> Result<Bytes, Refusal> {
        while !self.replies.contains_key(&call) {
            self.take_one().await.unwrap_or_else(|ended| panic!("no reply to call {call}, but {ended}"));
        }
        let reply = self.replies.remove(&call).unwrap();
        let handle = self.handles.remove(&call).unwrap();
        if reply.acknowledge {
            Box::pin(self.ask(0, AcknowledgeRequest { handle, calls: vec![call] })).await.unwrap();
        }
        match reply.result.unwrap() {
            reply::Result::Response(response) => Ok(response),
            reply::Result::Refusal(refusal) => Err(refusal),
        }
    }

    /// The manager has applied all that was asked before, and its replies that were due then have come.
    pub async fn settle(&mut self) {
        // What the first one finds done was answered at the latest together with the second.
        for _ in 0..2 {
            self.ask(0, StatusRequest {}).await.unwrap();
        }
    }

    /// How many sessions have a handle to the object of this name.
    pub async fn handles_to(&mut self, name: &str) -> u64 {
        let object = Some(describe_request::Object::Name(name.to_owned()));
        self.ask(0, DescribeRequest { object }).await.unwrap().references
    }

    /// Whether the reply to a call has come by now.
    pub async fn is_answered(&mut self, call: u64) -> bool {
        self.settle().await;
        self.replies.contains_key(&call)
    }

    async fn take_one(&mut self) -> Result<(), Ended> {
        let reply = self.stream.reply().await?;
        self.replies.insert(reply.sequence, reply);
        Ok(())
    }

    /// Goes on over another connection. All calls that were made must have reached the manager.
    pub async fn resume(&mut self) {
        self.try_resume().await.unwrap();
    }

    /// Goes on over another connection, if the manager lets it.
    pub async fn try_resume(&mut self) -> Result<(), Ended> {
        let (raw, mut stream) = connect(&self.address, &self.authkey).await;
        let resumed = stream.resume(&self.welcome, self.stream.received).await?;
        assert_eq!(resumed.session, self.welcome.session);
        assert_eq!(resumed.calls_received, self.stream.sequence, "a call was lost");
        (self.raw, self.stream) = (raw, stream);
        Ok(())
    }

    /// Goes on over another connection, and leaves the old one as it is, which is returned.
    pub async fn resume_beside(&mut self) -> (Raw, Stream) {
        let (raw, mut stream) = connect(&self.address, &self.authkey).await;
        stream.resume(&self.welcome, self.stream.received).await.unwrap();
        (std::mem::replace(&mut self.raw, raw), std::mem::replace(&mut self.stream, stream))
    }

    /// Says goodbye, and reads to the end.
    pub async fn close(mut self) {
        let goodbye = client_frame::Frame::Goodbye(Goodbye::default());
        self.stream.say(self.stream.received, Some(goodbye)).await;
        while self.take_one().await.is_ok() {}
    }

    /// Is gone, as if its process had been killed.
    pub fn vanish(self) {
        self.raw.cut();
    }
}

async fn connect(address: &Address, authkey: &Authkey) -> (Raw, Stream) {
    let mut raw = Raw::connect(address).await;
    raw.authenticate(authkey).await.unwrap();
    let stream = raw.stream().await.unwrap();
    (raw, stream)
}
