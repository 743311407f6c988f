//! Where a stream begins whose oldest segments were cut off, and what they amount to: the chain value
//! that the rest continues, the changes of the blacklist that still count, the policy in force, the named
//! lists, and how far back the tables have forgotten. LOG.md, "Where a stream begins", is the specification. Pure.
//!
//! It takes the place of log that nobody can read again, so one that is unsound stops a node.

use super::Tail;
use crate::log::policies::{ComingPolicy, MAX_POLICY_LEN, PolicyId, PolicyText};
use crate::named_lists::{MAX_ENTRIES, MAX_LISTS, NamedLists};
use catraca_wire::block::{ChainKey, SEGMENT_HEAD_LEN};
use catraca_wire::extension::{LIST_CHANGE_LEN, ListChange};
use catraca_wire::log_start::{
    CHECKPOINT_MAGIC, LOG_START_LEN, LOG_START_MAGIC, LOG_START_VERSION, LogStartHead,
};
use catraca_wire::record::{OverlayChange, RECORD_LEN, RecordHead};
use std::ops::RangeInclusive;

/// What such a file is for. One can't be passed off as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The stream begins there: what lies before was removed.
    Start,
    /// What lies before need not be read again for its changes: `checkpoint`. It is not trusted over the
    /// log, and may be removed.
    Checkpoint,
}

impl Purpose {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Start => LOG_START_MAGIC,
            Self::Checkpoint => CHECKPOINT_MAGIC,
        }
    }

    /// What the key of the check is derived for.
    const fn check_context(self) -> &'static str {
        match self {
            Self::Start => "catraca 2026 log start, check",
            Self::Checkpoint => "catraca 2026 log checkpoint, check",
        }
    }
}

/// Most records in the file: three for each entry of the largest overlay.
pub const MAX_RECORDS: usize = 3 * 65_536;
/// Longest file, bytes.
pub const MAX_LOG_START_LEN: usize =
    LOG_START_LEN + MAX_RECORDS * RECORD_LEN + 3 * MAX_POLICY_LEN + MAX_LISTS_LEN;
/// Longest part of it that named lists need, bytes: each entry by itself in a change, so that they may all
/// have reasons of their own.
pub const MAX_LISTS_LEN: usize = (MAX_LISTS + MAX_ENTRIES) * LIST_CHANGE_LEN;

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStart {
    /// At the first segment that is kept, behind the last block that was cut off.
    pub tail: Tail,
    /// When it was cut off, nanoseconds since 1970 UTC.
    pub cut_at_ns: u64,
    /// The latest of the times of the transactions cut off, nanoseconds since 1970 UTC.
    pub newest_event_ns: u64,
    /// Between which positions ([`crate::owner`]) their payers lie; empty where there were none.
    pub payers: RangeInclusive<u64>,
    /// Id of the list that was loaded last; 0 none.
    pub snapshot_id: u64,
    /// The changes of the blacklist that still count, in order of their sequence numbers.
    pub changes: Vec<OverlayChange>,
    /// The policy in force; `None` where none ever was.
    pub policy: Option<PolicyText>,
    /// The one before, which a rollback takes into use again; `None` where there was none, or none is known.
    pub previous_policy: Option<PolicyText>,
    /// The policy of which not all parts had come.
    pub coming_policy: Option<ComingPolicy>,
    /// The named lists and the exemptions.
    pub named: NamedLists,
}

/// What is wrong with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogStartFault {
    /// Shorter or longer than it says.
    #[error("it has {have} bytes where {want} belong")]
    Length {
        /// Bytes of the file.
        have: u64,
        /// Bytes that it should have.
        want: u64,
    },
    /// Magic, check sum or fields of its head are wrong.
    #[error("its head is unsound")]
    Head,
    /// Of a format that this build does not know.
    #[error(
        "its format has version {0}, which this build does not know; use the build that wrote it, or a newer one"
    )]
    Version(u16),
    /// Of another cluster or stream.
    #[error("it is of another stream, or of another cluster")]
    OtherStream,
    /// The check sum of its records and its policy is wrong, or one of them is no change of a blacklist.
    #[error("its records, or its policy, are unsound")]
    Records,
    /// It was not written by who has the chain's key.
    #[error("it does not match its keyed hash: altered, or of another key")]
    Check,
}

