//! One window of one key: a ring of buckets, as bytes within the key's entry.
//!
//! ```text
//! head 4            number of the newest bucket, plus 1; 0 while there is none
//! count, sum,       a column for each that is asked: a cell for each slot, little-endian
//! min, max
//! presence 8,       where seconds are asked: a bit for each slot that has a payment,
//! first 4, last 4   and the two times, seconds since 1970 UTC; 0 for none
//! set               of each kind of member that is asked: see `set.rs`
//! ```
//!
//! Bucket `n` of a sliding window holds the seconds `n * bucket_s` to `n * bucket_s + bucket_s - 1`, that
//! of a calendar window a day or a night. It lies in slot `n % slots`. The ring holds the buckets
//! `head - slots` to `head - 1`, so no bucket needs a label: one that is further back is gone, and a payment
//! of it is late. Zeros are the state before the first payment.

use super::Value;
use super::column::Column;
use super::moment::{Clock, Divisor, Moment, Period};
use super::set::{Counted, Set, Window};
use super::spec::{Filter, Function, Member, Span};

/// Slots beyond those that a sliding window covers: a payment that comes after one of the next bucket
/// still reads all of its own window.
const LATE_SLOTS: u32 = 1;
/// Days or nights that are held: the one that is, and the one before it, for what comes late.
const PERIODS: u32 = 2;

/// Lengths of cells, bytes. An hour's bucket seldom has 65,535 payments of one key, or R$ 42.9 million.
const COUNT_LEN: usize = 2;
const SUM_LEN: usize = 4;
const AMOUNT_LEN: usize = 4;
/// Of calendar windows, which have few: R$ 2.8 trillion.
const PERIOD_COUNT_LEN: usize = 4;
const PERIOD_SUM_LEN: usize = 6;
const PERIOD_AMOUNT_LEN: usize = 6;

const HEAD_LEN: usize = 4;
/// Presence, first, last.
const TIMES_LEN: usize = 16;

#[inline]
pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

#[inline]
pub(super) fn set_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// A value of this window that is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Where it goes.
    pub place: usize,
    pub function: Function,
    pub including: bool,
}

/// What is added, or asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payment {
    pub moment: Moment,
    /// Above 0.
    pub amount_centavos: i64,
    pub rail: u8,
    pub members: [Option<u32>; Member::COUNT],
}

/// Where everything of a window stands in an entry.
#[derive(Debug)]
pub(super) struct Series {
    pub clock: Clock,
    pub filter: Filter,
    pub wanted: Vec<Wanted>,
    slots: u32,
    /// Finds the slot of a bucket.
    ring: Divisor,
    head_at: usize,
    count: Option<Column>,
    sum: Option<Column>,
    min: Option<Column>,
    max: Option<Column>,
    times_at: Option<usize>,
    sets: [Option<Set>; Member::COUNT],
}

impl Series {
    /// A window from which these values are wanted, `at` these bytes of an entry. Gives where it ends.
    pub fn new(span: Span, filter: Filter, wanted: Vec<Wanted>, at: usize) -> (Self, usize) {
        let (slots, lens) = match span {
            Span::Sliding { span_s, .. } => {
                let covered = span_s.div_ceil(span.bucket_s()) + 1;
                (covered + LATE_SLOTS, [COUNT_LEN, SUM_LEN, AMOUNT_LEN, AMOUNT_LEN])
            }
            Span::Today | Span::Night { .. } => {
                let amount = PERIOD_AMOUNT_LEN;
                (PERIODS, [PERIOD_COUNT_LEN, PERIOD_SUM_LEN, amount, amount])
            }
        };
        assert!(slots <= u64::BITS, "presence is one word");
        let asks = |which: &[Function]| wanted.iter().any(|w| which.contains(&w.function));
        let asked = [
            asks(&[Function::Count, Function::Avg]),
            asks(&[Function::Sum, Function::Avg]),
            asks(&[Function::Min]),
            asks(&[Function::Max]),
        ];
        let asks_times = asks(&[Function::SecondsSinceLast, Function::SecondsSinceFirst]);
        let mut end = at + HEAD_LEN;
        let mut take = |len: usize| {
            let begin = end;
            end += len;
            begin
        };
        let mut column = |which: usize| {
            asked[which]
                .then(|| Column { at: take(slots as usize * lens[which]), cell_len: lens[which] })
        };
        let (count, sum, min, max) = (column(0), column(1), column(2), column(3));
        let times_at = asks_times.then(|| take(TIMES_LEN));
        let sets = Member::ALL.map(|member| {
            let up_to = wanted.iter().filter_map(|w| match w.function {
                Function::Distinct { of, up_to } if of == member => Some(usize::from(up_to)),
                _ => None,
            });
            up_to.max().map(|up_to| Set::new(up_to, &mut take))
        });
        let (clock, ring) = (Clock::new(span), Divisor::new(slots));
        let series = Self {
            clock,
            filter,
            wanted,
            slots,
            ring,
            head_at: at,
            count,
            sum,
            min,
            max,
            times_at,
            sets,
        };
        (series, end)
    }

