//! What is unanswered, and the promise about it: each request gets its answer, over as many
//! connections as that takes, or is given up when its time is over.
//!
//! The rules are those of the blocking client (PROTOCOL.md, "Writing a client" and "Following the
//! primary"): sending a transaction again is safe because the node remembers. Here several connections
//! share one queue. What was on a lost connection goes to the next one that has room, oldest first.
//!
//! Pure: time and chance are handed in, and what is to be done comes out as [`Effect`]s. `recovery.rs`
//! has what a lost connection and a silent node call for.

use super::lane::{Lane, Ready, State};
use super::request::{Outcome, Request, outcome_of};
use catraca_wire::client::ServerError;
use catraca_wire::client::rules::{Body, MAX_HOPS, UNNOTICED_US, address, is_final_refusal};
use catraca_wire::frame::{ErrorCode, FrameKind, PingFrame, PrincipalFields, Role, Welcome};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// After so long without a word a node is sent a PING: a connection that is gone although nobody told
/// is found before a payment is lost on it.
pub(super) const PING_EVERY_NS: u64 = 1_000_000_000;
/// A node that does not answer a PING for so long is gone: it answers at once, whatever it does.
pub(super) const PING_PATIENCE_NS: u64 = 3_000_000_000;
/// A connection whose node said nothing for longer is no sign that a primary answers: a PING, and time
/// for its answer.
const READY_WITHIN_NS: u64 = 2 * PING_EVERY_NS;

/// Where a frame has its correlation, bytes.
const CORRELATION: Range<usize> = 8..16;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect, shake hands, and tell [`Exchange::dialled`].
    Dial {
        /// Names the attempt, and the connection that it makes.
        attempt: u64,
        /// Where to.
        address: String,
        /// How much time it has.
        patience: Patience,
    },
    /// Drop this connection or attempt.
    Close {
        /// The attempt that made it.
        attempt: u64,
    },
    /// A request has ended.
    Ended {
        /// What [`Exchange::offer`] gave.
        ticket: u64,
        /// How.
        outcome: Outcome,
    },
}

/// How much time an attempt has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It only looks whether that node is a primary, beside one that may be.
    Look,
    /// Payments wait, and another address may be the one.
    Short,
    /// Every address was tried more than once in vain: a node that is busy may need longer.
    Long,
}

/// Why an attempt made no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// The node refused.
    Refused(ServerError),
    /// There was no answer, or none that makes sense.
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) deadline_ns: u64,
    /// It went out on a connection that is there.
    pub(super) is_sent: bool,
    /// It went out before.
    pub(super) was_sent: bool,
    /// It went out on a connection that was lost: it may have been recorded.
    pub(super) in_doubt: bool,
}

/// The unanswered requests, and the connections that carry them.
#[derive(Debug)]
pub struct Exchange {
    pub(super) lanes: Vec<Lane>,
    pub(super) pending: BTreeMap<u64, Pending>,
    /// Those of them that no connection carries, oldest first.
    pub(super) waiting: BTreeSet<u64>,
    /// Deadline and ticket of each.
    pub(super) deadlines: BTreeSet<(u64, u64)>,
    max_in_flight: usize,
    /// Tickets are correlations, and the correlations of PINGs are from the same numbers.
    next_correlation: u64,
    next_attempt: u64,
    pub(super) effects: VecDeque<Effect>,
    /// State of the chance that pauses are jittered with.
    chance: u64,
}

impl Exchange {
    /// So many connections to the primary of these nodes, with at most so many requests at once.
    ///
    /// # Panics
    /// Without a node.
    pub fn new(nodes: &[String], connections: usize, max_in_flight: usize, seed: u64) -> Self {
        Self {
            lanes: (0..connections).map(|_| Lane::new(nodes)).collect(),
            pending: BTreeMap::new(),
            waiting: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            max_in_flight,
            next_correlation: 1,
            next_attempt: 1,
            effects: VecDeque::new(),
            chance: seed | 1,
        }
    }

