//! Takes the memory of the dedupe tables ahead of the cores, in a thread of its own: the index, which
//! is touched at random, at once; the ring as it fills. So a node is ready before its tables are, a
//! core meets no page that it must wait for, and a node with little to do holds little.

use crate::channels::ShardChannels;
use crate::threads;
use catraca_core::memory::TableMemory;
use catraca_core::shard::dedupe::ENTRY_LEN;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Taken of a ring ahead of its newest entry, bytes: a million entries, half a second at the highest
/// rate.
const AHEAD_LEN: usize = 64 << 20;
/// Taken at once, bytes: other threads that need memory wait for no longer than this takes.
const STEP_LEN: usize = 4 << 20;
/// How often it is looked whether a ring has come nearer to its end. A tenth of what
/// [`AHEAD_LEN`] lasts.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The memory of one shard's table.
struct Ahead {
    index: TableMemory,
    index_taken: usize,
    ring: TableMemory,
    ring_taken: usize,
}

/// Begins to take the memory of these tables, by shard: index and ring.
/// The thread runs on `cpus`.
pub fn start(
    tables: Vec<(TableMemory, TableMemory)>,
    channels: &Arc<ShardChannels>,
    cpus: &[usize],
) {
    let mut tables: Vec<Ahead> = tables
        .into_iter()
        .map(|(index, ring)| Ahead { index, index_taken: 0, ring, ring_taken: 0 })
        .collect();
    let (channels, cpus) = (Arc::clone(channels), cpus.to_vec());
    let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
        threads::run_on(&cpus);
        while tables.iter().any(|table| !table.is_whole()) {
            for (shard, table) in tables.iter_mut().enumerate() {
                let entries = channels.counters[shard].read().dedupe_entries;
                if let Err(error) = table.take(entries as usize) {
                    tracing::info!(shard, %error, "the dedupe table's memory can't be taken ahead; it is taken when it is touched");
                    return;
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
    });
    if let Err(error) = thread {
        tracing::info!(%error, "no thread takes the dedupe tables' memory ahead; it is taken when it is touched");
    }
}

impl Ahead {
    fn is_whole(&self) -> bool {
        self.index_taken == self.index.len() && self.ring_taken == self.ring.len()
    }

    /// Takes what a table with so many entries may touch soon.
    fn take(&mut self, entries: usize) -> io::Result<()> {
        take_up_to(&self.index, &mut self.index_taken, self.index.len())?;
        let ring_len = entries.saturating_mul(ENTRY_LEN).saturating_add(AHEAD_LEN);
        take_up_to(&self.ring, &mut self.ring_taken, ring_len.min(self.ring.len()))
    }
}

fn take_up_to(memory: &TableMemory, taken: &mut usize, end: usize) -> io::Result<()> {
    while *taken < end {
        let len = STEP_LEN.min(end - *taken);
        memory.take(*taken, len)?;
        *taken += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_core::shard::dedupe::{Dedupe, DedupeKey, MIN_ENTRIES};

    #[test]
    fn the_index_is_taken_whole_and_the_ring_ahead_of_its_entries() {
        const ENTRIES: usize = MIN_ENTRIES << 4;
        let (index, ring) = Dedupe::new(ENTRIES, DedupeKey([1; 16])).memory();
        let mut table = Ahead { index, index_taken: 0, ring, ring_taken: 0 };
        // A kernel before 5.14 takes nothing ahead.
        if table.take(0).is_err() {
            return;
        }
        assert_eq!((table.index_taken, table.ring_taken), (ENTRIES * 16, AHEAD_LEN));
        table.take(100).expect("memory");
        assert_eq!(table.ring_taken, AHEAD_LEN + 100 * ENTRY_LEN);
        assert!(!table.is_whole());
        table.take(ENTRIES).expect("memory");
        assert!(table.is_whole());
        table.take(usize::MAX).expect("nothing more");
    }
}
