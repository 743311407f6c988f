//! Looks into the cache that nodes share: those under way, and when it is left alone.

use super::breaker::Breaker;
use super::chance::Chance;
use super::messages::{BreakerChange, BreakerState, LookId, Looked, SharedCounters, SharedStatus};
use super::settings::{BreakerSettings, SharedSettings};
use std::collections::{BTreeMap, BTreeSet};

const MS: u64 = 1_000_000;
/// Most looks of one validator under way: what a connection answers in a time-out of some milliseconds. Beyond that the
/// validator is asked without a look.
pub const MAX_LOOKS: usize = 1_024;

/// A look under way.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    /// Of the breaker.
    generation: u64,
    started_ns: u64,
    over_ns: u64,
    key: u128,
}

/// The cache that nodes share, as one validator sees it.
#[derive(Debug)]
pub(super) struct Shared {
    timeout_ns: u64,
    breaker: Breaker,
    looks: BTreeMap<LookId, UnderWay>,
    /// When looks are over their time.
    overs: BTreeSet<(u64, LookId)>,
    counters: SharedCounters,
}

impl Shared {
    pub fn new(settings: SharedSettings) -> Self {
        let breaker = BreakerSettings {
            // Half of them say that it is of no use: each costs a payment its time-out.
            failures_percent: 50,
            least_attempts: 10,
            window_s: 10,
            slow_ms: settings.timeout_ms,
            // It comes back by itself mostly, in a second or two; and a look that probes costs little.
            open_ms: 1_000,
            most_open_ms: 30_000,
            probes: 1,
        };
        Self {
            timeout_ns: u64::from(settings.timeout_ms) * MS,
            breaker: Breaker::new(breaker),
            looks: BTreeMap::new(),
            overs: BTreeSet::new(),
            counters: SharedCounters::default(),
        }
    }

    pub const fn timeout_ns(&self) -> u64 {
        self.timeout_ns
    }

    /// Whether a look may begin.
    pub fn may_look(&self) -> bool {
        self.breaker.refuses().is_none() && self.looks.len() < MAX_LOOKS
    }

    /// Whether answers are put into it.
    pub fn takes(&self) -> bool {
        self.breaker.is_closed()
    }

    /// A look begins.
    pub fn begin(&mut self, look: LookId, key: u128, now_ns: u64) {
        assert!(self.may_look());
        self.counters.looks += 1;
        let (generation, over_ns) = (self.breaker.start(), now_ns.saturating_add(self.timeout_ns));
        self.looks.insert(look, UnderWay { generation, started_ns: now_ns, over_ns, key });
        self.overs.insert((over_ns, look));
    }

    /// A look has come to something: of what its flight, which may have ended since, was about. `None` for one that is
    /// over, or that there never was.
    pub fn came(
        &mut self,
        look: LookId,
        looked: &Looked,
        now_ns: u64,
        chance: &mut Chance,
    ) -> Option<(u128, Option<BreakerChange>)> {
        let under_way = self.take(look)?;
        self.counters.found += u64::from(matches!(looked, Looked::Found(_)));
        self.counters.failures += u64::from(matches!(looked, Looked::Failed));
        let is_well = !matches!(looked, Looked::Failed);
        Some((under_way.key, self.count(under_way, is_well, now_ns, chance)))
    }

    /// The next look that is over its time.
    pub fn next_over(
        &mut self,
        now_ns: u64,
        chance: &mut Chance,
    ) -> Option<(LookId, u128, Option<BreakerChange>)> {
        let &(_, look) = self.overs.first().filter(|(over_ns, _)| *over_ns <= now_ns)?;
        let under_way = self.take(look).expect("it is under way");
        self.counters.timeouts += 1;
        Some((look, under_way.key, self.count(under_way, false, now_ns, chance)))
    }

    fn take(&mut self, look: LookId) -> Option<UnderWay> {
        let under_way = self.looks.remove(&look)?;
        assert!(self.overs.remove(&(under_way.over_ns, look)));
        Some(under_way)
    }

    fn count(
        &mut self,
        under_way: UnderWay,
        is_well: bool,
        now_ns: u64,
        chance: &mut Chance,
    ) -> Option<BreakerChange> {
        let UnderWay { generation, started_ns, .. } = under_way;
        let took_ns = now_ns.saturating_sub(started_ns);
        let change = self.breaker.came(generation, is_well, took_ns, now_ns, chance);
        self.told(change)
    }

    /// Time passes.
    pub fn pass(&mut self, now_ns: u64) -> Option<BreakerChange> {
        let change = self.breaker.pass(now_ns);
        self.told(change)
    }

    fn told(&mut self, change: Option<BreakerChange>) -> Option<BreakerChange> {
        let opens = change.is_some_and(|change| change.now == BreakerState::Open);
        self.counters.opened += u64::from(opens);
        change
    }

    /// When time brings something.
    pub fn wake_ns(&self) -> Option<u64> {
        let over_ns = self.overs.first().map(|(over_ns, _)| *over_ns);
        [over_ns, self.breaker.wake_ns()].into_iter().flatten().min()
    }

    /// No look is waited for any more.
    pub fn stop(&mut self) {
        self.looks.clear();
        self.overs.clear();
    }

    pub fn status(&self) -> SharedStatus {
        SharedStatus {
            breaker: self.breaker.state(),
            looking: self.looks.len(),
            counters: self.counters,
        }
    }
}