    fn columns(&self) -> impl Iterator<Item = Column> {
        [self.count, self.sum, self.min, self.max].into_iter().flatten()
    }

    /// Adds a payment of this window's. Gives whether its bucket is still held; else it is counted
    /// nowhere.
    pub fn add(&self, entry: &mut [u8], period: Period, payment: &Payment) -> bool {
        let number = period.number;
        self.advance(entry, number);
        if number + self.slots < get_u32(entry, self.head_at) {
            return false;
        }
        let slot = self.ring.remainder(number);
        let amount = payment.amount_centavos as u64;
        if let Some(count) = self.count {
            count.set(entry, slot, count.get(entry, slot) + 1);
        }
        if let Some(sum) = self.sum {
            sum.set(entry, slot, sum.get(entry, slot).saturating_add(amount));
        }
        if let Some(min) = self.min {
            let known = min.get(entry, slot);
            min.set(entry, slot, if known == 0 { amount } else { known.min(amount) });
        }
        if let Some(max) = self.max {
            max.set(entry, slot, max.get(entry, slot).max(amount));
        }
        if let Some(at) = self.times_at {
            self.add_time(entry, at, slot, payment.moment.time_s);
        }
        let head = get_u32(entry, self.head_at);
        for (set, member) in self.sets.iter().zip(payment.members) {
            if let (Some(set), Some(member)) = (set, member) {
                let window = Window { first: period.first, last: number };
                set.add(entry, member, window, head - 1);
            }
        }
        true
    }

    /// Lets the ring reach up to a bucket, and clears those between.
    fn advance(&self, entry: &mut [u8], number: u32) {
        let head = get_u32(entry, self.head_at);
        if number < head {
            return;
        }
        set_u32(entry, self.head_at, number + 1);
        if head == 0 {
            return;
        }
        for set in self.sets.iter().flatten() {
            set.forget(entry, head - 1, number, self.slots);
        }
        let passed = (number + 1 - head).min(self.slots);
        for bucket in number + 1 - passed..=number {
            let slot = self.ring.remainder(bucket);
            for column in self.columns() {
                column.set(entry, slot, 0);
            }
            if let Some(at) = self.times_at {
                set_presence(entry, at, presence(entry, at) & !(1 << slot));
            }
        }
    }

    fn add_time(&self, entry: &mut [u8], at: usize, slot: u32, time_s: u32) {
        set_presence(entry, at, presence(entry, at) | 1 << slot);
        let (first, last) = times(entry, at);
        let span_s = self.clock.sliding_s();
        let (first, last) = if last == 0 || time_s >= last.saturating_add(span_s) {
            (time_s, time_s)
        } else if time_s < first && first - time_s < span_s {
            (time_s, last)
        } else {
            (first, last.max(time_s))
        };
        set_u32(entry, at + 8, first);
        set_u32(entry, at + 12, last);
    }

