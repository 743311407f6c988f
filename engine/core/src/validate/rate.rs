//! How often a validator is asked: tokens of attempts, and the budget of retries.

/// A token, in the unit that they are counted in: with so many tokens a second, a nanosecond brings so many of these.
const TOKEN: i64 = 1_000_000_000;
/// Of first attempts so many permille may be retried.
const RETRY_PERMILLE: u64 = 200;
/// What a retry costs, permille.
const RETRY_COST: u64 = 1_000;
/// Retries that are saved up at most: a short trouble after a long quiet is not met with a flood.
const MOST_SAVED_RETRIES: u64 = 50;
/// Beyond that, one retry in so long: a validator that is asked once a minute would have none.
const SPARE_RETRY_EVERY_NS: u64 = 10_000_000_000;

/// Tokens of attempts.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    most: i64,
    /// Tokens at `filled_ns`; below zero after negative answers.
    level: i64,
    filled_ns: u64,
    /// Until when the validator has asked to be left alone.
    paused_until_ns: u64,
}

impl Rate {
    /// So many tokens a second, 0 for no bound, of which so many are saved up, and there to begin with.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let most = i64::from(burst) * TOKEN;
        Self { per_second, most, level: most, filled_ns: 0, paused_until_ns: 0 }
    }

    /// Whether an attempt may start now.
    pub fn is_ready(&self, now_ns: u64) -> bool {
        self.ready_ns(1) <= now_ns
    }

    /// When there are tokens for so many attempts, as far as is known now. Long ago, perhaps.
    pub fn ready_ns(&self, attempts: usize) -> u64 {
        let missing = attempts as i128 * i128::from(TOKEN) - i128::from(self.level);
        if self.per_second == 0 || missing <= 0 {
            return self.paused_until_ns;
        }
        let after_ns = (missing as u128).div_ceil(u128::from(self.per_second));
        let after_ns = u64::try_from(after_ns).unwrap_or(u64::MAX);
        self.filled_ns.saturating_add(after_ns).max(self.paused_until_ns)
    }

    /// Takes the token of an attempt that starts.
    pub fn take(&mut self, now_ns: u64) {
        self.charge(1, now_ns);
    }

    /// Takes what an attempt costs afterwards.
    pub fn charge(&mut self, tokens: u32, now_ns: u64) {
        self.level = self.level_at(now_ns);
        self.filled_ns = self.filled_ns.max(now_ns);
        if self.per_second > 0 {
            self.level -= i64::from(tokens) * TOKEN;
        }
    }

    /// Starts no attempt until then.
    pub fn pause(&mut self, until_ns: u64) {
        self.paused_until_ns = self.paused_until_ns.max(until_ns);
    }

    /// Whole tokens, rounded down; `None` without bound.
    pub fn tokens(&self, now_ns: u64) -> Option<i64> {
        (self.per_second > 0).then(|| self.level_at(now_ns).div_euclid(TOKEN))
    }

    fn level_at(&self, now_ns: u64) -> i64 {
        let since_ns = now_ns.saturating_sub(self.filled_ns);
        let came = i128::from(since_ns) * i128::from(self.per_second);
        (i128::from(self.level) + came).min(i128::from(self.most)) as i64
    }
}

/// How many attempts may be retries.
#[derive(Debug, Default)]
pub(super) struct RetryBudget {
    saved: u64,
    spare_ns: u64,
}

impl RetryBudget {
    /// A first attempt starts.
    pub fn first(&mut self) {
        self.saved = (self.saved + RETRY_PERMILLE).min(MOST_SAVED_RETRIES * RETRY_COST);
    }

    /// Takes a retry out, if there is one.
    pub fn take(&mut self, now_ns: u64) -> bool {
        if self.saved >= RETRY_COST {
            self.saved -= RETRY_COST;
            return true;
        }
        let is_spare = now_ns >= self.spare_ns;
        if is_spare {
            self.spare_ns = now_ns.saturating_add(SPARE_RETRY_EVERY_NS);
        }
        is_spare
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    proptest! {
        /// Counted in exact steps of a nanosecond's worth, and never more than a bucket allows.
        #[test]
        fn attempts_keep_to_the_rate_and_the_burst(
            (per_second, burst) in (1..50u32, 1..20u32),
            steps in prop::collection::vec((0..2 * S, 1..4u32), 1..100),
        ) {
            let mut rate = Rate::new(per_second, burst);
            let (mut now_ns, mut taken) = (0, 0u64);
            for (on_ns, cost) in steps {
                now_ns += on_ns;
                let ready_ns = rate.ready_ns(1);
                prop_assert_eq!(rate.is_ready(now_ns), rate.tokens(now_ns).unwrap() >= 1);
                prop_assert!(rate.is_ready(ready_ns));
                prop_assert!(ready_ns <= now_ns || !rate.is_ready(ready_ns - 1));
                if rate.is_ready(now_ns) {
                    rate.take(now_ns);
                    taken += 1;
                    let came = now_ns * u64::from(per_second) / S;
                    prop_assert!(taken <= came + u64::from(burst));
                    rate.charge(cost - 1, now_ns);
                    taken += u64::from(cost - 1);
                }
            }
        }

        #[test]
        fn retries_are_a_fifth_of_first_attempts_and_one_in_a_while(
            steps in prop::collection::vec((0..3 * S, prop::bool::ANY), 1..200),
        ) {
            let mut budget = RetryBudget::default();
            let (mut now_ns, mut first, mut retries) = (0, 0, 0);
            for (on_ns, is_first) in steps {
                now_ns += on_ns;
                if is_first {
                    budget.first();
                    first += 1;
                } else if budget.take(now_ns) {
                    retries += 1;
                }
                prop_assert!(retries <= first / 5 + 1 + now_ns / SPARE_RETRY_EVERY_NS);
            }
        }
    }

    #[test]
    fn a_negative_answer_takes_more_than_there_is_and_is_waited_for() {
        let mut rate = Rate::new(10, 2);
        rate.take(0);
        rate.charge(19, 0);
        assert_eq!(rate.tokens(0), Some(-18));
        assert_eq!(rate.ready_ns(1), 19 * S / 10);
        assert_eq!(rate.ready_ns(2), 2 * S);
        assert!(!rate.is_ready(19 * S / 10 - 1));
        assert!(rate.is_ready(19 * S / 10));
        assert_eq!(rate.tokens(u64::MAX), Some(2), "no more than the burst is saved");
    }

    #[test]
    fn without_a_bound_only_a_pause_is_waited_for() {
        let mut rate = Rate::new(0, 1);
        rate.charge(1_000, 0);
        assert!(rate.is_ready(0) && rate.tokens(0).is_none());
        rate.pause(5 * S);
        assert!(!rate.is_ready(5 * S - 1) && rate.is_ready(5 * S));
        rate.pause(u64::MAX);
        assert_eq!(rate.ready_ns(usize::MAX), u64::MAX);
    }

    #[test]
    fn a_pause_and_tokens_are_both_waited_for() {
        let mut rate = Rate::new(10, 1);
        rate.pause(5 * S);
        assert_eq!(rate.ready_ns(1), 5 * S);
        rate.take(0);
        assert_eq!(rate.ready_ns(1), 5 * S);
        assert_eq!(rate.ready_ns(100), 10 * S);
    }

    #[test]
    fn one_question_a_minute_may_be_retried_each_time() {
        let mut budget = RetryBudget::default();
        for minute in 0..10 {
            budget.first();
            assert!(budget.take(minute * 60 * S), "minute {minute}");
        }
    }
}
