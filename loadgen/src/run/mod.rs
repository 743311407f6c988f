//! The loop that drives a run: send what is due, take what has arrived, until measuring is over and
//! all is answered. What sends is in `send`, what takes the answers in `receive`.

mod failover;
mod prepare;
mod receive;
mod send;

use crate::connection::{Broken, Connection};
use crate::list::List;
use crate::monitor::{Monitor, Phase};
use crate::nodes::Nodes;
use crate::options::{LoadError, Options, Shape, Until, Wait};
use crate::plan::Plan;
use crate::poller::Poller;
use crate::record::Recorder;
use crate::report::{Ended, Failovers, Report};
use crate::scenario::Traffic;
use crate::transactions::{Planned, Transactions};
use catraca_wire::frame::SubmitFrame;
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
    /// What is sent instead of transactions, where scenarios are asked for.
    traffic: Option<Traffic>,
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

/// Wall clock, nanoseconds since 1970 UTC; 0 on a machine whose clock stands before that.
fn wall_clock_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}
