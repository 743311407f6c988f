//! An input read as a program: numbers and pieces, one after the other. Behind its end there are
//! zeros, so that every input means something.

/// What is left of an input.
#[derive(Debug, Clone)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Up to `len` bytes, as far as there are.
    pub fn piece(&mut self, len: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }

    pub fn byte(&mut self) -> u8 {
        self.piece(1).first().copied().unwrap_or(0)
    }

    /// Four bytes, little-endian.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let piece = self.piece(4);
        bytes[..piece.len()].copy_from_slice(piece);
        u64::from_le_bytes(bytes)
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.number() as usize % end
    }
}

/// Spoils bytes as a program says: bits flipped, stretches overwritten, moved, cut off, put in.
/// They grow by no more than the input has bytes.
pub fn spoil(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    while !input.is_empty() && !bytes.is_empty() {
        let kind = input.byte();
        let at = input.below(bytes.len());
        match kind % 6 {
            0 => bytes[at] ^= 1 << (kind / 6 % 8),
            1 => {
                let len = usize::from(input.byte());
                for (to, from) in bytes[at..].iter_mut().zip(input.piece(len)) {
                    *to = *from;
                }
            }
            2 => {
                let (len, value) = (input.below(1 << 14), input.byte());
                let end = (at + len).min(bytes.len());
                bytes[at..end].fill(value);
            }
            3 => {
                // Whole pages, as a disk or a copying tool would lose or repeat them.
                let page = |at: usize| at / 4096 * 4096;
                let (from, to) = (page(at), page(input.below(bytes.len())));
                let len = ((1 + input.below(4)) * 4096).min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + len, to);
            }
            4 => bytes.truncate(at),
            _ => {
                let len = usize::from(input.byte());
                let piece = input.piece(len).iter().copied();
                drop(bytes.splice(at..at, piece));
            }
        }
    }
}
