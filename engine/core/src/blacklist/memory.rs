//! Memory for a snapshot.
//!
//! A snapshot file is read into an anonymous mapping, not mapped itself: a mapped file that
//! somebody truncates or writes to after the check would kill the node with SIGBUS or change what
//! was checked, and anonymous memory can be had in huge pages, which spare a random look-up the
//! walk of the page tables. The mapping is made read-only before anybody looks at it.

use memmap2::{Advice, Mmap, MmapMut};
use std::io;

/// Writable, zeroed, page-aligned memory; huge pages where the kernel has them.
pub(super) fn allocate(len: usize) -> io::Result<MmapMut> {
    let memory = MmapMut::map_anon(len)?;
    // Advice only: without huge pages a look-up is slower and otherwise the same.
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

/// Ends the writing.
pub(super) fn seal(memory: MmapMut) -> io::Result<Mmap> {
    memory.make_read_only()
}
