//! The cache of answers that nodes share: a Redis. It is looked into before a service is asked, and given what came; when,
//! and when it is left alone, is decided by each validator's [`Asker`](catraca_core::validate::Asker). It decides
//! nothing: while it is slow, down, full or emptied, services are asked.

mod entry;

use crate::wall_clock::wall_ns;
use catraca_core::validate::{Looked, MAX_LOOKS, SharedAnswer};
use entry::{Sealer, VALUE_LEN};
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionInfo, IntoConnectionInfo as _, RedisError, TlsCertificates};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use entry::Fingerprint;

/// Answers that are being put at once. What comes beyond that is not put: it is asked for again, no more.
const MAX_PUTS: usize = 256;
/// How long a connection may take to be made. Looks do not wait for it: each has its own time.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an answer may take to be put. Nobody waits for it.
const PUT_TIMEOUT: Duration = Duration::from_millis(500);
const NS_PER_MS: u64 = 1_000_000;

/// Where the cache is.
#[derive(Clone)]
pub struct RedisSettings {
    /// Where to, without a password.
    connection: ConnectionInfo,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    /// How long a look may take, milliseconds.
    timeout_ms: u16,
}

/// Why a cache can't be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum RedisFault {
    /// The URL is none.
    #[error(
        "it is no URL of a Redis, such as redis://redis.example:6379/0 or rediss://… for TLS: {0}"
    )]
    Url(String),
    /// A URL with a password is seen by whoever sees processes or settings.
    #[error("it holds a password: give that in a file, by redis_password_file")]
    PasswordInUrl,
    /// A file can't be read.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The library refuses it.
    #[error("{0}")]
    Client(String),
}

impl RedisSettings {
    /// A Redis at a URL: `redis://`, `rediss://` or `unix://`.
    ///
    /// # Errors
    /// For a URL that is none or holds a password, and for files that can't be read.
    pub fn new(
        url: &str,
        password_file: Option<PathBuf>,
        ca_file: Option<PathBuf>,
        timeout_ms: u16,
    ) -> Result<Self, RedisFault> {
        let connection =
            url.into_connection_info().map_err(|error| RedisFault::Url(error.to_string()))?;
        if connection.redis_settings().password().is_some() {
            return Err(RedisFault::PasswordInUrl);
        }
        let settings = Self { connection, password_file, ca_file, timeout_ms };
        settings.client()?;
        Ok(settings)
    }

    /// How long a look may take, milliseconds.
    pub const fn timeout_ms(&self) -> u16 {
        self.timeout_ms
    }

    /// What makes connections. Reads the files: they may have changed.
    fn client(&self) -> Result<Client, RedisFault> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|why| RedisFault::File { path: path.clone(), why })
        };
        let mut redis = self.connection.redis_settings().clone().set_lib_name("catraca", VERSION);
        if let Some(path) = &self.password_file {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            redis = redis.set_password(text.lines().next().unwrap_or(""));
        }
        let connection = self.connection.clone().set_redis_settings(redis);
        let client = match &self.ca_file {
            Some(path) => {
                let root_cert = Some(read(path)?);
                Client::build_with_tls(connection, TlsCertificates { client_tls: None, root_cert })
            }
            None => Client::open(connection),
        };
        client.map_err(|error| RedisFault::Client(error.to_string()))
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl std::fmt::Display for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let db = self.connection.redis_settings().db();
        write!(f, "{}/{db}", self.connection.addr())
    }
}

/// What has happened so far with answers that were put.
#[derive(Debug, Clone, Default)]
pub struct Puts {
    /// Answers that it has taken.
    pub put: u64,
    /// Answers that it has not taken: it is full, read-only, or was too slow.
    pub failed: u64,
    /// Answers that were not offered, as too many were under way.
    pub dropped: u64,
    /// What it said last, when it took none.
    pub last_error: Option<String>,
    /// The last one failed.
    is_failing: bool,
}

/// The cache, as one node uses it.
pub struct SharedCache {
    settings: RedisSettings,
    sealer: Sealer,
    /// `Err` where none could be set up.
    connection: Result<ConnectionManager, String>,
    places: Arc<Semaphore>,
    puts: Arc<Mutex<Puts>>,
}

