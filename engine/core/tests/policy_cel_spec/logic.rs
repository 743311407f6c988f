//! `logic`: choices, `&&`, `||`, `!`, and which errors they take in.

use super::{Came, False, MISSING, NOTHING, OVERFLOWS, True, both_ways, hold, with_fields};

const FACTS: &[(&str, &str, Came)] = &[
    ("conditional/true_case", "(true ? 1 : 2) == 1", True),
    ("conditional/true_case", "(true ? 1 : 2) == 2", False),
    ("conditional/false_case", "(false ? 1 : 2) == 2", True),
    ("conditional/false_case", "(false ? 1 : 2) == 1", False),
    ("conditional", "true ? true : false", True),
    ("conditional", "true ? false : true", False),
    ("conditional", "false ? true : false", False),
    ("conditional", "false ? false : true", True),
    ("AND/all_true", "true && true", True),
    ("AND/all_false", "false && false", False),
    ("AND/false_left", "false && true", False),
    ("AND/false_right", "true && false", False),
    ("OR/all_true", "true || true", True),
    ("OR/all_false", "false || false", False),
    ("OR/false_left", "false || true", True),
    ("OR/false_right", "true || false", True),
    ("NOT/not_true", "!true", False),
    ("NOT/not_false", "!false", True),
];

/// With `E` for an error.
enum Error {
    Is(Came),
    /// What E is.
    Passes,
}

use Error::{Is, Passes};

const ERRORS: &[(&str, &str, Error)] = &[
    ("conditional/error_case", "(E ? 1 : 2) == 1", Passes),
    ("conditional/error_case", "(E ? 1 : 2) != 1", Passes),
    ("conditional/error_case", "E ? true : false", Passes),
    ("conditional/error_case", "E ? true : true", Passes),
    ("conditional, not chosen", "true ? true : E", Is(True)),
    ("conditional, not chosen", "true ? false : E", Is(False)),
    ("conditional, not chosen", "false ? E : true", Is(True)),
    ("conditional, not chosen", "false ? E : false", Is(False)),
    ("conditional, chosen", "true ? E : true", Passes),
    ("conditional, chosen", "false ? true : E", Passes),
    ("AND/short_circuit_error_left", "false && (E ? false : true)", Is(False)),
    ("AND/short_circuit_error_right", "(E ? false : true) && false", Is(False)),
    ("AND/error_right", "true && E", Passes),
    ("AND/error_left", "E && true", Passes),
    ("AND, both", "E && E", Passes),
    ("AND, three", "E && true && false", Is(False)),
    ("AND, three", "E && false && true", Is(False)),
    ("AND, three", "true && E && true", Passes),
    ("OR/short_circuit_error_left", "true || (E ? false : true)", Is(True)),
    ("OR/short_circuit_error_right", "(E ? false : true) || true", Is(True)),
    ("OR/error_right", "false || E", Passes),
    ("OR/error_left", "E || false", Passes),
    ("OR, both", "E || E", Passes),
    ("OR, three", "E || false || true", Is(True)),
    ("OR, three", "E || true || false", Is(True)),
    ("OR, three", "false || E || false", Passes),
    ("NOT, of an error", "!(E)", Passes),
    ("NOT, of an error", "!(E) && false", Is(False)),
    ("NOT, of an error", "!(E) || true", Is(True)),
    ("AND in OR", "E && false || true", Is(True)),
    ("AND in OR", "E && false || false", Is(False)),
    ("AND in OR", "E && true || true", Is(True)),
    ("AND in OR", "E && true || false", Passes),
    ("OR in AND", "(E || true) && true", Is(True)),
    ("OR in AND", "(E || false) && false", Is(False)),
    ("OR in AND", "(E || false) && true", Passes),
    ("equality takes in nothing", "(E) == true", Passes),
    ("equality takes in nothing", "false != (E)", Passes),
];

#[test]
fn choices_and_or_not() {
    hold(both_ways(FACTS));
}

#[test]
fn errors_count_where_nothing_settles_it_without_them() {
    let errors = [
        ("tx.minute_of_day > 3", MISSING),
        ("payee.allowed", MISSING),
        ("tx.hour * 9223372036854775807 > 3", OVERFLOWS),
    ];
    let facts = ERRORS.iter().flat_map(|(_, condition, came)| {
        errors.clone().into_iter().flat_map(move |(error, passed)| {
            let came = match came {
                Is(came) => came.clone(),
                Passes => passed,
            };
            let of = |condition: &str| (condition.replace('E', error), NOTHING, came.clone());
            [of(condition), of(&with_fields(condition))]
        })
    });
    hold(facts);
}
