//! How many segments of a stream to keep ready, and whose is made next: by the measured rate of its
//! log and the measured time that a segment takes to be made, not by a count alone. Pure: times and
//! lengths in, a decision out.
//!
//! A stream uses up a segment in `length / rate`, and one is made in `t`. So that none is missing
//! when one is needed, as many must be ready as are used up while one is made, and as many again
//! because both were measured and neither is steady: a disk that is busy with other things makes
//! one in five takes. What is used up faster than it can be made runs out whatever is ready; then
//! the shard waits for the disk.

use std::time::Duration;

/// Ready beyond what one making uses up, in makings: the disk may be so much slower than it was.
const SAFETY: f64 = 3.0;
/// Most that the measured rate has made ahead, bytes: what is made is taken from the disk for good.
/// More must be configured.
const MAX_AHEAD_LEN: u64 = 4 << 30;
/// Weight of the newest rate: one second at full load counts nearly whole after three looks.
const RISE: f64 = 0.5;
/// What the rate keeps of itself from look to look when there is less: a pause of a minute does not
/// unlearn it.
const KEEP: f64 = 0.98;
/// Longest time for making one that nobody is in a hurry for: a burst may come meanwhile.
const LONGEST_MAKING: Duration = Duration::from_secs(10);
/// How often rates are looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamNeed {
    /// Segments that exist.
    ready: u32,
    /// The one in use.
    in_use: u32,
    /// Bytes of log that were written when it was last looked.
    log_len: u64,
    /// Bytes a second, lately.
    rate: f64,
    /// When it got its last segment, counted in segments of all streams.
    served: u64,
}

/// All streams of a node.
#[derive(Debug, Clone)]
pub struct Needs {
    streams: Vec<StreamNeed>,
    segment_len: u64,
    /// Kept ready at least.
    least: u32,
    /// Time that the last segments took to be made; zero before the first.
    making: Duration,
    /// Segments made.
    made: u64,
}

impl Needs {
    /// Of streams that have so many segments each and use this one of them, of `segment_len` bytes,
    /// with at least `least` of them kept ready ahead of it.
    pub fn new(streams: &[(u32, u32)], segment_len: u64, least: u32) -> Self {
        let stream = |&(ready, in_use): &(u32, u32)| StreamNeed {
            ready,
            in_use,
            log_len: 0,
            rate: 0.0,
            served: 0,
        };
        Self {
            streams: streams.iter().map(stream).collect(),
            segment_len,
            least,
            making: Duration::ZERO,
            made: 0,
        }
    }

    /// A stream has moved on to this segment.
    pub fn in_use(&mut self, stream: usize, segment: u32) {
        self.streams[stream].in_use = segment;
    }

    /// So many bytes of a stream's log were written by now, `since` after the last look.
    pub fn look(&mut self, stream: usize, log_len: u64, since: Duration) {
        let stream = &mut self.streams[stream];
        let now = log_len.saturating_sub(stream.log_len) as f64 / since.as_secs_f64().max(1e-3);
        stream.log_len = log_len;
        stream.rate = if now > stream.rate {
            stream.rate + RISE * (now - stream.rate)
        } else {
            (KEEP * stream.rate).max(now)
        };
    }

    /// Another segment of a stream is there, made in this time. Gives how many there are.
    pub fn made(&mut self, stream: usize, took: Duration) -> u32 {
        // The slowest of late: what was slow once may be so again.
        self.making = took.max(self.making.mul_f64(0.9));
        self.made += 1;
        let stream = &mut self.streams[stream];
        (stream.ready, stream.served) = (stream.ready + 1, self.made);
        stream.ready
    }

    /// Number of the next segment of a stream.
    pub fn next(&self, stream: usize) -> u32 {
        self.streams[stream].ready
    }

    /// How many segments of a stream are to be ready ahead of the one in use.
    pub fn wanted(&self, stream: usize) -> u32 {
        let used_up =
            self.streams[stream].rate * self.making.as_secs_f64() / self.segment_len as f64;
        let most = (MAX_AHEAD_LEN / self.segment_len).min(u64::from(u32::MAX)) as u32;
        // As a float it fits whatever was measured: `as` stops at the type's end.
        ((used_up * (1.0 + SAFETY)).ceil() as u32).min(most).max(self.least)
    }

    /// How long the making of a stream's next segment may take: half of what the ready ones last for
    /// at the measured rate, and no longer than ten seconds.
    pub fn time_for(&self, stream: usize) -> Duration {
        Duration::from_secs_f64((self.lasts_s(stream) / 2.0).min(LONGEST_MAKING.as_secs_f64()))
    }

    /// Ready segments of a stream, ahead of the one in use.
    fn left(&self, stream: usize) -> u32 {
        (self.streams[stream].ready - 1).saturating_sub(self.streams[stream].in_use)
    }