    /// Asks each node first whether it lets this program speak for others, as for this one: until one does, none is
    /// ready.
    #[must_use]
    pub fn speaking_for(mut self, principal: &PrincipalFields) -> Self {
        for lane in &mut self.lanes {
            lane.trial = Some(Box::new(*principal));
        }
        self
    }

    /// Takes a request that may be answered until `deadline_ns`; gives its ticket. It goes out with the
    /// next [`Self::tick`].
    ///
    /// # Errors
    /// [`Outcome::Full`] where as many wait as may; it was not taken.
    pub fn offer(&mut self, request: Request, deadline_ns: u64) -> Result<u64, Outcome> {
        if self.pending.len() >= self.max_in_flight {
            return Err(Outcome::Full);
        }
        let ticket = self.next_correlation();
        let (is_sent, was_sent, in_doubt) = (false, false, false);
        self.pending.insert(ticket, Pending { request, deadline_ns, is_sent, was_sent, in_doubt });
        self.deadlines.insert((deadline_ns, ticket));
        self.waiting.insert(ticket);
        Ok(ticket)
    }

    /// What became of an attempt.
    pub fn dialled(&mut self, attempt: u64, came: Result<Welcome, DialError>, now_ns: u64) {
        for at in 0..self.lanes.len() {
            match self.lanes[at].state {
                State::Dialling { attempt: dialling, hops } if dialling == attempt => {
                    return self.connected(at, attempt, hops, came, now_ns);
                }
                _ => {}
            }
            if self.lanes[at].looks.iter().any(|(look, _)| *look == attempt) {
                return self.looked(at, attempt, came, now_ns);
            }
        }
        // Nobody waits for it any more.
        self.effects.push_back(Effect::Close { attempt });
    }

    fn connected(
        &mut self,
        at: usize,
        attempt: u64,
        hops: usize,
        came: Result<Welcome, DialError>,
        now_ns: u64,
    ) {
        let lane = &mut self.lanes[at];
        match came {
            Ok(welcome) if welcome.role == Role::Primary.to_wire() => {
                lane.route.found();
                lane.doubtful = false;
                self.adopt(at, ready(attempt, &welcome, now_ns));
            }
            Ok(welcome) => {
                self.effects.push_back(Effect::Close { attempt });
                let named = lane.route.standby(address(&welcome.primary));
                if named && hops < MAX_HOPS {
                    return self.dial(at, hops + 1);
                }
                let why = lane.route.no_primary().unwrap_or_default();
                self.failed(at, why, now_ns);
            }
            Err(error) => {
                let why = match error {
                    DialError::Refused(error) => {
                        let said = format!("the node refused: {error}");
                        lane.refused = is_final_refusal(error.code).then_some(error);
                        said
                    }
                    DialError::Failed(why) => why,
                };
                lane.route.failed(why.clone());
                let why = lane.route.no_primary().unwrap_or(why);
                self.failed(at, why, now_ns);
            }
        }
    }

