//! The proof that a record is in a block: enough of the block to compute its chain value, and no
//! more of it than that takes.
//!
//! Pure: no I/O, no clock. The chain value is a keyed BLAKE3, which is a tree over chunks of 1024
//! bytes: whoever has the first chunk (it holds the block's head), the chunks of the record, and
//! the chaining values of the subtrees beside them, computes the same root. LOG.md, "Proofs", is
//! the specification, and says what a proof discloses.

use super::hex;
use catraca_wire::block::{self, BLOCK_HEAD_LEN, BlockHead, Chain, ChainKey, FORMAT_VERSION};
use catraca_wire::record::{
    EXTENSION_ALIGN, MAX_EXTENSION_LEN, RECORD_LEN, RECORD_VERSION, RecordHead, RecordKind,
};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Longest text of a proof, bytes; a longer one is refused unread. The longest that [`Proof::of`]
/// makes has some 17 KiB: seven chunks and the ten levels of the tree over 1 MiB.
pub const MAX_PROOF_LEN: usize = 64 * 1024;
/// What a proof calls itself, so that it is never taken for something else, nor a later kind for
/// this one.
const FORMAT: &str = "catraca-proof-1";
const CHUNK_LEN: usize = blake3::CHUNK_LEN;

const _: () = assert!(BLOCK_HEAD_LEN <= CHUNK_LEN, "the head must lie in the first chunk");

/// A proof, as it was made or read: nothing in it is believed before [`Proof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    stream: u16,
    lsn: u64,
    chain: Chain,
    record_offset: usize,
    chunks: Vec<Chunk>,
    subtrees: Vec<Chain>,
}

/// A chunk of what is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chunk {
    index: usize,
    bytes: Vec<u8>,
}

/// A proof as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: String,
    stream: u16,
    lsn: u64,
    chain: String,
    record_offset: usize,
    chunks: Vec<ChunkText>,
    subtrees: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChunkText {
    index: usize,
    bytes: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Longer than any proof.
    #[error("it has more than {MAX_PROOF_LEN} bytes: no proof is that long")]
    TooLong,
    /// Not the JSON of a proof.
    #[error("it is not the JSON object of a proof: {0}")]
    Json(String),
    /// Another kind of file, or a later version.
    #[error("it is not of the format {FORMAT}, the one that this build knows")]
    Format,
    /// A field that should be lower-case hexadecimal digits of a certain number.
    #[error("`{0}` does not hold the hexadecimal digits that belong there")]
    Hex(&'static str),
    /// The same content, written otherwise than it is by [`Proof::to_text`].
    #[error(
        "it is not written exactly as `catraca log prove` writes proofs: it was altered, or formatted anew"
    )]
    NotAsWritten,
    /// The head can't be a block's.
    #[error("its block's head is unsound: {0}")]
    Head(&'static str),
    /// The block is of another stream.
    #[error("it says stream {said}, its block is of stream {found}")]
    Stream {
        /// By the proof.
        said: u16,
        /// By the block's head.
        found: u16,
    },
    /// The block does not hold that sequence number.
    #[error("it says record {lsn}, its block holds records {first} to {last}")]
    Lsn {
        /// By the proof.
        lsn: u64,
        /// By the block's head.
        first: u64,
        /// By the block's head.
        last: u64,
    },
    /// The bytes at the record's place are not the record.
    #[error("its record is unsound: {0}")]
    Record(&'static str),
    /// More, fewer or other chunks than the head's and the record's, or of wrong lengths.
    #[error("it discloses other parts of the block than the head and the record")]
    Chunks,
    /// More or fewer chaining values than the tree has beside the chunks.
    #[error("it has {found} chaining values of subtrees where {expected} belong")]
    Subtrees {
        /// Of the tree.
        expected: usize,
        /// In the proof.
        found: usize,
    },
    /// Everything fits together, but the keyed hash is another.
    #[error(
        "the chain value computed from it is not the one it names: it was altered, or the block was written with another key"
    )]
    Chain,
}

/// What a proof that holds proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The block's head, with `payload_crc` zero, of which a proof says nothing; its `header_crc`
    /// is made to fit.
    pub block: BlockHead,
    /// The record's head.
    pub record: RecordHead,
    /// Its extension.
    pub extension: Vec<u8>,
}

