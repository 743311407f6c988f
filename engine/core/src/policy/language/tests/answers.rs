//! What validators answered, in conditions.

use super::*;
use crate::policy::language::{Asking, compile_into};
use crate::policy::validators::{AnswerState, Answered};
use catraca_wire::extension::WindowValue;

fn asking() -> Asking {
    let mut asking = Asking::default();
    let words = ["regular", "suspended"].map(str::to_owned);
    assert!(asking.declare("cpf-status", &words) && asking.declare("score", &[]));
    asking
}

/// What a condition comes to where these answer; that of the score is 700.
fn came(text: &str, status: Answered) -> Result<bool, Failure> {
    let mut asking = asking();
    let mut program = compile_into(text, &mut asking).unwrap_or_else(|fault| panic!("{fault:?}"));
    program.link(asking.asked().len(), asking.looked_up().len());
    let score = Answered { state: AnswerState::Cached, answer: Some(700) };
    let seen: Vec<WindowValue> = [status, score].iter().flat_map(|of| of.values()).collect();
    let mut rows = row();
    rows.see(&seen);
    program.run(&rows).of(0)
}

#[test]
fn answers_are_compared_with_words_and_numbers() {
    let fresh = |answer| Answered { state: AnswerState::Fresh, answer: Some(answer) };
    let suspended = "has(validator('cpf-status')) && validator('cpf-status') == \"suspended\"";
    let among = "has(validator('cpf-status')) && validator('cpf-status') in ['suspended']";
    let number = "has(validator('score')) && validator('score') > 600";
    for text in [suspended, among] {
        assert_eq!(came(text, fresh(1)), Ok(true), "{text}");
        assert_eq!(came(text, fresh(0)), Ok(false), "{text}");
        for without in [Answered::NONE, Answered::NOT_ASKED] {
            assert_eq!(came(text, without), Ok(false), "{text}");
        }
    }
    assert_eq!(came(number, Answered::NONE), Ok(true));
    let none = "no_answer(validator('cpf-status'))";
    assert_eq!(came(none, Answered::NONE), Ok(true));
    for with in [fresh(0), Answered::NOT_ASKED] {
        assert_eq!(came(none, with), Ok(false));
        assert_eq!(came(&format!("!{none}"), with), Ok(true));
    }
    assert_eq!(
        came("no_answer(validator('score')) || !has(validator('score'))", fresh(0)),
        Ok(false)
    );
}

#[test]
fn what_makes_no_sense_of_answers_is_refused() {
    for (text, message, help) in [
        ("validator('cpf-status') == 'regular'", "may lack validator(\"cpf-status\")", "has("),
        ("has(validator('cpf'))", "no validator \"cpf\"", "cpf-status, score"),
        (
            "has(validator('cpf-status')) && validator('cpf-status') == 'suspendid'",
            "never answers \"suspendid\"",
            "\"suspended\"",
        ),
        (
            "has(validator('cpf-status')) && validator('cpf-status') > 1",
            "is compared with",
            "one kind",
        ),
        (
            "has(validator('score')) && validator('score') == 'high'",
            "a text is compared with",
            "without quotes",
        ),
        ("no_answer(tx.amount)", "only a validator", "no_answer("),
        ("no_answer(payer.count('1h'))", "only a validator", "no_answer("),
        ("validator(tx.rail) == 'x'", "is no name of a validator", "validator("),
    ] {
        let fault = compile_into(text, &mut asking()).expect_err(text);
        assert!(fault.message.contains(message), "{text}: {fault:?}");
        assert!(fault.help.contains(help), "{text}: {fault:?}");
    }
}
