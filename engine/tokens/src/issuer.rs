//! The keys of the issuer: one task fetches them, however many ask.

use super::fetch::{FETCH_TIME, Source};
use super::keys::{Key, KeySet};
use super::refresh::Schedule;
use catraca_tls::Digest;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// How long a request waits for a fetch: less than clients of a node wait for an answer, so that they learn that it is
/// tried again.
const WAIT: Duration = Duration::from_millis(1_500);
const _: () = assert!(WAIT.as_millis() < FETCH_TIME.as_millis());

/// Why there is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The issuer has no key of this name.
    Unknown,
    /// No key of this name is known, and the issuer was asked for another one so shortly ago that it is not asked again yet.
    NotNow,
    /// The issuer's keys are not known, or could not be fetched again.
    NoKeys,
}

/// An issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    source: Source,
    began: Instant,
    state: Mutex<(Schedule, KeySet)>,
    wake: Notify,
    ended: watch::Sender<u64>,
}

impl Issuer {
    /// Begins to fetch, for as long as the runtime of tokio lives in which it is called.
    pub(super) fn start(source: Source) -> Arc<Self> {
        let issuer = Arc::new(Self {
            source,
            began: Instant::now(),
            state: Mutex::new((Schedule::new(Duration::ZERO), KeySet::default())),
            wake: Notify::new(),
            ended: watch::Sender::new(0),
        });
        drop(tokio::spawn(keep(Arc::clone(&issuer))));
        issuer
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The key of this name. One that is unknown is asked for, where that is not too often.
    pub(super) async fn key(&self, kid: &str) -> Result<Key, NoKey> {
        let mut ended = self.ended.subscribe();
        {
            let (schedule, keys) = &mut *self.state.lock();
            let has_lapsed = schedule.has_lapsed(self.now());
            if let Some(key) = keys.get(kid).filter(|_| !has_lapsed) {
                return Ok(key.clone());
            }
            if !schedule.unknown(self.now()) {
                return Err(if has_lapsed { NoKey::NoKeys } else { NoKey::NotNow });
            }
        }
        let asked = self.now();
        self.wake.notify_one();
        // Whether it came in time or not: what is known then counts.
        let _ = timeout(WAIT, ended.changed()).await;
        let (schedule, keys) = &*self.state.lock();
        if schedule.has_lapsed(self.now()) {
            return Err(NoKey::NoKeys);
        }
        let key = keys.get(kid).cloned();
        key.ok_or(if schedule.was_fetched_since(asked) { NoKey::Unknown } else { NoKey::NoKeys })
    }

    /// Whether the issuer still has this very key, as far as is known.
    pub(super) fn has(&self, identity: &Digest) -> bool {
        let (schedule, keys) = &*self.state.lock();
        !schedule.has_lapsed(self.now()) && keys.has(identity)
    }

    async fn fetch(&self) {
        self.state.lock().0.begun();
        let fetched = self.source.fetch().await;
        let parsed = fetched.and_then(|fetched| {
            let keys = KeySet::parse(&fetched.body).map_err(str::to_owned)?;
            Ok((keys, fetched.max_age))
        });
        let (schedule, keys) = &mut *self.state.lock();
        match parsed {
            Ok((new, max_age)) => {
                schedule.succeeded(self.now(), max_age);
                tracing::debug!(source = ?self.source, keys = new.len(), "the issuer's keys were fetched");
                *keys = new;
            }
            Err(why) => {
                schedule.failed(self.now());
                let lapsed = schedule.has_lapsed(self.now());
                tracing::warn!(source = ?self.source, %why, lapsed, "the issuer's keys could not be fetched");
            }
        }
    }
}

/// Fetches whenever it is due.
async fn keep(issuer: Arc<Issuer>) {
    loop {
        let next = issuer.began + issuer.state.lock().0.next();
        if next > Instant::now() {
            tokio::select! {
                () = sleep_until(next) => {}
                () = issuer.wake.notified() => {}
            }
            continue;
        }
        issuer.fetch().await;
        issuer.ended.send_modify(|count| *count += 1);
    }
}