impl Proved {
    /// Sequence number of the block's last record.
    pub fn last_lsn(&self) -> u64 {
        self.block.first_lsn.to_native() + u64::from(self.block.record_count.to_native()) - 1
    }
}

impl Proof {
    /// The proof that the record numbered `lsn` is in this block, which was found sound; `None` if
    /// it is not in it.
    pub fn of(head: &BlockHead, payload: &[u8], lsn: u64, key: &ChainKey) -> Option<Self> {
        let mut at = BLOCK_HEAD_LEN;
        let (record_offset, record_len) =
            block::records(payload).find_map(|(record, extension)| {
                let (offset, len) = (at, RECORD_LEN + extension.len());
                at += len;
                (record.lsn.to_native() == lsn).then_some((offset, len))
            })?;
        let input = [bytemuck::bytes_of(&as_hashed(head)), payload].concat();
        let needed = needed_chunks(record_offset, record_len);
        let chunks = needed
            .map(|index| Chunk {
                index,
                bytes: input[index * CHUNK_LEN..input.len().min((index + 1) * CHUNK_LEN)].to_vec(),
            })
            .collect();
        let mut proof = Self {
            stream: head.shard.to_native(),
            lsn,
            chain: head.chain,
            record_offset,
            chunks,
            subtrees: Vec::new(),
        };
        let mut subtrees = Vec::new();
        proof.root(input.len(), key, &mut |from, to| {
            subtrees.push(subtree(key, from, &input[from..to]));
            subtrees[subtrees.len() - 1]
        });
        proof.subtrees = subtrees;
        Some(proof)
    }

    /// The chain value of the block that the proof names.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// How many records the proof discloses, wholly or in part, the proved one included: those that
    /// share its chunks.
    pub fn disclosed_records(&self) -> usize {
        let first =
            self.chunks.first().map_or(0, |chunk| chunk.bytes.len().saturating_sub(BLOCK_HEAD_LEN));
        let others: usize = self.chunks.iter().skip(1).map(|chunk| chunk.bytes.len()).sum();
        first.div_ceil(RECORD_LEN) + others.div_ceil(RECORD_LEN)
    }

    /// The proof as JSON and a newline.
    pub fn to_text(&self) -> String {
        let chunks = self
            .chunks
            .iter()
            .map(|chunk| ChunkText { index: chunk.index, bytes: hex::encode(&chunk.bytes) })
            .collect();
        let text = Text {
            format: FORMAT.to_owned(),
            stream: self.stream,
            lsn: self.lsn,
            chain: hex::encode(&self.chain),
            record_offset: self.record_offset,
            chunks,
            subtrees: self.subtrees.iter().map(|value| hex::encode(value)).collect(),
        };
        let mut text = serde_json::to_string_pretty(&text)
            .expect("a proof has string keys and whole numbers only");
        text.push('\n');
        text
    }

