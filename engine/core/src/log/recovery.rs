//! Recovery: from the bytes of a stream's segments to where its log ends, and whether that end can
//! be trusted.
//!
//! Pure: no I/O, no clock, no allocation. [`walk_segment`] judges one segment, [`Recovery`] a
//! stream of them. The rules and the assumptions about the medium that they rest on are in LOG.md,
//! "Recovery"; the short form: what lacks sectors and has nothing sound behind it was never
//! acknowledged and may be dropped, everything else that is not a sound block stops the node. Of a
//! standby that catches up, several blocks may be one write ([`LastWrite::Blocks`]), and sound ones
//! stand behind a hole in it.

use super::check::{self, Identity, SoundBlock, Stop, Tail};
use super::damage::{Damage, DamageReason, Spot, Torn, TornReason};
use catraca_wire::block::{BLOCK_ALIGN, ChainKey, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN};
use std::ops::ControlFlow;

/// What takes each sound block, in order; `Break` ends the walk.
pub type Visitor<'v> = dyn FnMut(&SoundBlock<'_>) -> ControlFlow<()> + 'v;

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentEnd {
    /// Zeros, or nothing, behind the last block.
    Clean {
        /// Where the last block ends, bytes.
        end_offset: u64,
    },
    /// The rest of a write that never finished.
    TornTail(Torn),
    /// Must not be repaired by dropping bytes.
    Damaged(Damage),
    /// The visitor had enough.
    Stopped,
}

/// What the one write that may have been under way was made of: at most 1 MiB ([`MAX_BLOCK_LEN`])
/// in one segment either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastWrite {
    /// One block: whatever has a sound block behind it was durable.
    #[default]
    Block,
    /// One block or several, as a standby writes them while it catches up: a hole in it may have
    /// sound blocks behind it.
    Blocks,
}

/// One segment to walk.
#[derive(Debug, Clone, Copy)]
pub struct SegmentWalk<'a> {
    /// The file's bytes from its start; what is missing up to `segment_len` counts as never
    /// written.
    pub bytes: &'a [u8],
    /// Length that the file should have, bytes: a multiple of 4096.
    pub segment_len: u64,
    /// Index of the segment.
    pub segment: u32,
    /// Where the first block is expected, bytes: a multiple of 4096.
    pub start: u64,
    /// Cluster that the blocks must name.
    pub cluster_id: [u8; 16],
    /// Stream that the blocks must name.
    pub shard: u16,
    /// Key of the chain; without it channels are checked, values are not.
    pub key: Option<&'a ChainKey>,
    /// What may be unfinished at the end.
    pub last_write: LastWrite,
}

/// Walks the blocks of one segment from where `tail` stands, moves `tail` over each sound one and
/// shows it to the visitor. Says nothing of the segment's head, nor of other segments.
pub fn walk_segment(
    walk: &SegmentWalk<'_>,
    tail: &mut Tail,
    visitor: &mut Visitor<'_>,
) -> SegmentEnd {
    let segment_len = usize::try_from(walk.segment_len).unwrap_or(usize::MAX);
    let bytes = &walk.bytes[..walk.bytes.len().min(segment_len)];
    let identity = Identity { cluster_id: walk.cluster_id, shard: walk.shard };
    let mut offset = usize::try_from(walk.start).unwrap_or(usize::MAX).min(segment_len);
    loop {
        match check::block_at(bytes, segment_len, offset, walk.segment, &identity, tail, walk.key) {
            Ok(block) => {
                *tail = Tail::after(&block);
                offset += block.head.padded_len();
                if visitor(&block).is_break() {
                    return SegmentEnd::Stopped;
                }
            }
            Err(stop) => {
                let end = judge(stop, bytes, offset, walk.segment, &identity, tail);
                return if walk.last_write == LastWrite::Blocks {
                    unfinished_blocks(end, bytes, walk.segment)
                } else {
                    end
                };
            }
        }
    }
}

