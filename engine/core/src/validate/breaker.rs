//! When a validator is left alone: closed, open, half-open, and as a person says.
//!
//! What counts are attempts: one that fails, is over its time or is slow is bad; an answer is good, whatever it says.
//! What was never sent counts nothing. Each change begins a generation, and what an attempt of an earlier one
//! comes to is not counted: it says nothing about now.

use super::chance::Chance;
use super::messages::{BreakerChange, BreakerState, Forced, Why};
use super::settings::BreakerSettings;
use std::collections::VecDeque;

const MS: u64 = 1_000_000;
/// Most attempts that are looked back at, but where the settings want more: at 10,000 a second it takes a fraction
/// of a second to see that all fail, and not half of a window of a minute.
const MOST_COUNTED: usize = 1_000;
/// Attempts that are older say nothing, however few there are: at one a minute that is five minutes for five.
const MOST_AGE_NS: u64 = 3_600_000_000_000;
/// By how much a time to be left alone is shortened at most, so that nodes do not probe at once.
const JITTER_PERCENT: u64 = 20;
/// Doublings that are counted: the longest time is reached far earlier.
const MOST_DOUBLINGS: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until_ns: u64 },
    HalfOpen { begun: u8, good: u8 },
    Forced(Forced),
}

/// A breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    phase: Phase,
    generation: u64,
    window: Window,
    /// How often it has opened since it was last closed.
    opened: u32,
}

impl Breaker {
    pub fn new(settings: BreakerSettings) -> Self {
        let window = Window::new(&settings);
        Self { settings, phase: Phase::Closed, generation: 0, window, opened: 0 }
    }

    pub fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::Forced(Forced::Open) => BreakerState::ForcedOpen,
            Phase::Forced(Forced::Closed) => BreakerState::ForcedClosed,
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether anything may be asked: waited for, tried again, refreshed.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Forced(Forced::Closed))
    }

    /// Why no question may be asked now, if so. While it is half-open, as many may as there are probes, at once.
    pub fn refuses(&self) -> Option<Why> {
        match self.phase {
            Phase::Closed | Phase::Forced(Forced::Closed) => None,
            Phase::HalfOpen { begun, .. } if begun < self.settings.probes => None,
            Phase::Open { .. } | Phase::HalfOpen { .. } => Some(Why::BreakerOpen),
            Phase::Forced(Forced::Open) => Some(Why::ForcedOpen),
        }
    }

    /// An attempt starts.
    ///
    /// # Returns
    /// The generation that it is of.
    pub fn start(&mut self) -> u64 {
        assert!(self.refuses().is_none(), "no attempt starts while the breaker is open");
        if let Phase::HalfOpen { begun, .. } = &mut self.phase {
            *begun += 1;
        }
        self.generation
    }

    /// What an attempt came to that took so long.
    pub fn came(
        &mut self,
        generation: u64,
        is_answer: bool,
        took_ns: u64,
        now_ns: u64,
        chance: &mut Chance,
    ) -> Option<BreakerChange> {
        if generation != self.generation {
            return None;
        }
        let is_bad = !is_answer || took_ns > u64::from(self.settings.slow_ms) * MS;
        match &mut self.phase {
            Phase::Closed => {
                self.window.count(is_bad, now_ns);
                let opens = self.window.says_open(self.settings.failures_percent);
                opens.then(|| self.open(now_ns, chance))
            }
            Phase::HalfOpen { .. } if is_bad => Some(self.open(now_ns, chance)),
            Phase::HalfOpen { good, .. } => {
                *good += 1;
                let closes = *good >= self.settings.probes;
                closes.then(|| self.close())
            }
            // No attempt is of a generation that is open.
            Phase::Open { .. } | Phase::Forced(_) => None,
        }
    }

    /// Time passes.
    pub fn pass(&mut self, now_ns: u64) -> Option<BreakerChange> {
        match self.phase {
            Phase::Open { until_ns } if until_ns <= now_ns => {
                Some(self.turn(Phase::HalfOpen { begun: 0, good: 0 }, 0))
            }
            _ => None,
        }
    }

    /// What a person wants; `None` for its own judgement again, which begins closed.
    pub fn force(&mut self, forced: Option<Forced>) -> Option<BreakerChange> {
        match (forced, self.phase) {
            (Some(forced), Phase::Forced(before)) if forced == before => None,
            (Some(forced), _) => Some(self.turn(Phase::Forced(forced), 0)),
            (None, Phase::Forced(_)) => Some(self.close()),
            (None, _) => None,
        }
    }

    /// When time changes it.
    pub fn wake_ns(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { until_ns } => Some(until_ns),
            _ => None,
        }
    }

    fn open(&mut self, now_ns: u64, chance: &mut Chance) -> BreakerChange {
        let (first_ms, most_ms) = (self.settings.open_ms, self.settings.most_open_ms);
        let open_ms = (u64::from(first_ms) << self.opened).min(most_ms.into());
        self.opened = (self.opened + 1).min(MOST_DOUBLINGS);
        let open_ns = chance.shortened(open_ms * MS, JITTER_PERCENT);
        self.turn(Phase::Open { until_ns: now_ns.saturating_add(open_ns) }, open_ns)
    }

    fn close(&mut self) -> BreakerChange {
        self.opened = 0;
        self.turn(Phase::Closed, 0)
    }

    fn turn(&mut self, phase: Phase, open_ns: u64) -> BreakerChange {
        let before = self.state();
        self.phase = phase;
        self.generation += 1;
        self.window.clear();
        BreakerChange { before, now: self.state(), generation: self.generation, open_ns }
    }
}

/// The last attempts: those of the window's time, and the least number that says anything, be they older.
#[derive(Debug)]
struct Window {
    /// When each came, and whether it was bad.
    last: VecDeque<(u64, bool)>,
    bad: usize,
    least: usize,
    most: usize,
    window_ns: u64,
}

impl Window {
    fn new(settings: &BreakerSettings) -> Self {
        let least = usize::from(settings.least_attempts);
        let window_ns = u64::from(settings.window_s) * 1_000 * MS;
        Self { last: VecDeque::new(), bad: 0, least, most: least.max(MOST_COUNTED), window_ns }
    }

    fn clear(&mut self) {
        self.last.clear();
        self.bad = 0;
    }

    /// At most `most` are thrown away, after a long time; mostly one or none.
    fn count(&mut self, is_bad: bool, now_ns: u64) {
        self.last.push_back((now_ns, is_bad));
        self.bad += usize::from(is_bad);
        while let Some(&(came_ns, was_bad)) = self.last.front() {
            let age_ns = now_ns.saturating_sub(came_ns);
            let is_of_window = age_ns < self.window_ns || self.last.len() <= self.least;
            if is_of_window && age_ns < MOST_AGE_NS && self.last.len() <= self.most {
                break;
            }
            self.last.pop_front();
            self.bad -= usize::from(was_bad);
        }
    }

    fn says_open(&self, failures_percent: u8) -> bool {
        self.last.len() >= self.least
            && self.bad * 100 >= self.last.len() * usize::from(failures_percent)
    }
}

#[cfg(test)]
#[path = "tests/breaker.rs"]
mod tests;
