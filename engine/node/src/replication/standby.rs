//! What a standby holds while it follows: its streams, the tables that a promotion needs, and how
//! far its primary's log is known to go.

use super::ReplicationSetup;
use super::connection::{Connection, ConnectionFailure, LinkKeys, dial_while};
use super::follow::Stream;
use super::node_socket::NodeSocket;
use crate::block_file::BlockFile;
use crate::policy_file;
use catraca_core::blacklist::Snapshot;
use catraca_core::policy::Policy;
use catraca_core::rebuild::Builder;
use catraca_core::replica::node::Tables;
use catraca_core::replica::{Boundaries, Follower};
use catraca_wire::replication::JoinFrame;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A primary that has said nothing of a stream by then has nothing in it: its first block comes at
/// once.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// What a standby starts with.
pub struct FollowingSetup {
    /// State that recovery rebuilt, and that goes on growing.
    pub builder: Builder,
    /// Block boundaries of each stream.
    pub boundaries: Vec<Boundaries>,
    /// List in use.
    pub snapshot: Option<Arc<Snapshot>>,
}

/// What a standby holds.
pub(super) struct Following {
    pub(super) builder: Builder,
    pub(super) streams: Mutex<Vec<Arc<Mutex<Stream>>>>,
    pub(super) snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// By stream: the last record here, and the last that the primary is known to have, once it has
    /// said so in this session.
    seen: Mutex<Vec<(u64, Option<u64>)>>,
    connected: AtomicBool,
    /// When the session began.
    begun: Mutex<Instant>,
    /// This node's durable state says that it catches up. Each stream reads it to know how to read
    /// and write, and holds it while it writes.
    catching_up: RwLock<bool>,
    /// The policy in force, as it was read last.
    policy: Mutex<Option<Arc<Policy>>>,
    /// Whoever reads windows from the log gives up.
    pub(super) stop_reading: Arc<AtomicBool>,
    setup: ReplicationSetup,
}

/// One session, seen from the standby.
pub(super) struct StandbySession {
    pub address: String,
    session: AtomicU64,
    epoch: AtomicU32,
    over: AtomicBool,
    sockets: Mutex<Vec<Arc<NodeSocket>>>,
}

