//! What one snapshot has that another has not.

use super::{Line, Snapshot};
use catraca_wire::DocumentKey;
use catraca_wire::frame::Scope;

/// A document, or a company, that a snapshot names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Itself or its company.
    pub scope: Scope,
    /// The document; of a company its first branch.
    pub document: DocumentKey,
}

/// Some of those who came, went or changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// How many there are.
    pub count: u64,
    /// The first of them, sorted: as many as were asked for.
    pub first: Vec<Named>,
}

impl Side {
    fn add(&mut self, named: Named, limit: usize) {
        self.count += 1;
        // Bounded whatever differs: the largest makes room.
        let at = self.first.partition_point(|other| *other < named);
        if at < limit {
            self.first.truncate(limit - 1);
            self.first.insert(at, named);
        }
    }
}

/// What differs between two snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the second only.
    pub came: Side,
    /// In the first only.
    pub went: Side,
    /// Of those who went, how many had ended before the day of the second.
    pub ended: u64,
    /// In both, with other lists, dates or reasons.
    pub changed: Side,
}

impl Diff {
    /// Compares two snapshots; keeps at most `limit` names of each side. Takes a look-up for each
    /// of their entries.
    pub fn between(before: &Snapshot, after: &Snapshot, limit: usize) -> Self {
        let mut diff = Self::default();
        let day = crate::calendar::day_number(after.as_of());
        for named in before.named() {
            if !after.names(named) {
                let lines = before.lines_naming(named);
                diff.ended +=
                    u64::from(lines.iter().all(|line| line.until != 0 && line.until < day));
                diff.went.add(named, limit);
            } else if !same(before, after, named) {
                diff.changed.add(named, limit);
            }
        }
        for named in after.named().filter(|&named| !before.names(named)) {
            diff.came.add(named, limit);
        }
        diff
    }

    /// Whether nothing differs.
    pub const fn is_empty(&self) -> bool {
        self.came.count == 0 && self.went.count == 0 && self.changed.count == 0
    }
}

fn same(before: &Snapshot, after: &Snapshot, named: Named) -> bool {
    // Mostly there is nothing but the lists' names to compare.
    if let (Some(one), Some(other)) = (before.bare(named), after.bare(named)) {
        return one == other;
    }
    sorted(before.lines_naming(named)) == sorted(after.lines_naming(named))
}

/// The order of a document's reasons depends on how frequent they are.
fn sorted(mut lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
    lines.sort_by_key(|line| (line.source, line.from, line.until, line.reason));
    lines
}
