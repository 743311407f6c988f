//! `string`, and of `comparisons` and `lists` what is about texts, words and truths.

use super::{Bound, Came, False, NOTHING, True, both_ways, hold};

/// The text in the field, what is asked of it, and the answer.
const FACTS: &[(&str, &str, &str, bool)] = &[
    ("starts_with/basic_true", "foobar", "T.startsWith('foo')", true),
    ("starts_with/basic_false", "foobar", "T.startsWith('bar')", false),
    ("starts_with/empty_target", "", "T.startsWith('foo')", false),
    ("starts_with, whole", "foobar", "T.startsWith('foobar')", true),
    ("starts_with, longer", "foobar", "T.startsWith('foobars')", false),
    ("starts_with, case", "foobar", "T.startsWith('Foo')", false),
    ("starts_with, first", "foobar", "T.startsWith('f')", true),
    ("starts_with, longest", "12345678", "T.startsWith('12345678')", true),
    ("starts_with, longest", "12345678", "T.startsWith('12345679')", false),
    ("ends_with/basic_true", "foobar", "T.endsWith('bar')", true),
    ("ends_with/basic_false", "foobar", "T.endsWith('foo')", false),
    ("ends_with/empty_target", "", "T.endsWith('foo')", false),
    ("ends_with, whole", "foobar", "T.endsWith('foobar')", true),
    ("ends_with, longer", "foobar", "T.endsWith('afoobar')", false),
    ("ends_with, case", "foobar", "T.endsWith('Bar')", false),
    ("ends_with, last", "foobar", "T.endsWith('r')", true),
    ("ends_with, longest", "12345678", "T.endsWith('12345678')", true),
    ("ends_with, longest", "12345678", "T.endsWith('02345678')", false),
    ("eq_literal, same", "a", "T == 'a'", true),
    ("not_eq_string", "a", "T == 'b'", false),
    ("not_eq_string_case", "abc", "T == 'ABC'", false),
    ("eq, a beginning", "abc", "T == 'ab'", false),
    ("eq, longer", "abc", "T == 'abcd'", false),
    ("eq, to nothing", "", "T == 'a'", false),
    ("ne_string", "", "T != 'abc'", true),
    ("not_ne_string", "abc", "T != 'abc'", false),
    ("ne, a beginning", "abc", "T != 'ab'", true),
    ("eq, turned around", "abc", "'abc' == T", true),
    ("ne, turned around", "abc", "'abc' != T", false),
    ("eq, digits", "00000001", "T == '1'", false),
    ("eq, space", "a b", "T == 'a b'", true),
    ("eq, space", "a", "T == 'a '", false),
    ("in/first", "alpha", "T in ['alpha', 'beta', 'gamma']", true),
    ("in, middle", "beta", "T in ['alpha', 'beta', 'gamma']", true),
    ("in, last", "gamma", "T in ['alpha', 'beta', 'gamma']", true),
    ("in/missing", "hawaii", "T in ['meat', 'veggie', 'cheese']", false),
    ("in, a beginning", "alp", "T in ['alpha', 'beta', 'gamma']", false),
    ("in_list_literal/elem_in_list", "elem", "T in ['elem', 'elemA', 'elemB']", true),
    ("in_list_literal/elem_not_in_list", "not", "T in ['elem1', 'elem2', 'elem3']", false),
];

const TRUTHS: &[(&str, &str, Came)] = &[
    ("eq_bool", "true == true", True),
    ("not_eq_bool", "false == true", False),
    ("eq, both false", "false == false", True),
    ("ne_bool", "false != true", True),
    ("not_ne_bool", "true != true", False),
];

/// Of words, which stand in fields.
const WORDS: &[(&str, &str, Came)] = &[
    ("eq_literal", "tx.rail == 'pix'", True),
    ("not_eq_string", "tx.rail == 'ted'", False),
    ("ne_string", "tx.rail != 'ted'", True),
    ("not_ne_string", "tx.rail != 'pix'", False),
    ("in/first", "tx.rail in ['pix', 'ted']", True),
    ("in, last", "tx.rail in ['ted', 'boleto', 'pix']", True),
    ("in/missing", "tx.rail in ['ted', 'boleto']", False),
    ("fields", "payer.kind == payee.kind", False),
    ("fields", "payer.kind != payee.kind", True),
    ("fields", "tx.weekday == tx.weekday", True),
];

#[test]
fn texts() {
    hold(FACTS.iter().flat_map(|&(_, text, asked, truth)| {
        let bound = Bound { text, ..NOTHING };
        let asked = asked.replace('T', "tx.payer_ispb");
        [
            (format!("has(tx.payer_ispb) && {asked}"), bound, truth.into()),
            (format!("!has(tx.payer_ispb) || !({asked})"), bound, (!truth).into()),
            (format!("has(tx.payer_ispb) ? {asked} : true"), bound, truth.into()),
        ]
    }));
}

#[test]
fn truths_are_compared() {
    hold(both_ways(TRUTHS));
}

#[test]
fn words() {
    hold(WORDS.iter().map(|(_, text, came)| ((*text).to_owned(), NOTHING, came.clone())));
}
