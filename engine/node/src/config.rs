//! The configuration: defaults < TOML file < `CATRACA_*` environment < flags. Unknown keys are
//! errors, everywhere.

mod clients;
pub mod layers;
mod oauth;
mod redis;
mod tls;

use crate::fatal::{Failure, Status};
use crate::log_files::segment::MIN_SEGMENT_LEN;
use crate::time_zone;
use catraca_core::calendar::{DEFAULT_ZONE, Zone};
use catraca_core::limits::{MAX_PENDING, MAX_SHARDS};
use catraca_core::shard::dedupe;
use catraca_wire::address::{Host, host_and_port};
use catraca_wire::replication::MAX_ADDRESS_LEN;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Table;

pub use clients::{ClientConfig, credential};

/// Prefix of the environment variables that set something.
const ENVIRONMENT_PREFIX: &str = "CATRACA_";
/// Longest look into the shared cache, milliseconds: what is longer is better spent on the service itself.
const MAX_REDIS_TIMEOUT_MS: u64 = 100;
/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// How many shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Shards {
    /// This many.
    Count(u16),
    /// One for each processor but one, which is left to everything else.
    Auto(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// Let the program choose.
    Auto,
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the log, the lists and the node's identity.
    pub data_dir: PathBuf,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where clients connect over TLS; none where they do not.
    pub listen_tls: Option<SocketAddr>,
    /// The certificate that clients see, and those between it and its authority, PEM.
    pub tls_certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key_file: Option<PathBuf>,
    /// What goes in clear may do so where others can reach it: a private network, or a tunnel.
    pub plain: bool,
    /// Load balancers in front of `listen` and `listen_tls`, whose PROXY headers are believed, and must be
    /// there: addresses and networks.
    pub proxy_from: Vec<String>,
    /// Authorities whose certificates clients may show, PEM; none where they are not asked for one.
    pub tls_client_ca_file: Option<PathBuf>,
    /// Where metrics and health are served over HTTP.
    pub http: SocketAddr,
    /// Where the other node of the cluster connects.
    pub replication: SocketAddr,
    /// The certificate that the other node sees, and those between it and its authority, PEM; none
    /// where nodes speak in clear.
    pub replication_tls_certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub replication_tls_key_file: Option<PathBuf>,
    /// Authorities of the cluster, whose certificates its nodes show, PEM.
    pub replication_tls_ca_file: Option<PathBuf>,
    /// The DNS name that the certificate of each node of the cluster has.
    pub replication_tls_name: Option<String>,
    /// `host:port` where the primary takes other nodes: this node is its standby.
    pub standby_of: Option<String>,
    /// Name or address under which clients and the other node reach this one; by default what it
    /// listens on.
    pub advertise_host: Option<String>,
    /// After how long without its standby a primary goes on alone by itself, milliseconds; 0 never.
    pub solo_after_ms: u64,
    /// Shards, each on a core of its own.
    pub shards: Shards,
    /// Processors to pin the shards to; empty chooses the first ones.
    pub cores: Vec<usize>,
    /// Level of the program's own log.
    pub log_level: String,
    /// Most connections, over all shards.
    pub max_connections: usize,
    /// Most unanswered requests of one connection.
    pub in_flight: u32,
    /// Decisions that each shard holds to recognise a resend; a power of two. Takes 80 bytes each.
    pub dedupe_entries: usize,
    /// How far back a transaction's own time may lie, seconds.
    pub event_max_age_s: u64,
    /// How far ahead of the server's clock a transaction's own time may lie, seconds.
    pub event_max_ahead_s: u64,
    /// Length of a log segment, MiB.
    pub segment_mib: u64,
    /// Segments of each shard kept ready ahead of the one in use.
    pub segments_ahead: u32,
    /// Full segments are packed: without their padding, compressed.
    pub pack_segments: bool,
    /// Days after which the oldest full segments are cut off; 0 keeps all.
    pub retention_days: u64,
    /// Share of the filesystem that is to be free: oldest full segments are cut off while less is,
    /// percent; 0 keeps all.
    pub retention_min_free_percent: u64,
    /// Where segments go before they are cut off.
    pub archive_dir: Option<PathBuf>,
    /// Free space below which new transactions are refused, MiB.
    pub disk_reserve_mib: u64,
    /// How long an idle core looks for work before it sleeps, microseconds.
    pub spin_us: u64,
    /// Blacklist snapshot to load at start, if it is newer than the last one loaded.
    pub blacklist: Option<PathBuf>,
    /// Share of its entries that a newly loaded list may lose against the one in use, percent.
    pub blacklist_max_loss_percent: u64,
    /// Time zone whose days the dates of list entries mean, a name of the IANA table.
    pub time_zone: String,
    /// Allow a data directory whose contents do not survive a restart (tmpfs). For tests only.
    pub allow_volatile_data_dir: bool,
    /// This data directory is a copy, and is the node from now on. A flag only: left in a file it
    /// would hide the next copy.
    #[serde(skip)]
    pub adopt_copy: bool,
    /// A policy comes into force when two clients have asked for it. A rollback needs one.
    pub two_person_policies: bool,
    /// Where the cache of validators' answers is that nodes share: the URL of a Redis, without a
    /// password.
    pub redis_url: Option<String>,
    /// File whose first line is the password of that Redis.
    pub redis_password_file: Option<PathBuf>,
    /// File with certificates of the authorities that are trusted, PEM: of `rediss://`, which needs
    /// it.
    pub redis_ca_file: Option<PathBuf>,
    /// How long a look into it may take, milliseconds.
    pub redis_timeout_ms: u64,
    /// Whose access tokens are taken: their `iss`, to the letter; none where none are.
    pub oauth_issuer: Option<String>,
    /// What they must be for: a part of their `aud`.
    pub oauth_audience: Option<String>,
    /// Where the issuer has its keys (JWKS).
    pub oauth_jwks_url: Option<String>,
    /// Authorities that are trusted for that, PEM; those of the system by default.
    pub oauth_ca_file: Option<PathBuf>,
    /// The longest time until a token ends, seconds.
    pub oauth_max_lifetime_s: u64,
    /// Who may connect. Empty: anyone may do everything, which is allowed on loopback only.
    pub clients: Vec<ClientConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            listen_tls: None,
            tls_certificate_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            plain: false,
            proxy_from: Vec::new(),
            http: SocketAddr::from(([127, 0, 0, 1], 7402)),
            replication: SocketAddr::from(([127, 0, 0, 1], 7401)),
            replication_tls_certificate_file: None,
            replication_tls_key_file: None,
            replication_tls_ca_file: None,
            replication_tls_name: None,
            standby_of: None,
            advertise_host: None,
            solo_after_ms: 0,
            shards: Shards::Auto(Auto::Auto),
            cores: Vec::new(),
            log_level: "info".to_owned(),
            max_connections: 10_000,
            in_flight: 1024,
            // At 2.6 million decisions a second, what one core reaches, this is 3.2 s: longer than
            // the largest budget, so that what was not answered in time is still known when it is
            // sent again.
            dedupe_entries: dedupe::MAX_ENTRIES,
            event_max_age_s: 24 * 3600,
            event_max_ahead_s: 5 * 60,
            segment_mib: 128,
            segments_ahead: 2,
            pack_segments: true,
            retention_days: 0,
            retention_min_free_percent: 0,
            archive_dir: None,
            disk_reserve_mib: 1024,
            spin_us: 1_000,
            blacklist: None,
            blacklist_max_loss_percent: 20,
            time_zone: DEFAULT_ZONE.to_owned(),
            allow_volatile_data_dir: false,
            adopt_copy: false,
            two_person_policies: false,
            redis_url: None,
            redis_password_file: None,
            redis_ca_file: None,
            redis_timeout_ms: 5,
            oauth_issuer: None,
            oauth_audience: None,
            oauth_jwks_url: None,
            oauth_ca_file: None,
            oauth_max_lifetime_s: 3_600,
            clients: Vec::new(),
        }
    }
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(Status::Config, message)
}

