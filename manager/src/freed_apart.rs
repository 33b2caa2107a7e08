//! Memory of large messages, which is given back apart from the threads that serve.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

/// From so many bytes on it takes the system half a millisecond and more to take memory back, page by page.
const LARGE: usize = 4 << 20;

/// So many buffers wait to be freed. What comes when there are more is freed by whoever had it last, who is slowed so.
const WAITING: usize = 4;

/// The thread ends when there was nothing to free for so long.
const IDLE: Duration = Duration::from_secs(1);

/// Leads to the thread, while there is one.
static QUEUE: Mutex<Option<SyncSender<BytesMut>>> = Mutex::new(None);

/// Makes a buffer one that can be shared. The memory of a large one is given back by a thread that does nothing else, whoever
/// drops it: the last one may be in the middle of a turn, with the lock of an object, and others wait for both.
pub(crate) fn share(buffer: BytesMut) -> Bytes {
    if buffer.len() < LARGE { buffer.freeze() } else { Bytes::from_owner(Large(buffer)) }
}

struct Large(BytesMut);

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        free(&QUEUE, std::mem::take(&mut self.0));
    }
}

fn free(queue: &Mutex<Option<SyncSender<BytesMut>>>, buffer: BytesMut) {
    let mut sender = queue.lock();
    let refused = match &*sender {
        Some(sender) => sender.try_send(buffer),
        None => Err(TrySendError::Disconnected(buffer)),
    };
    match refused {
        Ok(()) => {}
        Err(TrySendError::Full(buffer)) => {
            drop(sender);
            drop(buffer);
        }
        Err(TrySendError::Disconnected(buffer)) => {
            *sender = start();
            let refused = sender.as_ref().map(|sender| sender.try_send(buffer));
            drop(sender);
            drop(refused);
        }
    }
}

/// Starts the thread. `None` where the system has none to give: then everything is freed where it ends.
fn start() -> Option<SyncSender<BytesMut>> {
    let (sender, buffers) = sync_channel(WAITING);
    let thread = thread::Builder::new().name("holdfast-freeing".to_owned());
    thread.spawn(move || run(&buffers)).is_ok().then_some(sender)
}

fn run(buffers: &Receiver<BytesMut>) {
    // What comes while it ends is freed with the queue.
    while let Ok(buffer) = buffers.recv_timeout(IDLE) {
        drop(buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_large_goes_to_another_thread() {
        let (sender, freed) = sync_channel(WAITING);
        let queue = Mutex::new(Some(sender));
        let buffer = |byte| BytesMut::from(&[byte; 10][..]);
        for byte in 0..WAITING as u8 + 2 {
            // The last ones find no room, and are freed here.
            free(&queue, buffer(byte));
        }
        let got: Vec<u8> = freed.try_iter().map(|buffer| buffer[0]).collect();
        assert_eq!(got, (0..WAITING as u8).collect::<Vec<_>>());
        // The thread has ended, and another one is started.
        drop(freed);
        free(&queue, buffer(9));
        let sender = queue.lock().take().expect("there is a thread again");
        drop(sender);
    }

    #[test]
    fn only_large_buffers_have_an_owner_that_is_told_of_their_end() {
        let place = |buffer: &BytesMut| buffer.as_ptr();
        for len in [LARGE - 1, LARGE] {
            let buffer = BytesMut::zeroed(len);
            let before = place(&buffer);
            let shared = share(buffer);
            assert_eq!((shared.len(), shared.as_ptr()), (len, before), "it is not copied");
            let clone = shared.slice(3..7);
            drop(shared);
            // One whose owner wants to know never says that it can be taken back.
            assert_eq!(clone.try_into_mut().is_err(), len >= LARGE);
        }
    }

    #[test]
    fn the_thread_ends_with_its_queue() {
        let (sender, buffers) = sync_channel(WAITING);
        let (done, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            run(&buffers);
            done.send(()).expect("somebody waits");
        });
        sender.send(BytesMut::zeroed(LARGE)).expect("it runs");
        drop(sender);
        ended.recv_timeout(Duration::from_secs(10)).expect("it has ended");
        thread.join().expect("without a fault");
    }
}
