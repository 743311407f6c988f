//! A node's life: check, recover, start the cores and the control thread, run until told to stop.

use crate::blacklist::{Lists, Snapshot};
use crate::config::Config;
use crate::control::{self, ControlSetup};
use crate::data_dir::DataDir;
use crate::driver::{self, CoreSetup, Links, requirements};
use crate::fatal::{Failure, Status};
use crate::log::segment::{self, NewSegment};
use crate::policy::Policy;
use crate::rebuild::{self, Rebuilt};
use crate::shard::ShardSettings;
use crate::shard::admit::EventTimeLimits;
use crate::shard::journal::{JournalSetup, Start};
use crate::shard::messages::{ShardState, Standing};
use catraca_wire::block::{BlockIdentity, SEGMENT_HEAD_LEN};
use catraca_wire::frame::Durability;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

/// The epoch of a node that never had a standby.
const FIRST_EPOCH: u32 = 1;

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting, with the exit status and one sentence.
pub fn run(config: &Config) -> Result<(), Failure> {
    let began = Instant::now();
    let cpus = config.layout()?;
    let shards = cpus.len();
    requirements::check(&cpus, config.max_connections)?;
    let access = Arc::new(config.access()?);
    let data_dir = DataDir::open(&config.data_dir, config.allow_volatile_data_dir)?;
    let chain_key =
        crate::log::key::load_or_create(data_dir.path()).map_err(|e| Failure::new(Status::DataDirectory, e.to_string()))?;
    let listen = free_address(config.listen)?;
    let rebuilt = rebuild::from_log(&data_dir, &chain_key, shards as u16, config.dedupe_entries)?;
    let Rebuilt { dedupes, streams, overlay, snapshot_id, records } = rebuilt;
    let snapshot = choose_snapshot(&data_dir, config.blacklist.as_deref(), snapshot_id)?;
    // Everything but the data cores runs on the processors that they leave, where there are any.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let other_cpus: Vec<usize> = (0..processors).filter(|cpu| !cpus.contains(cpu)).collect();
    let control_cpus = other_cpus.clone();
    let links = Arc::new(Links::new(shards));
    let clock = quanta::Clock::new();
    // All segments of a data directory have one length: the setting counts when the first is made.
    let segment_len = streams.iter().find_map(|stream| stream.segment_len).unwrap_or(config.segment_len());
    if segment_len != config.segment_len() {
        tracing::warn!(
            segment_mib = segment_len >> 20,
            "the data directory's segments keep their length; segment_mib is not used"
        );
    }
    let mut segments_ready = Vec::with_capacity(shards);
    let (started, starts) = sync_channel(shards);
    for (shard, (dedupe, stream)) in dedupes.into_iter().zip(&streams).enumerate() {
        let mut ready = stream.segments;
        if ready == 0 {
            prepare_first(&data_dir, shard as u16, segment_len)?;
            ready = 1;
        }
        segments_ready.push(ready);
        let identity =
            BlockIdentity { shard: shard as u16, epoch: stream.epoch.max(FIRST_EPOCH), cluster_id: data_dir.cluster_id };
        let start = Start {
            next_lsn: stream.next_lsn,
            previous_chain: stream.previous_chain,
            segment: stream.segment,
            offset: stream.offset.max(SEGMENT_HEAD_LEN as u64),
        };
        let settings = ShardSettings {
            shard: shard as u16,
            shards: shards as u16,
            node_id: data_dir.node_id,
            connections: config.max_connections.div_ceil(shards),
            in_flight: config.in_flight,
            event_time: EventTimeLimits {
                age_ns: Duration::from_secs(config.event_max_age_s).as_nanos() as u64,
                ahead_ns: Duration::from_secs(config.event_max_ahead_s).as_nanos() as u64,
            },
            access: Arc::clone(&access),
        };
        let setup = CoreSetup {
            settings,
            cpu: cpus[shard],
            other_cpus: other_cpus.clone(),
            spin: Duration::from_micros(config.spin_us),
            listen,
            log_dir: data_dir.path().to_owned(),
            clock: clock.clone(),
            standing: Standing::primary(Durability::Single),
            state: ShardState { dedupe, lists: Lists::new(snapshot.clone(), overlay.clone()), policy: Policy::blacklist_only() },
            journal: JournalSetup { identity, key: chain_key, start, segment_len, segments_ready: ready },
            links: Arc::clone(&links),
        };
        driver::start(setup, started.clone())?;
    }
    for _ in 0..shards {
        starts.recv().map_err(|_| Failure::new(Status::Environment, "a core ended while it started"))??;
    }
    let control = ControlSetup {
        links,
        chain_key,
        epoch: streams.iter().map(|stream| stream.epoch).fold(FIRST_EPOCH, u32::max),
        http: config.http,
        segment_len,
        segments_ahead: config.segments_ahead,
        segments_ready,
        disk_reserve_len: config.disk_reserve_len(),
        max_loss_percent: config.blacklist_max_loss_percent,
        snapshot: snapshot.clone(),
        overlay,
        data_dir,
    };
    driver::run_on(&control_cpus);
    let list = snapshot.as_ref().map_or_else(|| "none".to_owned(), |s| format!("{} entries", s.entries()));
    drop(snapshot);
    control::run(control, |http| {
        tracing::info!(
            %listen, %http, shards, cores = ?cpus, records, blacklist = list, data_dir = %config.data_dir.display(),
            start_ms = began.elapsed().as_millis() as u64, "ready"
        );
    })
}