/// The head of the file, if its check sum is right and it is of this stream.
///
/// # Errors
/// [`LogStartFault`].
pub fn head(
    purpose: Purpose,
    bytes: &[u8; LOG_START_LEN],
    cluster_id: Option<[u8; 16]>,
    shard: u16,
) -> Result<LogStartHead, LogStartFault> {
    let head: LogStartHead = *bytemuck::from_bytes(bytes);
    if head.magic != purpose.magic() || head.head_crc.to_native() != head.expected_crc() {
        return Err(LogStartFault::Head);
    }
    if !(1..=LOG_START_VERSION).contains(&head.format_version.to_native()) {
        return Err(LogStartFault::Version(head.format_version.to_native()));
    }
    if head.shard.to_native() != shard || cluster_id.is_some_and(|id| id != head.cluster_id) {
        return Err(LogStartFault::OtherStream);
    }
    let is_plausible = head.segment.to_native() > 0
        && (1..u64::MAX).contains(&head.last_lsn.to_native())
        && head.record_count.to_native() as usize <= MAX_RECORDS
        && head.policy_len.to_native() as usize <= MAX_POLICY_LEN
        && (head.policy_version.to_native() > 0 || head.policy_len.to_native() == 0)
        && head.coming_policy_len.to_native() as usize <= MAX_POLICY_LEN
        && (head.coming_policy_len.to_native() > 0 || head.coming_policy_id == [0; 32])
        && head.previous_policy_len.to_native() as usize <= MAX_POLICY_LEN
        && head.previous_policy_version.to_native() <= head.policy_version.to_native()
        && (head.previous_policy_version.to_native() > 0
            || head.previous_policy_len.to_native() == 0)
        && head.lists_len.to_native() as usize <= MAX_LISTS_LEN
        && (head.list_sequence.to_native() > 0 || head.lists_len.to_native() == 0)
        && head.reserved == [0; 8];
    if is_plausible { Ok(head) } else { Err(LogStartFault::Head) }
}

/// Where the stream goes on, as a sound head says.
pub fn tail(head: &LogStartHead) -> Tail {
    Tail {
        segment: head.segment.to_native(),
        offset: SEGMENT_HEAD_LEN as u64,
        next_lsn: head.last_lsn.to_native() + 1,
        previous_chain: head.chain,
        epoch: head.epoch.to_native(),
        sealed_at_ns: head.sealed_at_ns.to_native(),
    }
}

/// The keyed hash that the file should have, whose bytes behind the head are these.
fn check(purpose: Purpose, head: &LogStartHead, behind: &[u8], key: &ChainKey) -> [u8; 32] {
    let bare = LogStartHead { check: [0; 32], records_crc: 0.into(), head_crc: 0.into(), ..*head };
    let mut hasher = blake3::Hasher::new_keyed(&blake3::derive_key(purpose.check_context(), key));
    hasher.update(bytemuck::bytes_of(&bare));
    hasher.update(behind);
    *hasher.finalize().as_bytes()
}

impl LogStart {
    /// Of a stream of which nothing was cut off.
    pub fn of_whole_stream() -> Self {
        Self {
            tail: Tail::START,
            cut_at_ns: 0,
            newest_event_ns: 0,
            payers: RangeInclusive::new(u64::MAX, 0),
            snapshot_id: 0,
            changes: Vec::new(),
            policy: None,
            previous_policy: None,
            coming_policy: None,
            named: NamedLists::default(),
        }
    }

    /// The last record that was cut off; 0 where nothing was.
    pub fn last_lsn(&self) -> u64 {
        self.tail.next_lsn - 1
    }

