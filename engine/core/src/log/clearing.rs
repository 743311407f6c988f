//! In which order the blocks at a stream's end are zeroed, so that a crash at any moment leaves a
//! log that ends sound or torn.
//!
//! From the back, one block at a time, each durable before the next. Several at once would not do:
//! of one write any sectors may come first, and a block that is gone before a later one is damage,
//! which stops the node (LOG.md has the one exception).

/// Bytes to be zeroed, durably, before the next are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClearStep {
    /// Index of the segment.
    pub segment: u32,
    /// Where they begin, bytes.
    pub from: u64,
    /// Where they end, bytes, exclusive.
    pub to: u64,
}

/// Takes the blocks as they come in the log, gives them back in the order in which they are to be
/// zeroed.
#[derive(Debug, Clone, Default)]
pub struct Clearing {
    blocks: Vec<ClearStep>,
}

impl Clearing {
    /// The next block of the log.
    pub fn block(&mut self, segment: u32, from: u64, len: u64) {
        debug_assert!(
            self.blocks.last().is_none_or(|last| (last.segment, last.to) <= (segment, from))
        );
        self.blocks.push(ClearStep { segment, from, to: from + len });
    }
}

impl Iterator for Clearing {
    type Item = ClearStep;

    fn next(&mut self) -> Option<ClearStep> {
        self.blocks.pop()
    }
}
