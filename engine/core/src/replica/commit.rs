//! When a record counts as committed.
//!
//! A record is *appended* when it is in a block in memory, *durable* when the write of its block
//! has returned, *committed* when it is durable everywhere that the node's durability asks for.
//! Only committed records are answered.

use catraca_wire::frame::Durability;

/// What one stream has durable here and at the standby, and what follows for answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitTracker {
    durability: Durability,
    durable_here: u64,
    durable_there: u64,
    /// The session with the standby that `durable_there` is of: what is said in another one does
    /// not count.
    session: u64,
    committed: u64,
    /// What an earlier run wrote, and may have answered.
    inherited: u64,
}

impl CommitTracker {
    /// A stream whose records up to `durable` are on this disk. Where the standby counts, nothing
    /// is committed until it has spoken: of what an earlier run wrote, this node can't know what
    /// the standby holds.
    pub fn new(durability: Durability, durable: u64) -> Self {
        let committed = if durability == Durability::Sync { 0 } else { durable };
        Self {
            durability,
            durable_here: durable,
            durable_there: 0,
            session: 0,
            committed,
            inherited: durable,
        }
    }

    /// This node's disk holds everything up to `lsn`. Never goes back.
    pub fn durable_here(&mut self, lsn: u64) {
        assert!(
            lsn >= self.durable_here,
            "durability went back from {} to {lsn}",
            self.durable_here
        );
        self.durable_here = lsn;
        self.advance();
    }

    /// In a session that begins the standby goes on behind `lsn`: what it holds begins to count
    /// from there, whatever another one held. Sessions have rising numbers: what an earlier one
    /// says late does not count.
    pub fn standby_at(&mut self, session: u64, lsn: u64) {
        if session < self.session {
            return;
        }
        (self.session, self.durable_there) = (session, lsn);
        self.advance();
    }

    /// The disk of a session's standby holds everything up to `lsn`. A late acknowledgement of less
    /// is ignored, and so is one of an earlier session: another node may follow now, which holds
    /// less.
    pub fn durable_there(&mut self, session: u64, lsn: u64) {
        if session != self.session {
            return;
        }
        self.durable_there = self.durable_there.max(lsn);
        self.advance();
    }

    /// From now on this is asked of a record. What is committed stays so.
    pub fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
        self.advance();
    }

    /// What is asked of a record.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The last committed log sequence number.
    #[inline]
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// The last record that may ever have been answered. What an earlier run wrote counts, whatever
    /// this one has committed of it: that run may have answered it alone, before answers waited for
    /// a standby.
    pub fn may_be_answered(&self) -> u64 {
        self.committed.max(self.inherited)
    }

    fn advance(&mut self) {
        let safe = match self.durability {
            Durability::Single | Durability::Solo => self.durable_here,
            Durability::Sync => self.durable_here.min(self.durable_there),
        };
        self.committed = self.committed.max(safe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_node_commits_what_is_durable() {
        let mut tracker = CommitTracker::new(Durability::Single, 4);
        assert_eq!(tracker.committed(), 4);
        tracker.durable_here(9);
        assert_eq!(tracker.committed(), 9);
    }

    #[test]
    fn with_a_standby_both_must_hold_it() {
        let mut tracker = CommitTracker::new(Durability::Sync, 4);
        assert_eq!(tracker.committed(), 0, "an earlier run's records may never have been shared");
        tracker.standby_at(1, 3);
        assert_eq!(tracker.committed(), 3);
        tracker.durable_there(1, 20);
        assert_eq!(tracker.committed(), 4, "the standby may be ahead of this disk");
        tracker.durable_here(10);
        assert_eq!(tracker.committed(), 10);
        tracker.durable_there(1, 15);
        tracker.durable_here(30);
        assert_eq!(tracker.committed(), 20, "a late acknowledgement takes nothing back");
    }

    #[test]
    fn what_an_earlier_run_wrote_may_have_been_answered() {
        let mut tracker = CommitTracker::new(Durability::Sync, 40);
        tracker.standby_at(1, 3);
        assert_eq!((tracker.committed(), tracker.may_be_answered()), (3, 40));
        tracker.durable_there(1, 50);
        tracker.durable_here(50);
        assert_eq!((tracker.committed(), tracker.may_be_answered()), (50, 50));
    }

    #[test]
    fn modes_change_without_taking_back() {
        let mut tracker = CommitTracker::new(Durability::Solo, 10);
        tracker.standby_at(1, 5);
        tracker.set_durability(Durability::Sync);
        assert_eq!(tracker.committed(), 10);
        tracker.durable_here(12);
        assert_eq!(tracker.committed(), 10);
        tracker.set_durability(Durability::Solo);
        assert_eq!(tracker.committed(), 12);
    }

    #[test]
    #[should_panic(expected = "went back")]
    fn durability_never_goes_back() {
        CommitTracker::new(Durability::Single, 4).durable_here(3);
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_session_does_not_count() {
        let mut tracker = CommitTracker::new(Durability::Sync, 0);
        tracker.durable_here(100);
        tracker.standby_at(1, 0);
        tracker.standby_at(2, 50);
        tracker.durable_there(1, 100);
        tracker.standby_at(1, 90);
        assert_eq!(tracker.committed(), 50);
        tracker.durable_there(2, 80);
        assert_eq!(tracker.committed(), 80);
    }
}
