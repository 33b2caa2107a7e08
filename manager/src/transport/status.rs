//! gRPC statuses: what a refusal becomes, and how a request is answered with a status alone.

use bytes::Bytes;
use h2::server::SendResponse;
use holdfast_proto::Refusal;
use holdfast_proto::status::RichStatus;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use prost::Message;
use tonic::{Code, Status};

/// The status that stands for a refusal where the RPC of that path was refused, with the refusal in its details.
pub(super) fn of(refusal: &Refusal, path: &str) -> Status {
    let rich = RichStatus::new(refusal, path);
    let details = rich.encode_to_vec();
    Status::with_details(Code::from_i32(rich.code), rich.message, details.into())
}

/// Answers with a status alone.
pub(super) fn refuse(respond: &mut SendResponse<Bytes>, status: Status) {
    let response: Response<()> = status.into_http();
    // An error means that the client has reset the stream.
    let _ = respond.send_response(response, true);
}

/// Answers what is not gRPC with a status of HTTP.
pub(super) fn refuse_http(respond: &mut SendResponse<Bytes>, code: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = code;
    // As above.
    let _ = respond.send_response(response, true);
}

/// The end of a stream.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("13"));
    }
    trailers
}
