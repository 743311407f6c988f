//! The control thread: everything slow or likely to fail. The only files that know tokio.
//!
//! One current-thread runtime on the main thread: metrics and health over HTTP, list changes, disk
//! and core watching; look-ups and the making of segments on threads of their own. It talks to each core through bounded
//! mailboxes and never touches a shard's state.

mod answer;
mod approval;
mod audit;
mod candidate;
mod candidate_metrics;
mod changes;
mod checkpoints;
mod cluster;
mod exposition;
mod forcing;
mod http;
mod labels;
mod list_metrics;
mod list_request;
mod lists;
mod log_metrics;
mod lookups;
mod metrics;
mod named_lists;
mod named_request;
mod packing;
mod policies;
mod policy_metrics;
mod policy_request;
pub mod reload;
mod retention;
mod scrapes;
mod segments;
mod stats;
mod tls_door;
mod tokens;
mod trail;
mod upkeep;
mod validator_metrics;
mod watch;
mod windows;
mod windows_checkpoints;

use crate::balancers::Balancers;
use crate::channels::ShardChannels;
use crate::data_dir::DataDir;
use crate::fatal::{Failure, Status};
use crate::in_use::InUse;
use crate::log_files::lookup::OwnLog;
use crate::mailbox::FULL_RETRY;
use crate::mailbox::{Mailbox, any_message};
use crate::replication::Replication;
use crate::signals::StopSignals;
use crate::validators::desk;
use crate::validators::shared::RedisSettings;
use crate::wall_clock::wall_ns;
use audit::Act;
use candidate_metrics::CandidateFigures;
use catraca_core::calendar::Zone;
use catraca_core::limits::STOP_TIMEOUT;
use catraca_core::shard::messages::{Admission, ControlRequest, ToControl, ToShard};
use catraca_tls::Tls;
use catraca_tokens::{Expected, Source};
use catraca_wire::block::ChainKey;
use catraca_wire::frame::Role;
use changes::ChangeRequest;
use list_metrics::ListFigures;
use policy_metrics::PolicyFigures;
use std::cell::Cell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use watch::DiskFigures;

pub use approval::Approvals;
pub use retention::RetentionSettings;
pub use upkeep::UpkeepSettings;

/// What the control thread starts with.
pub struct ControlSetup {
    /// What tells the node to stop.
    pub signals: Arc<StopSignals>,
    /// Where clients connect over TLS, and what hands are shaken with.
    pub tls: Option<(TcpListener, Arc<Tls>)>,
    /// Reads the clients anew, when that is asked for.
    pub read_clients: reload::ReadClients,
    /// Queues to and from the cores.
    pub channels: Arc<ShardChannels>,
    /// Load balancers, and what was closed of theirs.
    pub balancers: Arc<Balancers>,
    /// The data directory, held for as long as the node runs.
    pub data_dir: DataDir,
    /// Key of the log's chain, for look-ups.
    pub chain_key: ChainKey,
    /// The replication to the other node.
    pub replication: Arc<Replication>,
    /// Where HTTP is served.
    pub http: TcpListener,
    /// Length of a segment, bytes.
    pub segment_len: u64,
    /// Segments of each shard kept ready ahead of the one in use.
    pub segments_ahead: u32,
    /// Segments of each shard that exist already, and the one that it uses.
    pub segments: Vec<(u32, u32)>,
    /// What is done to full segments.
    pub upkeep: UpkeepSettings,
    /// Entries of each shard's dedupe table.
    pub dedupe_entries: u64,
    /// Free space below which admission ends, bytes.
    pub disk_reserve_len: u64,
    /// Share of its entries that a list may lose, percent.
    pub max_loss_percent: u64,
    /// What is in use; nothing on a standby.
    pub in_use: InUse,
    /// Whose days the dates of entries mean.
    pub zone: Zone,
    /// Who may take a policy into force.
    pub approvals: Approvals,
    /// The cores' monotonic clock.
    pub clock: quanta::Clock,
    /// The cache of validators' answers that nodes share.
    pub redis: Option<RedisSettings>,
    /// Whose access tokens are taken, and what they are held to.
    pub issuer: Option<(Source, Expected)>,
}

/// What the tasks of the control thread share.
struct Control {
    /// What was refused, and is to be recorded.
    refused: audit::RefusedHere,
    channels: Arc<ShardChannels>,
    balancers: Arc<Balancers>,
    data_dir: DataDir,
    replication: Arc<Replication>,
    /// To the task that changes what is in use: a promotion brings it.
    promoted: mpsc::UnboundedSender<InUse>,
    started: Instant,
    admission: Cell<Admission>,
    /// Cores are ticking.
    live: Cell<bool>,
    disk_reserve_len: u64,
    max_loss_percent: u64,
    zone: Zone,
    list_figures: Cell<ListFigures>,
    policy_figures: Cell<PolicyFigures>,
    /// Of the policy that is tried, where one is.
    candidate_figures: Cell<Option<CandidateFigures>>,
    upkeep: upkeep::Handle,
    disk: Cell<DiskFigures>,
    /// Whoever reads windows from the log gives up: the node stops.
    stop_reading: Arc<AtomicBool>,
    /// Where validators are asked.
    validators: desk::Handle,
    /// For who reads the audit trail.
    trail_places: Semaphore,
    /// What hands are shaken with over TLS.
    tls: Option<Arc<Tls>>,
    /// Checks access tokens.
    tokens: tokens::Desk,
}

