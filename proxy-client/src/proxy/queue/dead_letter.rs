//! Items that are not delivered any more.

use holdfast_proto::{QueueDeadLettersRequest, QueueDropDeadLettersRequest, QueueRequeueRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{OnDone, Queue};
use crate::codec::{CodecError, from_datum};
use crate::proxy::remote::Paged;
use crate::proxy::{Mode, Output};

/// An item that is not delivered any more: it was delivered [`max_deliveries`](super::QueueOptions::max_deliveries) times and
/// came back, or it was [given up](super::Delivery::give_up).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// Its number, which no other dead letter of the queue has.
    pub number: u64,
    /// What was put in; or why it cannot be read, which may be what it died of.
    pub item: Result<T, CodecError>,
    /// How often it was delivered.
    pub attempts: u32,
}

/// Dead letters. They are inside the queue, and finished for [`join`](Queue::join).
impl<T: Serialize + DeserializeOwned, M: Mode> Queue<T, OnDone, M> {
    /// All dead letters, those that died first first. They are read page by page while others go on, and all are kept in
    /// memory.
    pub fn dead_letters(&self) -> M::Output<DeadLetters<T, M>> {
        let request = QueueDeadLettersRequest { cursor: 0, bytes: 0 };
        self.remote.paged(
            Ok(request),
            |request, response, read| {
                read.extend(response.letters.into_iter().map(|letter| DeadLetter {
                    number: letter.letter,
                    item: from_datum(letter.item.unwrap_or_default()),
                    attempts: letter.attempts,
                }));
                request.cursor = response.cursor;
                Ok(response.cursor != 0)
            },
            Ok,
        )
    }

    /// Puts dead letters back to their places in the queue, as if they had never been delivered, but marked. Returns how many
    /// of them there were.
    ///
    /// Refused with [`Reason::ShutDown`](crate::Reason::ShutDown).
    pub fn requeue(&self, letters: impl IntoIterator<Item = u64>) -> Output<M, QueueRequeueRequest, u64> {
        let letters = letters.into_iter().collect();
        self.remote.once(Ok(QueueRequeueRequest { letters }), |response, _| Ok(response.requeued))
    }

    /// Drops dead letters, and returns how many of them there were.
    pub fn drop_dead_letters(
        &self,
        letters: impl IntoIterator<Item = u64>,
    ) -> Output<M, QueueDropDeadLettersRequest, u64> {
        let letters = letters.into_iter().collect();
        self.remote.once(Ok(QueueDropDeadLettersRequest { letters }), |response, _| Ok(response.dropped))
    }
}

/// The reading of dead letters.
pub type DeadLetters<T, M> = Paged<QueueDeadLettersRequest, DeadLetter<T>, Vec<DeadLetter<T>>, M>;
