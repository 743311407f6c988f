//! Whatever comes, in whatever order: asked step by step beside a naive book of what was promised.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// A question for one of a few keys, with so long to wait.
    Ask { key: u128, wait_ms: u64 },
    /// One of the attempts under way comes to this.
    Came { which: prop::sample::Index, outcome: Outcome },
    /// One that was never started, or is over, comes to this.
    Stray { number: u64, outcome: Outcome },
    /// One of the looks into the shared cache comes to this.
    Looked { which: prop::sample::Index, looked: Looked },
    /// Time passes; the driver wakes when it is to.
    On { ns: u64 },
    /// Time passes, and the driver sleeps until it wakes for no reason.
    Jump { ns: u64 },
    /// Time passes, and the driver sleeps until something else comes.
    Sleep { ns: u64 },
    /// A cache in front has a hot answer.
    KeepWarm { key: u128 },
    /// The clock shows an earlier time.
    Back { ns: u64 },
    /// A person says something.
    Force(Option<Forced>),
}

fn some_outcome() -> impl Strategy<Value = Outcome> {
    let after = prop::option::weighted(0.2, 0..3 * S);
    prop_oneof![
        3 => prop::sample::select(vec![1, 2, 404]).prop_map(Outcome::Answer),
        3 => after.prop_map(|retry_after_ns| Outcome::Retryable { retry_after_ns }),
        1 => Just(Outcome::Final),
    ]
}

fn some_looked() -> impl Strategy<Value = Looked> {
    let found = (prop::sample::select(vec![1, 2, 404]), 0..3 * S, 0..4 * S, 0..12 * S);
    prop_oneof![
        3 => found.prop_map(|(answer, age_ns, good_for_ns, stale_for_ns)| {
            Looked::Found(SharedAnswer { answer, age_ns, good_for_ns, stale_for_ns })
        }),
        3 => Just(Looked::Nothing),
        2 => Just(Looked::Failed),
    ]
}

fn some_steps() -> impl Strategy<Value = Vec<Step>> {
    let forced = prop::sample::select(vec![None, Some(Forced::Open), Some(Forced::Closed)]);
    let step = prop_oneof![
        12 => (0..6u128, 0..1_000u64).prop_map(|(key, wait_ms)| Step::Ask { key, wait_ms }),
        12 => (any::<prop::sample::Index>(), some_outcome())
            .prop_map(|(which, outcome)| Step::Came { which, outcome }),
        8 => (any::<prop::sample::Index>(), some_looked())
            .prop_map(|(which, looked)| Step::Looked { which, looked }),
        1 => (0..60u64, some_outcome())
            .prop_map(|(number, outcome)| Step::Stray { number, outcome }),
        8 => (0..120 * MS).prop_map(|ns| Step::On { ns }),
        2 => (0..20 * S).prop_map(|ns| Step::On { ns }),
        1 => prop_oneof![0..2 * S, 0..u64::MAX / 4].prop_map(|ns| Step::Jump { ns }),
        3 => (0..S).prop_map(|ns| Step::Sleep { ns }),
        2 => (0..6u128).prop_map(|key| Step::KeepWarm { key }),
        1 => (0..S).prop_map(|ns| Step::Back { ns }),
        1 => forced.prop_map(Step::Force),
    ];
    prop::collection::vec(step, 1..250)
}

