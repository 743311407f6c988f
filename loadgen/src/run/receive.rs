//! What arrives: each answer goes to the transaction that it answers, and makes room for the next.
//! And how long the loop may sleep until then.

use super::failover::{self, Next};
use super::{Run, wall_clock_ns};
use crate::connection::{Broken, Reply, next_reply};
use crate::plan::Plan;
use catraca_wire::frame::FLAG_CLOSING;

/// Longest sleep while waiting, nanoseconds: how soon an interruption or a stall is noticed.
const MAX_SLEEP_NS: u64 = 50_000_000;
/// An open loop that may sleep asks again and again for this long before an intended time,
/// nanoseconds: what a wake-up may take.
const AWAKE_BEFORE_DUE_NS: u64 = 20_000;
/// With a shorter mean gap than this, nanoseconds, staying awake before each intended time would
/// mean not sleeping at all, and starve the threads that share the core. Such a loop sleeps between
/// batches instead, at least [`BATCH_SLEEP_NS`].
const PRECISE_GAP_NS: f64 = 100_000.0;
/// Shortest sleep between two batches of a fast open loop, nanoseconds: so late a send may be for
/// it, a fiftieth of what counts as late.
const BATCH_SLEEP_NS: u64 = 20_000;

impl Run {
    pub(super) fn receive(&mut self, now_ns: u64) -> Result<(), (usize, Broken)> {
        let Some(poller) = &mut self.epoll else {
            for index in 0..self.connections.len() {
                if self.connections[index].has_unwritten() {
                    self.flush(index)?;
                }
                self.receive_from(index)?;
            }
            return Ok(());
        };
        let sleep_ns = match &self.plan {
            Some(plan) if self.sending => {
                open_loop_sleep_ns(plan, now_ns, || self.connections.iter().any(|c| c.room() > 0))
            }
            _ => MAX_SLEEP_NS,
        };
        poller.wait(sleep_ns).map_err(|e| (0, Broken::Final(format!("epoll failed ({e})"))))?;
        let mut position = 0;
        while let Some((index, writable)) =
            self.epoll.as_ref().and_then(|poller| poller.ready(position))
        {
            position += 1;
            if writable {
                self.flush(index)?;
            }
            self.receive_from(index)?;
        }
        Ok(())
    }

    /// Takes what has arrived on a connection and, in a closed loop, sends as many.
    #[inline]
    fn receive_from(&mut self, index: usize) -> Result<(), (usize, Broken)> {
        let connection = &mut self.connections[index];
        let mut bytes = connection.read(&mut self.received).map_err(|broken| (index, broken))?;
        if bytes.is_empty() {
            return Ok(());
        }
        // One time for all that one read brought: they were there together.
        let now_ns = self.clock.now().duration_since(self.origin).as_nanos() as u64;
        let answered_before = self.recorder.answered_ever;
        let mut left = None;
        while let Some(reply) = next_reply(&mut bytes).map_err(|broken| (index, broken))? {
            match reply {
                Reply::Verdict(frame) => match connection
                    .slots
                    .release(frame.header.correlation.to_native())
                {
                    Ok(sent) => {
                        self.recorder.verdict(index, &sent, frame, &mut self.transactions, now_ns)
                    }
                    Err(mismatch) => self.recorder.mismatch(
                        index,
                        frame.header.correlation.to_native(),
                        mismatch,
                    ),
                },
                Reply::Error(frame) => {
                    let correlation = frame.header.correlation.to_native();
                    let closing = frame.header.flags.to_native() & FLAG_CLOSING != 0;
                    match failover::next(
                        frame,
                        connection.slots.get_mut(correlation),
                        now_ns,
                        self.shape.failover_ns,
                    ) {
                        Next::Leave => left = Some(failover::left(frame)),
                        Next::Ask => {
                            connection.send_again(correlation);
                            self.refused_to_say += 1;
                            self.recovering = true;
                        }
                        Next::Count => match connection.slots.release(correlation) {
                            Ok(sent) => {
                                self.recorder.error(&sent, frame, now_ns);
                                if closing {
                                    self.recorder.notice(frame);
                                }
                            }
                            Err(_) if correlation == 0 || closing => self.recorder.notice(frame),
                            Err(mismatch) => self.recorder.mismatch(index, correlation, mismatch),
                        },
                    }
                }
            }
        }
        connection.stash(bytes);
        if self.recorder.answered_ever != answered_before {
            self.answered_until(now_ns);
        }
        if let Some(left) = left {
            return Err((index, left));
        }
        if self.plan.is_none() {
            self.event_time_ns = wall_clock_ns();
            let now_ns = self.now_ns();
            self.refill(index, now_ns)?;
        }
        Ok(())
    }

    /// Answers came, or the run ends: measures the time since the last ones.
    pub(super) fn answered_until(&mut self, now_ns: u64) {
        let gap_ns = now_ns.saturating_sub(self.last_answer_ns.max(self.shape.warmup_ns));
        self.longest_gap_ns = self.longest_gap_ns.max(gap_ns);
        self.last_answer_ns = now_ns;
    }
}

/// How long an open loop may sleep unless a reply comes. `now_ns` is the time up to which it has
/// sent what was due.
fn open_loop_sleep_ns(plan: &Plan, now_ns: u64, has_room: impl Fn() -> bool) -> u64 {
    match plan.next_ns().checked_sub(now_ns) {
        // Something is due and did not go out: either a gathering was full, or only a reply makes
        // room.
        None | Some(0) => {
            if has_room() {
                0
            } else {
                MAX_SLEEP_NS
            }
        }
        Some(left_ns) if plan.mean_gap_ns() < PRECISE_GAP_NS => {
            left_ns.clamp(BATCH_SLEEP_NS, MAX_SLEEP_NS)
        }
        Some(left_ns) => left_ns.saturating_sub(AWAKE_BEFORE_DUE_NS).min(MAX_SLEEP_NS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Arrivals;

    #[test]
    fn an_open_loop_sleeps_as_long_as_its_rate_allows() {
        let sleep_ns = |rate: f64, now_ns: u64, has_room: bool| {
            let mut plan = Plan::new(rate, Arrivals::Fixed, 1, 0);
            plan.advance();
            open_loop_sleep_ns(&plan, now_ns, || has_room)
        };
        // A gap of 1 ms: awake for the last 20 us of it.
        assert_eq!(sleep_ns(1_000.0, 0, true), 980_000);
        assert_eq!(sleep_ns(1_000.0, 990_000, true), 0);
        // A gap of 1 us: never awake without pause.
        assert_eq!(sleep_ns(1e6, 0, true), BATCH_SLEEP_NS);
        // A gap of 10 s: looks at the monitor in between.
        assert_eq!(sleep_ns(0.1, 0, true), MAX_SLEEP_NS);
        // Due and not sent: at once where there is room, else when a reply comes.
        assert_eq!(sleep_ns(1e6, 5_000, true), 0);
        assert_eq!(sleep_ns(1e6, 5_000, false), MAX_SLEEP_NS);
    }
}
