//! What is kept of each key of a subject, and where it stands.
//!
//! ```text
//! entry   key 8 | newest 4 | known from 4 | a series for each window, in order of its span and filter
//! ```
//!
//! Values of the same window share its series. An entry is a whole number of words.

use super::Value;
use super::series::{Payment, Series, Wanted, get_u32, set_u32};
use super::spec::{Asked, Filter, MAX_ENTRY_LEN, Span, Subject, WindowsFault};
use catraca_wire::frame::Verdict;
use std::collections::BTreeMap;

const NEWEST_AT: usize = 8;
const KNOWN_FROM_AT: usize = 12;
const HEAD_LEN: usize = 16;
const WORD_LEN: usize = size_of::<u64>();

/// What is kept of each key of a subject.
pub(super) struct Layout {
    pub subject: Subject,
    series: Vec<Series>,
    words: usize,
    /// What is known of a key that has no entry.
    nothing: Box<[u8]>,
}

impl Layout {
    /// What is asked of a subject; `None` if nothing is.
    pub fn new(subject: Subject, asked: &[Asked]) -> Result<Option<Self>, WindowsFault> {
        let mut windows: BTreeMap<(Span, Filter), Vec<Wanted>> = BTreeMap::new();
        for (place, asked) in asked.iter().enumerate() {
            let Asked { window, function, including } = *asked;
            if window.subject == subject {
                let wanted = Wanted { place, function, including };
                windows.entry((window.span, window.filter)).or_default().push(wanted);
            }
        }
        let mut end = HEAD_LEN;
        let mut series = Vec::with_capacity(windows.len());
        for ((span, filter), wanted) in windows {
            let (one, next) = Series::new(span, filter, wanted, end);
            series.push(one);
            end = next;
        }
        let len = end.next_multiple_of(WORD_LEN);
        if len > MAX_ENTRY_LEN {
            return Err(WindowsFault::Entry { len });
        }
        let nothing = vec![0; len].into_boxed_slice();
        let words = len / WORD_LEN;
        Ok((!series.is_empty()).then_some(Self { subject, series, words, nothing }))
    }

    /// Length of an entry, words of 64 bits.
    pub const fn words(&self) -> usize {
        self.words
    }

    /// The windows that a payment belongs to.
    fn windows(&self, payment: &Payment, verdict: Verdict) -> impl Iterator<Item = &Series> {
        let rail = payment.rail;
        self.series.iter().filter(move |series| series.filter.takes(rail, verdict))
    }

    /// Whether a payment belongs to any window.
    pub fn takes(&self, payment: &Payment, verdict: Verdict) -> bool {
        self.windows(payment, verdict).any(|series| series.clock.period(&payment.moment).is_some())
    }

    /// Adds a payment to all windows that it belongs to. Gives for how many of them it is too late.
    pub fn add(&self, entry: &mut [u8], payment: &Payment, verdict: Verdict) -> u64 {
        let newest = newest_s(entry).max(payment.moment.time_s);
        set_u32(entry, NEWEST_AT, newest);
        let mut late = 0;
        for series in self.windows(payment, verdict) {
            if let Some(period) = series.clock.period(&payment.moment) {
                late += u64::from(!series.add(entry, period, payment));
            }
        }
        late
    }

    /// Reads the values of a key with this entry.
    pub fn read(&self, entry: &[u8], payment: &Payment, out: &mut [Value]) {
        let known_from_s = get_u32(entry, KNOWN_FROM_AT);
        self.series.iter().for_each(|series| series.read(entry, known_from_s, payment, out));
    }

    /// Reads the values of a key without an entry, where what happened up to `horizon_s` may be
    /// forgotten.
    pub fn read_nothing(&self, horizon_s: u32, payment: &Payment, out: &mut [Value]) {
        self.series.iter().for_each(|series| series.read(&self.nothing, horizon_s, payment, out));
    }

    /// What a payment without the subject reads.
    pub fn read_missing(&self, out: &mut [Value]) {
        for wanted in self.series.iter().flat_map(|series| &series.wanted) {
            out[wanted.place] = Value::Missing;
        }
    }
}

/// The key of an entry.
#[inline]
pub(super) const fn key(entry: &[u64]) -> u64 {
    u64::from_le(entry[0])
}

/// Makes a new entry, of which what happened up to `known_from_s` may be forgotten.
pub(super) fn begin(entry: &mut [u64], key: u64, known_from_s: u32) {
    entry.fill(0);
    entry[0] = key.to_le();
    set_u32(bytemuck::cast_slice_mut(entry), KNOWN_FROM_AT, known_from_s);
}

/// What happened up to a time may be missing from an entry.
pub(super) fn forget_up_to(entry: &mut [u8], time_s: u32) {
    let known_from_s = get_u32(entry, KNOWN_FROM_AT).max(time_s);
    set_u32(entry, KNOWN_FROM_AT, known_from_s);
}

/// The newest payment of an entry, seconds since 1970 UTC.
pub(super) fn newest_s(entry: &[u8]) -> u32 {
    get_u32(entry, NEWEST_AT)
}
