//! What came of a question, as a decision sees and records it.

use catraca_core::policy::validators::AnswerState;
use catraca_core::shard::parked::Came as CameOfShard;
use catraca_core::validate::{BreakerState, Reply, Source, Why};
use catraca_wire::extension::{AnswerSource, BreakerState as RecordedBreaker, NoAnswer};

/// As a decision sees and records it.
pub(super) fn came_of(reply: &Reply) -> CameOfShard {
    let breaker = match reply.breaker {
        BreakerState::Closed | BreakerState::ForcedClosed => RecordedBreaker::Closed,
        BreakerState::Open | BreakerState::ForcedOpen => RecordedBreaker::Open,
        BreakerState::HalfOpen => RecordedBreaker::HalfOpen,
    };
    let (answer, state, source, no_answer) = match (reply.answer, reply.source) {
        (Ok(answer), Source::Asked) => {
            (answer, AnswerState::Fresh, AnswerSource::Asked, NoAnswer::Answered)
        }
        (Ok(answer), Source::Joined) => {
            (answer, AnswerState::Fresh, AnswerSource::Joined, NoAnswer::Answered)
        }
        (Ok(answer), Source::Cache) => {
            (answer, AnswerState::Cached, AnswerSource::Node, NoAnswer::Answered)
        }
        (Ok(answer), Source::Shared) => {
            (answer, AnswerState::Cached, AnswerSource::Shared, NoAnswer::Answered)
        }
        (Ok(answer), Source::Stale) => {
            (answer, AnswerState::Stale, AnswerSource::Stale, NoAnswer::Answered)
        }
        (Err(why), _) => {
            let why = match why {
                Why::Timeout | Why::Deadline => NoAnswer::Timeout,
                Why::Failed => NoAnswer::Failed,
                Why::BreakerOpen => NoAnswer::BreakerOpen,
                Why::ForcedOpen => NoAnswer::ForcedOpen,
                Why::RateLimited => NoAnswer::RateLimited,
                Why::QueueFull => NoAnswer::QueueFull,
                Why::Stopped => NoAnswer::PolicyChanged,
            };
            (0, AnswerState::NoAnswer, AnswerSource::Nowhere, why)
        }
    };
    CameOfShard {
        answer,
        state,
        source,
        no_answer,
        breaker,
        attempts: reply.attempts,
        waited_us: reply.waited_us,
        age_ms: reply.age_ms,
    }
}
