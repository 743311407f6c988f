//! Hot answers of the cores' caches are asked for anew before they end, so that no payment waits for them.

use super::{Desk, Line};
use catraca_core::limits::MAX_SHARDS;
use catraca_core::shard::messages::Ask;
use catraca_core::validate::{AttemptId, Effect};

impl Desk {
    /// A core's hot answer ends soon: what is asked for anew goes back to that core, or what another one has had asked.
    pub(super) fn keep_warm(&mut self, line: usize, token: u64, ask: Ask, now_ns: u64) {
        let Line { number, asker, .. } = &mut self.lines[line];
        let newer = asker.keep_warm(ask.key, token, now_ns, &mut self.effects);
        let started = self.effects.iter().find_map(|effect| match effect {
            Effect::Attempt { attempt, token: of, .. } if *of == token => Some(*attempt),
            _ => None,
        });
        if let Some(attempt) = started {
            self.warm.insert((*number, attempt), vec![ask]);
        } else if let Some(kept) = newer {
            let given_ns = now_ns.wrapping_sub(kept.age_ns);
            self.fill_core(&ask, kept.answer, given_ns, now_ns.saturating_add(kept.good_for_ns));
        } else {
            let of_line =
                self.warm.range_mut((*number, AttemptId(0))..=(*number, AttemptId(u64::MAX)));
            let under_way = of_line.map(|(_, asks)| asks).find(|asks| asks[0].key == ask.key);
            if let Some(asks) = under_way.filter(|asks| asks.len() < MAX_SHARDS) {
                asks.push(ask);
            }
        }
        self.carry_out(line, now_ns);
        self.open.remove(&token);
    }

    /// Cores get the answer that their hot ones end before.
    pub(super) fn warmed(&self, asks: &[Ask], now_ns: u64) {
        let Some(of) = asks.first() else { return };
        for effect in &self.effects {
            if let Effect::Fill { key, answer, good_for_ns, .. } = *effect
                && key == of.key
                && good_for_ns > 0
            {
                let good_until_ns = now_ns.saturating_add(good_for_ns);
                asks.iter().for_each(|ask| self.fill_core(ask, answer, now_ns, good_until_ns));
            }
        }
    }
}