    /// A reply that came over the connection of this attempt.
    pub fn received(&mut self, attempt: u64, correlation: u64, body: Body, now_ns: u64) {
        let Some(at) = self.lane_of(attempt) else { return };
        let lane = &mut self.lanes[at];
        let nodes = lane.route.len();
        let Some(ready) = lane.ready() else { return };
        ready.quiet_since_ns = now_ns;
        if matches!(body, Body::Pong { .. })
            && ready.ping.is_some_and(|(ping, _)| ping == correlation)
        {
            ready.ping = None;
            if std::mem::take(&mut ready.is_on_trial) {
                // Nothing but an ERROR answers ON_BEHALF, and that would have come before.
                (lane.trial, lane.refused) = (None, None);
            }
            return;
        }
        let is_carried = ready.carried.contains(&correlation);
        if !is_carried {
            let is_late = (1..self.next_correlation).contains(&correlation);
            return match body {
                Body::Error(error) if error.closing => {
                    let why = format!("the node closes the connection: {error}");
                    if error.code == ErrorCode::Forbidden {
                        return self.silence(at, error, why, now_ns);
                    }
                    self.lose(at, why, now_ns);
                }
                // Its request was given up.
                body if is_late && !matches!(body, Body::Welcome(_) | Body::Pong { .. }) => {}
                body => self.lose(at, unexpected(body.kind(), correlation), now_ns),
            };
        }
        let Some(pending) = self.pending.get_mut(&correlation) else { return };
        if !pending.request.is_answered_by(body.kind()) {
            return self.lose(at, unexpected(body.kind(), correlation), now_ns);
        }
        if let Body::Error(error) = &body
            && goes_elsewhere(error.code, nodes)
        {
            // This request was not recorded by this node, and goes to another one with the others.
            ready.carried.remove(&correlation);
            pending.is_sent = false;
            self.waiting.insert(correlation);
            return self.leave(at, error, now_ns);
        }
        let closing = match &body {
            Body::Error(error) if error.closing => Some(error.to_string()),
            _ => None,
        };
        ready.has_answered = true;
        lane.failures = 0;
        lane.doubtful |=
            matches!(&body, Body::Error(error) if error.code == ErrorCode::Unconfirmed);
        let in_doubt = pending.in_doubt;
        match outcome_of(body, in_doubt) {
            Some(outcome) => self.end(correlation, outcome),
            None => return self.lose(at, unexpected(FrameKind::Record, correlation), now_ns),
        }
        if let Some(ready) = self.lanes[at].ready() {
            ready.carried.remove(&correlation);
        }
        if let Some(error) = closing {
            self.lose(at, format!("the node closes the connection: {error}"), now_ns);
        }
    }

    /// The connection of this attempt is gone.
    pub fn lost(&mut self, attempt: u64, why: String, now_ns: u64) {
        if let Some(at) = self.lane_of(attempt) {
            self.lose(at, why, now_ns);
        }
    }

    /// Does what it is time for, and sends what can be sent. To be called after every event, and at
    /// [`Self::next_wake`].
    pub fn tick(&mut self, now_ns: u64) {
        self.expire(now_ns);
        for at in 0..self.lanes.len() {
            self.watch(at, now_ns);
        }
        self.send_waiting(now_ns);
        self.refuse_waiting();
    }

    /// When [`Self::tick`] has something to do that no event calls for.
    pub fn next_wake(&self) -> u64 {
        let deadline = self.deadlines.first().map(|(deadline_ns, _)| *deadline_ns);
        self.lanes.iter().filter_map(Self::lane_wakes).chain(deadline).min().unwrap_or(u64::MAX)
    }

    /// The next thing to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Bytes to be written, each with the attempt that made their connection.
    pub fn take_output(&mut self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.lanes.iter_mut().filter_map(|lane| {
            let ready = lane.ready().filter(|ready| !ready.output.is_empty())?;
            Some((ready.attempt, std::mem::take(&mut ready.output)))
        })
    }

    /// Whether a primary answers.
    pub fn is_ready(&self, now_ns: u64) -> bool {
        self.lanes.iter().filter_map(Lane::in_use).any(|ready| {
            let silence_ns = now_ns.saturating_sub(ready.quiet_since_ns);
            silence_ns <= READY_WITHIN_NS
        })
    }

    /// The refusal that another attempt does not change, where there is one and no connection carries requests.
    pub fn refused(&self) -> Option<&ServerError> {
        if self.lanes.iter().any(|lane| lane.in_use().is_some()) {
            return None;
        }
        self.lanes.iter().find_map(|lane| lane.refused.as_ref())
    }

    /// Why there is no connection, for a person; of the lane that said it last.
    pub fn trouble(&self) -> &str {
        let down = |lane: &&Lane| lane.in_use().is_none();
        self.lanes.iter().find(down).map_or("a node does not answer", |lane| &lane.last_failure)
    }

