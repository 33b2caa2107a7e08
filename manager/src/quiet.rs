//! What may be logged of things that anybody can make happen as often as they like.

use std::time::{Duration, Instant};

/// Lets one line a second through, and counts the others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quiet {
    said: Option<Instant>,
    unsaid: u64,
}

impl Quiet {
    const SPACING: Duration = Duration::from_secs(1);

    /// Whether it may be logged that it has happened now, and how many times since the last line it was not.
    pub(crate) fn say(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.duration_since(said) < Self::SPACING) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_one_line_a_second_and_none_is_forgotten() {
        let (mut quiet, begin) = (Quiet::default(), Instant::now());
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        assert_eq!(quiet.say(at(0)), Some(0), "the first at once");
        assert_eq!([1, 500, 999].map(|moment| quiet.say(at(moment))), [None; 3]);
        assert_eq!(quiet.say(at(1000)), Some(3));
        assert_eq!(quiet.say(at(5000)), Some(0));
    }
}
