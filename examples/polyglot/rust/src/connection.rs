//! A connection: the handshake on it, and the metadata that each call on it carries.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use subtle::ConstantTimeEq;
use tonic::metadata::{BinaryMetadataKey, BinaryMetadataValue, MetadataValue};
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::handshake::prove;
use crate::pb::auth_service_client::AuthServiceClient;
use crate::pb::manager_service_client::ManagerServiceClient;
use crate::pb::{BeginRequest, FinishRequest, OpenRequest};

/// What the stubs make their calls through.
pub type Door = InterceptedService<Channel, Caller>;

/// One connection, and so one session: its handles are good here alone.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    caller: Caller,
}

/// Says with each call who calls, and about which object.
#[derive(Clone, Default)]
pub struct Caller {
    token: Option<BinaryMetadataValue>,
    object: Option<Object>,
    calls: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Object {
    Handle(u32),
    Name(BinaryMetadataValue),
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let metadata = request.metadata_mut();
        if let Some(token) = &self.token {
            metadata.insert_bin("holdfast-token-bin", token.clone());
        }
        match &self.object {
            Some(Object::Handle(handle)) => drop(metadata.insert("holdfast-handle", (*handle).into())),
            Some(Object::Name(name)) => {
                drop(metadata.insert_bin(BinaryMetadataKey::from_static("holdfast-object-bin"), name.clone()));
            }
            None => {}
        }
        Ok(request)
    }
}

impl Connection {
    /// Connects, without the proofs yet. tonic knows `http://` and `unix:` addresses as they are.
    pub async fn connect(address: &str) -> Result<Self, Box<dyn Error>> {
        let channel = Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true).connect().await?;
        Ok(Self { channel, caller: Caller::default() })
    }

    /// Proves to the manager that we hold the authkey, and has it prove the same. What it gives is good on this connection.
    pub async fn authenticate(&mut self, authkey: &str) -> Result<(), Box<dyn Error>> {
        let mut random = [0; 18];
        getrandom::fill(&mut random)?;
        let client_first = format!("n,,n=manager,r={}", BASE64.encode(random));
        let mut auth = AuthServiceClient::with_interceptor(self.channel.clone(), self.caller.clone());
        let begun = auth.begin(BeginRequest { client_first: client_first.clone() }).await?.into_inner();
        let (client_final, server_final) = prove(authkey, &client_first, &begun.server_first, b"")
            .ok_or("the manager's challenge is none that a client may answer")?;
        let finished = auth.finish(FinishRequest { client_final }).await?.into_inner();
        if !bool::from(finished.server_final.as_bytes().ct_eq(server_final.as_bytes())) {
            return Err("who answers at this address does not hold the authkey".into());
        }
        self.caller.token = Some(MetadataValue::from_bytes(&finished.token));
        Ok(())
    }

    /// For stubs of the manager itself.
    pub fn manager(&self) -> ManagerServiceClient<Door> {
        ManagerServiceClient::new(self.door(None))
    }

    /// For stubs of the object of this name. The manager looks the name up at each call.
    pub fn named(&self, name: &str) -> Door {
        self.door(Some(Object::Name(MetadataValue::from_bytes(name.as_bytes()))))
    }

    /// For stubs of the object of this name, which is made unless it is there. `spec` says how.
    pub async fn open(&self, name: &str, kind: u32, spec: impl prost::Message) -> Result<Door, Status> {
        let request = OpenRequest { name: name.into(), kind, spec: spec.encode_to_vec(), mode: 0 };
        let handle = self.manager().open(request).await?.into_inner().handle;
        Ok(self.door(Some(Object::Handle(handle))))
    }

    /// The same connection as somebody sees it who has shown no token.
    pub fn without_token(&self) -> Self {
        Self { channel: self.channel.clone(), caller: Caller::default() }
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.caller.calls.load(Ordering::Relaxed)
    }

    fn door(&self, object: Option<Object>) -> Door {
        InterceptedService::new(self.channel.clone(), Caller { object, ..self.caller.clone() })
    }
}
