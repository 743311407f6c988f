//! What an arbiter says when it promotes: the number of the epoch that begins.
//!
//! A cluster has one arbiter. One that hands numbers out sees to it that no two nodes get the same.
//! Operators who promote by hand can't: so each node has its own half of the numbers, odd or even
//! ([`ReplicaState::odd_epochs`]), and two that are promoted at once begin two epochs. That is the
//! rule of the manual arbiter, and of nothing else: what follows from an epoch looks only at which
//! of two is higher.

use super::state::{NotPromotable, ReplicaState};

/// The last epoch: four thousand million promotions are beyond any cluster's life, so that whoever
/// comes near it was told a wrong number.
pub const MAX_EPOCH: u32 = u32::MAX - 2;

/// The number of the epoch that a promotion begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewEpoch {
    /// The next of the node's own half: an operator promotes.
    ByHand,
    /// This one: the arbiter has given it to nobody else.
    Given(u32),
}

impl NewEpoch {
    /// The number, for a node in this state.
    ///
    /// # Errors
    /// [`NotPromotable::EpochIsOver`] for one that is not higher than all that the node has seen,
    /// [`NotPromotable::NoEpochLeft`] past the last.
    pub(super) fn number(self, state: &ReplicaState) -> Result<u32, NotPromotable> {
        match self {
            Self::ByHand => {
                let is_own = |epoch: &u32| (epoch % 2 == 1) == state.odd_epochs;
                let next = (1..=2).filter_map(|step| state.epoch.checked_add(step)).find(is_own);
                next.filter(|epoch| *epoch <= MAX_EPOCH).ok_or(NotPromotable::NoEpochLeft)
            }
            Self::Given(epoch) if epoch > MAX_EPOCH => Err(NotPromotable::NoEpochLeft),
            Self::Given(epoch) if epoch > state.epoch => Ok(epoch),
            Self::Given(epoch) => {
                Err(NotPromotable::EpochIsOver { given: epoch, seen: state.epoch })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_promotes_says_the_epoch_and_it_is_a_new_one() {
        let mut state = ReplicaState::joining(1, 4, "node1:1".to_owned());
        assert_eq!(NewEpoch::ByHand.number(&state), Ok(6));
        state.odd_epochs = true;
        assert_eq!(NewEpoch::ByHand.number(&state), Ok(5));
        assert_eq!(NewEpoch::Given(900).number(&state), Ok(900));
        for given in [0, 3, 4] {
            let over = NotPromotable::EpochIsOver { given, seen: 4 };
            assert_eq!(NewEpoch::Given(given).number(&state), Err(over));
        }
        let promoted = state.promoted(true, NewEpoch::Given(8)).expect("forced");
        assert_eq!(promoted.epoch, 8);
        for epoch in [MAX_EPOCH, u32::MAX - 1, u32::MAX] {
            state.epoch = epoch;
            assert_eq!(NewEpoch::ByHand.number(&state), Err(NotPromotable::NoEpochLeft));
            let given = NewEpoch::Given(u32::MAX).number(&state);
            assert_eq!(given, Err(NotPromotable::NoEpochLeft));
        }
    }
}
