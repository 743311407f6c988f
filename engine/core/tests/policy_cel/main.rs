//! Conditions beside CEL of others: whatever of our subset is generated comes to the same in both, over
//! records that lack fields and numbers that overflow.
//!
//! The other one is the crate `cel`, an interpreter that walks a tree. It knows neither units nor words: its
//! words and texts are strings, and `reais(1)` is a function. What it says of an error is not compared, only
//! that there is one.
//!
//! Left out of the generator:
//!
//! - *Long and deep conditions*: that crate recurses over them, and the process would end. Ours are bounded
//!   in their own tests.
//! - *Two signs in a row*, `--x`: that crate, as other implementations, takes both away when it reads them,
//!   so that the smallest number does not overflow in between. Ours does what `-(-x)` does.
//! - *What ours refuses*: CEL takes more. `policy_cel_spec` has what.

mod maker;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use catraca_core::policy::language::{Failure, Field, Rows, compile};
use cel::Value;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use maker::{MADE, Maker};

const CASES: u32 = 1024;
/// Records that each condition is run on: more than the machine works on at once, and no whole number of that.
const RECORDS: usize = 11;
/// Most operators inside each other: what the other interpreter's stack bears by far.
const DEPTH: usize = 4;

/// A record: each field that it has, as ours and as the other one's.
type Record = Vec<(Field, i64, Value)>;

fn ours(records: &[Record]) -> Rows {
    let mut rows = Rows::default();
    for record in records {
        rows.push();
        record.iter().for_each(|(field, value, _)| rows.set(*field, *value));
    }
    rows
}

/// The fields of a record as maps, and the functions of our units.
fn theirs(record: &[(Field, i64, Value)]) -> cel::Context<'static, 'static> {
    let mut context = cel::Context::default();
    for object in ["tx", "payer", "payee"] {
        let of = |(field, _, value): &(Field, i64, Value)| {
            let (of, name) = field.name().split_once('.').expect("fields are of something");
            (of == object).then(|| (name.to_owned(), value.clone()))
        };
        let map: HashMap<String, Value> = record.iter().filter_map(of).collect();
        context.add_variable_from_value(object, map);
    }
    for (name, worth) in
        [("reais", 100), ("seconds", 1), ("minutes", 60), ("hours", 3600), ("days", 86_400)]
    {
        context
            .add_function(name, move |number: i64| number * worth)
            .expect("nothing else has this name");
    }
    context
}

/// What the other one says of a record; nothing where it says that there is no result.
fn said(program: &cel::Program, record: &[(Field, i64, Value)]) -> Option<bool> {
    match program.execute(&theirs(record)) {
        Ok(Value::Bool(truth)) => Some(truth),
        Ok(other) => panic!("a condition came to {other:?}"),
        Err(_) => None,
    }
}

/// Whether a payment can have these numbers: what is never true is refused by that.
fn is_possible(record: &[(Field, i64, Value)]) -> bool {
    record.iter().all(|(field, value, _)| match field {
        Field::Hour => (0..24).contains(value),
        Field::MinuteOfDay => (0..24 * 60).contains(value),
        Field::Amount => *value >= 1,
        Field::Age => *value >= 0,
        _ => true,
    })
}

#[test]
fn conditions_come_to_what_another_cel_says() {
    let tally: RefCell<BTreeMap<&str, usize>> = RefCell::default();
    let count = |what: &'static str| *tally.borrow_mut().entry(what).or_default() += 1;
    let bytes = |len| prop::collection::vec(any::<u8>(), 0..len);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&(bytes(160), bytes(600)), |(condition, records)| {
        let mut maker = Maker::new(condition);
        let text = maker.truth(DEPTH).text;
        let mut records_of = Maker::new(records);
        let records: Vec<_> = (0..RECORDS).map(|_| records_of.record()).collect();
        let other = cel::Program::compile(&text);
        let other = other.unwrap_or_else(|error| panic!("{text}: {error}"));
        let program = match compile(&text) {
            Ok(program) => program,
            Err(fault) if fault.message == "the condition is never true" => {
                count("never true");
                let mut possible = records.iter().filter(|record| is_possible(record));
                prop_assert!(possible.all(|r| said(&other, r) != Some(true)), "{text}");
                return Ok(());
            }
            Err(fault) => {
                // Numbers that stand there overflow, a field is not asked for, or it is too long. The other
                // one may come to a result all the same, by a part that settles it.
                let known = ["overflows", "may lack", "tokens"];
                let known = known.iter().find(|known| fault.message.contains(**known));
                prop_assert!(known.is_some(), "{text}: {fault:?}");
                known.into_iter().for_each(|known| count(known));
                return Ok(());
            }
        };
        maker.made.iter().for_each(|made| count(made));
        let came = program.run(&ours(&records));
        for (row, record) in records.iter().enumerate() {
            let (came, said) = (came.of(row), said(&other, record));
            count(match came {
                Ok(true) => "held",
                Ok(false) => "did not hold",
                Err(Failure::Missing) => "missing",
                Err(Failure::Overflow) => "overflowed",
            });
            prop_assert_eq!(came.ok(), said, "{} of {:?}: {:?}", text, record, came);
            let has_all = |field: &Field| record.iter().any(|(has, ..)| has == field);
            if Field::ALL.iter().filter(|field| !field.is_optional()).all(has_all) {
                prop_assert_ne!(came, Err(Failure::Missing), "{} asks of what is missing", text);
            }
        }
        Ok(())
    });
    if let Err(failed) = run {
        panic!("{failed}");
    }
    let tally = tally.into_inner();
    let outcomes =
        ["held", "did not hold", "missing", "overflowed", "never true", "overflows", "may lack"];
    for what in MADE.split_whitespace().chain(outcomes) {
        assert!(tally.get(what).is_some_and(|count| *count > 0), "{what} was never met: {tally:?}");
    }
}

/// Why the generator leaves that out. Where this fails, it need not any more.
#[test]
fn two_signs_in_a_row_are_none_to_the_other() {
    let record = [(Field::Hour, i64::MIN, Value::Int(i64::MIN))];
    let program = compile("--tx.hour < 0").expect("sound");
    assert_eq!(program.run(&ours(&[record.to_vec()])).of(0), Err(Failure::Overflow));
    for (text, expected) in [("--tx.hour < 0", Some(true)), ("-(-tx.hour) < 0", None)] {
        let other = cel::Program::compile(text).expect("sound");
        assert_eq!(said(&other, &record), expected, "{text}");
    }
}
