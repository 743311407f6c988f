//! Making a dedupe file, block by block, in the memory that one chunk takes.

use super::{
    CHUNK_LEN, ChunkEntry, DEDUPE_FILE_MAGIC, DEDUPE_FILE_VERSION, DedupeFileKeys, Foot, KEPT_LEN,
    Kept, MAX_CHUNK_LEN, MAX_CHUNKS, RUN_LEN, Run,
};
use crate::log::{SoundBlock, Tail};
use crate::owner::owner;
use crate::shard::dedupe::{Fingerprint, pack_verdict};
use bytemuck::Zeroable;
use catraca_wire::DocumentKey;
use catraca_wire::block::BLOCK_ALIGN;
use catraca_wire::record::{RecordHead, RecordKind, blacklist_version};

/// The dedupe file of a segment in the making: takes its blocks, in order.
#[derive(Debug, Clone)]
pub struct DedupeFileBuilder {
    shards: u16,
    runs: Vec<Run>,
    kept: Vec<Kept>,
    table: Vec<ChunkEntry>,
    first_lsn: u64,
    tail: Tail,
}

impl DedupeFileBuilder {
    /// For a node with so many shards.
    pub fn new(shards: u16) -> Self {
        Self {
            shards,
            runs: Vec::new(),
            kept: Vec::new(),
            table: Vec::new(),
            first_lsn: 0,
            tail: Tail::START,
        }
    }

    /// Takes the next block. Gives the bytes that come next in the file, once there are enough.
    pub fn take(&mut self, block: &SoundBlock<'_>, keys: &DedupeFileKeys) -> Option<Vec<u8>> {
        if self.first_lsn == 0 {
            self.first_lsn = block.head.first_lsn.to_native();
        }
        self.tail = Tail::after(block);
        let block_run = Run {
            chain: block.head.chain,
            first_lsn: block.head.first_lsn.to_native().into(),
            sealed_at_ns: block.head.sealed_at_ns.to_native().into(),
            epoch: block.head.epoch.to_native().into(),
            end_page: ((self.tail.offset / BLOCK_ALIGN as u64) as u32).into(),
            records: (block.head.record_count.to_native() as u16).into(),
            ..Run::zeroed()
        };
        let before = self.runs.len();
        for (place, (head, _)) in (0u16..).zip(block.records()) {
            if head.kind != RecordKind::Decision.to_wire() {
                continue;
            }
            // One that is no document is nobody's: no shard holds it.
            let Ok(payer) = DocumentKey::from_wire(&head.transaction.payer) else { continue };
            let of_decision = Run {
                owner: owner(payer, self.shards).into(),
                policy_version: head.policy_version.to_native().into(),
                blacklist_version: blacklist_version(
                    head.snapshot_id.to_native(),
                    head.overlay_sequence.to_native(),
                )
                .into(),
                ..block_run
            };
            match self.runs[before..].last_mut() {
                Some(run) if run.goes_on(&of_decision, place) => {
                    run.decisions = (run.decisions.to_native() + 1).into();
                }
                _ => {
                    self.runs.push(Run { first: place.into(), decisions: 1.into(), ..of_decision })
                }
            }
            self.kept.push(kept(payer, head, keys));
        }
        if self.runs.len() == before {
            self.runs.push(block_run);
        }
        let len = self.runs.len() * RUN_LEN + self.kept.len() * KEPT_LEN;
        (len >= CHUNK_LEN).then(|| self.close(keys))
    }

    /// Closes the chunk.
    fn close(&mut self, keys: &DedupeFileKeys) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_CHUNK_LEN);
        bytes.extend_from_slice(bytemuck::cast_slice(&self.runs));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.kept));
        assert!(bytes.len() <= MAX_CHUNK_LEN, "a block is at most 1 MiB");
        self.table.push(ChunkEntry {
            len: (bytes.len() as u32).into(),
            runs: (self.runs.len() as u32).into(),
            check: keys.chunk_check(&bytes),
        });
        self.runs.clear();
        self.kept.clear();
        bytes
    }

    /// The rest of the file: of this segment of a stream.
    pub fn finish(
        mut self,
        cluster_id: [u8; 16],
        shard: u16,
        segment: u32,
        keys: &DedupeFileKeys,
    ) -> Vec<u8> {
        let mut bytes = if self.runs.is_empty() { Vec::new() } else { self.close(keys) };
        assert!(self.table.len() <= MAX_CHUNKS, "a segment is at most 1 GiB");
        let mut foot = Foot {
            magic: DEDUPE_FILE_MAGIC,
            version: DEDUPE_FILE_VERSION.into(),
            shard: shard.into(),
            segment: segment.into(),
            cluster_id,
            first_lsn: self.first_lsn.into(),
            last_lsn: (self.tail.next_lsn - 1).into(),
            last_chain: self.tail.previous_chain,
            chunks: (self.table.len() as u32).into(),
            shards: self.shards.into(),
            reserved: [0; 10],
            check: [0; 32],
        };
        foot.check = keys.foot_check(&foot, &self.table);
        bytes.extend_from_slice(bytemuck::cast_slice(&self.table));
        bytes.extend_from_slice(bytemuck::bytes_of(&foot));
        bytes
    }
}

impl Run {
    /// Whether a decision at this place of the block, which has this in common with others, is the
    /// next one of the run.
    fn goes_on(&self, decision: &Self, place: u16) -> bool {
        self.end() == place
            && (self.owner, self.policy_version, self.blacklist_version)
                == (decision.owner, decision.policy_version, decision.blacklist_version)
    }
}

fn kept(payer: DocumentKey, head: &RecordHead, keys: &DedupeFileKeys) -> Kept {
    let institution = head.submitter.institution.to_native();
    let fingerprint = keys.dedupe.fingerprint(institution, payer, &head.transaction);
    let Fingerprint { key, key_more, content } = fingerprint;
    let mut kept = Kept {
        key: key.into(),
        key_more: key_more.into(),
        content: content.into(),
        event_time_ns: head.transaction.event_time_ns.to_native().into(),
        matched_rules: head.matched_rules.to_native().into(),
        score: head.score.to_native().into(),
        verdict_and_reason: pack_verdict(head.verdict, head.reason),
        flags: head.flags,
    };
    keys.mask(&mut kept);
    kept
}
