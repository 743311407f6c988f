//! The shard: everything that one data core decides, as a plain state machine.
//!
//! Bytes, completions and the time come in; bytes to write and to send come out. No I/O, no clock,
//! no thread, no runtime: `catraca_node::driver` moves it with sockets and a disk, tests move it with fakes. One
//! direction, no detours:
//!
//! ```text
//! receive → session → admit → [mesh] → dedupe → decide → journal → next_write … written → commit → outbox → output
//! ```
//!
//! Nothing on this path takes a lock, blocks, or allocates once warm.

pub mod access;
pub mod activation;
pub mod admit;
mod answer_cache;
mod answers;
mod ask;
mod auth;
mod broadcast;
pub mod candidate;
pub mod catch_up;
mod checks;
mod control;
pub mod dedupe;
mod fingerprint;
mod forwards;
mod gather;
pub mod journal;
pub mod messages;
mod outbox;
pub mod parked;
mod past;
pub mod rate;
mod receive;
pub mod refusals;
mod requests;
mod session;
mod settings;
mod submit;

use crate::blacklist::Lists;
use crate::calendar::{LocalDay, LocalOffset};
use crate::limits;
use crate::observe::{Counters, StageHistograms};
pub use crate::owner::owner;
use crate::policy::lists::InForce;
use crate::policy::windows::Past;
use crate::policy::{Batch, Policy};
use crate::replica::CommitTracker;
use answer_cache::AnswerCache;
use ask::Asked;
use auth::Site;
use broadcast::Broadcast;
use candidate::{Candidate, CandidateTotals};
use catraca_wire::extension::DecisionExtension;
use catraca_wire::frame::{Role, Stage};
use dedupe::Dedupe;
use forwards::Forwards;
use gather::{Crowd, Gather, Share};
use journal::{BlockMemory, BlockWrite, Journal, Written};
use messages::{
    Admission, Ask, ConnectionId, MeshMessage, Now, Peer, RoleConfig, ShardState, ToControl,
};
use outbox::{Origin, Outbox};
use parked::Parked;
use past::Payments;
use rate::Rates;
use refusals::Refused;
use session::Sessions;
pub use settings::ShardSettings;
use std::collections::VecDeque;
use std::sync::Arc;
use submit::Staged;

/// One shard. `B` is the memory that blocks are built in.
pub struct Shard<B> {
    settings: ShardSettings,
    sessions: Sessions,
    dedupe: Dedupe,
    lists: Lists,
    /// The day it was at the last decision.
    today: LocalDay,
    policy: Arc<Policy>,
    /// What was paid before.
    payments: Payments,
    /// What the siblings are told of payments.
    broadcast: Broadcast,
    /// What the policy needs of the named lists.
    named: Arc<InForce>,
    /// A policy that is tried.
    candidate: Option<Box<Candidate>>,
    /// What is judged together.
    batch: Batch,
    extension: DecisionExtension,
    /// Payments that wait for validators.
    parked: Parked,
    /// From which place on there may be some that an earlier policy parked.
    parked_by_others: Option<u32>,
    answer_cache: AnswerCache,
    asked: Asked,
    asks_out: VecDeque<Ask>,
    /// What the clocks of the policy's zone were ahead of UTC at the last transaction.
    offset: LocalOffset,
    journal: Journal<B>,
    gather: Gather,
    crowd: Crowd,
    /// Forwards of siblings that have no reply yet, and their part of the crowd.
    siblings_unanswered: u32,
    siblings_share: Share,
    role: Role,
    /// Where clients reach the primary, as WELCOME says it.
    primary: [u8; 48],
    /// On a standby: the epoch of its primary, once it has been heard; 0 before.
    primary_epoch: u32,
    commit: CommitTracker,
    /// Blocks that are durable here and have records to be answered, oldest first.
    unanswered: VecDeque<Written>,
    /// Durability or the standby's place has changed since the last answers were made.
    commit_moved: bool,
    outbox: Outbox,
    forwards: Forwards,
    rates: Rates,
    refused: Refused,
    admission: Admission,
    drained_told: bool,
    control_open: usize,
    /// Tokens that the control thread checks, and where they came from.
    tokens_open: Vec<(ConnectionId, Site)>,
    segment_told: u32,
    staged: Vec<Staged>,
    /// Decisions since the driver last told the time, for the decide histogram.
    undated_decisions: u64,
    undated_since_ns: u64,
    mesh_out: Vec<(u16, MeshMessage)>,
    control_out: Vec<ToControl>,
    counters: Counters,
    histograms: StageHistograms,
}

