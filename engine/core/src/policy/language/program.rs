//! A condition as a flat program over a batch: no jumps, no recursion, no allocation when it runs. Each
//! step does its work for all rows, so that a program costs the same whatever they hold.

use super::asking::{LISTS_FROM, VALIDATORS_FROM};
use super::fields::{Field, Type};
use super::parse::Binary;
use super::rows::{ROWS, Rows};
use super::truth::Outcome;

/// Highest stack of a program: operands stack up by nesting, which is bounded, not by length.
pub(super) const MAX_STACK: usize = 256;

/// A step of the check, in postfix order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// True or false.
    Truth(bool),
    /// A number.
    Constant(i64),
    /// A field of the row.
    Field(Field),
    /// Whether the row has a field.
    Has(Field),
    /// A value of a window, by its place.
    Window(u8),
    /// How it stands with a value of a window.
    State(State, u8),
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

/// How it may stand with a value of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is such a number. Whether there is may not be known.
    Has,
    /// It is known whether there is such a number.
    Known,
    /// It is known which number it is.
    Exact,
}

/// Where a number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Constant(i64),
    Field(Field),
    /// A value of a window, by its place.
    Window(u8),
    /// The top of the stack of numbers.
    Stack,
}

/// A step of a program: takes numbers from their sources, truths from their stack, and puts one on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Truth(bool),
    TruthField(Field),
    Has(Field),
    State(State, u8),
    Not,
    And,
    Or,
    Same,
    Differ,
    ChooseTruth,
    ChooseNumber(Source, Source),
    Compare(Binary, Source, Source),
    Arithmetic(Binary, Source, Source),
    Among { source: Source, first: u16, count: u16 },
    Begins { source: Source, mask: u64, bytes: u64 },
    Ends { source: Source, len: u32, bytes: u64 },
}

/// A thousand times a number by another, cut off towards zero; `None` where the other is zero, or the result has no
/// room.
#[inline]
pub(super) fn ratio(x: i64, y: i64) -> Option<i64> {
    let thousandfold = i128::from(x) * 1_000;
    thousandfold.checked_div(y.into()).and_then(|ratio| ratio.try_into().ok())
}

/// A compiled condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(super) ops: Box<[Op]>,
    pub(super) constants: Box<[i64]>,
    /// Fields that it reads, without those that it asks for by `has` alone; each once, in order.
    pub(super) fields: Box<[Field]>,
    /// Places of the windows' values that it reads or asks for; each once, in order.
    pub(super) windows: Box<[u8]>,
}

impl Program {
    /// How many steps it takes, for every batch.
    pub fn steps(&self) -> usize {
        self.ops.len()
    }

    /// The fields that it reads.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The values of windows that it reads or asks for, by their places.
    pub fn windows(&self) -> &[u8] {
        &self.windows
    }

    /// Puts what it looks up in lists behind so many values of windows, and what validators answer behind so many of
    /// lists: once these are known.
    pub fn link(&mut self, windows: usize, lists: usize) {
        let move_place = |place: &mut u8| {
            if let Some(answer) = place.checked_sub(VALIDATORS_FROM) {
                *place = (windows + lists) as u8 + answer;
            } else if let Some(list) = place.checked_sub(LISTS_FROM) {
                *place = windows as u8 + list;
            }
        };
        let move_source = |source: &mut Source| {
            if let Source::Window(place) = source {
                move_place(place);
            }
        };
        self.windows.iter_mut().for_each(move_place);
        for op in &mut self.ops {
            match op {
                Op::State(_, place) => move_place(place),
                Op::ChooseNumber(a, b) | Op::Compare(_, a, b) | Op::Arithmetic(_, a, b) => {
                    [a, b].into_iter().for_each(move_source);
                }
                Op::Among { source, .. } | Op::Begins { source, .. } | Op::Ends { source, .. } => {
                    move_source(source);
                }
                Op::Truth(_)
                | Op::TruthField(_)
                | Op::Has(_)
                | Op::Not
                | Op::And
                | Op::Or
                | Op::Same
                | Op::Differ
                | Op::ChooseTruth => {}
            }
        }
    }

    /// Whether it is true of every transaction of which a field of truth is true, as far as can be told.
    pub fn holds_where(&self, field: Field) -> bool {
        super::guards::holds_where(self, field)
    }

