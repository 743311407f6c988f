//! A batch of transactions as conditions see them: a column of numbers for each field, so that one step of
//! a program does for all of them.

use super::fields::Field;
use super::program::State;
use catraca_wire::extension::{MAX_WINDOW_VALUES, WindowValue};

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
    windows: Vec<Window>,
}

/// A value of a window, by row. A row that is in none of the sets is one where it is not known.
#[derive(Debug, Clone)]
struct Window {
    numbers: Numbers,
    exact: RowSet,
    /// It is about this.
    estimated: RowSet,
    /// It is this or more.
    at_least: RowSet,
    missing: RowSet,
}

impl Window {
    /// Sets the value of a row that is in none of the sets.
    #[inline]
    fn set(&mut self, row: usize, value: WindowValue) {
        let (number, set) = match value {
            WindowValue::Present(number) => (number, &mut self.exact),
            WindowValue::Saturated(number) => (number, &mut self.at_least),
            WindowValue::Estimated(number) => (number, &mut self.estimated),
            WindowValue::Missing => (0, &mut self.missing),
            WindowValue::Evicted => return,
        };
        self.numbers[row] = number;
        *set |= 1 << row;
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            len: 0,
            columns: Box::new([[0; ROWS]; Field::COUNT]),
            present: [0; Field::COUNT],
            windows: Vec::with_capacity(MAX_WINDOW_VALUES),
        }
    }
}

impl Rows {
    /// Begins a batch.
    pub fn clear(&mut self) {
        (self.len, self.present) = (0, [0; Field::COUNT]);
        self.windows.clear();
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

    /// Sets what windows say of the row begun last. Every row of a batch has as many values.
    pub fn see(&mut self, values: &[WindowValue]) {
        let row = self.len - 1;
        if row == 0 {
            let empty =
                Window { numbers: [0; ROWS], exact: 0, estimated: 0, at_least: 0, missing: 0 };
            self.windows.resize(values.len(), empty);
        }
        assert_eq!(self.windows.len(), values.len(), "rows of a batch see the same windows");
        for (window, value) in self.windows.iter_mut().zip(values) {
            window.set(row, *value);
        }
    }

    /// Sets one value of a row anew.
    pub fn see_again(&mut self, row: usize, place: usize, value: WindowValue) {
        let window = &mut self.windows[place];
        let others = !(1 << row);
        window.exact &= others;
        window.estimated &= others;
        window.at_least &= others;
        window.missing &= others;
        window.set(row, value);
    }

    fn window(&self, place: u8) -> &Window {
        &self.windows[usize::from(place)]
    }

    /// The numbers of a window's value. Where it is not known, or missing, anything stands.
    pub(super) fn window_numbers(&self, place: u8) -> &Numbers {
        &self.window(place).numbers
    }

    /// Rows where a window's value is known, be it about, and those where it is this or more.
    pub(super) fn window_known(&self, place: u8) -> (RowSet, RowSet) {
        let Window { exact, estimated, at_least, .. } = *self.window(place);
        (exact | estimated, at_least)
    }

    /// Rows where something is so of a window's value, and those where that is not known.
    pub(super) fn state(&self, state: State, place: u8) -> (RowSet, RowSet) {
        let Window { exact, estimated, at_least, missing, .. } = *self.window(place);
        let has = exact | estimated | at_least;
        let known = has | missing;
        match state {
            State::Has => (has, !known),
            State::Known => (known, 0),
            State::Exact => (exact, 0),
        }
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
