//! How often a client may ask: buckets of tokens for each client, on each shard.
//!
//! Exact in integers: a token is 10^9 parts, and a rate of so many tokens a second adds so many parts
//! each nanosecond.

use std::num::NonZeroU32;

/// Parts of a token.
const TOKEN: u64 = 1_000_000_000;

/// What a client may send to one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once, after a pause.
    pub burst: NonZeroU32,
}

/// What is counted together, apart from all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rated {
    /// Transactions.
    Submits,
    /// Look-ups and operations.
    Requests,
}

impl Rated {
    /// How many there are.
    pub const COUNT: usize = 2;
}

/// The tokens of one client.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: Rate,
    parts: u64,
    filled_at_ns: u64,
}

impl Bucket {
    fn full(rate: Rate, now_ns: u64) -> Self {
        Self { rate, parts: u64::from(rate.burst.get()) * TOKEN, filled_at_ns: now_ns }
    }

    #[inline]
    fn take(&mut self, now_ns: u64) -> Result<(), u32> {
        let gap_ns = now_ns.saturating_sub(self.filled_at_ns);
        let per_second = u64::from(self.rate.per_second.get());
        let most = u64::from(self.rate.burst.get()) * TOKEN;
        // Whatever is longer than what fills it fills it: so nothing overflows.
        let is_full = gap_ns >= (most - self.parts).div_ceil(per_second);
        self.parts = if is_full { most } else { self.parts + gap_ns * per_second };
        self.filled_at_ns = self.filled_at_ns.max(now_ns);
        match self.parts.checked_sub(TOKEN) {
            Some(left) => {
                self.parts = left;
                Ok(())
            }
            None => {
                let wait_ns = (TOKEN - self.parts).div_ceil(per_second);
                // At most a second: a rate is at least one token in it.
                Err(u32::try_from(wait_ns.div_ceil(1_000_000)).unwrap_or(u32::MAX))
            }
        }
    }
}

/// The buckets of all clients that have a rate, by their places among the clients.
#[derive(Debug, Default)]
pub(super) struct Rates {
    buckets: Vec<[Option<Bucket>; Rated::COUNT]>,
}

impl Rates {
    /// Of clients with these rates, in the order of [`Rated`]. A client whose rate is as it was keeps its tokens.
    pub fn set(
        &mut self,
        rates: impl Iterator<Item = (Option<usize>, [Option<Rate>; Rated::COUNT])>,
        now_ns: u64,
    ) {
        let old = std::mem::take(&mut self.buckets);
        let buckets = |(was, rates): (Option<usize>, [Option<Rate>; Rated::COUNT])| {
            let old = was.and_then(|was| old.get(was).copied()).unwrap_or_default();
            let bucket = |place: usize| {
                let rate = rates[place]?;
                let kept = old[place].filter(|bucket| bucket.rate == rate);
                Some(kept.unwrap_or_else(|| Bucket::full(rate, now_ns)))
            };
            std::array::from_fn(bucket)
        };
        self.buckets = rates.map(buckets).collect();
    }

    /// Takes a token of a client for a transaction; else gives when there is one again, milliseconds.
    ///
    /// # Errors
    /// There is none.
    #[inline]
    pub fn take_submit(&mut self, client: Option<u16>, now_ns: u64) -> Result<(), u32> {
        self.take(client, Rated::Submits, now_ns)
    }

    /// The same for a look-up or an operation.
    ///
    /// # Errors
    /// There is none.
    pub fn take_request(&mut self, client: Option<u16>, now_ns: u64) -> Result<(), u32> {
        self.take(client, Rated::Requests, now_ns)
    }

