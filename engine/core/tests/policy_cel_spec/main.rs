//! Facts of CEL's conformance tests (`google/cel-spec`, `tests/simple/testdata`) that our subset has, too.
//!
//! Each is named as it is there, and rewritten: what it binds to a variable stands in `tx.hour` as a number,
//! or in `tx.payer_ispb` as a text; its `true` and `false` are tried as they stand and as `payer.listed` and
//! `payee.listed`, so that both what is folded when a condition is read and what is done when it runs are
//! held to it. Where it has an error, a number overflows here, or a field is missing: a record of these tests
//! lacks fields that every transaction has, because what asks of others is refused.
//!
//! Numbers that an hour can't be stand there as `tx.hour + 0`: what a field can't be is refused as never true.
//! What CEL takes and ours refuses on purpose is in `refusals.rs`.
//!
//! | file there | what of it is here |
//! |---|---|
//! | `basic` | truths, numbers, variables, functions; texts and lists are no result of a condition |
//! | `comparisons` | of whole numbers, truths and texts, and `in` a list; ours orders numbers only, and compares things of one kind |
//! | `fields` | `has`, and keys that are not there; ours has no maps of its own, nor names in backticks |
//! | `integer_math` | all but unsigned numbers |
//! | `lists` | `in`; lists stand behind `in` only: they have no index, no size, no sum |
//! | `logic` | all; operands of the wrong type are refused |
//! | `parse` | nesting and repetition of what ours has, space, the plainest texts |
//! | `plumbing` | that a result is a truth, and an error one |
//! | `string` | `startsWith` and `endsWith`; there is no size, no `matches`, no `contains`, no sum |
//! | `namespace` | none: names are whole, from the list of fields |
//! | `conversions`, `dynamic`, `type_deduction`, `unknowns` | none: every part has one type, known when it is read |
//! | `enums`, `proto2`, `proto2_ext`, `proto3`, `wrappers` | none: there are no messages |
//! | `fp_math`, `math_ext` | none: numbers are whole, and have operators only |
//! | `timestamps` | none: times are fields that are numbers already |
//! | `macros`, `macros2`, `bindings_ext`, `block_ext` | none: `has` is the only macro, so that a condition takes a fixed number of steps |
//! | `optionals` | none: a field that may be missing is asked for by `has` |
//! | `encoders_ext`, `network_ext`, `string_ext` | none: there are no bytes, addresses or formats |

mod fields;
mod integers;
mod logic;
mod parsing;
mod refusals;
mod texts;

use catraca_core::policy::language::{Failure, Field, Rows, compile};

/// What a condition comes to.
#[derive(Debug, Clone, PartialEq)]
enum Came {
    True,
    False,
    /// It has no result.
    Fails(Failure),
    /// It is not taken, with this in the reason.
    Refused(&'static str),
}

use Came::{Fails, False, Refused, True};

const MISSING: Came = Fails(Failure::Missing);
const OVERFLOWS: Came = Fails(Failure::Overflow);

impl From<bool> for Came {
    fn from(truth: bool) -> Self {
        if truth { True } else { False }
    }
}

/// What is bound to variables: a number in `tx.hour`, a text in `tx.payer_ispb`.
#[derive(Debug, Clone, Copy)]
struct Bound {
    hour: i64,
    text: &'static str,
}

const NOTHING: Bound = Bound { hour: 7, text: "abc" };

/// A Pix of a company, which is listed. It lacks `tx.minute_of_day` and `payee.allowed`, which every
/// transaction has; and `tx.device`, `payer.list`, `payee.list` and others that one may lack.
fn rows(bound: Bound) -> Rows {
    let mut text = [0; 8];
    text[..bound.text.len()].copy_from_slice(bound.text.as_bytes());
    let mut rows = Rows::default();
    rows.push();
    for (field, value) in [
        (Field::Amount, 124),
        (Field::Rail, 1),
        (Field::Channel, 1),
        (Field::Hour, bound.hour),
        (Field::Weekday, 5),
        (Field::Age, 3),
        (Field::PayerAccount, 77),
        (Field::PayeeAccount, 78),
        (Field::PayerIspb, i64::from_be_bytes(text)),
        (Field::PayerDocument, 1_001),
        (Field::PayerKind, 2),
        (Field::PayerListed, 1),
        (Field::PayerAllowed, 0),
        (Field::PayeeDocument, 2_002),
        (Field::PayeeKind, 1),
        (Field::PayeeListed, 0),
    ] {
        rows.set(field, value);
    }
    rows
}

/// What is wrong with a fact; nothing where it holds.
fn wrong(condition: &str, bound: Bound, expected: &Came) -> Option<String> {
    let came = match compile(condition) {
        // Of constants: it is false.
        Err(fault) if fault.message == "the condition is never true" => False,
        Err(fault) => {
            let is_so = matches!(expected, Refused(part) if fault.message.contains(part));
            return (!is_so)
                .then(|| format!("{condition}: refused, {}, not {expected:?}", fault.message));
        }
        Ok(program) => match program.run(&rows(bound)).of(0) {
            Ok(truth) => truth.into(),
            Err(failure) => Fails(failure),
        },
    };
    (came != *expected).then(|| format!("{condition} of {bound:?}: {came:?}, not {expected:?}"))
}

/// Holds ours to facts, and says all that are wrong.
fn hold(facts: impl IntoIterator<Item = (String, Bound, Came)>) {
    let mut count = 0;
    let facts = facts.into_iter().inspect(|_| count += 1);
    let wrong: Vec<_> =
        facts.filter_map(|(text, bound, came)| wrong(&text, bound, &came)).collect();
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 0, "there are no facts");
}

/// The same with the truths in fields.
fn with_fields(condition: &str) -> String {
    condition.replace("true", "payer.listed").replace("false", "payee.listed")
}

/// Facts as they stand, and with their truths in fields.
fn both_ways(facts: &[(&str, &str, Came)]) -> Vec<(String, Bound, Came)> {
    let ways = |(_, condition, came): &(&str, &str, Came)| {
        let forms = [(*condition).to_owned(), with_fields(condition)];
        forms.map(|form| (form, NOTHING, came.clone()))
    };
    facts.iter().flat_map(ways).collect()
}

/// The test itself: a fact that is not so is told.
#[test]
fn false_facts_are_found() {
    for (condition, came) in [
        ("tx.hour == 7", False),
        ("tx.hour == 8", True),
        ("tx.hour == 7", MISSING),
        ("tx.minute_of_day == 7", True),
        ("tx.minute_of_day == 7", OVERFLOWS),
        ("tx.hour * 9223372036854775807 > 0", True),
        ("1 == 2", True),
        ("tx.hour == 7", Refused("")),
        ("tx.hours == 7", Refused("overflows")),
        ("tx.hours == 7", False),
    ] {
        assert!(wrong(condition, NOTHING, &came).is_some(), "{condition}: {came:?}");
    }
    assert_eq!(wrong("tx.hours == 7", NOTHING, &Refused("no field")), None);
}
