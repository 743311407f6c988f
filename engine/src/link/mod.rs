//! The link between two nodes: plain threads that move the state machines of `replica/` with sockets and files, beside the data cores and
//! the control thread. What is decided here is only when to call them; knows neither glommio nor tokio.
//!
//! ```text
//! connection   frames over a socket, and the handshake          state_file   replica.json
//! listen       on every node: takes the other node's calls      primary      sessions with a standby, its own place
//! feed         on a primary: one stream to the standby          standby      following, promotion
//! follow       on a standby: one stream from the primary        quarantine   what is cut off is kept
//! promote      a standby becomes the primary
//! lists        list files, from the primary to the standby      restart      a node that must forget starts anew
//! frames       whole frames out of bytes, without a socket       newcomer     what a new standby asks first
//! ```
//!
//! A session is one connection from node to node (life signs, grants) and one for each stream. Whatever goes wrong with one of them ends
//! them all, and the standby calls again.

mod connection;
mod feed;
mod follow;
pub mod frames;
mod listen;
mod lists;
mod newcomer;
mod primary;
mod promote;
mod quarantine;
pub mod restart;
mod standby;
pub mod state_file;

use crate::descriptors::{Exhaustible, wait_for};
use crate::driver::Links;
use crate::fatal::{self, Failure, Status};
use crate::replica::{Peer, ReplicaState};
use crate::shard::messages::ToShard;
use catraca_wire::address::Host;
use catraca_wire::block::{ChainKey, FORMAT_VERSION};
use catraca_wire::frame::{Durability, Role, fill};
use catraca_wire::replication::{BeatFrame, JoinFrame, Purpose};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use newcomer::introduce;
pub use promote::Promoted;
pub use standby::{Following, FollowingSetup};

/// How often each side of a session says that it is there.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// A node that said nothing for this long is taken for gone: the session ends. Nothing but the ending depends on it.
const SILENCE: Duration = Duration::from_millis(3_000);
/// Pause before a mailbox that was full is tried again.
const MAILBOX_RETRY: Duration = Duration::from_millis(1);
/// How long an operator's wish may wait for the other node's word.
const WISH_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it is waited for a descriptor that a step of the node's place needs: others wait for that step, the control thread too.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_secs(5);

/// Who this node is to the other one.
#[derive(Debug, Clone)]
pub struct LinkSetup {
    /// Folder of the log and of `replica.json`.
    pub data_dir: PathBuf,
    /// Cluster.
    pub cluster_id: [u8; 16],
    /// Node.
    pub node_id: [u8; 16],
    /// Random, of this run of the program.
    pub run: [u8; 16],
    /// Key of the chain, which both nodes prove to have.
    pub key: ChainKey,
    /// Shards of the node.
    pub shards: u16,
    /// Length of its segments, bytes.
    pub segment_len: u64,
    /// Where other nodes reach this one, as it tells them.
    pub replication_address: String,
    /// Where clients reach this one, as it tells other nodes.
    pub client_address: String,
    /// After how long without the standby a primary goes on alone by itself; zero never.
    pub solo_after: Duration,
    /// Processors for the threads.
    pub cpus: Vec<usize>,
}

/// What the node shows of its place in the cluster.
#[derive(Debug, Clone)]
pub struct LinkStatus {
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

/// A node's link. Shared by its threads and the control thread; no data core ever waits for it.
pub struct Link {
    setup: LinkSetup,
    links: Arc<Links>,
    inner: Mutex<Inner>,
    /// Last durable record of the streams that no shard writes any more.
    dormant: Mutex<Vec<u64>>,
    sessions: AtomicU64,
    /// The session under way, for threads that only want to know whether it is theirs; 0 none.
    current: AtomicU64,
    stopping: AtomicBool,
    /// This node's disk is nearly full, which its life signs say.
    disk_full: AtomicBool,
}

struct Inner {
    state: ReplicaState,
    session: Option<primary::Standing>,
    /// On a primary: since when it has been without its standby.
    alone_since: Instant,
    last_heard: Option<Instant>,
    following: Option<standby::Handle>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the process, so nobody sees what a panicking thread held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// The link of a node in this state. `dormant` are the last records of the streams behind the shards' own.
    pub fn new(setup: LinkSetup, links: Arc<Links>, state: ReplicaState, dormant: Vec<u64>) -> Arc<Self> {
        let inner = Inner { state, session: None, alone_since: Instant::now(), last_heard: None, following: None };
        let sessions = AtomicU64::new(u64::from_le_bytes(crate::random::bytes()) | 1);
        Arc::new(Self {
            setup,
            links,
            inner: Mutex::new(inner),
            dormant: Mutex::new(dormant),
            sessions,
            current: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            disk_full: AtomicBool::new(false),
        })
    }

