//! Whether the manager serves, in the words of gRPC's health checking protocol.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use crate::rpc;

/// The services that no kind is for. The manager as a whole has the empty name.
const OTHERS: [&str; 3] = ["", "holdfast.v1.AuthService", "holdfast.v1.SessionService"];

/// The health service: everything is served until the manager stops, and nothing after it.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// Cancelled when the manager stops.
    pub(crate) stop: CancellationToken,
}

fn names() -> impl Iterator<Item = &'static str> {
    OTHERS.into_iter().chain(rpc::services())
}

fn says(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl Health {
    fn now(&self) -> HealthCheckResponse {
        says(if self.stop.is_cancelled() { ServingStatus::NotServing } else { ServingStatus::Serving })
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let asked = &request.get_ref().service;
        if names().any(|name| name == asked) {
            return Ok(Response::new(self.now()));
        }
        Err(Status::not_found("there is no such service: ask for the empty name, which is the manager as a whole"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let asked = &request.get_ref().service;
        let known = names().any(|name| name == asked);
        let first = if known { self.now() } else { says(ServingStatus::ServiceUnknown) };
        let stop = self.stop.clone();
        // A watch that began during the end has said it all with its first word.
        let last = stream::once(async move {
            stop.cancelled().await;
            says(ServingStatus::NotServing)
        });
        let last = last.filter(move |last| std::future::ready(known && *last != first));
        Ok(Response::new(Box::pin(stream::once(std::future::ready(first)).chain(last).map(Ok))))
    }
}
