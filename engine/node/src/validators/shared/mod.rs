//! The cache of answers that nodes share: a Redis. It is looked into before a service is asked, and given what came; when,
//! and when it is left alone, is decided by each validator's [`Asker`](catraca_core::validate::Asker). It decides
//! nothing: while it is slow, down, full or emptied, services are asked.

mod entry;
mod settings;

use crate::wall_clock::wall_ns;
use catraca_core::validate::{Looked, MAX_LOOKS, SharedAnswer};
use entry::{Nonsense, Sealer, VALUE_LEN};
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{ErrorKind, RedisError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

pub use entry::Fingerprint;
pub use settings::{RedisFault, RedisSettings};

/// Answers that are being put at once. What comes beyond that is not put: it is asked for again, no more.
const MAX_PUTS: usize = 256;
/// How long a connection may take to be made. Looks do not wait for it: each has its own time.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an answer may take to be put. Nobody waits for it.
const PUT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a connection may say nothing to those who ask: then another one is made.
const MOST_SILENT: Duration = Duration::from_secs(1);
/// Most characters of what a server says is wrong.
const MOST_TOLD: usize = 160;
const NS_PER_MS: u64 = 1_000_000;

/// What has happened so far with answers that were put.
#[derive(Debug, Clone, Default)]
pub struct Puts {
    /// Answers that it has taken.
    pub put: u64,
    /// Answers that it has not taken: it is full, read-only, or was too slow.
    pub failed: u64,
    /// Answers that were not offered, as too many were under way, or no connection could be set up.
    pub dropped: u64,
    /// What it said last, when it took none.
    pub last_error: Option<String>,
    /// The last one failed.
    is_failing: bool,
}

/// What is known of a connection, by those that use it.
#[derive(Debug, Clone, Copy, Default)]
struct Health {
    /// Since when it has said nothing in time to those who asked, or is broken. That it refuses is something.
    silent_since: Option<Instant>,
}

/// One connection, which the library makes again where it breaks.
struct Connection {
    /// `Err` where none could be set up.
    manager: Result<ConnectionManager, String>,
    health: Arc<Mutex<Health>>,
    /// Makes the connection: the first command does, for which a look has too little time.
    first: Option<AbortHandle>,
}

/// The cache, as one node uses it.
pub struct SharedCache {
    settings: RedisSettings,
    sealer: Sealer,
    connection: Connection,
    places: Arc<Semaphore>,
    puts: Arc<Mutex<Puts>>,
}

impl SharedCache {
    /// Sets it up, and begins to connect. Belongs into the runtime that moves it.
    pub fn new(settings: RedisSettings, secret: &[u8; blake3::KEY_LEN]) -> Self {
        Self {
            connection: Connection::new(&settings),
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

    /// Makes another connection where the one that there is has been silent, or broken, for a second: its address is
    /// looked up anew, its files are read anew, and what it may have read by then is let go. Called now and then, so
    /// that a Redis that has come back is connected before it is tried.
    pub fn keep_connected(&mut self) {
        if self.connection.is_silent() {
            self.connection = Connection::new(&self.settings);
        }
    }

    /// Looks for an answer, for so long.
    ///
    /// # Returns
    /// What it came to, and why it failed, for people.
    pub fn look(
        &self,
        fingerprint: &Fingerprint,
        key: u128,
        within: Duration,
    ) -> impl Future<Output = (Looked, Option<String>)> + Send + use<> {
        let name = self.sealer.name(fingerprint, key);
        let (connection, sealer) = (self.connection.manager.clone(), self.sealer.clone());
        let health = Arc::clone(&self.connection.health);
        async move {
            let mut connection = match connection {
                Ok(connection) => connection,
                Err(why) => return (Looked::Failed, Some(why)),
            };
            // No more of it than a value has, whatever lies there; and how long it is kept yet, by the clock of the cache.
            let mut commands = redis::pipe();
            commands.cmd("GETRANGE").arg(&name).arg(0).arg(VALUE_LEN).cmd("PTTL").arg(&name);
            let asked = commands.query_async::<(Vec<u8>, i64)>(&mut connection);
            let answered = timeout(within, asked).await;
            health.lock().heard_of(&answered);
            let (value, kept_for_ms) = match answered {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => return (Looked::Failed, Some(clipped(&error.to_string()))),
                Err(_) => return (Looked::Failed, Some(format!("no answer within {within:?}"))),
            };
            if value.is_empty() {
                return (Looked::Nothing, None);
            }
            // What is kept for ever no node has put there.
            let opened = match u64::try_from(kept_for_ms) {
                Ok(kept_ms) => sealer.open(&name, &value, kept_ms, wall_ns() / NS_PER_MS),
                Err(_) => Err(Nonsense),
            };
            match opened {
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
        let place = Arc::clone(&self.places).try_acquire_owned();
        let (Ok(mut connection), Ok(place)) = (self.connection.manager.clone(), place) else {
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
            let put =
                put.and_then(|put| put.map_err(|error: RedisError| clipped(&error.to_string())));
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

impl Connection {
    fn new(settings: &RedisSettings) -> Self {
        let health = Arc::new(Mutex::new(Health::default()));
        let manager = manager(settings).inspect_err(|_| health.lock().heard_nothing());
        let first = manager.as_ref().ok().map(|manager| {
            let (mut manager, health) = (manager.clone(), Arc::clone(&health));
            let first = tokio::spawn(async move {
                let pinged = redis::cmd("PING").query_async::<()>(&mut manager).await;
                health.lock().heard_of(&Ok(pinged));
            });
            first.abort_handle()
        });
        Self { manager, health, first }
    }

    fn is_silent(&self) -> bool {
        let since = self.health.lock().silent_since;
        since.is_some_and(|since| since.elapsed() >= MOST_SILENT)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(first) = &self.first {
            first.abort();
        }
    }
}

impl Health {
    /// What has come of a command, if anything has in time.
    fn heard_of<T>(&mut self, answered: &Result<Result<T, RedisError>, Elapsed>) {
        let has_answered = match answered {
            Ok(Ok(_)) => true,
            // It says so; a connection that broke says nothing.
            Ok(Err(error)) => matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension),
            Err(_) => false,
        };
        if has_answered {
            self.silent_since = None;
        } else {
            self.heard_nothing();
        }
    }

    fn heard_nothing(&mut self) {
        self.silent_since.get_or_insert_with(Instant::now);
    }
}

/// For people: no more than a line of it, and nothing that a terminal obeys.
fn clipped(text: &str) -> String {
    text.chars().take(MOST_TOLD).flat_map(char::escape_debug).collect()
}

fn manager(settings: &RedisSettings) -> Result<ConnectionManager, String> {
    let client = settings.client().map_err(|fault| fault.to_string())?;
    let timeouts = ConnectionManagerConfig::new()
        // A look is over before; what is put has this time.
        .set_response_timeout(Some(PUT_TIMEOUT))
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Whether it is tried again is said here.
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(MAX_LOOKS);
    ConnectionManager::new_lazy_with_config(client, timeouts).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