impl<B: BlockMemory> Shard<B> {
    /// A shard with the state that recovery rebuilt. A standby's decides nothing until
    /// [`ToShard::TakeOver`](messages::ToShard::TakeOver) gives it its own.
    pub fn new(
        settings: ShardSettings,
        role_config: RoleConfig,
        state: ShardState,
        journal: Journal<B>,
    ) -> Self {
        assert!(
            settings.shard < settings.shards && usize::from(settings.shards) <= limits::MAX_SHARDS
        );
        let ShardState { dedupe, lists, policy, past, named } = state;
        assert!(dedupe.capacity() >= dedupe::MIN_ENTRIES);
        let durable_lsn = journal.last_lsn();
        let commit = CommitTracker::new(role_config.durability, durable_lsn);
        let segment_told = journal.segment();
        let mut broadcast = Broadcast::new(settings.shard, settings.shards);
        broadcast.switch(policy.reads_siblings());
        let mut shard = Self {
            sessions: Sessions::new(settings.connections),
            forwards: Forwards::new(usize::from(settings.shards)),
            settings,
            dedupe,
            lists,
            today: LocalDay::default(),
            policy,
            payments: Payments::new(past),
            broadcast,
            named,
            candidate: None,
            batch: Batch::new(),
            extension: DecisionExtension::default(),
            parked: Parked::new(),
            parked_by_others: None,
            answer_cache: AnswerCache::default(),
            asked: Asked::new(),
            asks_out: VecDeque::new(),
            offset: LocalOffset::default(),
            journal,
            gather: Gather::default(),
            crowd: Crowd::default(),
            siblings_unanswered: 0,
            siblings_share: Share::default(),
            role: role_config.role,
            primary: role_config.primary,
            primary_epoch: 0,
            commit,
            unanswered: VecDeque::with_capacity(limits::BLOCK_BUFFERS),
            commit_moved: false,
            outbox: Outbox::new(),
            rates: Rates::default(),
            refused: Refused::default(),
            admission: Admission::Open,
            drained_told: false,
            control_open: 0,
            tokens_open: Vec::new(),
            segment_told,
            staged: Vec::with_capacity(limits::DECISION_BATCH),
            undated_decisions: 0,
            undated_since_ns: 0,
            mesh_out: Vec::new(),
            control_out: Vec::new(),
            counters: answers::counters_at(durable_lsn, &commit),
            histograms: StageHistograms::new(),
        };
        let access = Arc::clone(&shard.settings.access);
        shard.rates.set(access.rates(&access), 0);
        let policy = Arc::clone(&shard.policy);
        shard.prepare_to_ask(&policy);
        shard
    }

    /// What the policy in force needs of the named lists.
    pub const fn named(&self) -> &Arc<InForce> {
        &self.named
    }

    /// The windows of the policy in force, where it reads any.
    pub fn past(&self) -> Option<&Past> {
        self.payments.in_force()
    }

    /// What came of the policy that is tried so far, where one is.
    pub fn candidate(&self) -> Option<&CandidateTotals> {
        self.candidate.as_ref().map(|candidate| candidate.came())
    }

