//! What is unanswered, and the promise about it: each request gets its answer, over as many
//! connections as that takes, or is given up when its time is over.
//!
//! Sending a transaction again is safe because the server remembers (PROTOCOL.md, "Sending again");
//! that is the whole of the recovery here. Requests that change something else (BLACKLIST) are not
//! sent twice: their caller is told. What a lost connection and a silent node call for is in
//! `recovery`.

mod recovery;
mod renewal;

use self::renewal::Renewal;
use super::audit::AuditPiece;
use super::connection::{Broken, Connection, time_left};
use super::error::{ClientError, ProtocolError};
use super::find::{find, is_final};
use super::options::{ClientOptions, MAX_IN_FLIGHT};
use super::reply::{Body, Histogram, RecordedLabel, StoredDecision};
use super::route::Route;
use super::rules::UNNOTICED_US;
use crate::frame::{ErrorCode, FrameKind, MAX_AUDIT_ENTRIES, MAX_BUDGET_US, SubmitFrame, Welcome};
use std::collections::{BTreeMap, VecDeque};
use std::hash::RandomState;
use std::time::Instant;

/// Histograms in one answer, at most: one for each stage, with room for stages to come.
const MAX_HISTOGRAMS: usize = 64;
/// Labels of one decision, at most (PROTOCOL.md, LABEL).
const MAX_LABELS: usize = 256;

/// A request as bytes. A transaction is kept apart, because its budget shrinks when it is sent
/// again.
#[derive(Debug)]
pub(super) enum Request {
    /// SUBMIT, with the end of its budget.
    Submit(SubmitFrame, Instant),
    /// AUTH, with the token.
    Auth(String),
    /// Any other.
    Other(Vec<u8>),
}

/// How a request ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The server answered.
    Answer(Body),
    /// The server answered STATS, in pieces.
    Histograms(Vec<Histogram>),
    /// The server answered AUDIT, in pieces.
    Audit(Vec<AuditPiece>),
    /// The server answered LOOKUP: a decision, with the labels that were asked for.
    Stored(Box<StoredDecision>, Vec<RecordedLabel>),
    /// It did not, for this reason.
    NoAnswer(String),
}

#[derive(Debug)]
struct Unanswered {
    request: Request,
    /// The kind of frame that answers it, besides ERROR.
    answered_by: FrameKind,
    /// May be sent again on another connection.
    repeatable: bool,
    /// When to stop waiting.
    deadline: Instant,
    /// It went out on the connection in use.
    sent: bool,
    /// It went out on a connection before.
    sent_before: bool,
    pieces: Pieces,
}

/// What has come of an answer in pieces.
#[derive(Debug, Default)]
struct Pieces {
    histograms: Vec<Histogram>,
    stored: Option<Box<StoredDecision>>,
    labels: Vec<RecordedLabel>,
    audit: Vec<AuditPiece>,
}

/// The unanswered requests and the connection that carries them.
#[derive(Debug)]
pub(super) struct Exchange {
    options: ClientOptions,
    connection: Option<Connection>,
    welcome: Welcome,
    unanswered: BTreeMap<u64, Unanswered>,
    /// To be sent (again) on this connection, oldest first; some may have been given up.
    unsent: VecDeque<u64>,
    /// How many of the unanswered went out on this connection.
    carried: usize,
    renewal: Renewal,
    /// No deadline is before this. Saves looking through all at each answer.
    earliest_deadline: Option<Instant>,
    next_correlation: u64,
    route: Route,
    /// Failures since the last answer.
    failures: u32,
    last_failure: String,
    /// The node in use could not confirm something, or says nothing: it may have been replaced
    /// without knowing it.
    doubtful: bool,
    next_look: Instant,
    /// When the node in use last said something, or began to owe an answer.
    quiet_since: Instant,
    chance: RandomState,
}

impl Unanswered {
    /// The connection in use owes its answer, and is dead without it. A renewal may wait for somebody else, the
    /// issuer: it says nothing of the node.
    fn is_carried(&self) -> bool {
        self.sent && self.answered_by != FrameKind::AuthState
    }
}

