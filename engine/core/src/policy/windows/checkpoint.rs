//! The state of windows as bytes, and what tells whether two states are the same.
//!
//! ```text
//! version 4 | values asked 4 | late 8 | 16 for each value that is asked
//! each table: keys 8 | slots 8 | free 8 | hand 8 | let go 8 | horizon 8 | used, a bit for each key
//!             | free slots, 8 each | entries of all slots
//! BLAKE3 of all before 32
//! ```
//!
//! All numbers are little-endian. The index is left out: it follows from the keys of the entries, and nothing
//! but where they are looked for depends on it.

use super::spec::{Asked, Function, Span, Subject, WindowsFault};
use super::table::{KeyTable, keys_let_go};
use super::{Windows, layout};
use thiserror::Error;

/// Rises with every change of what is written, cells of entries included.
const VERSION: u32 = 1;
const ASKED_LEN: usize = 16;
/// Keys, slots, free, hand, let go, horizon.
const TABLE_HEAD: usize = 6;

/// A digest of a state: [`Windows::digest`].
pub type Digest = [u8; blake3::OUT_LEN];

/// Why a checkpoint is not taken. The windows are then as though there had been none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointFault {
    /// There can't be such windows.
    #[error(transparent)]
    Windows(#[from] WindowsFault),
    /// Other values are asked now, or it was written by another version.
    #[error("the checkpoint is of other windows")]
    Other,
    /// A subject has another number of keys now.
    #[error("the checkpoint is of {keys} keys")]
    Keys {
        /// How many it had.
        keys: u64,
    },
    /// Bytes are missing, changed or too many.
    #[error("the checkpoint is damaged")]
    Damaged,
}

impl Windows {
    /// A digest of the whole state, with what the next keys to go depend on. After the same payments it is
    /// the same on every machine. Reads all entries.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        self.parts(|bytes| {
            hasher.update(bytes);
        });
        hasher.finalize().into()
    }

    /// Gives the state piece by piece; [`Self::from_checkpoint`] reads all of them together. It ends with its
    /// digest.
    pub fn write(&self, mut part: impl FnMut(&[u8])) {
        self.parts(&mut part);
        part(&self.digest());
    }

    /// Windows with the state that was written, of which the same is asked and which have as many keys:
    /// see [`Self::new`].
    ///
    /// # Errors
    /// The bytes are not such a state.
    pub fn from_checkpoint(
        asked: &[Asked],
        keys: [usize; Subject::COUNT],
        bytes: &[u8],
    ) -> Result<Self, CheckpointFault> {
        let mut windows = Self::new(asked, keys)?;
        let (mut rest, digest) =
            bytes.split_last_chunk::<{ blake3::OUT_LEN }>().ok_or(CheckpointFault::Damaged)?;
        if blake3::hash(rest).as_bytes() != digest {
            return Err(CheckpointFault::Damaged);
        }
        if take(&mut rest, 8)? != windows.head() {
            return Err(CheckpointFault::Other);
        }
        windows.late = take_u64(&mut rest)?;
        for asked in &windows.asked {
            if take(&mut rest, ASKED_LEN)? != encode(asked) {
                return Err(CheckpointFault::Other);
            }
        }
        for (_, table) in &mut windows.tables {
            table.restore(&mut rest)?;
        }
        if rest.is_empty() { Ok(windows) } else { Err(CheckpointFault::Damaged) }
    }

    fn head(&self) -> [u8; 8] {
        (u64::from(VERSION) | (self.asked.len() as u64) << 32).to_le_bytes()
    }

    /// All of the state, piece by piece.
    fn parts(&self, mut part: impl FnMut(&[u8])) {
        part(&self.head());
        part(&self.late.to_le_bytes());
        self.asked.iter().for_each(|asked| part(&encode(asked)));
        for (_, table) in &self.tables {
            table.parts(&mut part);
        }
    }
}

impl KeyTable {
    fn parts(&self, part: &mut impl FnMut(&[u8])) {
        let head: [u64; TABLE_HEAD] = [
            self.capacity() as u64,
            self.slots as u64,
            self.free.len() as u64,
            self.hand as u64,
            self.evicted,
            self.horizon_s.into(),
        ];
        for word in head.iter().chain(&self.used) {
            part(&word.to_le_bytes());
        }
        for slot in &self.free {
            part(&u64::from(*slot).to_le_bytes());
        }
        part(bytemuck::cast_slice(&self.entries[..self.slots * self.words]));
    }

    fn restore(&mut self, rest: &mut &[u8]) -> Result<(), CheckpointFault> {
        let mut head = [0; TABLE_HEAD];
        for word in &mut head {
            *word = take_u64(rest)?;
        }
        let [keys, slots, free, hand, evicted, horizon_s] = head;
        if keys != self.capacity() as u64 {
            return Err(CheckpointFault::Keys { keys });
        }
        if slots > keys || hand >= keys || free > slots.min(keys_let_go(keys as usize) as u64) {
            return Err(CheckpointFault::Damaged);
        }
        for word in &mut self.used {
            *word = take_u64(rest)?;
        }
        for _ in 0..free {
            let slot = take_u64(rest)?;
            if slot >= slots || self.free.contains(&(slot as u32)) {
                return Err(CheckpointFault::Damaged);
            }
            self.free.push(slot as u32);
        }
        (self.slots, self.hand, self.evicted) = (slots as usize, hand as usize, evicted);
        self.horizon_s = u32::try_from(horizon_s).map_err(|_| CheckpointFault::Damaged)?;
        let entries: &mut [u8] =
            bytemuck::cast_slice_mut(&mut self.entries[..slots as usize * self.words]);
        entries.copy_from_slice(take(rest, entries.len())?);
        for slot in 0..self.slots {
            if self.free.contains(&(slot as u32)) {
                continue;
            }
            let key = layout::key(self.entry_words(slot));
            if self.find(key).is_some() {
                return Err(CheckpointFault::Damaged);
            }
            self.link(key, slot);
        }
        Ok(())
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], CheckpointFault> {
    rest.split_off(..len).ok_or(CheckpointFault::Damaged)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, CheckpointFault> {
    let (word, after) = rest.split_first_chunk().ok_or(CheckpointFault::Damaged)?;
    *rest = after;
    Ok(u64::from_le_bytes(*word))
}

/// A value that is asked, as it stands in a checkpoint.
fn encode(asked: &Asked) -> [u8; ASKED_LEN] {
    let Asked { window, function, including } = *asked;
    let (span, span_s, one, other) = match window.span {
        Span::Sliding { span_s, buckets } => (0, span_s, buckets, 0),
        Span::Today => (1, 0, 0, 0),
        Span::Night { from_hour, to_hour } => (2, 0, from_hour, to_hour),
    };
    let (function, of, up_to) = match function {
        Function::Count => (0, 0, 0),
        Function::Sum => (1, 0, 0),
        Function::Min => (2, 0, 0),
        Function::Max => (3, 0, 0),
        Function::Avg => (4, 0, 0),
        Function::Distinct { of, up_to } => (5, of as u8, up_to),
        Function::SecondsSinceLast => (6, 0, 0),
        Function::SecondsSinceFirst => (7, 0, 0),
    };
    let mut bytes = [0; ASKED_LEN];
    bytes[..4].copy_from_slice(&span_s.to_le_bytes());
    let (verdicts, rails) = window.filter.bits();
    let subject = window.subject as u8;
    let rest = [subject, span, one, other, verdicts, rails, function, of, up_to, including.into()];
    bytes[4..4 + rest.len()].copy_from_slice(&rest);
    bytes
}
