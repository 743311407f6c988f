//! The block boundaries of a standby's stream, to find the last one that the primary's stream has
//! too.

use crate::log::Tail;
use std::collections::VecDeque;

/// Newest boundaries kept one by one: 1.3 MB, and many times more blocks than a primary ever has
/// unshared. Of older ones the last of each segment is kept: a stream that parted from its
/// primary's that long ago is cut a little earlier than it need be.
pub const RECENT_BOUNDARIES: usize = 16_384;

/// Boundaries, oldest first. The stream's start is one, too.
#[derive(Debug, Clone)]
pub struct Boundaries {
    start: Tail,
    older: Vec<Tail>,
    recent: VecDeque<Tail>,
}

impl Default for Boundaries {
    /// Of a whole stream.
    fn default() -> Self {
        Self::from_start(Tail::START)
    }
}

impl Boundaries {
    /// Of a stream that begins here.
    pub fn from_start(start: Tail) -> Self {
        Self { start, older: Vec::new(), recent: VecDeque::new() }
    }

    /// Takes the next one.
    pub fn push(&mut self, boundary: Tail) {
        debug_assert!(self.recent.back().is_none_or(|last| last.next_lsn < boundary.next_lsn));
        if self.recent.len() == RECENT_BOUNDARIES
            && let Some(oldest) = self.recent.pop_front()
            && self.recent.front().is_none_or(|next| next.segment != oldest.segment)
        {
            self.older.push(oldest);
        }
        self.recent.push_back(boundary);
    }

    /// How many there are, the start included.
    pub fn len(&self) -> usize {
        1 + self.older.len() + self.recent.len()
    }

    /// Never: there is always the start.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The boundary at a place, from 0 (the start) up.
    pub fn at(&self, place: usize) -> Tail {
        match place.checked_sub(1) {
            None => self.start,
            Some(index) if index < self.older.len() => self.older[index],
            Some(index) => self.recent[index - self.older.len()],
        }
    }

    /// The newest one.
    pub fn last(&self) -> Tail {
        self.at(self.len() - 1)
    }

    /// How many lie at or before a record.
    pub fn up_to(&self, lsn: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.at(middle).next_lsn <= lsn + 1 { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The boundary behind this very record, if it is held.
    pub fn behind(&self, lsn: u64) -> Option<Tail> {
        let boundary = self.at(self.up_to(lsn).checked_sub(1)?);
        (boundary.next_lsn == lsn + 1).then_some(boundary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(lsn: u64) -> Tail {
        Tail { next_lsn: lsn + 1, segment: (lsn / 1000) as u32, ..Tail::START }
    }

    #[test]
    fn boundaries_are_found() {
        let mut all = Boundaries::default();
        assert_eq!((all.len(), all.last(), all.up_to(7)), (1, Tail::START, 1));
        for lsn in [2, 5, 9] {
            all.push(boundary(lsn));
        }
        assert_eq!(all.up_to(0), 1);
        assert_eq!(all.up_to(4), 2);
        assert_eq!(all.up_to(5), 3);
        assert_eq!(all.behind(5), Some(boundary(5)));
        assert_eq!(all.behind(4), None);
        assert_eq!(all.behind(0), Some(Tail::START));
    }

    #[test]
    fn of_old_ones_the_last_of_each_segment_is_kept() {
        let mut all = Boundaries::default();
        let count = RECENT_BOUNDARIES as u64 + 2500;
        (1..=count).for_each(|lsn| all.push(boundary(lsn)));
        assert_eq!(all.len(), 1 + 2 + RECENT_BOUNDARIES);
        assert_eq!(all.at(1), boundary(999));
        assert_eq!(all.at(2), boundary(1999));
        assert_eq!(all.at(3), boundary(2501));
        assert_eq!(all.last(), boundary(count));
    }
}