    /// Reads all that is wanted, as it is before this payment. What happened up to `known_from_s` may be
    /// missing from the entry; 0: nothing is.
    pub fn read(&self, entry: &[u8], known_from_s: u32, payment: &Payment, out: &mut [Value]) {
        let Some(period) = self.clock.period(&payment.moment) else {
            self.wanted.iter().for_each(|wanted| out[wanted.place] = Value::Missing);
            return;
        };
        let head = get_u32(entry, self.head_at);
        let gone = period.first.saturating_add(self.slots) < head;
        let reading = Reading {
            series: self,
            entry,
            period,
            head,
            partial: gone || (known_from_s > 0 && known_from_s >= period.start_s),
            known_from_s,
            payment,
        };
        for wanted in &self.wanted {
            let including = wanted.including && self.filter.takes_rail(payment.rail);
            out[wanted.place] = reading.value(wanted.function, including);
        }
    }
}

fn presence(entry: &[u8], at: usize) -> u64 {
    u64::from(get_u32(entry, at)) | u64::from(get_u32(entry, at + 4)) << 32
}

fn set_presence(entry: &mut [u8], at: usize, bits: u64) {
    entry[at..at + 8].copy_from_slice(&bits.to_le_bytes());
}

/// First and last.
fn times(entry: &[u8], at: usize) -> (u32, u32) {
    (get_u32(entry, at + 8), get_u32(entry, at + 12))
}

/// A window as a payment sees it.
struct Reading<'a> {
    series: &'a Series,
    entry: &'a [u8],
    period: Period,
    head: u32,
    /// A part of the window is no longer held.
    partial: bool,
    known_from_s: u32,
    payment: &'a Payment,
}

