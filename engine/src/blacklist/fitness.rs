//! Whether a list may take the place of the one in use: the same question for a load and for a start.

use super::Snapshot;

/// Why a list must not take the place of the one in use, unless somebody says that it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Too few of its entries count: mostly a failed download, not an amnesty.
    #[error("{after} entries instead of {before} count today: more than {most_percent} % lost")]
    Loss {
        /// Entries of the list in use that count today.
        before: u64,
        /// Those of the new one.
        after: u64,
        /// The share that may be lost.
        most_percent: u64,
    },
}

/// Holds a list against the one in use, as both count on a day: entries that have ended or not begun list nobody. Looks at all entries
/// of both: not for a data core.
///
/// # Errors
/// [`Unfit`].
pub fn hold_against(old: &Snapshot, new: &Snapshot, today: u16, most_percent: u64) -> Result<(), Unfit> {
    let (before, after) = (old.entries_on(today), new.entries_on(today));
    let kept_percent = 100_u64.saturating_sub(most_percent);
    if u128::from(after) * 100 < u128::from(before) * u128::from(kept_percent) || (after == 0 && before > 0) {
        return Err(Unfit::Loss { before, after, most_percent });
    }
    Ok(())
}
