//! Builds a snapshot out of entries: sorts, merges, counts, and fills the tables.
//!
//! Deterministic: the same entries in any order give the same bytes but for the build time. Memory
//! while building: 16 bytes for an entry and 16 for its key, then 16 for the key, 16 for a dated
//! line, and 64 for seven keys.

use super::bucket::{BUCKET_SLOTS, Bucket, BucketPair, DATED, INLINE_REASONS, REASON_SHIFT, mix};
use super::entry::{Draft, Entry, Reasons};
use super::format::{
    Content, FORMAT_VERSION, HEADER_LEN, Header, MAGIC, SNAPSHOT_SOURCES, number_of,
};
use super::span::Span;
use super::{MAX_BUCKETS, Snapshot, memory, root_key};
use crate::calendar::day_number;
use bytemuck::Zeroable;
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::{DocumentKey, DocumentKind};
use jiff::civil::Date;
use memmap2::MmapMut;

/// Most entries that a snapshot is built from: twice the 100 million promised, and what
/// [`MAX_BUCKETS`] hold with room to spare.
pub const MAX_ENTRIES: usize = 200_000_000;
/// Share of the slots in use, in hundredths. A document then costs 64 / 7 / 0.85 = 10.8 bytes, one
/// hit in five and one miss in eleven read a second cache line; at 90 it would be 10.2 bytes, one
/// in four and one in eight. Two choices of seven slots fail above 97.
const LOAD_PERCENT: u64 = 85;
/// Moves of keys tried for one insertion. Nearly all need less than ten; past this the seed is
/// unlucky.
const MAX_KICKS: u32 = 2_000;
/// Seeds tried at one size before the tables grow: small tables may be unlucky several times
/// running.
const SEEDS_PER_SIZE: u64 = 8;
/// Sizes tried, each an eighth and one bucket larger than the last: at the end half of the slots
/// are free, where failing would take keys made to collide under every seed.
const MAX_GROWTHS: u64 = 8;

/// Why no snapshot could be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// More than [`MAX_ENTRIES`].
    #[error(
        "the lists have more than {MAX_ENTRIES} entries together, the most that a snapshot holds; leave some out"
    )]
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

/// The keys of one table, each with its lines in a byte.
type Keys = Vec<(u64, u8)>;

/// Builds a snapshot in memory.
pub(super) fn build(draft: Draft, as_of: Date, built_at_ns: u64) -> Result<Snapshot, BuildError> {
    let Draft { mut entries, reasons, source_days } = draft;
    if entries.len() > MAX_ENTRIES {
        return Err(BuildError::TooMany);
    }
    let reasons = Numbered::of(&mut entries, &reasons);
    // Every field, so that the order in which they came leaves no trace.
    entries.sort_unstable_by_key(|entry| {
        (
            entry.document(),
            entry.scope(),
            entry.source(),
            entry.from(),
            entry.until(),
            entry.reason(),
        )
    });
    let mut content = count(&entries, day_number(as_of));
    content.as_of = number_of(as_of).into();
    content.source_days = source_days.map(Into::into);
    let mut roots: Vec<(u64, Entry)> = entries
        .iter()
        .filter(|entry| entry.scope() == Scope::Root)
        .filter_map(|entry| Some((root_key(entry.document())?, *entry)))
        .collect();
    roots.sort_unstable_by_key(|(key, entry)| {
        (*key, entry.source(), entry.from(), entry.until(), entry.reason())
    });
    entries.retain(|entry| entry.scope() == Scope::Exact);
    let mut spans = Vec::new();
    let exact = condense(entries.iter().map(|entry| (entry.document().raw(), entry)), &mut spans);
    drop(entries);
    let roots = condense(roots.iter().map(|(key, entry)| (*key, entry)), &mut spans);
    // The keys of roots are above those of documents, so that the spans are sorted but for the
    // lines of a key.
    spans.sort_by_key(Span::order);
    spans.dedup_by_key(|span| span.order());
    content.exact_entries = (exact.len() as u64).into();
    content.root_entries = (roots.len() as u64).into();
    content.spans = (spans.len() as u64).into();
    content.reasons = (reasons.texts.len() as u32).into();
    content.reasons_len = (reasons.bytes.len() as u32).into();
    for attempt in 0..SEEDS_PER_SIZE * MAX_GROWTHS {
        let growth = attempt / SEEDS_PER_SIZE;
        content.seed = mix(attempt + 1).into();
        content.exact_buckets = buckets_for(exact.len(), growth).into();
        content.root_buckets = buckets_for(roots.len(), growth).into();
        let places = Header { content, ..Header::zeroed() }.places();
        let len = places.reasons.end;
        let mut image =
            memory::allocate(len).map_err(|source| BuildError::Memory { bytes: len, source })?;
        let buckets: &mut [Bucket] = bytemuck::cast_slice_mut(&mut image[places.buckets]);
        let (exact_table, root_table) =
            buckets.split_at_mut(content.exact_buckets.to_native() as usize);
        if fill(exact_table, exact.iter().copied(), content.seed.to_native())
            && fill(root_table, roots.iter().copied(), content.seed.to_native())
        {
            image[places.spans].copy_from_slice(bytemuck::cast_slice(&spans));
            image[places.reasons].copy_from_slice(&reasons.bytes);
            return finish(image, content, reasons.texts, built_at_ns)
                .map_err(|source| BuildError::Memory { bytes: len, source });
        }
    }
    Err(BuildError::Collisions)
}

