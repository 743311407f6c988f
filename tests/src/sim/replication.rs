//! What moves a node's replication: events to the state machine that ships
//! ([`Node`](catraca_core::replica::node::Node)), and what it wants done with the fake disk and
//! network. Decides nothing.

use super::Broken;
use super::event::Wake;
use super::frames::{NodeFrame, Purpose, node_at};
use super::lists;
use super::policies;
use super::setup::{journal_setup, shard_state};
use super::windows;
use super::world::{MS, Sim};
use catraca_core::rebuild::Pasts;
use catraca_core::replica::node::{
    Accepted, CallPurpose, Command, ConnId, Effect, Event, LogEnds, Report, RequestId,
    RequestRefused, Tables, Timing,
};
use catraca_core::replica::{NewEpoch, ReplicaState};
use catraca_core::shard::messages::{TakeOver, ToShard};
use catraca_wire::frame::{Durability, fill};
use std::sync::Arc;

/// Times of the nodes here: shorter than those that ship, so that more happens in a run.
pub(super) const TIMING: Timing = Timing {
    heartbeat_every_ns: 100 * MS,
    heartbeat_timeout_ns: 400 * MS,
    call_timeout_ns: 400 * MS,
    call_pause_ns: 60 * MS,
    inquire_every_ns: 300 * MS,
    request_timeout_ns: 1_000 * MS,
};

/// From this time on a write of a state outlasts most of what else happens.
const SLOW_STATE_NS: u64 = 50 * MS;

/// By then an operator has an answer, whatever happens to a node but its end: what a request waits
/// for is the write under way, the standby, its own write, each within some seconds.
const REQUEST_ANSWERED_NS: u64 = 15_000 * MS;

/// The log of a node, as its state machine sees it.
struct Ends(Vec<u64>);

impl LogEnds for Ends {
    fn streams(&self) -> u16 {
        self.0.len() as u16
    }

    fn durable_lsn(&self, stream: u16) -> u64 {
        self.0[usize::from(stream)]
    }
}

impl Sim {
    /// Hands an event to a node, and does what it says. Called while that is done, it waits for its
    /// turn.
    pub(super) fn node_event(&mut self, node: usize, event: Event) {
        let process = self.process(node);
        process.events.push_back(event);
        if process.handling {
            return;
        }
        loop {
            let (now_ns, ends) = (self.now_ns, Ends(self.tails(node)));
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            let Some(event) = process.events.pop_front() else {
                process.handling = false;
                return;
            };
            process.handling = true;
            let mut effects = Vec::new();
            process.node.handle(now_ns, event, &ends, &mut effects);
            for effect in effects {
                self.carry_out(node, effect);
                if self.nodes[node].process.is_none() {
                    return;
                }
            }
        }
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        let conn_of = |conn: ConnId| conn.0 as usize;
        match effect {
            Effect::Persist(state) => self.persist(node, state),
            Effect::Welcome { conn } => self.welcome(node, conn_of(conn)),
            Effect::Refuse { conn, reason, primary, .. } => {
                let conn = conn_of(conn);
                self.note(format_args!("node {node} refuses a connection: {reason}"));
                self.checks.count("refused calls");
                self.process(node).primary.calls.remove(&conn);
                self.send_frame(node, conn, NodeFrame::Refuse { reason, primary });
                self.drop_conn(node, conn);
            }
            Effect::Send { conn, message } => {
                self.send_frame(node, conn_of(conn), NodeFrame::Node(message))
            }
            Effect::BeginSession { session, slot, conn } => {
                self.begin_feeds(node, session, slot, conn_of(conn))
            }
            Effect::FeedAllStreams { .. } => self.feed_all_streams(node),
            Effect::EndSession { conn, .. } => self.end_feeds(node, conn_of(conn)),
            Effect::TellShards { durability, session, waits_for } => {
                self.mail_all(node, || ToShard::Durability { durability, session, waits_for })
            }
            Effect::PrimaryAt { address, epoch } => {
                let mut field = [0; 48];
                fill(&mut field, &address);
                self.mail_all(node, || ToShard::PrimaryAt { address: field, epoch });
            }
            Effect::Call { attempt, address } => self.call_primary(node, attempt, &address),
            Effect::OpenStreams { epoch, catching_up, committed, .. } => {
                self.open_streams(node, epoch, catching_up, &committed)
            }
            Effect::SingleWrites { attempt } => self.await_single_writes(node, attempt),
            Effect::SeveralWrites { attempt } => self.allow_several_writes(node, attempt),
            Effect::HasAll { .. } => {}
            Effect::EndFollowing { attempt } => self.end_attempt(node, attempt),
            Effect::Cut { stream } => self.begin_cut(node, usize::from(stream)),
            // A write of a state waits for nothing but the disk here.
            Effect::Hurry => {}
            Effect::KeepLog { stream } => self.keep_log(node, usize::from(stream)),
            Effect::Inquire { address } => {
                if let Some(old) = self.process(node).primary.inquiry.take() {
                    self.drop_conn(node, old);
                }
                let conn = self.call_node(node, Purpose::Inquiry, node_at(&address));
                self.process(node).primary.inquiry = Some(conn);
            }
            Effect::TakeOver { epoch, durability, request, .. } => {
                self.request_answered(node, request);
                self.take_over(node, epoch, durability);
            }
            Effect::Answer { request, outcome } => {
                self.request_answered(node, request);
                if let Err(why) = outcome {
                    self.note(format_args!("node {node} refuses its operator: {why}"));
                    if matches!(why, RequestRefused::NotPromotable(_)) {
                        self.checks.count("refused promotions");
                    }
                }
            }
            Effect::Restart => self.restart(node),
            Effect::Report(report) => self.reported(node, report),
        }
    }

