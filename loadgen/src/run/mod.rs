//! The loop that drives a run: send what is due, take what has arrived, until measuring is over and
//! all is answered.

mod failover;
mod prepare;

use crate::connection::{Broken, Connection, Reply, next_reply};
use crate::list::List;
use crate::monitor::{Monitor, Phase};
use crate::nodes::Nodes;
use crate::options::{LoadError, Options, Shape, Until, Wait};
use crate::plan::Plan;
use crate::poller::Poller;
use crate::record::Recorder;
use crate::report::{Ended, Failovers, Report};
use crate::slots::Sent;
use crate::transactions::{Planned, Transactions};
use catraca_wire::frame::{FLAG_CLOSING, SubmitFrame};
use failover::Next;
use prepare::prepare;
use quanta::{Clock, Instant};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// With a failover to go through, a node that answered nothing for so long is left, whether another
/// one decides or not: the longest budget, and the way there and back.
const SILENCE_SECONDS: f64 = 2.5;
/// A node that answered nothing for so long, nanoseconds, is left at once where another one
/// decides. PROTOCOL.md, "Following the primary".
const DOUBT_NS: u64 = 500_000_000;
/// How often it is looked for another one, nanoseconds.
const LOOK_EVERY_NS: u64 = 1_000_000_000;
/// How long another node may take to say that it decides.
const LOOK_TIME: Duration = Duration::from_millis(200);
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
/// Drives a run to its end on the calling thread, which it pins. Ends early when `monitor` says so.
///
/// # Errors
/// [`LoadError`] where the run can't begin. What goes wrong later is in the report
/// ([`Report::failure`], [`Report::violations`]).
pub fn run(options: &Options, monitor: &Monitor) -> Result<Report, LoadError> {
    let outcome = prepare(options).map(|run| run.drive(options, monitor));
    monitor.finish();
    outcome
}

struct Run {
    shape: Shape,
    verify: bool,
    wait: Wait,
    /// Whether epoll tells which sockets are ready.
    polled: bool,
    nodes: Nodes,
    asked_in_flight: u32,
    template: SubmitFrame,
    core: Option<usize>,
    list: List,
    clock: Clock,
    origin: Instant,
    connections: Vec<Connection>,
    epoll: Option<Poller>,
    plan: Option<Plan>,
    /// Where the next planned arrival goes, if it has room.
    next_connection: usize,
    transactions: Transactions,
    recorder: Recorder,
    received: Box<[u8]>,
    sending: bool,
    /// When the last transaction could have been sent, nanoseconds since the origin.
    sending_ended_ns: u64,
    /// Planned inside the measured time and never sent.
    unsent: u64,
    /// Wall clock, nanoseconds since 1970 UTC; read once a batch.
    event_time_ns: u64,
    /// Told to end early.
    interrupted: bool,
    /// When the last answer came, nanoseconds since the origin.
    last_answer_ns: u64,
    /// The longest measured time between two answers, nanoseconds.
    longest_gap_ns: u64,
    failovers: u64,
    /// [`Recorder::answered_ever`] when the last failover was over.
    answered_at_failover: u64,
    /// UNCONFIRMED answers that were not taken for one: the node is there.
    refused_to_say: u64,
    /// Something is to be sent again, before anything new.
    recovering: bool,
    /// Answered transactions to ask for again.
    rechecks: Vec<Planned>,
}

impl Run {
    fn drive(mut self, options: &Options, monitor: &Monitor) -> Report {
        self.origin = self.clock.now();
        let ended = loop {
            match self.turns(options, monitor) {
                Ok(ended) => break ended,
                Err((index, broken)) => {
                    let lost = matches!(broken, Broken::Lost(_)) && self.shape.failover_ns > 0;
                    let outcome = if lost {
                        self.fail_over(&broken, index, monitor)
                    } else {
                        Err(self.broken(index, &broken))
                    };
                    if let Err(ended) = outcome {
                        self.answered_until(self.now_ns());
                        break ended;
                    }
                }
            }
        };
        if self.sending {
            self.stop_sending(self.now_ns());
        }
        let failovers = Failovers { count: self.failovers, longest_gap_ns: self.longest_gap_ns };
        Report::new(
            options,
            &self.shape,
            self.core,
            &self.list,
            self.recorder,
            ended,
            self.sending_ended_ns,
            self.plan.as_ref().map(Plan::measured),
            self.unsent,
            failovers,
        )
    }

