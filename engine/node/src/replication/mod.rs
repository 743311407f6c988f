//! Replication with sockets and files: plain threads that move the state machines of `replica/`,
//! beside the data cores and the control thread. What a node does is decided by [`Node`]; here is
//! only what it is done with. Knows neither glommio nor tokio.
//!
//! ```text
//! mover        the node's thread: events in, effects out        state_file   replica.json
//! connection   frames over a socket, and the handshake          listen       on every node: takes the other node's calls
//! attempt      on a standby: one attempt to follow              standby      what it holds meanwhile
//! feed         on a primary: one stream to the standby          follow       on a standby: one stream from the primary
//! promote      a standby's tables go to the data cores          cut          what the primary lacks goes into quarantine
//! lists        list files, from the primary to the standby      restart      a node that must forget starts anew
//! node_socket  a socket, in clear or over TLS                   bootstrap    what a new standby asks first
//! frames       whole frames out of bytes, without a socket
//! join         who this node is to the other one                told         what the program's own log says
//! parts        files in pieces                                  log_start    where a stream begins, from the primary to the standby
//! ```
//!
//! A session is one connection from node to node (heartbeats, membership of the in-sync set) and
//! one for each stream. Whatever goes wrong with one of them ends them all, and the standby calls
//! again.

mod attempt;
mod bootstrap;
mod connection;
mod cut;
mod feed;
mod follow;
pub mod frames;
mod join;
mod listen;
mod lists;
mod log_start;
mod mover;
mod node_socket;
mod parts;
mod promote;
pub mod restart;
mod standby;
pub mod state_file;
mod told;
mod windows;

use crate::channels::ShardChannels;
use crate::fatal::{Failure, Status};
use crate::log_files::lookup::OwnLog;
use crate::log_files::turn::Turn;
use catraca_core::replica::node::{Command, ConnId, Event, Node, RequestRefused};
use catraca_core::replica::{Feeder, ReplicaSlot, ReplicaState};
use catraca_core::shard::messages::ToShard;
use catraca_wire::frame::{Durability, Role, fill};
use catraca_wire::replication::{JoinFrame, Purpose};
use join::join_of;
use mover::{Input, Mover};
use node_socket::NodeSocket;
use parking_lot::Mutex;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::time::{Duration, Instant};

pub use bootstrap::bootstrap;
pub use join::{ReplicationSetup, advertised};
pub use promote::Promoted;
pub use standby::FollowingSetup;

/// A node that said nothing for this long while a list comes is taken for gone.
const SILENCE: Duration = Duration::from_millis(3_000);
/// How long it is waited for a descriptor without which the node must not go on.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_secs(5);

/// What the node shows of its place in the cluster.
#[derive(Debug, Clone)]
pub struct ReplicationStatus {
    /// Epoch, role, durability.
    pub state: ReplicaState,
    /// A session with the other node is under way.
    pub connected: bool,
    /// On a primary: its standby holds the grant. On a standby: so does it.
    pub in_sync: bool,
    /// Records that the standby lacks, as far as this node knows.
    pub behind_records: u64,
    /// When the other node was last heard.
    pub last_heard: Option<Instant>,
}

/// A node's replication. Shared by its threads and the control thread; no data core ever waits for
/// it, and nobody who holds one of its locks waits for a disk or a socket.
pub struct Replication {
    setup: ReplicationSetup,
    channels: Arc<ShardChannels>,
    /// To the node's thread.
    inputs: Sender<Input>,
    /// The node's thread before it runs.
    mover: Mutex<Option<Mover>>,
    /// What the node shows of itself.
    shown: Mutex<Shown>,
    /// On a standby: what it holds.
    following: Mutex<Option<Arc<standby::Following>>>,
    /// On a primary: the feeders of the session under way, by stream.
    feeders: Mutex<Vec<Option<Arc<Mutex<Feeder>>>>>,
    /// Last durable record of the streams that no shard writes any more.
    dormant: Mutex<Vec<u64>>,
    /// Connections of the session under way, to end them.
    sockets: Mutex<Vec<Arc<NodeSocket>>>,
    sessions: AtomicU64,
    conns: AtomicU64,
    /// The session under way, for threads that only want to know whether it is theirs; 0 none.
    current: AtomicU64,
    /// The session of which all streams are fed; of another one the first only.
    feeds_all: AtomicU64,
    /// Where the acknowledgements of that session count.
    slot: Mutex<ReplicaSlot>,
    /// The session whose standby is in sync: the node need not hear of its acknowledgements; 0
    /// none.
    in_sync: AtomicU64,
    began: Instant,
    /// When the other node was last heard, nanoseconds since the beginning; 0 never.
    heard_ns: AtomicU64,
    stopping: AtomicBool,
    /// Since when a demotion waits behind the write of the state under way; 0 none.
    hurry_ns: AtomicU64,
    /// This node's disk is nearly full, which its heartbeats say.
    disk_full: AtomicBool,
    /// Who may replace segment files.
    turn: Turn,
}

