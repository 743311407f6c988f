//! What operators make of numbers that stand in a condition, and of their units.

use super::super::error::{Fault, Span};
use super::super::fields::Unit;
use super::super::parse::Binary;
use super::super::program::ratio;

/// What two numbers, or truths, come to that stand in the text; `None` where it overflows.
pub(super) fn folded(operator: Binary, x: i64, y: i64) -> Option<i64> {
    match operator {
        Binary::Or => Some(x | y),
        Binary::And => Some(x & y),
        Binary::Equal => Some((x == y).into()),
        Binary::NotEqual => Some((x != y).into()),
        Binary::Less => Some((x < y).into()),
        Binary::LessEqual => Some((x <= y).into()),
        Binary::Greater => Some((x > y).into()),
        Binary::GreaterEqual => Some((x >= y).into()),
        Binary::Add => x.checked_add(y),
        Binary::Subtract => x.checked_sub(y),
        Binary::Multiply => x.checked_mul(y),
        // The check refuses to divide by zero before.
        Binary::Divide => x.checked_div(y),
        Binary::Remainder => x.checked_rem(y),
        Binary::Ratio => ratio(x, y),
    }
}

/// The unit of both sides.
pub(super) fn units(x: Unit, y: Unit, span: Span) -> Result<Unit, Fault> {
    match (x, y) {
        (unit, Unit::Plain) | (Unit::Plain, unit) => Ok(unit),
        (x, y) if x == y => Ok(x),
        _ => Err(Fault::new(
            span,
            format!("{} and {} do not go together", x.name(), y.name()),
            "compare, add and subtract numbers of one unit",
        )),
    }
}