    fn turns(&mut self, options: &Options, monitor: &Monitor) -> Result<Ended, (usize, Broken)> {
        let may_leave = self.shape.failover_ns > 0;
        let stall_seconds = if may_leave {
            options.stall_seconds.min(SILENCE_SECONDS)
        } else {
            options.stall_seconds
        };
        let stall_ns = (stall_seconds * 1e9) as u64;
        let looks_from_ns = if may_leave { DOUBT_NS.min(stall_ns) } else { stall_ns };
        let mut active_before = 0;
        let mut last_progress_ns = 0;
        let mut next_look_ns = 0;
        self.event_time_ns = wall_clock_ns();
        if self.plan.is_none() {
            self.refill_all()?;
        }
        loop {
            let now_ns = self.now_ns();
            if self.sending {
                self.interrupted = monitor.stopped();
                if self.interrupted || self.is_over(now_ns) {
                    if !self.interrupted {
                        self.send_rest(now_ns)?;
                    }
                    self.stop_sending(now_ns);
                }
            }
            if self.recovering {
                self.send_again(now_ns)?;
                if !self.recovering && self.plan.is_none() {
                    self.refill_all()?;
                }
            }
            if self.sending && self.plan.is_some() {
                self.send_due(now_ns)?;
            }
            self.receive(now_ns)?;
            let phase = match self.sending {
                true if now_ns < self.shape.warmup_ns => Phase::WarmUp,
                true => Phase::Measuring,
                false => Phase::Draining,
            };
            monitor.publish(phase, self.recorder.answered_ever, self.recorder.sent, now_ns);
            let active = self.recorder.answered_ever + self.refused_to_say;
            if active != active_before || now_ns < last_progress_ns {
                active_before = active;
                last_progress_ns = now_ns;
            } else if !self.sending || now_ns - last_progress_ns > looks_from_ns {
                // Only here, because it looks at every slot.
                match self.oldest_unanswered_ns() {
                    None if !self.sending && self.rechecks.is_empty() => {
                        return Ok(if self.interrupted {
                            Ended::Interrupted
                        } else {
                            Ended::Completed
                        });
                    }
                    None => last_progress_ns = now_ns,
                    Some(sent_ns)
                        if now_ns.saturating_sub(sent_ns.max(last_progress_ns)) > stall_ns =>
                    {
                        if may_leave {
                            return Err((
                                0,
                                Broken::Lost(format!(
                                    "the node answered nothing for {stall_seconds} s"
                                )),
                            ));
                        }
                        return Ok(Ended::Stalled {
                            unanswered: self.unanswered(),
                            seconds: stall_seconds,
                        });
                    }
                    Some(sent_ns)
                        if may_leave
                            && now_ns >= next_look_ns
                            && now_ns.saturating_sub(sent_ns.max(last_progress_ns)) > DOUBT_NS =>
                    {
                        next_look_ns = now_ns + LOOK_EVERY_NS;
                        if self.nodes.another_decides(LOOK_TIME) {
                            return Err((
                                0,
                                Broken::Lost(
                                    "the node is silent, and another one decides".to_owned(),
                                ),
                            ));
                        }
                    }
                    Some(_) => {}
                }
            }
        }
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        self.clock.now().duration_since(self.origin).as_nanos() as u64
    }

    fn unanswered(&self) -> u64 {
        self.connections.iter().map(|connection| connection.slots.unanswered() as u64).sum()
    }

    fn oldest_unanswered_ns(&self) -> Option<u64> {
        self.connections.iter().filter_map(|connection| connection.slots.oldest_sent_ns()).min()
    }

    fn is_over(&self, now_ns: u64) -> bool {
        match self.shape.until {
            Until::ElapsedNs(measured_ns) => now_ns >= self.shape.warmup_ns + measured_ns,
            Until::Transactions(count) => self.recorder.sent >= count,
        }
    }

    /// Sends no more; counts what was planned for the time gone by and never sent.
    fn stop_sending(&mut self, now_ns: u64) {
        self.sending = false;
        let end_ns = match self.shape.until {
            Until::ElapsedNs(measured_ns) => now_ns.min(self.shape.warmup_ns + measured_ns),
            Until::Transactions(_) => now_ns,
        };
        self.sending_ended_ns = end_ns;
        if let (Some(plan), Until::ElapsedNs(_)) = (&mut self.plan, self.shape.until) {
            while plan.next_ns() < end_ns {
                self.unsent += u64::from(plan.next_ns() >= self.shape.warmup_ns);
                plan.advance();
            }
        }
    }

