//! What a shard knows of payments before: the windows of the policy in force, and those of a coming one on
//! their way to the last payment.
//!
//! ```text
//! keep → payments are kept from here on      meanwhile: all before are read from the log into new windows
//! catch up → those kept are added, some at a time, until none is left: level from then on
//! swap → the policy and its windows at once
//! ```

use super::messages::{CaughtUp, Released};
use crate::observe::Counters;
use crate::policy::Policy;
use crate::policy::windows::{DecidedPayment, Event, Past, Subject, Together};
use catraca_wire::DocumentKey;
use catraca_wire::extension::{MAX_WINDOW_VALUES, WindowValue};
use catraca_wire::frame::{TransactionFields, Verdict};
use std::collections::VecDeque;

/// Payments that are kept at most while the windows of a coming policy are behind: half a second of a core
/// with all that it can do. 14 MB.
pub const MAX_KEPT: usize = 1 << 16;
/// Payments that are added at once between two batches: some 200 µs.
const ADDED_AT_ONCE: usize = 512;

/// Payments that coming windows lack.
pub struct KeptPayments {
    payments: VecDeque<DecidedPayment>,
    room: usize,
    added_at_once: usize,
    /// What siblings decide is kept, too.
    of_siblings: bool,
    /// One found no room: what is kept is of no use.
    lost: bool,
}

impl Default for KeptPayments {
    fn default() -> Self {
        Self::with_room(MAX_KEPT, ADDED_AT_ONCE)
    }
}

impl KeptPayments {
    /// On one of so many shards: what all of them decide, where that is shared.
    pub fn of(shards: u16, is_shared: bool) -> Self {
        let of_siblings = is_shared && shards > 1;
        let from = if of_siblings { usize::from(shards) } else { 1 };
        Self { of_siblings, ..Self::with_room(from * MAX_KEPT, from * ADDED_AT_ONCE) }
    }
}

impl KeptPayments {
    /// Room for so many, of which so many are added at once between two batches.
    pub fn with_room(room: usize, added_at_once: usize) -> Self {
        let payments = VecDeque::with_capacity(room);
        Self { payments, room, added_at_once, of_siblings: true, lost: false }
    }
}

/// The windows of a coming policy.
#[derive(Default)]
enum Coming {
    #[default]
    Nothing,
    /// They are read from the log.
    Kept(Box<KeptPayments>),
    /// They lack what is kept.
    Behind(Box<Past>, Box<KeptPayments>),
    /// They lack nothing.
    Level(Box<Past>),
}

/// What a shard knows of payments before.
pub(super) struct Payments {
    in_force: Option<Box<Past>>,
    coming: Coming,
    /// The payments of a packet, in its order, as windows see them.
    ahead: Vec<Event>,
    /// Those that are judged together, by row.
    together: Together,
    values: Box<[WindowValue; MAX_WINDOW_VALUES]>,
}

impl Payments {
    /// Of a policy that is in force.
    pub fn new(in_force: Option<Box<Past>>) -> Self {
        Self {
            in_force,
            coming: Coming::Nothing,
            ahead: Vec::with_capacity(crate::limits::DECISION_BATCH),
            together: Together::with_capacity(crate::limits::DECISION_BATCH),
            values: Box::new([WindowValue::Evicted; MAX_WINDOW_VALUES]),
        }
    }

    /// The windows of the policy in force.
    pub fn in_force(&self) -> Option<&Past> {
        self.in_force.as_deref()
    }

    /// Counters with what the windows in force hold.
    pub fn count(&self, counters: Counters) -> Counters {
        let Some(past) = &self.in_force else { return counters };
        let windows = past.windows();
        let keys = Subject::ALL.map(|subject| windows.keys(subject));
        let horizon_s = Subject::ALL.map(|subject| windows.horizon_s(subject)).into_iter().max();
        Counters {
            window_keys: keys.iter().map(|(held, _)| *held as u64).sum(),
            window_keys_let_go: keys.iter().map(|(_, let_go)| let_go).sum(),
            window_horizon_ns: u64::from(horizon_s.unwrap_or(0)) * 1_000_000_000,
            window_late: windows.late(),
            ..counters
        }
    }

    /// Other windows are in force: of a node that takes over. Gives those before.
    pub fn replace(&mut self, in_force: Option<Box<Past>>) -> Option<Box<Past>> {
        self.coming = Coming::Nothing;
        std::mem::replace(&mut self.in_force, in_force)
    }

