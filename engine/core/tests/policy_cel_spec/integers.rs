//! `integer_math`, and of `comparisons` and `basic` what is about whole numbers.

use super::{Bound, Came, NOTHING, OVERFLOWS, Refused, True, hold};

const MAX: i64 = i64::MAX;
const MIN: i64 = i64::MIN;

/// Both sides of an operator, and what it comes to; nothing where that is an error.
type Fact = (&'static str, i64, &'static str, i64, Option<i64>);

const MATH: &[Fact] = &[
    ("add_positive_positive", 40, "+", 2, Some(42)),
    ("add_positive_negative", 42, "+", -7, Some(35)),
    ("add_negative_negative", -4, "+", -2, Some(-6)),
    ("sub_positive_positive", 42, "-", 12, Some(30)),
    ("sub_positive_negative", 42, "-", -22, Some(64)),
    ("sub_negative_negative", -42, "-", -12, Some(-30)),
    ("multiply_positive_positive", 42, "*", 2, Some(84)),
    ("multiply_positive_negative", 40, "*", -2, Some(-80)),
    ("multiply_negative_negative", -30, "*", -2, Some(60)),
    ("divide_positive_positive", 42, "/", 2, Some(21)),
    ("divide_positive_negative", -20, "/", 2, Some(-10)),
    ("divide_negative_negative", -80, "/", -2, Some(40)),
    ("divide, towards zero", 7, "/", 2, Some(3)),
    ("divide, towards zero", -7, "/", 2, Some(-3)),
    ("divide, towards zero", 7, "/", -2, Some(-3)),
    ("divide, towards zero", -7, "/", -2, Some(3)),
    ("mod_positive_positive", 47, "%", 5, Some(2)),
    ("mod_positive_negative", 43, "%", -5, Some(3)),
    ("mod_negative_negative", -42, "%", -5, Some(-2)),
    ("mod_negative_positive", -3, "%", 5, Some(-3)),
    ("mod_zero", 34, "%", 0, None),
    ("divide_zero", 15, "/", 0, None),
    ("zero divided", 0, "/", 0, None),
    ("zero divided", 0, "/", 15, Some(0)),
    ("multiply_zero", 15, "*", 0, Some(0)),
    ("add_left_identity", 0, "+", 17, Some(17)),
    ("add_right_identity", 29, "+", 0, Some(29)),
    ("mul_left_identity", 1, "*", 45, Some(45)),
    ("mul_right_identity", -25, "*", 1, Some(-25)),
    ("int64_overflow_positive", MAX, "+", 1, None),
    ("int64_overflow_negative", MIN, "-", 1, None),
    ("int64_overflow_add_negative", MIN, "+", -1, None),
    ("int64_overflow_sub_positive", 1, "-", -MAX, None),
    ("int64_min_negate_mul", MIN, "*", -1, None),
    ("int64_min_negate_div", MIN, "/", -1, None),
    ("smallest number's remainder", MIN, "%", -1, None),
    ("int64_overflow_mul_positive", 5_000_000_000, "*", 5_000_000_000, None),
    ("int64_overflow_mul_negative", -5_000_000_000, "*", 5_000_000_000, None),
    ("largest sum", MAX - 1, "+", 1, Some(MAX)),
    ("largest sum", MAX, "+", MIN, Some(-1)),
    ("smallest difference", MIN + 1, "-", 1, Some(MIN)),
    ("smallest difference", -1, "-", MAX, Some(MIN)),
    ("smallest difference", -2, "-", MAX, None),
    ("largest product", 3_037_000_499, "*", 3_037_000_499, Some(9_223_372_030_926_249_001)),
    ("largest product", 3_037_000_500, "*", 3_037_000_500, None),
    ("smallest product", 1 << 62, "*", -2, Some(MIN)),
];

const NEGATIONS: &[(&str, i64, Option<i64>)] = &[
    ("unary_minus_pos", 42, Some(-42)),
    ("unary_minus_neg", -42, Some(42)),
    ("negative_zero", 0, Some(0)),
    ("largest", MAX, Some(-MAX)),
    ("int64_min_negate", MIN, None),
];

/// What is so for any number, and is tried with one in `tx.hour`, `N`.
const IDENTITIES: &[(&str, i64, &str)] = &[
    ("add_commutative", 75, "N + 15 == 15 + N"),
    ("add_associative", 5, "N + (15 + 20) == (N + 15) + 20"),
    ("mul_commutative", 15, "N * 25 == 25 * N"),
    ("mul_associative", 15, "N * (23 * 88) == (N * 23) * 88"),
    ("add_mul_distribute", 5, "5 * (N + 25) == 5 * N + 5 * 25"),
    ("add_mul_distribute", -5, "(N + 25) * 5 == N * 5 + 125"),
    ("double_negative", -42, "-(-(N)) == N"),
    ("division and remainder", -47, "N / 5 * 5 + N % 5 == N"),
    ("division and remainder", 47, "N / -5 * -5 + N % -5 == N"),
];