    /// Seconds until a stream has used them up.
    fn lasts_s(&self, stream: usize) -> f64 {
        f64::from(self.left(stream)) * self.segment_len as f64 / self.streams[stream].rate.max(1.0)
    }

    /// The stream to make a segment for now: of those that have fewer than they should, the one
    /// whose ready ones last for the shortest time; of equals the one that got its last one longest
    /// ago, so that none is left out while the disk can't keep up.
    pub fn most_wanting(&self) -> Option<usize> {
        let wanting =
            (0..self.streams.len()).filter(|&stream| self.left(stream) < self.wanted(stream));
        wanting.min_by(|&a, &b| {
            self.lasts_s(a)
                .total_cmp(&self.lasts_s(b))
                .then(self.streams[a].served.cmp(&self.streams[b].served))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SECOND: Duration = Duration::from_secs(1);

    /// One stream at a steady rate, looked at so often, on a disk that makes a segment in this
    /// time.
    fn at(rate: u64, looks: u64, making: Duration) -> Needs {
        let mut needs = Needs::new(&[(3, 2)], 128 * MIB, 2);
        for look in 1..=looks {
            needs.look(0, look * rate / 5, LOOK_EVERY);
        }
        needs.made(0, making);
        needs
    }

    #[test]
    fn a_quiet_stream_has_what_is_configured() {
        assert_eq!(at(0, 50, SECOND).wanted(0), 2);
        assert_eq!(at(MIB, 50, SECOND).wanted(0), 2);
    }

    #[test]
    fn a_fast_one_has_what_is_used_up_while_one_is_made_and_more() {
        // 500 MB/s, and a busy disk: four segments are used up in a second.
        assert_eq!(at(512 * MIB, 20, SECOND).wanted(0), 16);
        assert_eq!(at(512 * MIB, 20, SECOND / 4).wanted(0), 4);
        // A disk that hangs is no reason to fill it.
        assert_eq!(
            at(512 * MIB, 20, 3_600 * SECOND).wanted(0),
            (MAX_AHEAD_LEN / (128 * MIB)) as u32
        );
        // What is configured counts where it is more.
        let mut needs = Needs::new(&[(1, 0)], 128 * MIB, 100);
        needs.made(0, 3_600 * SECOND);
        assert_eq!(needs.wanted(0), 100);
    }

    #[test]
    fn who_has_none_left_has_no_time_and_a_quiet_stream_has_some() {
        let mut needs = Needs::new(&[(3, 0)], 128 * MIB, 2);
        assert_eq!(needs.time_for(0), LONGEST_MAKING);
        for look in 1..=20 {
            needs.look(0, look * 128 * MIB / 5, LOOK_EVERY);
        }
        let half = needs.time_for(0).as_secs_f64();
        assert!((0.99..1.01).contains(&half), "two last for two seconds: {half}");
        needs.in_use(0, 2);
        assert_eq!(needs.time_for(0), Duration::ZERO);
    }

    #[test]
    fn a_burst_is_learned_at_once_and_forgotten_slowly() {
        let mut needs = at(512 * MIB, 3, SECOND);
        assert!(needs.wanted(0) >= 14, "{}", needs.wanted(0));
        let log_len = 3 * 512 * MIB / 5;
        for _ in 0..50 {
            needs.look(0, log_len, LOOK_EVERY);
        }
        assert!((5..14).contains(&needs.wanted(0)), "after ten seconds: {}", needs.wanted(0));
        for _ in 0..1_000 {
            needs.look(0, log_len, LOOK_EVERY);
        }
        assert_eq!(needs.wanted(0), 2);
    }

    #[test]
    fn who_runs_out_first_is_served_first() {
        let mut needs = Needs::new(&[(3, 0), (3, 0)], 128 * MIB, 2);
        assert_eq!(needs.most_wanting(), None, "what an earlier run prepared is there");
        needs.in_use(0, 2);
        needs.in_use(1, 1);
        assert_eq!(needs.most_wanting(), Some(0), "it has none left");
        needs.made(0, SECOND / 10);
        // One left each, and the second one is faster.
        needs.look(1, 500 * MIB, SECOND);
        assert_eq!(needs.most_wanting(), Some(1));
        for ready in 4..=7 {
            assert_eq!(needs.made(1, SECOND / 10), ready);
        }
        assert_eq!(needs.most_wanting(), Some(0));
    }

    #[test]
    fn none_is_left_out_where_the_disk_can_not_keep_up() {
        let mut needs = Needs::new(&[(1, 0); 8], 128 * MIB, 2);
        let mut served = [0; 8];
        for _ in 0..80 {
            let stream = needs.most_wanting().expect("all want one");
            served[stream] += 1;
            // It takes it at once.
            let ready = needs.made(stream, SECOND);
            needs.in_use(stream, ready - 1);
        }
        assert_eq!(served, [10; 8]);
    }
}
