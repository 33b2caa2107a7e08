//! Sessions that can be resumed, and those that have no connection at present.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use holdfast_proto::frame::{self, Deframer, FromServer, Pieces};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::session::{Session, Store};

/// What a client shows to resume its session.
pub(crate) type Resumption = [u8; 32];

/// A session without a connection, and how far it came.
#[derive(Debug)]
pub(crate) struct Detached {
    pub(crate) session: Session,
    /// The sequence number of the last call.
    pub(crate) sequence: u64,
    /// How many replies the client said it has received.
    pub(crate) received: u64,
    /// How many replies were made.
    pub(crate) replied: u64,
    /// How many replies come before those that are kept.
    pub(crate) forgotten: u64,
    /// The frames that were made after these.
    pub(crate) replies: Pieces,
}

impl Detached {
    /// The frames of the replies after the first `received`. `None` if some of them were not kept.
    pub(crate) fn replies_after(&self, received: u64) -> Option<Pieces> {
        let mut missing = received.checked_sub(self.forgotten)?;
        let (mut kept, mut replies, mut frames) = (self.replies.clone(), Deframer::new(usize::MAX), Pieces::default());
        while !kept.is_empty() {
            replies.push(kept.take(usize::MAX));
            while let Some(message) = replies.next_shared().expect("frames of our own can be cut") {
                if !matches!(frame::read_server(&message), Ok(FromServer::Reply(_))) {
                    continue;
                }
                match missing.checked_sub(1) {
                    Some(rest) => missing = rest,
                    None => frame::put_bytes(&mut frames, &message),
                }
            }
        }
        Some(frames)
    }
}

/// Asks a connection to let go of its session, which another one resumes.
#[derive(Debug)]
pub(crate) struct Release {
    wanted: AtomicBool,
    waker: Waker,
}

impl Release {
    /// `waker` wakes the connection.
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { wanted: AtomicBool::new(false), waker })
    }

    /// Whether another connection resumes the session.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    fn want(&self) {
        self.wanted.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }
}

/// Who resumes a session. The last who claims one has it.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) session: Uuid,
    pub(crate) resumption: Resumption,
    number: Option<u64>,
}

impl Claim {
    pub(crate) fn new(session: Uuid, resumption: Resumption) -> Self {
        Self { session, resumption, number: None }
    }
}

/// Every session that can be resumed: which connection has it, or the session itself while none has it.
///
/// It counts as a session, and holds what it held, until its grace is over.
#[derive(Default)]
pub(crate) struct Resumables {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Uuid, Entry, RandomState>,
    /// Of claims and of times at which a session was detached.
    last_number: u64,
    /// The manager stops, and nothing is resumed any more.
    closed: bool,
}

struct Entry {
    resumption: Resumption,
    place: Place,
    claimant: Option<(u64, Waker)>,
}

enum Place {
    Attached(Arc<Release>),
    Detached(Box<Detached>, u64),
}

/// How many parts of a grace are looked at one by one.
const PARTS: u32 = 8;

/// Waits until a grace has passed in which this process ran.
///
/// When a manager that was stopped goes on, or a machine that slept, every grace seems to be over before any client had its
/// chance. So a part that took more than twice its time does not count, and clients have it once more.
async fn pass(grace: Duration) {
    let part = grace / PARTS;
    let mut left = PARTS;
    while left > 0 {
        let began = Instant::now();
        tokio::time::sleep(part).await;
        // A timer has no more than milliseconds.
        if began.elapsed() <= part * 2 + Duration::from_millis(5) {
            left -= 1;
        }
    }
}

impl fmt::Debug for Resumables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumables").field("sessions", &self.table.lock().entries.len()).finish()
    }
}

