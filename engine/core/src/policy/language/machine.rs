//! Runs programs over a batch. Its stacks are taken once, so that running allocates nothing.

use super::fields::Field;
use super::parse::Binary;
use super::program::{MAX_STACK, Op, Program, Source, ratio};
use super::rows::{Numbers, ROWS, RowSet, Rows};
use super::truth::Outcome;

/// Rows that a loop works on at once: a batch of one costs no more than this many.
pub(super) const LANES: usize = 8;

/// Numbers with the rows that have none.
#[derive(Debug, Clone, Copy)]
struct Column {
    values: Numbers,
    missing: RowSet,
    overflows: RowSet,
}

/// A number by row, where it lies.
#[derive(Clone, Copy)]
enum View<'a> {
    Constant(i64),
    Numbers(&'a Numbers),
}

/// The stacks that programs run on.
#[derive(Debug)]
pub struct Machine {
    numbers: Vec<Column>,
    truths: Vec<Outcome>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { numbers: Vec::with_capacity(MAX_STACK), truths: Vec::with_capacity(MAX_STACK) }
    }
}

/// Both sides of an operation.
struct Sides<'a> {
    a: Side<'a>,
    b: Side<'a>,
}

/// A side of an operation.
#[derive(Clone, Copy)]
struct Side<'a> {
    view: View<'a>,
    missing: RowSet,
    overflows: RowSet,
}

impl Side<'_> {
    const fn failed(&self) -> RowSet {
        self.missing | self.overflows
    }
}

impl Sides<'_> {
    /// Rows where one of them has no number, with the reason of the first.
    const fn failures(&self) -> Outcome {
        let missing = self.a.missing | (self.b.missing & !self.a.overflows);
        let failed = self.a.failed() | self.b.failed();
        Outcome { holds: 0, missing, overflows: failed & !missing }
    }
}

impl Machine {
    /// What comes of a condition in each row of a batch.
    pub fn run(&mut self, program: &Program, rows: &Rows) -> Outcome {
        debug_assert!(self.numbers.is_empty() && self.truths.is_empty());
        for op in &program.ops {
            self.op(*op, program, rows);
        }
        let came = self.truth();
        debug_assert!(self.numbers.is_empty() && self.truths.is_empty());
        let all = rows.all();
        Outcome {
            holds: came.holds & all,
            missing: came.missing & all,
            overflows: came.overflows & all,
        }
    }

    fn truth(&mut self) -> Outcome {
        self.truths.pop().expect("the check counted what each step takes")
    }

    #[inline(always)]
    fn op(&mut self, op: Op, program: &Program, rows: &Rows) {
        let truth = match op {
            Op::Truth(value) => Outcome::without_failure(if value { RowSet::MAX } else { 0 }),
            Op::TruthField(field) => truth_field(field, rows),
            Op::Has(field) => Outcome::without_failure(rows.present(field)),
            Op::State(state, place) => {
                let (holds, missing) = rows.state(state, place);
                Outcome { holds, missing, overflows: 0 }
            }
            Op::Not => self.truth().not(),
            Op::And => {
                let (b, a) = (self.truth(), self.truth());
                a.and(b)
            }
            Op::Or => {
                let (b, a) = (self.truth(), self.truth());
                a.or(b)
            }
            Op::Same => {
                let (b, a) = (self.truth(), self.truth());
                a.same(b)
            }
            Op::Differ => {
                let (b, a) = (self.truth(), self.truth());
                a.same(b).not()
            }
            Op::ChooseTruth => {
                let (b, a) = (self.truth(), self.truth());
                self.truth().choose(a, b)
            }
            Op::ChooseNumber(a, b) => {
                let condition = self.truth();
                return self.choose(condition, a, b, rows);
            }
            Op::Compare(operator, a, b) => self.compare(operator, a, b, rows),
            Op::Arithmetic(operator, a, b) => return self.arithmetic(operator, a, b, rows),
            Op::Among { source, first, count } => {
                let among = &program.constants[usize::from(first)..][..usize::from(count)];
                self.test(source, rows, |x| among.binary_search(&x).is_ok())
            }
            Op::Begins { source, mask, bytes } => {
                self.test(source, rows, |x| x as u64 & mask == bytes)
            }
            Op::Ends { source, len, bytes } => {
                self.test(source, rows, |x| ends(x as u64, len, bytes))
            }
        };
        self.truths.push(truth);
    }

