//! What a node knows of its cluster for good: epoch, role, and what the standby's acknowledgements
//! count for. Each change is made durable before anything follows from it.
//!
//! The rules that keep two nodes from both acknowledging:
//!
//! - An epoch is the time of one primary. Only a promotion begins one, and whoever promotes gives its
//!   number ([`NewEpoch`]), so that no two nodes ever decide in the same, whatever anybody commands.
//! - A standby takes blocks of the highest epoch that it has seen and of no lower one. A primary in
//!   [`Durability::Sync`] answers nothing that its standby has not taken: so one whose standby was
//!   promoted can't answer any more, without knowing it.
//! - A standby may be promoted without loss only while it is *in sync*: its membership, durable on
//!   both sides, says that it has all that was ever answered and that nothing more will be answered
//!   without it. The primary goes alone only after the standby has given the grant back, or by an
//!   operator's override: the standby will not be promoted.

use super::arbiter::NewEpoch;
use crate::log::recovery::LastWrite;
use catraca_wire::frame::{Durability, Role};
use catraca_wire::replication::RefuseReason;

/// The epoch of a cluster's first primary.
pub const FIRST_EPOCH: u32 = 1;

/// The other node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its identity; zeros where only its address is known.
    pub node_id: [u8; 16],
    /// Where it takes connections of other nodes, `host:port`.
    pub replication_address: String,
    /// Where it takes clients, `host:port`; empty where unknown.
    pub client_address: String,
}

/// A node's durable place in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaState {
    /// Highest epoch that this node has decided in or followed. Never falls.
    pub epoch: u32,
    /// What this node is in that epoch.
    pub role: Role,
    /// On a primary: what an answer waits for.
    pub durability: Durability,
    /// This node's own epochs are the odd numbers.
    pub odd_epochs: bool,
    /// On a standby: it holds the primary's grant.
    pub in_sync: bool,
    /// On a standby that catches up: it may write several blocks at once, so that a crash can leave
    /// a hole with sound blocks behind it. Durable before the first such write; never together with
    /// the grant.
    pub catching_up: bool,
    /// The last record of each stream when the grant came, or, on a primary, when its answers began
    /// to wait. A log that ends before is not that log.
    pub in_sync_at: Vec<u64>,
    /// On a standby: by stream, a record that its primary had called committed in this epoch, as
    /// far as that was kept. A primary whose log ends before it has lost something.
    pub committed: Vec<u64>,
    /// On a standby: its primary may go on alone by itself, so that the grant says nothing once the
    /// connection is lost. On a primary: its standby has been told so.
    pub primary_may_leave: bool,
    /// Shards when this was written.
    pub shards: u16,
    /// The other node, as far as known.
    pub peer: Option<Peer>,
}

/// The sender's epoch is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("epoch {theirs} is over: this node has seen epoch {ours}")]
pub struct Fenced {
    /// Of the sender.
    pub theirs: u32,
    /// Highest seen here.
    pub ours: u32,
}

/// Why a node can't be made primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPromotable {
    /// It is.
    #[error("this node is the primary already, in epoch {0}")]
    Already(u32),
    /// It never followed anybody.
    #[error("this node has never been connected to a primary: there is nothing to take over")]
    Empty,
    /// The arbiter gives an epoch that is not a new one here.
    #[error("epoch {given} is over: this node has seen epoch {seen}")]
    EpochIsOver {
        /// What the arbiter gives.
        given: u32,
        /// Highest seen here.
        seen: u32,
    },
    /// There is no higher epoch.
    #[error("there is no epoch after this one: the nodes were told a wrong number")]
    NoEpochLeft,
    /// It may lack answered decisions.
    #[error("not in sync: answered decisions may be missing here")]
    NotInSync,
    /// Its primary may have left it behind.
    #[error("its primary may have gone on alone (solo_after_ms)")]
    MayBeLeft,
}

impl ReplicaState {
    /// A node on its own.
    pub fn single(shards: u16, epoch: u32) -> Self {
        Self {
            epoch: epoch.max(FIRST_EPOCH),
            role: Role::Primary,
            durability: Durability::Single,
            odd_epochs: true,
            in_sync: false,
            catching_up: false,
            in_sync_at: Vec::new(),
            committed: Vec::new(),
            primary_may_leave: false,
            shards,
            peer: None,
        }
    }

