//! All decisions on a transaction and their labels, where [`LogIndex::find_newest`] stops at the newest one.

use super::{LogIndex, SLICE_LEN};
use crate::log_files::error::LogError;
use crate::log_files::lookup::{Found, Query};
use std::ops::ControlFlow;

impl LogIndex {
    /// The decisions on a query, at most `limit` of them, the newest, and their labels; `ends` as in
    /// [`Self::find_newest`].
    ///
    /// # Errors
    /// As [`Self::work`].
    pub fn find_all(
        &mut self,
        ends: &[u64],
        query: &Query,
        limit: usize,
    ) -> Result<Found, LogError> {
        self.know(ends.len());
        let mut found = Found::default();
        for (stream, &end) in self.streams.iter_mut().zip(ends) {
            while stream.advance(&self.files, self.dedupe.as_ref(), end, SLICE_LEN)? {}
            let (before, files) = (found.clone(), &self.files);
            let shard = stream.shard;
            let mut all = |found: &mut Found| {
                stream.each(files, query, |segment, offset| {
                    files.with_block(shard, segment, offset, |block| {
                        found.take(block, query, limit)
                    })?;
                    Ok(ControlFlow::Continue(()))
                })
            };
            match all(&mut found) {
                // A segment was removed meanwhile: what is kept is asked once more.
                Err(error) if error.is_missing() => {
                    found = before;
                    all(&mut found)?;
                }
                done => done?,
            }
        }
        found.keep_newest(limit);
        Ok(found)
    }
}
