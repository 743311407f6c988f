mod answers;
mod lists;
mod ranges;
mod windows;

use super::{
    Asking, Failure, Fault, Field, MAX_DEPTH, MAX_LEN, MAX_TOKENS, Program, ROWS, Rows, compile,
};
use proptest::prelude::*;

/// A Pix of R$ 1.500,00 at 22:15 of a Friday from a company to a person, without a device.
fn row() -> Rows {
    let mut rows = Rows::default();
    rows.push();
    for (field, value) in [
        (Field::Amount, 150_000),
        (Field::Rail, 1),
        (Field::Channel, 1),
        (Field::Hour, 22),
        (Field::MinuteOfDay, 22 * 60 + 15),
        (Field::Weekday, 5),
        (Field::Age, 3),
        (Field::PayerAccount, 77),
        (Field::PayeeAccount, 78),
        (Field::PayerIspb, i64::from_be_bytes(*b"12345678")),
        (Field::PayerDocument, 1_001),
        (Field::PayerKind, 2),
        (Field::PayerRoot, 500),
        (Field::PayerListed, 1),
        (Field::PayerList, 1),
        (Field::PayerAllowed, 0),
        (Field::PayeeDocument, 2_002),
        (Field::PayeeKind, 1),
        (Field::PayeeListed, 0),
        (Field::PayeeAllowed, 0),
    ] {
        rows.set(field, value);
    }
    rows
}

/// A condition that may ask of what is missing.
fn read(text: &str) -> Result<Program, Fault> {
    super::read(text, &mut Asking::default()).map(|(program, _)| program)
}