struct Shown {
    state: ReplicaState,
    session: Option<u64>,
    in_sync: bool,
    standby_disk_full: bool,
}

impl Replication {
    /// This node's log.
    pub fn own_log(&self) -> OwnLog {
        let ReplicationSetup { data_dir, cluster_id, key, .. } = &self.setup;
        OwnLog { data_dir: data_dir.clone(), cluster_id: *cluster_id, key: *key }
    }

    /// The last durable record of each stream of a primary, from the first stream.
    pub fn durable_lsns(&self) -> Vec<u64> {
        let feeds = self.channels.feeds.iter().map(|feed| feed.durable_lsn());
        feeds.chain(self.dormant.lock().iter().copied()).collect()
    }

    /// The replication of a node in this state. `dormant` are the last records of the streams
    /// behind the shards' own; `primary` is where the configuration says that the primary is.
    pub fn new(
        setup: ReplicationSetup,
        channels: Arc<ShardChannels>,
        state: ReplicaState,
        dormant: Vec<u64>,
        primary: Option<String>,
    ) -> Arc<Self> {
        let (inputs, taken) = channel();
        let shown =
            Shown { state: state.clone(), session: None, in_sync: false, standby_disk_full: false };
        let replication = Arc::new(Self {
            setup,
            channels,
            inputs,
            mover: Mutex::new(None),
            shown: Mutex::new(shown),
            following: Mutex::new(None),
            feeders: Mutex::new(Vec::new()),
            dormant: Mutex::new(dormant),
            sockets: Mutex::new(Vec::new()),
            sessions: AtomicU64::new(u64::from_le_bytes(crate::random::bytes()) | 1),
            conns: AtomicU64::new(1),
            current: AtomicU64::new(0),
            feeds_all: AtomicU64::new(0),
            slot: Mutex::new(ReplicaSlot::FIRST),
            in_sync: AtomicU64::new(0),
            began: Instant::now(),
            heard_ns: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            hurry_ns: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            turn: Turn::default(),
        });
        let mover = Mover::new(&replication, state, primary, taken);
        replication.show(mover.node());
        *replication.mover.lock() = Some(mover);
        replication
    }

    /// Before a primary decides anything: asks the other node, if there is one, whether a higher
    /// epoch has begun. If so, this does not return.
    pub fn check_epoch(&self) {
        if let Some(mover) = self.mover.lock().as_mut() {
            mover.check_epoch();
        }
    }

    /// Takes calls of other nodes from now on, and follows or is followed. A standby gives what it
    /// holds.
    ///
    /// # Errors
    /// [`Status::Environment`] when a thread can't start.
    pub fn start(
        self: &Arc<Self>,
        listener: TcpListener,
        following: Option<FollowingSetup>,
    ) -> Result<(), Failure> {
        if let Some(setup) = following {
            *self.following.lock() = Some(Arc::new(standby::Following::new(setup, &self.setup)));
            let replication = Arc::clone(self);
            self.spawn("windows", move || windows::keep(&replication))?;
        }
        let mover = self.mover.lock().take();
        mover.map_or(Ok(()), Mover::start)?;
        let replication = Arc::clone(self);
        self.spawn("calls", move || listen::take_calls(&replication, &listener))
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        let cpus = self.setup.cpus.clone();
        let body = move || {
            crate::threads::run_on(&cpus);
            body();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        thread.map(drop).map_err(|e| {
            Failure::new(Status::Environment, format!("the thread {name} can't start: {e}"))
        })
    }

    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn input(&self, input: Input) {
        // The node's thread ends with the process.
        let _ = self.inputs.send(input);
    }

    fn event(&self, event: Event) {
        self.input(Input::Event(event));
    }

    fn request(&self, command: Command) -> Result<Option<Promoted>, RequestRefused> {
        let (reply, answer) = sync_channel(1);
        self.input(Input::Requested { command, reply });
        answer.recv().unwrap_or(Err(RequestRefused::UnderWay("the end of this node")))
    }

    /// Has this primary answer alone, as an operator wants.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn go_solo(&self, standby_is_down: bool) -> Result<(), String> {
        self.request(Command::Solo { standby_is_down }).map(drop).map_err(|why| why.to_string())
    }