impl SharedCache {
    /// Sets it up, and begins to connect. Belongs into the runtime that moves it.
    pub fn new(settings: RedisSettings, secret: &[u8; blake3::KEY_LEN]) -> Self {
        Self {
            connection: connect(&settings),
            settings,
            sealer: Sealer::new(secret),
            places: Arc::new(Semaphore::new(MAX_PUTS)),
            puts: Arc::default(),
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        self.settings.to_string()
    }

    /// What has happened so far with answers that were put.
    pub fn puts(&self) -> Puts {
        self.puts.lock().clone()
    }

    /// Whatever is wrong with the connection that there is: another one is made. Its address is
    /// looked up anew, and its files are read anew.
    pub fn connect_anew(&mut self) {
        self.connection = connect(&self.settings);
    }

    /// Looks for an answer.
    ///
    /// # Returns
    /// What it came to, and why it failed, for people.
    pub fn look(
        &self,
        fingerprint: &Fingerprint,
        key: u128,
    ) -> impl Future<Output = (Looked, Option<String>)> + Send + use<> {
        let name = self.sealer.name(fingerprint, key);
        let (connection, sealer) = (self.connection.clone(), self.sealer.clone());
        let within = Duration::from_millis(self.settings.timeout_ms.into());
        async move {
            let mut connection = match connection {
                Ok(connection) => connection,
                Err(why) => return (Looked::Failed, Some(why)),
            };
            // No more of it than a value has, whatever lies there.
            let mut command = redis::cmd("GETRANGE");
            command.arg(&name).arg(0).arg(VALUE_LEN);
            let value = match timeout(within, command.query_async::<Vec<u8>>(&mut connection)).await
            {
                Ok(Ok(value)) => value,
                Ok(Err(error)) => return (Looked::Failed, Some(error.to_string())),
                Err(_) => return (Looked::Failed, Some(format!("no answer within {within:?}"))),
            };
            if value.is_empty() {
                return (Looked::Nothing, None);
            }
            match sealer.open(&name, &value, wall_ns() / NS_PER_MS) {
                Ok(Some(answer)) => (Looked::Found(answer), None),
                Ok(None) => (Looked::Nothing, None),
                Err(nonsense) => (Looked::Failed, Some(nonsense.to_string())),
            }
        }
    }

    /// Puts an answer that has just come. Nobody waits for it.
    pub fn put(
        &self,
        fingerprint: &Fingerprint,
        key: u128,
        answer: i64,
        good_for_ns: u64,
        stale_for_ns: u64,
    ) {
        let Ok(mut connection) = self.connection.clone() else { return };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.puts.lock().dropped += 1;
            return;
        };
        let name = self.sealer.name(fingerprint, key);
        let answer = SharedAnswer { answer, age_ns: 0, good_for_ns, stale_for_ns };
        let value = self.sealer.seal(&name, &answer, wall_ns() / NS_PER_MS);
        let kept_ms = ((good_for_ns + stale_for_ns) / NS_PER_MS).max(1);
        let (puts, redis) = (Arc::clone(&self.puts), self.place());
        tokio::spawn(async move {
            let mut command = redis::cmd("SET");
            command.arg(&name).arg(&value[..]).arg("PX").arg(kept_ms);
            let put = timeout(PUT_TIMEOUT, command.query_async::<()>(&mut connection)).await;
            drop(place);
            let put = put.map_err(|_| format!("not taken within {PUT_TIMEOUT:?}"));
            let put = put.and_then(|put| put.map_err(|error: RedisError| error.to_string()));
            count(&mut puts.lock(), put, &redis);
        });
    }
}

/// Counts an answer that was put, and tells when it begins to fail and when it works again.
fn count(puts: &mut Puts, put: Result<(), String>, redis: &str) {
    let was_failing = std::mem::replace(&mut puts.is_failing, put.is_err());
    match put {
        Ok(()) => {
            puts.put += 1;
            if was_failing {
                tracing::info!(redis, "the shared cache takes answers of validators again");
            }
        }
        Err(why) => {
            puts.failed += 1;
            if !was_failing {
                tracing::warn!(redis, %why, "the shared cache takes no answers of validators; each node asks for itself");
            }
            puts.last_error = Some(why);
        }
    }
}

fn connect(settings: &RedisSettings) -> Result<ConnectionManager, String> {
    let client = settings.client().map_err(|fault| fault.to_string())?;
    let timeouts = ConnectionManagerConfig::new()
        // A look is over before; what is put has this time.
        .set_response_timeout(Some(PUT_TIMEOUT))
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Whether it is tried again is the breaker's to say.
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(MAX_LOOKS)
        .set_concurrency_limit(MAX_LOOKS + MAX_PUTS);
    let connection = ConnectionManager::new_lazy_with_config(client, timeouts)
        .map_err(|error| error.to_string())?;
    // It connects with the first command, for which a look has too little time.
    let mut first = connection.clone();
    tokio::spawn(async move {
        // What comes of it the looks find out.
        let _ = redis::cmd("PING").query_async::<()>(&mut first).await;
    });
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(url: &str) -> Result<RedisSettings, RedisFault> {
        RedisSettings::new(url, None, None, 5)
    }

    #[test]
    fn a_url_says_where_it_is_and_holds_no_password() {
        assert_eq!(new("redis://127.0.0.1:6380/3").unwrap().to_string(), "127.0.0.1:6380/3");
        assert_eq!(new("redis://redis.example").unwrap().to_string(), "redis.example:6379/0");
        assert!(new("redis://user@redis.example/0").is_ok(), "a user is no secret");
        let fault = new("redis://:hunter2@redis.example/0").err().unwrap();
        assert!(matches!(fault, RedisFault::PasswordInUrl), "{fault}");
        assert!(!fault.to_string().contains("hunter2"));
        for url in ["redis.example:6379", "http://redis.example", "", "redis://:6379"] {
            assert!(matches!(new(url), Err(RedisFault::Url(_))), "{url}");
        }
    }

    #[test]
    fn files_are_read_when_it_is_set_up() {
        let missing = Some(PathBuf::from("/nowhere/password"));
        let fault = RedisSettings::new("redis://redis.example", missing, None, 5).err().unwrap();
        assert!(fault.to_string().starts_with("/nowhere/password: "), "{fault}");
    }

    #[test]
    fn what_is_put_is_counted_and_its_failure_told_once() {
        let mut puts = Puts::default();
        count(&mut puts, Ok(()), "redis.example");
        count(&mut puts, Err("OOM".to_owned()), "redis.example");
        assert!(puts.is_failing);
        count(&mut puts, Ok(()), "redis.example");
        assert!(!puts.is_failing);
        assert_eq!((puts.put, puts.failed, puts.last_error.as_deref()), (2, 1, Some("OOM")));
    }
}
