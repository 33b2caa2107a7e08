//! The end of objects that nobody can reach any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use holdfast_objects::Remains;
use parking_lot::{Condvar, Mutex};

use crate::slot::Slot;

/// Looking for cycles takes one part in this many of one CPU...
const SHARE: u32 = 10;

/// ...unless it would then be put off longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// So many holders may gather before a look is taken out of turn.
const FEW: usize = 4096;

/// The end of objects that nobody can reach any more.
///
/// A slot lives while somebody has an `Arc` of it: the registry, a handle, a token, a request on its way, or the data of
/// another object, in a [`Reference`](holdfast_proto::datum::Reference). So what is not in a cycle ends by itself, at once.
/// Two things are left to do here, on a thread of their own that is started when there is something to do:
///
/// - **Graves.** Objects that refer to others, large ones, and much that was taken out of one at once are freed here. Freeing one may be the end of the next:
///   the queue makes a loop of what would be a recursion as deep as users care to nest, on the stack of whoever closed
///   a handle.
/// - **Cycles.** Objects that only refer to each other are found by counting. All slots that may refer to others, the
///   *holders*, are looked at, one at a time; nothing else is stopped. Those whose `Arc`s are not all accounted for by the
///   data of holders are reachable, and so is what they refer to; and so may be those of the rest that an input entered
///   between the first count and the last, and what these refer to. What is left over is garbage. (Proof: no input entered
///   any of it while it was counted, so its data stayed as it was found. All `Arc`s that a slot of it had when it was
///   counted are in such data. A new one can only be cloned from one elsewhere, of which there was none, or from the data
///   of a slot of the left-over set, which takes an input. So there was none later either, and there will be none.)
///
/// A look is taken soon after a reference to a holder was dropped that was not the last: only then can a cycle have been
/// cut off. How soon depends on what the last look cost, so that looking takes a small share of one CPU; but when there
/// are twice as many holders as after the last look, it is taken at once. So at most half of them are garbage, and each
/// holder that is made pays for a bounded part of the looking.
#[derive(Debug, Default)]
pub(crate) struct Reclaim {
    /// A cycle may have been cut off since the last look began.
    suspected: AtomicBool,
    todo: Mutex<Todo>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Todo {
    graves: Vec<Remains>,
    /// Slots whose objects may refer to others, some of which may be gone.
    holders: Vec<Weak<Slot>>,
    /// How many holders there may be before it is looked whether they can be reached.
    look_at: usize,
    /// There are more.
    is_due: bool,
    thread: Option<JoinHandle<()>>,
    /// Nobody takes care of the graves any more but those who bring them.
    ended: bool,
    /// Somebody frees what is in the graves.
    is_freeing: bool,
}

impl Todo {
    /// Throws out the holders that are gone: as long as they are known here, their memory is not free.
    fn prune(&mut self) {
        self.holders.retain(|holder| holder.strong_count() > 0);
        self.holders.shrink_to(2 * self.holders.len());
    }
}

/// What the thread is to do next.
enum Duty {
    Free,
    Look,
    End,
}

impl Reclaim {
    /// The slot's object may refer to others from now on.
    pub(crate) fn add_holder(self: &Arc<Self>, slot: &Arc<Slot>) {
        let mut todo = self.todo.lock();
        todo.holders.push(Arc::downgrade(slot));
        if todo.holders.len() >= todo.look_at.max(FEW) && !todo.is_due {
            todo.prune();
            todo.is_due = todo.holders.len() >= todo.look_at.max(FEW);
            if todo.is_due {
                self.start(&mut todo);
                self.changed.notify_one();
            }
        }
    }

    /// A reference to a holder is gone, and others are left: they may be all of a cycle.
    pub(crate) fn suspect(self: &Arc<Self>) {
        if !self.suspected.swap(true, Ordering::AcqRel) {
            self.start(&mut self.todo.lock());
            self.changed.notify_one();
        }
    }

    /// Frees what is in no slot any more, and is large or refers to other objects.
    pub(crate) fn bury(self: &Arc<Self>, remains: Remains) {
        let mut todo = self.todo.lock();
        todo.graves.push(remains);
        self.start(&mut todo);
        if todo.thread.is_some() {
            drop(todo);
            self.changed.notify_one();
        } else if !todo.is_freeing {
            drop(todo);
            self.free();
        }
    }

    /// Ends the thread when it has freed what there is.
    pub(crate) fn end(&self) {
        let thread = {
            let mut todo = self.todo.lock();
            todo.ended = true;
            todo.thread.take()
        };
        self.changed.notify_one();
        if let Some(thread) = thread {
            // It does not panic; and if it did, it would have said so.
            let _ = thread.join();
        }
    }

    fn start(self: &Arc<Self>, todo: &mut Todo) {
        if todo.thread.is_none() && !todo.ended {
            let this = self.clone();
            let started = thread::Builder::new().name("holdfast-reclaim".to_owned()).spawn(move || this.run());
            // Without a thread those who bring graves free them.
            todo.thread = started.inspect_err(|error| tracing::warn!(%error, "no thread to reclaim objects with")).ok();
        }
    }