    /// What comes is read soon: asks the processor for it, so that the cache misses of several overlap.
    #[inline]
    pub fn look_ahead<'t>(
        &mut self,
        payments: impl Iterator<Item = (DocumentKey, DocumentKey, &'t TransactionFields)>,
        decided_at_ns: u64,
    ) {
        let Some(past) = &mut self.in_force else { return };
        self.ahead.clear();
        for (payer, payee, transaction) in payments {
            let event = past.event(payer, payee, transaction, decided_at_ns);
            past.windows().prefetch(&event);
            self.ahead.push(event);
        }
        self.ahead.iter().for_each(|event| past.windows().prefetch_entries(event));
    }

    /// Begins a batch.
    pub fn begin(&mut self) {
        self.together.clear();
    }

    /// What windows say of a transaction, by its place in what was looked at ahead, as the next one of the
    /// batch; `None` if it must wait until those before it in the batch are decided on and added.
    ///
    /// Behind its values there is room for so many others.
    #[inline]
    pub fn read(&mut self, place: usize, others: usize) -> Option<&mut [WindowValue]> {
        let Some(past) = &self.in_force else { return Some(&mut self.values[..others]) };
        let windows = past.windows();
        let (values, _) = self.values.split_at_mut(windows.asked().len() + others);
        let (own, _) = values.split_at_mut(windows.asked().len());
        let is_read = windows.read_together(&self.ahead[place], &mut self.together, own);
        is_read.then_some(values)
    }

    /// Adds a payment of the batch, by its row, whose decision is recorded. Where windows are coming,
    /// [`Self::add_to_coming`] follows.
    #[inline]
    pub fn add(&mut self, row: usize, verdict: Verdict) {
        if let Some(past) = &mut self.in_force {
            past.windows_mut().add_together(&self.together, row, verdict);
        }
    }

    /// Whether windows of another policy are coming.
    #[inline]
    pub const fn is_coming(&self) -> bool {
        !matches!(self.coming, Coming::Nothing)
    }

    /// Adds payments that siblings have decided, between two batches.
    pub fn siblings_decided(&mut self, payments: &[DecidedPayment]) {
        if let Some(past) = &mut self.in_force {
            past.take_of_siblings(payments, &mut self.ahead);
        }
        let keeps = match &self.coming {
            Coming::Nothing => false,
            Coming::Kept(kept) | Coming::Behind(_, kept) => kept.of_siblings,
            Coming::Level(past) => past.is_shared(),
        };
        if keeps {
            payments.iter().for_each(|payment| self.add_to_coming(payment));
        }
    }

    /// Adds a payment to windows that are coming, or keeps it for them.
    pub fn add_to_coming(&mut self, payment: &DecidedPayment) {
        match &mut self.coming {
            Coming::Nothing => {}
            Coming::Level(past) => past.take(payment),
            Coming::Kept(kept) | Coming::Behind(_, kept) => {
                if kept.payments.len() == kept.room {
                    kept.lost = true;
                } else {
                    kept.payments.push_back(*payment);
                }
            }
        }
    }

    /// Keeps payments from here on. Gives what is no longer used.
    pub fn keep(&mut self, room: Box<KeptPayments>) -> Released {
        assert!(room.payments.is_empty() && !room.lost, "room for payments has none");
        let released = self.forget_coming();
        self.coming = Coming::Kept(room);
        released
    }

    /// No policy is coming any more. Gives what is no longer used.
    pub fn forget_coming(&mut self) -> Released {
        let (past, room) = match std::mem::take(&mut self.coming) {
            Coming::Nothing => (None, None),
            Coming::Kept(room) => (None, Some(room)),
            Coming::Behind(past, room) => (Some(past), Some(room)),
            Coming::Level(past) => (Some(past), None),
        };
        Released { pasts: [past, None], room }
    }