fn run(text: &str) -> Result<bool, Failure> {
    let program = read(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    program.run(&row()).of(0)
}

/// A batch of amounts, hours, rails, and whether the payer is listed.
fn batch_of(rows: &[(i64, i64, i64, bool)]) -> Rows {
    let mut batch = Rows::default();
    for &(amount, hour, rail, listed) in rows {
        batch.push();
        batch.set(Field::Amount, amount);
        batch.set(Field::Hour, hour);
        batch.set(Field::Rail, rail);
        batch.set(Field::PayerListed, listed.into());
        batch.set(Field::Device, hour);
    }
    batch
}

fn fault(text: &str) -> Fault {
    compile(text).err().unwrap_or_else(|| panic!("{text}: it is taken"))
}

/// The part of a text that a fault is about, with what it says.
fn told(text: &str) -> (String, String, String) {
    let fault = fault(text);
    (text[fault.span.range()].to_owned(), fault.message, fault.help)
}

#[test]
fn conditions_are_what_they_say() {
    for (text, expected) in [
        ("true", true),
        ("tx.amount > reais(1000)", true),
        ("tx.amount >= 150000 && tx.amount <= 150000", true),
        ("tx.amount == reais(1500)", true),
        ("tx.amount < reais(1500) || tx.hour >= 20", true),
        ("!(tx.hour >= 20)", false),
        ("tx.hour in [20, 21, 22, 23, 0, 1]", true),
        ("tx.hour in [1]", false),
        ("tx.rail == \"pix\" && tx.channel != 'web'", true),
        ("'pix' == tx.rail", true),
        ("tx.rail in ['ted', 'boleto']", false),
        ("tx.weekday in [\"friday\", \"saturday\"]", true),
        ("payer.kind == 'cnpj' && payee.kind == 'cpf'", true),
        ("payer.listed && payer.list == 'ceis' && !payee.listed", true),
        ("tx.payer_ispb == '12345678'", true),
        ("tx.payer_ispb.startsWith('123')", true),
        ("tx.payer_ispb.startsWith('13')", false),
        ("tx.payer_ispb.endsWith(\"678\")", true),
        ("tx.payer_ispb.endsWith('12345678')", true),
        ("tx.payer_ispb.endsWith('68')", false),
        ("has(tx.device)", false),
        ("has(tx.payer_account) && tx.payer_account != tx.payee_account", true),
        ("payer.document == payee.document", false),
        ("payer.listed ? tx.amount > reais(1) : tx.amount > reais(100000)", true),
        ("tx.hour >= 20 ? true : tx.hour < 6 ? true : false", true),
        ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 - 2 - 1 == 4", true),
        ("-7 / 2 == -3 && -7 % 2 == -1 && 7 % -2 == 1", true),
        ("tx.amount * 2 > reais(2999) && tx.amount / 2 == 75000", true),
        ("tx.amount / reais(1) == 1500", true),
        ("tx.amount % 100 == 0", true),
        ("tx.age < minutes(1) && minutes(60) == hours(1) && hours(24) == days(1)", true),
        ("tx.minute_of_day > 22 * 60", true),
        ("-9223372036854775808 < -9223372036854775807", true),
        ("- tx.amount == -150000", true),
        ("ratio(tx.amount, reais(1000)) == 1500 && ratio(reais(1000), tx.amount) == 666", true),
        ("ratio(-7, 2) == -3500 && ratio(7, -3) == -2333 && ratio(0, 5) == 0", true),
        ("ratio(9223372036854775807, 1000) == 9223372036854775807", true),
    ] {
        assert_eq!(run(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_missing_or_overflows_is_no_number() {
    let missing = Failure::Missing;
    assert_eq!(run("ratio(tx.amount, tx.amount - 150000) > 3"), Err(Failure::Overflow), "by zero");
    assert_eq!(run("ratio(tx.amount * 60000000000000, 1) > 3"), Err(Failure::Overflow));
    let by_device = "tx.device == tx.device";
    assert_eq!(run(by_device), Err(missing));
    // As in CEL, a side that settles it counts.
    for (text, expected) in [
        (format!("{by_device} && false || true"), Ok(true)),
        (format!("{by_device} || true"), Ok(true)),
        (format!("true || {by_device}"), Ok(true)),
        (format!("{by_device} || payee.listed"), Err(missing)),
        (format!("payee.listed && {by_device}"), Ok(false)),
        (format!("payer.listed && {by_device}"), Err(missing)),
        (format!("!({by_device})"), Err(missing)),
        (format!("has(tx.device) ? {by_device} : payer.listed"), Ok(true)),
        (format!("payer.listed ? {by_device} : true"), Err(missing)),
    ] {
        assert_eq!(run(&text), expected, "{text}");
    }
    for text in [
        "tx.amount * 9223372036854775807 > 0",
        "tx.amount + 9223372036854775807 > 0",
        "-tx.amount - 9223372036854775807 < 0",
    ] {
        assert_eq!(run(text), Err(Failure::Overflow), "{text}");
    }
    assert_eq!(run("-9223372036854775807 - tx.hour < 0"), Err(Failure::Overflow));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_to_write() {
    for (text, place, message, help) in [
        ("", "", "there is no condition", "true"),
        ("tx.amont > 1", "tx.amont", "there is no field tx.amont", "did you mean tx.amount?"),
        ("amount > 1", "amount", "there is no field amount", "did you mean tx.amount?"),
        ("velocity > 1", "velocity", "there is no field velocity", "fields begin with tx"),
        ("tx.rail == 'pixx'", "'pixx'", "\"pixx\" never stands there", "did you mean \"pix\"?"),
        ("tx.rail == 'wire transfer'", "'wire transfer'", "never stands", "it is one of \"other\""),
        ("tx.rail > 'pix'", "tx.rail > 'pix'", "has no order", "=="),
        ("tx.amount > tx.age", "tx.amount > tx.age", "centavos and seconds do not go", "one unit"),
        ("tx.amount > minutes(5)", "tx.amount > minutes(5)", "centavos and seconds", "one unit"),
        ("tx.amount * tx.amount > 1", "tx.amount * tx.amount", "centavos are multiplied", "plain"),
        ("tx.amount == 'much'", "'much'", "a text is compared with centavos", "without quotes"),
        ("tx.amount", "tx.amount", "a condition is true or false", "compare"),
        ("tx.amount && true", "tx.amount", "true or false belongs here", "&& joins conditions"),
        ("!tx.amount", "tx.amount", "true or false belongs here", "!"),
        ("payer.listed + 1 == 2", "payer.listed", "a number belongs here", "numbers"),
        ("tx.amount = 1", "=", "= means nothing here", "write == to compare"),
        ("payer.listed & payee.listed", "&", "& means nothing here", "&&"),
        ("payer.listed and payee.listed", "and", "and is not expected here", "&&"),
        ("tx.rail == “pix”", "“", "means nothing here", "plain quotes"),
        ("tx.rail == 'pix", "'pix", "the text does not end", "close it with '"),
        ("tx.rail == 'p\\x'", "\\", "no escapes", "the character itself"),
        ("tx.amount > 10.50", "10.", "numbers are whole", "1050"),
        ("tx.amount > 10k", "10k", "a number ends in letters", "reais(10)"),
        ("tx.amount > 9223372036854775808", "9223372036854775808", "too large", "64 bits"),
        ("tx.amount > 99999999999999999999", "99999999999999999999", "too large", "64 bits"),
        ("(tx.amount > 1", "", ") belongs before the end", "close the parenthesis"),
        ("tx.amount > 1)", ")", ") is not expected here", "open it before"),
        ("tx.amount >", "", "the condition ends too early", "belongs here"),
        ("tx.amount > * 2", "*", "* is not expected here", "belongs here"),
        ("tx.hour in 5", "5", "[ belongs before 5", "in brackets"),
        ("tx.hour in []", "tx.hour in []", "the list is empty", "remove it"),
        ("tx.hour in [1, 2, 1]", "1", "it stands in the list twice", "remove one"),
        ("tx.hour in [tx.age]", "tx", "tx is no value of a list", "=="),
        ("tx.rail in [1]", "1", "a number is compared with one of", "one kind"),
        ("has(tx.amount)", "has(tx.amount)", "every transaction has tx.amount", "leave has() out"),
        ("has(5)", "5", "5 is no field", "has(tx.device)"),
        ("tx.amount / tx.hour > 1", "tx.hour", "what divides may be zero", "multiply"),
        ("tx.amount / 0 > 1", "0", "it is divided by zero", "another"),
        ("euros(5) > tx.amount", "euros", "there is no function euros", "reais"),
        ("reais(tx.hour) > 1", "tx.hour", "reais takes a number that stands here", "reais(10)"),
        ("reais(92233720368547759) > 1", "reais(92233720368547759)", "overflows", "64 bits"),
        ("tx.amount.startsWith('1')", "tx.amount", "centavos is no text", "=="),
        ("tx.payer_ispb.contains('1')", "contains", "there is no method contains", "startsWith"),
        ("tx.payer_ispb == '123456789'", "'123456789'", "never stands there", "1 to 8"),
        ("1 == 2", "1 == 2", "the condition is never true", "remove the rule"),
        ("'a' == 'a'", "'a' == 'a'", "two texts are compared", "field"),
        (
            "payer.document == tx.device",
            "payer.document == tx.device",
            "a document is compared",
            "one kind",
        ),
        (
            "tx.device == tx.device ? 1 : true",
            "tx.device == tx.device ? 1 : true",
            "a plain number or",
            "one kind",
        ),
        ("tx.amount > 1 \u{0}", "\u{0}", "means nothing here", ""),
        ("tx.amount\u{a0}> 1", "\u{a0}", "U+00A0", "remove it"),
    ] {
        let (at, told, hint) = told(text);
        assert_eq!(at, place, "{text}: {told}");
        assert!(told.contains(message), "{text}: {told}");
        assert!(hint.contains(help), "{text}: {hint}");
    }
}

#[test]
fn a_field_that_may_be_missing_is_asked_for_first() {
    for text in [
        "has(tx.device) && tx.device == tx.device",
        "tx.device == tx.device && has(tx.device)",
        "!has(tx.device) || tx.device != tx.device",
        "has(tx.device) ? tx.device == tx.device : payer.listed",
        "payer.listed && has(payer.list) && payer.list == 'ceis'",
        "(has(payer.root) && has(payee.root)) && payer.root == payee.root",
        "!(!has(tx.device) || !(tx.device == tx.device))",
        "has(tx.payer_ispb) && tx.payer_ispb.startsWith('123')",
        "has(tx.payer_ispb) && tx.payer_ispb in ['12345678']",
        "payer.listed || true || tx.device == tx.device",
    ] {
        assert!(compile(text).is_ok(), "{text}: {:?}", compile(text));
    }
    for (text, place) in [
        ("tx.device == tx.device", "tx.device"),
        ("payer.listed && payer.list == 'ceis'", "payer.list"),
        ("payer.listed || payer.list == 'ceis'", "payer.list"),
        ("has(tx.device) || tx.device == tx.device", "tx.device"),
        ("!has(tx.device) && tx.device == tx.device", "tx.device"),
        ("has(payer.root) && payer.root == payee.root", "payee.root"),
        ("has(tx.device) ? payer.root == payer.root : true", "payer.root"),
        ("payer.listed == (tx.device == tx.device)", "tx.device"),
        ("tx.payee_ispb.endsWith('1')", "tx.payee_ispb"),
        // With one of them missing the other side settles it; with both nothing does.
        (
            "(tx.pix_key == tx.pix_key ? false : false) && (tx.device == tx.device ? false : false)",
            "tx.pix_key",
        ),
        (
            "(payer.root == payer.root ? has(tx.device) : has(tx.device)) \
                && (tx.device == tx.device ? has(payer.root) : has(payer.root))",
            "tx.device",
        ),
    ] {
        let (at, told, help) = told(text);
        assert_eq!(
            (at.as_str(), told),
            (place, format!("a transaction may lack {place}")),
            "{text}"
        );
        assert!(help.contains(&format!("has({place}) &&")), "{help}");
    }
}

#[test]
fn what_can_never_be_true_is_refused() {
    for text in [
        "tx.hour > 23",
        "24 <= tx.hour",
        "tx.hour < 5 && tx.hour > 7",
        "tx.hour < 5 && payer.listed && 7 < tx.hour",
        "tx.rail == 'pix' && tx.rail == 'ted'",
        "tx.rail in ['pix', 'ted'] && tx.rail == 'card'",
        "tx.amount < 1",
        "tx.amount < reais(1) && tx.amount > reais(2)",
        "tx.minute_of_day >= 24 * 60",
        "tx.age < 0",
        "!(tx.hour <= 23)",
        "!(tx.hour < 5 || tx.hour >= 5)",
        "(tx.hour == 3 || tx.hour == 4) && tx.hour == 9",
        "(tx.hour == 3 || tx.hour == 5) && tx.hour == 4",
        "tx.hour in [3, 5] && tx.hour == 4",
        "!(tx.hour in [3, 5]) && tx.hour == 3",
        "has(tx.device) && !has(tx.device)",
        "payer.listed && !(payer.listed || tx.hour > 3)",
        "payer.listed ? tx.hour > 30 : tx.hour < 0",
        "(tx.hour < 3) == (tx.hour > 25) && tx.hour < 2",
        "tx.amount != 0 && tx.amount == 0",
    ] {
        let fault = fault(text);
        assert_eq!(fault.message, "the condition is never true", "{text}");
    }
    for text in [
        "tx.hour >= 23",
        "tx.hour < 5 || tx.hour > 20",
        "tx.hour > 4 && tx.hour < 6",
        "tx.rail == 'pix' || tx.rail == 'ted'",
        "tx.amount == 1",
        "!(tx.hour <= 22)",
        "tx.hour != 0 && tx.hour != 23",
        "tx.amount + 5 < 3",
        "payer.listed ? tx.hour > 30 : tx.hour < 1",
        "(tx.hour < 3) != (tx.hour > 25)",
    ] {
        assert!(compile(text).is_ok(), "{text}: {:?}", compile(text));
    }
}

#[test]
fn everything_is_bounded_before_it_costs_anything() {
    let chain = |terms: usize| vec!["payer.listed"; terms].join(" || ");
    // A name is one token for each of its three parts.
    assert!(compile(&chain(MAX_TOKENS / 4)).is_ok());
    assert!(fault(&chain(MAX_TOKENS / 3)).message.contains("tokens"));
    assert!(fault(&chain(30_000)).message.contains("bytes, at most"));
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(compile(&nested(MAX_DEPTH - 1)).is_ok());
    assert!(fault(&nested(MAX_DEPTH)).message.contains("inside each other"));
    let negated = |depth: usize| format!("{}payer.listed", "!".repeat(depth));
    assert!(compile(&negated(MAX_DEPTH - 2)).is_ok());
    assert!(fault(&negated(400)).message.contains("inside each other"));
    assert!(fault(&format!("tx.amount > {}1", "-".repeat(400))).message.contains("inside"));
    assert!(fault(&"(".repeat(MAX_LEN + 1)).message.contains("bytes"));
    let choices = "payer.listed ? true : ".repeat(40) + "false";
    assert!(compile(&choices).is_ok());
    let program = compile("tx.amount > reais(10) && payer.listed").expect("sound");
    assert_eq!(program.steps(), 3);
    assert_eq!(program.fields(), [Field::Amount, Field::PayerListed]);
}

fn some_condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("payer.listed".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("has(tx.device)".to_owned()),
        Just("tx.device == tx.device".to_owned()),
        Just("tx.rail in ['pix', 'ted']".to_owned()),
        (any::<i32>(), 0..4usize).prop_map(|(number, operator)| {
            format!("tx.amount {} {number}", ["<", ">=", "==", "!="][operator])
        }),
        (-2..26i32, 0..4usize).prop_map(|(number, operator)| {
            format!("tx.hour {} {number}", ["<", ">=", "==", "!="][operator])
        }),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(c, a, b)| format!("(({c}) ? ({a}) : ({b}))")),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z.()0-9\"' &|!<>=+*/%?:\\[\\],çã-]{0,80}") {
        if let Err(fault) = compile(&text) {
            prop_assert!(text.get(fault.span.range()).is_some(), "{fault:?}");
            prop_assert!(!fault.help.is_empty());
        }
    }

    #[test]
    fn conditions_out_of_their_own_words_run_or_are_never_true(text in some_condition()) {
        match read(&text) {
            Ok(program) => drop(program.run(&row())),
            Err(fault) => prop_assert!(
                ["never true", "tokens", "inside", "bytes"]
                    .iter()
                    .any(|part| fault.message.contains(part)),
                "{text}: {fault:?}"
            ),
        }
    }

    #[test]
    fn a_row_comes_out_the_same_whatever_stands_beside_it(
        text in some_condition(),
        amounts in prop::collection::vec(prop::option::of(any::<i32>()), 1..=ROWS),
    ) {
        let Ok(program) = read(&text) else { return Ok(()) };
        let fill = |rows: &mut Rows, amount: Option<i32>| {
            rows.push();
            rows.set(Field::Rail, 1);
            if let Some(amount) = amount {
                rows.set(Field::Amount, amount.into());
                rows.set(Field::PayerListed, i64::from(amount % 2));
            }
            if amount.is_some_and(|amount| amount % 3 == 0) {
                rows.set(Field::Device, amount.unwrap_or(0).into());
            }
        };
        let mut together = Rows::default();
        amounts.iter().for_each(|amount| fill(&mut together, *amount));
        let came = program.run(&together);
        for (row, amount) in amounts.iter().enumerate() {
            let mut alone = Rows::default();
            fill(&mut alone, *amount);
            prop_assert_eq!(came.of(row), program.run(&alone).of(0), "{}: {:?}", text, amount);
        }
        let beyond = !together.all();
        prop_assert_eq!((came.holds | came.missing | came.overflows) & beyond, 0);
    }

    #[test]
    fn what_is_guarded_never_lacks_a_field(text in some_condition()) {
        let Ok(program) = compile(&text) else { return Ok(()) };
        let mut rows = row();
        rows.push();
        for field in Field::ALL.iter().filter(|field| !field.is_optional()) {
            rows.set(*field, 1);
        }
        prop_assert_eq!(program.run(&rows).missing, 0, "{}", text);
    }

    #[test]
    fn what_is_refused_as_never_true_never_is(
        text in some_condition(),
        rows in prop::collection::vec((1..100i64, 0..24i64, 0..5i64, any::<bool>()), 1..=ROWS),
    ) {
        let refused = compile(&text).err().is_some_and(|fault| fault.message.contains("never true"));
        let Ok(program) = read(&text) else { return Ok(()) };
        let batch = batch_of(&rows);
        prop_assert!(!refused || program.run(&batch).holds == 0, "{}", text);
    }

    #[test]
    fn not_not_is_the_same_and_and_is_or_turned_around(a in some_condition(), b in some_condition()) {
        let both = [
            (format!("!(!({a})) || false"), format!("({a}) || false")),
            (format!("!(({a}) && ({b}))"), format!("!({a}) || !({b})")),
            (format!("({a}) || ({b})"), format!("({b}) || ({a})")),
        ];
        for (one, other) in both {
            if let (Ok(one), Ok(other)) = (read(&one), read(&other)) {
                let results = [one.run(&row()).of(0), other.run(&row()).of(0)];
                let same = match results {
                    [Ok(x), Ok(y)] => x == y,
                    [Err(_), Err(_)] => true,
                    _ => false,
                };
                prop_assert!(same, "{a} / {b}: {results:?}");
            }
        }
    }
}