/// What a place without a sound block means, given what lies behind it in the segment.
fn judge(
    stop: Stop,
    bytes: &[u8],
    offset: usize,
    segment: u32,
    identity: &Identity,
    tail: &Tail,
) -> SegmentEnd {
    let from = offset as u64;
    let spot = |offset| Spot { segment, offset };
    let damaged = |reason| SegmentEnd::Damaged(Damage { at: spot(from), reason });
    let torn = |to, reason| SegmentEnd::TornTail(Torn { segment, from, to, reason });
    let continued_behind =
        |len: usize| check::continuation(bytes, offset + len, identity, tail.next_lsn).map(spot);
    let end_of_remains = check::end_of_remains(bytes, offset);
    match stop {
        Stop::Full => SegmentEnd::Clean { end_offset: from },
        Stop::Damaged(reason) => damaged(reason),
        Stop::ZeroHead => {
            let Some(to) = end_of_remains else { return SegmentEnd::Clean { end_offset: from } };
            if let Some(found) = continued_behind(BLOCK_ALIGN) {
                damaged(DamageReason::LostBlock { found })
            } else if to > from + MAX_BLOCK_LEN as u64 {
                damaged(DamageReason::Remains { found: spot(to - BLOCK_ALIGN as u64) })
            } else {
                torn(to, TornReason::HeadNotWritten)
            }
        }
        Stop::Incomplete { len } => {
            if let Some(found) = continued_behind(len) {
                damaged(DamageReason::TornButContinued { found })
            } else if let Some(found) = check::first_remains(bytes, offset + len) {
                damaged(DamageReason::Remains { found: spot(found) })
            } else {
                torn(
                    end_of_remains.unwrap_or(from + BLOCK_ALIGN as u64),
                    TornReason::SectorsNotWritten,
                )
            }
        }
        Stop::Stale(stale) => match continued_behind(BLOCK_ALIGN) {
            Some(found) => damaged(DamageReason::StaleButContinued { found }),
            None => {
                torn(end_of_remains.unwrap_or(from + BLOCK_ALIGN as u64), TornReason::Stale(stale))
            }
        },
    }
}

/// Where the last write was of several blocks: a hole is the rest of it, if nothing stands farther
/// behind than one write reaches.
fn unfinished_blocks(end: SegmentEnd, bytes: &[u8], segment: u32) -> SegmentEnd {
    let SegmentEnd::Damaged(Damage { at, reason }) = end else { return end };
    let (DamageReason::LostBlock { .. }
    | DamageReason::TornButContinued { .. }
    | DamageReason::StaleButContinued { .. }
    | DamageReason::Remains { .. }) = reason
    else {
        return end;
    };
    let from = at.offset;
    let to = usize::try_from(from).ok().and_then(|from| check::end_of_remains(bytes, from));
    match to.filter(|to| to - from <= MAX_BLOCK_LEN as u64) {
        Some(to) => {
            SegmentEnd::TornTail(Torn { segment, from, to, reason: TornReason::BlocksNotWritten })
        }
        None => end,
    }
}

/// Recovery of one stream: takes its segments in order, then tells how the stream ends.
#[derive(Debug, Clone)]
pub struct Recovery<'k> {
    shard: u16,
    cluster_id: Option<[u8; 16]>,
    key: Option<&'k ChainKey>,
    last_write: LastWrite,
    next_segment: u32,
    tail: Tail,
    torn: Option<Torn>,
    counts: Counts,
}

/// What a recovery went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sound blocks.
    pub blocks: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them, heads and padding included.
    pub bytes: u64,
}

impl<'k> Recovery<'k> {
    /// From the first block of a stream. `cluster_id` `None` takes the cluster that the first
    /// segment names.
    pub fn new(cluster_id: Option<[u8; 16]>, shard: u16, key: Option<&'k ChainKey>) -> Self {
        Self::resume(cluster_id, shard, key, Tail::START)
    }

    /// From where an earlier recovery stood: the first segment to feed is `tail.segment`.
    pub fn resume(
        cluster_id: Option<[u8; 16]>,
        shard: u16,
        key: Option<&'k ChainKey>,
        tail: Tail,
    ) -> Self {
        let (next_segment, last_write) = (tail.segment, LastWrite::Block);
        Self {
            shard,
            cluster_id,
            key,
            last_write,
            next_segment,
            tail,
            torn: None,
            counts: Counts::default(),
        }
    }

    /// With another last write than one block.
    #[must_use]
    pub fn with_last_write(self, last_write: LastWrite) -> Self {
        Self { last_write, ..self }
    }