    /// Adds some of what was kept to the windows that have all before: those given, or those given before. What
    /// they have of it already they do not take twice: a block that was read whole may hold some.
    pub fn catch_up(&mut self, given: Option<Box<Past>>) -> CaughtUp {
        let (mut past, mut kept) = match (std::mem::take(&mut self.coming), given) {
            (Coming::Kept(kept), Some(past)) => (past, kept),
            (Coming::Behind(past, kept), None) => (past, kept),
            (Coming::Level(past), None) => {
                self.coming = Coming::Level(past);
                return CaughtUp::Level(None);
            }
            (Coming::Nothing | Coming::Kept(_), None) | (_, Some(_)) => {
                unreachable!("windows come after payments are kept, once")
            }
        };
        if kept.lost {
            return CaughtUp::TooFarBehind(past, kept);
        }
        for _ in 0..kept.added_at_once {
            let Some(payment) = kept.payments.pop_front() else {
                self.coming = Coming::Level(past);
                return CaughtUp::Level(Some(kept));
            };
            past.take(&payment);
        }
        self.coming = Coming::Behind(past, kept);
        CaughtUp::Behind
    }

    /// Windows that are level, of a policy that is to be tried; `None` where it reads none.
    pub fn take_level(&mut self, policy: &Policy) -> Option<Box<Past>> {
        if policy.window_values() == 0 {
            return None;
        }
        match std::mem::take(&mut self.coming) {
            Coming::Level(past) if past.is_of(policy) => Some(past),
            _ => unreachable!("a policy is tried with windows that are level"),
        }
    }

