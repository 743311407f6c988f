//! A node's life: check, recover, start the cores, the replication to the other node and the
//! control thread, run until told to stop.

mod address;
pub mod list;
mod start_state;

use crate::archive_place;
use crate::available_memory;
use crate::balancers::Balancers;
use crate::channels::ShardChannels;
use crate::config::Config;
use crate::control::reload::ReadClients;
use crate::control::{self, Approvals, ControlSetup, RetentionSettings, UpkeepSettings};
use crate::data_dir::DataDir;
use crate::driver::{self, CoreSetup, requirements};
use crate::fatal::{Failure, Status};
use crate::from_log::{self, Rebuilt, Stream};
use crate::in_use::InUse;
use crate::log_files::lookup::OwnLog;
use crate::log_files::segment::{self, NewSegment};
use crate::memory_ahead;
use crate::policy_file;
use crate::policy_windows::{self, by_stream};
use crate::replication::{FollowingSetup, Replication, ReplicationSetup, advertised};
use crate::signals::StopSignals;
use crate::threads;
use crate::wall_clock::wall_ns;
use address::{Reserved, take_shared};
use catraca_core::blacklist::Lists;
use catraca_core::calendar::Zone;
use catraca_core::policy::Policy;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::windows::Past;
use catraca_core::rebuild::Pasts;
use catraca_core::shard::admit::EventTimeLimits;
use catraca_core::shard::dedupe::{self, Dedupe, DedupeKey};
use catraca_core::shard::journal::JournalSetup;
use catraca_core::shard::messages::{RoleConfig, ShardState};
use catraca_core::shard::{ShardSettings, access::Access};
use catraca_wire::block::{BlockIdentity, ChainKey};
use catraca_wire::frame::Role;
use start_state::StartState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Runs a node until SIGTERM or SIGINT. With SIGHUP the clients are those that `read_clients` gives.
///
/// # Errors
/// Whatever keeps it from starting, with the exit status and one sentence.
pub fn run(
    config: &Config,
    signals: Arc<StopSignals>,
    read_clients: ReadClients,
) -> Result<(), Failure> {
    let began = Instant::now();
    // A program that was started anew through /proc is called `exe` by the kernel otherwise. A name
    // is all that this is.
    let _ = rustix::thread::set_name(c"catraca");
    let cpus = config.layout()?;
    let shards = cpus.len() as u16;
    let tables_len = cpus.len() * config.dedupe_entries * dedupe::LEN_PER_ENTRY;
    requirements::check(&cpus, config.max_connections, tables_len as u64)?;
    let access = Arc::new(config.access()?);
    let zone = config.zone()?;
    let balancers = Arc::new(config.balancers()?);
    if let Err(failure) = archive_place::check(config) {
        // Decisions need no archive: a node whose archive is not mounted starts all the same.
        tracing::error!("{failure}");
    }
    config.in_clear().iter().for_each(|sentence| tracing::warn!("{sentence}"));
    let clients = take_shared(config.listen, "listen")?;
    let tls = config.tls()?;
    let tls = match config.listen_tls.zip(tls) {
        Some((address, tls)) => Some((Reserved::take(address, false, "listen-tls")?, tls)),
        None => None,
    };
    let between_nodes = config.replication_tls()?;
    let listen_tls = tls.as_ref().map(|(reserved, _)| reserved.address);
    let calls = Reserved::take(config.replication, false, "replication")?;
    let scrapes = Reserved::take(config.http, false, "http")?;
    let (listen, replication, http) = (clients.address, calls.address, scrapes.address);
    let addresses = (
        advertised(config.advertise_host.as_deref(), replication),
        advertised(config.advertise_host.as_deref(), listen),
    );
    let StartState { data_dir, key, mut state, segment_len: primary_segment_len } =
        start_state::find(config, shards, &addresses, between_nodes.as_ref())?;
    let rebuilt =
        from_log::rebuild(&data_dir, &key, state.last_write(), shards, config.dedupe_entries)?;
    let Rebuilt { streams, boundaries, overlay, named, builder } = rebuilt;
    let tables = builder.memory();
    let (records, loaded_id) = (builder.records(), builder.snapshot_id());
    let policies = builder.policies();
    let last_lsns: Vec<u64> =
        boundaries.iter().map(|boundaries| boundaries.last().next_lsn - 1).collect();
    start_state::hold_to_log(
        &data_dir,
        &mut state,
        streams.iter().map(|stream| stream.tail.epoch).max().unwrap_or(0),
        &last_lsns,
    )?;
    let follows = state.role == Role::Standby;
    let configured = list::Configured {
        path: config.blacklist.as_deref(),
        today: zone.day_at(wall_ns()).number,
        max_loss_percent: config.blacklist_max_loss_percent,
    };
    let snapshot = if follows {
        list::of_standby(&data_dir.lists_dir(), &configured, loaded_id)?
    } else {
        list::choose(&data_dir.lists_dir(), &configured, loaded_id)?
    };
    // A standby may go on with a policy that it can't read: it is not promoted then.
    let policy = match policy_file::in_force_of(&policies) {
        Ok(policy) => policy,
        Err(why) if follows => {
            tracing::warn!(why, "this standby can't be promoted");
            blacklist_only()
        }
        Err(why) => return Err(Failure::new(Status::LogDamaged, why)),
    };
    let own_log =
        OwnLog { data_dir: data_dir.path().to_owned(), cluster_id: data_dir.cluster_id, key };
    let last_by_stream = by_stream(last_lsns.iter().copied());
    if let Some(why) = available_memory::lacks_memory(&policy, shards) {
        return Err(Failure::new(Status::Environment, why));
    }
    let pasts = policy_windows::read(own_log, &policy, shards, &last_by_stream)
        .map_err(|error| Failure::new(error.status(), error.to_string()))?;
    // Everything but the data cores runs on the processors that they leave, where there are any.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let other_cpus: Vec<usize> = (0..processors).filter(|cpu| !cpus.contains(cpu)).collect();
    // All segments of a data directory have one length: the setting counts when the first is made,
    // and a standby's are its primary's.
    let segment_len = streams
        .iter()
        .find_map(|stream| stream.segment_len)
        .or(primary_segment_len)
        .unwrap_or(config.segment_len());
    if segment_len != config.segment_len() {
        tracing::warn!(
            segment_mib = segment_len >> 20,
            "the log's segments keep their length; segment_mib is not used"
        );
    }
    let channels = Arc::new(ShardChannels::new(usize::from(shards)));
    memory_ahead::start(tables, &channels, &other_cpus);
    let dormant =
        boundaries.iter().skip(usize::from(shards)).map(|b| b.last().next_lsn - 1).collect();
    let setup = ReplicationSetup {
        data_dir: data_dir.path().to_owned(),
        cluster_id: data_dir.cluster_id,
        node_id: data_dir.node_id,
        run: crate::random::bytes(),
        key,
        shards,
        segment_len,
        replication_address: addresses.0,
        client_address: addresses.1,
        solo_after: Duration::from_millis(config.solo_after_ms),
        cpus: other_cpus.clone(),
        tls: between_nodes,
    };
    let pair = Replication::new(
        setup,
        Arc::clone(&channels),
        state.clone(),
        dormant,
        config.standby_of.clone(),
    );
    pair.check_epoch();
    let mut segments_ready = Vec::with_capacity(usize::from(shards));
    for (shard, stream) in streams.iter().enumerate() {
        let first = stream.tail.segment;
        if stream.segment_len.is_none() {
            prepare_first(&data_dir, shard as u16, first, segment_len)?;
        }
        segments_ready.push(stream.segments.max(first + 1));
        channels.feeds[shard].set_durable(stream.tail.next_lsn - 1);
    }
    let clock = quanta::Clock::new();
    let mut setups = CoreSetups {
        config,
        access,
        zone: zone.clone(),
        listen,
        other_cpus: other_cpus.clone(),
        clock: clock.clone(),
        channels: Arc::clone(&channels),
        balancers: Arc::clone(&balancers),
        key,
        segment_len,
        epoch: state.epoch,
        data_dir: &data_dir,
        shards,
    };
    let role_config =
        RoleConfig { role: state.role, durability: state.durability, primary: [0; 48] };
    let lists = || Lists::new(snapshot.clone(), overlay.clone());
    // Each core tells twice: that it runs, and that it listens.
    let (started, starts) = sync_channel(2 * usize::from(shards));
    let mut start = |shard: usize, dedupe: Dedupe, lists: Lists, past: Option<Box<Past>>| {
        // A standby's decides nothing, and its windows grow beside it.
        let policy = if follows { blacklist_only() } else { Arc::clone(&policy) };
        let named = Arc::new(InForce::new(&named, policy.rules(), ShareKey::of(&key)));
        let state = ShardState { dedupe, lists, policy, past, named };
        driver::start(
            setups.core(
                shard,
                cpus[shard],
                &streams[shard],
                segments_ready[shard],
                role_config,
                state,
            ),
            started.clone(),
        )
    };
    let following = if follows {
        for shard in 0..usize::from(shards) {
            // Decides nothing: what it will decide with grows beside it.
            let dedupe = Dedupe::new(dedupe::MIN_ENTRIES, DedupeKey([0; 16]));
            start(shard, dedupe, Lists::default(), None)?;
        }
        builder.pasts().hold(pasts);
        Some(FollowingSetup { builder, boundaries, snapshot: snapshot.clone() })
    } else {
        let mut pasts = pasts.into_iter().flat_map(Pasts::into_shards);
        for (shard, dedupe) in builder.into_dedupes().into_iter().enumerate() {
            start(shard, dedupe, lists(), pasts.next())?;
        }
        None
    };
    let all_cores = || -> Result<(), Failure> {
        for _ in 0..shards {
            starts.recv().map_err(|_| {
                Failure::new(Status::Environment, "a core ended while it started")
            })??;
        }
        Ok(())
    };
    all_cores()?;
    pair.start(calls.listen()?, following)?;
    let list_logged = snapshot.as_ref().is_none_or(|snapshot| snapshot.id() == loaded_id);
    let control = ControlSetup {
        signals,
        tls: match tls {
            Some((reserved, tls)) => Some((reserved.listen()?, tls)),
            None => None,
        },
        read_clients,
        channels: Arc::clone(&channels),
        balancers,
        replication: pair,
        chain_key: key,
        http: scrapes.listen()?,
        segment_len,
        segments_ahead: config.segments_ahead,
        segments: segments_ready
            .iter()
            .zip(&streams)
            .map(|(&ready, stream)| (ready, stream.tail.segment))
            .collect(),
        upkeep: UpkeepSettings { pack: config.pack_segments, retention: retention(config) },
        dedupe_entries: config.dedupe_entries as u64,
        disk_reserve_len: config.disk_reserve_len(),
        max_loss_percent: config.blacklist_max_loss_percent,
        in_use: if follows {
            InUse::default()
        } else {
            let policy = Arc::clone(&policy);
            InUse { snapshot: snapshot.clone(), list_logged, overlay, named, policies, policy }
        },
        zone: zone.clone(),
        clock,
        redis: config.redis()?,
        issuer: config.issuer()?,
        approvals: Approvals::new(config.two_person_policies),
        data_dir,
    };
    threads::run_on(&other_cpus);
    let list =
        snapshot.as_ref().map_or_else(|| "none".to_owned(), |s| format!("{} entries", s.entries()));
    drop(snapshot);
    control::run(control, || {
        channels.switch_listening();
        all_cores()?;
        drop(clients);
        tracing::info!(
            %listen, listen_tls = listen_tls.map(tracing::field::display), %http, %replication, replication_tls = config.replication_tls_name.as_deref(), role = %state.role, epoch = state.epoch, durability = %state.durability, shards, cores = ?cpus,
            records, blacklist = list, policy = policy.version(), time_zone = %zone, data_dir = %config.data_dir.display(), start_ms = began.elapsed().as_millis() as u64, "ready"
        );
        Ok(())
    })
}

