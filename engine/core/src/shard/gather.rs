//! When the next block leaves: at once, or once those who usually come have come.
//!
//! A write costs the same for one record as for a hundred: time of the disk, and of the processors
//! that hand the block over and take it back. A client that waits for each answer comes back soon
//! after it. A block that leaves as soon as the disk is free leaves without those just answered, and
//! a fast disk makes that a write for every record or two. So a block is **held** for them, and
//! leaves when
//!
//! 1. everybody is there: as many records wait, in it or for the standby, as the active connections
//!    have had unanswered ([`Crowd`]); a lone client waits for nobody;
//! 2. or it holds [`ENOUGH`] records: the cost of the write is divided among so many already;
//! 3. or nobody has come for half the time of a write: whoever is missing is not on his way;
//! 4. or it was held for the time of a whole write: waiting costs at most what it tries to save.
//!
//! Holds that cost more than they brought (records that waited, times how long, against records
//! that came, times the write that each of them need not wait for) are not tried again for a while,
//! which doubles each time. All times come from the disk as it is measured, write by write.
//!
//! Pure: the times come in, and [`Gather::held_until`] says when to ask again.

use std::time::Duration;

/// Records that are worth a write of their own: 32 KiB, which a disk takes hardly longer for than
/// for 4, and some 1 µs of a write's cost for each.
const ENOUGH: u32 = 128;
/// Longest hold. A disk that is this slow is waited for anyway: what arrives during its writes fills
/// the blocks.
const MAX_HOLD: Duration = Duration::from_micros(200);
/// Blocks that leave at once after a hold in vain: 2, 4, 8 … and at most this many. Each further
/// try then costs half a write in 64.
const MAX_SKIPPED: u32 = 64;
/// A write's part in the moving average of their times: 1 in 8.
const AVERAGE_SHIFT: u32 = 3;

/// The rule, with what it has learned.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Moving average of the time from a block's leaving to its return, nanoseconds.
    write_ns: u64,
    /// When the last block left.
    left_ns: u64,
    held: Option<Hold>,
    /// Blocks that leave at once after the next hold in vain.
    penalty: u32,
    /// Blocks still to leave at once.
    skip: u32,
}

/// A block that is held.
#[derive(Debug, Clone, Copy)]
struct Hold {
    began_ns: u64,
    /// Records in it by then.
    began_with: u32,
    /// Records in it when it was last looked at, and when the last of them was seen to have come.
    seen: u32,
    seen_ns: u64,
    ends_ns: u64,
}

impl Gather {
    /// Whether a block of so many records leaves now, the disk being free. Of the `crowd`, the most
    /// that may come together, `elsewhere` wait for something else and can't come.
    #[inline]
    pub fn is_due(&mut self, records: u32, elsewhere: u32, crowd: u32, now_ns: u64) -> bool {
        if records.saturating_add(elsewhere) >= crowd || records >= ENOUGH || self.skip > 0 {
            return true;
        }
        let (longest, patience) =
            (self.write_ns.min(MAX_HOLD.as_nanos() as u64), self.write_ns / 2);
        let hold = self.held.get_or_insert(Hold {
            began_ns: now_ns,
            began_with: records,
            seen: records,
            seen_ns: now_ns,
            ends_ns: 0,
        });
        if records > hold.seen {
            (hold.seen, hold.seen_ns) = (records, now_ns);
        }
        hold.ends_ns = (hold.began_ns + longest).min(hold.seen_ns + patience);
        now_ns >= hold.ends_ns
    }

    /// When to ask again, monotonic nanoseconds; `None` while no block is held.
    pub fn held_until(&self) -> Option<u64> {
        self.held.map(|hold| hold.ends_ns)
    }

    /// No block can leave at the time: nothing is held.
    pub fn not_now(&mut self) {
        self.held = None;
    }

    /// A block of so many records leaves.
    #[inline]
    pub fn left(&mut self, records: u32, now_ns: u64) {
        self.left_ns = now_ns;
        let Some(hold) = self.held.take() else {
            self.skip = self.skip.saturating_sub(1);
            return;
        };
        let brought = u64::from(records.saturating_sub(hold.began_with)) * self.write_ns;
        let cost = u64::from(hold.began_with) * now_ns.saturating_sub(hold.began_ns);
        if brought > cost {
            self.penalty = 0;
        } else {
            self.penalty = (self.penalty * 2).clamp(2, MAX_SKIPPED);
            self.skip = self.penalty;
        }
    }

    /// The block that left last is durable.
    #[inline]
    pub fn returned(&mut self, now_ns: u64) {
        let took_ns = now_ns.saturating_sub(self.left_ns);
        self.write_ns = match self.write_ns {
            0 => took_ns,
            average => average - (average >> AVERAGE_SHIFT) + (took_ns >> AVERAGE_SHIFT),
        };
    }
}

/// How many records may come together: the most that each of those who are active has had unanswered
/// at once, added up. What was long ago is forgotten window by window.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    window: u32,
    /// Of this window, and of the one before it.
    size: u32,
    size_before: u32,
    blocks: u32,
}

/// One sender's part of a [`Crowd`].
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Share {
    window: u32,
    most: u32,
}

impl Crowd {
    /// Blocks that a window lasts at least, so that everybody comes in it who comes with one block
    /// or another.
    const WINDOW_BLOCKS: u32 = 16;