    /// Takes calls of other nodes from now on, and looks after this one's own place.
    ///
    /// # Errors
    /// [`Status::Environment`] when a thread can't start.
    pub fn start(self: &Arc<Self>, listener: TcpListener) -> Result<(), Failure> {
        let link = Arc::clone(self);
        self.spawn("replication", move || listen::take_calls(&link, &listener))?;
        let link = Arc::clone(self);
        self.spawn("solo-watch", move || primary::watch(&link))?;
        let link = Arc::clone(self);
        self.spawn("peer", move || primary::inquire_again(&link))
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
        let cpus = self.setup.cpus.clone();
        let body = move || {
            crate::driver::run_on(&cpus);
            body();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        thread.map(drop).map_err(|e| Failure::new(Status::Environment, format!("the thread {name} can't start: {e}")))
    }

    /// What the node shows of its place.
    pub fn status(&self) -> LinkStatus {
        let inner = locked(&self.inner);
        let state = inner.state.clone();
        let (connected, in_sync, behind_records) = match (&inner.session, &inner.following) {
            (Some(session), _) => {
                (true, session.session.is_in_sync(), session.session.behind(|stream| self.durable_lsn(stream as u16)))
            }
            (None, Some(following)) => (following.is_connected(), state.in_sync, following.behind()),
            (None, None) => (false, false, 0),
        };
        LinkStatus { state, connected, in_sync, behind_records, last_heard: inner.last_heard }
    }

    /// On a standby: the last record of each stream that is durable here.
    pub fn followed(&self) -> Option<Vec<u64>> {
        locked(&self.inner).following.as_ref().map(|handle| handle.following.last_lsns())
    }

    /// The last record of each stream that is durable here, whether it was written here or followed; `None` in the middle of a promotion.
    pub fn durable_ends(&self) -> Option<Vec<u64>> {
        let inner = locked(&self.inner);
        match &inner.following {
            Some(handle) => Some(handle.following.last_lsns()),
            None if inner.state.role == Role::Standby => None,
            None => Some((0..self.streams()).map(|stream| self.durable_lsn(stream)).collect()),
        }
    }

    /// The setup.
    pub fn setup(&self) -> &LinkSetup {
        &self.setup
    }

    /// The node is stopping: nothing of what follows is worth a warning.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// This node's disk is nearly full, or has room again.
    pub fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full, Ordering::Relaxed);
    }

    fn beat(&self, epoch: u32) -> BeatFrame {
        let mut beat = BeatFrame::empty(0, epoch);
        beat.disk_full = u8::from(self.disk_full.load(Ordering::Relaxed));
        beat
    }