    /// A standby of whoever is found at an address, before it has found anybody.
    pub fn joining(shards: u16, epoch: u32, primary_address: String) -> Self {
        let peer = Peer {
            node_id: [0; 16],
            replication_address: primary_address,
            client_address: String::new(),
        };
        Self {
            role: Role::Standby,
            odd_epochs: false,
            peer: Some(peer),
            epoch,
            ..Self::single(shards, FIRST_EPOCH)
        }
    }

    /// This standby as the primary of a new epoch, alone until a standby has caught up.
    ///
    /// # Errors
    /// [`NotPromotable`]; with `force` only where there is nothing to promote.
    pub fn promoted(&self, force: bool, epoch: NewEpoch) -> Result<Self, NotPromotable> {
        if self.role == Role::Primary {
            return Err(NotPromotable::Already(self.epoch));
        }
        if self.epoch == 0 {
            return Err(NotPromotable::Empty);
        }
        if !force && !self.in_sync {
            return Err(NotPromotable::NotInSync);
        }
        if !force && self.primary_may_leave {
            return Err(NotPromotable::MayBeLeft);
        }
        Ok(Self {
            epoch: epoch.number(self)?,
            role: Role::Primary,
            durability: Durability::Solo,
            in_sync: false,
            catching_up: false,
            in_sync_at: Vec::new(),
            committed: Vec::new(),
            primary_may_leave: false,
            ..self.clone()
        })
    }

    /// This standby behind the primary of an epoch. A new epoch ends the grant of the one before.
    ///
    /// # Errors
    /// [`Fenced`] for a lower epoch than seen: the fence.
    pub fn following(
        &self,
        epoch: u32,
        primary: Peer,
        odd_epochs: bool,
        may_leave: bool,
    ) -> Result<Self, Fenced> {
        assert_eq!(self.role, Role::Standby, "only a standby follows");
        self.fence(epoch)?;
        let in_sync = self.in_sync && epoch == self.epoch;
        Ok(Self {
            epoch,
            odd_epochs: !odd_epochs,
            in_sync,
            catching_up: !in_sync,
            committed: if epoch == self.epoch { self.committed.clone() } else { Vec::new() },
            primary_may_leave: may_leave,
            peer: Some(primary),
            ..self.clone()
        })
    }

    /// What may be unfinished at the end of this node's log after a crash.
    pub fn last_write(&self) -> LastWrite {
        if self.catching_up { LastWrite::Blocks } else { LastWrite::Block }
    }

    /// Refuses what comes from a lower epoch.
    ///
    /// # Errors
    /// [`Fenced`].
    pub fn fence(&self, theirs: u32) -> Result<(), Fenced> {
        if theirs < self.epoch { Err(Fenced { theirs, ours: self.epoch }) } else { Ok(()) }
    }

    /// With the primary's grant, or without it.
    ///
    /// # Errors
    /// [`Fenced`] unless it comes from the primary of this very epoch.
    pub fn with_membership(&self, epoch: u32, granted: bool) -> Result<Self, Fenced> {
        assert_eq!(self.role, Role::Standby, "a grant is a standby's");
        if epoch != self.epoch {
            return Err(Fenced { theirs: epoch, ours: self.epoch });
        }
        // With the grant, blocks are written one at a time, and a log that ends otherwise is
        // damaged.
        Ok(Self { in_sync: granted, catching_up: !granted, ..self.clone() })
    }

    /// With the grant, if it holds that, given to a log whose streams end with these records.
    #[must_use]
    pub fn with_ends(&self, last_lsns: Vec<u64>) -> Self {
        Self { in_sync_at: last_lsns, ..self.clone() }
    }

    /// With the log that was found at the start, whose streams end with these records. The grant
    /// goes where that is not the log it was given to, or lacks something of it: its disk was
    /// emptied, or set back to an old copy.
    #[must_use]
    pub fn found(&self, last_lsns: &[u64]) -> Self {
        Self { in_sync: self.in_sync && !self.lacks(last_lsns), ..self.clone() }
    }

    /// Whether a log whose streams end with these records lacks something that it had.
    pub fn lacks(&self, last_lsns: &[u64]) -> bool {
        let lacks =
            |(stream, had): (usize, &u64)| last_lsns.get(stream).copied().unwrap_or(0) < *had;
        self.in_sync_at.iter().enumerate().any(lacks)
    }

