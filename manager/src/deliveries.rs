//! Answers on their way to calls that waited, where one turn gave many.

use std::collections::VecDeque;
use std::vec;

use holdfast_objects::Woken;
use parking_lot::Mutex;

/// So many answers of one turn are handed out in that turn: those of a few threads that meet at a barrier are not late. Handing
/// one out takes 0.15 µs, measured with 10,000; a connection that is woken for it writes, and has the thread for some 5 µs, by
/// the instructions of a call.
const AT_ONCE: usize = 8;

/// How many connections are woken before others have their turn: together they take about a stint, 0.1 ms.
const CONNECTIONS: usize = 16;

/// How many answers are handed out before others have their turn, of which many may be for one connection: 40 µs.
const ANSWERS: usize = 256;

/// The answers of turns that gave many, until they are handed out.
///
/// - What a turn decided is decided: its answers are here from then on, in the order in which it gave them, and those of an
///   earlier turn come first. Only the telling is spread.
/// - As long as there is one, somebody is handing them out, who was told so by [`add`](Self::add) and takes one after the
///   other until there is none. He belongs to no session: whose call it was may end meanwhile.
/// - They are no more than there are calls that wait, since a call counts as one until its answer is handed out.
#[derive(Debug, Default)]
pub(crate) struct Deliveries(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    /// By turn, with its index.
    turns: VecDeque<(u64, vec::IntoIter<Woken>)>,
    are_handed_out: bool,
}

impl Deliveries {
    /// Whether so few are handed out at once.
    pub(crate) fn is_few(woken: &[Woken]) -> bool {
        woken.len() <= AT_ONCE
    }

    /// Takes in the answers of one turn. Whether somebody must begin to hand them out.
    #[must_use]
    pub(crate) fn add(&self, index: u64, woken: Vec<Woken>) -> bool {
        let mut inside = self.0.lock();
        inside.turns.push_back((index, woken.into_iter()));
        !std::mem::replace(&mut inside.are_handed_out, true)
    }

    /// The next answer, and the index of its turn. `None` if there is none: then nobody hands them out any more.
    pub(crate) fn next(&self) -> Option<(u64, Woken)> {
        let mut inside = self.0.lock();
        loop {
            let Some((index, turn)) = inside.turns.front_mut() else {
                inside.are_handed_out = false;
                return None;
            };
            if let Some(woken) = turn.next() {
                return Some((*index, woken));
            }
            inside.turns.pop_front();
        }
    }
}

/// How much is handed out before others have their turn.
#[derive(Debug, Default)]
pub(crate) struct Step {
    answers: usize,
    connections: usize,
}

impl Step {
    /// Whether there is room for one more.
    pub(crate) fn goes_on(&self) -> bool {
        self.answers < ANSWERS && self.connections < CONNECTIONS
    }

    /// An answer was handed out, which has woken a connection or not.
    pub(crate) fn note(&mut self, has_woken: bool) {
        self.answers += 1;
        self.connections += usize::from(has_woken);
    }
}

#[cfg(test)]
mod tests;
