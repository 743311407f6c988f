//! Moves the node's state machine ([`Node`]): events to it, one after the other, and what it wants
//! done with sockets, files and shards, in the order that it says. Decides nothing. Its thread
//! never waits for the disk: states are written by a thread of their own.

use super::attempt::{self, Attempt, Order};
use super::connection::{self, Writer, dialed, refusal};
use super::promote::{self, Promoted};
use super::told::Told;
use super::{DESCRIPTOR_PATIENCE, Replication, address_field, state_file};
use crate::descriptors::{Exhaustible, wait_for};
use crate::fatal::{self, Failure, Status};
use catraca_core::replica::ReplicaState;
use catraca_core::replica::node::{
    Accepted, CallPurpose, Caller, Command, ConnId, Effect, Event, LogEnds, Node, NodeMessage,
    NodeSetup, RequestId, RequestRefused, Timing,
};
use catraca_core::shard::messages::ToShard;
use catraca_wire::frame::Role;
use catraca_wire::replication::{
    GrantFrame, GrantedFrame, HeartbeatFrame, JoinFrame, LinkFrame, Purpose, RevokeFrame,
    RevokedFrame, WelcomeFrame,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

/// Times of the protocol; each side's heartbeats are a sixth of what the other waits for.
const TIMING: Timing = Timing {
    heartbeat_every_ns: 500_000_000,
    heartbeat_timeout_ns: 3_000_000_000,
    // A resolver that is down takes 5 s and more, and each dead address of a name 1 s.
    call_timeout_ns: 30_000_000_000,
    // Short, because a primary that comes back can't answer anybody before.
    call_pause_ns: 200_000_000,
    inquire_every_ns: 1_000_000_000,
    request_timeout_ns: 3_000_000_000,
};
/// Between two looks of the node at the time.
const TICK: Duration = Duration::from_millis(25);

/// What comes to the node's thread.
pub(super) enum Input {
    /// What needs nothing else.
    Event(Event),
    /// A call; its connection for writing, and where the verdict goes.
    Called {
        conn: ConnId,
        caller: Caller,
        purpose: CallPurpose,
        writer: Writer,
        verdict: SyncSender<Result<(), String>>,
    },
    /// The primary answered; the connection for writing.
    CallAnswered { attempt: u64, conn: ConnId, accepted: Accepted, writer: Writer },
    /// A stream's thread waits for the permission to cut.
    Cutting { stream: u16, last_lsn: u64, go: SyncSender<()> },
    /// An operator's or arbiter's request.
    Requested { command: Command, reply: SyncSender<Result<Option<Promoted>, RequestRefused>> },
}

/// A caller that waits for its verdict.
struct Waiting {
    writer: Writer,
    purpose: CallPurpose,
    verdict: SyncSender<Result<(), String>>,
}

/// The node and what it needs to be moved.
pub(super) struct Mover {
    replication: Arc<Replication>,
    node: Node,
    inputs: Receiver<Input>,
    waiting: HashMap<ConnId, Waiting>,
    /// Connections from node to node, for writing.
    writers: HashMap<ConnId, Writer>,
    cuts: HashMap<u16, SyncSender<()>>,
    requests: HashMap<RequestId, SyncSender<Result<Option<Promoted>, RequestRefused>>>,
    next_request: u64,
    attempt: Option<Attempt>,
    /// To the thread that writes states; none before that runs.
    states: Option<Sender<ReplicaState>>,
    told: Told,
}

/// How far this node's log goes, whoever writes it.
struct Ends<'l>(&'l Replication);

impl LogEnds for Ends<'_> {
    fn streams(&self) -> u16 {
        self.0
            .following
            .lock()
            .as_ref()
            .map_or_else(|| self.0.streams(), |following| following.last_lsns().len() as u16)
    }

    fn durable_lsn(&self, stream: u16) -> u64 {
        match self.0.following.lock().as_ref() {
            Some(following) => following.last_lsns().get(usize::from(stream)).copied().unwrap_or(0),
            None => self.0.durable_lsn(stream),
        }
    }
}

