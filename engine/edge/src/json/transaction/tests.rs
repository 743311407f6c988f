//! Tests of a transaction from JSON.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn sound() -> Value {
    json!({
        "transaction_id": "order-1",
        "payer": "049.332.286-80",
        "payee": "12.abc.345/01de-35",
        "amount_centavos": 1_234,
        "event_time": "2026-11-22T12:34:56Z",
        "rail": "pix",
    })
}

fn with(name: &str, value: Value) -> Vec<u8> {
    let mut body = sound();
    body[name] = value;
    body.to_string().into_bytes()
}

fn without(name: &str) -> Vec<u8> {
    let mut body = sound();
    body.as_object_mut().expect("an object").remove(name);
    body.to_string().into_bytes()
}

fn refused(body: &[u8]) -> String {
    match read(body, None) {
        Err(Mistake::Member(why)) => why,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(body)),
    }
}

#[test]
fn a_body_becomes_the_same_transaction_as_in_the_protocol() {
    let read = |body: &[u8], key| read(body, key).expect("sound");
    let plain = read(sound().to_string().as_bytes(), None);
    let wire = Transaction::pix(
        "order-1",
        "04933228680",
        "12ABC34501DE35",
        1_234,
        1_795_350_896_000_000_000,
    );
    let wire = wire.and_then(|wire| wire.with_budget_us(MAX_BUDGET_US)).expect("sound");
    assert_eq!(plain, wire);
    assert_eq!(read(&without("transaction_id"), Some("order-1")), wire);
    assert_eq!(read(sound().to_string().as_bytes(), Some("order-1")), wire);
    let mut text = sound();
    text.as_object_mut().expect("an object").remove("amount_centavos");
    text["amount"] = json!("12.34");
    assert_eq!(read(text.to_string().as_bytes(), None), wire);
    let full = json!({
        "transaction_id": "order-2", "payer": "04933228680", "payee": "12ABC34501DE35",
        "amount_centavos": 1, "event_time_ns": 1_795_350_896_000_000_001u64, "budget_us": 5_000,
        "rail": "card", "channel": "atm", "transaction_flags": 32_769,
        "payer_account": "0102030405060708", "payee_account": "ffffffffffffffff",
        "device": "00000000deadbeef", "pix_key": "000102030405060708090a0b0c0d0e0f",
        "ip": "192.0.2.17", "payer_ispb": "12345678", "payee_ispb": "ab345678",
    });
    let full = read(full.to_string().as_bytes(), None);
    assert_eq!((full.rail, full.channel, full.flags, full.budget_us), (4, 5, 32_769, 5_000));
    assert_eq!((full.payer_account, full.device), (0x0102_0304_0506_0708, 0xdead_beef));
    assert_eq!((full.pix_key[1], full.ip[15], &full.payee_ispb), (1, 17, b"ab345678"));
    assert_eq!(full.event_time_ns % 10, 1, "no digit is lost");
}

#[test]
fn money_is_never_a_float() {
    for value in [json!(12.5), json!(12.0), json!(1e3), json!("12"), json!(-0.0), json!(u64::MAX)] {
        refused(&with("amount_centavos", value));
    }
    for value in [json!(12), json!(12.5), json!("12,50"), json!("-1.00")] {
        let mut body = sound();
        body.as_object_mut().expect("an object").remove("amount_centavos");
        body["amount"] = value;
        refused(body.to_string().as_bytes());
    }
    assert!(refused(&with("amount", json!("1.00"))).contains("not both"));
    assert!(refused(&without("amount_centavos")).contains("missing"));
    assert!(refused(&with("amount_centavos", json!(0))).contains("at least 1 centavo"));
}

#[test]
fn what_is_unknown_double_or_missing_is_refused() {
    assert!(refused(&with("ammount", json!(1))).contains("unknown field"));
    let double = sound().to_string().replacen('{', "{\"payer\":\"04933228680\",", 1);
    assert!(refused(double.as_bytes()).contains("duplicate field `payer`"));
    for name in ["transaction_id", "payer", "payee", "event_time"] {
        assert!(refused(&without(name)).contains("missing"), "{name}");
        assert!(refused(&with(name, Value::Null)).contains("missing"), "{name}");
    }
    assert_eq!(read(sound().to_string().as_bytes(), Some("order-2")), Err(Mistake::Ids));
    assert!(refused(&with("event_time_ns", json!(1))).contains("not both"));
}

#[test]
fn each_member_is_checked() {
    for (name, value) in [
        ("transaction_id", json!("two words")),
        ("transaction_id", json!("123456789012345678901234567890123")),
        ("payer", json!("049.332.286-81")),
        ("payee", json!("***.332.286-**")),
        ("event_time", json!("2026-11-22T12:34:56")),
        ("event_time", json!("1969-12-31T23:59:59Z")),
        ("event_time", json!(5)),
        ("budget_us", json!(2_000_001)),
        ("budget_us", json!(-1)),
        ("rail", json!("PIX")),
        ("channel", json!("telex")),
        ("transaction_flags", json!(65_536)),
        ("payer_account", json!("0x1")),
        ("device", json!("00000000deadbeeg")),
        ("pix_key", json!("00")),
        ("ip", json!("300.1.1.1")),
        ("payer_ispb", json!("1234567")),
        ("payer", json!({"document": "04933228680"})),
        ("payer", json!(["04933228680"])),
    ] {
        refused(&with(name, value.clone()));
    }
}

#[test]
fn no_mistake_repeats_a_document() {
    let document = "04933228681";
    for body in [
        with("payer", json!(document)),
        with("amount_centavos", json!(document)),
        with("rail", json!(document)),
        with(document, json!(1)),
        with("transaction_id", json!(format!("{document} {document}"))),
        format!("{{\"payer\":{document}{document}}}").into_bytes(),
    ] {
        let said = read(&body, None).expect_err("refused").to_string();
        assert!(!said.contains(document), "{said}");
    }
}

#[test]
fn depth_is_no_stack_and_an_array_is_no_transaction() {
    let array =
        json!(["order-1", "04933228680", "12ABC34501DE35", 1, null, "2026-11-22T12:34:56Z"]);
    assert!(refused(array.to_string().as_bytes()).contains("object"));
    for body in [
        "[".repeat(10_000),
        "{\"payer\":".repeat(10_000),
        format!("{{\"x\":{}", "[".repeat(10_000)),
    ] {
        read(body.as_bytes(), None).expect_err("refused");
    }
    for body in [&b""[..], b"{", b"null", b"[]", b"\"a\"", b"{}x", b"\xff", b"{\"payer\": NaN}"] {
        read(body, None).expect_err("refused");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&body, None);
    }

    #[test]
    fn any_text_in_any_place_is_read_or_refused(place in 0..6usize, text in ".{0,40}") {
        let names = ["transaction_id", "payer", "payee", "event_time", "rail", "ip"];
        let _ = read(&with(names[place], json!(text)), None);
    }
}
