//! What CEL takes, or decides only when it runs, and ours refuses when the condition is read: types are known
//! then, so that a mistake is told to who writes a policy and not by a payment.

use super::{Bound, Came, NOTHING, Refused, hold};

const REFUSED: &[(&str, &str, &str)] = &[
    ("eq_mixed_types", "1 == true", "is compared with"),
    ("eq_mixed_types", "tx.hour == 'a'", "a text is compared with"),
    ("eq_mixed_types", "tx.rail == 1", "is compared with"),
    ("ne_mixed_types", "payer.listed != 1", "is compared with"),
    ("lt_mixed_types", "tx.rail < 1", "is compared with"),
    ("lt_literal, truths", "false < true", "has no order"),
    ("lt_literal, words", "tx.rail < 'pix'", "has no order"),
    ("lt_literal, texts", "has(tx.payer_ispb) && tx.payer_ispb < 'b'", "has no order"),
    ("eq_literal, two texts", "'a' == 'a'", "two texts are compared"),
    ("not_int", "!0", "true or false belongs here"),
    ("not_int", "!tx.hour", "true or false belongs here"),
    ("AND/error_left, a number", "1 && true", "true or false belongs here"),
    ("OR/error_right, a number", "true || 1", "true or false belongs here"),
    ("conditional/mixed_type", "(true ? 1 : true) == 1", "a plain number or"),
    ("conditional, of a number", "(1 ? 2 : 3) == 2", "true or false belongs here"),
    ("add, truths", "true + true == 2", "a number belongs here"),
    ("unary_minus, a truth", "-true == 1", "a number belongs here"),
    ("divide_by_zero", "1 / 0 == 1", "divided by zero"),
    ("mod_by_zero", "1 % 0 == 1", "divided by zero"),
    ("divide by what may be zero", "1 / tx.hour == 1", "what divides may be zero"),
    ("in a list of another type", "1 in ['pix']", "a text is compared with"),
    ("in an empty list", "1 in []", "the list is empty"),
    ("in a list of fields", "1 in [tx.hour]", "is no value of a list"),
    ("undeclared", "x == 1", "there is no field x"),
    ("unbound function", "f(1) == 1", "there is no function f"),
    ("unbound method", "has(tx.payer_ispb) && tx.payer_ispb.f('a')", "there is no method f"),
    ("size", "size('a') == 1", "there is no function size"),
    ("literals, too large", "9223372036854775808 > 0", "too large"),
    ("literals, a fraction", "1.5 == 1.5", "numbers are whole"),
    ("literals, hexadecimal", "0x10 == 16", "a number ends in letters"),
    ("literals, unsigned", "1u == 1", "a number ends in letters"),
    ("literals, escapes", "tx.rail == 'p\\x69x'", "no escapes"),
    ("no result that is a truth", "1", "a condition is true or false"),
    ("no result that is a truth", "'a'", "a condition is true or false"),
    ("no result that is a truth", "tx.hour", "a condition is true or false"),
    ("has, of what is always there", "has(tx.hour)", "every transaction has"),
    ("has, of no field", "has(1)", "is no field"),
    ("comments", "true // yes", "/ is not expected here"),
    ("nothing", "", "there is no condition"),
];

#[test]
fn what_ours_refuses_is_refused_with_its_reason() {
    hold(REFUSED.iter().map(|&(_, condition, why)| (condition.to_owned(), NOTHING, Refused(why))));
}

/// A condition that the ranges of fields rule out is refused: CEL would evaluate it, to false.
#[test]
fn what_no_payment_can_be_is_refused() {
    for (condition, hour) in [("tx.hour > 23", 23), ("tx.hour < 0", 0), ("tx.hour == 24", 23)] {
        hold([(condition.to_owned(), Bound { hour, ..NOTHING }, Came::False)]);
    }
}