const COMPARISONS: &[(&str, i64, &str, i64, bool)] = &[
    ("eq_int", 1, "==", 1, true),
    ("not_eq_int", -1, "==", 1, false),
    ("ne_int", 24, "!=", 42, true),
    ("not_ne_int", 1, "!=", 1, false),
    ("lt_int", -1, "<", 0, true),
    ("not_lt_int", 0, "<", 0, false),
    ("lt, greater", 1, "<", 0, false),
    ("lt, ends", MIN, "<", MAX, true),
    ("gt_int", 42, ">", -42, true),
    ("not_gt_int", 0, ">", 0, false),
    ("gt, less", -1, ">", 0, false),
    ("gt, ends", MIN, ">", MAX, false),
    ("lte_int_lt", 0, "<=", 1, true),
    ("lte_int_eq", 1, "<=", 1, true),
    ("not_lte_int_gt", 1, "<=", -1, false),
    ("gte_int_gt", 0, ">=", -1, true),
    ("gte_int_eq", 999, ">=", 999, true),
    ("not_gte_int_lt", 999, ">=", 1000, false),
    ("bound/int_lte_right_true", 123, "<=", 124, true),
    ("eq, ends", MAX, "==", MIN, false),
    ("ne, ends", MAX, "!=", MAX - 1, true),
];

const AMONG: &[(&str, i64, &str, bool)] = &[
    ("lists/in/singleton", 4, "[4]", true),
    ("lists/in/first", 5, "[5, 4, 3, 2, 1]", true),
    ("lists/in/middle", 3, "[5, 4, 3, 2, 1]", true),
    ("lists/in/last", 20, "[4, 6, 8, 12, 20]", true),
    ("lists/in/missing", 7, "[5, 4, 3, 2, 1]", false),
    ("lists/in/missing", -5, "[5, 4, 3, 2, 1]", false),
    ("negative ones", -5, "[7, -5]", true),
    ("the ends", MIN, "[9223372036854775807, -9223372036854775808]", true),
    ("the ends", MAX, "[9223372036854775807, -9223372036854775808]", true),
    ("the ends", 0, "[9223372036854775807, -9223372036854775808]", false),
];

fn bound(hour: i64) -> Bound {
    Bound { hour, ..NOTHING }
}

/// An operation as constants, and with either side in a field.
fn forms(a: i64, operator: &str, b: i64) -> [(String, Bound); 3] {
    [
        (format!("{a} {operator} ({b})"), NOTHING),
        (format!("(tx.hour + 0) {operator} ({b})"), bound(a)),
        (format!("{a} {operator} (tx.hour + 0)"), bound(b)),
    ]
}

#[test]
fn arithmetic() {
    let facts = MATH.iter().flat_map(|&(_, a, operator, b, result)| {
        let divides = ["/", "%"].contains(&operator);
        forms(a, operator, b).into_iter().enumerate().flat_map(move |(form, (text, bound))| {
            let shown = result.unwrap_or(0);
            let came = |truth: bool| match (result, form) {
                (_, 2) if divides => Refused("what divides may be zero"),
                (None, _) if divides && b == 0 => Refused("it is divided by zero"),
                (None, 0) => Refused("the number overflows"),
                (None, _) => OVERFLOWS,
                (Some(_), _) => truth.into(),
            };
            [("==", true), ("!=", false), (">=", true), ("<", false)]
                .map(|(compared, truth)| (format!("{text} {compared} {shown}"), bound, came(truth)))
        })
    });
    hold(facts);
}

#[test]
fn negation() {
    hold(NEGATIONS.iter().flat_map(|&(_, x, result)| {
        let shown = result.unwrap_or(0);
        let came = |error: Came| if result.is_some() { True } else { error };
        [
            (format!("-({x}) == {shown}"), NOTHING, came(Refused("the number overflows"))),
            (format!("-(tx.hour + 0) == {shown}"), bound(x), came(OVERFLOWS)),
            (format!("-((tx.hour + 0)) == {shown}"), bound(x), came(OVERFLOWS)),
        ]
    }));
}

#[test]
fn identities() {
    hold(IDENTITIES.iter().flat_map(|&(_, number, text)| {
        let of = |shown: &str, bound: Bound| (text.replace('N', shown), bound, True);
        [of(&format!("({number})"), NOTHING), of("(tx.hour + 0)", bound(number))]
    }));
}

#[test]
fn comparisons() {
    hold(COMPARISONS.iter().flat_map(|&(_, a, operator, b, truth)| {
        forms(a, operator, b).map(|(text, bound)| (text, bound, truth.into()))
    }));
}

#[test]
fn membership() {
    hold(AMONG.iter().flat_map(|&(_, x, list, truth)| {
        [
            (format!("{x} in {list}"), NOTHING, truth.into()),
            (format!("(tx.hour + 0) in {list}"), bound(x), truth.into()),
            (format!("!((tx.hour + 0) in {list})"), bound(x), (!truth).into()),
        ]
    }));
}
