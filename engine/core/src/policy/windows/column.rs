//! Cells of a window's buckets, as bytes within a key's entry.

/// Cells of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub at: usize,
    /// 2, 4 or 6 bytes.
    pub cell_len: usize,
}

impl Column {
    /// What a cell holds at most. A cell that holds it may stand for more.
    pub const fn limit(self) -> u64 {
        (1 << (8 * self.cell_len)) - 1
    }

    #[inline]
    pub fn get(self, entry: &[u8], slot: u32) -> u64 {
        let at = self.at + slot as usize * self.cell_len;
        // A copy of a length that is known is one instruction.
        match self.cell_len {
            2 => cell::<2>(entry, at),
            4 => cell::<4>(entry, at),
            _ => cell::<6>(entry, at),
        }
    }

    #[inline]
    pub fn set(self, entry: &mut [u8], slot: u32, value: u64) {
        let at = self.at + slot as usize * self.cell_len;
        let value = value.min(self.limit());
        match self.cell_len {
            2 => set_cell::<2>(entry, at, value),
            4 => set_cell::<4>(entry, at, value),
            _ => set_cell::<6>(entry, at, value),
        }
    }

    /// The sum of so many cells of a ring of `slots`, from a slot on, and whether one is at its limit.
    #[inline]
    pub fn total(self, entry: &[u8], from: u32, count: u32, slots: u32) -> (u64, bool) {
        match self.cell_len {
            2 => self.total_of::<2>(entry, from, count, slots),
            4 => self.total_of::<4>(entry, from, count, slots),
            _ => self.total_of::<6>(entry, from, count, slots),
        }
    }

    #[inline]
    fn total_of<const LEN: usize>(
        self,
        entry: &[u8],
        from: u32,
        count: u32,
        slots: u32,
    ) -> (u64, bool) {
        let cells = &entry[self.at..self.at + slots as usize * LEN];
        let up_to_end = count.min(slots - from) as usize;
        let (begin, from) = (count as usize - up_to_end, from as usize);
        let (one, at_limit) = self.sum_of::<LEN>(&cells[from * LEN..(from + up_to_end) * LEN]);
        let (other, other_at_limit) = self.sum_of::<LEN>(&cells[..begin * LEN]);
        (one + other, at_limit | other_at_limit)
    }

    #[inline]
    fn sum_of<const LEN: usize>(self, cells: &[u8]) -> (u64, bool) {
        let limit = self.limit();
        cells.chunks_exact(LEN).fold((0, false), |(sum, at_limit), bytes| {
            let cell = cell::<LEN>(bytes, 0);
            (sum + cell, at_limit | (cell == limit))
        })
    }
}

#[inline]
fn cell<const LEN: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word[..LEN].copy_from_slice(&bytes[at..at + LEN]);
    u64::from_le_bytes(word)
}

#[inline]
fn set_cell<const LEN: usize>(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + LEN].copy_from_slice(&value.to_le_bytes()[..LEN]);
}
