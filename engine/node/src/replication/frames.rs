//! Whole frames out of bytes that come in pieces. No I/O: whoever reads puts the bytes in.

use crate::pages::Pages;
use catraca_wire::block::{BLOCK_ALIGN, MAX_BLOCK_LEN};
use catraca_wire::replication::{
    BlockPrefaceFields, LINK_HEAD_LEN, LinkError, LinkKind, check_head,
};
use std::ops::Range;

/// Bytes read at once: a large block, or many small ones.
pub const BUFFER_LEN: usize = 2 * 1024 * 1024;
/// Where the first frame in the buffer begins: so that a block, which comes behind its preface,
/// lies as direct I/O wants it.
const FIRST: usize = BLOCK_ALIGN - size_of::<BlockPrefaceFields>();

const _: () = assert!(
    FIRST + size_of::<BlockPrefaceFields>() + MAX_BLOCK_LEN <= BUFFER_LEN,
    "the largest frame fits"
);

/// A whole frame, until the next one is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: LinkKind,
    bytes: Range<usize>,
}

/// A buffer between a socket and whoever takes frames.
#[derive(Debug)]
pub struct Frames {
    buffer: Pages,
    start: usize,
    end: usize,
    /// Bytes that the next frame takes, as far as they are known.
    want: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { buffer: Pages::new(BUFFER_LEN), start: FIRST, end: FIRST, want: LINK_HEAD_LEN }
    }
}

impl Frames {
    /// Looks for a whole frame among what has come; `None` while there is none.
    ///
    /// # Errors
    /// [`LinkError`]; nothing that comes later means anything then.
    pub fn find(&mut self) -> Result<Option<Found>, LinkError> {
        let found = self.peek()?;
        if let Some(found) = &found {
            self.start = found.bytes.end;
        }
        Ok(found)
    }

    /// The same, and leaves it there.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn peek(&mut self) -> Result<Option<Found>, LinkError> {
        let have = &self.buffer.bytes()[self.start..self.end];
        self.want = LINK_HEAD_LEN;
        if let Some(head) = have.get(..LINK_HEAD_LEN) {
            let (kind, length) = check_head(bytemuck::from_bytes(head))?;
            if have.len() >= length {
                return Ok(Some(Found { kind, bytes: self.start..self.start + length }));
            }
            self.want = length;
        }
        Ok(None)
    }

    /// The bytes of the frame that was found last.
    pub fn bytes(&self, found: &Found) -> &[u8] {
        &self.buffer.bytes()[found.bytes.clone()]
    }

    /// What has come and was not found to be a whole frame.
    pub fn rest(&self) -> &[u8] {
        &self.buffer.bytes()[self.start..self.end]
    }

    /// Where more bytes go, once [`Self::find`] has found no whole frame: never nothing, because
    /// the largest frame fits.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (FIRST, FIRST);
        } else if self.start + self.want > BUFFER_LEN {
            self.buffer.bytes_mut().copy_within(self.start..self.end, FIRST);
            (self.start, self.end) = (FIRST, FIRST + self.end - self.start);
        }
        &mut self.buffer.bytes_mut()[self.end..]
    }

    /// The same, and no more than the next frame takes, as far as that is known: so that the one
    /// after it begins in the right place.
    pub fn room_for_one(&mut self) -> &mut [u8] {
        let missing = self.want - (self.end - self.start);
        &mut self.room()[..missing]
    }

    /// So many bytes were put there.
    pub fn filled(&mut self, len: usize) {
        self.end += len;
        assert!(self.end <= BUFFER_LEN, "more bytes than there was room for");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::is_aligned;
    use catraca_wire::replication::LinkHeadFields;

    #[test]
    fn blocks_that_are_read_alone_lie_as_the_disk_wants_them() {
        let lens = [4096, MAX_BLOCK_LEN, 8192, 4096];
        let mut bytes = Vec::new();
        for len in lens {
            let mut preface = BlockPrefaceFields::empty(0, 1);
            preface.head =
                LinkHeadFields::new(LinkKind::Block, size_of::<BlockPrefaceFields>() + len, 0, 1);
            bytes.extend_from_slice(bytemuck::bytes_of(&preface));
            bytes.resize(bytes.len() + len, 7);
        }
        let (mut frames, mut rest, mut reads) = (Frames::default(), &bytes[..], 0);
        for len in lens {
            let found = loop {
                if let Some(found) = frames.find().expect("sound") {
                    break found;
                }
                let room = frames.room_for_one();
                let (read, behind) = rest.split_at(room.len());
                room.copy_from_slice(read);
                frames.filled(read.len());
                (rest, reads) = (behind, reads + 1);
            };
            let block = &frames.bytes(&found)[size_of::<BlockPrefaceFields>()..];
            assert_eq!(block.len(), len);
            assert!(is_aligned(block), "{len}");
        }
        assert_eq!((rest.len(), reads), (0, 2 * lens.len()));
    }
}