impl Pieces {
    /// Takes an answer, or a piece of one. Gives the outcome with the last piece; `unexpected` of one that
    /// belongs to no other.
    fn take(&mut self, body: Body, unexpected: Broken) -> Result<Option<Outcome>, Broken> {
        let more = match body {
            Body::Histogram { histogram, more } => {
                if self.histograms.len() == MAX_HISTOGRAMS {
                    return Err(ProtocolError::TooManyHistograms(MAX_HISTOGRAMS).into());
                }
                self.histograms.push(histogram);
                let all = || Outcome::Histograms(std::mem::take(&mut self.histograms));
                return Ok((!more).then(all));
            }
            Body::AuditEntry { piece, more } => {
                // Behind the last entry comes the frame that ends the answer.
                if self.audit.len() > MAX_AUDIT_ENTRIES {
                    return Err(ProtocolError::TooManyEntries(MAX_AUDIT_ENTRIES).into());
                }
                self.audit.push(*piece);
                let all = || Outcome::Audit(std::mem::take(&mut self.audit));
                return Ok((!more).then(all));
            }
            Body::Record { stored, more } if self.stored.is_none() => {
                self.stored = Some(stored);
                more
            }
            Body::RecordedLabel { label, more } => {
                let place = self.stored.as_ref().map(|of| (of.place.shard, of.record.lsn));
                if place != Some((label.label.shard, label.label.lsn)) {
                    return Err(unexpected);
                }
                if self.labels.len() == MAX_LABELS {
                    return Err(ProtocolError::TooManyLabels(MAX_LABELS).into());
                }
                self.labels.push(label);
                more
            }
            Body::Record { .. } => return Err(unexpected),
            body => return Ok(Some(Outcome::Answer(body))),
        };
        let stored = if more { None } else { self.stored.take() };
        Ok(stored.map(|stored| Outcome::Stored(stored, std::mem::take(&mut self.labels))))
    }
}