    /// A shard's answers wait for the standby from now on; it may have answered everything up to a
    /// record by then.
    pub fn shard_waits(&self, shard: u16, session: u64, answered: u64) {
        self.event(Event::Waiting { shard, session, answered });
    }

    fn new_conn(&self) -> ConnId {
        ConnId(self.conns.fetch_add(1, Ordering::Relaxed))
    }

    /// The other node was heard.
    fn heard(&self) {
        self.heard_ns.store(self.now_ns().max(1), Ordering::Relaxed);
    }

    /// Shows what the node is by now.
    fn show(&self, node: &Node) {
        let session = node.session();
        let in_sync = node.is_in_sync();
        self.in_sync.store(session.filter(|_| in_sync).unwrap_or(0), Ordering::Relaxed);
        let standby_disk_full = node.standby_disk_full();
        let mut shown = self.shown.lock();
        if shown.state != *node.state() {
            shown.state = node.state().clone();
        }
        (shown.session, shown.in_sync, shown.standby_disk_full) =
            (session, in_sync, standby_disk_full);
    }

    fn begin_session(&self, session: u64, slot: ReplicaSlot) {
        *self.slot.lock() = slot;
        self.set_current(session);
        self.feeders.lock().clear();
        self.heard();
    }

    fn end_session(&self, session: u64) {
        if self.is_current(session) {
            self.set_current(0);
            self.sockets.lock().drain(..).for_each(|socket| socket.end());
        }
    }

    /// A connection of a session failed.
    fn session_failed(&self, session: u64, why: String) {
        self.event(Event::SessionEnded { session, why });
    }

    /// A connection belongs to a session; `false` when that is over.
    fn adopt(&self, id: u64, socket: Arc<NodeSocket>) -> bool {
        let mut sockets = self.sockets.lock();
        let goes_on = self.is_current(id);
        if goes_on {
            sockets.push(socket);
        }
        goes_on
    }

    /// The standby's acknowledgements of a stream are counted by this.
    fn watch_feeder(&self, session: u64, stream: u16, feeder: &Arc<Mutex<Feeder>>) {
        let mut feeders = self.feeders.lock();
        if !self.is_current(session) {
            return;
        }
        let stream = usize::from(stream);
        if feeders.len() <= stream {
            feeders.resize(stream + 1, None);
        }
        feeders[stream] = Some(Arc::clone(feeder));
    }

    /// The standby holds a stream up to a record.
    fn progress(&self, session: u64, stream: u16, lsn: u64) {
        self.heard();
        if self.in_sync.load(Ordering::Relaxed) != session {
            self.event(Event::Acknowledged { session, stream, lsn });
        }
    }

    /// Answers wait for a standby that is not connected.
    pub fn waits_for_standby(&self) -> bool {
        let shown = self.shown.lock();
        shown.state.role == Role::Primary
            && shown.state.durability == Durability::Sync
            && shown.session.is_none()
    }

    /// Answers wait for a standby whose disk is nearly full.
    pub fn standby_disk_full(&self) -> bool {
        let shown = self.shown.lock();
        shown.state.durability == Durability::Sync && shown.standby_disk_full
    }

    fn epoch(&self) -> u32 {
        self.shown.lock().state.epoch
    }

    /// What the node shows of its place.
    pub fn status(&self) -> ReplicationStatus {
        let (state, session, in_sync) = {
            let shown = self.shown.lock();
            (shown.state.clone(), shown.session, shown.in_sync)
        };
        let (connected, behind_records) = match (session, self.following.lock().as_ref()) {
            (Some(_), _) => (true, self.standby_lacks()),
            (None, Some(following)) => (following.is_connected(), following.behind()),
            (None, None) => (false, 0),
        };
        let heard_ns = self.heard_ns.load(Ordering::Relaxed);
        let last_heard = (heard_ns > 0).then(|| self.began + Duration::from_nanos(heard_ns));
        ReplicationStatus { state, connected, in_sync, behind_records, last_heard }
    }

