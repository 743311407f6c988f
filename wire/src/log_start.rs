//! The head of the file that says where a stream begins whose oldest segments were removed, and what
//! they amount to. LOG.md, "Where a stream begins", gives every byte.
//!
//! ```text
//! 0      256                        256 * (1 + record_count)
//! | head | record | record | ...    | text of the policy in force | of the one before | beginning of one that is coming | lists |
//! ```

use crate::block::Chain;
use crate::frame::{IntoWire, layout};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// First bytes of the file.
pub const LOG_START_MAGIC: [u8; 8] = *b"CATRLST\x01";
/// First bytes of a checkpoint, which is laid out likewise.
pub const CHECKPOINT_MAGIC: [u8; 8] = *b"CATRCKP\x01";
/// Version of its format. Version 1, which is read, too, holds no policy before the one in force, and version
/// 2 no named lists.
pub const LOG_START_VERSION: u16 = 3;
/// Length of its head, bytes.
pub const LOG_START_LEN: usize = 256;

layout! {
    /// The head of the file.
    LogStart as LogStartHead, 256; {
        /// [`LOG_START_MAGIC`], or [`CHECKPOINT_MAGIC`].
        magic: [u8; 8],
        /// [`LOG_START_VERSION`].
        format_version: u16,
        /// Stream.
        shard: u16,
        /// The first segment that is kept.
        segment: u32,
        /// Cluster that the log belongs to.
        cluster_id: [u8; 16],
        /// The last record that was cut off.
        last_lsn: u64,
        /// Chain value of the last block that was cut off: the first one kept continues it.
        chain: Chain,
        /// Epoch in which that block was written.
        epoch: u32,
        /// Number of records behind the head.
        record_count: u32,
        /// When that block was closed, nanoseconds since 1970 UTC.
        sealed_at_ns: u64,
        /// When the segments were cut off, nanoseconds since 1970 UTC.
        cut_at_ns: u64,
        /// The latest of the times of the transactions that were cut off, nanoseconds since 1970 UTC;
        /// 0 where there was none.
        newest_event_ns: u64,
        /// Their payers' positions lie from here.
        lowest_payer: u64,
        /// Their payers' positions lie up to here.
        highest_payer: u64,
        /// Id of the list that was loaded last; 0 none.
        snapshot_id: u64,
        /// Keyed BLAKE3 over the head, with this field and both check sums zero, the records and the text.
        check: [u8; 32],
        /// CRC32C of the records and the policy's text.
        records_crc: u32,
        /// Version of the policy in force; 0 none.
        policy_version: u32,
        /// Length of its text, bytes.
        policy_len: u32,
        /// When it was taken into use, nanoseconds since 1970 UTC.
        policy_activated_at_ns: u64,
        /// Length of what has come of a policy that is not whole, bytes; 0 none.
        coming_policy_len: u32,
        /// BLAKE3 of that policy's whole text; zeros without one.
        coming_policy_id: [u8; 32],
        /// Version of the policy that was in force before; 0 none, or none that is known.
        previous_policy_version: u32,
        /// Length of its text, bytes.
        previous_policy_len: u32,
        /// When it was taken into use, nanoseconds since 1970 UTC.
        previous_policy_activated_at_ns: u64,
        /// Changes of named lists and exemptions so far.
        list_sequence: u64,
        /// Length of the named lists and exemptions, bytes.
        lists_len: u32,
        /// 0.
        reserved: [u8; 8],
        /// CRC32C of these 256 bytes with this field zero.
        head_crc: u32,
    }
}

impl LogStartHead {
    /// A head of which magic and version alone are told.
    pub fn empty() -> Self {
        let mut head = Self::zeroed();
        head.magic = LOG_START_MAGIC;
        head.format_version = LOG_START_VERSION.into_wire();
        head
    }

    /// The check sum that the fields should have.
    pub fn expected_crc(&self) -> u32 {
        crc32c::crc32c(bytemuck::bytes_of(&Self { head_crc: 0.into(), ..*self }))
    }
}