    /// A sender has so many unanswered.
    #[inline]
    pub fn seen(&mut self, share: &mut Share, unanswered: u32) {
        if share.window != self.window {
            *share = Share { window: self.window, most: 0 };
        }
        if unanswered > share.most {
            self.size = self.size.saturating_add(unanswered - share.most);
            share.most = unanswered;
        }
    }

    /// A block has left.
    #[inline]
    pub fn block_left(&mut self) {
        self.blocks = self.blocks.saturating_add(1);
    }

    /// Once a tick: begins a new window, if this one has lasted long enough.
    pub fn tick(&mut self) {
        if self.blocks >= Self::WINDOW_BLOCKS {
            let window = self.window.wrapping_add(1);
            *self = Self { window, size: 0, size_before: self.size, blocks: 0 };
        }
    }

    /// The most that may come together.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size.max(self.size_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;
    /// What a write takes on the disk of these tests.
    const WRITE_NS: u64 = 100 * US;

    /// A gatherer that has measured this disk.
    fn measured() -> Gather {
        let mut gather = Gather::default();
        gather.left(1, 0);
        gather.returned(WRITE_NS);
        gather
    }

    #[test]
    fn a_block_leaves_at_once_when_nobody_else_can_come() {
        let mut gather = measured();
        assert!(gather.is_due(1, 0, 1, 0), "a lone client waits for nobody");
        assert!(gather.is_due(16, 0, 16, 0), "all are there");
        assert!(gather.is_due(4, 12, 16, 0), "the others wait for the standby");
        assert!(gather.is_due(ENOUGH, 0, 10_000, 0), "enough are there");
        assert_eq!(gather.held_until(), None);
        assert!(Gather::default().is_due(1, 0, 16, 0), "nothing is known of the disk yet");
    }

    #[test]
    fn a_hold_ends_when_nobody_comes_and_when_it_was_long() {
        let mut gather = measured();
        assert!(!gather.is_due(1, 0, 16, 0));
        assert_eq!(gather.held_until(), Some(WRITE_NS / 2));
        assert!(!gather.is_due(2, 0, 16, 40 * US), "somebody has come");
        assert_eq!(gather.held_until(), Some(90 * US));
        assert!(!gather.is_due(3, 0, 16, 80 * US));
        assert_eq!(gather.held_until(), Some(WRITE_NS), "no longer than a write takes");
        assert!(gather.is_due(4, 0, 16, WRITE_NS));
        gather.left(4, WRITE_NS);
        assert_eq!(gather.held_until(), None);

        let mut gather = measured();
        assert!(!gather.is_due(1, 0, 16, 0));
        assert!(gather.is_due(1, 0, 16, WRITE_NS / 2), "nobody has come");
    }

    #[test]
    fn a_slow_disk_is_not_waited_for_twice() {
        let mut gather = Gather::default();
        gather.left(1, 0);
        gather.returned(20_000 * US);
        let longest = MAX_HOLD.as_nanos() as u64;
        assert!(!gather.is_due(1, 0, 16, 0));
        assert_eq!(gather.held_until(), Some(longest));
        assert!(gather.is_due(2, 0, 16, longest));
    }

    #[test]
    fn holds_in_vain_become_rare_and_one_that_pays_brings_them_back() {
        let mut gather = measured();
        let (mut now_ns, mut holds, mut blocks) = (0, Vec::new(), 0);
        while blocks < 300 {
            if !gather.is_due(1, 0, 16, now_ns) {
                holds.push(blocks);
                now_ns = gather.held_until().expect("it is held");
                assert!(gather.is_due(1, 0, 16, now_ns));
            }
            gather.left(1, now_ns);
            now_ns += WRITE_NS;
            gather.returned(now_ns);
            blocks += 1;
        }
        assert_eq!(holds, [0, 3, 8, 17, 34, 67, 132, 197, 262], "at most one block in 65 is held");
        gather.skip = 0;
        assert!(!gather.is_due(1, 0, 16, now_ns));
        assert!(!gather.is_due(8, 0, 16, now_ns + 20 * US));
        gather.left(8, now_ns + 30 * US);
        assert!(!gather.is_due(1, 0, 16, now_ns + 200 * US), "it paid");
    }

    #[test]
    fn the_crowd_is_what_each_has_unanswered_at_most_and_forgets() {
        let mut crowd = Crowd::default();
        let mut shares = [Share::default(); 3];
        for unanswered in [1, 2, 1, 5, 3] {
            crowd.seen(&mut shares[0], unanswered);
        }
        crowd.seen(&mut shares[1], 1);
        assert_eq!(crowd.size(), 6);
        crowd.tick();
        assert_eq!(crowd.size(), 6, "too few blocks have left to forget anybody");
        let window = |crowd: &mut Crowd| {
            (0..Crowd::WINDOW_BLOCKS).for_each(|_| crowd.block_left());
            crowd.tick();
        };
        window(&mut crowd);
        crowd.seen(&mut shares[2], 1);
        assert_eq!(crowd.size(), 6, "what was in the last window counts");
        window(&mut crowd);
        assert_eq!(crowd.size(), 1);
        crowd.seen(&mut shares[0], 1);
        assert_eq!(crowd.size(), 1);
        crowd.seen(&mut shares[2], 1);
        assert_eq!(crowd.size(), 2);
    }
}
