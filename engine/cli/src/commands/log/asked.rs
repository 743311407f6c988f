//! The validators that a record says were asked, for people and programs.

use catraca_wire::extension::{AskedValidator, BreakerState, NoAnswer};

/// For programs: `1:asked:answered:attempts=1:waited_us=30100:age_ms=0:breaker=closed`, with spaces between them, in the
/// order of the policy's validators, which are counted from 1.
pub fn flat(asked: &[AskedValidator]) -> Option<String> {
    let one = |asked: &AskedValidator| {
        format!(
            "{}:{}:{}:attempts={}:waited_us={}:age_ms={}:breaker={}",
            asked.validator + 1,
            asked.source.name(),
            asked.no_answer.name(),
            asked.attempts,
            asked.waited_us,
            asked.age_ms,
            asked.breaker.name()
        )
    };
    let all: Vec<_> = asked.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

/// For people: a sentence for each.
pub fn told(asked: &[AskedValidator]) -> Vec<String> {
    let one = |asked: &AskedValidator| {
        let mut text = format!("validator {}: ", asked.validator + 1);
        match asked.no_answer {
            NoAnswer::Answered => {
                text.push_str(&format!("an answer ({})", asked.source.name()));
                if asked.age_ms > 0 {
                    text.push_str(&format!(", {} old", ms(u64::from(asked.age_ms) * 1_000)));
                }
            }
            why => text.push_str(&format!("no answer ({})", why.name())),
        }
        text.push_str(&format!(", waited {}", ms(asked.waited_us.into())));
        if asked.attempts > 0 {
            text.push_str(&format!(", {} attempts", asked.attempts));
        }
        if asked.breaker != BreakerState::Closed {
            text.push_str(&format!(", breaker {}", asked.breaker.name()));
        }
        text
    };
    asked.iter().map(one).collect()
}

/// Microseconds as milliseconds.
fn ms(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::extension::AnswerSource;

    #[test]
    fn what_was_asked_is_told() {
        let asked = AskedValidator {
            validator: 0,
            source: AnswerSource::Node,
            no_answer: NoAnswer::Answered,
            breaker: BreakerState::Closed,
            attempts: 1,
            waited_us: 30_100,
            age_ms: 2_500,
            key: [0; 16],
        };
        let none = AskedValidator {
            validator: 1,
            source: AnswerSource::Nowhere,
            no_answer: NoAnswer::BreakerOpen,
            breaker: BreakerState::Open,
            attempts: 0,
            age_ms: 0,
            ..asked
        };
        assert_eq!(
            flat(&[asked]).as_deref(),
            Some("1:node_cache:answered:attempts=1:waited_us=30100:age_ms=2500:breaker=closed")
        );
        assert_eq!(flat(&[]), None);
        assert_eq!(
            told(&[asked, none]),
            [
                "validator 1: an answer (node_cache), 2500.0 ms old, waited 30.1 ms, 1 attempts",
                "validator 2: no answer (breaker_open), waited 30.1 ms, breaker open",
            ]
        );
    }
}
