//! A condition as a flat program: no jumps, no recursion, no allocation when it runs. Each step takes
//! what it needs from a stack of bounded height, so that a program costs the same for every row.

use super::fields::Field;
use super::parse::Binary;

/// Highest stack of a program: operands stack up by nesting, which is bounded, not by length.
pub(super) const MAX_STACK: usize = 256;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A constant.
    Constant(i64),
    /// A field of the row.
    Field(Field),
    /// Whether the row has a field.
    Has(Field),
    Not,
    Negate,
    Binary(Binary),
    Choice,
    /// Whether it is among these constants of the program, which are sorted.
    Among {
        first: u16,
        count: u16,
    },
    /// Whether the first bytes of a text are these.
    Begins {
        mask: u64,
        bytes: u64,
    },
    /// Whether the last so many bytes of a text are these.
    Ends {
        len: u32,
        bytes: u64,
    },
}

/// A transaction as programs see it: a number for each field.
#[derive(Debug, Clone)]
pub struct Row {
    values: [i64; Field::COUNT],
    present: u64,
}

const _: () = assert!(Field::COUNT <= 64, "a bit for each field");

impl Default for Row {
    fn default() -> Self {
        Self { values: [0; Field::COUNT], present: 0 }
    }
}

impl Row {
    /// Sets a field.
    pub fn set(&mut self, field: Field, value: i64) {
        self.values[field as usize] = value;
        self.present |= 1 << field as u8;
    }

    /// A field; `None` where the transaction lacks it.
    pub fn get(&self, field: Field) -> Option<i64> {
        self.has(field).then_some(self.values[field as usize])
    }

    fn has(&self, field: Field) -> bool {
        self.present >> field as u8 & 1 == 1
    }
}

/// Why a condition has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The transaction lacks a field that was asked for.
    #[error("{} is missing", .0.name())]
    Missing(Field),
    /// A number became larger than 64 bits hold.
    #[error("a number overflows")]
    Overflow,
}

/// What came of a condition.
pub type Evaluation = Result<bool, Failure>;

/// A compiled condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(super) steps: Box<[Step]>,
    pub(super) constants: Box<[i64]>,
    /// Fields that it reads, without those that it asks for by `has` alone; each once, in order.
    pub(super) fields: Box<[Field]>,
}

type Cell = Result<i64, Failure>;

impl Program {
    /// How many steps it takes, for every row.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// The fields that it reads.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Runs it on a row.
    pub fn run(&self, row: &Row) -> Evaluation {
        let mut stack = [Ok(0); MAX_STACK];
        let mut height = 0;
        for step in &self.steps {
            let taken = step.takes();
            let base = height - taken;
            let cell = self.step(*step, &stack[base..height], row);
            stack[base] = cell;
            height = base + 1;
        }
        stack[0].map(|value| value != 0)
    }

    fn step(&self, step: Step, operands: &[Cell], row: &Row) -> Cell {
        match (step, operands) {
            (Step::Constant(value), _) => Ok(value),
            (Step::Field(field), _) => row.get(field).ok_or(Failure::Missing(field)),
            (Step::Has(field), _) => Ok(i64::from(row.has(field))),
            (Step::Not, [x]) => x.map(|x| i64::from(x == 0)),
            (Step::Negate, [x]) => x.and_then(|x| x.checked_neg().ok_or(Failure::Overflow)),
            (Step::Binary(operator), [a, b]) => binary(operator, *a, *b),
            (Step::Choice, [condition, a, b]) => {
                condition.and_then(|c| if c != 0 { *a } else { *b })
            }
            (Step::Among { first, count }, [x]) => x.map(|x| {
                let among = &self.constants[usize::from(first)..][..usize::from(count)];
                i64::from(among.binary_search(&x).is_ok())
            }),
            (Step::Begins { mask, bytes }, [x]) => x.map(|x| i64::from(x as u64 & mask == bytes)),
            (Step::Ends { len, bytes }, [x]) => x.map(|x| i64::from(ends(x as u64, len, bytes))),
            _ => unreachable!("the check counted what each step takes"),
        }
    }
}

impl Step {
    /// How many operands it takes.
    pub(super) const fn takes(self) -> usize {
        match self {
            Self::Constant(_) | Self::Field(_) | Self::Has(_) => 0,
            Self::Not
            | Self::Negate
            | Self::Among { .. }
            | Self::Begins { .. }
            | Self::Ends { .. } => 1,
            Self::Binary(_) => 2,
            Self::Choice => 3,
        }
    }
}

/// Of numbers that may be failures. A side of `&&` or `||` that settles it counts, whatever the other
/// one is.
pub(super) fn binary(operator: Binary, a: Cell, b: Cell) -> Cell {
    let settling = match operator {
        Binary::Or => Some(1),
        Binary::And => Some(0),
        _ => None,
    };
    if let Some(settling) = settling {
        return match (a, b) {
            (Ok(x), _) | (_, Ok(x)) if x == settling => Ok(settling),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            _ => Ok(1 - settling),
        };
    }
    let (a, b) = (a?, b?);
    let whole = |number: Option<i64>| number.ok_or(Failure::Overflow);
    match operator {
        Binary::Equal => Ok(i64::from(a == b)),
        Binary::NotEqual => Ok(i64::from(a != b)),
        Binary::Less => Ok(i64::from(a < b)),
        Binary::LessEqual => Ok(i64::from(a <= b)),
        Binary::Greater => Ok(i64::from(a > b)),
        Binary::GreaterEqual => Ok(i64::from(a >= b)),
        Binary::Add => whole(a.checked_add(b)),
        Binary::Subtract => whole(a.checked_sub(b)),
        Binary::Multiply => whole(a.checked_mul(b)),
        // The check lets constants divide only, and none of them is zero.
        Binary::Divide => whole(a.checked_div(b)),
        Binary::Remainder => whole(a.checked_rem(b)),
        Binary::Or | Binary::And => unreachable!("settled above"),
    }
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
