//! What can be wrong with a log, by name: what was lost without harm, and what must stop a node.
//!
//! Only values and sentences live here. LOG.md, "Recovery", gives the reason behind each.

use std::fmt;

/// A place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Index of the segment.
    pub segment: u32,
    /// Bytes from the segment file's start.
    pub offset: u64,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}

/// The rest of a write that never finished: bytes behind the last sound block that belong to no
/// block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Index of the segment that holds them.
    pub segment: u32,
    /// Where they begin, bytes; a multiple of 4096.
    pub from: u64,
    /// Where they end, bytes, exclusive; a multiple of 4096.
    pub to: u64,
    /// What they are.
    pub reason: TornReason,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offsets {} to {}: {}", self.segment, self.from, self.to, self.reason)
    }
}

/// Why bytes behind the last sound block are no part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TornReason {
    /// The first sector was never written, later ones were.
    #[error("a block whose first sector was never written")]
    HeadNotWritten,
    /// The head was written, some sectors behind it were not.
    #[error("a block of which sectors were never written")]
    SectorsNotWritten,
    /// Several blocks of one write, of which sectors were never written.
    #[error("several blocks of one write, of which sectors were never written")]
    BlocksNotWritten,
    /// The bytes of this place belong to a block that was here before.
    #[error("a stale block of earlier use ({0})")]
    Stale(Stale),
}

/// What makes a sound block no part of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// It names another cluster.
    #[error("of another cluster")]
    Cluster,
    /// It names another stream.
    #[error("of stream {0}")]
    Shard(u16),
    /// Its records have been numbered already.
    #[error("with sequence number {0}, which came before")]
    Lsn(u64),
}

/// Something that dropping bytes must not repair: an answered decision may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub at: Spot,
    /// What.
    pub reason: DamageReason,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.reason)
    }
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageReason {
    /// A number in the sequence of segment files is missing.
    #[error("the segment file is missing although later ones exist")]
    SegmentMissing,
    /// The file has no bytes.
    #[error("the segment file is empty")]
    SegmentEmpty,
    /// The file is shorter or longer than its head says.
    #[error("the segment file has {have} bytes where {want} belong")]
    SegmentLength {
        /// Bytes of the file.
        have: u64,
        /// Bytes that it should have.
        want: u64,
    },
    /// Magic, check sum or fields of the segment's head are wrong.
    #[error("the segment's head is unsound")]
    SegmentHead,
    /// The head is sound but of a format this build does not know.
    #[error(
        "the segment has log format version {0}, which this build does not know; use the build that wrote it, or a newer one"
    )]
    SegmentVersion(u16),
    /// The segment is another cluster's.
    #[error("the segment belongs to another cluster")]
    SegmentCluster,
    /// The segment is another stream's.
    #[error("the segment belongs to stream {0}")]
    SegmentShard(u16),
    /// The segment has another place in the stream.
    #[error("the segment says that it is number {0} of its stream")]
    SegmentIndex(u32),
    /// Something stands where a segment's head is padded with zeros.
    #[error("the zeros behind the segment's head were altered")]
    SegmentPadding,
    /// Magic, check sum or fields of a block's head are wrong: as it lies in one sector, it can't
    /// be torn.
    #[error("the block's head is unsound")]
    BlockHead,
    /// The head is sound but of a format this build does not know.
    #[error(
        "the block has log format version {0}, which this build does not know; use the build that wrote it, or a newer one"
    )]
    BlockVersion(u16),
    /// The block would reach over the end of its segment.
    #[error("the block reaches over the end of its segment")]
    BlockSpansSegments,
    /// Records are missing before this block.
    #[error(
        "records are missing: the block begins with sequence number {found}, {expected} was expected"
    )]
    Gap {
        /// What should come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Epochs never fall along a stream.
    #[error("the epoch went back from {before} to {found}")]
    EpochWentBack {
        /// Of the block before.
        before: u32,
        /// Of this block.
        found: u32,
    },
    /// The block does not follow the block before it.
    #[error(
        "the block's link does not match the block before: one of them was altered, or blocks were exchanged"
    )]
    ChainLink,
    /// All sectors were written, but the records are not those that were sealed.
    #[error(
        "the records do not match their check sum though every sector was written: bit rot, or altered"
    )]
    PayloadRot,
    /// The check sums are right, the keyed value is not.
    #[error("the block's chain value is wrong: altered, or written with another key")]
    ChainValue,
    /// A record that can't be.
    #[error("the record with sequence number {lsn} is malformed: {what}")]
    Record {
        /// The number that the record should have.
        lsn: u64,
        /// What is wrong with it.
        what: RecordFault,
    },
    /// Something stands where the block is padded with zeros.
    #[error("the zeros behind the block's records were altered")]
    BlockPadding,
    /// No block where one must have been, because a later one exists.
    #[error("a block was zeroed or lost here: a later block of the log stands at {found}")]
    LostBlock {
        /// The later block.
        found: Spot,
    },
    /// A torn block, but not the last one.
    #[error("an incomplete block stands here, yet a later block of the log stands at {found}")]
    TornButContinued {
        /// The later block.
        found: Spot,
    },
    /// A stale block, but the log goes on behind it.
    #[error("a stale block stands here, yet a later block of the log stands at {found}")]
    StaleButContinued {
        /// The later block.
        found: Spot,
    },
    /// Bytes where neither a block nor the rest of one torn write can be.
    #[error("bytes at {found}, where one interrupted write can't have left any")]
    Remains {
        /// The bytes.
        found: Spot,
    },
    /// The segment is packed, and the packed file is unsound. The offset is one of that file.
    #[error("packed segment: {0}")]
    Packed(PackFault),
}

/// What is wrong with a packed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackFault {
    /// It is shorter or longer than its head says, or shorter than a head.
    #[error("the file has {have} bytes where {want} belong")]
    Length {
        /// Bytes of the file.
        have: u64,
        /// Bytes that it should have.
        want: u64,
    },
    /// Magic, check sum or fields of its head are wrong.
    #[error("its head is unsound")]
    Head,
    /// The head is sound but of a format this build does not know.
    #[error(
        "its format has version {0}, which this build does not know; use the build that wrote it, or a newer one"
    )]
    Version(u16),
    /// The check sum of its table is wrong, or what the table says can't be.
    #[error("its table of frames is unsound")]
    Table,
    /// A frame's bytes are not those that were written.
    #[error("the frame does not match its check sum: bit rot, or altered")]
    Frame,
    /// A frame whose bytes are those that were written can't be unpacked to what its entry says.
    #[error("the frame can't be unpacked")]
    Unpacking,
    /// What was unpacked is not the blocks that head and table announce.
    #[error("the frame holds other blocks than were announced")]
    Blocks,
    /// Behind its last block stands the rest of a write: only whole segments are packed.
    #[error("it is not of a whole segment")]
    NotWhole,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The payload ends inside it, or goes on behind the last.
    #[error("records and payload do not end together")]
    Length,
    /// A kind that this build does not know.
    #[error("kind {0}, which this build does not know")]
    Kind(u8),
    /// A layout that this build does not know.
    #[error("record version {0}, which this build does not know")]
    Version(u8),
    /// Longer than allowed, or no multiple of 8.
    #[error("extension of {0} bytes")]
    Extension(u16),
    /// Not the number that follows the record before.
    #[error("numbered {0}")]
    Lsn(u64),
}
