//! The stored decisions on a transaction id, by the segments' indexes as far as they are there: for a
//! person who asks a log of years. Writes nothing: a log without indexes is read to its end.

use super::LogReader;
use super::error::LogError;
use super::index_file::IndexFiles;
use super::lookup::{Found, MAX_FOUND, Query};
use super::segment::segments;
use catraca_core::log::Tail;
use std::ops::ControlFlow;

/// Finds the decisions on a query, at most `limit` of them, the newest. A full segment whose index is
/// sound is not read but for the blocks that the index names; from the first one without on, all of the
/// stream is.
///
/// # Errors
/// [`LogError::Io`]; [`LogError::Damaged`] where a block that an index names is not sound.
pub fn find(
    log: &LogReader,
    files: &IndexFiles,
    query: &Query,
    limit: usize,
) -> Result<Found, LogError> {
    match find_kept(log, files, query, limit) {
        // A segment was removed meanwhile: what is kept is asked once more.
        Err(error) if error.is_missing() => find_kept(log, files, query, limit),
        found => found,
    }
}

fn find_kept(
    log: &LogReader,
    files: &IndexFiles,
    query: &Query,
    limit: usize,
) -> Result<Found, LogError> {
    let limit = limit.clamp(1, MAX_FOUND);
    let mut found = Found::default();
    let (id, payer) =
        (files.keys.id(&query.id), query.payer.as_ref().map(|payer| files.keys.payer(payer)));
    for &shard in log.shards() {
        let mut from = log.start(shard)?.tail;
        for segment in segments(&files.log.data_dir, shard)? {
            let Ok(index) = files.open(shard, segment) else { break };
            let blocks = match index.look(id) {
                None => Some(Vec::new()),
                Some(read) => files.blocks((shard, segment), &index, read, None, (id, payer)),
            };
            // One that is damaged behind what is checked at once is as good as none.
            let Some(blocks) = blocks else { break };
            for offset in blocks {
                files.with_block(shard, segment, offset, |block| {
                    found.take(block, query, limit);
                })?;
            }
            let (_, behind) = index.summary().last_block();
            from = Tail { segment: segment + 1, offset: Tail::START.offset, ..behind };
        }
        let read = log.blocks(shard, from, |block| {
            found.take(block, query, limit);
            ControlFlow::Continue(())
        })?;
        found.streams.push((shard, read));
    }
    found.keep_newest(limit);
    Ok(found)
}
