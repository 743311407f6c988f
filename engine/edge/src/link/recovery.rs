//! When a connection is lost, or its node falls silent: what is unanswered waits for the next one, and
//! that is looked for. Pure, as [`Exchange`] is.

use super::exchange::{
    DialError, Effect, Exchange, PING_EVERY_NS, PING_PATIENCE_NS, Patience, ready,
};
use super::lane::{Lane, Ready, State};
use super::request::{Outcome, Request};
use catraca_wire::client::ServerError;
use catraca_wire::client::rules::{LOOK_EVERY, SILENCE, pause};
use catraca_wire::frame::{ErrorCode, Role, Welcome};
use std::time::Duration;

/// Bounds of the pauses between attempts, milliseconds: those that PROTOCOL.md names, but for the
/// longest, because many callers wait for one gateway.
const PAUSE_MS: (u64, u64) = (50, 500);

impl Exchange {
    /// Begins an attempt at the lane's next address.
    pub(super) fn dial(&mut self, at: usize, hops: usize) {
        let attempt = self.next_attempt();
        let lane = &mut self.lanes[at];
        lane.state = State::Dialling { attempt, hops };
        let address = lane.route.address().to_owned();
        let is_in_vain = lane.failures as usize > 2 * lane.route.len();
        let patience = if is_in_vain { Patience::Long } else { Patience::Short };
        self.effects.push_back(Effect::Dial { attempt, address, patience });
    }

    /// Nothing came of an attempt, or a connection was lost: the next one after a pause.
    pub(super) fn failed(&mut self, at: usize, why: String, now_ns: u64) {
        let chance = self.next_chance();
        let lane = &mut self.lanes[at];
        lane.failures = lane.failures.saturating_add(1);
        lane.last_failure = why;
        let pause = pause(PAUSE_MS.0, PAUSE_MS.1, lane.failures, chance);
        lane.state = State::Pausing { until_ns: now_ns.saturating_add(nanos(pause)) };
    }

    /// The connection is of no use any more.
    pub(super) fn lose(&mut self, at: usize, why: String, now_ns: u64) {
        self.lanes[at].route.failed(why.clone());
        self.drop_connection(at);
        self.failed(at, why, now_ns);
    }

    /// Uses a connection from now on; where it is not known whether its node lets this program speak for others,
    /// that is asked first. Only an ERROR answers ON_BEHALF, so that the PONG behind it says yes.
    pub(super) fn adopt(&mut self, at: usize, made: Ready) {
        let now_ns = made.quiet_since_ns;
        let lane = &mut self.lanes[at];
        let trial = lane.trial.clone();
        lane.state = State::Ready(made);
        let Some((principal, ready)) = trial.zip(lane.ready()) else {
            lane.refused = None;
            return;
        };
        ready.is_on_trial = true;
        ready.speak_for(Some(&principal));
        self.ping(at, now_ns);
    }

    /// The node does not let this program speak for others. Another attempt does not change that before the operator
    /// does: each asks from now on before it carries anything.
    pub(super) fn silence(&mut self, at: usize, error: ServerError, why: String, now_ns: u64) {
        let lane = &mut self.lanes[at];
        if let Some(ready) = lane.ready()
            && let Some(principal) = ready.behalf.clone()
        {
            lane.trial = Some(principal);
            lane.refused = Some(error);
            self.take_back_undone(at);
        }
        self.lose(at, why, now_ns);
    }

    /// Takes back what went out behind a refused ON_BEHALF, before which nothing goes: the node took none of it. One
    /// that has answered something had let this program speak, and nothing is known of the rest.
    fn take_back_undone(&mut self, at: usize) {
        let Some(ready) = self.lanes[at].ready().filter(|ready| !ready.has_answered) else {
            return;
        };
        for ticket in std::mem::take(&mut ready.carried) {
            if let Some(pending) = self.pending.get_mut(&ticket) {
                pending.is_sent = false;
                self.waiting.insert(ticket);
            }
        }
    }

    /// The node says that another one is to be asked.
    pub(super) fn leave(&mut self, at: usize, error: &ServerError, now_ns: u64) {
        let why = format!("the node does not decide: {error}");
        if error.code == ErrorCode::NotPrimary {
            self.lanes[at].route.standby(None);
        } else {
            self.lanes[at].route.failed(why.clone());
        }
        self.drop_connection(at);
        self.failed(at, why, now_ns);
    }

    /// Takes back what the connection carried, to be sent again, and closes it.
    fn drop_connection(&mut self, at: usize) {
        let Some(ready) = self.lanes[at].ready() else { return };
        let (attempt, carried) = (ready.attempt, std::mem::take(&mut ready.carried));
        self.effects.push_back(Effect::Close { attempt });
        self.take_back(carried);
        for (look, _) in std::mem::take(&mut self.lanes[at].looks) {
            self.effects.push_back(Effect::Close { attempt: look });
        }
    }

    fn take_back(&mut self, carried: impl IntoIterator<Item = u64>) {
        for ticket in carried {
            let Some(pending) = self.pending.get_mut(&ticket) else { continue };
            if !pending.request.is_repeatable() {
                let detail = "the connection was lost before the node said what came of it";
                self.end(ticket, Outcome::NoAnswer { detail: detail.to_owned(), in_doubt: true });
                continue;
            }
            pending.is_sent = false;
            pending.in_doubt = true;
            self.waiting.insert(ticket);
        }
    }