    /// Both sides. Those on the stack stay there until they are dropped.
    #[inline(always)]
    fn sides<'a>(&'a self, a: Source, b: Source, rows: &'a Rows) -> Sides<'a> {
        let mut height = self.numbers.len();
        let mut side = |source| match source {
            Source::Constant(value) => {
                Side { view: View::Constant(value), missing: 0, overflows: 0 }
            }
            Source::Field(field) => Side {
                view: View::Numbers(rows.numbers(field)),
                missing: !rows.present(field),
                overflows: 0,
            },
            Source::Window(place) => Side {
                view: View::Numbers(rows.window_numbers(place)),
                missing: !rows.window_known(place).0,
                overflows: 0,
            },
            Source::Stack => {
                height -= 1;
                let Column { ref values, missing, overflows } = self.numbers[height];
                Side { view: View::Numbers(values), missing, overflows }
            }
        };
        let b = side(b);
        let a = side(a);
        Sides { a, b }
    }

    fn drop_taken(&mut self, a: Source, b: Source) {
        let taken = usize::from(a == Source::Stack) + usize::from(b == Source::Stack);
        self.numbers.truncate(self.numbers.len() - taken);
    }

    fn compare(&mut self, operator: Binary, a: Source, b: Source, rows: &Rows) -> Outcome {
        let mut sides = self.sides(a, b, rows);
        if matches!(a, Source::Window(_)) || matches!(b, Source::Window(_)) {
            settle(operator, &mut sides, a, b, rows);
        }
        let (x, y, len) = (sides.a.view, sides.b.view, rows.len());
        let holds = match operator {
            Binary::Equal => bits(x, y, len, |x, y| x == y),
            Binary::NotEqual => bits(x, y, len, |x, y| x != y),
            Binary::Less => bits(x, y, len, |x, y| x < y),
            Binary::LessEqual => bits(x, y, len, |x, y| x <= y),
            Binary::Greater => bits(x, y, len, |x, y| x > y),
            Binary::GreaterEqual => bits(x, y, len, |x, y| x >= y),
            _ => unreachable!("the check makes comparisons of these"),
        };
        let failures = sides.failures();
        self.drop_taken(a, b);
        Outcome { holds: holds & !failures.failed(), ..failures }
    }

    fn test(&mut self, source: Source, rows: &Rows, test: impl Fn(i64) -> bool) -> Outcome {
        let sides = self.sides(source, Source::Constant(0), rows);
        let holds = bits(sides.a.view, sides.b.view, rows.len(), |x, _| test(x));
        let failures = sides.failures();
        self.drop_taken(source, Source::Constant(0));
        Outcome { holds: holds & !failures.failed(), ..failures }
    }

    fn arithmetic(&mut self, operator: Binary, a: Source, b: Source, rows: &Rows) {
        let sides = self.sides(a, b, rows);
        let (x, y, len) = (sides.a.view, sides.b.view, rows.len());
        let (values, overflowing) = match operator {
            Binary::Add => numbers(x, y, len, i64::overflowing_add),
            Binary::Subtract => numbers(x, y, len, i64::overflowing_sub),
            Binary::Multiply => numbers(x, y, len, i64::overflowing_mul),
            // The check lets constants divide only, and none of them is zero; a row that lacks the field
            // may hold anything.
            Binary::Divide => numbers(x, y, len, |x, y| checked(x.checked_div(y))),
            Binary::Remainder => numbers(x, y, len, |x, y| checked(x.checked_rem(y))),
            Binary::Ratio => numbers(x, y, len, |x, y| checked(ratio(x, y))),
            _ => unreachable!("the check makes numbers of these"),
        };
        let Outcome { missing, overflows, .. } = sides.failures();
        let overflows = overflows | (overflowing & !missing);
        self.drop_taken(a, b);
        self.numbers.push(Column { values, missing, overflows });
    }

    fn choose(&mut self, condition: Outcome, a: Source, b: Source, rows: &Rows) {
        let sides = self.sides(a, b, rows);
        let mut values = [0; ROWS];
        for (row, value) in values.iter_mut().enumerate().take(rows.len()) {
            let chosen = if condition.holds >> row & 1 == 1 { sides.a } else { sides.b };
            *value = chosen.view.at(row);
        }
        let side =
            |side: Side| Outcome { holds: 0, missing: side.missing, overflows: side.overflows };
        let Outcome { missing, overflows, .. } = condition.choose(side(sides.a), side(sides.b));
        self.drop_taken(a, b);
        self.numbers.push(Column { values, missing, overflows });
    }
}

