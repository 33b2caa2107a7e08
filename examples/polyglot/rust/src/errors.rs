//! Each kind of bad input, and what a program in Rust sees of it.

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use tonic::{Code, Request, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::connection::{Connection, Door};
use crate::kind;
use crate::pb::dict_service_client::DictServiceClient;
use crate::pb::queue_service_client::QueueServiceClient;
use crate::pb::value_service_client::ValueServiceClient;
use crate::pb::*;

/// The name of the reason of a refusal, as `REASON_EMPTY`. An error that the library made by itself has none.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == "holdfast.v1").map(|info| info.reason)
}

/// The code of an error. Where the deadline of a call passes here before the manager says so, tonic calls that CANCELLED.
fn code(status: &Status) -> Code {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<TimeoutExpired>() {
            return Code::DeadlineExceeded;
        }
        source = error.source();
    }
    status.code()
}

pub async fn errors(address: &str, connection: &Connection) -> Result<(), Box<dyn Error>> {
    let wrong = "A".repeat(43);
    // A connection of its own: a handshake that failed ends it.
    let error = Connection::connect(address).await?.authenticate(&wrong).await.expect_err("the authkey is wrong");
    show("wrong-authkey", *error.downcast::<Status>()?);

    let dict = "polyglot/errors/rust/dict";
    connection.open(dict, kind::DICT, DictSpec {}).await?;
    let queue = connection.open("polyglot/errors/rust/queue", kind::QUEUE, QueueSpec::default()).await?;

    let stranger = connection.without_token();
    show("no-token", refused(stranger.manager().status(StatusRequest {}).await)?);

    let nobody = connection.named("polyglot/nobody has made this");
    show("missing-object", refused(DictServiceClient::new(nobody).len(DictLenRequest {}).await)?);

    let value = ValueServiceClient::new(connection.named(dict)).get(ValueGetRequest {}).await;
    show("wrong-kind", refused(value)?);

    // The deadline goes to the manager with the call, and the call is withdrawn there when it passes.
    let mut queue = QueueServiceClient::new(queue);
    let mut request = Request::new(QueueGetRequest::default());
    request.set_timeout(Duration::from_millis(200));
    show("deadline", refused(queue.get(request).await)?);
    until_waiting(&mut queue, 0).await?;

    // In Rust who gives up drops the future, and is told nothing by it; a task that is aborted tells who joins it.
    let mut waiter = queue.clone();
    let waiting = tokio::spawn(async move { waiter.get(QueueGetRequest::default()).await });
    until_waiting(&mut queue, 1).await?;
    waiting.abort();
    let cancelled = waiting.await.expect_err("it waits for ever");
    until_waiting(&mut queue, 0).await?;
    print("cancel", Code::Cancelled, None, &cancelled.to_string());

    for name in [dict, "polyglot/errors/rust/queue"] {
        connection.manager().delete(DeleteRequest { name: name.into() }).await?;
    }
    Ok(())
}

fn refused<T>(answer: Result<T, Status>) -> Result<Status, &'static str> {
    answer.err().ok_or("this was to be refused")
}

/// Asks until so many calls wait to take something out.
async fn until_waiting(queue: &mut QueueServiceClient<Door>, getters: u64) -> Result<(), Status> {
    while queue.size(QueueSizeRequest {}).await?.into_inner().getters != getters {}
    Ok(())
}

fn show(case: &str, status: Status) {
    print(case, code(&status), reason(&status), &status.to_string());
}

fn print(case: &str, code: Code, reason: Option<String>, shown: &str) {
    // The code as gRPC spells it: tonic says DeadlineExceeded.
    let code = format!("{code:?}").chars().enumerate().fold(String::new(), |mut name, (at, letter)| {
        if at > 0 && letter.is_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
        name
    });
    println!("{}", json!({"case": case, "code": code, "reason": reason, "shown": shown}));
}