    /// How many requests have not ended.
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn end(&mut self, ticket: u64, outcome: Outcome) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        self.deadlines.remove(&(pending.deadline_ns, ticket));
        self.waiting.remove(&ticket);
        self.effects.push_back(Effect::Ended { ticket, outcome });
    }

    pub(super) fn next_correlation(&mut self) -> u64 {
        self.next_correlation += 1;
        self.next_correlation - 1
    }

    pub(super) fn next_attempt(&mut self) -> u64 {
        self.next_attempt += 1;
        self.next_attempt - 1
    }

    /// Xorshift: it only has to spread.
    pub(super) fn next_chance(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    fn lane_of(&mut self, attempt: u64) -> Option<usize> {
        self.lanes.iter_mut().position(|lane| lane.ready_by(attempt).is_some())
    }

    /// Gives what waits to the connections that have room, the emptiest first.
    fn send_waiting(&mut self, now_ns: u64) {
        while let Some(&ticket) = self.waiting.first() {
            let roomy = self.lanes.iter_mut().filter_map(|lane| Some((lane.room()?, lane)));
            let Some((_, lane)) = roomy.min_by_key(|(carried, _)| *carried) else { return };
            self.waiting.remove(&ticket);
            let Some(pending) = self.pending.get_mut(&ticket) else { continue };
            if !encode(pending, ticket, now_ns, lane) {
                let detail = "its budget was over before it could be sent".to_owned();
                let in_doubt = pending.in_doubt;
                self.end(ticket, Outcome::NoAnswer { detail, in_doubt });
            }
        }
    }

    /// Puts a PING onto a connection.
    pub(super) fn ping(&mut self, at: usize, now_ns: u64) {
        let correlation = self.next_correlation();
        if let Some(ready) = self.lanes[at].ready() {
            ready.ping = Some((correlation, now_ns));
            let frame = PingFrame::empty(correlation);
            ready.output.extend_from_slice(bytemuck::bytes_of(&frame));
        }
    }
}

pub(super) fn ready(attempt: u64, welcome: &Welcome, now_ns: u64) -> Ready {
    Ready {
        attempt,
        limit: welcome.in_flight as usize,
        epoch: welcome.epoch,
        carried: BTreeSet::new(),
        quiet_since_ns: now_ns,
        ping: None,
        behalf: None,
        has_answered: false,
        is_on_trial: false,
        output: Vec::new(),
    }
}

/// Whether a refusal means to ask another node, with so many known. A node that is no primary may name
/// the one that is, so one is enough then.
fn goes_elsewhere(code: ErrorCode, nodes: usize) -> bool {
    code == ErrorCode::NotPrimary || code == ErrorCode::ShuttingDown && nodes > 1
}

fn unexpected(kind: FrameKind, correlation: u64) -> String {
    format!(
        "the node broke the protocol: a {kind} with correlation {correlation}, which nothing asked for"
    )
}

/// Puts a request onto a connection, with what is left of its budget; `false` where nothing is.
fn encode(pending: &mut Pending, ticket: u64, now_ns: u64, lane: &mut Lane) -> bool {
    let budget_us = pending.request.budget_us();
    let was_sent = pending.was_sent;
    let Some(ready) = lane.ready() else { return false };
    match &mut pending.request {
        Request::Submit { behalf, frame, budget_end_ns } => {
            let left_us = budget_end_ns.saturating_sub(now_ns) / 1_000;
            let left_us = u32::try_from(left_us).unwrap_or(budget_us).min(budget_us);
            if left_us == 0 {
                return false;
            }
            if was_sent || left_us.saturating_add(UNNOTICED_US) < budget_us {
                frame.transaction.budget_us = left_us.into();
            }
            frame.header.correlation = ticket.into();
            ready.speak_for(behalf.as_deref());
            ready.output.extend_from_slice(bytemuck::bytes_of(&**frame));
        }
        Request::Ask { behalf, frame, .. } => {
            ready.speak_for(behalf.as_deref());
            frame[CORRELATION].copy_from_slice(&ticket.to_le_bytes());
            ready.output.extend_from_slice(frame);
        }
    }
    (pending.is_sent, pending.was_sent) = (true, true);
    if ready.carried.is_empty() && ready.ping.is_none() {
        ready.quiet_since_ns = now_ns;
    }
    ready.carried.insert(ticket);
    true
}