prop_compose! {
    fn some_settings()(
        attempts in 1..4u8,
        (timeout_ms, wait_ms) in (50..400u16, 400..900u16),
        (good_s, negative_s, stale_s, error_ms) in (0..3u32, 0..3u32, 0..10u32, 0..300u32),
        (in_flight, queue) in (1..4u16, 0..4u16),
        (per_second, burst, negative_cost) in (0..30u32, 1..5u32, 1..30u32),
        (failures_percent, least_attempts, probes) in (1..=100u8, 1..8u16, 1..=3u8),
        open_ms in 10..3_000u32,
        shared in prop::option::of(1..10u16),
    ) -> Settings {
        Settings {
            timeout_ms,
            attempts,
            wait_ms,
            negative: vec![404],
            cache: Caching { good_s, negative_s, stale_s, error_ms },
            limits: Limits { in_flight, queue, per_second, burst, negative_cost },
            breaker: BreakerSettings {
                failures_percent,
                least_attempts,
                window_s: 5,
                slow_ms: timeout_ms / 2,
                open_ms,
                most_open_ms: 4 * open_ms,
                probes,
            },
            shared: shared.map(|timeout_ms| SharedSettings { timeout_ms }),
        }
    }
}

/// A question that was asked, as the book has it.
#[derive(Debug)]
struct Asked {
    key: u128,
    asked_ns: u64,
    deadline_ns: u64,
    /// Attempts of its key that were under way since.
    attempts: u32,
}

/// What was promised, and what was kept.
struct Book {
    settings: Settings,
    asker: Asker,
    /// As the machine knows it: never back.
    now_ns: u64,
    /// When it was last called before.
    before_ns: u64,
    open: BTreeMap<u64, Asked>,
    /// Attempts under way, with their keys and ends.
    under_way: BTreeMap<AttemptId, (u128, u64)>,
    /// Looks under way, with their keys and ends, also of those that nobody waits for any more.
    looks: BTreeMap<LookId, (u128, u64)>,
    shared_state: BreakerState,
    attempts_ever: u64,
    firsts: u64,
    retries: u64,
    probes: u32,
    state: BreakerState,
    /// A question that waits for no reply.
    warm: Option<(u64, u128)>,
    /// Answers by keys, with the time until which each may be told, stale.
    answers: BTreeMap<u128, Vec<(i64, u64)>>,
    tokens: u64,
}

impl Book {
    fn new(settings: Settings, seed: u64) -> Self {
        Self {
            asker: Asker::new(settings.clone(), seed),
            settings,
            now_ns: 0,
            before_ns: 0,
            open: BTreeMap::new(),
            under_way: BTreeMap::new(),
            looks: BTreeMap::new(),
            shared_state: BreakerState::Closed,
            attempts_ever: 0,
            firsts: 0,
            retries: 0,
            probes: 0,
            state: BreakerState::Closed,
            warm: None,
            answers: BTreeMap::new(),
            tokens: 0,
        }
    }