    /// Out of the bytes of the file. Without a key its keyed hash is not checked.
    ///
    /// # Errors
    /// [`LogStartFault`].
    pub fn parse(
        purpose: Purpose,
        bytes: &[u8],
        cluster_id: Option<[u8; 16]>,
        shard: u16,
        key: Option<&ChainKey>,
    ) -> Result<Self, LogStartFault> {
        let have = bytes.len() as u64;
        let short = LogStartFault::Length { have, want: LOG_START_LEN as u64 };
        let (first, behind) = bytes.split_first_chunk::<LOG_START_LEN>().ok_or(short)?;
        let head = head(purpose, first, cluster_id, shard)?;
        let records_len = head.record_count.to_native() as usize * RECORD_LEN;
        let policy_len = head.policy_len.to_native() as usize;
        let coming_len = head.coming_policy_len.to_native() as usize;
        let previous_len = head.previous_policy_len.to_native() as usize;
        let lists_len = head.lists_len.to_native() as usize;
        let want = LOG_START_LEN + records_len + policy_len + previous_len + coming_len + lists_len;
        if bytes.len() != want {
            return Err(LogStartFault::Length { have, want: want as u64 });
        }
        if crc32c::crc32c(behind) != head.records_crc.to_native() {
            return Err(LogStartFault::Records);
        }
        if key.is_some_and(|key| check(purpose, &head, behind, key) != head.check) {
            return Err(LogStartFault::Check);
        }
        let (records, texts) = behind.split_at(records_len);
        let (text, texts) = texts.split_at(policy_len);
        let (previous_text, texts) = texts.split_at(previous_len);
        let (coming, lists) = texts.split_at(coming_len);
        let lists = ListChange::read_all(lists).ok_or(LogStartFault::Records)?;
        let named = NamedLists::of_changes(&lists, head.list_sequence.to_native())
            .map_err(|_| LogStartFault::Records)?;
        let policy = |version: u32, activated_at_ns: u64, text: &[u8]| {
            let id = PolicyId::of(text);
            let policy = PolicyText { version, activated_at_ns, id, text: text.into() };
            (version > 0).then_some(policy)
        };
        let changes = records
            .chunks_exact(RECORD_LEN)
            .map(|record| OverlayChange::from_record(bytemuck::from_bytes::<RecordHead>(record)));
        Ok(Self {
            tail: tail(&head),
            cut_at_ns: head.cut_at_ns.to_native(),
            newest_event_ns: head.newest_event_ns.to_native(),
            payers: head.lowest_payer.to_native()..=head.highest_payer.to_native(),
            snapshot_id: head.snapshot_id.to_native(),
            changes: changes.collect::<Option<_>>().ok_or(LogStartFault::Records)?,
            policy: policy(
                head.policy_version.to_native(),
                head.policy_activated_at_ns.to_native(),
                text,
            ),
            previous_policy: policy(
                head.previous_policy_version.to_native(),
                head.previous_policy_activated_at_ns.to_native(),
                previous_text,
            ),
            coming_policy: (coming_len > 0).then(|| ComingPolicy {
                id: PolicyId(head.coming_policy_id),
                text: coming.to_vec(),
            }),
            named,
        })
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// For a stream of which nothing was cut off, which has no such file.
    pub fn to_bytes(
        &self,
        purpose: Purpose,
        cluster_id: [u8; 16],
        shard: u16,
        key: &ChainKey,
    ) -> Vec<u8> {
        assert!(self.tail.segment > 0 && self.tail.next_lsn > 1, "something was cut off");
        assert!(self.changes.len() <= MAX_RECORDS, "an overlay has no more");
        let records: Vec<RecordHead> =
            self.changes.iter().map(|change| change.to_record(self.cut_at_ns)).collect();
        let policy = self.policy.as_ref();
        let text = policy.map_or(&[][..], |policy| &policy.text);
        let previous = self.previous_policy.as_ref();
        let previous_text = previous.map_or(&[][..], |policy| &policy.text);
        let coming = self.coming_policy.as_ref();
        let coming_text = coming.map_or(&[][..], |coming| &coming.text);
        let mut lists = Vec::new();
        for change in self.named.changes() {
            lists.extend_from_slice(&change.to_section());
        }
        let behind =
            [bytemuck::cast_slice(&records), text, previous_text, coming_text, &lists].concat();
        let mut head = LogStartHead::empty();
        head.magic = purpose.magic();
        head.shard = shard.into();
        head.segment = self.tail.segment.into();
        head.cluster_id = cluster_id;
        head.last_lsn = self.last_lsn().into();
        head.chain = self.tail.previous_chain;
        head.epoch = self.tail.epoch.into();
        head.record_count = (self.changes.len() as u32).into();
        head.sealed_at_ns = self.tail.sealed_at_ns.into();
        head.cut_at_ns = self.cut_at_ns.into();
        head.newest_event_ns = self.newest_event_ns.into();
        head.lowest_payer = (*self.payers.start()).into();
        head.highest_payer = (*self.payers.end()).into();
        head.snapshot_id = self.snapshot_id.into();
        head.policy_version = policy.map_or(0, |policy| policy.version).into();
        head.policy_len = (text.len() as u32).into();
        head.policy_activated_at_ns = policy.map_or(0, |policy| policy.activated_at_ns).into();
        head.previous_policy_version = previous.map_or(0, |policy| policy.version).into();
        head.previous_policy_len = (previous_text.len() as u32).into();
        head.previous_policy_activated_at_ns =
            previous.map_or(0, |policy| policy.activated_at_ns).into();
        head.coming_policy_len = (coming_text.len() as u32).into();
        head.coming_policy_id = coming.map_or([0; 32], |coming| coming.id.0);
        head.list_sequence = self.named.sequence().into();
        head.lists_len = (lists.len() as u32).into();
        head.check = check(purpose, &head, &behind, key);
        head.records_crc = crc32c::crc32c(&behind).into();
        head.head_crc = head.expected_crc().into();
        [bytemuck::bytes_of(&head), &behind].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::DocumentKey;
    use catraca_wire::extension::ChangedEntry;
    use catraca_wire::frame::Scope;
    use catraca_wire::list::{Author, ListKey, ListKeyKind, ListName, ListOp, ListReason};
    use catraca_wire::record::OverlayOp;

    const KEY: ChainKey = [3; 32];
    const CLUSTER: [u8; 16] = [9; 16];

    fn start(changes: u32) -> LogStart {
        let change = |number: u32| OverlayChange {
            document: DocumentKey::from_cpf_number(100_000_000 + number).expect("a number"),
            scope: Scope::Exact,
            op: [OverlayOp::List, OverlayOp::Unlist, OverlayOp::Allow { until_day: 20_700 }]
                [number as usize % 3],
            sequence: u64::from(number) + 1,
        };
        LogStart {
            tail: Tail {
                segment: 7,
                next_lsn: 1_001,
                previous_chain: [5; 32],
                epoch: 3,
                sealed_at_ns: 77,
                ..Tail::START
            },
            cut_at_ns: 1_000,
            newest_event_ns: 900,
            payers: 10..=20,
            snapshot_id: 0xabc,
            changes: (0..changes).map(change).collect(),
            policy: (changes != 1).then(|| PolicyText {
                version: 3,
                activated_at_ns: 44,
                id: PolicyId::of(b"a policy"),
                text: b"a policy"[..].into(),
            }),
            previous_policy: (changes > 1).then(|| PolicyText {
                version: 2,
                activated_at_ns: 33,
                id: PolicyId::of(b"another one"),
                text: b"another one"[..].into(),
            }),
            coming_policy: (changes > 1)
                .then(|| ComingPolicy { id: PolicyId([7; 32]), text: b"the beg".to_vec() }),
            named: if changes > 1 { named() } else { NamedLists::default() },
        }
    }

    /// A list with an entry, and an exemption.
    fn named() -> NamedLists {
        let mut named = NamedLists::default();
        let entries = vec![ChangedEntry { key: ListKey::of(7), value: -3, until_ns: 9 }];
        for (op, entries) in
            [(ListOp::Create, &vec![]), (ListOp::Set, &entries), (ListOp::Exempt, &entries)]
        {
            let change = ListChange {
                op,
                key_kind: ListKeyKind::Device,
                name: ListName::parse("devices").expect("a name"),
                sequence: named.sequence() + 1,
                changed_at_ns: 5,
                author: Author::EMPTY,
                reason: ListReason::parse("why").expect("a reason"),
                entries: entries.clone(),
            };
            named.apply(&change).expect("room");
        }
        named
    }

    #[test]
    fn what_was_written_before_there_was_a_policy_before_is_read() {
        let start = LogStart { previous_policy: None, named: NamedLists::default(), ..start(40) };
        let bytes = start.to_bytes(Purpose::Start, CLUSTER, 2, &KEY);
        let (first, behind) = bytes.split_first_chunk::<LOG_START_LEN>().expect("a head");
        let mut head: LogStartHead = *bytemuck::from_bytes(first);
        for (version, expected) in [
            (1, Ok(start.clone())),
            (2, Ok(start)),
            (0, Err(LogStartFault::Version(0))),
            (4, Err(LogStartFault::Version(4))),
        ] {
            head.format_version = version.into();
            head.check = check(Purpose::Start, &head, behind, &KEY);
            head.head_crc = head.expected_crc().into();
            let bytes = [bytemuck::bytes_of(&head), behind].concat();
            let read = LogStart::parse(Purpose::Start, &bytes, Some(CLUSTER), 2, Some(&KEY));
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for changes in [0, 1, 40] {
            let start = start(changes);
            let bytes = start.to_bytes(Purpose::Start, CLUSTER, 2, &KEY);
            for key in [Some(&KEY), None] {
                assert_eq!(
                    LogStart::parse(Purpose::Start, &bytes, Some(CLUSTER), 2, key),
                    Ok(start.clone())
                );
            }
            assert_eq!(LogStart::parse(Purpose::Start, &bytes, None, 2, None), Ok(start.clone()));
        }
    }

    #[test]
    fn whatever_is_altered_is_seen() {
        let bytes = start(3).to_bytes(Purpose::Start, CLUSTER, 2, &KEY);
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            for key in [Some(&KEY), None] {
                let read = LogStart::parse(Purpose::Start, &altered, Some(CLUSTER), 2, key);
                assert!(read.is_err(), "byte {at}: {read:?}");
            }
        }
        for len in 0..bytes.len() {
            assert!(
                LogStart::parse(Purpose::Start, &bytes[..len], None, 2, None).is_err(),
                "{len} bytes"
            );
        }
        assert!(
            LogStart::parse(Purpose::Start, &[&bytes[..], &[0]].concat(), None, 2, None).is_err()
        );
    }

    #[test]
    fn what_is_of_another_place_or_key_is_refused() {
        let bytes = start(3).to_bytes(Purpose::Start, CLUSTER, 2, &KEY);
        let other = LogStart::parse(Purpose::Start, &bytes, Some([8; 16]), 2, None);
        assert_eq!(other, Err(LogStartFault::OtherStream));
        assert_eq!(
            LogStart::parse(Purpose::Start, &bytes, None, 3, None),
            Err(LogStartFault::OtherStream)
        );
        let other = LogStart::parse(Purpose::Start, &bytes, None, 2, Some(&[4; 32]));
        assert_eq!(other, Err(LogStartFault::Check));
    }

    #[test]
    fn one_kind_of_file_is_not_taken_for_the_other() {
        let checkpoint = start(3).to_bytes(Purpose::Checkpoint, CLUSTER, 2, &KEY);
        let parse = |purpose, bytes: &[u8], key| LogStart::parse(purpose, bytes, None, 2, key);
        assert_eq!(parse(Purpose::Checkpoint, &checkpoint, Some(&KEY)), Ok(start(3)));
        assert_eq!(parse(Purpose::Start, &checkpoint, None), Err(LogStartFault::Head));
        // Also not with another magic and its check sum made right, by who lacks the key.
        let mut head: LogStartHead = *bytemuck::from_bytes(&checkpoint[..LOG_START_LEN]);
        head.magic = LOG_START_MAGIC;
        head.head_crc = head.expected_crc().into();
        let forged = [bytemuck::bytes_of(&head), &checkpoint[LOG_START_LEN..]].concat();
        assert_eq!(parse(Purpose::Start, &forged, Some(&KEY)), Err(LogStartFault::Check));
    }
}