impl View<'_> {
    #[inline]
    fn at(self, row: usize) -> i64 {
        match self {
            View::Constant(value) => value,
            View::Numbers(numbers) => numbers[row],
        }
    }
}

fn truth_field(field: Field, rows: &Rows) -> Outcome {
    let present = rows.present(field);
    let holds =
        bits(View::Numbers(rows.numbers(field)), View::Constant(0), rows.len(), |x, _| x != 0);
    Outcome { holds: holds & present, missing: !present, overflows: 0 }
}

const fn checked(number: Option<i64>) -> (i64, bool) {
    match number {
        Some(number) => (number, false),
        None => (0, true),
    }
}

/// Where one side is its number or more, and that settles the comparison, it is as it would be if that were
/// the number.
#[inline(never)]
fn settle(operator: Binary, sides: &mut Sides<'_>, a: Source, b: Source, rows: &Rows) {
    let at_least = |source| match source {
        Source::Window(place) => rows.window_known(place).1,
        _ => 0,
    };
    let (of_a, of_b) = (at_least(a), at_least(b));
    if of_a | of_b == 0 {
        return;
    }
    let (a, b, len) = (sides.a.view, sides.b.view, rows.len());
    let above = |x, y| some_bits(x, y, len, |x, y| x > y);
    let not_below = |x, y| some_bits(x, y, len, |x, y| x >= y);
    let (by_a, by_b) = match operator {
        Binary::GreaterEqual | Binary::Less => (not_below(a, b), above(b, a)),
        Binary::Greater | Binary::LessEqual => (above(a, b), not_below(b, a)),
        _ => (above(a, b), above(b, a)),
    };
    sides.a.missing &= !(of_a & !of_b & by_a);
    sides.b.missing &= !(of_b & !of_a & by_b);
}

/// As [`bits`], where it need not be fast.
fn some_bits(a: View<'_>, b: View<'_>, len: usize, test: impl Fn(i64, i64) -> bool) -> RowSet {
    (0..len).fold(0, |set, row| set | RowSet::from(test(a.at(row), b.at(row))) << row)
}

/// The rows in which a test of two numbers is true.
#[inline]
fn bits(a: View<'_>, b: View<'_>, len: usize, test: impl Fn(i64, i64) -> bool) -> RowSet {
    // One loop for each way in which the numbers lie, so that each is a straight one.
    match (a, b) {
        (View::Numbers(a), View::Constant(b)) => lanes(len, |row| test(a[row], b)),
        (View::Constant(a), View::Numbers(b)) => lanes(len, |row| test(a, b[row])),
        (View::Numbers(a), View::Numbers(b)) => lanes(len, |row| test(a[row], b[row])),
        (View::Constant(a), View::Constant(b)) => lanes(len, |_| test(a, b)),
    }
}

#[inline]
fn lanes(len: usize, test: impl Fn(usize) -> bool) -> RowSet {
    let mut set = 0;
    for first in (0..len).step_by(LANES) {
        let mut few = 0;
        for lane in 0..LANES {
            few |= RowSet::from(test((first + lane) % ROWS)) << lane;
        }
        set |= few << first;
    }
    set
}

/// An operation on two numbers by row, and the rows in which it overflows.
#[inline]
fn numbers(
    a: View<'_>,
    b: View<'_>,
    len: usize,
    operation: impl Fn(i64, i64) -> (i64, bool),
) -> (Numbers, RowSet) {
    let (mut values, mut overflows) = ([0; ROWS], 0);
    for (row, value) in values.iter_mut().enumerate().take(len) {
        let (number, overflow) = operation(a.at(row), b.at(row));
        *value = number;
        overflows |= RowSet::from(overflow) << row;
    }
    (values, overflows)
}

/// Whether a text, zeros behind it, ends with so many bytes.
fn ends(text: u64, len: u32, bytes: u64) -> bool {
    let text_len = 8 - text.trailing_zeros().min(64) / 8;
    if len == 0 {
        return true;
    }
    if text_len < len {
        return false;
    }
    let last = text >> (64 - 8 * text_len);
    let mask = u64::MAX >> (64 - 8 * len);
    last & mask == bytes
}