    /// Reads a proof. Only the exact text of [`Proof::to_text`] is one, so that a proof has one
    /// spelling and any change is noticed.
    ///
    /// # Errors
    /// All of [`ProofError`] up to [`ProofError::NotAsWritten`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF_LEN {
            return Err(ProofError::TooLong);
        }
        let text: Text =
            serde_json::from_slice(bytes).map_err(|error| ProofError::Json(error.to_string()))?;
        if text.format != FORMAT {
            return Err(ProofError::Format);
        }
        let chunk = |chunk: &ChunkText| {
            hex::decode(&chunk.bytes).map(|bytes| Chunk { index: chunk.index, bytes })
        };
        let proof = Self {
            stream: text.stream,
            lsn: text.lsn,
            chain: hex::decode_array(&text.chain).ok_or(ProofError::Hex("chain"))?,
            record_offset: text.record_offset,
            chunks: text
                .chunks
                .iter()
                .map(chunk)
                .collect::<Option<_>>()
                .ok_or(ProofError::Hex("chunks"))?,
            subtrees: text
                .subtrees
                .iter()
                .map(|value| hex::decode_array(value))
                .collect::<Option<_>>()
                .ok_or(ProofError::Hex("subtrees"))?,
        };
        if proof.to_text().as_bytes() == bytes { Ok(proof) } else { Err(ProofError::NotAsWritten) }
    }

    /// Checks the proof, and gives what it proves.
    ///
    /// # Errors
    /// All of [`ProofError`] behind [`ProofError::NotAsWritten`].
    pub fn verify(&self, key: &ChainKey) -> Result<Proved, ProofError> {
        let block = self.block_head()?;
        let input_len = BLOCK_HEAD_LEN + block.payload_len.to_native() as usize;
        let (record, extension) = self.record(&block, input_len)?;

        let expected = self.count_subtrees(input_len);
        if expected != self.subtrees.len() {
            return Err(ProofError::Subtrees { expected, found: self.subtrees.len() });
        }
        let mut next = self.subtrees.iter();
        let root = self.root(input_len, key, &mut |_, _| {
            *next.next().expect("as many were counted as the walk takes")
        });
        // Both are public: the comparison need not hide where they differ.
        if root != self.chain {
            return Err(ProofError::Chain);
        }
        Ok(Proved { block, record, extension })
    }

    /// The head out of the first chunk, with the fields that are hashed as zeros filled in, and its
    /// lengths checked.
    fn block_head(&self) -> Result<BlockHead, ProofError> {
        let first =
            self.chunks.first().filter(|chunk| chunk.index == 0).ok_or(ProofError::Chunks)?;
        let hashed: &BlockHead =
            bytemuck::from_bytes(first.bytes.get(..BLOCK_HEAD_LEN).ok_or(ProofError::Chunks)?);
        if hashed.format_version.to_native() != FORMAT_VERSION {
            return Err(ProofError::Head(
                "a version of the log's format that this build does not know",
            ));
        }
        if *bytemuck::bytes_of(hashed) != *bytemuck::bytes_of(&as_hashed(hashed))
            || hashed.reserved != [0; 124]
        {
            return Err(ProofError::Head("something stands where zeros are hashed"));
        }
        let mut head = BlockHead { chain: self.chain, ..*hashed };
        head.header_crc = head.expected_header_crc().into();
        if block::sound_head(bytemuck::bytes_of(&head)).is_none() {
            return Err(ProofError::Head("no block begins so"));
        }
        let found = head.shard.to_native();
        if found != self.stream {
            return Err(ProofError::Stream { said: self.stream, found });
        }
        Ok(head)
    }

    /// The record out of its chunks, and whether these and no others are there.
    fn record(
        &self,
        block: &BlockHead,
        input_len: usize,
    ) -> Result<(RecordHead, Vec<u8>), ProofError> {
        let first = block.first_lsn.to_native();
        let count = u64::from(block.record_count.to_native());
        let last = first
            .checked_add(count - 1)
            .ok_or(ProofError::Head("its records' numbers run over"))?;
        if !(first..=last).contains(&self.lsn) {
            return Err(ProofError::Lsn { lsn: self.lsn, first, last });
        }
        // The records before and behind it take at least their heads: where no record has an
        // extension this leaves one place only.
        let before = (self.lsn - first) as usize * RECORD_LEN;
        let behind = (last - self.lsn) as usize * RECORD_LEN;
        let start = self.record_offset;
        if start < BLOCK_HEAD_LEN + before
            || start > input_len
            || input_len - start < RECORD_LEN + behind
        {
            return Err(ProofError::Record("the records before and behind it leave no room"));
        }
        let head_end = start + RECORD_LEN;
        let head: RecordHead = bytemuck::pod_read_unaligned(&self.bytes(start, head_end)?);
        let extension_len = usize::from(head.extension_len.to_native());
        let fault = if RecordKind::from_wire(head.kind).is_none() {
            Some("a kind that this build does not know")
        } else if head.version != RECORD_VERSION {
            Some("a version that this build does not know")
        } else if extension_len > MAX_EXTENSION_LEN
            || !extension_len.is_multiple_of(EXTENSION_ALIGN)
            || extension_len > input_len - head_end - behind
        {
            Some("the length of its extension")
        } else if head.lsn.to_native() != self.lsn {
            Some("it has another number than the proof says")
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(ProofError::Record(fault));
        }
        let needed = needed_chunks(start, RECORD_LEN + extension_len);
        let is_whole =
            |chunk: &Chunk| chunk.bytes.len() == CHUNK_LEN.min(input_len - chunk.index * CHUNK_LEN);
        if !self.chunks.iter().map(|chunk| chunk.index).eq(needed)
            || !self.chunks.iter().all(is_whole)
        {
            return Err(ProofError::Chunks);
        }
        Ok((head, self.bytes(head_end, head_end + extension_len)?))
    }

    /// Bytes of what is hashed, out of the chunks.
    fn bytes(&self, from: usize, to: usize) -> Result<Vec<u8>, ProofError> {
        let mut bytes = Vec::with_capacity(to - from);
        while from + bytes.len() < to {
            let at = from + bytes.len();
            let chunk = self
                .chunks
                .iter()
                .find(|chunk| chunk.index == at / CHUNK_LEN)
                .ok_or(ProofError::Chunks)?;
            let end = (to - at / CHUNK_LEN * CHUNK_LEN).min(CHUNK_LEN);
            bytes
                .extend_from_slice(chunk.bytes.get(at % CHUNK_LEN..end).ok_or(ProofError::Chunks)?);
        }
        Ok(bytes)
    }

    /// Whether a chunk between these offsets is disclosed.
    fn discloses(&self, from: usize, to: usize) -> bool {
        self.chunks.iter().any(|chunk| (from..to).contains(&(chunk.index * CHUNK_LEN)))
    }

    /// The chain value: the root over the disclosed chunks and the subtrees between them, which are
    /// asked for from left to right.
    fn root(
        &self,
        input_len: usize,
        key: &ChainKey,
        other: &mut dyn FnMut(usize, usize) -> Chain,
    ) -> Chain {
        if input_len <= CHUNK_LEN {
            return *blake3::keyed_hash(key, &self.chunks[0].bytes).as_bytes();
        }
        let middle = left_len(input_len);
        let left = self.node(0, middle, key, other);
        let right = self.node(middle, input_len, key, other);
        *blake3::hazmat::merge_subtrees_root(&left, &right, blake3::hazmat::Mode::KeyedHash(key))
            .as_bytes()
    }

    fn node(
        &self,
        from: usize,
        to: usize,
        key: &ChainKey,
        other: &mut dyn FnMut(usize, usize) -> Chain,
    ) -> Chain {
        if !self.discloses(from, to) {
            return other(from, to);
        }
        if let Some(chunk) = self
            .chunks
            .iter()
            .find(|chunk| to - from <= CHUNK_LEN && chunk.index * CHUNK_LEN == from)
        {
            return subtree(key, from, &chunk.bytes);
        }
        let middle = from + left_len(to - from);
        let left = self.node(from, middle, key, other);
        let right = self.node(middle, to, key, other);
        blake3::hazmat::merge_subtrees_non_root(&left, &right, blake3::hazmat::Mode::KeyedHash(key))
    }

    /// How many subtrees the tree has beside the disclosed chunks.
    fn count_subtrees(&self, input_len: usize) -> usize {
        let mut ranges = vec![(0, input_len)];
        let mut count = 0;
        while let Some((from, to)) = ranges.pop() {
            if !self.discloses(from, to) {
                count += 1;
            } else if to - from > CHUNK_LEN {
                let middle = from + left_len(to - from);
                ranges.extend([(from, middle), (middle, to)]);
            }
        }
        count
    }
}

/// The head as it goes into the chain value.
fn as_hashed(head: &BlockHead) -> BlockHead {
    BlockHead { chain: [0; 32], payload_crc: 0.into(), header_crc: 0.into(), ..*head }
}

/// The chunks that a proof of this record discloses: the first, for the head, and the record's own.
fn needed_chunks(record_offset: usize, record_len: usize) -> impl Iterator<Item = usize> {
    let record: RangeInclusive<usize> =
        record_offset / CHUNK_LEN..=(record_offset + record_len - 1) / CHUNK_LEN;
    (*record.start() > 0).then_some(0).into_iter().chain(record)
}

/// Length of the left part of a subtree of more than a chunk, bytes.
fn left_len(len: usize) -> usize {
    blake3::hazmat::left_subtree_len(len as u64) as usize
}

/// The chaining value of a subtree that begins `from` bytes into what is hashed.
fn subtree(key: &ChainKey, from: usize, bytes: &[u8]) -> Chain {
    use blake3::hazmat::HasherExt as _;
    blake3::Hasher::new_keyed(key).set_input_offset(from as u64).update(bytes).finalize_non_root()
}
