//! Lists in conditions: what is looked up, and what is refused.

use super::super::*;
use crate::policy::lists::KeyField;
use catraca_wire::extension::WindowValue;

fn fault(text: &str) -> String {
    let mut asking = Asking::default();
    let fault = compile_into(text, &mut asking).expect_err(text);
    format!("{}: {}", fault.message, fault.help)
}

/// What comes of a condition that looks up one value, where it is this.
fn comes_of(text: &str, value: WindowValue) -> Outcome {
    let mut asking = Asking::default();
    let mut program = compile_into(text, &mut asking).unwrap_or_else(|f| panic!("{text}: {f:?}"));
    assert_eq!(asking.looked_up().len(), 1, "{text}");
    program.link(asking.asked().len(), asking.looked_up().len());
    let mut rows = Rows::default();
    rows.push();
    rows.set(Field::Amount, 500);
    rows.set(Field::PayerDocument, 7);
    rows.see(&[value]);
    program.run(&rows)
}

#[test]
fn a_key_is_in_a_list_or_not_or_nobody_knows() {
    let is_in = "payer.document in list('vip')";
    assert_eq!(comes_of(is_in, WindowValue::Present(0)).holds, 1);
    assert_eq!(comes_of(is_in, WindowValue::Missing), Outcome::without_failure(0));
    assert_eq!(comes_of(is_in, WindowValue::Evicted).failed(), 1);
    let above = "payer.document in list('limits') && tx.amount > list('limits')[payer.document]";
    for (value, holds, failed) in [
        (WindowValue::Present(499), 1, 0),
        (WindowValue::Present(500), 0, 0),
        (WindowValue::Present(-1), 1, 0),
        (WindowValue::Missing, 0, 0),
        (WindowValue::Evicted, 0, 1),
    ] {
        let came = comes_of(above, value);
        assert_eq!((came.holds, came.failed()), (holds, failed), "{value:?}");
    }
    let known = "known(list('limits')[payer.document]) && !(payer.document in list('limits'))";
    assert_eq!(comes_of(known, WindowValue::Missing).holds, 1);
    assert_eq!(comes_of(known, WindowValue::Evicted).holds, 0);
}

#[test]
fn each_key_in_each_list_is_asked_once_behind_the_windows() {
    let mut asking = Asking::default();
    let conditions = [
        "payer.document in list('a') && payee.document in list('a')",
        "payer.count('1h') > 3 && payer.document in list('a')",
        "tx.device in list('b') || tx.ip in list('c')",
    ];
    let mut programs = conditions.map(|text| compile_into(text, &mut asking).expect("sound"));
    let asked: Vec<_> = asking.looked_up().iter().map(|asked| asked.key).collect();
    let expected =
        [KeyField::PayerDocument, KeyField::PayeeDocument, KeyField::Device, KeyField::Ip];
    assert_eq!(asked, expected);
    let places = programs.each_mut().map(|program| {
        program.link(asking.asked().len(), asking.looked_up().len());
        program.windows().to_vec()
    });
    assert_eq!(places, [vec![1, 2], vec![0, 1], vec![3, 4]]);
    let names: Vec<_> = asking.looked_up().iter().map(|asked| asked.name()).collect();
    assert_eq!(names[0], "list(\"a\")[payer.document]");
}

#[test]
fn what_can_not_be_looked_up_is_refused_with_what_to_write() {
    for (text, why) in [
        ("tx.amount in list('a')", "tx.amount is not looked up in lists"),
        (
            "tx.amount > list('a')[payer.document]",
            "a transaction may lack list(\"a\")[payer.document]: write payer.document in list(\"a\") &&",
        ),
        ("payer.document in list('A')", "\"A\" is no name of a list"),
        ("payer.document in list(3)", "3 is no name of a list"),
        ("payer.document in list('a'", ") belongs before the end"),
        ("payer.document in list", "( belongs before the end"),
        ("list('a') > 3", "[ belongs before >"),
        ("list('a')[payer.document", "] belongs before the end"),
        ("list('a')[7] > 3", "7 is no field"),
        ("(payer.document) in list('a')", "only a field is looked up in a list"),
        ("1 + 1 in list('a')", "only a field is looked up in a list"),
        ("payer.document in list('a') && tx.device in list('a')", "a has keys of kind document"),
        ("payer.nothing in list('a')", "payer.nothing is not looked up in lists"),
        ("tx.ip == 3", "there is no field tx.ip"),
    ] {
        let told = fault(text);
        assert!(told.starts_with(why), "{text}: {told}");
    }
    let told = compile("payer.document in list('a')").expect_err("it stands alone");
    assert_eq!(told.message, "it asks of a window or a list");
}

#[test]
fn a_policy_asks_for_so_many_values_at_most() {
    let mut asking = Asking::default();
    for number in 0..crate::policy::lists::MAX_ASKED {
        compile_into(&format!("payer.document in list('list-{number}')"), &mut asking)
            .expect("room");
    }
    let told =
        compile_into("payer.document in list('one-more')", &mut asking).expect_err("no room");
    assert!(told.message.contains("more than 64"), "{}", told.message);
    compile_into("payer.document in list('list-3')", &mut asking).expect("asked before");
    // Windows have what is left of all values.
    for minutes in 1..=64 {
        compile_into(&format!("payer.count('{minutes}m') > 1"), &mut asking).expect("room");
    }
    let told = compile_into("payer.count('65m') > 1", &mut asking).expect_err("no room");
    assert!(
        told.message.contains("more than 128 of windows, lists and validators"),
        "{}",
        told.message
    );
}
