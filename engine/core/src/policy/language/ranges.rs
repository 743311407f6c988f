//! Whether a condition can ever be true, as far as the ranges of its fields say.
//!
//! Each part of a condition says of every field between which numbers it lies where the part is true, and
//! where it is false; `&&` narrows, `||` widens. Where no number is left for a field, the part never comes
//! out so. What compares fields with each other, or with what is computed, says nothing.

use super::asking::LISTS_FROM;
use super::fields::{Field, Type, Unit};
use super::parse::Binary;
use super::program::{Op, Program, Source};

/// Between which numbers each field lies, both included; `None` where nothing is left for one.
type Ranges = Option<[(i64, i64); Field::COUNT]>;

/// Of a part of a condition.
#[derive(Clone, Copy)]
struct Part {
    /// Where it is true.
    holds: Ranges,
    /// Where it is false.
    fails: Ranges,
}

/// Whether a condition can be true.
pub(super) fn can_hold(program: &Program) -> bool {
    let mut parts: Vec<Part> = Vec::new();
    for op in &program.ops {
        let pop = |parts: &mut Vec<Part>| parts.pop().expect("the check balances programs");
        let part = match *op {
            Op::Truth(true) => Part { holds: anything(), fails: None },
            Op::Truth(false) => Part { holds: None, fails: anything() },
            Op::TruthField(_)
            | Op::Has(_)
            | Op::State(..)
            | Op::Begins { .. }
            | Op::Ends { .. } => unknown(),
            Op::Not => {
                let Part { holds, fails } = pop(&mut parts);
                Part { holds: fails, fails: holds }
            }
            Op::And => {
                let (b, a) = (pop(&mut parts), pop(&mut parts));
                Part { holds: meet(a.holds, b.holds), fails: join(a.fails, b.fails) }
            }
            Op::Or => {
                let (b, a) = (pop(&mut parts), pop(&mut parts));
                Part { holds: join(a.holds, b.holds), fails: meet(a.fails, b.fails) }
            }
            Op::Same => {
                let (b, a) = (pop(&mut parts), pop(&mut parts));
                same(a, b)
            }
            Op::Differ => {
                let (b, a) = (pop(&mut parts), pop(&mut parts));
                let Part { holds, fails } = same(a, b);
                Part { holds: fails, fails: holds }
            }
            Op::ChooseTruth => {
                let (b, a) = (pop(&mut parts), pop(&mut parts));
                let condition = pop(&mut parts);
                Part {
                    holds: join(meet(condition.holds, a.holds), meet(condition.fails, b.holds)),
                    fails: join(meet(condition.holds, a.fails), meet(condition.fails, b.fails)),
                }
            }
            Op::ChooseNumber(..) => {
                pop(&mut parts);
                continue;
            }
            Op::Arithmetic(..) => continue,
            Op::Compare(operator, a, b) => compare(operator, a, b),
            Op::Among { source: Source::Field(field), first, count } => {
                let among = &program.constants[usize::from(first)..][..usize::from(count)];
                // They are sorted.
                let ends = (among[0], among[among.len() - 1]);
                Part { holds: within(field, ends), fails: anything() }
            }
            Op::Among { .. } => unknown(),
        };
        parts.push(part);
    }
    parts.pop().is_some_and(|part| part.holds.is_some())
}

/// What a field may hold at all.
fn range(field: Field) -> (i64, i64) {
    match field.ty() {
        Type::Int(Unit::Centavos) => (1, i64::MAX),
        Type::Int(Unit::Seconds) => (0, i64::MAX),
        Type::Int(Unit::HourOfDay) => (0, 23),
        Type::Int(Unit::MinuteOfDay) => (0, 24 * 60 - 1),
        _ => (i64::MIN, i64::MAX),
    }
}

fn anything() -> Ranges {
    Some(std::array::from_fn(|at| range(Field::ALL[at])))
}

fn unknown() -> Part {
    Part { holds: anything(), fails: anything() }
}

