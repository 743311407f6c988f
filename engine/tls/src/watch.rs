//! Reads certificates anew: on SIGHUP, and when a file has changed. What is no good leaves what there was.

use super::{Files, TlsFault};
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, interval};

/// How often it is looked whether a file changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often it is told that a certificate ends soon.
const TELL_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// What soon is, days: time for a person to find out why it was not renewed.
const SOON_DAYS: i64 = 21;
const DAY_S: i64 = 24 * 3_600;

/// What is made of files, and made anew when they change.
pub trait Renewable: Send + Sync + 'static {
    /// The files.
    fn files(&self) -> &Files;

    /// Reads them anew.
    ///
    /// # Errors
    /// They are no good: what there was stays in use.
    fn renew(&self) -> Result<(), TlsFault>;

    /// When the certificate that is used ends; `None` where that can't be read.
    fn ends(&self) -> Option<Timestamp>;

    /// The file of that certificate, to be named.
    fn certificate(&self) -> &Path {
        &self.files().certificate
    }
}

/// Takes SIGHUP from now on, and reads files anew in a task that lives as long as the runtime. To be called within
/// a runtime of tokio.
pub fn watch(tls: Arc<impl Renewable>) {
    let hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => Some(hangups),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP can't be received: certificates are read anew when files change");
            None
        }
    };
    drop(tokio::spawn(keep(tls, hangups)));
}

async fn keep(tls: Arc<impl Renewable>, mut hangups: Option<Signal>) {
    let mut looks = interval(LOOK_EVERY);
    let mut marks = tls.files().marks();
    let mut next_tell = tell_expiry(&*tls);
    loop {
        let is_asked = tokio::select! {
            Some(()) = next(hangups.as_mut()) => true,
            _ = looks.tick() => false,
        };
        if Instant::now() >= next_tell {
            next_tell = tell_expiry(&*tls);
        }
        let new = tls.files().marks();
        if !is_asked && new == marks {
            continue;
        }
        // Marks of before the reading: a file that changes meanwhile is read again.
        marks = new;
        if read_anew(&tls).await {
            next_tell = tell_expiry(&*tls);
        }
    }
}

/// Reads the files anew; gives whether they are in use now. What is no good leaves what there was, and is told.
pub async fn read_anew(tls: &Arc<impl Renewable>) -> bool {
    let reading = Arc::clone(tls);
    let certificate = tls.certificate().display();
    match tokio::task::spawn_blocking(move || reading.renew()).await {
        Ok(Ok(())) => {
            tracing::info!(%certificate, "certificates were read anew; connections that are open stay");
            true
        }
        Ok(Err(fault)) => {
            tracing::error!(%certificate, %fault, "certificates can't be used: those from before stay in use");
            false
        }
        Err(error) => {
            tracing::error!(%certificate, %error, "certificates were not read");
            false
        }
    }
}

/// Reads files anew when one has changed, for as long as it is polled; for who takes signals by other means.
pub async fn watch_files(tls: Arc<impl Renewable>) {
    keep(tls, None).await;
}

async fn next(hangups: Option<&mut Signal>) -> Option<()> {
    match hangups {
        Some(hangups) => hangups.recv().await,
        None => std::future::pending().await,
    }
}

/// Tells when the certificate ends, and gives when to tell it again.
fn tell_expiry(tls: &impl Renewable) -> Instant {
    let certificate = tls.certificate().display();
    match tls.ends() {
        None => tracing::warn!(%certificate, "when the certificate ends can't be read"),
        Some(ends) => {
            let days = (ends.as_second() - Timestamp::now().as_second()).div_euclid(DAY_S);
            if days < 0 {
                tracing::error!(%certificate, %ends, "the certificate has expired: others refuse it");
            } else if days < SOON_DAYS {
                tracing::warn!(%certificate, %ends, days, "the certificate ends soon");
            } else {
                tracing::info!(%certificate, %ends, days, "the certificate is good");
            }
        }
    }
    Instant::now() + TELL_EVERY
}
