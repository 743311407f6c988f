//! Lines of a list that the buckets have no room for: those with dates, and undated ones with a
//! rare reason.
//!
//! A sorted table behind the buckets, so that only who is listed with dates pays for them. Lines of
//! one key are neighbours.

use super::entry::counts_on;
use bytemuck::{Pod, Zeroable};
use rend::{u16_le, u64_le};

/// A line, in memory as in the file.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Span {
    /// Table key: a document's, or a root's.
    pub(super) key: u64_le,
    /// First day; 0 always.
    pub(super) from: u16_le,
    /// Last day; 0 without end.
    pub(super) until: u16_le,
    /// Code of the list.
    pub(super) source: u8,
    /// 0.
    pub(super) reserved: u8,
    /// Number of the reason; 0 none.
    pub(super) reason: u16_le,
}

/// Size of a span.
pub(super) const SPAN_LEN: usize = 16;

const _: () = assert!(size_of::<Span>() == SPAN_LEN);

impl Span {
    /// What they are sorted by; no two are equal.
    pub(super) fn order(&self) -> (u64, u8, u16, u16, u16) {
        (
            self.key.to_native(),
            self.source,
            self.from.to_native(),
            self.until.to_native(),
            self.reason.to_native(),
        )
    }

    /// Whether it has a first or a last day.
    pub(super) fn is_dated(&self) -> bool {
        self.from.to_native() != 0 || self.until.to_native() != 0
    }

    /// Whether it counts on a day.
    #[inline]
    pub(super) fn counts_on(&self, day: u16) -> bool {
        counts_on(self.from.to_native(), self.until.to_native(), day)
    }

    /// The bit of its list in a source byte.
    #[inline]
    pub(super) const fn source_bit(&self) -> u8 {
        // A source code is 1 to 4: made so, or checked so.
        1 << ((self.source.wrapping_sub(1)) & 7)
    }
}

/// The spans of a key.
pub(super) fn of(spans: &[Span], key: u64) -> &[Span] {
    let begins = spans.partition_point(|span| span.key.to_native() < key);
    let rest = spans.get(begins..).unwrap_or_default();
    let len = rest.iter().take_while(|span| span.key.to_native() == key).count();
    rest.get(..len).unwrap_or_default()
}

/// The source bits of a key's dated lines that count on a day.
pub(super) fn sources_on(spans: &[Span], key: u64, day: u16) -> u8 {
    let dated = of(spans, key).iter().filter(|span| span.is_dated() && span.counts_on(day));
    dated.fold(0, |bits, span| bits | span.source_bit())
}