    /// Records that the standby of the session under way is known to lack.
    fn standby_lacks(&self) -> u64 {
        let feeders = self.feeders.lock();
        let held = |stream: u16| {
            feeders.get(usize::from(stream))?.as_ref().map(|feeder| feeder.lock().acknowledged())
        };
        (0..self.streams())
            .map(|stream| self.durable_lsn(stream).saturating_sub(held(stream).unwrap_or(0)))
            .sum()
    }

    /// On a standby: the last record of each stream that is durable here.
    pub fn followed(&self) -> Option<Vec<u64>> {
        self.following.lock().as_ref().map(|following| following.last_lsns())
    }

    /// The last record of each stream that is durable here, whether it was written here or
    /// followed; `None` in the middle of a promotion.
    pub fn durable_ends(&self) -> Option<Vec<u64>> {
        let following = self.following.lock();
        match following.as_ref() {
            Some(following) => Some(following.last_lsns()),
            None if self.shown.lock().state.role == Role::Standby => None,
            None => Some((0..self.streams()).map(|stream| self.durable_lsn(stream)).collect()),
        }
    }

    /// The last record of each stream that is durable wherever it is to be: here, and at the other
    /// node while there is a session with it. `None` in the middle of a promotion.
    pub fn settled_ends(&self) -> Option<Vec<u64>> {
        let mut ends = self.durable_ends()?;
        if self.shown.lock().session.is_some() {
            let feeders = self.feeders.lock();
            for (stream, end) in ends.iter_mut().enumerate() {
                let held = feeders.get(stream).and_then(Option::as_ref);
                *end = held.map_or(0, |feeder| feeder.lock().acknowledged()).min(*end);
            }
        }
        Some(ends)
    }

    /// Who may replace segment files.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// The setup.
    pub fn setup(&self) -> &ReplicationSetup {
        &self.setup
    }

    /// The node is stopping: nothing of what follows is worth a warning.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.event(Event::Stopping);
    }

    /// This node's disk is nearly full, or has room again.
    pub fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full, Ordering::Relaxed);
    }

    /// Streams on the disk: the shards' own, and those of an earlier, wider layout.
    fn streams(&self) -> u16 {
        self.setup.shards + self.dormant.lock().len() as u16
    }

    fn is_current(&self, session: u64) -> bool {
        self.current.load(Ordering::Relaxed) == session
    }

    fn set_current(&self, session: u64) {
        self.current.store(session, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Sends a message to a shard; waits while its mailbox is full.
    fn tell(&self, shard: usize, message: ToShard) {
        self.channels.to_shard[shard].put(message);
    }

    /// The last durable record of a stream.
    fn durable_lsn(&self, stream: u16) -> u64 {
        let shards = usize::from(self.setup.shards);
        match usize::from(stream).checked_sub(shards) {
            None => self.channels.feeds[usize::from(stream)].durable_lsn(),
            Some(dormant) => self.dormant.lock()[dormant],
        }
    }

    fn join_frame(&self, purpose: Purpose, stream: u16, session: u64) -> JoinFrame {
        let state = &self.shown.lock().state;
        let mut join = join_of(&self.setup, purpose, stream, state.epoch);
        join.session = session.into();
        join.in_sync = u8::from(state.role == Role::Standby && state.in_sync);
        join.role = state.role.to_wire();
        join
    }

    /// Replaces this run of the program by another, unless it is about to end: then that goes on,
    /// and this thread rests.
    fn start_anew(&self) -> ! {
        while self.is_stopping() {
            std::thread::park();
        }
        restart::now()
    }
}

/// The text field of an address.
fn address_field(address: &str) -> [u8; 48] {
    let mut field = [0; 48];
    fill(&mut field, address);
    field
}

/// The two nodes' own words for the modes, in one place.
fn mode_text(durability: Durability) -> &'static str {
    match durability {
        Durability::Single => "this node has never had a standby",
        Durability::Sync => "every answer waits for the standby",
        Durability::Solo => "answers wait for nobody",
    }
}
