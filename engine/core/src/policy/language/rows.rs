//! A batch of transactions as conditions see them: a column of numbers for each field, so that one step of
//! a program does for all of them.

use super::fields::Field;

/// Most rows of a batch: each is a bit of a [`RowSet`], and what is decided together is no more
/// ([`crate::limits::DECISION_BATCH`]).
pub const ROWS: usize = 32;

/// Some of a batch's rows, a bit each.
pub type RowSet = u32;

const _: () = assert!(ROWS == RowSet::BITS as usize);
const _: () = assert!(crate::limits::DECISION_BATCH <= ROWS);

/// What stands in a field, or in a part of a condition, by row.
pub(super) type Numbers = [i64; ROWS];

/// A batch. A field of a row that was not set is missing.
#[derive(Debug, Clone)]
pub struct Rows {
    len: usize,
    columns: Box<[Numbers; Field::COUNT]>,
    present: [RowSet; Field::COUNT],
}

impl Default for Rows {
    fn default() -> Self {
        Self { len: 0, columns: Box::new([[0; ROWS]; Field::COUNT]), present: [0; Field::COUNT] }
    }
}

impl Rows {
    /// Begins a batch.
    pub fn clear(&mut self) {
        (self.len, self.present) = (0, [0; Field::COUNT]);
    }

    /// How many rows it has.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All rows.
    pub const fn all(&self) -> RowSet {
        if self.len == ROWS { RowSet::MAX } else { (1 << self.len) - 1 }
    }

    /// Begins a row, behind the others; [`Self::set`] fills it.
    ///
    /// # Panics
    /// When there are [`ROWS`] already.
    pub fn push(&mut self) {
        assert!(self.len < ROWS, "a batch has {ROWS} rows");
        self.len += 1;
    }

    /// Sets a field of the row begun last.
    #[inline]
    pub fn set(&mut self, field: Field, value: i64) {
        let row = self.len - 1;
        self.columns[field as usize][row] = value;
        self.present[field as usize] |= 1 << row;
    }

    /// A field of a row; `None` where it is missing.
    pub fn get(&self, row: usize, field: Field) -> Option<i64> {
        let present = row < self.len && self.present(field) >> row & 1 == 1;
        present.then(|| self.numbers(field)[row])
    }

    /// What the rows have in a field. Where it is missing, anything stands.
    pub(super) fn numbers(&self, field: Field) -> &Numbers {
        &self.columns[field as usize]
    }

    /// Rows that have a field.
    pub(super) const fn present(&self, field: Field) -> RowSet {
        self.present[field as usize]
    }
}