    /// Ends what has no time left. A transaction that went out and got nothing says that the connection
    /// is dead, although nobody told: the node answers within the budget.
    pub(super) fn expire(&mut self, now_ns: u64) {
        while let Some(&(deadline_ns, ticket)) = self.deadlines.first()
            && deadline_ns <= now_ns
        {
            let Some(pending) = self.pending.get(&ticket) else {
                self.deadlines.remove(&(deadline_ns, ticket));
                continue;
            };
            let is_submit = matches!(pending.request, Request::Submit { .. });
            let (is_sent, in_doubt) = (pending.is_sent, pending.in_doubt || pending.is_sent);
            let carrier = self
                .lanes
                .iter_mut()
                .position(|lane| lane.ready().is_some_and(|ready| ready.carried.remove(&ticket)));
            let detail = if is_sent {
                "the node did not answer in time".to_owned()
            } else {
                format!("no node took it in time: {}", self.trouble())
            };
            self.end(ticket, Outcome::NoAnswer { detail, in_doubt });
            if let Some(at) = carrier
                && is_submit
            {
                self.lose(at, "the node did not answer in time".to_owned(), now_ns);
            }
        }
    }

    /// What it is time for on one lane.
    pub(super) fn watch(&mut self, at: usize, now_ns: u64) {
        let lane = &mut self.lanes[at];
        let ready = match &mut lane.state {
            State::Pausing { until_ns } if *until_ns <= now_ns => {
                lane.route.begin_round();
                return self.dial(at, 0);
            }
            State::Pausing { .. } | State::Dialling { .. } => return,
            State::Ready(ready) => ready,
        };
        let silence_ns = now_ns.saturating_sub(ready.quiet_since_ns);
        let owes = !ready.carried.is_empty() || ready.ping.is_some();
        lane.doubtful |= owes && silence_ns >= nanos(SILENCE);
        match ready.ping {
            Some((_, sent_ns)) if now_ns.saturating_sub(sent_ns) >= PING_PATIENCE_NS => {
                return self.lose(at, "the node does not answer a PING".to_owned(), now_ns);
            }
            None if silence_ns >= PING_EVERY_NS => self.ping(at, now_ns),
            Some(_) | None => {}
        }
        self.look_elsewhere(at, now_ns);
    }

    /// After UNCONFIRMED, and in silence: a primary that is cut off from its standby does not hear of
    /// that one's promotion, and one that hangs hears nothing, so the other addresses are asked, now and
    /// then.
    fn look_elsewhere(&mut self, at: usize, now_ns: u64) {
        let lane = &mut self.lanes[at];
        if !lane.doubtful || now_ns < lane.next_look_ns || !lane.looks.is_empty() {
            return;
        }
        lane.next_look_ns = now_ns.saturating_add(nanos(LOOK_EVERY));
        lane.doubtful = false;
        for address in self.lanes[at].route.others() {
            let attempt = self.next_attempt();
            self.lanes[at].looks.push((attempt, address.clone()));
            self.effects.push_back(Effect::Dial { attempt, address, patience: Patience::Look });
        }
    }

    /// What another address said. One that is a primary as well, and not of an earlier epoch, gets
    /// everything that this lane carries.
    pub(super) fn looked(
        &mut self,
        at: usize,
        attempt: u64,
        came: Result<Welcome, DialError>,
        now_ns: u64,
    ) {
        let lane = &mut self.lanes[at];
        let Some(place) = lane.looks.iter().position(|(look, _)| *look == attempt) else { return };
        let (_, address) = lane.looks.swap_remove(place);
        let Some(current) = lane.ready() else {
            self.effects.push_back(Effect::Close { attempt });
            return;
        };
        let welcome = came.ok().filter(|welcome| {
            welcome.role == Role::Primary.to_wire() && welcome.epoch >= current.epoch
        });
        let Some(welcome) = welcome else {
            // Whatever is wrong there, here is a node that answers.
            self.effects.push_back(Effect::Close { attempt });
            return;
        };
        self.drop_connection(at);
        let lane = &mut self.lanes[at];
        lane.route.found_at(&address);
        lane.failures = 0;
        self.adopt(at, ready(attempt, &welcome, now_ns));
    }

    /// Where no node is connected, and one has said that it never takes this gateway, nobody waits in
    /// vain.
    pub(super) fn refuse_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(error) = self.refused().cloned() else { return };
        while let Some(&ticket) = self.waiting.first() {
            let in_doubt = self.pending.get(&ticket).is_some_and(|pending| pending.in_doubt);
            self.end(ticket, Outcome::Refused { error: error.clone(), in_doubt });
            self.waiting.remove(&ticket);
        }
    }

    /// When a lane has something to do that no event calls for.
    pub(super) fn lane_wakes(lane: &Lane) -> Option<u64> {
        let ready = match &lane.state {
            State::Pausing { until_ns } => return Some(*until_ns),
            State::Dialling { .. } => return None,
            State::Ready(ready) => ready,
        };
        let ping = match ready.ping {
            Some((_, sent_ns)) => sent_ns.saturating_add(PING_PATIENCE_NS),
            None => ready.quiet_since_ns.saturating_add(PING_EVERY_NS),
        };
        let owes = !ready.carried.is_empty() || ready.ping.is_some();
        let can_look = lane.looks.is_empty() && lane.route.len() > 1;
        let look = (owes && can_look).then(|| {
            let silent = ready.quiet_since_ns.saturating_add(nanos(SILENCE));
            if lane.doubtful { lane.next_look_ns } else { silent.max(lane.next_look_ns) }
        });
        Some(look.map_or(ping, |look| look.min(ping)))
    }
}

/// As nanoseconds; constants of far less than 584 years.
const fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
