//! Builds a snapshot out of entries: sorts, merges, counts, and fills the tables.
//!
//! Deterministic: the same entries in any order give the same bytes but for the build time. Memory while building: 16 bytes for an
//! entry and 64 for seven of them, so about 29 for each at the most (one in nine is held twice for a while).

use super::bucket::{BUCKET_LEN, BUCKET_SLOTS, Bucket, Place, mix};
use super::format::{Content, FORMAT_VERSION, HEADER_LEN, Header, MAGIC, SNAPSHOT_SOURCES, number_of};
use super::{MAX_BUCKETS, Snapshot, memory, root_key};
use bytemuck::Zeroable;
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::{DocumentKey, DocumentKind};
use jiff::civil::Date;
use memmap2::MmapMut;

/// Most entries that a snapshot is built from: twice the 100 million promised, and what [`MAX_BUCKETS`] hold with room to spare.
pub const MAX_ENTRIES: usize = 200_000_000;
/// Share of the slots in use, in hundredths. A document then costs 64 / 7 / 0.85 = 10.8 bytes, one hit in five and one miss in eleven
/// read a second cache line; at 90 it would be 10.2 bytes, one in four and one in eight. Two choices of seven slots fail above 97.
const LOAD_PERCENT: u64 = 85;
/// Moves of keys tried for one insertion. Nearly all need less than ten; past this the seed is unlucky.
const MAX_KICKS: u32 = 2_000;
/// Seeds tried at one size before the tables grow: small tables may be unlucky several times running.
const SEEDS_PER_SIZE: u64 = 8;
/// Sizes tried, each an eighth and one bucket larger than the last: at the end half of the slots are free, where failing would take
/// keys made to collide under every seed.
const MAX_GROWTHS: u64 = 8;

/// One line of a list: a document, who lists it, how far that reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    document: DocumentKey,
    sources: u8,
    scope: Scope,
}

impl Entry {
    /// An entry. A CPF has no branches: its scope is always exact. [`ListSource::Overlay`] is no source of a snapshot: `None`.
    pub fn new(document: DocumentKey, source: ListSource, scope: Scope) -> Option<Self> {
        let scope = if document.kind() == DocumentKind::Cpf { Scope::Exact } else { scope };
        let place = usize::from(source.to_wire()) - 1;
        (place < SNAPSHOT_SOURCES).then_some(Self { document, sources: 1 << place, scope })
    }

    /// The document that is listed.
    pub const fn document(&self) -> DocumentKey {
        self.document
    }
}

/// Why no snapshot could be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// More than [`MAX_ENTRIES`].
    #[error("the lists have more than {MAX_ENTRIES} entries together, the most that a snapshot holds; leave some out")]
    TooMany,
    /// No memory.
    #[error("no memory for a snapshot of {bytes} bytes: {source}")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// No seed and size was found: with honest documents this doesn't happen.
    #[error("the documents of the lists can't be spread over a table; they look made for that")]
    Collisions,
}

/// The keys of one table with their source bytes.
type Keys = Vec<(u64, u8)>;

/// Builds a snapshot in memory.
pub(super) fn build(mut entries: Vec<Entry>, as_of: Date, built_at_ns: u64) -> Result<Snapshot, BuildError> {
    if entries.len() > MAX_ENTRIES {
        return Err(BuildError::TooMany);
    }
    entries.sort_unstable_by_key(|entry| (entry.document, entry.scope));
    let mut content = count(&entries);
    content.as_of = number_of(as_of).into();
    let mut roots: Keys = entries
        .iter()
        .filter(|entry| entry.scope == Scope::Root)
        .filter_map(|entry| Some((root_key(entry.document)?, entry.sources)))
        .collect();
    merge(&mut roots);
    entries.retain(|entry| entry.scope == Scope::Exact);
    entries.dedup_by(|later, kept| {
        let same = later.document == kept.document;
        if same {
            kept.sources |= later.sources;
        }
        same
    });
    content.exact_entries = (entries.len() as u64).into();
    content.root_entries = (roots.len() as u64).into();
    let exact = || entries.iter().map(|entry| (entry.document.raw(), entry.sources));
    for attempt in 0..SEEDS_PER_SIZE * MAX_GROWTHS {
        let growth = attempt / SEEDS_PER_SIZE;
        content.seed = mix(attempt + 1).into();
        content.exact_buckets = buckets_for(entries.len(), growth).into();
        content.root_buckets = buckets_for(roots.len(), growth).into();
        let len = Header { content, ..Header::zeroed() }.file_len() as usize;
        let mut image = memory::allocate(len).map_err(|source| BuildError::Memory { bytes: len, source })?;
        let buckets: &mut [Bucket] = bytemuck::cast_slice_mut(&mut image[HEADER_LEN..]);
        let (exact_table, root_table) = buckets.split_at_mut(content.exact_buckets.to_native() as usize);
        if fill(exact_table, exact(), content.seed.to_native())
            && fill(root_table, roots.iter().copied(), content.seed.to_native())
        {
            return finish(image, content, built_at_ns).map_err(|source| BuildError::Memory { bytes: len, source });
        }
    }
    Err(BuildError::Collisions)
}