/// Counts distinct documents in sorted entries: on a day, and those that come after it.
fn count(entries: &[Entry], day: u16) -> Content {
    let (mut documents, mut future, mut cpf, mut alphanumeric) = (0u64, 0u64, 0u64, 0u64);
    let mut by_source = [0u64; SNAPSHOT_SOURCES];
    for group in entries.chunk_by(|a, b| a.document() == b.document()) {
        let document = group[0].document();
        let active = group.iter().filter(|entry| entry.counts_on(day));
        let sources = active.fold(0, |all, entry| all | source_bit(entry));
        if sources == 0 {
            future += u64::from(group.iter().any(|entry| entry.from() > day));
            continue;
        }
        documents += 1;
        cpf += u64::from(document.kind() == DocumentKind::Cpf);
        alphanumeric += u64::from(has_letter(document));
        for (place, count) in by_source.iter_mut().enumerate() {
            *count += u64::from(sources >> place & 1);
        }
    }
    Content {
        documents: documents.into(),
        future: future.into(),
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

fn source_bit(entry: &Entry) -> u8 {
    1 << (entry.source().to_wire() - 1)
}

/// The reasons as the file has them: in order of how many undated lines give them, so that the most
/// frequent fit into the slots.
struct Numbered {
    texts: Vec<Box<str>>,
    bytes: Vec<u8>,
}

impl Numbered {
    /// Numbers the reasons anew, in the entries too; those that no entry gives are left out.
    fn of(entries: &mut [Entry], reasons: &Reasons) -> Self {
        let texts = reasons.texts();
        let mut uses = vec![(0u64, 0u64); texts.len()];
        for entry in &*entries {
            if let Some((undated, all)) =
                usize::from(entry.reason()).checked_sub(1).and_then(|at| uses.get_mut(at))
            {
                *undated += u64::from(!entry.is_dated());
                *all += 1;
            }
        }
        let mut order: Vec<usize> = (0..texts.len()).filter(|&at| uses[at].1 > 0).collect();
        order.sort_by(|&a, &b| uses[b].0.cmp(&uses[a].0).then_with(|| texts[a].cmp(&texts[b])));
        // Place 0 is "none"; a number that no reason has becomes that.
        let mut numbers = vec![0u16; texts.len() + 1];
        for (number, &at) in order.iter().enumerate() {
            numbers[at + 1] = number as u16 + 1;
        }
        for entry in entries.iter_mut() {
            *entry = entry.because(numbers.get(usize::from(entry.reason())).copied().unwrap_or(0));
        }
        let texts: Vec<Box<str>> = order.into_iter().map(|at| texts[at].clone()).collect();
        let bytes = texts
            .iter()
            .flat_map(|text| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat())
            .collect();
        Self { texts, bytes }
    }
}

/// Makes one key of the sorted lines of each, and spans of what its byte has no room for.
fn condense<'a>(lines: impl Iterator<Item = (u64, &'a Entry)>, spans: &mut Vec<Span>) -> Keys {
    let mut keys = Keys::with_capacity(lines.size_hint().0);
    for (key, entry) in lines {
        if keys.last().is_none_or(|&(last, _)| last != key) {
            keys.push((key, 0));
        }
        let Some((_, byte)) = keys.last_mut() else { continue };
        let kept = u16::from(*byte >> REASON_SHIFT);
        let reason = entry.reason();
        let (bits, in_span) = if entry.is_dated() {
            (DATED, true)
        } else if entry.source() == ListSource::Plain
            && reason <= INLINE_REASONS
            && (kept == 0 || kept == reason)
        {
            (source_bit(entry) | (reason as u8) << REASON_SHIFT, false)
        } else {
            (source_bit(entry), reason != 0)
        };
        *byte |= bits;
        if in_span {
            spans.push(Span {
                key: key.into(),
                from: entry.from().into(),
                until: entry.until().into(),
                source: entry.source().to_wire(),
                reserved: 0,
                reason: reason.into(),
            });
        }
    }
    keys
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
/// First every key goes to its first bucket while there is room, then the rest to their second: in
/// one go, early keys would take second places that later ones want as their first, and a third of
/// the hits instead of a fifth would read two lines.
fn fill(buckets: &mut [Bucket], keys: impl Iterator<Item = (u64, u8)> + Clone, seed: u64) -> bool {
    let mut spilled = Vec::new();
    for (key, sources) in keys.clone() {
        if !buckets[BucketPair::of(key, seed).first(buckets.len())].push(key, sources) {
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
        let place = BucketPair::of(key, seed);
        let first = place.first(buckets.len());
        if buckets[first].find(key).is_none() {
            buckets[first].overflow |= place.overflow_bit();
        }
    }
    true
}

/// Puts a key whose first bucket is full into its second, and makes room there by moving others to
/// their other bucket.
fn insert(
    buckets: &mut [Bucket],
    mut key: u64,
    mut sources: u8,
    seed: u64,
    random: &mut u64,
) -> bool {
    let mut at = BucketPair::of(key, seed).second(buckets.len());
    for _ in 0..MAX_KICKS {
        if buckets[at].push(key, sources) {
            return true;
        }
        let other =
            |slot: usize| other_bucket(buckets[at].keys[slot].to_native(), at, seed, buckets.len());
        // One that can leave at once, else any.
        let slot =
            (0..BUCKET_SLOTS).find(|&slot| buckets[other(slot)].has_room()).unwrap_or_else(|| {
                *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                (mix(*random) % BUCKET_SLOTS as u64) as usize
            });
        let next = other(slot);
        let (moved_key, moved_sources) =
            (buckets[at].keys[slot].to_native(), buckets[at].sources[slot]);
        buckets[at].set(slot, key, sources);
        (key, sources, at) = (moved_key, moved_sources, next);
    }
    false
}

/// The bucket where a key may live besides the one where it is.
fn other_bucket(key: u64, at: usize, seed: u64, buckets: usize) -> usize {
    let place = BucketPair::of(key, seed);
    if place.first(buckets) == at { place.second(buckets) } else { place.first(buckets) }
}

/// Hashes, writes the header, seals.
fn finish(
    mut image: MmapMut,
    content: Content,
    reasons: Vec<Box<str>>,
    built_at_ns: u64,
) -> std::io::Result<Snapshot> {
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
    Ok(Snapshot::sealed(memory::seal(image)?, header, reasons))
}

/// The content hash of a file whose part behind the header is `rest`.
pub(super) fn hash_content(content: &Content, rest: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(bytemuck::bytes_of(content)).update(rest).finalize().as_bytes()
}