    /// With what the primary has called committed by now.
    #[must_use]
    pub fn knowing(&self, committed: Vec<u64>) -> Self {
        Self { committed, ..self.clone() }
    }

    /// Whether this primary takes a node as its standby.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, node_id: &[u8; 16], epoch: u32, shards: u16) -> Result<(), RefuseReason> {
        if self.role != Role::Primary {
            return Err(RefuseReason::NotPrimary);
        }
        if epoch > self.epoch {
            return Err(RefuseReason::Epoch);
        }
        if shards != self.shards {
            return Err(RefuseReason::Shards);
        }
        // The registered standby holds a grant that only it can give back: another one may take its
        // place once this node is alone.
        let other = |peer: &Peer| peer.node_id != *node_id;
        if self.durability == Durability::Sync && self.peer.as_ref().is_some_and(other) {
            return Err(RefuseReason::Taken);
        }
        Ok(())
    }

    /// This primary with answers waiting for this standby.
    pub fn with_standby(&self, standby: Peer) -> Self {
        assert_eq!(self.role, Role::Primary, "only a primary has a standby");
        Self { durability: Durability::Sync, peer: Some(standby), ..self.clone() }
    }

    /// This primary with answers that wait for nobody.
    pub fn alone(&self) -> Self {
        assert_eq!(self.role, Role::Primary, "only a primary answers");
        Self { durability: Durability::Solo, ..self.clone() }
    }

    /// This primary as a standby, now that a higher epoch is known. `by` is its primary, where that
    /// is who told.
    pub fn demoted(&self, epoch: u32, by: Option<Peer>) -> Option<Self> {
        if self.role != Role::Primary || epoch <= self.epoch {
            return None;
        }
        Some(Self {
            epoch,
            role: Role::Standby,
            durability: Durability::Single,
            in_sync: false,
            catching_up: false,
            in_sync_at: Vec::new(),
            committed: Vec::new(),
            primary_may_leave: false,
            peer: by.or_else(|| self.peer.clone()),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u8) -> Peer {
        Peer {
            node_id: [id; 16],
            replication_address: "127.0.0.1:7401".to_owned(),
            client_address: String::new(),
        }
    }

    /// A founder and the standby that it has granted.
    fn pair() -> (ReplicaState, ReplicaState) {
        let a = ReplicaState::single(1, 1).with_standby(peer(2));
        let b = ReplicaState::joining(1, 0, "127.0.0.1:7401".to_owned());
        let b =
            b.following(a.epoch, peer(1), a.odd_epochs, false).expect("a new one has seen nothing");
        let b = b.with_membership(a.epoch, true).expect("of this epoch");
        (a, b)
    }

    #[test]
    fn epochs_rise_and_two_nodes_never_share_one() {
        let (mut a, mut b) = pair();
        for round in 0..4 {
            let new = b.promoted(false, NewEpoch::ByHand).expect("granted");
            assert!(new.epoch > a.epoch && new.epoch > b.epoch, "{round}");
            assert_eq!(new.durability, Durability::Solo);
            b = new;
            assert_eq!(b.demoted(a.epoch, None), None, "a lower epoch demotes nobody");
            a = a.demoted(b.epoch, Some(peer(2))).expect("a higher epoch does");
            assert_eq!(a.promoted(false, NewEpoch::ByHand), Err(NotPromotable::NotInSync));
            // Whatever is forced, the two halves of the numbers never meet.
            assert_ne!(a.promoted(true, NewEpoch::ByHand).expect("forced").epoch % 2, b.epoch % 2);
            a = a
                .following(b.epoch, peer(2), b.odd_epochs, false)
                .and_then(|a| a.with_membership(b.epoch, true))
                .expect("its primary");
            std::mem::swap(&mut a, &mut b);
        }
        assert_eq!(a.epoch, 5);
    }

    #[test]
    fn a_lower_epoch_is_refused_and_a_new_one_ends_the_grant() {
        let (_, b) = pair();
        let later = b.following(4, peer(1), true, false).expect("higher");
        assert!(b.in_sync && !later.in_sync);
        assert!(!b.catching_up && later.catching_up, "it may lack much of the new epoch's log");
        assert_eq!(later.following(3, peer(1), true, false), Err(Fenced { theirs: 3, ours: 4 }));
        assert_eq!(later.with_membership(3, true), Err(Fenced { theirs: 3, ours: 4 }));
        assert_eq!(later.fence(4), Ok(()));
    }

    #[test]
    fn who_may_lack_answers_is_promoted_by_force_only() {
        let (_, b) = pair();
        assert_eq!(b.promoted(false, NewEpoch::ByHand).expect("granted").epoch, 2);
        let revoked = b.with_membership(1, false).expect("its epoch");
        assert_eq!(revoked.promoted(false, NewEpoch::ByHand), Err(NotPromotable::NotInSync));
        assert_eq!(revoked.promoted(true, NewEpoch::ByHand).expect("forced").epoch, 2);
        let leaving = b.following(1, peer(1), true, true).expect("same epoch");
        assert_eq!(leaving.promoted(false, NewEpoch::ByHand), Err(NotPromotable::MayBeLeft));
        let empty = ReplicaState::joining(1, 0, String::new());
        assert_eq!(empty.promoted(true, NewEpoch::ByHand), Err(NotPromotable::Empty));
    }

    #[test]
    fn a_grant_goes_with_the_log_that_it_was_given_to() {
        let (_, b) = pair();
        let granted = b.with_ends(vec![7, 0]);
        assert!(granted.found(&[7, 0]).in_sync && granted.found(&[9, 4, 1]).in_sync);
        for less in [&[6, 0][..], &[], &[0, 100]] {
            assert_eq!(
                granted.found(less).promoted(false, NewEpoch::ByHand),
                Err(NotPromotable::NotInSync),
                "{less:?}"
            );
        }
        assert!(
            !granted.with_membership(1, false).expect("its epoch").found(&[9, 9]).in_sync,
            "nothing comes from nothing"
        );
    }

    #[test]
    fn several_blocks_at_once_are_written_only_without_the_grant() {
        let new = ReplicaState::joining(1, 0, "127.0.0.1:7401".to_owned());
        assert_eq!(
            new.last_write(),
            LastWrite::Block,
            "its log was written by whoever it was before"
        );
        let behind = new.following(1, peer(1), true, false).expect("new");
        assert_eq!(behind.last_write(), LastWrite::Blocks);
        assert_eq!(
            behind.with_membership(1, true).expect("its epoch").last_write(),
            LastWrite::Block
        );
        assert_eq!(
            behind.promoted(true, NewEpoch::ByHand).expect("forced").last_write(),
            LastWrite::Block
        );
        let granted = behind.with_membership(1, true).expect("its epoch");
        assert_eq!(
            granted.following(1, peer(1), true, false).expect("the same").last_write(),
            LastWrite::Block
        );
        let revoked = granted.with_membership(1, false).expect("its epoch");
        assert_eq!(revoked.last_write(), LastWrite::Blocks, "it may have far to go again");
    }

    #[test]
    fn what_a_primary_called_committed_is_remembered_within_its_epoch() {
        let (a, b) = pair();
        let b = b.knowing(vec![40]);
        assert_eq!(b.following(1, peer(1), true, false).expect("its primary").committed, [40]);
        assert!(
            b.following(3, peer(1), true, false).expect("higher").committed.is_empty(),
            "another epoch may have lost them by force"
        );
        assert!(b.promoted(false, NewEpoch::ByHand).expect("granted").committed.is_empty());
        let a = a.with_ends(vec![30]);
        assert!(
            a.lacks(&[29]) && a.lacks(&[]) && !a.lacks(&[30]),
            "a primary's log that ends before its standby was granted"
        );
        assert!(
            !a.demoted(2, None).expect("higher").lacks(&[]),
            "what it had alone may be cut off"
        );
    }

    #[test]
    fn the_place_of_a_granted_standby_is_its_own() {
        let (a, _) = pair();
        assert_eq!(a.admits(&[2; 16], 1, 1), Ok(()));
        assert_eq!(a.admits(&[3; 16], 0, 1), Err(RefuseReason::Taken));
        assert_eq!(a.alone().admits(&[3; 16], 0, 1), Ok(()));
        assert_eq!(a.admits(&[2; 16], 2, 1), Err(RefuseReason::Epoch));
        assert_eq!(a.admits(&[2; 16], 1, 2), Err(RefuseReason::Shards));
    }
}
