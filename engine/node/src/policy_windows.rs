//! The windows of the policy that is, or comes, into force: read out of the log before anything decides by
//! them.

use crate::log_files::lookup::OwnLog;
use crate::log_files::past::{Pace, PastError, PastReading};
use catraca_core::policy::Policy;
use catraca_core::policy::windows::{Past, Windows};
use catraca_core::rebuild::Pasts;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Reads them up to these records, by stream, while nothing decides: when a node starts, and when a standby
/// is promoted whose windows are not those of the policy. `None` where the policy asks nothing of windows.
///
/// # Errors
/// [`PastError`].
pub fn read(
    log: OwnLog,
    policy: &Policy,
    shards: u16,
    last_lsns: &BTreeMap<u16, u64>,
) -> Result<Option<Pasts>, PastError> {
    let began = Instant::now();
    let mut reading = PastReading::new(log, Pace::Full, Arc::default());
    let Some(mut pasts) = reading.begun(policy, shards)? else { return Ok(None) };
    take_ahead(&pasts);
    reading.on(&mut pasts, last_lsns)?;
    tracing::info!(
        records = reading.records(),
        took_ms = began.elapsed().as_millis() as u64,
        "the windows of the policy in force are read from the log"
    );
    Ok(Some(pasts))
}

/// Takes the memory that is touched at random ahead, so that no core waits for it. Where that can't be, the
/// first touch takes it.
pub fn take_ahead(pasts: &Pasts) {
    for shard in 0..pasts.shards() {
        let windows = pasts.shard(shard).map(Past::windows);
        for memory in windows.into_iter().flat_map(Windows::index_memory) {
            if let Err(error) = memory.take(0, memory.len()) {
                return tracing::info!(%error, "the windows' memory can't be taken ahead; it is taken when it is touched");
            }
        }
    }
}

/// By stream, from 0.
pub fn by_stream(last_lsns: impl IntoIterator<Item = u64>) -> BTreeMap<u16, u64> {
    (0..).zip(last_lsns).collect()
}
