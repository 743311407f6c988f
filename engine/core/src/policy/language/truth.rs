//! True, false, or without a result, for each row of a batch, and what `&&`, `||`, `!` and `? :` make of
//! that. A bit for each row: one operation does for all of them.

use super::rows::RowSet;

/// What came of a condition. No row is in two of the sets; one that is in none is one where it is false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Rows where it is true.
    pub holds: RowSet,
    /// Rows without a result, because they lack a field that was asked for.
    pub missing: RowSet,
    /// Rows without a result, because a number became larger than 64 bits hold.
    pub overflows: RowSet,
}

/// Why a condition has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The transaction lacks a field that was asked for.
    #[error("a field that it reads is missing")]
    Missing,
    /// A number became larger than 64 bits hold.
    #[error("a number overflows")]
    Overflow,
}

impl Outcome {
    pub(super) const fn without_failure(holds: RowSet) -> Self {
        Self { holds, missing: 0, overflows: 0 }
    }

    /// Rows without a result.
    pub const fn failed(self) -> RowSet {
        self.missing | self.overflows
    }

    /// What came of one row.
    ///
    /// # Errors
    /// Why it has no result.
    pub const fn of(self, row: usize) -> Result<bool, Failure> {
        match (self.missing >> row & 1, self.overflows >> row & 1) {
            (0, 0) => Ok(self.holds >> row & 1 == 1),
            (0, _) => Err(Failure::Overflow),
            _ => Err(Failure::Missing),
        }
    }

    const fn is_false(self) -> RowSet {
        !(self.holds | self.failed())
    }

    /// In those rows that fail: the reason of this one where it fails, else that of the other.
    const fn failing(self, other: Self, failed: RowSet, holds: RowSet) -> Self {
        let missing = failed & (self.missing | (other.missing & !self.failed()));
        Self { holds, missing, overflows: failed & !missing }
    }

    pub(super) const fn not(self) -> Self {
        Self { holds: self.is_false(), ..self }
    }

    /// A side that is false settles it, whatever the other one is.
    pub(super) const fn and(self, other: Self) -> Self {
        let failed = (self.failed() | other.failed()) & !(self.is_false() | other.is_false());
        self.failing(other, failed, self.holds & other.holds)
    }

    /// A side that is true settles it, whatever the other one is.
    pub(super) const fn or(self, other: Self) -> Self {
        let holds = self.holds | other.holds;
        self.failing(other, (self.failed() | other.failed()) & !holds, holds)
    }

    /// Whether both are the same.
    pub(super) const fn same(self, other: Self) -> Self {
        let failed = self.failed() | other.failed();
        self.failing(other, failed, !(self.holds ^ other.holds) & !failed)
    }

    /// The first where a condition is true, the second where it is false.
    pub(super) const fn choose(self, first: Self, second: Self) -> Self {
        let (yes, no) = (self.holds, self.is_false());
        Self {
            holds: (yes & first.holds) | (no & second.holds),
            missing: self.missing | (yes & first.missing) | (no & second.missing),
            overflows: self.overflows | (yes & first.overflows) | (no & second.overflows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row of everything that it may be.
    const ALL: [Result<bool, Failure>; 4] =
        [Ok(true), Ok(false), Err(Failure::Missing), Err(Failure::Overflow)];

    fn outcome(results: impl Iterator<Item = Result<bool, Failure>>) -> Outcome {
        let mut outcome = Outcome::default();
        for (row, result) in results.enumerate() {
            let set = match result {
                Ok(true) => &mut outcome.holds,
                Ok(false) => continue,
                Err(Failure::Missing) => &mut outcome.missing,
                Err(Failure::Overflow) => &mut outcome.overflows,
            };
            *set |= 1 << row;
        }
        outcome
    }

    #[test]
    fn every_pair_comes_out_as_it_would_alone() {
        type Alone = fn(Result<bool, Failure>, Result<bool, Failure>) -> Result<bool, Failure>;
        type Together = fn(Outcome, Outcome) -> Outcome;
        let operators: [(&str, Alone, Together); 5] = [
            (
                "&&",
                |a, b| match (a, b) {
                    (Ok(false), _) | (_, Ok(false)) => Ok(false),
                    (Err(failure), _) | (_, Err(failure)) => Err(failure),
                    _ => Ok(true),
                },
                Outcome::and,
            ),
            (
                "||",
                |a, b| match (a, b) {
                    (Ok(true), _) | (_, Ok(true)) => Ok(true),
                    (Err(failure), _) | (_, Err(failure)) => Err(failure),
                    _ => Ok(false),
                },
                Outcome::or,
            ),
            ("==", |a, b| Ok(a? == b?), Outcome::same),
            ("!", |a, _| Ok(!a?), |a, _| a.not()),
            (
                "?",
                |a, b| if a? { b } else { Ok(true) },
                |a, b| a.choose(b, Outcome::without_failure(!0)),
            ),
        ];
        let pairs = || ALL.into_iter().flat_map(|a| ALL.into_iter().map(move |b| (a, b)));
        let (a, b) = (outcome(pairs().map(|(a, _)| a)), outcome(pairs().map(|(_, b)| b)));
        for (name, alone, together) in operators {
            let came = together(a, b);
            assert_eq!(came.holds & came.failed(), 0, "{name}");
            assert_eq!(came.missing & came.overflows, 0, "{name}");
            for (row, (x, y)) in pairs().enumerate() {
                assert_eq!(came.of(row), alone(x, y), "{x:?} {name} {y:?}");
            }
        }
    }
}
