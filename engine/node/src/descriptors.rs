//! When no descriptor is left, to the process or to the machine: whoever needs one for what must
//! not fail waits until others have closed theirs, and whoever takes connections says so now and
//! then.

use crate::log_files::LogError;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Pause before it is tried again: others have to close something first.
const RETRY: Duration = Duration::from_millis(100);
/// Between two words about the same trouble: an operator sees that it lasts, and the log stays
/// readable.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// An error that may be the want of a descriptor.
pub trait Exhaustible {
    /// Whether it is. Nothing was begun then, so that another attempt is as good as the first.
    fn is_exhaustion(&self) -> bool;
}

impl Exhaustible for io::Error {
    fn is_exhaustion(&self) -> bool {
        matches!(self.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }
}

impl Exhaustible for LogError {
    fn is_exhaustion(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.is_exhaustion())
    }
}

/// Tries until it is not for want of a descriptor that it fails, or `goes_on` says no. `what` is
/// told, now and then.
///
/// # Errors
/// The last attempt's.
pub fn wait_for<T, E: Exhaustible>(
    what: &str,
    goes_on: impl Fn() -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let told = Seldom::default();
    loop {
        match attempt() {
            Err(error) if error.is_exhaustion() && goes_on() => {
                if let Some(attempts) = told.count() {
                    tracing::warn!(
                        what,
                        attempts,
                        "no descriptor is left: this waits until others are closed, or the limit is raised"
                    );
                }
                std::thread::sleep(RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// Counts what goes wrong, and says when it is time to tell. May be shared by threads.
#[derive(Debug)]
pub struct Seldom {
    began: Instant,
    /// Milliseconds since the beginning from which on it may be told again.
    next_ms: AtomicU64,
    untold: AtomicU64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self { began: Instant::now(), next_ms: AtomicU64::new(0), untold: AtomicU64::new(0) }
    }
}

impl Seldom {
    /// It has happened. How often since it was last told, when it is to be told now.
    pub fn count(&self) -> Option<u64> {
        self.count_at(self.began.elapsed())
    }

    fn count_at(&self, time: Duration) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let now_ms = time.as_millis() as u64;
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let later_ms = now_ms + TOLD_EVERY.as_millis() as u64;
        let due = now_ms >= next_ms
            && self
                .next_ms
                .compare_exchange(next_ms, later_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        due.then(|| self.untold.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_seldom_and_counted() {
        let seldom = Seldom::default();
        let told: Vec<u64> = (0..1_000)
            .filter_map(|tenth| seldom.count_at(Duration::from_millis(100 * tenth)))
            .collect();
        assert_eq!(told, [vec![1], vec![50; 19]].concat());
    }

    #[test]
    fn only_the_want_of_a_descriptor_is_waited_for() {
        let mut attempts = 0;
        let outcome: io::Result<()> = wait_for(
            "a test",
            || true,
            || {
                attempts += 1;
                Err(io::Error::from_raw_os_error(
                    [libc::EMFILE, libc::ENFILE, libc::EIO][attempts - 1],
                ))
            },
        );
        assert_eq!(
            (attempts, outcome.map_err(|error| error.raw_os_error())),
            (3, Err(Some(libc::EIO)))
        );
        let outcome: io::Result<()> =
            wait_for("a test", || false, || Err(io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(outcome.is_err_and(|error| error.is_exhaustion()));
    }
}
