//! When a record counts as committed.
//!
//! A record is *appended* when it is in a block in memory, *durable* when the write of its block
//! has returned, *committed* when it is durable everywhere that the node's durability asks for.
//! Only committed records are answered. In `sync` each replica that answers wait for is counted for
//! itself, by its slot: what one of them acknowledges says nothing of another.

use catraca_wire::frame::Durability;

/// Most replicas beside this node whose acknowledgements a stream counts. A cluster has two or three
/// copies; more only make every answer wait for the slowest of more disks.
pub const MAX_REPLICAS: usize = 4;

/// The place of a replica in the tables of a primary, below [`MAX_REPLICAS`]: of one node at a time,
/// whatever session it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaSlot(u8);

impl ReplicaSlot {
    /// Of the first standby, and the only one where a primary has one.
    pub const FIRST: Self = Self(0);

    /// The slot of this number; `None` past the last.
    pub fn new(number: usize) -> Option<Self> {
        (number < MAX_REPLICAS).then_some(Self(number as u8))
    }
}

/// Which replicas an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitsFor(u8);

impl WaitsFor {
    /// For the first standby.
    pub const FIRST: Self = Self(1);

    /// And for this one.
    #[must_use]
    pub const fn and(self, slot: ReplicaSlot) -> Self {
        Self(self.0 | 1 << slot.0)
    }

    fn slots(self) -> impl Iterator<Item = usize> {
        (0..MAX_REPLICAS).filter(move |slot| self.0 >> slot & 1 == 1)
    }
}

/// What a replica has durable, and in which session it said so: what is said in another one does
/// not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Replica {
    session: u64,
    durable: u64,
}

/// What one stream has durable here and at its replicas, and what follows for answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitTracker {
    durability: Durability,
    durable_here: u64,
    replicas: [Replica; MAX_REPLICAS],
    waits_for: WaitsFor,
    committed: u64,
    /// What an earlier run wrote, and may have answered.
    inherited: u64,
}

impl CommitTracker {
    /// A stream whose records up to `durable` are on this disk. Where a standby counts, nothing is
    /// committed until it has spoken: of what an earlier run wrote, this node can't know what the
    /// standby holds.
    pub fn new(durability: Durability, durable: u64) -> Self {
        let committed = if durability == Durability::Sync { 0 } else { durable };
        Self {
            durability,
            durable_here: durable,
            replicas: [Replica::default(); MAX_REPLICAS],
            waits_for: WaitsFor::FIRST,
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

    /// In a session that begins a replica goes on behind `lsn`: what it holds begins to count from
    /// there, whatever it, or another node in its slot, held before. Sessions have rising numbers:
    /// what an earlier one says late does not count.
    pub fn replica_at(&mut self, slot: ReplicaSlot, session: u64, lsn: u64) {
        let replica = &mut self.replicas[usize::from(slot.0)];
        if session < replica.session {
            return;
        }
        *replica = Replica { session, durable: lsn };
        self.advance();
    }

    /// The disk of a session's replica holds everything up to `lsn`. A late acknowledgement of less
    /// is ignored, and so is one of an earlier session: another node may follow now, which holds
    /// less.
    pub fn durable_there(&mut self, slot: ReplicaSlot, session: u64, lsn: u64) {
        let replica = &mut self.replicas[usize::from(slot.0)];
        if session != replica.session {
            return;
        }
        replica.durable = replica.durable.max(lsn);
        self.advance();
    }

    /// From now on this is asked of a record, in [`Durability::Sync`] of these replicas. What is
    /// committed stays so.
    pub fn set_durability(&mut self, durability: Durability, waits_for: WaitsFor) {
        (self.durability, self.waits_for) = (durability, waits_for);
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
            Durability::Sync => self
                .waits_for
                .slots()
                .fold(self.durable_here, |safe, slot| safe.min(self.replicas[slot].durable)),
        };
        self.committed = self.committed.max(safe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ReplicaSlot = ReplicaSlot::FIRST;

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
        tracker.replica_at(FIRST, 1, 3);
        assert_eq!(tracker.committed(), 3);
        tracker.durable_there(FIRST, 1, 20);
        assert_eq!(tracker.committed(), 4, "the standby may be ahead of this disk");
        tracker.durable_here(10);
        assert_eq!(tracker.committed(), 10);
        tracker.durable_there(FIRST, 1, 15);
        tracker.durable_here(30);
        assert_eq!(tracker.committed(), 20, "a late acknowledgement takes nothing back");
    }

    #[test]
    fn what_an_earlier_run_wrote_may_have_been_answered() {
        let mut tracker = CommitTracker::new(Durability::Sync, 40);
        tracker.replica_at(FIRST, 1, 3);
        assert_eq!((tracker.committed(), tracker.may_be_answered()), (3, 40));
        tracker.durable_there(FIRST, 1, 50);
        tracker.durable_here(50);
        assert_eq!((tracker.committed(), tracker.may_be_answered()), (50, 50));
    }

    #[test]
    fn modes_change_without_taking_back() {
        let mut tracker = CommitTracker::new(Durability::Solo, 10);
        tracker.replica_at(FIRST, 1, 5);
        tracker.set_durability(Durability::Sync, WaitsFor::FIRST);
        assert_eq!(tracker.committed(), 10);
        tracker.durable_here(12);
        assert_eq!(tracker.committed(), 10);
        tracker.set_durability(Durability::Solo, WaitsFor::FIRST);
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
        tracker.replica_at(FIRST, 1, 0);
        tracker.replica_at(FIRST, 2, 50);
        tracker.durable_there(FIRST, 1, 100);
        tracker.replica_at(FIRST, 1, 90);
        assert_eq!(tracker.committed(), 50);
        tracker.durable_there(FIRST, 2, 80);
        assert_eq!(tracker.committed(), 80);
    }

    #[test]
    fn each_replica_is_counted_for_itself_and_the_slowest_is_waited_for() {
        let second = ReplicaSlot::new(1).expect("there are several");
        let mut tracker = CommitTracker::new(Durability::Sync, 0);
        tracker.set_durability(Durability::Sync, WaitsFor::FIRST.and(second));
        tracker.durable_here(100);
        tracker.replica_at(FIRST, 1, 0);
        tracker.durable_there(FIRST, 1, 90);
        assert_eq!(tracker.committed(), 0, "the second has not spoken");
        tracker.replica_at(second, 2, 40);
        assert_eq!(tracker.committed(), 40);
        tracker.durable_there(second, 1, 95);
        tracker.durable_there(FIRST, 2, 95);
        assert_eq!(tracker.committed(), 40, "neither counts in the other's session");
        tracker.durable_there(second, 2, 95);
        assert_eq!(tracker.committed(), 90);
        tracker.set_durability(Durability::Sync, WaitsFor::FIRST);
        tracker.durable_there(FIRST, 1, 99);
        assert_eq!(tracker.committed(), 99, "the second is not waited for any more");
        assert_eq!(ReplicaSlot::new(MAX_REPLICAS), None);
    }
}