impl Exchange {
    /// Connects to the first address whose node takes us and has the role that is wanted, trying
    /// each once.
    pub(super) fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        options.check()?;
        let mut route = Route::new(&options.addresses);
        let mut attempts_left = options.addresses.len();
        let connection = loop {
            attempts_left -= 1;
            match find(&mut route, &options, None) {
                Ok(connection) => break connection,
                Err(error) if is_final(&error) || attempts_left == 0 || route.is_exhausted() => {
                    return Err(error);
                }
                Err(_) => {}
            }
        };
        Ok(Self {
            welcome: connection.welcome,
            connection: Some(connection),
            options,
            unanswered: BTreeMap::new(),
            unsent: VecDeque::new(),
            carried: 0,
            renewal: Renewal::default(),
            earliest_deadline: None,
            next_correlation: 1,
            route,
            failures: 0,
            last_failure: String::new(),
            doubtful: false,
            next_look: Instant::now(),
            quiet_since: Instant::now(),
            chance: RandomState::new(),
        })
    }

    pub(super) const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Until when the token of the connection counts; `None` without an end, and without a connection.
    pub(super) fn expires_at_ns(&self) -> Option<u64> {
        self.connection.as_ref().map(|own| own.expires_at_ns).filter(|&ends| ends > 0)
    }

    pub(super) const fn options(&self) -> &ClientOptions {
        &self.options
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether another request may be sent now.
    pub(super) fn has_room(&self) -> bool {
        self.unanswered.len() < self.limit()
    }

    fn limit(&self) -> usize {
        let wanted =
            if self.options.in_flight == 0 { MAX_IN_FLIGHT } else { self.options.in_flight };
        self.welcome.in_flight.min(wanted) as usize
    }

    /// Takes a request and queues it for writing; gives its correlation. Connects again first where
    /// there is no connection.
    ///
    /// # Errors
    /// [`ClientError::Connect`] or [`ClientError::Refused`] when no connection can be had; the
    /// request is not taken then.
    pub(super) fn add(
        &mut self,
        mut request: Request,
        answered_by: FrameKind,
        repeatable: bool,
        deadline: Instant,
    ) -> Result<u64, ClientError> {
        self.look_elsewhere();
        if self.connection.is_none() {
            self.reconnect(deadline)?;
        }
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        match &mut request {
            Request::Submit(frame, _) => frame.header.correlation = correlation.into(),
            Request::Auth(_) => {}
            Request::Other(bytes) => bytes[8..16].copy_from_slice(&correlation.to_le_bytes()),
        }
        let (sent, sent_before, pieces) = (false, false, Pieces::default());
        let entry =
            Unanswered { request, answered_by, repeatable, deadline, sent, sent_before, pieces };
        self.unanswered.insert(correlation, entry);
        self.earliest_deadline =
            Some(self.earliest_deadline.map_or(deadline, |earliest| earliest.min(deadline)));
        self.unsent.push_back(correlation);
        self.send_unsent();
        Ok(correlation)
    }

    /// Writes what is queued.
    pub(super) fn flush(&mut self) {
        if let Some(connection) = &mut self.connection
            && let Err(broken) = connection.flush()
        {
            self.lose(&broken);
        }
    }

    /// Waits until one request has ended; `None` when nothing is unanswered.
    pub(super) fn next_outcome(&mut self) -> Option<(u64, Outcome)> {
        self.look_elsewhere();
        loop {
            if let Some(expired) = self.take_expired() {
                return Some(expired);
            }
            if self.unanswered.is_empty() {
                // The deadline left behind is that of an answered request: nothing is to be waited
                // for.
                self.earliest_deadline = None;
            }
            let deadline = self.earliest_deadline?;
            if self.connection.is_none() {
                if let Err(error) = self.reconnect(deadline)
                    && time_left(deadline).is_some()
                {
                    self.give_up(&error);
                }
                continue;
            }
            self.send_unsent();
            self.flush();
            let until = self.next_doubt().map_or(deadline, |doubt| doubt.min(deadline));
            let Some(connection) = &mut self.connection else { continue };
            match connection.next(until) {
                // Deadlines are looked at above.
                Ok(None) if until == deadline => {}
                Ok(None) => {
                    self.doubtful = true;
                    self.look_elsewhere();
                }
                Ok(Some((correlation, body))) => {
                    self.quiet_since = Instant::now();
                    match self.accept(correlation, body) {
                        Ok(Some(outcome)) => return Some((correlation, outcome)),
                        Ok(None) => {}
                        Err(broken) => self.lose(&broken),
                    }
                }
                Err(broken) => self.lose(&broken),
            }
        }
    }

    /// Matches an answer with its request.
    fn accept(&mut self, correlation: u64, body: Body) -> Result<Option<Outcome>, Broken> {
        let kind = body.kind();
        let unexpected = Broken::Protocol(ProtocolError::Unexpected { kind, correlation });
        let Some(entry) = self.unanswered.get_mut(&correlation) else {
            return match body {
                Body::Error(error) if error.closing => Err(Broken::Closing(error)),
                // It was given up, and its answer is late.
                body if self.renewed(correlation, &body) => Ok(None),
                _ => Err(unexpected),
            };
        };
        if !entry.sent || (kind != entry.answered_by && kind != FrameKind::Error) {
            return Err(unexpected);
        }
        let leaves = match &body {
            Body::Error(error) if self.options.goes_elsewhere(error.code, self.route.len()) => {
                Some(Broken::Elsewhere(error.clone()))
            }
            Body::Error(error) if error.closing => Some(Broken::Closing(error.clone())),
            _ => None,
        };
        if let Some(elsewhere @ Broken::Elsewhere(_)) = leaves {
            if entry.repeatable {
                // Not answered yet: it goes to another node with the others. And no sign of life:
                // nodes that refuse are paused for.
                return Err(elsewhere);
            }
            self.remove(correlation);
            self.lose(&elsewhere);
            return Ok(Some(Outcome::Answer(body)));
        }
        self.failures = 0;
        self.last_failure.clear();
        self.doubtful |=
            matches!(&body, Body::Error(error) if error.code == ErrorCode::Unconfirmed);
        if entry.answered_by == FrameKind::AuthState {
            self.renewed(correlation, &body);
        }
        let Some(entry) = self.unanswered.get_mut(&correlation) else { return Ok(None) };
        let Some(outcome) = entry.pieces.take(body, unexpected)? else { return Ok(None) };
        self.remove(correlation);
        if let Some(closing) = leaves {
            self.lose(&closing);
        }
        Ok(Some(outcome))
    }

    fn remove(&mut self, correlation: u64) -> Option<Unanswered> {
        let entry = self.unanswered.remove(&correlation)?;
        self.carried -= usize::from(entry.is_carried());
        Some(entry)
    }

    /// The oldest request whose time is over. One that went out and got nothing says that the
    /// connection is dead, although nobody told us: the others go over a new one. But for AUTH.
    fn take_expired(&mut self) -> Option<(u64, Outcome)> {
        let now = Instant::now();
        if self.earliest_deadline.is_none_or(|earliest| now < earliest) {
            return None;
        }
        let expired = self
            .unanswered
            .iter()
            .find(|(_, entry)| entry.deadline <= now)
            .map(|(&correlation, _)| correlation);
        let Some(correlation) = expired else {
            self.earliest_deadline = self.unanswered.values().map(|entry| entry.deadline).min();
            return None;
        };
        let entry = self.remove(correlation)?;
        if entry.is_carried() && self.connection.take().is_some() {
            let why = "the server did not answer in time";
            self.route.failed(why.to_owned());
            self.after_loss(why.to_owned());
        }
        let detail = if self.last_failure.is_empty() {
            "the time for it is over".to_owned()
        } else {
            self.last_failure.clone()
        };
        Some((correlation, Outcome::NoAnswer(detail)))
    }

    /// Sends what this connection has not carried yet, as far as its limit allows.
    fn send_unsent(&mut self) {
        let limit = self.limit();
        let mut held = Vec::new();
        while let Some(connection) = &mut self.connection
            && self.carried < limit
            && let Some(correlation) = self.unsent.pop_front()
        {
            let Some(entry) = self.unanswered.get_mut(&correlation) else { continue };
            let queued = match &mut entry.request {
                Request::Submit(frame, budget_end) => {
                    let left_us = budget_end.saturating_duration_since(Instant::now()).as_micros();
                    let Some(left_us) = u32::try_from(left_us).ok().filter(|&left| left > 0) else {
                        // Sent now it could be decided after its budget: it is over.
                        entry.deadline = Instant::now();
                        self.earliest_deadline = Some(entry.deadline);
                        continue;
                    };
                    let budget_us = match frame.transaction.budget_us.to_native() {
                        0 => MAX_BUDGET_US,
                        budget_us => budget_us,
                    };
                    // One that waited, for a connection or for room, has less than it began with.
                    if entry.sent_before || left_us.saturating_add(UNNOTICED_US) < budget_us {
                        frame.transaction.budget_us = left_us.into();
                    }
                    connection.queue(bytemuck::bytes_of(frame))
                }
                Request::Auth(token) => {
                    let Some(frames) = self.renewal.begin(correlation, token) else {
                        held.push(correlation);
                        continue;
                    };
                    connection.queue(&frames)
                }
                Request::Other(bytes) => connection.queue(bytes),
            };
            entry.sent = true;
            entry.sent_before = true;
            if entry.is_carried() {
                if self.carried == 0 {
                    self.quiet_since = Instant::now();
                }
                self.carried += 1;
            }
            if let Err(broken) = queued {
                self.lose(&broken);
                return;
            }
        }
        held.into_iter().rev().for_each(|correlation| self.unsent.push_front(correlation));
    }
}