    fn run(&self) {
        let mut rest = Instant::now();
        loop {
            match self.next_duty(rest) {
                Duty::Free => self.free(),
                Duty::Look => {
                    let begin = Instant::now();
                    self.look();
                    let end = Instant::now();
                    rest = end + (SHARE * (end - begin)).clamp(PAUSE, PATIENCE);
                }
                Duty::End => return,
            }
        }
    }

    fn next_duty(&self, rest: Instant) -> Duty {
        let mut todo = self.todo.lock();
        loop {
            if !todo.graves.is_empty() {
                return Duty::Free;
            }
            if todo.ended {
                return Duty::End;
            }
            if !self.suspected.load(Ordering::Acquire) {
                todo.is_due = false;
                todo.look_at = todo.holders.len() + FEW;
                self.changed.wait(&mut todo);
            } else if todo.is_due || self.changed.wait_until(&mut todo, rest).timed_out() {
                self.suspected.store(false, Ordering::Release);
                return Duty::Look;
            }
        }
    }

    /// Frees what is in the graves, and what that brings there.
    fn free(&self) {
        self.todo.lock().is_freeing = true;
        loop {
            let graves = {
                let mut todo = self.todo.lock();
                todo.is_freeing = !todo.graves.is_empty();
                std::mem::take(&mut todo.graves)
            };
            if graves.is_empty() {
                return;
            }
            drop(graves);
        }
    }

    /// Looks for cycles that nobody can reach, and ends them.
    fn look(&self) {
        let left = self.find_and_end();
        let mut todo = self.todo.lock();
        todo.look_at = 2 * left;
        todo.is_due = false;
    }

    /// Returns how many holders are left over.
    fn find_and_end(&self) -> usize {
        let holders: Vec<Arc<Slot>> = {
            let mut todo = self.todo.lock();
            todo.prune();
            todo.holders.iter().filter_map(Weak::upgrade).collect()
        };
        let mut survey = Survey::begin(&holders);
        holders.iter().for_each(|_| survey.count());
        let garbage = survey.garbage();
        if survey.is_unsettled {
            self.suspected.store(true, Ordering::Release);
        }
        if garbage.is_empty() {
            return holders.len();
        }
        tracing::debug!(objects = garbage.len(), "objects that only referred to each other are gone");
        for &at in &garbage {
            holders[at].delete();
        }
        holders.len() - garbage.len()
    }
}

/// Who refers to whom among the holders, as far as one can tell without stopping them.
struct Survey<'a> {
    holders: &'a [Arc<Slot>],
    /// Where each is in `holders`, by its address.
    places: HashMap<usize, usize, RandomState>,
    /// How many inputs each had seen before anything was counted.
    inputs: Vec<u64>,
    /// Whom each refers to, as far as they were counted.
    refers: Vec<Vec<usize>>,
    /// How many `Arc`s of each there were when it was counted.
    counts: Vec<usize>,
    /// Some could not be told, since somebody was there meanwhile.
    is_unsettled: bool,
}

impl<'a> Survey<'a> {
    fn begin(holders: &'a [Arc<Slot>]) -> Self {
        let inputs = holders.iter().map(|slot| slot.inputs()).collect();
        let places = holders.iter().enumerate().map(|(at, slot)| (Arc::as_ptr(slot).addr(), at)).collect();
        Self { holders, places, inputs, refers: Vec::new(), counts: Vec::new(), is_unsettled: false }
    }

    /// Counts the next holder.
    fn count(&mut self) {
        let slot = &self.holders[self.counts.len()];
        let mut refers = Vec::new();
        slot.visit_references(&mut |reference| refers.extend(self.places.get(&reference.address())));
        self.refers.push(refers);
        self.counts.push(Arc::strong_count(slot));
    }

    /// Those that nobody can reach: that is all that can only be reached from each other, by the counts, but for those that
    /// somebody was at meanwhile, and what these refer to.
    fn garbage(&mut self) -> Vec<usize> {
        let mut reached = self.reached();
        let changed: Vec<usize> = (0..reached.len()).filter(|&at| !reached[at] && self.has_changed(at)).collect();
        self.is_unsettled = !changed.is_empty();
        self.reach(changed, &mut reached);
        (0..reached.len()).filter(|&at| !reached[at]).collect()
    }

    /// Which are reachable, by the counts.
    fn reached(&self) -> Vec<bool> {
        // One `Arc` of each is ours.
        let mut known = vec![1; self.holders.len()];
        for &to in self.refers.iter().flatten() {
            known[to] += 1;
        }
        let mut reached = vec![false; self.holders.len()];
        let roots = (0..reached.len()).filter(|&at| self.counts[at] != known[at]).collect();
        self.reach(roots, &mut reached);
        reached
    }

    fn reach(&self, mut next: Vec<usize>, reached: &mut [bool]) {
        while let Some(at) = next.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                next.extend(&self.refers[at]);
            }
        }
    }

    fn has_changed(&self, at: usize) -> bool {
        let slot = &self.holders[at];
        slot.inputs() != self.inputs[at] || Arc::strong_count(slot) != self.counts[at]
    }
}

#[cfg(test)]
mod tests;