/// How long a connection to somebody else's listener may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);

/// Finds out whether somebody listens on the address already: the cores' own sockets would share it silently, because glommio always
/// sets `SO_REUSEPORT`. Asking for a connection tells, and unlike binding it is not disturbed by what an earlier run left in TIME_WAIT.
/// Port 0 becomes a free one.
fn free_address(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    let refuse = |why: String| {
        Failure::new(
            Status::Config,
            format!("can't listen on {listen}: {why}; stop the other process, or choose another with --listen"),
        )
    };
    if listen.port() == 0 {
        return TcpListener::bind(listen).and_then(|listener| listener.local_addr()).map_err(|e| refuse(e.to_string()));
    }
    let mut reachable = listen;
    if listen.ip().is_unspecified() {
        reachable.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    match TcpStream::connect_timeout(&reachable, PROBE_TIMEOUT) {
        Ok(_) => Err(refuse("somebody answers there already".to_owned())),
        Err(_) => Ok(listen),
    }
}

fn prepare_first(data_dir: &DataDir, shard: u16, segment_len: u64) -> Result<(), Failure> {
    let created_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let new =
        NewSegment { cluster_id: data_dir.cluster_id, shard, index: 0, segment_len, created_at_ns: created_at.as_nanos() as u64 };
    segment::create(data_dir.path(), &new).map(drop).map_err(|e| Failure::new(e.status(), e.to_string()))
}

/// The newer of the configured snapshot and the last one loaded: neither an old file in the configuration nor an old load wins.
fn choose_snapshot(data_dir: &DataDir, configured: Option<&Path>, loaded_id: u64) -> Result<Option<Arc<Snapshot>>, Failure> {
    let unusable = |e: String| Failure::new(Status::Config, format!("blacklist: {e}"));
    let loaded = match loaded_id {
        0 => None,
        id => {
            let path = control::lists_kept_path(&data_dir.lists_dir(), id);
            Some(Snapshot::open(&path).map_err(|e| unusable(format!("the list that the log says is in use: {e}")))?)
        }
    };
    let configured = configured.map(|path| control::take_in_list(path, &data_dir.lists_dir())).transpose().map_err(unusable)?;
    let chosen = match (loaded, configured) {
        (Some(loaded), Some(configured)) if loaded.built_at_ns() > configured.built_at_ns() => {
            tracing::warn!("the configured blacklist is older than the one last loaded, which stays in use");
            Some(loaded)
        }
        (_, Some(configured)) => Some(configured),
        (loaded, None) => loaded,
    };
    Ok(chosen.map(Arc::new))
}