    fn reported(&mut self, node: usize, report: Report) {
        self.note(format_args!("node {node}: {report:?}"));
        let what = match report {
            Report::StandbyConnected { .. } => "sessions",
            Report::Alone { why } if why.contains("solo_after_ms") => "gone alone by itself",
            Report::Alone { .. } => "gone alone",
            Report::Demoted { .. } => "demotions",
            Report::Membership { in_sync, .. } => {
                if in_sync {
                    let session = self.process(node).standby.session;
                    self.operator.granted(node, session);
                }
                if in_sync { "grants" } else { "revocations" }
            }
            _ => return,
        };
        self.checks.count(what);
    }

    fn welcome(&mut self, node: usize, conn: usize) {
        match self.process(node).primary.calls.remove(&conn) {
            Some((_, CallPurpose::Stream { stream, .. })) => {
                self.open_feed(node, usize::from(stream), conn)
            }
            Some(_) => self.send_frame(node, conn, NodeFrame::Welcome),
            None => {}
        }
    }

    /// Says who this node is to one that calls: before that has proved anything, and before this
    /// node's state machine hears of it.
    pub(super) fn accept(&mut self, node: usize, conn: usize, purpose: CallPurpose) {
        let may_leave = self.plan.solo_after_ms > 0;
        let node_id = self.nodes[node].disk.node_id;
        let shards = self.plan.shards;
        let state = self.process(node).node.state();
        let (epoch, role, odd_epochs) = (state.epoch, state.role, state.odd_epochs);
        let session = match purpose {
            CallPurpose::Session { session } => session,
            _ => 0,
        };
        let client_address = String::new();
        let accepted = Accepted {
            node_id,
            client_address,
            epoch,
            role,
            odd_epochs,
            may_leave,
            shards,
            streams: shards,
            session,
        };
        self.send_frame(node, conn, NodeFrame::Accept(accepted));
    }

    /// Has a state made durable, which takes its time.
    fn persist(&mut self, node: usize, state: ReplicaState) {
        self.process(node).persisting = Some(state);
        let time = self.rng.between(100_000, self.nodes[node].disk.slowest_state_ns);
        if time > SLOW_STATE_NS {
            self.checks.count("slow state write");
        }
        self.wake_in(node, time, Wake::Persisted);
        self.io_step(node);
        if self.broken(Broken::SendBeforePersist) {
            self.node_event(node, Event::Persisted);
        }
    }

    /// What a disk holds after a change.
    pub(super) fn on_disk(&self, before: &ReplicaState, new: &ReplicaState) -> ReplicaState {
        let epoch = if self.broken(Broken::EpochInMemory) { before.epoch } else { new.epoch };
        ReplicaState { epoch, ..new.clone() }
    }

    /// The state is durable.
    pub(super) fn persisted(&mut self, node: usize) {
        // A failing disk fails here, too: the process ends, and may find the change made or not.
        if self.nodes[node].disk.fault.take_if(|fault| !fault.lies()).is_some() {
            self.checks.count("state write error");
            return self.disk_failed(node);
        }
        let Some(state) = self.process(node).persisting.take() else { return };
        self.io_step(node);
        self.nodes[node].disk.state = self.on_disk(&self.nodes[node].disk.state, &state);
        self.note(format_args!(
            "node {node} is durably {} of epoch {}, {}{}",
            state.role,
            state.epoch,
            state.durability,
            if state.in_sync { ", in sync" } else { "" }
        ));
        if !self.broken(Broken::SendBeforePersist) {
            self.node_event(node, Event::Persisted);
        }
    }

