//! How one validator is asked: what holds back, joins, repeats and remembers questions. Time, chance's seed and
//! what attempts come to are handed in; what is to be done is given out. One [`Asker`] for each validator, beside
//! the data cores.
//!
//! ```text
//! ask ──► a good answer is kept? ─ yes ──────────────────────► Reply
//!           │ no
//!         Look ─ the cache that nodes share has a good one ──► Reply
//!           │ it has none, is too slow, fails, is left alone
//!         breaker ─ open, or its probes are under way ───────► Reply: stale, or why not
//!           │
//!         its key has a flight? ─ yes ─► joins it
//!           │ no
//!         there was no answer a moment ago? ─ yes ───────────► Reply: stale, or why not
//!           │ no
//!         fits before the deadline? ─ no ────────────────────► Reply: stale, or why not
//!           │ yes
//!         place and token? ─ no ─► queue ─ full, or too late ► Reply: stale, or why not
//!           │ yes                    │ its turn
//!           ▼                        │
//!         Attempt ◄──────────────────┤
//!           │ came                   │ back-off is over
//!           ├─ answer ─► Fill ───────┼───────────────────────► Reply to all of the flight
//!           └─ failed ─► fits, and the budget has one? ─ no ─► Reply: stale, or why not
//! ```
//!
//! - A *flight* is all that wait for one key, with at most one attempt under way. It goes on while anybody waits,
//!   whoever began it; each leaves it by an answer, by its own deadline or after its own number of attempts.
//! - An attempt that nobody waits for any more goes on until its time is over: its answer fills the cache. So what
//!   the breaker counts is the service's doing alone, and never that somebody lost patience.
//! - An attempt starts if the time that nearly all take of late still fits before the last deadline.
//! - Retries are at most a fifth of first attempts, apart from one now and then. `Retry-After` holds for all keys.
//! - The breaker refuses at once, whatever is under way. Opening, it also ends what waits in the queue or to be
//!   retried. Half-open, the first questions are the probes; the others are refused.
//! - The cache that nodes share is looked into before the breaker has its say, as it may know what the service does not
//!   tell now. It has a breaker of its own, and decides nothing: an answer of it is good no longer than one that came
//!   here, a look takes no time that an attempt would need, and without it all goes on.
//! - Whatever the reason that there is no answer: a stale one is taken instead, if there is one.
//! - Each question has one reply, at its deadline at the latest if [`Asker::tick`] is called when
//!   [`Asker::next_wake_ns`] says.
//! - All that it holds is bounded, and one call does no more than end what waits.

mod asker;
mod breaker;
mod cache;
mod chance;
mod flight;
mod kept;
mod latency;
mod messages;
mod rate;
mod settings;
mod shared;
#[cfg(test)]
mod tests;

pub use asker::{Asker, MAX_WAITING};
pub use cache::{HOT_HITS, MAX_ANSWERS, MAX_ERRORS, REFRESH_PERCENT};
pub use messages::{
    AttemptId, BreakerChange, BreakerState, Counters, Effect, Forced, Found, LookId, Looked,
    Outcome, Question, Reply, SharedAnswer, SharedCounters, SharedStatus, Source, Status, Why,
};
pub use settings::{BreakerSettings, Caching, Limits, Settings, SharedSettings};
pub use shared::MAX_LOOKS;