/// What the chain's key is derived for.
const HASH_CONTEXT: &str = "catraca 2026 validators, what they are sent";
/// After the last answer was handed out: time for the writing tasks to give it to the kernel.
const FLUSH_GRACE: Duration = Duration::from_millis(50);

impl Control {
    /// Whether this node decides, and so logs.
    fn decides(&self) -> bool {
        self.replication.status().state.role == Role::Primary
    }

    fn shards(&self) -> usize {
        self.channels.to_shard.len()
    }

    /// Sends a message to a shard; waits while its mailbox is full.
    async fn tell(&self, shard: usize, mut message: ToShard) {
        loop {
            match self.channels.to_shard[shard].push(message) {
                Ok(()) => return self.channels.to_shard[shard].wake(),
                Err(back) => message = back,
            }
            tokio::time::sleep(FULL_RETRY).await;
        }
    }

    /// Sends each shard a message.
    async fn tell_all(&self, message: impl Fn() -> ToShard) {
        for shard in 0..self.shards() {
            self.tell(shard, message()).await;
        }
    }

    /// Opens or ends admission everywhere. A stopping node stays so.
    async fn admit(&self, admission: Admission) {
        if self.admission.get() != Admission::Stopping && self.admission.get() != admission {
            self.admission.set(admission);
            self.tell_all(|| ToShard::Admit(admission)).await;
        }
    }
}

/// Runs the control thread until the node is told to stop. `ready` is called when everything that
/// answers is there.
///
/// # Errors
/// When HTTP can't be served, or stopping took too long.
pub fn run(
    setup: ControlSetup,
    ready: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| {
            Failure::new(Status::Environment, format!("the control thread can't start: {e}"))
        })?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(setup, ready))
}

async fn serve(
    setup: ControlSetup,
    ready: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let listener = setup
        .http
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(setup.http));
    let listener = listener
        .map_err(|e| Failure::new(Status::Environment, format!("HTTP can't be served: {e}")))?;
    // What is accepted from now on is answered before the node stops.
    setup.signals.serve();
    let (promoted, promotions) = mpsc::unbounded_channel();
    let own_log = OwnLog {
        data_dir: setup.data_dir.path().to_owned(),
        cluster_id: setup.data_dir.cluster_id,
        key: setup.chain_key,
    };
    let upkeep = upkeep::start(own_log.clone(), Arc::clone(&setup.replication), setup.upkeep);
    let hash_key = blake3::derive_key(HASH_CONTEXT, &setup.chain_key);
    let validators = desk::start(Arc::clone(&setup.channels), setup.clock, hash_key, setup.redis)
        .map_err(|e| {
        Failure::new(Status::Environment, format!("no thread for validators: {e}"))
    })?;
    let control = Rc::new(Control {
        channels: setup.channels,
        balancers: setup.balancers,
        data_dir: setup.data_dir,
        replication: setup.replication,
        promoted,
        started: Instant::now(),
        admission: Cell::new(Admission::Open),
        live: Cell::new(true),
        disk_reserve_len: setup.disk_reserve_len,
        max_loss_percent: setup.max_loss_percent,
        zone: setup.zone,
        list_figures: Cell::default(),
        policy_figures: Cell::default(),
        candidate_figures: Cell::default(),
        upkeep,
        disk: Cell::default(),
        stop_reading: Arc::default(),
        validators,
        refused: Default::default(),
        trail_places: Semaphore::new(trail::MAX_READINGS),
        tls: setup.tls.as_ref().map(|(_, tls)| Arc::clone(tls)),
        tokens: tokens::Desk::new(setup.issuer),
    });
    let changes = changes::start(&control, setup.in_use, setup.approvals, promotions);
    let stats = stats::start(&control);
    let lookups = lookups::start(
        own_log,
        control.shards() as u16,
        setup.dedupe_entries,
        Arc::clone(&control.replication),
    );
    let labels = labels::start(&control, changes.clone(), lookups.clone());
    let segments =
        segments::start(&control, setup.segment_len, setup.segments_ahead, &setup.segments);
    let changes_too = changes.clone();
    let (drained, mut all_drained) = mpsc::channel(control.shards());
    tokio::task::spawn_local(dispatch(
        Rc::clone(&control),
        (changes, labels),
        stats.clone(),
        lookups,
        segments,
        drained,
    ));
    tokio::task::spawn_local(watch::disk(Rc::clone(&control)));
    tokio::task::spawn_local(watch::cores(Rc::clone(&control)));
    if let Some((listener, tls)) = setup.tls {
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(listener));
        let listener = listener
            .map_err(|e| Failure::new(Status::Environment, format!("TLS can't be served: {e}")))?;
        tokio::task::spawn_local(catraca_tls::watch_files(Arc::clone(&tls)));
        tokio::task::spawn_local(tls_door::serve(Rc::clone(&control), listener, tls));
    }
    if let Some(tls) = &control.replication.setup().tls {
        tokio::task::spawn_local(catraca_tls::watch_files(Arc::clone(tls)));
    }
    tokio::task::spawn_local(audit::tell_refusals(Rc::clone(&control), changes_too.clone()));
    tokio::task::spawn_local(reload::clients(
        Rc::clone(&control),
        changes_too,
        Arc::clone(&setup.signals),
        setup.read_clients,
    ));
    tokio::task::spawn_local(http::serve(listener, Rc::clone(&control), stats));
    ready()?;
    setup.signals.told().await;
    tracing::info!("stopping: answering what was accepted");
    control.replication.stop();
    control.stop_reading.store(true, Ordering::Relaxed);
    control.admit(Admission::Stopping).await;
    let wait_all = async {
        for _ in 0..control.shards() {
            let _ = all_drained.recv().await;
        }
    };
    let in_time = tokio::time::timeout(STOP_TIMEOUT, wait_all).await.is_ok();
    control.channels.switch_listening();
    tokio::time::sleep(FLUSH_GRACE).await;
    if in_time {
        tracing::info!("stopped");
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "stopped after {} ms with answers still waiting for the disk or the standby; they were never acknowledged",
            STOP_TIMEOUT.as_millis()
        )))
    }
}