    /// Takes the next segment. Each sound block goes to the visitor before it is known how the
    /// segment ends.
    ///
    /// # Errors
    /// The first damage; nothing may be fed after it.
    pub fn feed(
        &mut self,
        segment: u32,
        bytes: &[u8],
        visitor: &mut Visitor<'_>,
    ) -> Result<ControlFlow<()>, Damage> {
        let at = |offset, reason| Damage { at: Spot { segment, offset }, reason };
        if segment != self.next_segment {
            return Err(Damage {
                at: Spot { segment: self.next_segment, offset: 0 },
                reason: DamageReason::SegmentMissing,
            });
        }
        let head = check::segment_head(bytes, self.cluster_id, self.shard, segment)
            .map_err(|reason| at(0, reason))?;
        self.cluster_id = Some(head.cluster_id);
        let segment_len = head.segment_len.to_native();
        let in_use = &bytes[..bytes.len().min(usize::try_from(segment_len).unwrap_or(usize::MAX))];
        let start =
            if segment == self.tail.segment { self.tail.offset } else { SEGMENT_HEAD_LEN as u64 };
        let walk = SegmentWalk {
            bytes: in_use,
            segment_len,
            segment,
            start,
            cluster_id: head.cluster_id,
            shard: self.shard,
            key: self.key,
            last_write: self.last_write,
        };

        let flow = match self.torn {
            Some(torn) => self.nothing_behind(&torn, &walk).map(|()| ControlFlow::Continue(()))?,
            None => self.walk(&walk, visitor)?,
        };
        if flow.is_continue() && bytes.len() as u64 != segment_len {
            let have = bytes.len() as u64;
            return Err(at(
                have.min(segment_len),
                DamageReason::SegmentLength { have, want: segment_len },
            ));
        }
        self.next_segment += 1;
        Ok(flow)
    }

    fn walk(
        &mut self,
        walk: &SegmentWalk<'_>,
        visitor: &mut Visitor<'_>,
    ) -> Result<ControlFlow<()>, Damage> {
        let before = Spot { segment: self.tail.segment, offset: self.tail.offset };
        let counts = &mut self.counts;
        let mut first = true;
        let end = walk_segment(walk, &mut self.tail, &mut |block| {
            first = false;
            counts.blocks += 1;
            counts.records += u64::from(block.head.record_count.to_native());
            counts.bytes += block.head.padded_len() as u64;
            visitor(block)
        });
        match end {
            SegmentEnd::Clean { .. } => Ok(ControlFlow::Continue(())),
            SegmentEnd::Stopped => Ok(ControlFlow::Break(())),
            // The one write that may be in flight goes behind the last block, or to the start of
            // the segment after it.
            SegmentEnd::TornTail(torn) if torn.segment > self.tail.segment + 1 => {
                let found = Spot { segment: torn.segment, offset: torn.from };
                Err(Damage { at: found, reason: DamageReason::Remains { found } })
            }
            SegmentEnd::TornTail(torn) => {
                self.torn = Some(torn);
                Ok(ControlFlow::Continue(()))
            }
            // Zeros end the segment before, but the log goes on here with a gap: the loss is there,
            // not here.
            SegmentEnd::Damaged(Damage { at, reason: DamageReason::Gap { .. } })
                if first && walk.segment > before.segment =>
            {
                Err(Damage { at: before, reason: DamageReason::LostBlock { found: at } })
            }
            SegmentEnd::Damaged(damage) => Err(damage),
        }
    }

    /// Holds a segment behind a torn tail to being unused.
    fn nothing_behind(&self, torn: &Torn, walk: &SegmentWalk<'_>) -> Result<(), Damage> {
        let start = SEGMENT_HEAD_LEN;
        let identity = Identity { cluster_id: walk.cluster_id, shard: walk.shard };
        let spot = |offset| Spot { segment: walk.segment, offset };
        if let Some(found) =
            check::continuation(walk.bytes, start, &identity, self.tail.next_lsn).map(spot)
        {
            let reason = match torn.reason {
                TornReason::HeadNotWritten => DamageReason::LostBlock { found },
                TornReason::SectorsNotWritten | TornReason::BlocksNotWritten => {
                    DamageReason::TornButContinued { found }
                }
                TornReason::Stale(_) => DamageReason::StaleButContinued { found },
            };
            return Err(Damage { at: Spot { segment: torn.segment, offset: torn.from }, reason });
        }
        match check::first_remains(walk.bytes, start).map(spot) {
            Some(found) => Err(Damage { at: found, reason: DamageReason::Remains { found } }),
            None => Ok(()),
        }
    }

    /// Where the stream stands behind the last sound block so far.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The cluster, once known.
    pub fn cluster_id(&self) -> Option<[u8; 16]> {
        self.cluster_id
    }

    /// What it went over so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Segments taken so far, counted from the stream's first.
    pub fn segments(&self) -> u32 {
        self.next_segment
    }

    /// What is to be zeroed behind the tail, after all segments were taken. `None`: the stream ends
    /// clean.
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// The segments before this place were removed while the stream was read: goes on there.
    pub fn go_on_at(&mut self, tail: Tail) {
        self.tail = tail;
        self.look_again();
    }

    /// Forgets what was judged of the bytes behind the tail, to look at them again: on a running
    /// node they change.
    pub fn look_again(&mut self) {
        self.next_segment = self.tail.segment;
        self.torn = None;
    }
}
