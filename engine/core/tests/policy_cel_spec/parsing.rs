//! `parse`: how strongly operators bind, nesting and repetition, space, and texts.

use super::{Came, False, NOTHING, True, both_ways, hold};

const FACTS: &[(&str, &str, Came)] = &[
    ("precedence, or and and", "true || false && false", True),
    ("precedence, parentheses", "(true || false) && false", False),
    ("precedence, and before or", "false && false || true", True),
    ("precedence, not before and", "!false && true", True),
    ("precedence, not of parentheses", "!(false && true)", True),
    ("precedence, choice last", "false || true ? true : false", True),
    ("precedence, choice to the right", "false ? true : false ? false : true", True),
    ("precedence, equality of truths", "true == (false == false)", True),
    ("precedence, times before plus", "1 + 2 * 3 == 7", True),
    ("precedence, parentheses before times", "(1 + 2) * 3 == 9", True),
    ("precedence, minus to the left", "7 - 2 - 1 == 4", True),
    ("precedence, divided to the left", "24 / 4 / 3 == 2", True),
    ("precedence, remainder to the left", "17 % 10 % 4 == 3", True),
    ("precedence, times and divided to the left", "12 / 4 * 3 == 9", True),
    ("precedence, sign before times", "-2 * 3 == -6", True),
    ("precedence, sign of parentheses", "-(2 + 3) == -5", True),
    ("precedence, plus before comparison", "1 + 1 < 3", True),
    ("precedence, comparison before and", "1 < 2 && 2 < 3", True),
    ("whitespace/spaces", "true  &&    true", True),
    ("whitespace/tabs", "true\t&&\ttrue", True),
    ("whitespace/new_lines", "true\n&&\ntrue", True),
    ("whitespace/carriage_returns", "true\r\n&&\r\ntrue", True),
    ("whitespace, none", "true&&true", True),
    ("literals, the smallest number", "-9223372036854775808 < -9223372036854775807", True),
    ("literals, the largest number", "9223372036854775807 > 9223372036854775806", True),
    ("literals, zero", "0 == -0", True),
];

/// What is inside each other, or behind each other, as often as CEL asks of every parser: 12, 24 and 32 times.
fn repeated() -> Vec<(String, Came)> {
    let chain = |term: &str, operator: &str, count| vec![term; count].join(operator);
    let nested = |open: &str, close: &str, inner: &str, count| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    vec![
        (chain("true", " && ", 32), True),
        (format!("{} && false", chain("true", " && ", 31)), False),
        (chain("false", " || ", 32), False),
        (format!("{} || true", chain("false", " || ", 31)), True),
        (format!("{} == 32", chain("1", " + ", 32)), True),
        (format!("{} == 1", chain("1", " * ", 32)), True),
        (format!("33 - {} == 1", chain("1", " - ", 32)), True),
        (nested("(", ")", "true", 32), True),
        (nested("(", ")", "false", 32), False),
        (nested("!(", ")", "true", 24), True),
        (nested("!(", ")", "true", 25), False),
        (nested("true ? (", ") : false", "true", 24), True),
        (format!("{}true", "false ? false : ".repeat(24)), True),
        (format!("{} == 7", nested("(", ")", "7", 32)), True),
        (format!("7 in [{}]", (0..32).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")), True),
        (
            format!("99 in [{}]", (0..32).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")),
            False,
        ),
    ]
}

#[test]
fn operators_bind_as_they_do() {
    hold(both_ways(FACTS));
}

#[test]
fn nesting_and_repetition_are_taken_as_often_as_every_parser_must() {
    let both = repeated().into_iter().flat_map(|(text, came)| {
        [(super::with_fields(&text), NOTHING, came.clone()), (text, NOTHING, came)]
    });
    hold(both);
}