    /// The fields that it reads, and those that it asks for by `has`.
    pub fn mentions(&self) -> Vec<Field> {
        let asked = self.ops.iter().filter_map(|op| match op {
            Op::Has(field) => Some(*field),
            _ => None,
        });
        let mut fields: Vec<_> = self.fields.iter().copied().chain(asked).collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }
}

/// What stands on the stack where the lowering stands: a truth is on its stack, a number may still lie
/// where it comes from.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Truth,
    Number(Source),
}

/// Puts numbers' sources into the steps that use them.
pub(super) fn lower(
    steps: &[Step],
    constants: Vec<i64>,
    fields: Vec<Field>,
    windows: Vec<u8>,
) -> Program {
    let mut lowering = Lowering { kinds: Vec::new(), ops: Vec::new() };
    steps.iter().for_each(|step| lowering.step(*step));
    assert!(matches!(lowering.kinds[..], [Kind::Truth]), "a condition is one truth");
    Program {
        ops: lowering.ops.into(),
        constants: constants.into(),
        fields: fields.into(),
        windows: windows.into(),
    }
}

struct Lowering {
    kinds: Vec<Kind>,
    ops: Vec<Op>,
}

impl Lowering {
    fn pop(&mut self) -> Kind {
        self.kinds.pop().expect("the check counted what each step takes")
    }

    fn number(&mut self) -> Source {
        match self.pop() {
            Kind::Number(source) => source,
            Kind::Truth => unreachable!("the check knows the types"),
        }
    }

    fn truth(&mut self, op: Op) {
        self.ops.push(op);
        self.kinds.push(Kind::Truth);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Truth(value) => self.truth(Op::Truth(value)),
            Step::Constant(value) => self.kinds.push(Kind::Number(Source::Constant(value))),
            Step::Field(field) if field.ty() == Type::Bool => self.truth(Op::TruthField(field)),
            Step::Field(field) => self.kinds.push(Kind::Number(Source::Field(field))),
            Step::Has(field) => self.truth(Op::Has(field)),
            Step::Window(place) => self.kinds.push(Kind::Number(Source::Window(place))),
            Step::State(state, place) => self.truth(Op::State(state, place)),
            Step::Not => {
                self.pop();
                self.truth(Op::Not);
            }
            Step::Negate => {
                let x = self.number();
                self.arithmetic(Op::Arithmetic(Binary::Subtract, Source::Constant(0), x));
            }
            Step::Binary(operator) => self.binary(operator),
            Step::Choice => {
                let (b, a) = (self.pop(), self.pop());
                self.pop();
                match (a, b) {
                    (Kind::Number(a), Kind::Number(b)) => self.arithmetic(Op::ChooseNumber(a, b)),
                    _ => self.truth(Op::ChooseTruth),
                }
            }
            Step::Among { first, count } => {
                let source = self.number();
                self.truth(Op::Among { source, first, count });
            }
            Step::Begins { mask, bytes } => {
                let source = self.number();
                self.truth(Op::Begins { source, mask, bytes });
            }
            Step::Ends { len, bytes } => {
                let source = self.number();
                self.truth(Op::Ends { source, len, bytes });
            }
        }
    }

    fn arithmetic(&mut self, op: Op) {
        self.ops.push(op);
        self.kinds.push(Kind::Number(Source::Stack));
    }

    fn binary(&mut self, operator: Binary) {
        let (b, a) = (self.pop(), self.pop());
        match (a, b) {
            (Kind::Number(a), Kind::Number(b)) if operator.is_comparison() => {
                self.truth(Op::Compare(operator, a, b));
            }
            (Kind::Number(a), Kind::Number(b)) => {
                self.arithmetic(Op::Arithmetic(operator, a, b));
            }
            _ => self.truth(match operator {
                Binary::And => Op::And,
                Binary::Or => Op::Or,
                Binary::Equal => Op::Same,
                Binary::NotEqual => Op::Differ,
                _ => unreachable!("the check knows the types"),
            }),
        }
    }
}

/// Runs a condition on a batch with a machine of its own: for tests and tools.
impl Program {
    /// What comes of it in each row.
    pub fn run(&self, rows: &Rows) -> Outcome {
        super::machine::Machine::default().run(self, rows)
    }
}

const _: () = assert!(ROWS.is_multiple_of(super::machine::LANES));