impl Mover {
    pub fn new(
        replication: &Arc<Replication>,
        state: ReplicaState,
        primary: Option<String>,
        inputs: Receiver<Input>,
    ) -> Self {
        let setup = NodeSetup {
            shards: replication.setup.shards,
            solo_after_ns: replication.setup.solo_after.as_nanos() as u64,
            primary,
            own_address: replication.setup.replication_address.clone(),
            timing: TIMING,
        };
        Self {
            replication: Arc::clone(replication),
            node: Node::new(setup, state, replication.now_ns()),
            inputs,
            waiting: HashMap::new(),
            writers: HashMap::new(),
            cuts: HashMap::new(),
            requests: HashMap::new(),
            next_request: 0,
            attempt: None,
            states: None,
            told: Told::default(),
        }
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Before a primary decides anything: asks the other node, if there is one, whether a higher
    /// epoch has begun. If so, this does not return.
    pub fn check_epoch(&mut self) {
        let state = self.node.state();
        let Some(peer) = state.peer.as_ref().filter(|_| state.role == Role::Primary) else {
            return;
        };
        let answer = inquire(&self.replication, &peer.replication_address.clone());
        self.handle(Event::InquiryEnded { answer });
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// When one can't start.
    pub fn start(mut self) -> Result<(), Failure> {
        let replication = Arc::clone(&self.replication);
        let (states, wanted) = mpsc::channel();
        let writer = Arc::clone(&replication);
        replication.spawn("replica-state", move || {
            let mut role = writer.status().state.role;
            for state in wanted {
                persist(&writer, &state, role);
                role = state.role;
                writer.event(Event::Persisted);
            }
        })?;
        self.states = Some(states);
        replication.spawn("replication", move || self.run())
    }

    fn run(&mut self) {
        let mut ticked = Instant::now();
        loop {
            match self.inputs.recv_timeout(TICK.saturating_sub(ticked.elapsed())) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.handle(Event::DiskFull(self.replication.disk_full.load(Ordering::Relaxed)));
                self.handle(Event::Tick);
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.handle(event),
            Input::Called { conn, caller, purpose, writer, verdict } => {
                self.waiting.insert(conn, Waiting { writer, purpose, verdict });
                self.handle(Event::Called { conn, caller, purpose });
            }
            Input::CallAnswered { attempt, conn, accepted, writer } => {
                // One that was ended meanwhile has closed the connection.
                let current = self
                    .attempt
                    .as_mut()
                    .filter(|current| current.number == attempt && !current.is_over());
                if let Some(current) = current {
                    current.conn = Some(conn);
                    self.writers.insert(conn, writer);
                    self.handle(Event::CallAnswered { attempt, conn, accepted });
                }
            }
            Input::Cutting { stream, last_lsn, go } => {
                self.cuts.insert(stream, go);
                self.handle(Event::Cutting { stream, last_lsn });
            }
            Input::Requested { command, reply } => {
                self.next_request += 1;
                let request = RequestId(self.next_request);
                self.requests.insert(request, reply);
                self.handle(Event::Requested { request, command });
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let (now_ns, mut effects) = (self.replication.now_ns(), Vec::new());
        if let Event::FollowingEnded { attempt, .. } = event {
            self.attempt.take_if(|current| current.number == attempt);
        }
        let replication = Arc::clone(&self.replication);
        self.node.handle(now_ns, event, &Ends(&replication), &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
        self.replication.show(&self.node);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(state) => match &self.states {
                Some(states) => {
                    self.replication.hurry_ns.store(0, Ordering::Relaxed);
                    let _ = states.send(state);
                }
                None => {
                    persist(&self.replication, &state, self.node.state().role);
                    self.handle(Event::Persisted);
                }
            },
            Effect::Hurry => {
                self.replication.hurry_ns.store(self.replication.now_ns().max(1), Ordering::Relaxed)
            }
            Effect::Welcome { conn } => self.welcome(conn),
            Effect::Refuse { conn, reason, text, primary } => {
                let Some(caller) = self.waiting.remove(&conn) else { return };
                send(&caller.writer, &refusal(self.node.state().epoch, reason, &text, &primary));
                let _ = caller.verdict.send(Err(text));
            }
            Effect::Send { conn, message } => self.send(conn, message),
            Effect::BeginSession { session, slot, .. } => {
                self.replication.begin_session(session, slot)
            }
            Effect::FeedAllStreams { session } => self.replication.feed_all_streams(session),
            Effect::EndSession { session, conn } => {
                if let Some(writer) = self.writers.remove(&conn) {
                    writer.end();
                }
                self.replication.end_session(session);
            }
            Effect::TellShards { durability, session, waits_for } => {
                for shard in 0..usize::from(self.replication.setup.shards) {
                    self.replication
                        .tell(shard, ToShard::Durability { durability, session, waits_for });
                }
            }
            Effect::PrimaryAt { address, epoch } => {
                for shard in 0..usize::from(self.replication.setup.shards) {
                    self.replication.tell(
                        shard,
                        ToShard::PrimaryAt { address: address_field(&address), epoch },
                    );
                }
            }
            Effect::Call { attempt, address } => {
                match attempt::start(&self.replication, attempt, &address) {
                    Ok(started) => self.attempt = Some(started),
                    Err(failure) => self.handle(Event::CallFailed { attempt, failure }),
                }
            }
            Effect::OpenStreams { attempt, session, epoch, streams, catching_up, committed } => {
                self.order(
                    attempt,
                    Order::OpenStreams { session, epoch, streams, catching_up, committed },
                );
            }
            Effect::SingleWrites { attempt } => self.order(attempt, Order::SingleWrites),
            Effect::SeveralWrites { attempt } => self.order(attempt, Order::SeveralWrites),
            Effect::HasAll { .. } => {
                if let Some(following) = self.replication.following.lock().as_ref() {
                    following.all_told();
                }
            }
            Effect::EndFollowing { attempt } => self.end_attempt(attempt),
            Effect::Cut { stream } => {
                if let Some(go) = self.cuts.remove(&stream) {
                    let _ = go.send(());
                }
            }
            Effect::KeepLog { stream } => drop(self.cuts.remove(&stream)),
            Effect::Inquire { address } => {
                let replication = Arc::clone(&self.replication);
                let started = self.replication.spawn("inquiry", move || {
                    let answer = inquire(&replication, &address);
                    replication.event(Event::InquiryEnded { answer });
                });
                if started.is_err() {
                    self.replication.event(Event::InquiryEnded { answer: None });
                }
            }
            Effect::TakeOver { epoch, durability, force, request } => {
                let promoted = promote::take_over(&self.replication, epoch, durability, force);
                if let Some(reply) = self.requests.remove(&request) {
                    self.replication.show(&self.node);
                    let _ = reply.send(Ok(Some(promoted)));
                }
            }
            Effect::Answer { request, outcome } => {
                if let Some(reply) = self.requests.remove(&request) {
                    self.replication.show(&self.node);
                    let _ = reply.send(outcome.map(|()| None));
                }
            }
            Effect::Restart => {
                // Where the node stops this thread rests: nobody may wait for it.
                self.requests.clear();
                self.waiting.clear();
                self.inputs = mpsc::channel().1;
                self.replication.start_anew()
            }
            Effect::Report(report) => self.told.report(report),
        }
    }

    fn welcome(&mut self, conn: ConnId) {
        let Some(caller) = self.waiting.remove(&conn) else { return };
        let stream = match caller.purpose {
            CallPurpose::Stream { stream, .. } => stream,
            CallPurpose::Session { .. } | CallPurpose::List { .. } | CallPurpose::Inquiry => 0,
        };
        send(&caller.writer, &WelcomeFrame::empty(stream, self.node.state().epoch));
        if matches!(caller.purpose, CallPurpose::Session { .. }) {
            self.writers.insert(conn, caller.writer);
        }
        let _ = caller.verdict.send(Ok(()));
    }

    fn send(&mut self, conn: ConnId, message: NodeMessage) {
        let ours = self.node.state().epoch;
        let Some(writer) = self.writers.get(&conn) else { return };
        match message {
            NodeMessage::Heartbeat { disk_full } => {
                let mut heartbeat = HeartbeatFrame::empty(0, ours);
                heartbeat.disk_full = u8::from(disk_full);
                send(writer, &heartbeat);
            }
            NodeMessage::Grant { epoch } => send(writer, &GrantFrame::empty(0, epoch)),
            NodeMessage::Granted => send(writer, &GrantedFrame::empty(0, ours)),
            NodeMessage::Revoke { epoch } => send(writer, &RevokeFrame::empty(0, epoch)),
            NodeMessage::Revoked => send(writer, &RevokedFrame::empty(0, ours)),
        }
    }

    fn order(&self, attempt: u64, order: Order) {
        if let Some(current) = self.attempt.as_ref().filter(|current| current.number == attempt) {
            current.order(order);
        }
    }

    fn end_attempt(&mut self, attempt: u64) {
        match self.attempt.as_mut().filter(|current| current.number == attempt) {
            Some(current) => {
                if let Some(conn) = current.conn.take() {
                    self.writers.remove(&conn);
                }
                current.end();
            }
            None => attempt::ended(&self.replication, attempt),
        }
    }
}

fn send<F: LinkFrame>(writer: &Writer, frame: &F) {
    // A connection that is gone ends its session by itself.
    let _ = writer.send(frame);
}

/// Makes a state durable. A disk that refuses ends the node: it must not act on what it would
/// forget. Where only a descriptor is wanting it waits, but for a demotion, and for what a demotion
/// waits for: a node that knows of a higher epoch gives no more answers; it ends then, and learns of
/// the epoch again.
fn persist(replication: &Replication, state: &ReplicaState, role: Role) {
    let is_demotion = role == Role::Primary && state.role == Role::Standby;
    let began_ns = replication.now_ns();
    let is_in_time = || {
        let hurry_ns = replication.hurry_ns.load(Ordering::Relaxed);
        let since_ns = if is_demotion { began_ns } else { hurry_ns };
        let waited = Duration::from_nanos(replication.now_ns().saturating_sub(since_ns));
        since_ns == 0 || waited < DESCRIPTOR_PATIENCE
    };
    let patient = || !replication.is_stopping() && is_in_time();
    if let Err(error) = wait_for(state_file::STATE_FILE, patient, || {
        state_file::save(&replication.setup.data_dir, state)
    }) {
        let path = replication.setup.data_dir.join(state_file::STATE_FILE);
        let message = format!(
            "{} can't be written: {error}; nothing follows from what could not be kept",
            path.display()
        );
        let status = if error.is_exhaustion() { Status::Environment } else { Status::DiskFailed };
        fatal::end(&Failure::new(status, message));
    }
}

/// Asks a node what it is.
fn inquire(replication: &Replication, address: &str) -> Option<(Accepted, String)> {
    let join: JoinFrame = replication.join_frame(Purpose::Inquiry, 0, 0);
    match connection::dial(address, &join, &replication.setup.link_keys()) {
        Ok((connection, accept)) => Some((dialed(&accept, &connection), address.to_owned())),
        Err(failure) => {
            tracing::debug!(%failure, "the other node does not answer");
            None
        }
    }
}
