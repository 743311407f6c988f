//! A small log in memory, written block by block as the journal would, for the tests of its reading
//! side.

use bytemuck::Zeroable;
use catraca_core::log::Tail;
use catraca_core::log::damage::{Damage, Spot, Torn};
use catraca_core::log::recovery::{LastWrite, Recovery};
use catraca_wire::DocumentKey;
use catraca_wire::block::{
    self, BLOCK_HEAD_LEN, BlockIdentity, Chain, ChainKey, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN,
    SegmentHead,
};
use catraca_wire::extension::ForcedBreaker;
use catraca_wire::frame::{BreakerForce, ListSource, TRANSACTION_ID_LEN, Verdict, transaction_id};
use catraca_wire::list::{Author, ListName, ListReason};
use catraca_wire::record::{RECORD_LEN, RECORD_VERSION, Reason, RecordHead, RecordKind};
use std::ops::ControlFlow;
use std::path::Path;

pub const KEY: ChainKey = [0x5a; 32];
pub const CLUSTER: [u8; 16] = *b"cluster of tests";
/// 2026-11-23T12:00:00Z.
pub const NOON_NS: u64 = 1_795_435_200_000_000_000;

/// Where a written block lies.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub segment: usize,
    pub offset: usize,
    /// Head and payload, bytes.
    pub end: usize,
    /// Padding included, bytes.
    pub len: usize,
    pub first_lsn: u64,
    pub records: u64,
}

/// The place of a block, as damage names it.
pub fn spot(block: &Written) -> Spot {
    Spot { segment: block.segment as u32, offset: block.offset as u64 }
}

#[derive(Debug, Clone)]
pub struct TestLog {
    pub segments: Vec<Vec<u8>>,
    pub blocks: Vec<Written>,
    pub identity: BlockIdentity,
    pub key: ChainKey,
    pub next_lsn: u64,
    pub chain: Chain,
    pub offset: usize,
    pub segment_len: usize,
    /// Ids come again after so many, mostly with other payers.
    pub ids: u64,
}

impl TestLog {
    pub fn new(segment_len: usize) -> Self {
        Self::of(segment_len, BlockIdentity { shard: 0, epoch: 1, cluster_id: CLUSTER })
    }

    pub fn of(segment_len: usize, identity: BlockIdentity) -> Self {
        let mut log = Self {
            segments: Vec::new(),
            blocks: Vec::new(),
            identity,
            key: KEY,
            next_lsn: 1,
            chain: [0; 32],
            offset: SEGMENT_HEAD_LEN,
            segment_len,
            ids: u64::MAX,
        };
        log.prepare();
        log
    }

    /// One more empty segment.
    pub fn prepare(&mut self) {
        let index = self.segments.len() as u32;
        let head = SegmentHead::new(
            self.identity.cluster_id,
            self.identity.shard,
            index,
            self.segment_len as u64,
            NOON_NS,
        );
        let mut bytes = vec![0; self.segment_len];
        bytes[..size_of::<SegmentHead>()].copy_from_slice(bytemuck::bytes_of(&head));
        self.segments.push(bytes);
    }

    /// Goes on in a new segment although this one has room.
    pub fn roll(&mut self) {
        self.prepare();
        self.offset = SEGMENT_HEAD_LEN;
    }

    /// A block of plain records.
    pub fn plain(&mut self, records: usize) -> Written {
        self.block(&vec![Vec::new(); records])
    }

    /// A block of decisions with these extensions.
    pub fn block(&mut self, extensions: &[Vec<u8>]) -> Written {
        let of = |(i, extension): (usize, &Vec<u8>)| {
            let lsn = self.next_lsn + i as u64;
            let mut head = decision(lsn);
            head.transaction.id = id(lsn % self.ids);
            (head, extension.clone())
        };
        let records: Vec<_> = extensions.iter().enumerate().map(of).collect();
        self.records(&records)
    }

    /// A block of these records, each with its extension; the log numbers them.
    pub fn records(&mut self, records: &[(RecordHead, Vec<u8>)]) -> Written {
        let mut buffer = vec![0; MAX_BLOCK_LEN];
        let mut end = BLOCK_HEAD_LEN;
        for (i, (head, extension)) in records.iter().enumerate() {
            let mut head = *head;
            head.lsn = (self.next_lsn + i as u64).into();
            head.extension_len = (extension.len() as u16).into();
            buffer[end..end + RECORD_LEN].copy_from_slice(bytemuck::bytes_of(&head));
            end += RECORD_LEN;
            buffer[end..end + extension.len()].copy_from_slice(extension);
            end += extension.len();
        }
        let first_lsn = self.next_lsn;
        let records = records.len() as u64;
        let sealed_at_ns = NOON_NS + first_lsn * 1_000_000;
        let payload_len = end - BLOCK_HEAD_LEN;
        let len = block::padded_len(payload_len);
        self.chain = block::seal(
            &mut buffer,
            payload_len,
            &self.identity,
            first_lsn,
            records as u32,
            sealed_at_ns,
            &self.chain,
            &self.key,
        );
        if self.offset + len > self.segment_len {
            self.roll();
        }
        let segment = self.segments.len() - 1;
        self.segments[segment][self.offset..self.offset + len].copy_from_slice(&buffer[..len]);
        let written = Written { segment, offset: self.offset, end, len, first_lsn, records };
        self.blocks.push(written);
        self.offset += len;
        self.next_lsn += records;
        written
    }