impl Reading<'_> {
    fn value(&self, function: Function, including: bool) -> Value {
        match function {
            Function::Count => {
                let (count, at_limit) = self.total(self.series.count);
                self.at_least(count + u64::from(including), at_limit)
            }
            Function::Sum => {
                let (sum, at_limit) = self.sum(including);
                self.at_least(sum, at_limit)
            }
            Function::Min => self.min(including),
            Function::Max => self.max(including),
            Function::Avg => self.avg(including),
            Function::Distinct { of, .. } => self.distinct(of, including),
            Function::SecondsSinceLast => self.seconds_since_last(),
            Function::SecondsSinceFirst => self.seconds_since_first(),
        }
    }

    /// A number of which some may be missing.
    fn at_least(&self, number: u64, at_limit: bool) -> Value {
        let value = i64::try_from(number).unwrap_or(i64::MAX);
        match (self.partial, number) {
            (true, 0) => Value::Evicted,
            (true, _) => Value::Saturated(value),
            (false, _) if at_limit || value == i64::MAX => Value::Saturated(value),
            (false, _) => Value::Present(value),
        }
    }

    /// Buckets of the window that the ring holds.
    fn buckets(&self) -> std::ops::Range<u32> {
        let oldest = self.head.saturating_sub(self.series.slots);
        self.period.first.max(oldest)..(self.period.number + 1).min(self.head)
    }

    /// The cells of the window.
    fn cells(&self, column: Option<Column>) -> impl Iterator<Item = (u64, bool)> {
        let column = column.expect("the layout has a column for what is asked");
        let ring = self.series.ring;
        self.buckets().map(move |bucket| {
            let cell = column.get(self.entry, ring.remainder(bucket));
            (cell, cell == column.limit())
        })
    }

    fn total(&self, column: Option<Column>) -> (u64, bool) {
        let column = column.expect("the layout has a column for what is asked");
        let buckets = self.buckets();
        let from = self.series.ring.remainder(buckets.start);
        column.total(self.entry, from, buckets.len() as u32, self.series.slots)
    }

    fn sum(&self, including: bool) -> (u64, bool) {
        let (sum, at_limit) = self.total(self.series.sum);
        (sum.saturating_add(self.own_amount(including).unwrap_or(0)), at_limit)
    }

    fn own_amount(&self, including: bool) -> Option<u64> {
        including.then_some(self.payment.amount_centavos as u64)
    }

    /// With payments missing it may be less.
    fn min(&self, including: bool) -> Value {
        if self.partial {
            return Value::Evicted;
        }
        let known = self.cells(self.series.min).filter(|&(cell, _)| cell > 0).min();
        let own = self.own_amount(including).map(|amount| (amount, false));
        self.extreme(known.into_iter().chain(own).min())
    }

    fn max(&self, including: bool) -> Value {
        let known = self.cells(self.series.max).filter(|&(cell, _)| cell > 0).max();
        let at_limit = known.is_some_and(|(_, at_limit)| at_limit);
        let own = self.own_amount(including).map(|amount| (amount, at_limit));
        self.extreme(known.into_iter().chain(own).max())
    }

    fn extreme(&self, found: Option<(u64, bool)>) -> Value {
        match found {
            None if self.partial => Value::Evicted,
            None => Value::Missing,
            Some((value, at_limit)) => self.at_least(value, at_limit),
        }
    }

    /// With payments missing it may lie on either side.
    fn avg(&self, including: bool) -> Value {
        let (count, count_at_limit) = self.total(self.series.count);
        let (sum, sum_at_limit) = self.sum(including);
        if self.partial || count_at_limit {
            return Value::Evicted;
        }
        match sum.checked_div(count + u64::from(including)) {
            None => Value::Missing,
            Some(avg) => self.at_least(avg, sum_at_limit),
        }
    }

    fn distinct(&self, of: Member, including: bool) -> Value {
        let set = self.series.sets[of as usize];
        let set = set.expect("the layout has a set for what is asked");
        let window = Window { first: self.period.first, last: self.period.number };
        let own = self.payment.members[of as usize].filter(|_| including);
        let newest = self.head.saturating_sub(1);
        let Counted { members, all, estimate } = set.count(self.entry, window, newest, own);
        match (self.partial || !all, members, estimate) {
            (true, 0, _) => Value::Evicted,
            (true, _, Some(estimate)) if !self.partial => Value::Estimated(estimate as i64),
            (true, ..) => Value::Saturated(members as i64),
            (false, ..) => Value::Present(members as i64),
        }
    }

    /// Exact where this payment is the newest. Else since the end of the newest bucket with a payment; its
    /// own, which may only have later ones, is now.
    fn seconds_since_last(&self) -> Value {
        let (first, last, now) = self.times();
        if last <= now {
            return if last < self.period.start_s {
                self.none()
            } else if self.known_from_s > last {
                // A later one may have gone with an entry that was evicted.
                Value::Evicted
            } else {
                Value::Present(i64::from(now - last))
            };
        }
        match self.newest_before(first, now) {
            None => self.none(),
            Some(_) if self.partial => Value::Evicted,
            Some(bucket) => {
                let end_s =
                    bucket.saturating_add(1).saturating_mul(self.series.clock.bucket_s()) - 1;
                Value::Present(i64::from(now.saturating_sub(end_s)))
            }
        }
    }

    /// Exact where payments came in order, else perhaps less than it is.
    fn seconds_since_first(&self) -> Value {
        let (first, last, now) = self.times();
        if first <= now && (last > now || last >= self.period.start_s) {
            let since = i64::from(now - first);
            let earliest_s = first.saturating_sub(self.series.clock.sliding_s());
            // What was evicted may have been before it, and near enough.
            return if self.known_from_s > earliest_s && self.known_from_s > 0 {
                Value::Saturated(since)
            } else {
                Value::Present(since)
            };
        }
        match self.newest_before(first, now) {
            // It is not known when those before the first began.
            Some(_) if last > now => Value::Evicted,
            _ => self.none(),
        }
    }

    /// First, last, and this payment's.
    fn times(&self) -> (u32, u32, u32) {
        let at = self.series.times_at.expect("the layout has the times that are asked");
        let (first, last) = times(self.entry, at);
        (first, last, self.payment.moment.time_s)
    }

    const fn none(&self) -> Value {
        if self.partial { Value::Evicted } else { Value::Missing }
    }

    /// The newest bucket of the window that has a payment. One that begins with `first` has none before
    /// it, so that where this payment is before `first` it does not count.
    fn newest_before(&self, first: u32, now: u32) -> Option<u32> {
        let at = self.series.times_at.expect("the layout has the times that are asked");
        let bits = presence(self.entry, at);
        let mut buckets = self.buckets();
        if now < first {
            buckets.end = buckets.end.min(self.series.clock.bucket(first));
        }
        buckets.rev().find(|bucket| bits >> self.series.ring.remainder(*bucket) & 1 == 1)
    }
}