/// Counts distinct documents in sorted entries.
fn count(entries: &[Entry]) -> Content {
    let (mut documents, mut cpf, mut alphanumeric, mut by_source) = (0u64, 0u64, 0u64, [0u64; SNAPSHOT_SOURCES]);
    for group in entries.chunk_by(|a, b| a.document == b.document) {
        let document = group[0].document;
        documents += 1;
        cpf += u64::from(document.kind() == DocumentKind::Cpf);
        alphanumeric += u64::from(has_letter(document));
        let sources = group.iter().fold(0, |all, entry| all | entry.sources);
        for (place, count) in by_source.iter_mut().enumerate() {
            *count += u64::from(sources >> place & 1);
        }
    }
    Content {
        documents: documents.into(),
        cpf: cpf.into(),
        cnpj: (documents - cpf).into(),
        alphanumeric: alphanumeric.into(),
        by_source: by_source.map(Into::into),
        ..Content::zeroed()
    }
}

fn has_letter(document: DocumentKey) -> bool {
    document.kind() == DocumentKind::Cnpj && document.to_wire().iter().any(u8::is_ascii_uppercase)
}

/// Sorts keys and joins the source bytes of equal ones.
fn merge(keys: &mut Keys) {
    keys.sort_unstable();
    keys.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 |= later.1;
        }
        same
    });
}

/// Buckets for this many keys after some growths; none for none.
fn buckets_for(keys: usize, growths: u64) -> u64 {
    if keys == 0 {
        return 0;
    }
    let mut buckets = (keys as u64 * 100).div_ceil(BUCKET_SLOTS as u64 * LOAD_PERCENT);
    for _ in 0..growths {
        buckets += buckets / 8 + 1;
    }
    buckets.min(MAX_BUCKETS)
}

/// Puts all keys into a zeroed table; `false` if this seed can't.
///
/// First every key goes to its first bucket while there is room, then the rest to their second: in one go, early keys would take
/// second places that later ones want as their first, and a third of the hits instead of a fifth would read two lines.
fn fill(buckets: &mut [Bucket], keys: impl Iterator<Item = (u64, u8)> + Clone, seed: u64) -> bool {
    let mut spilled = Vec::new();
    for (key, sources) in keys.clone() {
        if !buckets[Place::of(key, seed).first(buckets.len())].push(key, sources) {
            spilled.push((key, sources));
        }
    }
    let mut random = seed;
    for (key, sources) in spilled {
        if !insert(buckets, key, sources, seed, &mut random) {
            return false;
        }
    }
    for (key, _) in keys {
        let place = Place::of(key, seed);
        let first = place.first(buckets.len());
        if buckets[first].find(key).is_none() {
            buckets[first].overflow |= place.overflow_bit();
        }
    }
    true
}

/// Puts a key whose first bucket is full into its second, and makes room there by moving others to their other bucket.
fn insert(buckets: &mut [Bucket], mut key: u64, mut sources: u8, seed: u64, random: &mut u64) -> bool {
    let mut at = Place::of(key, seed).second(buckets.len());
    for _ in 0..MAX_KICKS {
        if buckets[at].push(key, sources) {
            return true;
        }
        let other = |slot: usize| other_bucket(buckets[at].keys[slot].to_native(), at, seed, buckets.len());
        // One that can leave at once, else any.
        let slot = (0..BUCKET_SLOTS).find(|&slot| buckets[other(slot)].has_room()).unwrap_or_else(|| {
            *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (mix(*random) % BUCKET_SLOTS as u64) as usize
        });
        let next = other(slot);
        let (moved_key, moved_sources) = (buckets[at].keys[slot].to_native(), buckets[at].sources[slot]);
        buckets[at].set(slot, key, sources);
        (key, sources, at) = (moved_key, moved_sources, next);
    }
    false
}

/// The bucket where a key may live besides the one where it is.
fn other_bucket(key: u64, at: usize, seed: u64, buckets: usize) -> usize {
    let place = Place::of(key, seed);
    if place.first(buckets) == at { place.second(buckets) } else { place.first(buckets) }
}

/// Hashes, writes the header, seals.
fn finish(mut image: MmapMut, content: Content, built_at_ns: u64) -> std::io::Result<Snapshot> {
    let content_hash = hash_content(&content, &image[HEADER_LEN..]);
    let mut header = Header {
        magic: MAGIC,
        version: FORMAT_VERSION.into(),
        header_len: (HEADER_LEN as u32).into(),
        content_hash,
        built_at_ns: built_at_ns.into(),
        content,
        ..Header::zeroed()
    };
    let (head, rest) = image[..HEADER_LEN].split_at_mut(size_of::<Header>());
    header.header_hash = header.hash_page(rest);
    head.copy_from_slice(bytemuck::bytes_of(&header));
    debug_assert_eq!(image.len() % BUCKET_LEN, 0);
    Ok(Snapshot::sealed(memory::seal(image)?, header))
}

/// The content hash of a file whose part behind the header is `tables`.
pub(super) fn hash_content(content: &Content, tables: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(bytemuck::bytes_of(content)).update(tables).finalize().as_bytes()
}