    pub fn last(&self) -> Written {
        *self.blocks.last().expect("a block was written")
    }

    pub fn bytes_of(&self, block: &Written) -> &[u8] {
        &self.segments[block.segment][block.offset..block.offset + block.len]
    }

    pub fn recover(&self) -> Recovered {
        recover(&self.segments, Some(&self.key))
    }

    /// Writes it as files of a data directory.
    pub fn write(&self, data_dir: &Path) {
        let shard = self.identity.shard;
        let dir = data_dir.join(format!("log/shard-{shard:04}"));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        for (index, bytes) in self.segments.iter().enumerate() {
            std::fs::write(dir.join(format!("{index:08}.seg")), bytes).expect("a temporary folder");
        }
    }
}

/// The id of a numbered transaction.
pub fn id(number: u64) -> [u8; TRANSACTION_ID_LEN] {
    transaction_id(&format!("T{number:08}")).expect("graphic ASCII")
}

/// A decision; the third, and every 100th, is a denied one.
pub fn decision(lsn: u64) -> RecordHead {
    let mut head = RecordHead::zeroed();
    head.kind = RecordKind::Decision.to_wire();
    head.version = RECORD_VERSION;
    head.lsn = lsn.into();
    head.decided_at_ns = (NOON_NS + lsn * 1_000_000).into();
    let denied = lsn == 3 || lsn.is_multiple_of(100);
    head.verdict = if denied { Verdict::Deny } else { Verdict::Approve }.to_wire();
    if denied {
        head.reason = Reason::PayerListed.to_wire();
        head.payer_source = ListSource::Ceis.to_wire();
        head.matched_rules = 1.into();
        head.score = 1000.into();
    }
    head.policy_version = 4.into();
    head.snapshot_id = 0xfeed_beef_0102_0304.into();
    head.overlay_sequence = 2.into();
    head.transaction.id = id(lsn);
    head.transaction.payer = DocumentKey::from_cpf_number(123_456_000 + lsn as u32 % 1000)
        .expect("no repeated digit")
        .to_wire();
    head.transaction.payee = DocumentKey::parse("12ABC34501DE35").expect("valid").to_wire();
    head.transaction.amount_centavos = (1_234_500 + lsn as i64).into();
    head.transaction.event_time_ns = (NOON_NS + lsn * 1_000_000 - 1_000).into();
    head.transaction.rail = 1;
    head.transaction.channel = 1;
    head.transaction.ip = std::net::Ipv4Addr::new(203, 0, 113, 9).to_ipv6_mapped().octets();
    head
}

/// The record of a breaker that was forced open, and its extension.
pub fn forced_breaker() -> (RecordHead, Vec<u8>) {
    let forced = ForcedBreaker {
        validator: ListName::parse("cpf-status").expect("sound"),
        force: BreakerForce::Open,
        forced_at_ns: NOON_NS,
        author: Author::parse("ana").expect("sound"),
        reason: ListReason::parse("maintenance").expect("sound"),
    };
    (forced.to_record(), forced.to_section().to_vec())
}

/// What a recovery gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The records seen.
    pub records: Vec<(RecordHead, Vec<u8>)>,
    pub end: Result<Option<Torn>, Damage>,
    pub tail: Tail,
}

impl Recovered {
    pub fn damage(&self) -> Damage {
        self.end.expect_err("damage was expected")
    }

    pub fn torn(&self) -> Torn {
        self.end.expect("no damage was expected").expect("a torn tail was expected")
    }

    pub fn clean(&self) -> bool {
        self.end == Ok(None)
    }
}

/// Recovers a stream from the bytes of its segments.
pub fn recover(segments: &[Vec<u8>], key: Option<&ChainKey>) -> Recovered {
    recover_after(LastWrite::Block, segments, key)
}

/// The same, whatever the last write was of.
pub fn recover_after(
    last_write: LastWrite,
    segments: &[Vec<u8>],
    key: Option<&ChainKey>,
) -> Recovered {
    let mut records = Vec::new();
    let mut recovery = Recovery::new(Some(CLUSTER), 0, key).with_last_write(last_write);
    let mut end = Ok(());
    for (index, bytes) in segments.iter().enumerate() {
        let fed = recovery.feed(index as u32, bytes, &mut |block| {
            records.extend(block.records().map(|(head, extension)| (*head, extension.to_vec())));
            ControlFlow::Continue(())
        });
        if let Err(damage) = fed {
            end = Err(damage);
            break;
        }
    }
    Recovered { records, end: end.map(|()| recovery.torn()), tail: *recovery.tail() }
}
