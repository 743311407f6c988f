//! The blocking client: pipelined, with time-outs, reconnecting, and sending again what is
//! unanswered.
//!
//! ```no_run
//! use catraca_wire::client::{Client, ClientOptions, now_ns};
//! use catraca_wire::frame::{Transaction, Verdict};
//!
//! let mut client = Client::connect(ClientOptions::new("127.0.0.1:7400"))?;
//! let transaction = Transaction::pix("order-1", "049.332.286-80", "12.ABC.345/01DE-35", 12_34, now_ns())?;
//! let decision = client.decide(&transaction)?;
//! if decision.verdict == Verdict::Approve {
//!     println!("go ahead; record {} of stream {}", decision.answer.lsn, decision.answer.shard);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! One client is one connection, for one thread at a time; for more, make more clients. Here live
//! what callers see and, beside it, the only sockets of this crate (`connection.rs`). `exchange`
//! keeps what is unanswered; `reply.rs` reads replies, and trusts nothing in them. What another client
//! of Rust takes from here, so that it follows the same rules, is in `rules`.

mod audit;
mod comparison;
mod connection;
mod error;
mod exchange;
mod find;
mod options;
mod renew;
mod reply;
mod requests;
mod route;
pub mod rules;
mod secure;
mod validators;

pub use audit::{AuditEntry, AuditPage, AuditPiece, AuditQuery};
pub use comparison::Comparison;
pub use error::{ClientError, ProtocolError, ServerError};
pub use options::{ClientOptions, MAX_IN_FLIGHT, Wanted};
pub use reply::{ClusterState, Decision, Histogram, RecordedLabel, StoredDecision};
pub use secure::{Secure, SecuredStream};

use crate::document::DocumentKey;
use crate::frame::{
    BlacklistChange, BlacklistFrame, BlacklistStateReply, ClusterFrame, ClusterRequest, ErrorCode,
    FrameKind, LabelFrame, LabelRequest, LabelStateReply, ListFrame, ListRequest, ListStateReply,
    LookupFrame, PingFrame, PolicyChange, PolicyFrame, PolicyStateReply, StatsFrame, SubmitFrame,
    Transaction, TransactionFields, Welcome, transaction_id,
};
use exchange::{Exchange, Outcome, Request};
use reply::Body;
use rules::ANSWER_GRACE;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Answers that wait in the client to be received, at most, those still on their way included.
pub const MAX_UNRECEIVED: usize = 2 * MAX_IN_FLIGHT as usize;
/// Changes of lists that are on their way at once: half of what a shard takes of look-ups and operations
/// together (PROTOCOL.md, "Look-ups and operations").
pub const LISTS_TOGETHER: usize = 32;

/// The answer to one submitted transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What [`Client::submit`] gave.
    pub correlation: u64,
    /// The decision; [`ClientError::Refused`] or [`ClientError::NoAnswer`] instead.
    pub result: Result<Decision, ClientError>,
}

/// A connection to a catraca server, kept alive over failures.
#[derive(Debug)]
pub struct Client {
    exchange: Exchange,
    /// Answers that came while something else was waited for.
    ready: VecDeque<Reply>,
}

