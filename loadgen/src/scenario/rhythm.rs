//! The rhythm of a day: how many payments fall into which hour, and the times that follow.

use super::chance::Chance;

/// Nanoseconds of a second.
pub(super) const SECOND_NS: u64 = 1_000_000_000;
/// Seconds of an hour.
pub(super) const HOUR_S: u64 = 3_600;
/// Seconds of a day.
pub(super) const DAY_S: u64 = 24 * HOUR_S;
/// How far the clocks of São Paulo are behind UTC, seconds. Brazil has had no summer time since
/// 2019, so that no table of time zones is needed, and a stream does not change with one.
const BEHIND_UTC_S: u64 = 3 * HOUR_S;
/// Payments of each local hour, in proportion: little at night, most around noon and in the
/// evening.
const WEIGHTS: [u64; 24] =
    [6, 3, 2, 2, 2, 5, 14, 28, 40, 48, 52, 56, 64, 58, 54, 54, 56, 60, 64, 62, 54, 42, 28, 14];
/// Parts of the way from one payment to the next.
const PARTS: u128 = 1 << 32;

/// The hour of the day in São Paulo, 0 to 23.
pub fn local_hour(event_time_ns: u64) -> u64 {
    (event_time_ns / SECOND_NS + DAY_S - BEHIND_UTC_S) % DAY_S / HOUR_S
}

/// Whether it is night for the limits of Pix: from 20:00 to 06:00.
pub fn is_night(event_time_ns: u64) -> bool {
    !(6..20).contains(&local_hour(event_time_ns))
}

/// A stretch of time in which all hours weigh the same.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start_ns: u64,
    end_ns: u64,
    weight: u128,
}

impl Piece {
    /// From `start_ns` to the end of its hour, or to `end_ns`.
    fn of(start_ns: u64, end_ns: u64) -> Self {
        let hour_ns = HOUR_S * SECOND_NS;
        let hour_end_ns = (start_ns / hour_ns + 1) * hour_ns;
        let weight = u128::from(WEIGHTS[local_hour(start_ns) as usize]);
        Self { start_ns, end_ns: hour_end_ns.min(end_ns), weight }
    }

    fn area(&self) -> u128 {
        u128::from(self.end_ns - self.start_ns) * self.weight
    }
}

/// A number of times in order, spread over a span as the rhythm says. It holds a place, and no
/// times.
#[derive(Debug, Clone)]
pub(super) struct Rhythm {
    end_ns: u64,
    count: u64,
    given: u64,
    /// Length times weight of the whole span.
    area: u128,
    piece: Piece,
    /// The same of everything before the piece.
    before: u128,
}

impl Rhythm {
    /// `count` times from `start_ns` on, and before `end_ns`.
    pub fn new(start_ns: u64, end_ns: u64, count: u64) -> Self {
        let first = Piece::of(start_ns, end_ns);
        let mut area = first.area();
        let mut piece = first;
        while piece.end_ns < end_ns {
            piece = Piece::of(piece.end_ns, end_ns);
            area += piece.area();
        }
        Self { end_ns, count, given: 0, area, piece: first, before: 0 }
    }

    /// The next time; `None` when all were given.
    pub fn next(&mut self, chance: &mut Chance) -> Option<u64> {
        if self.given == self.count {
            return None;
        }
        // One time in each of `count` equal parts of the area: in order without sorting.
        let part = u128::from(self.given) * PARTS + u128::from(chance.next() >> 32);
        let place = self.area * part / (u128::from(self.count) * PARTS);
        self.given += 1;
        while self.before + self.piece.area() <= place {
            self.before += self.piece.area();
            self.piece = Piece::of(self.piece.end_ns, self.end_ns);
        }
        Some(self.piece.start_ns + ((place - self.before) / self.piece.weight) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 00:00 UTC: 21:00 of the day before in São Paulo.
    const MIDNIGHT_UTC_NS: u64 = 1_795_305_600 * SECOND_NS;

    #[test]
    fn hours_are_those_of_sao_paulo() {
        assert_eq!(local_hour(MIDNIGHT_UTC_NS), 21);
        assert_eq!(local_hour(MIDNIGHT_UTC_NS + 3 * HOUR_S * SECOND_NS), 0);
        let at = |hour: u64| is_night(MIDNIGHT_UTC_NS + (3 + hour) * HOUR_S * SECOND_NS);
        assert_eq!([at(0), at(5), at(6), at(19), at(20)], [true, true, false, false, true]);
    }

    #[test]
    fn times_are_in_order_and_follow_the_weights() {
        let (start_ns, end_ns) =
            (MIDNIGHT_UTC_NS + 7, MIDNIGHT_UTC_NS + 2 * DAY_S * SECOND_NS + 11);
        let mut rhythm = Rhythm::new(start_ns, end_ns, 100_000);
        let mut chance = Chance::new(3, 4);
        let times: Vec<u64> = std::iter::from_fn(|| rhythm.next(&mut chance)).collect();
        assert_eq!(times.len(), 100_000);
        assert!(times.is_sorted() && times[0] >= start_ns && times[99_999] < end_ns);
        let total: u64 = WEIGHTS.iter().sum();
        for (hour, weight) in WEIGHTS.iter().enumerate() {
            let count = times.iter().filter(|&&time| local_hour(time) == hour as u64).count();
            let expected = 100_000 * weight / total;
            assert!((count as u64).abs_diff(expected) < 20, "{hour}: {count}, {expected}");
        }
    }
}