    fn mail_all(&mut self, node: usize, message: impl Fn() -> ToShard) {
        for core in 0..usize::from(self.plan.shards) {
            self.mail(node, core, message());
        }
    }

    /// A standby, durably the primary of a new epoch, begins to decide.
    fn take_over(&mut self, node: usize, epoch: u32, durability: Durability) {
        let process = self.process(node);
        process.deciding_epoch = Some(epoch);
        let builder = process.builder.take().expect("a standby keeps its tables");
        let logged = builder.policies();
        let policy = policies::in_force(&logged, self.plan.broken);
        self.process(node).policies.logged = logged;
        let named = builder.named().expect("the changes of the simulator are sound");
        let named = lists::of_log(named, self.plan.broken);
        self.process(node).lists.named = named.clone();
        let (dedupes, pasts) = builder.into_tables();
        let pasts = pasts.into_pasts_of(&policy).or_else(|| {
            windows::read_from(&self.nodes[node].disk, &policy, self.plan.shards, None)
                .expect("a log that is whole can be read")
        });
        let pasts = self.broken_pasts(pasts, &policy);
        let mut pasts = pasts.into_iter().flat_map(Pasts::into_shards);
        for (core, dedupe) in dedupes.into_iter().enumerate() {
            let ready = self.nodes[node].disk.streams[core].segments.len() as u32;
            let process = self.process(node);
            process.cores[core].segments_told = ready;
            let journal = journal_setup(
                core as u16,
                epoch,
                &process.standby.streams[core].follower.tail(),
                ready,
            );
            let state = shard_state(dedupe, Arc::clone(&policy), pasts.next(), &named);
            let take_over = TakeOver { state, journal, durability };
            self.mail(node, core, ToShard::TakeOver(Box::new(take_over)));
        }
        self.checks.count("promotions");
        self.make_all_segments(node);
    }

    /// Time passes for a node's replication.
    pub(super) fn pass_time(&mut self, node: usize) {
        let oldest_ns = self.process(node).requests.values().min().copied();
        if oldest_ns.is_some_and(|asked_ns| self.now_ns - asked_ns > REQUEST_ANSWERED_NS) {
            self.checks.fail(format!("node {node} has not answered its operator"));
        }
        let full = self.is_short_of_room(node);
        self.node_event(node, Event::DiskFull(full));
        if self.nodes[node].process.is_some() {
            self.node_event(node, Event::Tick);
        }
        if self.nodes[node].process.is_some() {
            let time = self.rng.between(10, 30) * MS;
            self.wake_in(node, time, Wake::Heartbeat);
        }
    }

    /// Hands an operator's command to a node, which must answer it once.
    fn request(&mut self, node: usize, command: Command) {
        let (request, now_ns) = (RequestId(self.new_id()), self.now_ns);
        self.process(node).requests.insert(request, now_ns);
        self.node_event(node, Event::Requested { request, command });
    }

    fn request_answered(&mut self, node: usize, request: RequestId) {
        if self.process(node).requests.remove(&request).is_none() {
            self.checks.fail(format!("node {node} answers {request:?} twice"));
        }
    }

    /// The operator's command to a standby; `true` when it is carried out.
    pub(super) fn request_promotion(&mut self, node: usize, force: bool) -> bool {
        let before = self.process(node).node.is_promoting();
        let (epoch, tables) = (NewEpoch::ByHand, Tables::default());
        self.request(node, Command::Promote { force, epoch, tables });
        !before && self.process(node).node.is_promoting()
    }

    /// The operator wants the node alone; `true` when it will be, or is.
    pub(super) fn go_alone(&mut self, node: usize, standby_is_down: bool) -> bool {
        self.request(node, Command::Solo { standby_is_down });
        let process = self.process(node);
        process.node.is_going_alone() || process.node.state().durability == Durability::Solo
    }

    /// A standby that the operator left out comes back when it dials anew.
    pub(super) fn end_held_session(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        if let Some(session) = process.node.session().filter(|_| process.node.is_held()) {
            self.node_event(
                node,
                Event::SessionEnded {
                    session,
                    why: "the operator wants the standby back".to_owned(),
                },
            );
        }
    }
}