    /// A policy comes into force: with the windows in force if they are its own, else with those that came.
    /// Gives what is no longer used.
    pub fn swap(&mut self, policy: &Policy) -> Released {
        let reads = policy.window_values() > 0;
        if reads && self.in_force.as_ref().is_some_and(|past| past.is_of(policy)) {
            return self.forget_coming();
        }
        let mut released = self.forget_coming();
        let level = released.pasts[0].take_if(|past| reads && past.is_of(policy));
        assert!(
            !reads || (level.is_some() && released.room.is_none()),
            "a policy comes into force with windows that are level"
        );
        released.pasts[1] = std::mem::replace(&mut self.in_force, level);
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Zone;
    use crate::policy::language::{Asking, compile_into};
    use crate::policy::windows::WindowsKey;
    use crate::policy::{EVERY_DAY, EVERY_PAYER, Rule, RuleEffect, Rules, WindowsAsked};

    fn policy(version: u32, when: &str) -> Policy {
        let mut asking = Asking::default();
        let rule = Rule {
            id: "rule".to_owned(),
            when: compile_into(when, &mut asking).expect("sound"),
            effect: RuleEffect { score: 1, verdict: None, shadow: false },
            days: EVERY_DAY,
            share_permille: EVERY_PAYER,
        };
        let windows = WindowsAsked { asked: asking.asked().into(), keys: 64 };
        let rules = Rules { rules: [rule].into(), windows, ..Rules::default() };
        Policy::new(version, Zone::default(), rules)
    }

    fn past(policy: &Policy) -> Box<Past> {
        let past = Past::new(policy, 1, WindowsKey::without_secret()).expect("sound");
        Box::new(past.expect("it reads windows"))
    }

    const PAYER: &str = "52998224725";
    const PAYEE: &str = "11222333000181";

    fn parties() -> (DocumentKey, DocumentKey) {
        let document = |text| DocumentKey::parse(text).expect("valid");
        (document(PAYER), document(PAYEE))
    }

    fn transaction() -> TransactionFields {
        let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
        transaction.amount_centavos = 100.into();
        transaction.event_time_ns = (1_800_000_000 * 1_000_000_000).into();
        transaction
    }

    const DECIDED_AT_NS: u64 = 1_800_000_001 * 1_000_000_000;

    fn payment(stream: u16, lsn: u64) -> DecidedPayment {
        let (payer, payee) = parties();
        DecidedPayment {
            stream,
            lsn,
            payer,
            payee,
            transaction: transaction(),
            decided_at_ns: DECIDED_AT_NS,
            verdict: Verdict::Approve,
        }
    }

    /// Decides on one more payment of the payer; gives what windows said.
    fn pay(payments: &mut Payments, lsn: u64) -> Vec<WindowValue> {
        let (payer, payee) = parties();
        payments.look_ahead([(payer, payee, &transaction())].into_iter(), DECIDED_AT_NS);
        payments.begin();
        let seen = payments.read(0, 0);
        let seen = seen.expect("it is alone").to_vec();
        payments.add(0, Verdict::Approve);
        if payments.is_coming() {
            payments.add_to_coming(&payment(0, lsn));
        }
        seen
    }

    #[test]
    fn windows_that_come_lack_nothing_and_have_nothing_twice() {
        let hour = policy(1, "payer.count('1h') > 3");
        let day = policy(2, "payer.count('1d') > 3");
        let mut payments = Payments::new(Some(past(&hour)));
        for lsn in 1..=5 {
            assert_eq!(pay(&mut payments, lsn), [WindowValue::Present(lsn as i64 - 1)]);
        }
        // Two are kept, of which the reading has the first, too; then more come than there is room for.
        assert!(payments.keep(Box::new(KeptPayments::with_room(3, 1))).pasts[0].is_none());
        (6..=7).for_each(|lsn| drop(pay(&mut payments, lsn)));
        let mut coming = past(&day);
        (1..=6).for_each(|lsn| coming.take(&payment(0, lsn)));
        assert!(matches!(payments.catch_up(Some(coming)), CaughtUp::Behind));
        (8..=11).for_each(|lsn| drop(pay(&mut payments, lsn)));
        let CaughtUp::TooFarBehind(mut coming, _) = payments.catch_up(None) else {
            panic!("there was room for three");
        };
        assert_eq!(coming.last_lsn(0), 6, "the one that was kept and read was taken once");
        drop(payments.keep(Box::new(KeptPayments::with_room(3, 8))));
        (7..=11).for_each(|lsn| coming.take(&payment(0, lsn)));
        assert!(matches!(payments.catch_up(Some(coming)), CaughtUp::Level(Some(_))));
        drop(pay(&mut payments, 12));
        assert!(matches!(payments.catch_up(None), CaughtUp::Level(None)));
        let released = payments.swap(&day);
        assert!(released.pasts[1].is_some() && released.room.is_none(), "those of the hour");
        assert_eq!(pay(&mut payments, 13), [WindowValue::Present(12)]);
        // A policy that reads the same keeps them; one that reads none lets them go.
        assert!(payments.swap(&policy(3, "payer.count('24h') > 9")).pasts[1].is_none());
        assert_eq!(pay(&mut payments, 14), [WindowValue::Present(13)]);
        assert!(payments.swap(&policy(4, "tx.amount > 3")).pasts[1].is_some());
        assert_eq!(pay(&mut payments, 15), []);
        assert!(payments.in_force().is_none());
    }

    #[test]
    fn what_siblings_decide_is_in_windows_of_the_payee_once_and_not_in_those_of_the_payer() {
        let both = policy(1, "payer.count('1h') > 3 || payee.count('1h') > 3");
        let of_shard = |policy| Box::new(past(policy).of_shard(0));
        let mut payments = Payments::new(Some(of_shard(&both)));
        drop(pay(&mut payments, 1));
        (1..=3).for_each(|lsn| payments.siblings_decided(&[payment(1, lsn)]));
        payments.siblings_decided(&[payment(1, 3), payment(2, 1)]);
        let value = WindowValue::Present;
        assert_eq!(pay(&mut payments, 2), [value(1), value(5)]);
        // Those of a coming policy, of which the reading has some of each stream.
        let other = policy(2, "payer.count('1d') > 3 || payee.count('1d') > 3");
        drop(payments.keep(Box::default()));
        payments.siblings_decided(&[payment(1, 4)]);
        drop(pay(&mut payments, 3));
        let mut coming = of_shard(&other);
        (1..=2).for_each(|lsn| coming.take(&payment(0, lsn)));
        (1..=4).for_each(|lsn| coming.take(&payment(1, lsn)));
        coming.take(&payment(2, 1));
        assert!(matches!(payments.catch_up(Some(coming)), CaughtUp::Level(Some(_))));
        payments.siblings_decided(&[payment(2, 2)]);
        drop(payments.swap(&other));
        assert_eq!(pay(&mut payments, 4), [value(3), value(9)]);
    }

    #[test]
    fn what_does_not_come_is_let_go() {
        let hour = policy(1, "payer.count('1h') > 3");
        let mut payments = Payments::new(None);
        drop(payments.keep(Box::default()));
        assert!(matches!(payments.catch_up(Some(past(&hour))), CaughtUp::Level(_)));
        let released = payments.forget_coming();
        assert!(released.pasts[0].is_some());
        assert!(payments.forget_coming().pasts[0].is_none());
        assert!(payments.keep(Box::default()).room.is_none());
        assert!(payments.forget_coming().room.is_some());
    }
}