impl Config {
    /// Reads the layers. `flags` are what the command line sets, by key.
    ///
    /// # Errors
    /// [`Status::Config`], naming the file, line and key.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: Table,
    ) -> Result<Self, Failure> {
        let config: Self = layers::read(file, ENVIRONMENT_PREFIX, environment, flags)?;
        config.check()?;
        Ok(config)
    }

    /// The time zone named.
    ///
    /// # Errors
    /// [`Status::Config`] for a name that none has.
    pub fn zone(&self) -> Result<Zone, Failure> {
        time_zone::named(&self.time_zone).map_err(|error| wrong(format!("time_zone: {error}")))
    }

    fn check(&self) -> Result<(), Failure> {
        self.check_clients()?;
        self.check_oauth()?;
        let range = |name: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(wrong(format!("{name} is {value}: it must be from {least} to {most}")))
            }
        };
        if let Shards::Count(count) = self.shards {
            range("shards", u64::from(count), 1, MAX_SHARDS as u64)?;
        }
        range("max_connections", self.max_connections as u64, 1, 1_000_000)?;
        range("in_flight", u64::from(self.in_flight), 1, MAX_PENDING as u64 / 4)?;
        range(
            "dedupe_entries",
            self.dedupe_entries as u64,
            dedupe::MIN_ENTRIES as u64,
            dedupe::MAX_ENTRIES as u64,
        )?;
        if !self.dedupe_entries.is_power_of_two() {
            return Err(wrong(format!(
                "dedupe_entries is {}: it must be a power of two",
                self.dedupe_entries
            )));
        }
        range("event_max_age_s", self.event_max_age_s, 1, 400 * 24 * 3600)?;
        range("event_max_ahead_s", self.event_max_ahead_s, 0, 24 * 3600)?;
        range("segment_mib", self.segment_mib, MIN_SEGMENT_LEN.div_ceil(MIB).max(2), 1024)?;
        range("segments_ahead", u64::from(self.segments_ahead), 1, 1024)?;
        range("retention_days", self.retention_days, 0, 100 * 365)?;
        range("retention_min_free_percent", self.retention_min_free_percent, 0, 90)?;
        let cuts_off = self.retention_days > 0 || self.retention_min_free_percent > 0;
        if cuts_off && !self.pack_segments {
            return Err(wrong(
                "retention_days and retention_min_free_percent need pack_segments: only packed segments are cut off",
            ));
        }
        if self.archive_dir.is_some() && !cuts_off {
            return Err(wrong(
                "archive_dir needs retention_days or retention_min_free_percent: without one nothing is cut off, nor archived",
            ));
        }
        range("spin_us", self.spin_us, 0, 1_000_000)?;
        range("blacklist_max_loss_percent", self.blacklist_max_loss_percent, 0, 100)?;
        self.zone()?;
        range("redis_timeout_ms", self.redis_timeout_ms, 1, MAX_REDIS_TIMEOUT_MS)?;
        self.redis()?;
        range("solo_after_ms", self.solo_after_ms, 0, 24 * 3600 * 1000)?;
        if let Some(address) = &self.standby_of {
            host_and_port(address).map_err(|why| {
                wrong(format!("standby_of is {address:?}, host:port belongs there: {why}"))
            })?;
            if address.len() > MAX_ADDRESS_LEN {
                return Err(wrong(format!(
                    "standby_of is {address:?}: at most {MAX_ADDRESS_LEN} characters"
                )));
            }
        }
        if let Some(host) = &self.advertise_host {
            let parsed = Host::parse(host).map_err(|why| {
                wrong(format!("advertise_host is {host:?}, a host belongs there: {why}"))
            })?;
            if matches!(parsed, Host::Ip(ip) if ip.is_unspecified()) {
                return Err(wrong(format!(
                    "advertise_host is {host:?}, where nobody can be reached: give a name or an address"
                )));
            }
            if parsed.with_port(u16::MAX).len() > MAX_ADDRESS_LEN {
                let most = MAX_ADDRESS_LEN - ":65535".len();
                return Err(wrong(format!(
                    "advertise_host is {host:?}: at most {most} characters"
                )));
            }
        }
        self.check_tls()?;
        self.balancers()?;
        self.check_replication_tls()?;
        let ports =
            [("listen", self.listen), ("replication", self.replication), ("http", self.http)];
        let tls = self.listen_tls.map(|address| ("listen_tls", address));
        let ports: Vec<_> = ports.into_iter().chain(tls).collect();
        for (place, (name, address)) in ports.iter().enumerate() {
            if let Some((other, _)) =
                ports[..place].iter().find(|(_, other)| other == address && address.port() != 0)
            {
                return Err(wrong(format!(
                    "{other} and {name} are both {address}: each needs a port of its own"
                )));
            }
        }
        if self.clients.is_empty() && !self.listen.ip().is_loopback() {
            let message = format!(
                "listen is {}, which others can reach, and no [[clients]] are configured: anyone could decide on payments and read personal data; \
                 configure clients, or listen on 127.0.0.1",
                self.listen
            );
            return Err(wrong(message));
        }
        if !self.plain
            && let [first, ..] = self.in_clear().as_slice()
        {
            return Err(wrong(format!("{first}, or set plain = true where it may")));
        }
        Ok(())
    }

    /// The number of shards, and the processor of each.
    ///
    /// # Errors
    /// [`Status::Config`] when `cores` and `shards` contradict each other.
    pub fn layout(&self) -> Result<Vec<usize>, Failure> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let count = match self.shards {
            Shards::Count(count) => usize::from(count),
            Shards::Auto(_) if !self.cores.is_empty() => self.cores.len(),
            Shards::Auto(_) => processors.saturating_sub(1).clamp(1, MAX_SHARDS),
        };
        if self.cores.is_empty() {
            if count > processors {
                return Err(wrong(format!(
                    "shards is {count}, and this machine has {processors} processors: each shard needs one of its own"
                )));
            }
            return Ok((0..count).collect());
        }
        let mut distinct = self.cores.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != self.cores.len() || self.cores.len() != count {
            return Err(wrong(format!(
                "cores is {:?}: it must name one distinct processor for each of the {count} shards",
                self.cores
            )));
        }
        Ok(self.cores.clone())
    }

    /// Length of a segment, bytes.
    pub fn segment_len(&self) -> u64 {
        self.segment_mib * MIB
    }

    /// Free space below which admission ends, bytes.
    pub fn disk_reserve_len(&self) -> u64 {
        self.disk_reserve_mib * MIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn load(file: &str, environment: &[(&str, &str)], flags: &str) -> Result<Config, Failure> {
        let mut path = tempfile::NamedTempFile::new().expect("a temporary file");
        path.write_all(file.as_bytes()).expect("written");
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(Some(path.path()), environment, flags.parse().expect("flags are TOML"))
    }

    #[test]
    fn later_layers_win() {
        let config = load(
            "in_flight = 5\nspin_us = 7\nlog_level = \"warn\"",
            &[
                ("CATRACA_SPIN_US", "8"),
                ("CATRACA_LOG_LEVEL", "debug"),
                ("HOME", "/root"),
                ("CATRACA_LISTEN", "127.0.0.1:9"),
            ],
            "log_level = 'error'",
        )
        .expect("valid");
        assert_eq!((config.in_flight, config.spin_us, config.log_level.as_str()), (5, 8, "error"));
        assert_eq!(config.listen.port(), 9);
        assert_eq!(config.max_connections, Config::default().max_connections);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (file, environment, expected) in [
            ("in_flihgt = 5", vec![], "in_flihgt"),
            ("in_flight = 'x'", vec![], "line 1"),
            (
                "",
                vec![("CATRACA_SHARDZ", "1")],
                "CATRACA_SHARDZ in the environment: unknown field `shardz`",
            ),
            ("", vec![("CATRACA_IN_FLIGHT", "many")], "CATRACA_IN_FLIGHT"),
            ("in_flight = 0", vec![], "in_flight is 0"),
            ("dedupe_entries = 200000", vec![], "power of two"),
            ("listen = '0.0.0.0:7400'", vec![], "no [[clients]]"),
            ("replication = '0.0.0.0:7401'", vec![], "set plain = true"),
            ("shards = 65", vec![], "shards is 65"),
            ("advertise_host = 'db a'", vec![], "advertise_host is \"db a\""),
            ("advertise_host = ''", vec![], "advertise_host"),
            ("advertise_host = '0.0.0.0'", vec![], "nobody can be reached"),
            ("http = '127.0.0.1:7400'", vec![], "listen and http are both 127.0.0.1:7400"),
            ("advertise_host = 'db-a:7400'", vec![], "a host belongs there"),
            ("standby_of = 'db a:7401'", vec![], "standby_of is \"db a:7401\""),
            ("standby_of = '::1:7401'", vec![], "brackets"),
            ("standby_of = 'db-a'", vec![], "a port from 1 to 65535"),
            ("standby_of = 'db-a:0'", vec![], "a port from 1 to 65535"),
            ("proxy_from = ['lb-a']", vec![], "proxy_from: \"lb-a\": an address or a network"),
            ("proxy_from = '10.0.0.5'", vec![], "expected a sequence"),
            (
                "",
                vec![("CATRACA_PROXY_FROM", "['::/0']")],
                "proxy_from: \"::/0\": that is everybody",
            ),
        ] {
            let failure = load(file, &environment, "").expect_err(file);
            assert_eq!(failure.status, Status::Config);
            assert!(failure.message.contains(expected), "{file:?}: {failure}");
        }
    }

    #[test]
    fn cores_and_shards_must_agree() {
        let layout = |text: &str| load(text, &[], "").expect("valid").layout();
        assert_eq!(layout("shards = 1\ncores = [1]"), Ok(vec![1]));
        assert_eq!(layout("cores = [1, 0]"), Ok(vec![1, 0]));
        assert!(layout("shards = 2\ncores = [1]").is_err());
        assert!(layout("cores = [1, 1]").is_err());
    }
}
