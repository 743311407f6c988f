//! Segment files as bytes: the only `unsafe` of the log's reading side.

use memmap2::{Advice, Mmap};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A segment file in memory, read only. An empty file gives no bytes.
#[derive(Debug)]
pub struct MappedSegment(Option<Mmap>);

impl MappedSegment {
    /// Maps a file.
    ///
    /// # Errors
    /// What opening and mapping give.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the mapping is private to this value and read only, so what remains is that another process may change the bytes
        // under the slice, or shorten the file. Segments are never shortened: they are filled before they get their name and stay that
        // long (LOG.md, "Files"). They do change while a node writes, but each sector once only, from zeros to its final bytes, and
        // a torn tail is zeroed only under the lock of the data directory. Readers accept any value of any byte until a block's
        // check sums are right; from then on that block's bytes are final. No reference with validity rules beyond plain bytes
        // (no `bool`, `enum`, `str`) is formed over the mapping: `BlockHead`, `RecordHead` and `SegmentHead` are `Pod`.
        let map = unsafe { Mmap::map(&file)? };
        // Advice only: reading goes on without it, slower.
        let _ = map.advise(Advice::Sequential);
        let _ = map.advise(Advice::WillNeed);
        Ok(Self(Some(map)))
    }
}

impl Deref for MappedSegment {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}