impl Client {
    /// Connects to the first address whose node has the role that is wanted, each tried once; a
    /// standby's answer where the primary is comes first.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for options that can't work, [`ClientError::Connect`] when no
    /// address answers (the last one's reason), [`ClientError::NoPrimary`] when one answers and
    /// none decides, [`ClientError::Refused`] when the server refuses the credential or the
    /// version.
    pub fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        Ok(Self { exchange: Exchange::connect(options)?, ready: VecDeque::new() })
    }

    /// What the server said of itself, on the latest connection.
    pub fn welcome(&self) -> &Welcome {
        self.exchange.welcome()
    }

    /// Submitted transactions whose answers [`Self::receive`] still owes.
    pub fn owed(&self) -> usize {
        self.exchange.unanswered() + self.ready.len()
    }

    /// Sends a transaction and gives the correlation of its [`Reply`]. Where the connection has as
    /// many unanswered as it may, waits for an answer first, and keeps it for [`Self::receive`].
    ///
    /// # Errors
    /// [`ClientError::Backlog`] with [`MAX_UNRECEIVED`] answers owed; [`ClientError::Connect`],
    /// [`ClientError::NoPrimary`] or [`ClientError::Refused`] when the connection was lost and none
    /// can be had. The transaction was not sent then.
    pub fn submit(&mut self, transaction: &Transaction) -> Result<u64, ClientError> {
        let correlation = self.queue(transaction)?;
        self.flush();
        Ok(correlation)
    }

    /// [`Self::submit`] without writing at once: for many in a row, followed by [`Self::flush`] or
    /// [`Self::receive`].
    ///
    /// # Errors
    /// Those of [`Self::submit`].
    pub fn queue(&mut self, transaction: &Transaction) -> Result<u64, ClientError> {
        if self.owed() >= MAX_UNRECEIVED {
            return Err(ClientError::Backlog);
        }
        let budget_end =
            Instant::now() + Duration::from_micros(u64::from(transaction.effective_budget_us()));
        let mut frame = SubmitFrame::empty(0);
        frame.transaction = TransactionFields::from(transaction);
        self.send(Request::Submit(frame, budget_end), FrameKind::Verdict, true)
    }

    /// Writes what is queued. A failure shows in the answers: the client connects again and sends
    /// again.
    pub fn flush(&mut self) {
        self.exchange.flush();
    }

    /// The next answer to a submitted transaction, in the order in which they come; waits for it.
    /// Connects again and sends again as it must: over a lost connection, and where
    /// [`Wanted::Primary`] is set also after NOT_PRIMARY, and with several addresses after
    /// SHUTTING_DOWN. A transaction whose time is over ends with [`ClientError::NoAnswer`].
    ///
    /// # Errors
    /// [`ClientError::NothingInFlight`] when every answer was received.
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        if let Some(reply) = self.ready.pop_front() {
            return Ok(reply);
        }
        let (correlation, outcome) =
            self.exchange.next_outcome().ok_or(ClientError::NothingInFlight)?;
        Ok(reply_of(correlation, outcome))
    }

    /// One transaction to its decision, within its budget: sends again over lost connections and to
    /// another primary as [`Self::receive`] does, and here and with the pause that the server asks
    /// for after OVERLOADED and RATE_LIMITED.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for any other error of the server, or when no time is left to try
    /// again; [`ClientError::NoAnswer`] when the transaction may have been recorded: decide on the
    /// same transaction again. Else as [`Self::submit`].
    pub fn decide(&mut self, transaction: &Transaction) -> Result<Decision, ClientError> {
        let budget_end =
            Instant::now() + Duration::from_micros(u64::from(transaction.effective_budget_us()));
        let mut attempt = *transaction;
        loop {
            let correlation = self.submit(&attempt)?;
            let outcome = self.wait_for(correlation);
            let refused = match reply_of(correlation, outcome).result {
                Err(ClientError::Refused(refused)) => refused,
                result => return result,
            };
            let pause = match refused.code {
                ErrorCode::Overloaded | ErrorCode::RateLimited => {
                    Duration::from_millis(u64::from(refused.retry_after_ms.max(1)))
                }
                _ => return Err(ClientError::Refused(refused)),
            };
            let left = budget_end.saturating_duration_since(Instant::now()).saturating_sub(pause);
            // What is left is at most the budget, which fits 32 bits.
            attempt.budget_us =
                u32::try_from(left.as_micros()).unwrap_or(transaction.effective_budget_us());
            if attempt.budget_us == 0 {
                return Err(ClientError::Refused(refused));
            }
            std::thread::sleep(pause);
        }
    }

    /// The stored decision on a transaction; `payer` where ids may repeat between payers.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for an id that can't be one; [`ClientError::Refused`] with
    /// NOT_FOUND when there is none; [`ClientError::Connect`] and [`ClientError::NoAnswer`] when
    /// the server can't be asked.
    pub fn lookup(
        &mut self,
        id: &str,
        payer: Option<DocumentKey>,
    ) -> Result<StoredDecision, ClientError> {
        self.stored(id, payer, false).map(|(stored, _)| stored)
    }

    /// The same with what became known of it, in the order in which that was recorded. Takes longer: all of the
    /// log's indexes are asked.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn lookup_with_labels(
        &mut self,
        id: &str,
        payer: Option<DocumentKey>,
    ) -> Result<(StoredDecision, Vec<RecordedLabel>), ClientError> {
        self.stored(id, payer, true)
    }

    fn stored(
        &mut self,
        id: &str,
        payer: Option<DocumentKey>,
        labels: bool,
    ) -> Result<(StoredDecision, Vec<RecordedLabel>), ClientError> {
        let mut frame = LookupFrame::empty(0);
        frame.id = transaction_id(id).ok_or_else(|| {
            ClientError::Argument(
                "a transaction id is 1 to 32 printable ASCII characters without spaces".to_owned(),
            )
        })?;
        frame.payer = payer.map_or([0; 14], DocumentKey::to_wire);
        frame.labels = labels.into();
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::Record, true)? {
            Outcome::Stored(stored, labels) => Ok((*stored, labels)),
            other => Err(mismatch(&other)),
        }
    }

    /// Changes or describes the blacklist of the running node. Not sent twice: after
    /// [`ClientError::NoAnswer`] look with [`BlacklistChange::describe`].
    ///
    /// # Errors
    /// [`ClientError::Refused`] with FAILED and the reason when the server could not; else as
    /// [`Self::lookup`].
    pub fn blacklist(
        &mut self,
        change: &BlacklistChange,
    ) -> Result<BlacklistStateReply, ClientError> {
        let frame = BlacklistFrame {
            header: BlacklistFrame::empty(0).header,
            ..BlacklistFrame::from(change)
        };
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::BlacklistState, false)? {
            Outcome::Answer(Body::BlacklistState(state)) => Ok(state),
            other => Err(mismatch(&other)),
        }
    }

    /// Changes or describes the policy of the running node. Not sent twice: after
    /// [`ClientError::NoAnswer`] look with [`PolicyChange::describe`].
    ///
    /// # Errors
    /// As [`Self::blacklist`].
    pub fn policy(&mut self, change: &PolicyChange) -> Result<PolicyStateReply, ClientError> {
        let frame =
            PolicyFrame { header: PolicyFrame::empty(0).header, ..PolicyFrame::from(change) };
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::PolicyState, false)? {
            Outcome::Answer(Body::PolicyState(state)) => Ok(*state),
            other => Err(mismatch(&other)),
        }
    }

    /// Says what became known of a decision. Not sent twice by itself, and safe to send again: the same label
    /// is taken once.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with NOT_FOUND when there is no such decision; else as [`Self::blacklist`].
    pub fn label(&mut self, request: &LabelRequest) -> Result<LabelStateReply, ClientError> {
        let frame = LabelFrame { header: LabelFrame::empty(0).header, ..LabelFrame::from(request) };
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::LabelState, false)? {
            Outcome::Answer(Body::LabelState(state)) => Ok(state),
            other => Err(mismatch(&other)),
        }
    }

    /// Changes or describes named lists and exemptions, in this order, [`LISTS_TOGETHER`] at a time. None is sent twice by itself;
    /// a change that is sent again ends in the same list.
    ///
    /// # Errors
    /// Of each request: as [`Self::blacklist`].
    pub fn lists(&mut self, requests: &[ListRequest]) -> Vec<Result<ListStateReply, ClientError>> {
        let frames: Vec<_> = requests
            .iter()
            .map(|request| ListFrame {
                header: ListFrame::empty(0).header,
                ..ListFrame::from(request)
            })
            .collect();
        let state = |answer: Result<Outcome, ClientError>| match answer? {
            Outcome::Answer(Body::ListState(state)) => Ok(state),
            other => Err(mismatch(&other)),
        };
        let mut answers = Vec::with_capacity(frames.len());
        for together in frames.chunks(LISTS_TOGETHER) {
            let together = together.iter().map(bytemuck::bytes_of);
            answers.extend(self.ask_all(together, FrameKind::ListState).into_iter().map(state));
        }
        answers
    }

    /// Tries a policy, or none any more, or asks what came of the one that is tried. Not sent twice.
    ///
    /// # Errors
    /// As [`Self::policy`].
    pub fn candidate(&mut self, change: &PolicyChange) -> Result<Comparison, ClientError> {
        let frame =
            PolicyFrame { header: PolicyFrame::empty(0).header, ..PolicyFrame::from(change) };
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::Comparison, false)? {
            Outcome::Answer(Body::Comparison(comparison)) => Ok(*comparison),
            other => Err(mismatch(&other)),
        }
    }

    /// The latency histograms of a shard, or of [`crate::frame::ALL_SHARDS`] together.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn stats(&mut self, shard: u16) -> Result<Vec<Histogram>, ClientError> {
        let mut frame = StatsFrame::empty(0);
        frame.shard = shard.into();
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::Histogram, true)? {
            Outcome::Histograms(histograms) => Ok(histograms),
            other => Err(mismatch(&other)),
        }
    }

    /// Describes or changes the node's part in its cluster. Sending a change again is safe, so it
    /// is, over a lost connection.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with FAILED and the reason when the node would not; else as
    /// [`Self::lookup`].
    pub fn cluster(&mut self, request: &ClusterRequest) -> Result<ClusterState, ClientError> {
        let frame =
            ClusterFrame { header: ClusterFrame::empty(0).header, ..ClusterFrame::from(request) };
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::ClusterState, true)? {
            Outcome::Answer(Body::ClusterState(state)) => Ok(*state),
            other => Err(mismatch(&other)),
        }
    }

    /// The server's clock, nanoseconds since 1970 UTC.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn ping(&mut self) -> Result<u64, ClientError> {
        match self.ask(bytemuck::bytes_of(&PingFrame::empty(0)), FrameKind::Pong, true)? {
            Outcome::Answer(Body::Pong { server_time_ns }) => Ok(server_time_ns),
            other => Err(mismatch(&other)),
        }
    }

    /// Sends when there is room, keeping the answers that come meanwhile.
    fn send(
        &mut self,
        request: Request,
        answered_by: FrameKind,
        repeatable: bool,
    ) -> Result<u64, ClientError> {
        while !self.exchange.has_room() {
            match self.exchange.next_outcome() {
                Some((correlation, outcome)) => {
                    self.ready.push_back(reply_of(correlation, outcome))
                }
                None => break,
            }
        }
        let timeout = self.answer_deadline();
        let deadline = match &request {
            Request::Submit(_, budget_end) => timeout.min(*budget_end + ANSWER_GRACE),
            Request::Auth(_) | Request::Other(_) => timeout,
        };
        self.exchange.add(request, answered_by, repeatable, deadline)
    }

    /// One request to its answer.
    fn ask(
        &mut self,
        frame: &[u8],
        answered_by: FrameKind,
        repeatable: bool,
    ) -> Result<Outcome, ClientError> {
        let correlation = self.send(Request::Other(frame.to_vec()), answered_by, repeatable)?;
        answer_of(self.wait_for(correlation))
    }

    /// Requests that are on their way together to their answers, in their order. None is sent twice.
    fn ask_all<'f>(
        &mut self,
        frames: impl Iterator<Item = &'f [u8]>,
        answered_by: FrameKind,
    ) -> Vec<Result<Outcome, ClientError>> {
        let mut answers = Vec::new();
        let mut places = BTreeMap::new();
        for (place, frame) in frames.enumerate() {
            while !self.exchange.has_room() && self.take_one(&mut places, &mut answers) {}
            let request = Request::Other(frame.to_vec());
            let deadline = self.answer_deadline();
            answers.push(Err(ClientError::NoAnswer { detail: "it was given up".to_owned() }));
            match self.exchange.add(request, answered_by, false, deadline) {
                Ok(correlation) => drop(places.insert(correlation, place)),
                Err(error) => answers[place] = Err(error),
            }
        }
        while !places.is_empty() && self.take_one(&mut places, &mut answers) {}
        answers
    }

    /// Takes the next outcome: to its place, or to the answers that wait to be received. `false` when nothing
    /// is unanswered.
    fn take_one(
        &mut self,
        places: &mut BTreeMap<u64, usize>,
        answers: &mut [Result<Outcome, ClientError>],
    ) -> bool {
        let Some((correlation, outcome)) = self.exchange.next_outcome() else { return false };
        match places.remove(&correlation) {
            Some(place) => answers[place] = answer_of(outcome),
            None => self.ready.push_back(reply_of(correlation, outcome)),
        }
        true
    }

    fn answer_deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.exchange.options().answer_timeout_ms)
    }

    fn wait_for(&mut self, wanted: u64) -> Outcome {
        loop {
            match self.exchange.next_outcome() {
                Some((correlation, outcome)) if correlation == wanted => return outcome,
                Some((correlation, outcome)) => {
                    self.ready.push_back(reply_of(correlation, outcome))
                }
                None => {
                    return Outcome::NoAnswer(
                        "the request is not among the unanswered ones".to_owned(),
                    );
                }
            }
        }
    }
}

