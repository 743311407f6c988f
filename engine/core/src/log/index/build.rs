//! Making an index, block by block.

use super::{
    BUCKET_ENTRIES, Bucket, ENTRY_LEN, Entry, FILTER_BITS, Head, INDEX_HEAD_LEN, INDEX_MAGIC,
    INDEX_VERSION, IdHash, IndexKeys, LINE_WORDS, MAX_ENTRIES, PayerHash, bits_of, part,
};
use crate::log::{SoundBlock, Tail};
use crate::owner::position;
use catraca_wire::DocumentKey;
use catraca_wire::block::BLOCK_ALIGN;
use catraca_wire::record::{RecordHead, RecordKind};

/// What is left out of the payers' positions, so that nobody reads a document out of one: the rest still
/// tells shards apart.
const HIDDEN: u64 = u64::MAX >> 16;

/// The index of a segment in the making: takes its blocks, in order.
#[derive(Debug, Clone)]
pub struct IndexBuilder {
    entries: Vec<(u64, u32, u16)>,
    changes: Vec<u32>,
    first_lsn: u64,
    /// Behind the last block, and where that begins.
    tail: Tail,
    last_offset: u64,
    oldest_ns: u64,
    newest_ns: u64,
    newest_event_ns: u64,
    lowest_payer: u64,
    highest_payer: u64,
    /// Entries that are labels.
    labels: u32,
}

impl Default for IndexBuilder {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            changes: Vec::new(),
            first_lsn: 0,
            tail: Tail::START,
            last_offset: 0,
            oldest_ns: u64::MAX,
            newest_ns: 0,
            newest_event_ns: 0,
            lowest_payer: u64::MAX,
            highest_payer: 0,
            labels: 0,
        }
    }
}

impl IndexBuilder {
    /// Takes the next block.
    pub fn take(&mut self, block: &SoundBlock<'_>, keys: &IndexKeys) {
        if self.first_lsn == 0 {
            self.first_lsn = block.head.first_lsn.to_native();
        }
        (self.tail, self.last_offset) = (Tail::after(block), block.place.block_offset);
        let page = (block.place.block_offset / BLOCK_ALIGN as u64) as u32;
        for (head, _) in block.records() {
            if head.kind == RecordKind::Label.to_wire() {
                self.labels += 1;
                self.entry(head, page, keys);
                continue;
            }
            if head.kind != RecordKind::Decision.to_wire() {
                if self.changes.last() != Some(&page) {
                    self.changes.push(page);
                }
                continue;
            }
            let event_ns = head.transaction.event_time_ns.to_native();
            self.newest_event_ns = self.newest_event_ns.max(event_ns);
            // One that is no document is nobody's: no shard holds it.
            if let Ok(payer) = DocumentKey::from_wire(&head.transaction.payer) {
                let position = position(payer);
                self.lowest_payer = self.lowest_payer.min(position);
                self.highest_payer = self.highest_payer.max(position);
            }
            let at_ns = head.decided_at_ns.to_native();
            self.oldest_ns = self.oldest_ns.min(at_ns);
            self.newest_ns = self.newest_ns.max(at_ns);
            self.entry(head, page, keys);
        }
    }

    /// What finds a record by its transaction.
    fn entry(&mut self, head: &RecordHead, page: u32, keys: &IndexKeys) {
        let id = keys.id(&head.transaction.id);
        self.entries.push((id.0, page, keys.payer(&head.transaction.payer).0));
    }

    /// Where blocks begin, bytes, that hold decisions on an id (of a payer), or their labels, as far as their
    /// hashes tell: the newest first, each once.
    pub fn blocks(&self, id: IdHash, payer: Option<PayerHash>) -> Vec<u64> {
        let entries = self
            .entries
            .iter()
            .rev()
            .filter(|&&(hash, _, of)| hash == id.0 && payer.is_none_or(|payer| of == payer.0));
        let mut pages: Vec<u32> = entries.map(|&(_, page, _)| page).collect();
        pages.dedup();
        pages.into_iter().map(|page| u64::from(page) * BLOCK_ALIGN as u64).collect()
    }

