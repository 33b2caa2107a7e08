//! Every input that was applied to an object, in a file: for tests that compare them with what clients saw.
//!
//! It is there only with the feature `history`, which no product is built with. A file is a sequence of [`Record`]s, each
//! after its length as a varint. Those of one object are in the order in which they were applied.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use holdfast_objects::catalog::{AnyOp, AnyReply};
use holdfast_objects::{Answer, CallId, Client, Ended, Patience, Turn, Withdrawal};
use holdfast_proto::ops::Response;
use parking_lot::Mutex;
use prost::Message;

use crate::engine::NoCall;

/// One input, and all that came of it.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// The id of the object.
    #[prost(bytes = "vec", tag = "1")]
    pub object: Vec<u8>,
    /// The input's position in the manager's order. 0 for the making of an object, which has none.
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// With which fence something would be granted.
    #[prost(uint64, tag = "3")]
    pub fence: u64,
    /// The session of the call that it is or that it is about.
    #[prost(bytes = "vec", tag = "4")]
    pub session: Vec<u8>,
    /// The number of that call.
    #[prost(uint64, tag = "5")]
    pub number: u64,
    /// The calls that waited, and are answered.
    #[prost(message, repeated, tag = "6")]
    pub woken: Vec<WokenCall>,
    /// What happened.
    #[prost(oneof = "Input", tags = "10, 11, 12, 13, 14, 15")]
    pub input: Option<Input>,
    /// What a call is answered.
    #[prost(message, optional, tag = "20")]
    pub answer: Option<Given>,
}

/// What happened to an object.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Input {
    /// It was made.
    #[prost(message, tag = "10")]
    Made(Made),
    /// A call.
    #[prost(message, tag = "11")]
    Call(CallInput),
    /// A call is not to wait any longer.
    #[prost(message, tag = "12")]
    Withdraw(Withdrawn),
    /// Nobody will have the answer to a call.
    #[prost(bool, tag = "13")]
    Undo(bool),
    /// The caller has the answer to a call.
    #[prost(bool, tag = "14")]
    Acknowledge(bool),
    /// A session ended.
    #[prost(message, tag = "15")]
    Leave(Left),
}

/// The making of an object.
#[derive(Clone, PartialEq, Message)]
pub struct Made {
    /// The number of its kind.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// Its encoded spec.
    #[prost(bytes = "vec", tag = "2")]
    pub spec: Vec<u8>,
    /// How much a page holds.
    #[prost(uint32, tag = "3")]
    pub page_bytes: u32,
}

/// One call.
#[derive(Clone, PartialEq, Message)]
pub struct CallInput {
    /// The number of the op within the kind.
    #[prost(uint32, tag = "1")]
    pub op: u32,
    /// The encoded request.
    #[prost(bytes = "vec", tag = "2")]
    pub request: Vec<u8>,
    /// With which fence it came; 0 is none.
    #[prost(uint64, tag = "3")]
    pub fence: u64,
}

/// The end of a call's wait.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Withdrawn {
    /// Because its patience is over; otherwise its caller does not want it any more.
    #[prost(bool, tag = "1")]
    pub patience: bool,
    /// Whether it waited.
    #[prost(bool, tag = "2")]
    pub waited: bool,
}

/// The end of a session.
#[derive(Clone, PartialEq, Message)]
pub struct Left {
    /// Whether its client said goodbye.
    #[prost(bool, tag = "1")]
    pub closed: bool,
    /// The client.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its process.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// Its host.
    #[prost(string, tag = "4")]
    pub host: String,
}

/// A call that waited, and its answer.
#[derive(Clone, PartialEq, Message)]
pub struct WokenCall {
    /// Its session.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// What it is answered.
    #[prost(message, required, tag = "3")]
    pub answer: Given,
}

/// What a call is answered.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Given {
    /// What sort of answer it is.
    #[prost(enumeration = "Sort", tag = "1")]
    pub sort: i32,
    /// The encoded response, or why it is refused, for people.
    #[prost(bytes = "vec", tag = "2")]
    pub body: Vec<u8>,
    /// For what reason it is refused, or for how many milliseconds it waits; -1 is endless.
    #[prost(int64, tag = "3")]
    pub detail: i64,
}

/// What sort of answer a call is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Sort {
    /// It was applied.
    Done = 0,
    /// It was applied, and the object is to be told when its caller has the answer.
    Delivered = 1,
    /// It waits.
    Wait = 2,
    /// It was refused.
    Refused = 3,
}

impl From<&Answer<AnyReply>> for Given {
    fn from(answer: &Answer<AnyReply>) -> Self {
        let of = |sort: Sort, body, detail| Self { sort: sort.into(), body, detail };
        let body = |reply: &AnyReply| {
            let mut body = Vec::new();
            reply.encode(&mut body);
            body
        };
        match answer {
            Answer::Done(reply) => of(Sort::Done, body(reply), 0),
            Answer::Delivered(reply) => of(Sort::Delivered, body(reply), 0),
            Answer::Wait(Patience::Endless) => of(Sort::Wait, Vec::new(), -1),
            Answer::Wait(Patience::For(time)) => {
                of(Sort::Wait, Vec::new(), i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
            }
            Answer::Refused(refusal) => {
                of(Sort::Refused, refusal.message.clone().into_bytes(), i64::from(refusal.reason))
            }
        }
    }
}

impl Input {
    pub(crate) fn call(op: &AnyOp, fence: u64) -> Self {
        let mut request = Vec::new();
        op.encode(&mut request);
        Self::Call(CallInput { op: op.number(), request, fence })
    }

    pub(crate) fn no_call(input: NoCall, waited: bool, client: Option<&Arc<Client>>) -> Self {
        match input {
            NoCall::Withdraw(why) => Self::Withdraw(Withdrawn { patience: why == Withdrawal::Patience, waited }),
            NoCall::Undo => Self::Undo(true),
            NoCall::Acknowledge => Self::Acknowledge(true),
            NoCall::Leave(how) => {
                let Client { name, pid, host } = client.map(|client| (**client).clone()).unwrap_or_default();
                Self::Leave(Left { closed: how == Ended::Closed, name, pid, host })
            }
        }
    }
}

/// Where inputs are written.
#[derive(Debug)]
pub(crate) struct History(Mutex<BufWriter<File>>);

impl History {
    pub(crate) fn new(file: File) -> Self {
        Self(Mutex::new(BufWriter::with_capacity(1 << 20, file)))
    }

    pub(crate) fn note_made(&self, object: [u8; 16], kind: u32, spec: &[u8], page_bytes: u32) {
        let made = Made { kind, spec: spec.into(), page_bytes };
        self.write(&Record { object: object.into(), input: Some(Input::Made(made)), ..Record::default() });
    }

    pub(crate) fn note(&self, object: [u8; 16], turn: &Turn, input: Input, answer: Option<&Answer<AnyReply>>) {
        let CallId { session, number } = turn.call;
        let woken = turn.woken.iter().map(|woken| WokenCall {
            session: woken.call.session.0.into(),
            number: woken.call.number,
            answer: (&woken.answer).into(),
        });
        self.write(&Record {
            object: object.into(),
            index: turn.index,
            fence: turn.fence,
            session: session.0.into(),
            number,
            woken: woken.collect(),
            input: Some(input),
            answer: answer.map(Given::from),
        });
    }

    fn write(&self, record: &Record) {
        let bytes = record.encode_length_delimited_to_vec();
        self.0.lock().write_all(&bytes).expect("a history that is not whole is of no use");
    }

    pub(crate) fn flush(&self) {
        self.0.lock().flush().expect("a history that is not whole is of no use");
    }
}