    #[inline]
    fn take(&mut self, client: Option<u16>, rated: Rated, now_ns: u64) -> Result<(), u32> {
        let Some(client) = client else { return Ok(()) };
        let buckets = self.buckets.get_mut(usize::from(client));
        match buckets.map(|buckets| &mut buckets[rated as usize]) {
            Some(Some(bucket)) => bucket.take(now_ns),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn rate(per_second: u32, burst: u32) -> Option<Rate> {
        Some(Rate {
            per_second: NonZeroU32::new(per_second).expect("above 0"),
            burst: NonZeroU32::new(burst).expect("above 0"),
        })
    }

    fn of(rate: Option<Rate>) -> Rates {
        let mut rates = Rates::default();
        rates.set([(None, [rate, None])].into_iter(), 0);
        rates
    }

    fn take(rates: &mut Rates, client: Option<u16>, now_ns: u64) -> Result<(), u32> {
        rates.take(client, Rated::Submits, now_ns)
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let mut rates = of(rate(1_000, 5));
        let taken = |rates: &mut Rates, now_ns| {
            (0..100).take_while(|_| take(rates, Some(0), now_ns).is_ok()).count()
        };
        assert_eq!(taken(&mut rates, 0), 5);
        assert_eq!(take(&mut rates, Some(0), 0), Err(1), "the next token comes in a millisecond");
        assert_eq!(taken(&mut rates, 3 * MS), 3);
        assert_eq!(taken(&mut rates, 3 * MS + MS / 2), 0);
        assert_eq!(taken(&mut rates, 4 * MS), 1, "halves add up");
        assert_eq!(taken(&mut rates, 3_600_000 * MS), 5, "never more than the burst");
        assert_eq!(taken(&mut rates, 0), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn a_pause_fills_a_bucket_of_more_than_a_second() {
        let mut rates = of(rate(1, 20));
        let taken = |rates: &mut Rates, now_ns| {
            (0..100).take_while(|_| take(rates, Some(0), now_ns).is_ok()).count()
        };
        assert_eq!(taken(&mut rates, 0), 20);
        assert_eq!(taken(&mut rates, 10_000 * MS), 10);
        assert_eq!(taken(&mut rates, 100_000 * MS), 20);
        assert_eq!(taken(&mut rates, u64::MAX), 20, "nothing overflows");
        let mut largest = of(rate(100_000_000, 100_000_000));
        assert!(
            take(&mut largest, Some(0), u64::MAX / 2).is_ok()
                && take(&mut largest, Some(0), u64::MAX).is_ok()
        );
    }

    #[test]
    fn over_any_time_a_client_gets_its_rate_exactly() {
        for per_second in [1, 3, 7, 999, 123_457] {
            let mut rates = of(rate(per_second, 2));
            let steps = 40_000;
            let taken = (0..steps)
                .map(|step| {
                    let now_ns = step * 250_000;
                    std::iter::repeat_with(|| take(&mut rates, Some(0), now_ns))
                        .take_while(Result::is_ok)
                        .count() as u64
                })
                .sum::<u64>();
            let seconds = 10;
            let most = u64::from(per_second) * seconds + 2;
            let step_holds = u64::from(per_second) / 4_000 < 2;
            assert!(taken <= most, "{taken} of {most}");
            assert!(!step_holds || taken >= most - 3, "{taken} of {most}");
        }
    }

    #[test]
    fn who_has_no_rate_is_not_held_back() {
        let mut rates = of(None);
        for client in [None, Some(0), Some(7)] {
            assert!((0..1_000).all(|_| take(&mut rates, client, 0).is_ok()));
        }
    }

    #[test]
    fn what_is_counted_apart_takes_no_tokens_of_the_other() {
        let mut rates = Rates::default();
        rates.set([(None, [rate(1, 1), rate(1, 2)])].into_iter(), 0);
        let mut taken =
            |rated| (0..9).take_while(|_| rates.take(Some(0), rated, 0).is_ok()).count();
        assert_eq!((taken(Rated::Requests), taken(Rated::Submits)), (2, 1));
    }

    #[test]
    fn a_reload_keeps_what_is_as_it_was() {
        let mut rates = of(rate(1, 2));
        take(&mut rates, Some(0), 0).expect("full");
        take(&mut rates, Some(0), 0).expect("one is left");
        let (fresh, kept) = ((None, [rate(9, 1), None]), (Some(0), [rate(1, 2), None]));
        rates.set([fresh, kept].into_iter(), 0);
        assert!(take(&mut rates, Some(1), 0).is_err(), "its tokens were used");
        assert!(take(&mut rates, Some(0), 0).is_ok());
        rates.set([(Some(1), [rate(1, 3), None])].into_iter(), 0);
        assert!(take(&mut rates, Some(0), 0).is_ok(), "another rate begins full");
    }
}