    /// Decisions and labels taken.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file: of this segment of a stream.
    pub fn finish(
        mut self,
        cluster_id: [u8; 16],
        shard: u16,
        segment: u32,
        keys: &IndexKeys,
    ) -> Vec<u8> {
        assert!(self.entries.len() <= MAX_ENTRIES, "a segment is at most 1 GiB");
        self.entries.sort_unstable();
        let lines = (self.entries.len() * FILTER_BITS).div_ceil(LINE_WORDS * 64).max(1);
        let buckets = self.entries.len().div_ceil(BUCKET_ENTRIES).max(1);
        let mut filter = vec![0u64; lines * LINE_WORDS];
        let mut firsts = vec![0u32; buckets + 1];
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_LEN);
        for &(hash, page, payer) in &self.entries {
            let line = part(hash, lines) * LINE_WORDS;
            bits_of(hash).for_each(|(word, bit)| filter[line + word] |= bit);
            firsts[part(hash, buckets) + 1] += 1;
            let entry =
                Entry { hash: (hash as u32).into(), page: page.into(), payer: payer.into() };
            bytes.extend_from_slice(bytemuck::bytes_of(&entry));
        }
        for bucket in 0..buckets {
            firsts[bucket + 1] += firsts[bucket];
        }
        let directory: Vec<Bucket> = (0..buckets)
            .map(|bucket| {
                let [from, to] = [firsts[bucket], firsts[bucket + 1]].map(|n| n as usize);
                Bucket {
                    first: firsts[bucket].into(),
                    reserved: [0; 4],
                    check: keys.bucket_check(&bytes[from * ENTRY_LEN..to * ENTRY_LEN]),
                }
            })
            .collect();
        filter.iter_mut().for_each(|word| *word = word.to_le());
        let (lowest_payer, highest_payer) = match self.lowest_payer <= self.highest_payer {
            true => (self.lowest_payer & !HIDDEN, self.highest_payer | HIDDEN),
            false => (self.lowest_payer, self.highest_payer),
        };
        let mut head = Head {
            magic: INDEX_MAGIC,
            version: INDEX_VERSION.into(),
            shard: shard.into(),
            segment: segment.into(),
            cluster_id,
            first_lsn: self.first_lsn.into(),
            last_lsn: (self.tail.next_lsn - 1).into(),
            last_chain: self.tail.previous_chain,
            last_offset: self.last_offset.into(),
            oldest_ns: self.oldest_ns.min(self.newest_ns).into(),
            newest_ns: self.newest_ns.into(),
            entries: (self.entries.len() as u32).into(),
            lines: (lines as u32).into(),
            buckets: (buckets as u32).into(),
            changes: (self.changes.len() as u32).into(),
            last_len: ((self.tail.offset - self.last_offset) as u32).into(),
            last_epoch: self.tail.epoch.into(),
            last_sealed_at_ns: self.tail.sealed_at_ns.into(),
            newest_event_ns: self.newest_event_ns.into(),
            lowest_payer: lowest_payer.into(),
            highest_payer: highest_payer.into(),
            labels: self.labels.into(),
            reserved: [0; 4],
            look_check: keys.look_check(&filter, &directory),
            check: [0; 32],
        };
        self.changes.iter_mut().for_each(|page| *page = page.to_le());
        head.check = keys.check(&head, &self.changes);
        let mut file = Vec::with_capacity(INDEX_HEAD_LEN + filter.len() * 8 + bytes.len());
        file.extend_from_slice(bytemuck::bytes_of(&head));
        file.extend_from_slice(bytemuck::cast_slice(&self.changes));
        file.extend_from_slice(bytemuck::cast_slice(&filter));
        file.extend_from_slice(bytemuck::cast_slice(&directory));
        file.extend_from_slice(&bytes);
        file
    }
}