/// Hands each message of the cores to whom it concerns.
async fn dispatch(
    control: Rc<Control>,
    (changes, labels): (changes::Handle, labels::Handle),
    stats: stats::Handle,
    lookups: lookups::Handle,
    segments: segments::Handle,
    drained: mpsc::Sender<u16>,
) {
    let channels = Arc::clone(&control.channels);
    let others: [&Mailbox<ToShard>; 0] = [];
    loop {
        any_message(&channels.to_control, &others).await;
        while let Some(message) = channels.to_control.pop() {
            match message {
                ToControl::Request { shard, connection, actor, correlation, request } => {
                    let (act, asked_at_ns) = (Act::of(&request), wall_ns());
                    let asker =
                        answer::Asker { shard, connection, actor, correlation, act, asked_at_ns };
                    match request {
                        ControlRequest::Lookup(lookup) => {
                            tokio::task::spawn_local(answer::lookup(
                                Rc::clone(&control),
                                asker,
                                lookup,
                                (lookups.clone(), changes.clone()),
                            ));
                        }
                        ControlRequest::Audit(frame) => {
                            tokio::task::spawn_local(trail::told(
                                Rc::clone(&control),
                                asker,
                                frame,
                                (lookups.clone(), changes.clone()),
                            ));
                        }
                        ControlRequest::Stats(shard) => {
                            tokio::task::spawn_local(answer::stats(
                                Rc::clone(&control),
                                asker,
                                shard,
                                stats.clone(),
                            ));
                        }
                        ControlRequest::Blacklist(frame) => {
                            changes.request(asker, ChangeRequest::Blacklist(frame));
                        }
                        ControlRequest::Policy(frame) => {
                            changes.request(asker, ChangeRequest::Policy(frame));
                        }
                        ControlRequest::Label(frame) => labels.request(asker, frame),
                        ControlRequest::List(frame) => {
                            changes.request(asker, ChangeRequest::List(frame));
                        }
                        ControlRequest::Validator(frame) => {
                            changes.request(asker, ChangeRequest::Validator(frame));
                        }
                        ControlRequest::Cluster(request) => {
                            tokio::task::spawn_local(cluster::request(
                                Rc::clone(&control),
                                asker,
                                request,
                                changes.clone(),
                            ));
                        }
                    }
                }
                message @ (ToControl::SnapshotReleased(_)
                | ToControl::PolicyReleased(..)
                | ToControl::NamedReleased(_)
                | ToControl::Keeps(..)
                | ToControl::Broadcasts(..)
                | ToControl::CaughtUp(_)
                | ToControl::ComingForgotten(_)
                | ToControl::CandidateReleased(_)
                | ToControl::CandidateCame(_)
                | ToControl::OverlayApplied(_)
                | ToControl::RecordDurable
                | ToControl::RecordRefused) => changes.event(message),
                ToControl::CheckToken(shard, connection, remote, token) => {
                    let of = (shard, connection);
                    let check = tokens::check(Rc::clone(&control), of, remote, token);
                    tokio::task::spawn_local(check);
                }
                ToControl::Refused(refusals) => control.refused.borrow_mut().add_all(&refusals),
                ToControl::Stats { shard, histograms } => stats.collected(shard, histograms),
                ToControl::SegmentTaken { shard, segment } => segments.taken(shard, segment),
                ToControl::Waiting { shard, session, answered } => {
                    control.replication.shard_waits(shard, session, answered)
                }
                // Large tables: unmapping them takes its time.
                ToControl::TookOver(before) => {
                    drop(tokio::task::spawn_blocking(move || drop(before)))
                }
                ToControl::Drained(shard) => {
                    let _ = drained.send(shard).await;
                }
            }
        }
    }
}
