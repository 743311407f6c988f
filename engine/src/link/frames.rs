//! Whole frames out of bytes that come in pieces. No I/O: whoever reads puts the bytes in.

use catraca_wire::replication::{LINK_HEAD_LEN, LinkError, LinkKind, check_head};
use std::ops::Range;

/// Bytes read at once: a large block, or many small ones.
pub const BUFFER_LEN: usize = 2 * 1024 * 1024;

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
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes that the next frame takes, as far as they are known.
    want: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER_LEN].into_boxed_slice(), start: 0, end: 0, want: LINK_HEAD_LEN }
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
        let have = &self.buffer[self.start..self.end];
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
        &self.buffer[found.bytes.clone()]
    }

    /// Where more bytes go, once [`Self::find`] has found no whole frame: never nothing, because the largest frame fits.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start + self.want > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put there.
    pub fn filled(&mut self, len: usize) {
        self.end += len;
        assert!(self.end <= self.buffer.len(), "more bytes than there was room for");
    }
}
