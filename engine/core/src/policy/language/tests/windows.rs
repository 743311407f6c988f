//! Conditions over windows: how they are read, what they come to, and what is refused.

use super::super::{Asking, Failure, Fault, Field, Rows, compile, compile_into, read};
use crate::policy::windows::{Asked, Function, Member, Span, Subject};
use catraca_wire::extension::WindowValue;

use WindowValue::{Estimated, Evicted, Missing, Present, Saturated};

fn fault(text: &str) -> Fault {
    let came = compile_into(text, &mut Asking::default());
    came.err().unwrap_or_else(|| panic!("{text}: it is taken"))
}

fn asked(text: &str) -> Vec<Asked> {
    let mut asking = Asking::default();
    compile_into(text, &mut asking).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    asking.asked().to_vec()
}

/// What a condition comes to where its windows say this, in the order in which it asks.
fn run(text: &str, values: &[WindowValue]) -> Result<bool, Failure> {
    let mut asking = Asking::default();
    let (program, _) = read(text, &mut asking).unwrap_or_else(|f| panic!("{text}: {f:?}"));
    assert_eq!(asking.asked().len(), values.len(), "{text}");
    let mut rows = Rows::default();
    // Rows that say otherwise stand beside it.
    for row in [&vec![Evicted; values.len()][..], values, &vec![Present(-1); values.len()]] {
        rows.push();
        rows.set(Field::Amount, 1_000);
        rows.see(row);
    }
    program.run(&rows).of(1)
}

#[test]
fn what_is_asked_is_written_as_it_is_read() {
    for text in [
        "payer.count(\"1h\") > 3",
        "payee.sum(\"1d\") > 3",
        "device.min(\"7d\") > 3",
        "payer_account.max(\"90d\") > 3",
        "payee_account.avg(\"5m\") > 3",
        "payer_to_payee.seconds_since_last(\"30d\") > 3",
        "payer_to_device.seconds_since_first(\"30d\") > 3",
        "payee_to_device.distinct_payers(\"1d/48\") > 3",
        "payer.distinct_payees(\"today\") > 3",
        "payer.sum(\"today\", \"approved\", \"incl\") > 3",
        "payer.count(\"night\", \"denied\", \"pix\") > 3",
        "payer.count(\"1h\", \"approved\", \"reviewed\", \"pix\", \"ted\") > 3",
    ] {
        let mut asking = Asking::default();
        read(text, &mut asking).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        let [asked] = asking.asked() else { panic!("{text}: one value") };
        assert_eq!(format!("{} > 3", asked.name()), text);
    }
    let [hour] = asked("payer.count(\"60m\") > 3")[..] else { panic!("one value") };
    assert_eq!(hour.name(), "payer.count(\"1h\")", "the same span has one name");
    assert_eq!(hour.window.subject, Subject::Payer);
    assert_eq!(hour.window.span, Span::Sliding { span_s: 3600, buckets: 10 });
    // In any order, and from other quotes.
    let texts = [
        "payer.count('1h', 'pix', 'incl', 'denied') > 3",
        "payer.count(\"1h\", \"denied\", \"pix\", \"incl\") > 3",
    ];
    assert_eq!(asked(texts[0]), asked(texts[1]));
}

#[test]
fn a_value_is_asked_once_however_often_it_is_read() {
    let mut asking = Asking::default();
    for text in [
        "payer.count('1h') > 3 || payer.count('1h') == 1 && payer.sum('1h') > 9",
        "payer.sum('60m') > 9",
        "payer.distinct_payees('1h') > 9",
        "payer.distinct_payees('1h') >= 20",
    ] {
        compile_into(text, &mut asking).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    }
    let functions: Vec<_> = asking.asked().iter().map(|asked| asked.function).collect();
    let distinct = Function::Distinct { of: Member::Payee, up_to: 21 };
    assert_eq!(
        functions,
        [Function::Count, Function::Sum, distinct],
        "as many are told apart as are compared with"
    );
    for (text, up_to) in [
        ("payee.distinct_payers('1h') > 63", Some(64)),
        ("payee.distinct_payers('1h') > 64", Some(65)),
        ("payee.distinct_payers('1h') >= 500", Some(65)),
        ("payee.distinct_payers('1h') * 2 > 10", Some(65)),
        ("payee.distinct_payers('1h') in [1, 2]", Some(65)),
        ("payee.distinct_payers('1h') > payer.distinct_payees('1h')", Some(65)),
        ("3 < payee.distinct_payers('1h')", Some(4)),
        ("-payee.distinct_payers('1h') < -5", Some(65)),
        ("exact(payee.distinct_payers('1h'))", Some(65)),
        ("known(payee.distinct_payers('1h'))", Some(1)),
        ("payee.distinct_payers('1h') < 0 || payer.listed", Some(1)),
    ] {
        let expected = up_to.unwrap_or(64);
        let functions: Vec<_> = asked(text).iter().map(|asked| asked.function).collect();
        assert!(
            functions
                .iter()
                .all(|f| matches!(f, Function::Distinct { up_to, .. } if *up_to == expected)),
            "{text}: {functions:?}"
        );
    }
}