    /// Streams on the disk: the shards' own, and those of an earlier, wider layout.
    fn streams(&self) -> u16 {
        self.setup.shards + locked(&self.dormant).len() as u16
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

    /// Waits until there is a descriptor, for as long as `goes_on` says so: before a lock is taken under which [`Self::persist`] needs one.
    fn await_descriptor(&self, goes_on: impl Fn() -> bool) {
        let goes_on = || goes_on() && !self.is_stopping();
        // Where it can't be opened for another reason the step itself says so.
        let _ = wait_for(state_file::STATE_FILE, goes_on, || File::open(&self.setup.data_dir));
    }

    /// Makes a state durable and then this node's own. A disk that refuses ends the node: it must not act on what it would forget. So does
    /// the want of a descriptor that lasts: who waits here keeps others from what they need to stop the node.
    fn persist(&self, inner: &mut Inner, state: ReplicaState) {
        assert!(state.epoch >= inner.state.epoch, "an epoch never goes back");
        let began = Instant::now();
        let patient = || began.elapsed() < DESCRIPTOR_PATIENCE && !self.is_stopping();
        if let Err(error) = wait_for(state_file::STATE_FILE, patient, || state_file::save(&self.setup.data_dir, &state)) {
            let path = self.setup.data_dir.join(state_file::STATE_FILE);
            let message = format!("{} can't be written: {error}; nothing follows from what could not be kept", path.display());
            let status = if error.is_exhaustion() { Status::Environment } else { Status::DiskFailed };
            fatal::end(&Failure::new(status, message));
        }
        inner.state = state;
    }

    /// Sends a message to a shard; waits while its mailbox is full.
    fn tell(&self, shard: usize, mut message: ToShard) {
        while let Err(back) = self.links.to_shard[shard].push(message) {
            message = back;
            self.links.to_shard[shard].wake();
            std::thread::sleep(MAILBOX_RETRY);
        }
        self.links.to_shard[shard].wake();
    }

    /// The last durable record of a stream.
    fn durable_lsn(&self, stream: u16) -> u64 {
        let shards = usize::from(self.setup.shards);
        match usize::from(stream).checked_sub(shards) {
            None => self.links.feeds[usize::from(stream)].durable_lsn(),
            Some(dormant) => locked(&self.dormant)[dormant],
        }
    }

    fn join_frame(&self, purpose: Purpose, stream: u16, session: u64) -> JoinFrame {
        let inner = locked(&self.inner);
        let mut join = introduction(&self.setup, purpose, stream, inner.state.epoch);
        join.session = session.into();
        join.in_sync = u8::from(inner.state.role == Role::Standby && inner.state.in_sync);
        join.role = inner.state.role.to_wire();
        join
    }

    /// A higher epoch than this primary's exists: it is one no longer. Never returns when that is so.
    fn depose(&self, epoch: u32, by: Option<Peer>) {
        // Without a wait: a node that knows of a later epoch gives no more answers, also where it has no descriptor left to write that
        // down with. It ends then, and learns of the epoch again.
        let mut inner = locked(&self.inner);
        let Some(state) = inner.state.deposed(epoch, by) else { return };
        self.persist(&mut inner, state);
        drop(inner);
        tracing::warn!(epoch, "another node is the primary of a later epoch: this one becomes its standby and starts anew");
        self.start_anew();
    }

    /// Replaces this run of the program by another, unless it is about to end: then that goes on, and this thread rests.
    fn start_anew(&self) -> ! {
        while self.is_stopping() {
            std::thread::park();
        }
        restart::now()
    }
}

/// A JOIN of this node.
fn introduction(setup: &LinkSetup, purpose: Purpose, stream: u16, epoch: u32) -> JoinFrame {
    let mut join = JoinFrame::empty(stream, epoch);
    join.format_version = FORMAT_VERSION.into();
    join.shards = setup.shards.into();
    join.purpose = purpose.to_wire();
    join.role = Role::Standby.to_wire();
    join.cluster_id = setup.cluster_id;
    join.node_id = setup.node_id;
    join.run = setup.run;
    join.nonce = crate::random::bytes();
    fill(&mut join.replication_address, &setup.replication_address);
    fill(&mut join.client_address, &setup.client_address);
    join
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

/// The address that a socket listens on, for others. `host` was checked with the configuration.
pub fn advertised(host: Option<&str>, listen: SocketAddr) -> String {
    let host = host.and_then(|host| Host::parse(host).ok()).unwrap_or(Host::Ip(listen.ip()));
    host.with_port(listen.port())
}
