//! What is wrong with a body, in words that repeat nothing of what was sent.

use jiff::Timestamp;
use serde::Deserialize;
use std::fmt::Display;

/// Why a body is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// It is no JSON.
    #[error("{0}")]
    Syntax(String),
    /// It has a member that it can't have, or one with a value that it can't have.
    #[error("{0}")]
    Member(String),
    /// Body and header give different ids.
    #[error("transaction_id and Idempotency-Key are different ids")]
    Ids,
}

/// A member of that name is wrong.
pub(super) fn member(name: &str, why: impl Display) -> Mistake {
    Mistake::Member(format!("{name}: {why}"))
}

/// A member is missing.
pub(super) fn missing(name: &str) -> Mistake {
    member(name, "it is missing")
}

/// Reads an object.
///
/// # Errors
/// [`Mistake::Syntax`] and [`Mistake::Member`].
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Mistake> {
    // Serde would read an array by the order of the members.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Mistake::Member("the body is to be an object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| said(&error))
}

/// What serde says, without what it quotes: that may be a document.
fn said(error: &serde_json::Error) -> Mistake {
    use serde_json::error::Category;
    let at = format!("line {}, column {}", error.line(), error.column());
    let text = error.to_string();
    let quoted = text.rsplit_once(" at line").map_or(text.as_str(), |(before, _)| before);
    match error.classify() {
        Category::Data if quoted.starts_with("duplicate field") => {
            // The names of members that there are, and nothing else, can be duplicate.
            Mistake::Member(format!("{quoted}, {at}"))
        }
        Category::Data => {
            let what = quoted.split(['`', '"', ',']).next().unwrap_or_default().trim();
            let expected = quoted.rsplit_once("expected ").map(|(_, expected)| expected);
            let expected =
                expected.map_or(String::new(), |expected| format!(", expected {expected}"));
            Mistake::Member(format!("{what} at {at}{expected}"))
        }
        Category::Syntax | Category::Eof | Category::Io => {
            Mistake::Syntax(format!("the body is no JSON: see {at}"))
        }
    }
}

/// A time as nanoseconds since 1970 UTC.
///
/// # Errors
/// [`Mistake::Member`] for what is no time with a zone.
pub(super) fn time(name: &str, text: &str) -> Result<u64, Mistake> {
    let why = "a time is as in 2026-11-22T12:34:56.789Z, and not before 1970";
    let time: Timestamp = text.parse().map_err(|_| member(name, why))?;
    u64::try_from(time.as_nanosecond()).map_err(|_| member(name, why))
}

/// The one of these that has this name.
///
/// # Errors
/// [`Mistake::Member`], with the names that there are.
pub(super) fn named<T: Copy>(
    field: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    text: &str,
) -> Result<T, Mistake> {
    let names = || all.iter().map(|&one| name(one)).collect::<Vec<_>>().join(", ");
    let found = all.iter().find(|&&one| name(one) == text).copied();
    found.ok_or_else(|| member(field, format!("there are {}", names())))
}
