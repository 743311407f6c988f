//! Whether a list may take the place of the one in use: the same question for a build, a load and a
//! start.

use super::Snapshot;
use super::format::SNAPSHOT_SOURCES;
use crate::calendar::{day_number, day_of};
use catraca_wire::frame::ListSource;
use jiff::civil::Date;

/// Why a list must not take the place of the one in use, unless somebody says that it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Too few of its entries count: mostly a failed download, not an amnesty.
    #[error("{after} entries instead of {before} count on {day}: more than {most_percent} % lost")]
    Loss {
        /// Entries of the list in use that count on the day.
        before: u64,
        /// Those of the new one.
        after: u64,
        /// The day.
        day: Date,
        /// The share that may be lost.
        most_percent: u64,
    },
    /// Too few entries of one source count, however many there are of the others.
    #[error(
        "{after} entries of {source_list} instead of {before} count on {day}: more than {most_percent} % of that source lost"
    )]
    SourceLoss {
        /// The source.
        source_list: ListSource,
        /// Its entries in the list in use that count on the day.
        before: u64,
        /// Those of the new one.
        after: u64,
        /// The day.
        day: Date,
        /// The share that may be lost.
        most_percent: u64,
    },
    /// Who is listed until the day that it is built for is not in it.
    #[error(
        "it is built for {as_of}, and today is {today}: who is listed until that day is not in it; build it for today"
    )]
    Early {
        /// The day that it is built for.
        as_of: Date,
        /// Today in the zone of whoever asks.
        today: Date,
    },
}

/// Refuses a list for a day that has not come.
///
/// # Errors
/// [`Unfit::Early`].
pub fn hold_to_day(new: &Snapshot, today: u16) -> Result<(), Unfit> {
    let as_of = new.as_of();
    if day_number(as_of) > today {
        return Err(Unfit::Early { as_of, today: day_of(today) });
    }
    Ok(())
}

/// Holds a list to its day, and against the one in use. Looks at all entries of both: not for a
/// data core.
///
/// # Errors
/// [`Unfit`].
pub fn hold(old: &Snapshot, new: &Snapshot, today: u16, most_percent: u64) -> Result<(), Unfit> {
    hold_to_day(new, today)?;
    hold_counts(&old.entries_on(today), &new.entries_on(today), today, most_percent)
}

/// Holds the entries of a list against those of the one in use, as both count on a day, in all and
/// source by source: entries that have ended or not begun list nobody.
///
/// # Errors
/// [`Unfit`].
pub fn hold_counts(
    old: &Counting,
    new: &Counting,
    today: u16,
    most_percent: u64,
) -> Result<(), Unfit> {
    let kept_percent = 100_u64.saturating_sub(most_percent);
    let lost = |before: u64, after: u64| {
        u128::from(after) * 100 < u128::from(before) * u128::from(kept_percent)
            || (after == 0 && before > 0)
    };
    let day = day_of(today);
    if lost(old.all, new.all) {
        return Err(Unfit::Loss { before: old.all, after: new.all, day, most_percent });
    }
    for ((before, after), source_list) in
        old.by_source.into_iter().zip(new.by_source).zip(ListSource::ALL.iter().copied())
    {
        if lost(before, after) {
            return Err(Unfit::SourceLoss { source_list, before, after, day, most_percent });
        }
    }
    Ok(())
}

/// Entries of a list that count on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counting {
    /// All of them, each once.
    pub all: u64,
    /// Those of each source, in order of the codes; one that several sources have counts for each.
    pub by_source: [u64; SNAPSHOT_SOURCES],
}