#[test]
fn a_bound_settles_what_it_can_and_nothing_else() {
    let missing = Err(Failure::Missing);
    for (text, value, expected) in [
        ("payer.count('1h') > 3", Present(4), Ok(true)),
        ("payer.count('1h') > 3", Present(3), Ok(false)),
        ("payer.count('1h') > 3", Saturated(4), Ok(true)),
        ("payer.count('1h') > 3", Saturated(3), missing),
        ("payer.count('1h') >= 3", Saturated(3), Ok(true)),
        ("payer.count('1h') >= 3", Saturated(2), missing),
        ("payer.count('1h') < 3", Saturated(3), Ok(false)),
        ("payer.count('1h') < 3", Saturated(2), missing),
        ("payer.count('1h') <= 3", Saturated(4), Ok(false)),
        ("payer.count('1h') <= 3", Saturated(3), missing),
        ("payer.count('1h') == 3", Saturated(4), Ok(false)),
        ("payer.count('1h') == 3", Saturated(3), missing),
        ("payer.count('1h') != 3", Saturated(4), Ok(true)),
        ("payer.count('1h') != 3", Saturated(3), missing),
        ("3 < payer.count('1h')", Saturated(4), Ok(true)),
        ("3 < payer.count('1h')", Saturated(3), missing),
        ("3 > payer.count('1h')", Saturated(3), Ok(false)),
        ("3 >= payer.count('1h')", Saturated(4), Ok(false)),
        ("3 <= payer.count('1h')", Saturated(3), Ok(true)),
        ("payer.count('1h') > 3", Evicted, missing),
        ("payer.count('1h') + 1 > 3", Saturated(9), missing),
        ("payer.count('1h') in [1, 2]", Saturated(9), missing),
        ("payer.count('1h') > 3 || true", Evicted, Ok(true)),
        ("!(payer.count('1h') > 3)", Saturated(4), Ok(false)),
        ("payer.avg('1h') > 3", Missing, missing),
        ("has(payer.avg('1h'))", Missing, Ok(false)),
        ("has(payer.avg('1h'))", Present(0), Ok(true)),
        ("has(payer.avg('1h'))", Saturated(1), Ok(true)),
        ("has(payer.avg('1h'))", Evicted, missing),
        ("known(payer.avg('1h'))", Evicted, Ok(false)),
        ("known(payer.avg('1h'))", Missing, Ok(true)),
        ("known(payer.avg('1h'))", Saturated(1), Ok(true)),
        ("exact(payer.avg('1h'))", Saturated(1), Ok(false)),
        ("payer.count('1h') > 3", Estimated(4), Ok(true)),
        ("payer.count('1h') > 3", Estimated(3), Ok(false)),
        ("payer.count('1h') + 1 > 3", Estimated(9), Ok(true)),
        ("has(payer.avg('1h'))", Estimated(1), Ok(true)),
        ("known(payer.avg('1h'))", Estimated(1), Ok(true)),
        ("exact(payer.avg('1h'))", Estimated(1), Ok(false)),
        ("exact(payer.avg('1h'))", Missing, Ok(false)),
        ("exact(payer.avg('1h'))", Present(1), Ok(true)),
        ("tx.amount > 3 * payer.avg('1h')", Present(333), Ok(true)),
        ("tx.amount > 3 * payer.avg('1h')", Present(334), Ok(false)),
    ] {
        assert_eq!(run(text, &[value]), expected, "{text} with {value:?}");
    }
    let both = "payer.count('1h') > payer.count('1d')";
    assert_eq!(run(both, &[Saturated(5), Present(4)]), Ok(true));
    assert_eq!(run(both, &[Saturated(4), Present(4)]), missing);
    assert_eq!(run(both, &[Present(4), Saturated(4)]), Ok(false));
    assert_eq!(run(both, &[Present(4), Saturated(3)]), missing);
    assert_eq!(run(both, &[Saturated(9), Saturated(1)]), missing);
}

