//! What the `.proto` files say of the kinds: the messages of each op, found by name.

use std::fmt;
use std::sync::LazyLock;

use holdfast_objects::catalog::{self, KINDS};
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor, ServiceDescriptor};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(holdfast_proto::DESCRIPTORS).expect("what build.rs wrote is read"));

/// A kind of object, as its service says.
#[derive(Clone, Debug)]
pub struct Kind {
    known: &'static catalog::Kind,
    service: ServiceDescriptor,
    spec: MessageDescriptor,
}

/// An op of a kind, and its messages.
#[derive(Clone, Debug)]
pub struct Op {
    /// The number of its kind.
    pub kind: u32,
    /// Its number within the kind.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// Whether a call of it may wait.
    pub waits: bool,
    method: MethodDescriptor,
}

impl Kind {
    /// All of the catalogue.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(Self::of)
    }

    /// The kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|known| known.name == name).map(Self::of)
    }

    fn of(known: &'static catalog::Kind) -> Self {
        let service = POOL.get_service_by_name(known.service).expect("a kind has the service that it names");
        let noun = known.service.strip_suffix("Service").expect("services are called NounService");
        let spec = POOL.get_message_by_name(&format!("{noun}Spec")).expect("a kind that can be made has a spec");
        Self { known, service, spec }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.known.name
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.known.number
    }

    /// All of its ops.
    pub fn ops(&self) -> impl Iterator<Item = Op> {
        (self.known.ops)().iter().map(|&(number, name)| {
            let method = self.service.methods().find(|method| method.name() == name);
            let method = method.expect("the table of ops is made of the methods");
            Op { kind: self.number(), number, name, waits: waits(&method), method }
        })
    }

    /// The message that says how an object is made.
    pub(crate) fn spec(&self) -> MessageDescriptor {
        self.spec.clone()
    }
}

impl Op {
    /// The path of its unary RPC.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}/{}", self.method.parent_service().full_name(), self.name)
    }

    pub(crate) fn request(&self) -> MessageDescriptor {
        self.method.input()
    }

    pub(crate) fn response(&self) -> MessageDescriptor {
        self.method.output()
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn waits(method: &MethodDescriptor) -> bool {
    let option = POOL.get_extension_by_name("holdfast.v1.waits").expect("options.proto says it");
    method.options().get_extension(&option).as_bool().expect("it is a truth value")
}
