//! The windows of the policy in force, on a standby: read beside its streams out of its own log whenever the
//! log takes a policy into force that reads other windows, so that a promotion has them. In one thread of its
//! own, whatever becomes of the sessions with the primary.

use super::Replication;
use super::standby::Following;
use crate::log_files::past::{Pace, PastError, PastReading};
use catraca_core::policy::Policy;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is looked whether other windows are needed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After a reading that failed: what was being cut or removed is through then.
const RETRY: Duration = Duration::from_secs(5);
/// Records that are read at most while no block is taken: a millisecond.
const READ_HELD: u64 = 1_000;

/// Keeps the windows of a standby those of its policy, until it is promoted.
pub(super) fn keep(replication: &Replication) {
    while let Some(following) = replication.following.lock().clone() {
        let pause = look(replication, &following);
        // A promotion waits until nobody else holds it.
        drop(following);
        std::thread::sleep(pause);
    }
}

fn look(replication: &Replication, following: &Following) -> Duration {
    let Some(policy) = following.policy() else { return LOOK_EVERY };
    if policy.window_values() == 0 {
        if following.builder.pasts().let_go() {
            tracing::info!("the policy in force reads no windows: those before are let go");
        }
        return LOOK_EVERY;
    }
    if !following.builder.pasts().lacks(&policy) {
        return LOOK_EVERY;
    }
    match read(replication, following, &policy) {
        Ok(records) => tracing::info!(
            policy = policy.version(),
            records,
            "the windows of the policy in force are read from the log"
        ),
        Err(PastError::GivenUp) => {}
        Err(error) => {
            tracing::warn!(policy = policy.version(), %error, "this standby lacks windows");
            return RETRY;
        }
    }
    LOOK_EVERY
}

/// Reads the windows of a policy, and holds them from then on. Gives how many records were read.
fn read(
    replication: &Replication,
    following: &Following,
    policy: &Arc<Policy>,
) -> Result<u64, PastError> {
    let stop = Arc::clone(&following.stop_reading);
    let mut reading = PastReading::new(replication.own_log(), Pace::Beside, stop);
    let Some(mut pasts) = reading.begun(policy, replication.setup.shards)? else { return Ok(0) };
    // What was taken, and no more: what is read here must not be taken once more.
    let taken = || following.builder.pasts().last_lsns();
    loop {
        let last_lsns = taken();
        reading.on(&mut pasts, &last_lsns)?;
        if reading.left(&taken()) < READ_HELD {
            break;
        }
    }
    reading.set_pace(Pace::Full);
    following.builder.pasts().replace(|last_lsns| {
        reading.on(&mut pasts, last_lsns)?;
        Ok::<_, PastError>(pasts)
    })?;
    Ok(reading.records())
}

/// A promotion wants the tables: what is being read is given up.
pub(super) fn stop(following: &Following) {
    following.stop_reading.store(true, Ordering::Relaxed);
}
