//! What a start makes of a node's durable state and the log that it finds.

use super::state::ReplicaState;
use catraca_wire::frame::Role;

/// Why a node does not start with its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartRefused {
    /// A primary's log lacks records that it had.
    #[error("its log lacks records that it had when its standby came in sync")]
    Lacks,
    /// A primary's log is of an epoch that it does not know: it would decide in one that is over.
    #[error("it knows of epoch {known}, and its log has epoch {found}")]
    LaterEpoch {
        /// Highest epoch of the state.
        known: u32,
        /// Highest epoch of the log.
        found: u32,
    },
}

impl ReplicaState {
    /// The state, held to a log whose streams end with these records, the highest epoch of which is
    /// `log_epoch`. A membership does not outlive a log that it was given to, and a standby learns
    /// of the epochs of its log.
    ///
    /// # Errors
    /// [`StartRefused`] for a primary that would decide with such a log.
    pub fn held_to_log(&self, log_epoch: u32, last_lsns: &[u64]) -> Result<Self, StartRefused> {
        let is_primary = self.role == Role::Primary;
        if is_primary && self.lacks(last_lsns) {
            return Err(StartRefused::Lacks);
        }
        let state = self.found(last_lsns);
        if log_epoch <= state.epoch {
            return Ok(state);
        }
        if is_primary {
            return Err(StartRefused::LaterEpoch { known: state.epoch, found: log_epoch });
        }
        Ok(Self { epoch: log_epoch, in_sync: false, ..state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Peer;

    #[test]
    fn a_primary_does_not_start_with_less_than_it_had_or_an_epoch_that_it_forgot() {
        let peer = Peer {
            node_id: [2; 16],
            replication_address: "node2:1".to_owned(),
            client_address: String::new(),
        };
        let state = ReplicaState::single(2, 3).with_standby(peer).with_ends(vec![10, 20]);
        assert_eq!(state.held_to_log(3, &[10, 25]), Ok(state.clone()));
        assert_eq!(state.held_to_log(3, &[10, 19]), Err(StartRefused::Lacks));
        assert_eq!(state.held_to_log(3, &[10]), Err(StartRefused::Lacks));
        let later = StartRefused::LaterEpoch { known: 3, found: 4 };
        assert_eq!(state.held_to_log(4, &[10, 20]), Err(later));
    }

    #[test]
    fn a_standby_loses_its_membership_and_learns_the_epoch() {
        let joining = ReplicaState::joining(1, 3, "node1:1".to_owned());
        let member = joining.with_membership(3, true).expect("its epoch").with_ends(vec![10]);
        assert_eq!(member.held_to_log(3, &[10]), Ok(member.clone()));
        assert!(!member.held_to_log(3, &[9]).expect("a standby starts").in_sync);
        let learned = member.held_to_log(5, &[10]).expect("a standby starts");
        assert_eq!((learned.epoch, learned.in_sync), (5, false));
    }
}
