//! A session that takes no part in a scenario, and counts.

use holdfast::Refusal;
use holdfast_proto::{DeleteRequest, DescribeRequest, LimitsRequest, OpenMode, OpenRequest, describe_request};

use super::Object;
use crate::manager::Manager;
use crate::raw::{Raw, Stream};

/// A session that makes the object, keeps it, and counts who has it and what waits in the manager.
#[derive(Debug)]
pub(super) struct Watcher {
    _raw: Raw,
    stream: Stream,
    handle: u32,
}

impl Watcher {
    /// How many references to the object it has itself.
    pub(super) const REFERENCES: u64 = 1;

    /// Makes the object.
    pub(super) async fn begin(manager: &Manager, object: &Object, spec: &[u8]) -> Result<Self, Refusal> {
        let raw = Raw::authenticated(manager).await;
        let mut stream = raw.session().await;
        let Object { name, kind } = object.clone();
        let made = OpenRequest { name, kind, spec: spec.to_vec().into(), mode: OpenMode::Create.into() };
        let handle = stream.ask(0, &made).await?.handle;
        Ok(Self { _raw: raw, stream, handle })
    }

    /// How many have the object, and how many calls wait in the manager; the second number is the later one.
    pub(super) async fn look(&mut self) -> (u64, u64) {
        let object = Some(describe_request::Object::Handle(self.handle));
        let references = self.stream.ask(0, &DescribeRequest { object }).await.unwrap().references;
        let limits = self.stream.ask(0, &LimitsRequest {}).await.unwrap().limits;
        let waiting = limits.iter().find(|limit| limit.name == "waiters").and_then(|limit| limit.used);
        (references, waiting.expect("the manager counts what waits"))
    }

    /// Deletes the object.
    pub(super) async fn end(mut self, object: &Object) {
        self.stream.ask(0, &DeleteRequest { name: object.name.clone() }).await.unwrap();
    }
}