    fn do_step(&mut self, step: Step) {
        match step {
            Step::Ask { key, wait_ms } => {
                self.tokens += 1;
                let token = self.tokens;
                let deadline_ns = self.now_ns.saturating_add(wait_ms * MS);
                let under_way = self.under_way.values().filter(|(of, _)| *of == key).count() as u32;
                let longest_ns = u64::from(self.settings.wait_ms) * MS;
                let asked = Asked {
                    key,
                    asked_ns: self.now_ns,
                    deadline_ns: deadline_ns.min(self.now_ns.saturating_add(longest_ns)),
                    attempts: under_way,
                };
                self.open.insert(token, asked);
                let question = Question { key, deadline_ns, token };
                self.call(|asker, now_ns, effects| asker.ask(question, now_ns, effects));
            }
            Step::Came { which, outcome } => {
                if !self.under_way.is_empty() {
                    let attempts: Vec<_> = self.under_way.keys().copied().collect();
                    self.came(attempts[which.index(attempts.len())], outcome);
                }
            }
            Step::Looked { which, looked } => {
                if !self.looks.is_empty() {
                    let looks: Vec<_> = self.looks.keys().copied().collect();
                    self.looked(looks[which.index(looks.len())], looked);
                }
            }
            Step::Stray { number, outcome } => {
                if !self.under_way.contains_key(&AttemptId(number)) {
                    self.came(AttemptId(number), outcome);
                    self.looked(LookId(1_000_000 + number), Looked::Failed);
                }
            }
            Step::On { ns } => {
                // It may have slept.
                self.tick();
                let until_ns = self.now_ns.saturating_add(ns);
                while let Some(at_ns) = self.asker.next_wake_ns().filter(|at| *at <= until_ns) {
                    assert!(at_ns > self.now_ns || at_ns == u64::MAX, "it wakes for something");
                    self.now_ns = at_ns;
                    self.tick();
                    // At the end of time it wakes for ever.
                    if at_ns == u64::MAX {
                        break;
                    }
                }
                self.now_ns = until_ns;
                self.tick();
            }
            Step::Jump { ns } => {
                self.now_ns = self.now_ns.saturating_add(ns);
                self.tick();
            }
            Step::Sleep { ns } => self.now_ns = self.now_ns.saturating_add(ns),
            Step::KeepWarm { key } => {
                self.tokens += 1;
                let token = self.tokens;
                self.warm = Some((token, key));
                let mut newer = None;
                self.call(|asker, now_ns, effects| {
                    newer = asker.keep_warm(key, token, now_ns, effects);
                });
                self.warm = None;
                if let Some(found) = newer {
                    let mut known = self.answers[&key].iter().rev();
                    assert!(found.good_for_ns > 0);
                    assert!(known.any(|(of, until)| *of == found.answer && *until > self.now_ns));
                }
            }
            Step::Back { ns } => {
                let earlier_ns = self.now_ns.saturating_sub(ns);
                self.tick();
                self.call(|asker, _, effects| asker.tick(earlier_ns, effects));
            }
            Step::Force(forced) => {
                self.call(|asker, now_ns, effects| asker.force(forced, now_ns, effects));
            }
        }
    }

    fn tick(&mut self) {
        self.call(Asker::tick);
    }

    fn came(&mut self, attempt: AttemptId, outcome: Outcome) {
        if let (Some((key, _)), Outcome::Answer(answer)) =
            (self.under_way.remove(&attempt), outcome)
        {
            let cache = &self.settings.cache;
            let good_s = if answer == 404 { cache.negative_s } else { cache.good_s };
            let kept_ns = u64::from(good_s + cache.stale_s) * S;
            // Of this moment at least.
            let until_ns = self.now_ns.saturating_add(kept_ns.max(1));
            self.answers.entry(key).or_default().push((answer, until_ns));
        }
        self.call(|asker, now_ns, effects| asker.came(attempt, outcome, now_ns, effects));
    }

    fn looked(&mut self, look: LookId, looked: Looked) {
        if let (Some((key, _)), Looked::Found(shared)) = (self.looks.remove(&look), looked) {
            let cache = &self.settings.cache;
            let good_s = if shared.answer == 404 { cache.negative_s } else { cache.good_s };
            let own_ns = u64::from(good_s + cache.stale_s) * S;
            let kept_ns = (shared.good_for_ns + shared.stale_for_ns)
                .min(own_ns.saturating_sub(shared.age_ns));
            let until_ns = self.now_ns.saturating_add(kept_ns);
            self.answers.entry(key).or_default().push((shared.answer, until_ns));
        }
        self.call(|asker, now_ns, effects| asker.looked(look, looked, now_ns, effects));
    }