impl StandbySession {
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            session: AtomicU64::new(0),
            epoch: AtomicU32::new(0),
            over: AtomicBool::new(false),
            sockets: Mutex::new(Vec::new()),
        }
    }

    /// The primary's epoch is durable here: its streams begin, in this session.
    pub fn begin(&self, session: u64, epoch: u32) {
        self.session.store(session, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    pub fn session(&self) -> u64 {
        self.session.load(Ordering::Relaxed)
    }

    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Calls the primary once more in this session, for a stream or a list. The connection ends with
    /// the session.
    pub fn call(&self, join: &JoinFrame, keys: &LinkKeys) -> Result<Connection, ConnectionFailure> {
        let goes_on = || self.check().is_ok();
        let (connection, _) = dial_while(goes_on, &self.address, join, keys)?;
        self.adopt(connection.socket());
        Ok(connection)
    }

    /// A socket belongs to the session and ends with it.
    pub fn adopt(&self, socket: Arc<NodeSocket>) {
        let mut sockets = self.sockets.lock();
        if self.over.load(Ordering::Relaxed) {
            socket.end();
        }
        sockets.push(socket);
    }

    /// Whether the session goes on.
    pub fn check(&self) -> Result<(), ConnectionFailure> {
        if self.over.load(Ordering::Relaxed) { Err(ConnectionFailure::Closed) } else { Ok(()) }
    }

    pub fn end(&self) {
        let sockets = self.sockets.lock();
        self.over.store(true, Ordering::Relaxed);
        sockets.iter().for_each(|socket| socket.end());
    }
}

impl Following {
    pub fn new(setup: FollowingSetup, replication: &ReplicationSetup) -> Self {
        let FollowingSetup { builder, boundaries, snapshot } = setup;
        let seen = boundaries.iter().map(|b| (b.last().next_lsn - 1, None)).collect();
        for (stream, boundaries) in (0..).zip(&boundaries) {
            builder.pasts().begin(stream, boundaries.last().next_lsn);
        }
        let streams = boundaries
            .into_iter()
            .enumerate()
            .map(|(stream, boundaries)| new_stream(replication, stream as u16, boundaries));
        Self {
            streams: Mutex::new(streams.collect()),
            builder,
            snapshot: Mutex::new(snapshot),
            seen: Mutex::new(seen),
            connected: AtomicBool::new(false),
            begun: Mutex::new(Instant::now()),
            catching_up: RwLock::new(false),
            policy: Mutex::new(None),
            stop_reading: Arc::default(),
            setup: replication.clone(),
        }
    }

    /// A stream, made if it is new here.
    pub(super) fn stream(&self, number: u16) -> Arc<Mutex<Stream>> {
        let mut streams = self.streams.lock();
        while streams.len() <= usize::from(number) {
            let stream = streams.len() as u16;
            streams.push(new_stream(&self.setup, stream, Boundaries::default()));
            self.seen.lock().push((0, None));
        }
        Arc::clone(&streams[usize::from(number)])
    }

    /// A stream has come this far, and the primary that far.
    pub(super) fn note(&self, number: u16, lsn: u64, durable: u64) {
        if let Some(seen) = self.seen.lock().get_mut(usize::from(number)) {
            *seen = (lsn, Some(durable));
        }
    }

    /// The primary has said how far a stream of its goes.
    pub(super) fn told(&self, number: u16, durable: u64) {
        if let Some((_, there)) = self.seen.lock().get_mut(usize::from(number)) {
            *there = Some(durable);
        }
    }

    /// A session begins: how far the primary's log goes is not known any more.
    pub(super) fn nothing_told(&self) {
        *self.begun.lock() = Instant::now();
        self.seen.lock().iter_mut().for_each(|(_, there)| *there = None);
    }

    /// The grant has come: this node has all that the primary has answered, where it has said
    /// nothing else.
    pub(super) fn all_told(&self) {
        self.seen.lock().iter_mut().for_each(|(here, there)| *there = there.or(Some(*here)));
    }

    /// Whether several blocks may be written at once, for as long as what this gives is held.
    pub(super) fn catching_up(&self) -> RwLockReadGuard<'_, bool> {
        self.catching_up.read()
    }

    /// Whether several blocks may be written at once from now on; waits for what is being written.
    pub(super) fn set_catching_up(&self, catching_up: bool) {
        *self.catching_up.write() = catching_up;
    }

    /// The last record here of each stream.
    pub(super) fn last_lsns(&self) -> Vec<u64> {
        self.seen.lock().iter().map(|(here, _)| *here).collect()
    }

    /// By stream: what the primary has called committed.
    pub(super) fn committed(&self) -> Vec<u64> {
        self.streams.lock().iter().map(|stream| stream.lock().follower.committed()).collect()
    }

    /// A session of an epoch with so many streams begins, of which an earlier run knew some to be
    /// committed up to a record.
    pub(super) fn remember(&self, epoch: u32, streams: u16, committed: &[u64]) {
        for stream in 0..streams {
            let committed = committed.get(usize::from(stream)).copied().unwrap_or(0);
            self.stream(stream).lock().follower.remember(epoch, committed);
        }
    }

    /// What a promotion depends on.
    pub(super) fn tables(&self) -> Tables {
        Tables { missing_list: self.missing_list(), fault: self.fault() }
    }

    /// Why what the log says is in use can't be used.
    fn fault(&self) -> Option<String> {
        let overlay = self.builder.overlay().err().map(|error| error.to_string());
        let named = || self.builder.named().err().map(|error| error.to_string());
        overlay.or_else(named).or_else(|| policy_file::in_force_of(&self.builder.policies()).err())
    }

    /// The policy in force; `None` where this build can't read it.
    pub(super) fn policy(&self) -> Option<Arc<Policy>> {
        let policies = self.builder.policies();
        let version = policies.in_force().ok()?.map_or(0, |policy| policy.version);
        let mut read = self.policy.lock();
        if read.as_ref().is_none_or(|policy| policy.version() != version) {
            *read = policy_file::in_force_of(&policies).ok();
        }
        read.clone()
    }

    /// The streams of a session are open, or no longer.
    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    pub(super) fn is_following(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether a session is under way, in which the primary has said how far its log goes.
    pub(super) fn is_connected(&self) -> bool {
        let all_told = self.seen.lock().iter().all(|(_, there)| there.is_some());
        let has_nothing = self.begun.lock().elapsed() > TOLD_AFTER;
        self.is_following() && (all_told || has_nothing)
    }

    pub(super) fn behind(&self) -> u64 {
        self.seen
            .lock()
            .iter()
            .filter_map(|(here, there)| there.map(|there| there.saturating_sub(*here)))
            .sum()
    }

    /// A list has come. One that the log has replaced meanwhile is not held.
    pub(super) fn hold_list(&self, snapshot: Arc<Snapshot>) {
        let mut held = self.snapshot.lock();
        if self.builder.snapshot_id() == snapshot.id() {
            *held = Some(snapshot);
        }
    }

    /// The list that the log says is in use, if it is not here.
    pub(super) fn missing_list(&self) -> Option<u64> {
        let wanted = self.builder.snapshot_id();
        let held = self.snapshot.lock().as_ref().map_or(0, |snapshot| snapshot.id());
        (wanted != 0 && wanted != held).then_some(wanted)
    }
}

fn new_stream(
    replication: &ReplicationSetup,
    number: u16,
    boundaries: Boundaries,
) -> Arc<Mutex<Stream>> {
    let follower = Follower::new(
        number,
        replication.cluster_id,
        replication.key,
        replication.segment_len,
        boundaries,
    );
    let file = BlockFile::new(replication.data_dir.clone(), number);
    Arc::new(Mutex::new(Stream::new(follower, file)))
}