/// Where a field lies between two numbers.
fn within(field: Field, (low, high): (i64, i64)) -> Ranges {
    let mut ranges = anything()?;
    let of = &mut ranges[field as usize];
    *of = (of.0.max(low), of.1.min(high));
    (of.0 <= of.1).then_some(ranges)
}

/// Where both are so.
fn meet(a: Ranges, b: Ranges) -> Ranges {
    let (a, b) = (a?, b?);
    let both: [(i64, i64); Field::COUNT] =
        std::array::from_fn(|at| (a[at].0.max(b[at].0), a[at].1.min(b[at].1)));
    both.iter().all(|(low, high)| low <= high).then_some(both)
}

/// Where one of them is so, and what lies between.
fn join(a: Ranges, b: Ranges) -> Ranges {
    match (a, b) {
        (Some(a), Some(b)) => {
            Some(std::array::from_fn(|at| (a[at].0.min(b[at].0), a[at].1.max(b[at].1))))
        }
        (one, None) | (None, one) => one,
    }
}

fn same(a: Part, b: Part) -> Part {
    Part {
        holds: join(meet(a.holds, b.holds), meet(a.fails, b.fails)),
        fails: join(meet(a.holds, b.fails), meet(a.fails, b.holds)),
    }
}

fn compare(operator: Binary, a: Source, b: Source) -> Part {
    let (operator, source, constant) = match (a, b) {
        (source, Source::Constant(constant)) => (operator, source, constant),
        (Source::Constant(constant), source) => {
            let turned = match operator {
                Binary::Less => Binary::Greater,
                Binary::LessEqual => Binary::GreaterEqual,
                Binary::Greater => Binary::Less,
                Binary::GreaterEqual => Binary::LessEqual,
                other => other,
            };
            (turned, source, constant)
        }
        _ => return unknown(),
    };
    let field = match source {
        Source::Field(field) => field,
        Source::Window(place) if place < LISTS_FROM => return of_window(operator, constant),
        _ => return unknown(),
    };
    let upto = |high: Option<i64>| high.and_then(|high| within(field, (i64::MIN, high)));
    let from = |low: Option<i64>| low.and_then(|low| within(field, (low, i64::MAX)));
    let (below, above) = (constant.checked_sub(1), constant.checked_add(1));
    match operator {
        Binary::Equal => {
            Part { holds: within(field, (constant, constant)), fails: except(field, constant) }
        }
        Binary::NotEqual => {
            Part { holds: except(field, constant), fails: within(field, (constant, constant)) }
        }
        Binary::Less => Part { holds: upto(below), fails: from(Some(constant)) },
        Binary::LessEqual => Part { holds: upto(Some(constant)), fails: from(above) },
        Binary::Greater => Part { holds: from(above), fails: upto(Some(constant)) },
        Binary::GreaterEqual => Part { holds: from(Some(constant)), fails: upto(below) },
        _ => unknown(),
    }
}

/// Values of windows are 0 or above.
fn of_window(operator: Binary, constant: i64) -> Part {
    let (holds, fails) = match operator {
        Binary::Equal => (constant >= 0, true),
        Binary::NotEqual => (true, constant >= 0),
        Binary::Less => (constant > 0, true),
        Binary::LessEqual => (constant >= 0, true),
        Binary::Greater => (true, constant >= 0),
        Binary::GreaterEqual => (true, constant > 0),
        _ => return unknown(),
    };
    let of = |can_be: bool| anything().filter(|_| can_be);
    Part { holds: of(holds), fails: of(fails) }
}

/// Where a field is another number: that narrows it at its ends only.
fn except(field: Field, number: i64) -> Ranges {
    let (low, high) = range(field);
    match (number == low, number == high) {
        (true, true) => None,
        (true, false) => within(field, (low + 1, high)),
        (false, true) => within(field, (low, high - 1)),
        (false, false) => anything(),
    }
}