#[test]
fn what_may_be_missing_must_be_asked_for() {
    for text in [
        "payer.count('1h') > 3",
        "payer_to_payee.count('90d') == 0",
        "has(tx.device) && device.count('1h') > 3",
        "has(device.count('1h')) && device.count('1h') > 3",
        "has(payer.avg('30d')) && tx.amount > 5 * payer.avg('30d')",
        "has(payer.avg('30d')) ? tx.amount > payer.avg('30d') : false",
        "has(payer.sum('night')) && payer.sum('night') > 3",
        "payer.max('1d', 'incl') > 3",
        "known(device.count('1h')) || payer.listed",
        "has(tx.payer_account) && payer_account.distinct_devices('1d') > 3",
    ] {
        let came = compile_into(text, &mut Asking::default());
        assert!(came.is_ok(), "{text}: {came:?}");
    }
    for (text, place, help) in [
        ("device.count('1h') > 3", "device.count('1h')", "has(tx.device)"),
        ("payer.avg('30d') > 3", "payer.avg('30d')", "has(payer.avg(\"30d\"))"),
        ("payer.sum('night') > 3", "payer.sum('night')", "has(payer.sum(\"night\"))"),
        ("payer.max('1d', 'incl', 'pix') > 3", "payer.max('1d', 'incl', 'pix')", "has("),
        ("payee_account.count('1h') > 3", "payee_account.count('1h')", "has(tx.payee_account)"),
        ("has(tx.device) || device.count('1h') > 3", "device.count('1h')", "has(tx.device)"),
        (
            "has(payer.avg('30d')) && payer.min('30d') > 3",
            "payer.min('30d')",
            "has(payer.min(\"30d\"))",
        ),
    ] {
        let fault = fault(text);
        assert_eq!(&text[fault.span.range()], place, "{text}: {fault:?}");
        assert!(fault.help.contains(help), "{text}: {fault:?}");
    }
}

#[test]
fn what_is_wrong_with_a_window_is_told_with_its_place() {
    for (text, place, message) in [
        ("payer.counts('1h') > 3", "counts", "windows have no counts"),
        ("payer.count() > 3", "count", "has no span"),
        ("payer.count('1 h') > 3", "'1 h'", "is no span of time"),
        ("payer.count('1w') > 3", "'1w'", "is no span of time"),
        ("payer.count('01h') > 3", "'01h'", "is no span of time"),
        ("payer.count('+1h') > 3", "'+1h'", "is no span of time"),
        ("payer.count('99999999999d') > 3", "'99999999999d'", "is no span of time"),
        ("payer.count('91d') > 3", "count('91d'", "1 minute to 90 days"),
        ("payer.count('1h/+9') > 3", "'1h/+9'", "is no span of time"),
        ("payer.count('1h/09') > 3", "'1h/09'", "is no span of time"),
        ("payer.count('1h/3') > 3", "count('1h/3'", "buckets"),
        ("payer.count('1h', 'aproved') > 3", "'aproved'", "says nothing of a window"),
        ("payer.count('1h', 'pix', 'pix') > 3", "'pix'", "stands there twice"),
        ("payer.seconds_since_last('today') > 3", "seconds_since_last('today'", "sliding"),
        ("payer.count(1) > 3", "1", ") belongs before 1"),
        ("payer.count > 3", "payer.count", "there is no field payer.count"),
        (
            "payer.count('1h') > reais(3) && payer.sum('1h') > seconds(1)",
            "payer.sum('1h') > seconds(1)",
            "centavos and seconds",
        ),
        ("has(payer.count('1h'))", "payer.count('1h')", "every transaction has"),
        ("known(tx.amount) || true", "tx.amount", "only a value of a window"),
        ("tx.payer_ispb.contains('1')", "contains", "there is no method contains"),
    ] {
        let fault = fault(text);
        assert_eq!(&text[fault.span.range()], place, "{text}: {fault:?}");
        assert!(fault.message.contains(message), "{text}: {fault:?}");
        assert!(!fault.help.is_empty());
    }
    let alone = compile("payer.count('1h') > 3").expect_err("it stands by itself");
    assert!(alone.message.contains("window"), "{alone:?}");
    let many = (1..=9).map(|n| format!("(has(payer.avg('{n}d')) ? payer.avg('{n}d') > 1 : true)"));
    let fault = fault(&many.collect::<Vec<_>>().join(" && "));
    assert!(fault.message.contains("9 values may be missing"), "{fault:?}");
}

#[test]
fn what_no_window_ever_says_is_refused() {
    for text in [
        "payer.count('1h') < 0",
        "0 > payer.sum('1h')",
        "payer.count('1h') <= -1 || payer.count('1d') == -5",
        "!(payer.count('1h') >= 0)",
        "payer.count('1h') < 0 && payer.listed",
    ] {
        let fault = fault(text);
        assert_eq!(fault.message, "the condition is never true", "{text}");
    }
    for text in [
        "payer.count('1h') <= 0",
        "payer.count('1h') == 0",
        "payer.count('1h') < 0 || payer.listed",
        "payer.document in list('limits') && list('limits')[payer.document] < 0",
    ] {
        compile_into(text, &mut Asking::default()).unwrap_or_else(|f| panic!("{text}: {f:?}"));
    }
}
