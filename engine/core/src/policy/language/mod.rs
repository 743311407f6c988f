//! The language of a policy's conditions: a subset of CEL over fixed fields. Pure.
//!
//! ```text
//! text → token → parse → Tree (postfix, no recursion) → check (types, units, constants) → Program
//!                                                        Program, Rows (a batch, by column) → Machine → Outcome
//! ```
//!
//! | | |
//! |---|---|
//! | logic | `&&`, `\|\|`, `!`, `c ? a : b` |
//! | comparison | `==`, `!=`, `<`, `<=`, `>`, `>=` |
//! | arithmetic | `+`, `-`, `*`, `/`, `%` on whole numbers of 64 bits |
//! | membership | `x in [1, 2, 3]`, of constants |
//! | text | `"…"` or `'…'`; `x.startsWith("…")`, `x.endsWith("…")` |
//! | presence | `has(tx.device)` |
//! | units | `reais(10)`, `seconds(1)`, `minutes(1)`, `hours(1)`, `days(1)` |
//!
//! Numbers have units where fields have: centavos can't be compared with seconds. What overflows, is
//! divided by zero, or asks of a field that the transaction does not have, is an error, never a number.
//! As in CEL, `&&` and `||` come to a result that does not depend on the side that is an error.
//!
//! Everything is bounded before anything is parsed ([`MAX_LEN`], [`MAX_TOKENS`], [`MAX_DEPTH`]), so no
//! text costs more than a moment, and a program runs a fixed number of steps: it has no jumps.

mod check;
mod error;
mod fields;
mod guards;
mod machine;
mod parse;
mod program;
mod ranges;
mod rows;
mod token;
mod truth;

pub use error::{Fault, Span};
pub use fields::{Field, Unit};
pub use machine::Machine;
pub use program::Program;
pub use rows::{ROWS, RowSet, Rows};
pub use truth::{Failure, Outcome};

use check::check;
use parse::parse;
use token::tokens;

/// Longest condition, bytes.
pub const MAX_LEN: usize = 4096;
/// Most tokens of a condition.
pub const MAX_TOKENS: usize = 500;
/// Most parentheses, calls and unary operators inside each other.
pub const MAX_DEPTH: usize = 64;

/// Reads a condition.
///
/// # Errors
/// The first thing that is wrong with it, and where.
pub fn compile(text: &str) -> Result<Program, Fault> {
    let (program, reads) = read(text)?;
    if let Some(field) = guards::unguarded(&program) {
        let name = field.name();
        let read = reads.iter().find(|(read, _)| *read == field);
        let span = read.map_or(Span::of(text), |(_, span)| *span);
        let help = format!("write has({name}) && …, or has({name}) ? … : …");
        return Err(Fault::new(span, format!("a transaction may lack {name}"), help));
    }
    if !ranges::can_hold(&program) {
        let help = "what it asks for excludes itself, or lies outside of what the field can be";
        return Err(Fault::new(Span::of(text), "the condition is never true", help));
    }
    Ok(program)
}

/// Reads a condition that may ask of missing fields. Gives the fields that it reads, too, with their
/// places.
fn read(text: &str) -> Result<(Program, Vec<(Field, Span)>), Fault> {
    if text.len() > MAX_LEN {
        return Err(Fault::new(
            Span::of(text),
            format!("the condition has {} bytes, at most {MAX_LEN} are taken", text.len()),
            "make several rules of it",
        ));
    }
    let tokens = tokens(text)?;
    let tree = parse(text, &tokens)?;
    check(text, &tree)
}

#[cfg(test)]
mod tests;
