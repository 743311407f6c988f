//! Which condition is true wherever another one is.

use super::*;
use crate::policy::language::{Asking, Reaches, compile_into};

/// Whether the second is told to be true wherever the first is.
fn lies_within(inner: &str, outer: &str) -> bool {
    let (mut reaches, mut asking) = (Reaches::default(), Asking::default());
    let mut reach = |text| {
        let program = compile_into(text, &mut asking).unwrap_or_else(|fault| panic!("{fault:?}"));
        reaches.of(&program)
    };
    let (inner, outer) = (reach(inner), reach(outer));
    inner.lies_within(&outer)
}

#[test]
fn a_narrower_condition_lies_within_a_wider_one() {
    for (inner, outer) in [
        ("tx.amount > 900", "tx.amount > 500"),
        ("tx.amount > 900 && tx.hour < 6", "500 < tx.amount"),
        ("tx.amount > 900 && tx.hour < 6", "tx.hour < 6 && tx.amount > 500"),
        ("tx.hour == 3", "tx.hour < 6 || tx.hour >= 22"),
        ("tx.hour in [1, 2, 23]", "tx.hour < 6 || tx.hour >= 22"),
        ("tx.rail == 'pix'", "tx.rail in ['pix', 'ted']"),
        ("payer.listed", "payer.listed || payee.listed"),
        ("payer.listed && payee.listed", "payee.listed"),
        ("payer.count('1h') > 20", "payer.count('1h') > 10"),
        ("payer.count('1h') > 20", "true"),
        ("has(tx.device) && tx.hour > 2", "has(tx.device)"),
        ("tx.amount == 5", "tx.amount != 6"),
        ("!(tx.amount <= 900)", "tx.amount >= 900"),
        (
            "has(tx.payer_ispb) && tx.payer_ispb.startsWith('123') && tx.hour > 2",
            "has(tx.payer_ispb) && tx.payer_ispb.startsWith('123')",
        ),
    ] {
        assert!(lies_within(inner, outer), "{inner} / {outer}");
    }
    for (inner, outer) in [
        ("tx.amount > 500", "tx.amount > 900"),
        ("tx.hour < 6", "tx.hour < 6 && tx.amount > 500"),
        ("tx.hour == 7", "tx.hour < 6 || tx.hour >= 22"),
        ("tx.hour in [1, 7, 23]", "tx.hour < 6 || tx.hour >= 22"),
        ("payer.listed || payee.listed", "payer.listed"),
        ("payer.count('1h') > 20", "payer.count('2h') > 10"),
        ("payer.count('1h') > 20", "payee.count('1h') > 10"),
        ("payer.count('1h') > 20", "payer.count('1h', 'approved') > 10"),
        ("tx.amount + 1 > 900", "tx.amount + 2 > 900"),
        // What is computed is never taken for the same.
        ("tx.amount + 1 > 900", "tx.amount + 1 > 900 || payer.listed"),
        (
            "has(tx.payer_ispb) && tx.payer_ispb.startsWith('123')",
            "has(tx.payer_ispb) && tx.payer_ispb.startsWith('124')",
        ),
    ] {
        assert!(!lies_within(inner, outer), "{inner} / {outer}");
    }
}

proptest! {
    #[test]
    fn what_lies_within_is_true_only_where_the_other_is(
        inner in some_condition(),
        outer in some_condition(),
        rows in prop::collection::vec((1..100i64, 0..24i64, 0..5i64, any::<bool>()), 1..=ROWS),
    ) {
        let (Ok(inner), Ok(outer)) = (read(&inner), read(&outer)) else { return Ok(()) };
        let mut reaches = Reaches::default();
        let reach = [reaches.of(&inner), reaches.of(&outer)];
        let batch = batch_of(&rows);
        let (inner, outer) = (inner.run(&batch), outer.run(&batch));
        let result_of_both = !(outer.missing | outer.overflows);
        if reach[0].lies_within(&reach[1]) {
            prop_assert_eq!(inner.holds & !outer.holds & result_of_both, 0);
        }
    }
}