    /// How many more may be sent, as far as the number of transactions limits it.
    #[inline]
    fn sends_left(&self, now_ns: u64) -> u64 {
        match self.shape.until {
            Until::Transactions(count) if now_ns >= self.shape.warmup_ns => {
                count - self.recorder.sent.min(count)
            }
            _ => u64::MAX,
        }
    }

    fn refill_all(&mut self) -> Result<(), (usize, Broken)> {
        for index in 0..self.connections.len() {
            self.refill(index, self.now_ns())?;
        }
        Ok(())
    }

    /// Closed loop: sends one for each free slot of a connection, unless something else comes
    /// first.
    #[inline]
    fn refill(&mut self, index: usize, now_ns: u64) -> Result<(), (usize, Broken)> {
        if !self.sending || self.recovering {
            return Ok(());
        }
        let left = self.sends_left(now_ns);
        let connection = &mut self.connections[index];
        let measured = now_ns >= self.shape.warmup_ns;
        for _ in 0..(connection.room() as u64).min(left) {
            let (transaction, parties) = self.transactions.draw(self.event_time_ns);
            let sent =
                Sent { transaction, intended_ns: now_ns, sent_ns: now_ns, measured, again: false };
            self.recorder.sent(&sent);
            connection.gather(sent, &parties);
        }
        self.flush(index)
    }

    fn flush(&mut self, index: usize) -> Result<(), (usize, Broken)> {
        let connection = &mut self.connections[index];
        connection.flush();
        match &mut self.epoll {
            Some(poller) => poller
                .want_write(index, connection)
                .map_err(|e| (index, Broken::Final(format!("epoll refuses its socket ({e})")))),
            None => Ok(()),
        }
    }

    /// Open loop: sends what is due, in turn over the connections that have room. What finds none
    /// stays due, and is late.
    fn send_due(&mut self, now_ns: u64) -> Result<(), (usize, Broken)> {
        let Some(plan) = &mut self.plan else { return Ok(()) };
        if plan.next_ns() > now_ns {
            return Ok(());
        }
        self.event_time_ns = wall_clock_ns();
        let count = self.connections.len();
        let end_ns = match self.shape.until {
            Until::ElapsedNs(measured_ns) => self.shape.warmup_ns + measured_ns,
            Until::Transactions(_) => u64::MAX,
        };
        while plan.next_ns() <= now_ns && plan.next_ns() < end_ns {
            let roomy = (0..count)
                .map(|i| (self.next_connection + i) % count)
                .find(|&i| self.connections[i].room() > 0);
            let Some(index) = roomy else { break };
            let intended_ns = plan.next_ns();
            let measured = intended_ns >= self.shape.warmup_ns;
            if let Until::Transactions(limit) = self.shape.until
                && self.recorder.sent >= limit
            {
                break;
            }
            let (transaction, parties) = self.transactions.draw(self.event_time_ns);
            let sent = Sent { transaction, intended_ns, sent_ns: now_ns, measured, again: false };
            self.recorder.sent(&sent);
            self.connections[index].gather(sent, &parties);
            self.next_connection = if index + 1 == count { 0 } else { index + 1 };
            plan.advance();
        }
        for index in 0..count {
            if self.connections[index].has_unwritten() {
                self.flush(index)?;
            }
        }
        Ok(())
    }

    /// Open loop, when the time is over: sends what was due before and has not gone out, as far as
    /// there is room. What remains then was held back by the node's limit, not by this thread.
    fn send_rest(&mut self, now_ns: u64) -> Result<(), (usize, Broken)> {
        loop {
            let before = self.plan.as_ref().map(Plan::planned);
            self.send_due(now_ns)?;
            if self.plan.as_ref().map(Plan::planned) == before {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, now_ns: u64) -> Result<(), (usize, Broken)> {
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
    fn answered_until(&mut self, now_ns: u64) {
        let gap_ns = now_ns.saturating_sub(self.last_answer_ns.max(self.shape.warmup_ns));
        self.longest_gap_ns = self.longest_gap_ns.max(gap_ns);
        self.last_answer_ns = now_ns;
    }

    fn broken(&self, index: usize, broken: &Broken) -> Ended {
        let said = self
            .recorder
            .notice
            .as_ref()
            .map_or_else(String::new, |notice| format!("; it said {notice}"));
        Ended::Broken {
            connection: index,
            what: format!("{}{said}", broken.what()),
            unanswered: self.unanswered(),
        }
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

/// Wall clock, nanoseconds since 1970 UTC; 0 on a machine whose clock stands before that.
fn wall_clock_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
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
