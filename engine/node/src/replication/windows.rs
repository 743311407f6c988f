//! The windows of the policy in force, on a standby: read beside its streams out of its own log whenever the
//! log takes a policy into force that reads other windows, so that a promotion has them.

use super::Replication;
use super::connection::ConnectionFailure;
use super::standby::{Following, StandbySession};
use crate::log_files::past::{Pace, PastError, PastReading};
use crate::policy_windows::by_stream;
use catraca_core::policy::Policy;
use std::sync::Arc;

/// Records that are read while no block is taken: some milliseconds.
const READ_HELD: u64 = 10_000;

/// Reads the windows of a policy, and holds them from then on.
pub(super) fn read(
    replication: &Replication,
    following: &Following,
    standby_session: &StandbySession,
    policy: &Arc<Policy>,
) -> Result<(), ConnectionFailure> {
    let goes_on = || standby_session.check().is_ok();
    let mut reading = PastReading::new(replication.own_log(), Pace::Beside, &goes_on);
    let mut all = || -> Result<(), PastError> {
        let Some(mut pasts) = reading.empty(policy, replication.setup.shards)? else {
            return Ok(());
        };
        loop {
            let last_lsns = by_stream(following.last_lsns());
            reading.on(&mut pasts, &last_lsns)?;
            if reading.left(&by_stream(following.last_lsns())) < READ_HELD {
                break;
            }
        }
        following.builder.pasts().replace(|next_lsns| {
            let taken = next_lsns.iter().map(|(&stream, next)| (stream, next - 1)).collect();
            reading.on(&mut pasts, &taken)?;
            Ok(Some(pasts))
        })
    };
    match all() {
        Ok(()) => tracing::info!(
            policy = policy.version(),
            records = reading.records(),
            "the windows of the policy in force are read from the log"
        ),
        Err(PastError::GivenUp) => {}
        // A promotion reads them once more, and tells.
        Err(error) => {
            tracing::warn!(policy = policy.version(), %error, "this standby lacks windows")
        }
    }
    standby_session.check()
}
