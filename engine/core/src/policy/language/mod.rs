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
//! | arithmetic | `+`, `-`, `*`, `/`, `%` on whole numbers of 64 bits; `ratio(a, b)`, a thousand times `a` by `b` |
//! | membership | `x in [1, 2, 3]`, of constants |
//! | text | `"…"` or `'…'`; `x.startsWith("…")`, `x.endsWith("…")` |
//! | presence | `has(tx.device)` |
//! | windows | `payer.count("1h", "approved")`; `known(…)` and `exact(…)` of one |
//! | lists | `payer.document in list("vip")`, `list("limits")[payer.document]` |
//! | units | `reais(10)`, `seconds(1)`, `minutes(1)`, `hours(1)`, `days(1)` |
//!
//! Numbers have units where fields have: centavos can't be compared with seconds. What overflows, is
//! divided by zero, or asks of a field that the transaction does not have, is an error, never a number.
//! As in CEL, `&&` and `||` come to a result that does not depend on the side that is an error.
//!
//! Everything is bounded before anything is parsed ([`MAX_LEN`], [`MAX_TOKENS`], [`MAX_DEPTH`]), so no
//! text costs more than a moment, and a program runs a fixed number of steps: it has no jumps.

mod asking;
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

pub use asking::{Asking, DEFAULT_BUCKETS, DEFAULT_NIGHT};
pub use error::{Fault, Span};
pub use fields::{Field, Unit};
pub use machine::Machine;
pub use program::Program;
pub use ranges::{Reach, Reaches};
pub use rows::{ROWS, RowSet, Rows};
pub use truth::{Failure, Outcome};

use check::check;
use guards::Input;
use parse::parse;
use token::tokens;

/// Longest condition, bytes.
pub const MAX_LEN: usize = 4096;
/// Most tokens of a condition.
pub const MAX_TOKENS: usize = 500;
/// Most parentheses, calls and unary operators inside each other.
pub const MAX_DEPTH: usize = 64;

/// Reads a condition that stands by itself, and asks nothing of windows or lists.
///
/// # Errors
/// As [`compile_into`], and where it asks of a window or a list.
pub fn compile(text: &str) -> Result<Program, Fault> {
    let mut asking = Asking::default();
    let program = compile_into(text, &mut asking)?;
    if asking.asked().is_empty() && asking.looked_up().is_empty() {
        return Ok(program);
    }
    let message = "it asks of a window or a list";
    Err(Fault::new(Span::of(text), message, "these are asked by policies"))
}

/// Reads a condition of a policy. What it asks of windows is added to what the policy asks.
///
/// # Errors
/// The first thing that is wrong with it, and where.
pub fn compile_into(text: &str, asking: &mut Asking) -> Result<Program, Fault> {
    let (program, reads) = read(text, asking)?;
    let unguarded = guards::unguarded(&program, asking).map_err(|many| {
        let message = format!("{many} values may be missing, in a condition that chooses by ? :");
        let most = guards::MAX_MISSING_WITH_CHOICE;
        Fault::new(Span::of(text), message, format!("at most {most}: make several rules of it"))
    })?;
    if let Some(input) = unguarded {
        let read = reads.iter().find(|(read, _)| input.is_read_as(*read, asking));
        let span = read.map_or(Span::of(text), |(_, span)| *span);
        let (name, guard) = (input.name(asking), input.guard(asking));
        let help = format!("write {guard} && …, or {guard} ? … : …");
        return Err(Fault::new(span, format!("a transaction may lack {name}"), help));
    }
    if !Reaches::default().of(&program).can_hold() {
        let help = "what it asks for excludes itself, or lies outside of what the field can be";
        return Err(Fault::new(Span::of(text), "the condition is never true", help));
    }
    Ok(program)
}

/// Reads a condition that may ask of what is missing. Gives what it reads, too, and where.
fn read(text: &str, asking: &mut Asking) -> Result<(Program, Vec<(Input, Span)>), Fault> {
    if text.len() > MAX_LEN {
        return Err(Fault::new(
            Span::of(text),
            format!("the condition has {} bytes, at most {MAX_LEN} are taken", text.len()),
            "make several rules of it",
        ));
    }
    let tokens = tokens(text)?;
    let tree = parse(text, &tokens)?;
    check(text, &tree, asking)
}

#[cfg(test)]
mod tests;