impl Resumables {
    /// Lets a session be resumed from now on by who shows what this returns. `None` if there is no randomness to be had, or
    /// the manager stops.
    pub(crate) fn add(&self, session: &mut Session, release: Arc<Release>) -> Option<Resumption> {
        let mut resumption = Resumption::default();
        getrandom::fill(&mut resumption).ok()?;
        let mut table = self.table.lock();
        if table.closed {
            return None;
        }
        table.entries.insert(session.id(), Entry { resumption, place: Place::Attached(release), claimant: None });
        session.be_resumable();
        Some(resumption)
    }

    /// The session has ended.
    pub(crate) fn remove(&self, session: Uuid) {
        let removed = self.table.lock().entries.remove(&session);
        // Outside the lock: what is in it may have a session.
        if let Some(Entry { claimant: Some((_, waker)), .. }) = removed {
            waker.wake();
        }
    }

    /// Keeps a session whose connection broke for so long. It ends at once if the manager stops.
    pub(crate) fn detach(&self, detached: Box<Detached>, store: &Arc<Store>, grace: Duration) {
        let id = detached.session.id();
        let mut table = self.table.lock();
        table.last_number += 1;
        let number = table.last_number;
        let closed = table.closed;
        let Some(entry) = table.entries.get_mut(&id).filter(|_| !closed) else {
            drop(table);
            return drop(detached);
        };
        entry.place = Place::Detached(detached, number);
        let claimant = entry.claimant.as_ref().map(|(_, waker)| waker.clone());
        drop(table);
        if let Some(claimant) = claimant {
            claimant.wake();
        }
        let store = Arc::downgrade(store);
        tokio::spawn(async move {
            pass(grace).await;
            if let Some(store) = store.upgrade() {
                store.resumables.expire(id, number);
            }
        });
    }

    /// The grace of a session is over that was detached with this number.
    fn expire(&self, id: Uuid, number: u64) {
        let mut table = self.table.lock();
        let is_detached = table
            .entries
            .get(&id)
            .is_some_and(|entry| matches!(&entry.place, Place::Detached(_, detached) if *detached == number));
        let entry = is_detached.then(|| table.entries.remove(&id)).flatten();
        drop(table);
        if entry.is_some() {
            tracing::debug!(session = %id, "a session was not resumed within its grace");
        }
    }

    /// Takes a session for another connection, which `release` asks for it later. While a connection has it, that one is
    /// asked to let go; `cx` is woken then. `None` if there is no such session, or somebody else claims it later.
    pub(crate) fn poll_claim(
        &self,
        cx: &Context<'_>,
        claim: &mut Claim,
        release: &Arc<Release>,
    ) -> Poll<Option<Box<Detached>>> {
        let mut table = self.table.lock();
        let table = &mut *table;
        let Some(entry) = table.entries.get_mut(&claim.session).filter(|_| !table.closed) else {
            return Poll::Ready(None);
        };
        if !bool::from(entry.resumption.ct_eq(&claim.resumption)) {
            return Poll::Ready(None);
        }
        let number = match claim.number {
            Some(number) if entry.claimant.as_ref().is_some_and(|(last, _)| *last == number) => number,
            Some(_) => return Poll::Ready(None),
            None => {
                table.last_number += 1;
                table.last_number
            }
        };
        claim.number = Some(number);
        if let Some((other, waker)) = entry.claimant.replace((number, cx.waker().clone()))
            && other != number
        {
            waker.wake();
        }
        match &entry.place {
            Place::Attached(holder) => {
                holder.want();
                Poll::Pending
            }
            Place::Detached(..) => {
                entry.claimant = None;
                match std::mem::replace(&mut entry.place, Place::Attached(release.clone())) {
                    Place::Detached(detached, _) => Poll::Ready(Some(detached)),
                    Place::Attached(_) => unreachable!("it was just found"),
                }
            }
        }
    }

    /// Ends the sessions that have no connection. From now on none is kept, and none is resumed.
    pub(crate) fn close(&self) {
        let entries = {
            let mut table = self.table.lock();
            table.closed = true;
            std::mem::take(&mut table.entries)
        };
        for (_, entry) in entries {
            if let Some((_, waker)) = entry.claimant {
                waker.wake();
            }
        }
    }
}