    fn call(&mut self, what: impl FnOnce(&mut Asker, u64, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        what(&mut self.asker, self.now_ns, &mut effects);
        let mut told = BTreeSet::new();
        for effect in effects {
            match effect {
                Effect::Attempt { attempt, key, token, timeout_ns } => {
                    self.started(attempt, key, token, timeout_ns, &told);
                }
                Effect::Cancel { attempt } => {
                    let (_, over_ns) = self.under_way.remove(&attempt).expect("it was under way");
                    assert!(over_ns <= self.now_ns, "it is cancelled when its time is over");
                }
                Effect::Reply(reply) => {
                    told.insert(reply.token);
                    self.replied(reply);
                }
                Effect::Look { look, key, timeout_ns } => {
                    let shared = self.settings.shared.expect("there is one to look into");
                    assert_eq!(timeout_ns, u64::from(shared.timeout_ms) * MS);
                    assert!(
                        self.looks.values().all(|(of, over)| *of != key || *over <= self.now_ns)
                            || self.open.values().filter(|asked| asked.key == key).count() == 1
                    );
                    assert!(self.under_way.values().all(|(of, _)| *of != key));
                    assert_ne!(self.shared_state, BreakerState::Open);
                    let over_ns = self.now_ns.saturating_add(timeout_ns);
                    self.looks.insert(look, (key, over_ns));
                }
                Effect::ToldShared(change) => {
                    assert_eq!(change.before, self.shared_state, "no change is left out");
                    self.shared_state = change.now;
                }
                Effect::Fill { key, answer, good_for_ns, stale_for_ns, is_shared } => {
                    assert!(!is_shared || self.settings.shared.is_some());
                    let last = self.answers[&key].last().expect("it has come");
                    let until_ns = self.now_ns.saturating_add(good_for_ns + stale_for_ns);
                    assert!(answer == last.0 && until_ns <= last.1);
                }
                Effect::Told(change) => {
                    assert_eq!(change.before, self.state, "no change is left out");
                    self.state = change.now;
                    self.probes = 0;
                }
            }
        }
        let now_ns = self.now_ns;
        self.looks.retain(|_, (_, over_ns)| *over_ns > now_ns);
        self.check();
        self.before_ns = self.now_ns;
    }

    fn started(
        &mut self,
        attempt: AttemptId,
        key: u128,
        token: u64,
        timeout_ns: u64,
        told: &BTreeSet<u64>,
    ) {
        assert_eq!(timeout_ns, u64::from(self.settings.timeout_ms) * MS);
        let has_data = self.open.get(&token).is_some_and(|asked| asked.key == key);
        assert!(has_data || self.warm == Some((token, key)), "{token} has its data");
        assert!(!told.contains(&token));
        let is_alone = self.under_way.values().all(|(of, _)| *of != key);
        assert!(is_alone, "one attempt for a key at a time");
        assert!(!matches!(self.state, BreakerState::Open | BreakerState::ForcedOpen));
        self.under_way.insert(attempt, (key, self.now_ns.saturating_add(timeout_ns)));
        assert!(self.under_way.len() <= usize::from(self.settings.limits.in_flight));
        self.probes += 1;
        if self.state == BreakerState::HalfOpen {
            assert!(self.probes <= u32::from(self.settings.breaker.probes), "probes in all");
        }
        self.attempts_ever += 1;
        for asked in self.open.values_mut().filter(|asked| asked.key == key) {
            asked.attempts += 1;
        }
        let Limits { per_second, burst, .. } = self.settings.limits;
        if per_second > 0 {
            let came = u128::from(self.now_ns) * u128::from(per_second) / u128::from(S);
            assert!(u128::from(self.attempts_ever) <= came + u128::from(burst), "tokens");
        }
        let retries = self.asker.status(self.now_ns).counters.retries;
        (self.retries, self.firsts) = (retries, self.attempts_ever - retries);
    }

    fn replied(&mut self, reply: Reply) {
        let asked = self.open.remove(&reply.token).expect("each question is replied to once");
        assert!(u32::from(reply.attempts) <= asked.attempts);
        assert!(reply.attempts <= self.settings.attempts);
        // At the deadline, or at the first call behind it; and then for no other reason.
        let is_late = asked.deadline_ns <= self.now_ns;
        assert!(!is_late || asked.deadline_ns > self.before_ns || asked.asked_ns == self.now_ns);
        assert!(
            u64::from(reply.waited_us)
                == ((self.now_ns - asked.asked_ns) / 1_000).min(u32::MAX.into())
        );
        match (reply.answer, reply.source) {
            (Ok(answer), source) => {
                let known = self.answers.get(&asked.key).into_iter().flatten();
                let is_known =
                    known.rev().any(|(of, until_ns)| *of == answer && *until_ns > self.now_ns);
                assert!(is_known, "{answer} was an answer of this key, and not too long ago");
                let has_just_come = matches!(source, Source::Asked | Source::Joined);
                assert!(!is_late || !has_just_come);
                assert!(!has_just_come || (reply.age_ms == 0 && reply.attempts >= 1));
                assert_eq!(reply.good_for_ns == 0 && !has_just_come, source == Source::Stale);
                assert!(source != Source::Shared || self.settings.shared.is_some());
            }
            (Err(why), source) => {
                assert!(source != Source::Stale);
                if is_late {
                    assert!(matches!(why, Why::Deadline | Why::RateLimited), "{why:?}");
                }
                if source == Source::Cache {
                    assert!(matches!(why, Why::Failed | Why::Timeout), "{why:?}");
                }
            }
        }
    }

    fn check(&self) {
        for asked in self.open.values() {
            assert!(asked.deadline_ns > self.now_ns, "any call ends all whose time is over");
        }
        let status = self.asker.status(self.now_ns);
        assert_eq!(status.in_flight, self.under_way.len());
        assert_eq!(status.waiting, self.open.len());
        assert_eq!(status.breaker, self.state);
        if let Some(shared) = &status.shared {
            assert_eq!(shared.looking, self.looks.len());
            assert_eq!(shared.breaker, self.shared_state);
        }
        assert!(status.queued <= usize::from(self.settings.limits.queue));
        assert!(status.queued + status.retrying <= status.waiting);
        assert!(status.cached <= 6 && status.errors <= 6);
        let spare = 1 + self.now_ns / (10 * S);
        assert!(self.retries <= self.firsts / 5 + spare, "the budget of retries");
        let counters = status.counters;
        let replied: u64 = counters.answered.iter().chain(&counters.unanswered).sum();
        assert_eq!(replied + self.open.len() as u64, counters.questions);
        assert_eq!(counters.attempts, self.attempts_ever);
        let over = counters.answers + counters.failures + counters.timeouts;
        assert_eq!(over + status.in_flight as u64, counters.attempts);
    }

    fn end(mut self) {
        let waiting: Vec<_> = self.open.keys().copied().collect();
        let mut effects = Vec::new();
        self.asker.stop(&mut effects);
        let stopped = effects.iter().filter_map(|effect| match effect {
            Effect::Reply(reply) => {
                assert_eq!(reply.answer, Err(Why::Stopped));
                Some(reply.token)
            }
            _ => None,
        });
        assert_eq!(stopped.collect::<BTreeSet<_>>(), waiting.into_iter().collect());
        assert_eq!(self.asker.next_wake_ns(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_what_is_promised_is_kept(
        (settings, seed) in (some_settings(), any::<u64>()),
        steps in some_steps(),
    ) {
        let mut book = Book::new(settings, seed);
        for step in steps {
            book.do_step(step);
        }
        book.end();
    }

    /// Two of one seed say the same, so that a simulation is repeated by its seed.
    #[test]
    fn the_same_happens_again(
        (settings, seed) in (some_settings(), any::<u64>()),
        steps in prop::collection::vec((0..6u128, 0..90u64, some_outcome()), 1..60),
    ) {
        let run = || {
            let (mut asker, mut all) = (Asker::new(settings.clone(), seed), Vec::new());
            let mut now_ns = 0;
            for (token, (key, on_ms, outcome)) in steps.iter().enumerate() {
                now_ns += on_ms * MS;
                let (mut effects, token) = (Vec::new(), token as u64);
                let question = Question { key: *key, deadline_ns: now_ns + S, token };
                asker.ask(question, now_ns, &mut effects);
                for effect in effects.clone() {
                    if let Effect::Attempt { attempt, .. } = effect {
                        asker.came(attempt, *outcome, now_ns, &mut effects);
                    }
                }
                all.extend(effects);
            }
            all
        };
        prop_assert_eq!(run(), run());
    }
}