    /// Whether payments wait for a policy that is tried.
    pub fn candidate_waits(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.waits())
    }

    /// Judges some of the payments that wait by the policy that is tried: when there is nothing better to do.
    pub fn judge_by_candidate(&mut self) {
        if let Some(candidate) = &mut self.candidate {
            candidate.judge();
        }
    }

    /// A connection was accepted; `None` when there are as many as there may be.
    pub fn connect(&mut self, peer: &Peer, now: Now) -> Option<ConnectionId> {
        let id = self.sessions.connect(peer, now.mono_ns)?;
        self.counters.accepted += 1;
        Some(id)
    }

    /// A connection is gone. Its unanswered transactions go on: they may be recorded already.
    pub fn disconnect(&mut self, id: ConnectionId) {
        self.sessions.disconnect(id);
    }

    /// The driver has read the clock after work: dates the decisions made since it last did.
    #[inline]
    pub fn date_decisions(&mut self, now_ns: u64) {
        if let Some(each_ns) =
            now_ns.saturating_sub(self.undated_since_ns).checked_div(self.undated_decisions)
        {
            self.histograms.record(Stage::Decide, each_ns, self.undated_decisions);
            self.undated_decisions = 0;
        }
    }

    /// A message from another shard.
    pub fn mesh(&mut self, from: u16, message: MeshMessage, now: Now) {
        match message {
            MeshMessage::Forward(forward) => self.take_forward(from, &forward, now),
            MeshMessage::Reply { pending, outcome } => {
                let Some((asked, deadline_ns)) = self.forwards.close(pending) else { return };
                let outcome = outcome.and_then(|answer| self.in_time(answer, deadline_ns, now));
                self.reply(
                    Origin::Local { connection: asked.connection, correlation: asked.correlation },
                    outcome,
                );
            }
        }
    }

    /// Buffers of the largest block's length that the shard would take.
    pub fn buffers_wanted(&self) -> usize {
        self.journal.buffers_wanted()
    }

    /// Gives the shard a buffer.
    pub fn give_buffer(&mut self, buffer: B) {
        self.journal.give_buffer(buffer);
    }

    /// Whether [`Self::next_write`] may have a block.
    pub fn wants_write(&self) -> bool {
        self.broadcast.is_empty() && self.journal.wants_write()
    }

    /// When [`Self::next_write`] is to be asked again, monotonic nanoseconds, because it holds a
    /// block back for records that are on their way. It may be asked before.
    pub fn held_until(&self) -> Option<u64> {
        self.gather.held_until()
    }

    /// The next block to make durable; [`Self::written`] must follow, or the node must end.
    pub fn next_write(&mut self, now: Now) -> Option<BlockWrite<B>> {
        if !self.wants_write() {
            // Siblings are to know of its payments first; or a block that was held has grown past the end of
            // the last segment.
            self.gather.not_now();
            return None;
        }
        let records = self.journal.waiting_records();
        // Whoever waits for the standby is not on his way either.
        let uncommitted = self.counters.durable_lsn.saturating_sub(self.commit.committed());
        // Nor is whoever waits for a validator.
        let elsewhere = uncommitted + self.parked.len() as u64;
        let elsewhere = u32::try_from(elsewhere).unwrap_or(u32::MAX);
        if !self.gather.is_due(records, elsewhere, self.crowd.size(), now.mono_ns) {
            return None;
        }
        self.gather.left(records, now.mono_ns);
        self.crowd.block_left();
        let write = self.journal.next_write(now.wall_ns);
        assert!(
            write.is_none() || self.role == Role::Primary,
            "a standby's stream is its primary's"
        );
        if self.journal.segment() != self.segment_told {
            self.segment_told = self.journal.segment();
            let (shard, segment) = (self.settings.shard, self.segment_told);
            self.control_out.push(ToControl::SegmentTaken { shard, segment });
        }
        write
    }

    /// The next connection that has output or is to be closed. The driver takes it with
    /// [`Self::take_output`].
    pub fn next_dirty(&mut self) -> Option<ConnectionId> {
        self.sessions.next_dirty()
    }

    /// Swaps a connection's output into `into`, which must be empty. `true` when the connection is
    /// to be closed behind it.
    pub fn take_output(&mut self, id: ConnectionId, into: &mut Vec<u8>) -> bool {
        debug_assert!(into.is_empty());
        match self.sessions.get_mut(id) {
            Some(session) => {
                std::mem::swap(&mut session.out, into);
                session.is_closing()
            }
            None => true,
        }
    }

    /// Whether a connection has nothing unanswered and nothing to send.
    pub fn is_settled(&self, id: ConnectionId) -> bool {
        self.sessions
            .get(id)
            .is_none_or(|session| session.unanswered == 0 && session.out.is_empty())
    }

    /// Messages to other shards.
    pub fn mesh_out(&mut self) -> &mut Vec<(u16, MeshMessage)> {
        &mut self.mesh_out
    }

    /// Messages to the control thread.
    pub fn control_out(&mut self) -> &mut Vec<ToControl> {
        &mut self.control_out
    }

    /// The policy by which it decides.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Counters as of now.
    pub fn counters(&self) -> Counters {
        let counters = Counters {
            connections: self.sessions.open_count() as u64,
            pending: self.outbox.len() as u64,
            parked: self.parked.len() as u64,
            dedupe_entries: self.dedupe.len(),
            dedupe_horizon_ns: self.dedupe.horizon_ns(),
            ..self.counters
        };
        self.payments.count(counters)
    }
}