/// The answer to a request that is no SUBMIT.
fn answer_of(outcome: Outcome) -> Result<Outcome, ClientError> {
    match outcome {
        Outcome::NoAnswer(detail) => Err(ClientError::NoAnswer { detail }),
        Outcome::Answer(Body::Error(error)) => Err(ClientError::Refused(error)),
        outcome => Ok(outcome),
    }
}

/// The end of a SUBMIT; only they can end while something else is waited for, because other
/// requests are waited for where they are sent.
fn reply_of(correlation: u64, outcome: Outcome) -> Reply {
    let result = match outcome {
        Outcome::Answer(Body::Decision(decision)) => Ok(decision),
        Outcome::Answer(Body::Error(error)) => Err(ClientError::Refused(error)),
        Outcome::NoAnswer(detail) => Err(ClientError::NoAnswer { detail }),
        other => Err(mismatch(&other)),
    };
    Reply { correlation, result }
}

/// Answers are matched with their requests where they come in, so this does not occur; an error is
/// the answer all the same.
fn mismatch(outcome: &Outcome) -> ClientError {
    let what = match outcome {
        Outcome::Answer(body) => body.kind().name(),
        Outcome::Histograms(_) => FrameKind::Histogram.name(),
        Outcome::Stored(..) => FrameKind::Record.name(),
        Outcome::Audit(_) => FrameKind::AuditEntry.name(),
        Outcome::NoAnswer(_) => "nothing",
    };
    ClientError::NoAnswer { detail: format!("a {what} came instead") }
}

/// The machine's clock, nanoseconds since 1970 UTC: the event time of what happens now.
pub fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
