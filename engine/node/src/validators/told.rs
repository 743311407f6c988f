//! What the node's own log says of validators.

use catraca_core::validate::{BreakerChange, BreakerState};

/// A validator's breaker has changed.
pub(super) fn breaker(validator: &str, last_error: Option<&str>, change: BreakerChange) {
    match change.now {
        BreakerState::Open => {
            let open_ms = change.open_ns / 1_000_000;
            let why = last_error.unwrap_or("too slow");
            tracing::warn!(
                validator,
                open_ms,
                why,
                "a validator fails and is left alone for a while; its payments are decided without an answer"
            );
        }
        now => {
            tracing::info!(
                validator,
                before = change.before.name(),
                now = now.name(),
                "the breaker of a validator has changed"
            );
        }
    }
}

/// The breaker of the cache that nodes share has changed, as one validator sees it.
pub(super) fn shared(
    validator: &str,
    redis: &str,
    last_error: Option<&str>,
    change: BreakerChange,
) {
    match change.now {
        BreakerState::Open => {
            let open_ms = change.open_ns / 1_000_000;
            let why = last_error.unwrap_or("no answer in time");
            tracing::warn!(
                validator,
                redis,
                open_ms,
                why,
                "the shared cache fails and is left alone for a while; the service is asked without it"
            );
        }
        BreakerState::Closed => {
            tracing::info!(validator, redis, "the shared cache works again");
        }
        // That it is tried is no news.
        BreakerState::HalfOpen | BreakerState::ForcedOpen | BreakerState::ForcedClosed => {}
    }
}