fn blacklist_only() -> Arc<Policy> {
    Policy::blacklist_only().into()
}

/// What the cores have in common.
struct CoreSetups<'a> {
    config: &'a Config,
    access: Arc<Access>,
    zone: Zone,
    listen: SocketAddr,
    other_cpus: Vec<usize>,
    clock: quanta::Clock,
    channels: Arc<ShardChannels>,
    balancers: Arc<Balancers>,
    key: ChainKey,
    segment_len: u64,
    epoch: u32,
    data_dir: &'a DataDir,
    shards: u16,
}

impl CoreSetups<'_> {
    fn core(
        &mut self,
        shard: usize,
        cpu: usize,
        stream: &Stream,
        ready: u32,
        role_config: RoleConfig,
        state: ShardState,
    ) -> CoreSetup {
        let config = self.config;
        let identity = BlockIdentity {
            shard: shard as u16,
            epoch: self.epoch,
            cluster_id: self.data_dir.cluster_id,
        };
        let settings = ShardSettings {
            shard: shard as u16,
            shards: self.shards,
            node_id: self.data_dir.node_id,
            connections: config.max_connections.div_ceil(usize::from(self.shards)),
            in_flight: config.in_flight,
            event_time: EventTimeLimits {
                age_ns: Duration::from_secs(config.event_max_age_s).as_nanos() as u64,
                ahead_ns: Duration::from_secs(config.event_max_ahead_s).as_nanos() as u64,
            },
            access: Arc::clone(&self.access),
            zone: self.zone.clone(),
        };
        CoreSetup {
            settings,
            role_config,
            state,
            cpu,
            other_cpus: self.other_cpus.clone(),
            spin: Duration::from_micros(config.spin_us),
            listen: self.listen,
            log_dir: self.data_dir.path().to_owned(),
            clock: self.clock.clone(),
            journal: JournalSetup {
                identity,
                key: self.key,
                start: stream.tail,
                segment_len: self.segment_len,
                segments_ready: ready,
            },
            channels: Arc::clone(&self.channels),
            balancers: Arc::clone(&self.balancers),
        }
    }
}

fn retention(config: &Config) -> RetentionSettings {
    let days = config.retention_days;
    RetentionSettings {
        keep: (days > 0).then(|| Duration::from_secs(days * 24 * 3600)),
        min_free_percent: config.retention_min_free_percent,
        archive_dir: config.archive_dir.clone(),
        dedupe_entries: config.dedupe_entries as u64,
    }
}

fn prepare_first(
    data_dir: &DataDir,
    shard: u16,
    index: u32,
    segment_len: u64,
) -> Result<(), Failure> {
    let new = NewSegment {
        cluster_id: data_dir.cluster_id,
        shard,
        index,
        segment_len,
        created_at_ns: wall_ns(),
    };
    segment::create_first(data_dir.path(), &new)
        .map(drop)
        .map_err(|e| Failure::new(e.status(), e.to_string()))
}
