//! The machine, asked step by step.

use super::*;

mod answers;
mod flights;
mod limits;
mod random;
mod shared;
mod trouble;

pub(super) const MS: u64 = 1_000_000;
pub(super) const S: u64 = 1_000 * MS;

/// Settings of which a test changes what it is about: nothing is kept, and nothing held back.
pub(super) fn settings() -> Settings {
    Settings {
        timeout_ms: 300,
        attempts: 2,
        wait_ms: 800,
        negative: vec![404],
        cache: Caching { good_s: 0, negative_s: 0, stale_s: 0, error_ms: 0 },
        limits: Limits { in_flight: 4, queue: 4, per_second: 0, burst: 1, negative_cost: 1 },
        breaker: BreakerSettings {
            failures_percent: 50,
            least_attempts: 10,
            window_s: 30,
            slow_ms: 300,
            open_ms: 1_000,
            most_open_ms: 8_000,
            probes: 1,
        },
        shared: None,
    }
}

pub(super) const RETRYABLE: Outcome = Outcome::Retryable { retry_after_ns: None };

/// An asker, and what it has said since it was last listened to.
struct Desk {
    asker: Asker,
    now_ns: u64,
    effects: Vec<Effect>,
    tokens: u64,
}

impl Desk {
    fn new(settings: Settings) -> Self {
        let asker = Asker::new(settings, 7);
        Self { asker, now_ns: S, effects: Vec::new(), tokens: 0 }
    }

    /// Lets time pass, as its driver would.
    fn on(&mut self, ns: u64) {
        let until_ns = self.now_ns + ns;
        while let Some(wake_ns) = self.asker.next_wake_ns().filter(|wake_ns| *wake_ns <= until_ns) {
            assert!(wake_ns > self.now_ns, "it wakes for something");
            self.now_ns = wake_ns;
            self.asker.tick(wake_ns, &mut self.effects);
        }
        self.now_ns = until_ns;
    }

    /// Asks, and says by which token.
    fn ask_for(&mut self, key: u128, wait_ms: u64) -> u64 {
        self.tokens += 1;
        let deadline_ns = self.now_ns + wait_ms * MS;
        let question = Question { key, deadline_ns, token: self.tokens };
        self.asker.ask(question, self.now_ns, &mut self.effects);
        self.tokens
    }

    fn ask(&mut self, key: u128) -> u64 {
        self.ask_for(key, 800)
    }

    fn came(&mut self, attempt: AttemptId, outcome: Outcome) {
        self.asker.came(attempt, outcome, self.now_ns, &mut self.effects);
    }

    fn looked(&mut self, look: LookId, looked: Looked) {
        self.asker.looked(look, looked, self.now_ns, &mut self.effects);
    }

    fn force(&mut self, forced: Option<Forced>) {
        self.asker.force(forced, self.now_ns, &mut self.effects);
    }

    /// All that it has said.
    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The attempts that it has started; whatever else it has said is let go.
    fn attempts(&mut self) -> Vec<AttemptId> {
        let started = |effect| match effect {
            Effect::Attempt { attempt, .. } => Some(attempt),
            _ => None,
        };
        self.effects().into_iter().filter_map(started).collect()
    }

    /// The one attempt that it has started.
    fn attempt(&mut self) -> AttemptId {
        let attempts = self.attempts();
        assert_eq!(attempts.len(), 1, "one attempt");
        attempts[0]
    }

    /// The looks into the shared cache that it has begun; whatever else it has said is let go.
    fn looks(&mut self) -> Vec<LookId> {
        let begun = |effect| match effect {
            Effect::Look { look, .. } => Some(look),
            _ => None,
        };
        self.effects().into_iter().filter_map(begun).collect()
    }

    /// The replies that it has given; whatever else it has said is let go.
    fn replies(&mut self) -> Vec<Reply> {
        let reply = |effect| match effect {
            Effect::Reply(reply) => Some(reply),
            _ => None,
        };
        self.effects().into_iter().filter_map(reply).collect()
    }

    /// The one reply that it has given.
    fn reply(&mut self) -> Reply {
        let replies = self.replies();
        assert_eq!(replies.len(), 1, "one reply: {replies:?}");
        replies[0]
    }

    /// What came of each, by its token.
    fn outcomes(&mut self) -> Vec<(u64, Result<i64, Why>, Source)> {
        let replies = self.replies().into_iter();
        let mut all: Vec<_> =
            replies.map(|reply| (reply.token, reply.answer, reply.source)).collect();
        all.sort_unstable_by_key(|(token, ..)| *token);
        all
    }

    /// Asks, and has the attempt come to this after so long.
    fn asked_and_came(&mut self, key: u128, outcome: Outcome, after_ns: u64) -> Vec<Reply> {
        self.ask(key);
        let attempt = self.attempt();
        self.on(after_ns);
        self.came(attempt, outcome);
        self.replies()
    }

    fn status(&self) -> Status {
        self.asker.status(self.now_ns)
    }
}
