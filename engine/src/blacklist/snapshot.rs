//! The immutable snapshot: opened with every byte checked, asked without a lock.

use super::bucket::{Bucket, Place, Table};
use super::build::{self, BuildError, Entry};
use super::format::{Counts, HEADER_LEN, Header, HeaderFault, SNAPSHOT_SOURCES, SnapshotError, date_of};
use super::{Hit, ROOT_TAG, Scopes, memory, root_key};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope};
use jiff::civil::Date;
use memmap2::Mmap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes read and hashed at a time: small enough to be hashed out of the processor's cache, large enough for BLAKE3's widest code.
const READ_CHUNK: usize = 512 * 1024;
/// 36^8: one past the largest CNPJ root.
const CNPJ_ROOTS: u64 = 36u64.pow(8);

/// An immutable list. Share it as `Arc<Snapshot>`; dropping the last handle unmaps it, which takes milliseconds: do it off the cores.
pub struct Snapshot {
    /// The whole file's bytes.
    image: Mmap,
    header: Header,
    id: u64,
    /// Where the root table begins, in buckets behind the header.
    exact_buckets: usize,
    seed: u64,
}

impl Snapshot {
    /// Reads a snapshot file and checks all of it: form, lengths, both hashes, every slot.
    ///
    /// # Errors
    /// What [`SnapshotError`] lists. No file makes this panic, or use more memory than the file is long.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let owned = || path.to_path_buf();
        let io_error = |source| SnapshotError::Io { path: path.to_path_buf(), source };
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(io_error)?.is_file() {
            return Err(SnapshotError::NotASnapshot { path: owned() });
        }
        let mut file = File::open(path).map_err(io_error)?;
        let found = file.metadata().map_err(io_error)?.len();
        let mut page = [0; HEADER_LEN];
        let page_len = read_up_to(&mut file, &mut page).map_err(io_error)?;
        if page_len < HEADER_LEN {
            return Err(if page.starts_with(&super::format::MAGIC) {
                SnapshotError::Length { path: owned(), expected: HEADER_LEN as u64, found }
            } else {
                SnapshotError::NotASnapshot { path: owned() }
            });
        }
        let header = Header::check(&page).map_err(|fault| match fault {
            HeaderFault::NotASnapshot => SnapshotError::NotASnapshot { path: owned() },
            HeaderFault::Version(found) => SnapshotError::Version { path: owned(), found },
            HeaderFault::Damaged => SnapshotError::Damaged { path: owned(), part: "header" },
            HeaderFault::Nonsense(what) => SnapshotError::Nonsense { path: owned(), what },
        })?;
        let expected = header.file_len();
        if found != expected {
            return Err(SnapshotError::Length { path: owned(), expected, found });
        }
        let mut image = memory::allocate(expected as usize).map_err(io_error)?;
        image[..HEADER_LEN].copy_from_slice(&page);
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytemuck::bytes_of(&header.content));
        for chunk in image[HEADER_LEN..].chunks_mut(READ_CHUNK) {
            file.read_exact(chunk).map_err(io_error)?;
            hasher.update(chunk);
        }
        if *hasher.finalize().as_bytes() != header.content_hash {
            return Err(SnapshotError::Damaged { path: owned(), part: "tables" });
        }
        let snapshot = Self::sealed(memory::seal(image).map_err(io_error)?, header);
        snapshot.check_slots().map_err(|what| SnapshotError::Nonsense { path: owned(), what })?;
        Ok(snapshot)
    }

    /// Builds one in memory: for `catraca blacklist build`, tests and benches. The order of the entries doesn't matter.
    ///
    /// # Errors
    /// Too many entries, or no memory for them.
    pub fn from_entries(entries: Vec<Entry>, as_of: Date, built_at_ns: u64) -> Result<Self, BuildError> {
        build::build(entries, as_of, built_at_ns)
    }

    /// Over a finished image whose header was checked or just made.
    pub(super) fn sealed(image: Mmap, header: Header) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = header.content_hash;
        // 0 means "no snapshot" in records and frames.
        let id = u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1);
        let exact_buckets = header.content.exact_buckets.to_native() as usize;
        Self { image, header, id, exact_buckets, seed: header.content.seed.to_native() }
    }

    /// The first eight bytes of the content hash, little-endian; never 0. The same list has the same id, whenever it was built.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Keys in the tables: documents listed exactly, and roots.
    pub fn entries(&self) -> u64 {
        self.counts().entries
    }

    /// How much is in it.
    pub fn counts(&self) -> Counts {
        self.header.counts()
    }

    /// When it was built, nanoseconds since 1970 UTC.
    pub const fn built_at_ns(&self) -> u64 {
        self.header.built_at_ns.to_native()
    }

    /// The day whose active entries these are.
    pub fn as_of(&self) -> Date {
        // The header was checked, or made from a date.
        date_of(self.header.content.as_of.to_native()).unwrap_or(Date::ZERO)
    }

    /// The content hash, BLAKE3.
    pub const fn content_hash(&self) -> &[u8; 32] {
        &self.header.content_hash
    }

    /// Bytes of the file, which are the bytes in memory.
    pub fn bytes(&self) -> &[u8] {
        &self.image
    }

    #[inline]
    fn buckets(&self) -> &[Bucket] {
        // Never fails: the mapping is page-aligned, the header fills a page, and the length was checked to be whole buckets.
        bytemuck::cast_slice(&self.image[HEADER_LEN..])
    }

    #[inline]
    fn exact(&self) -> Table<'_> {
        Table { buckets: &self.buckets()[..self.exact_buckets], seed: self.seed }
    }

    #[inline]
    fn roots(&self) -> Table<'_> {
        Table { buckets: &self.buckets()[self.exact_buckets..], seed: self.seed }
    }

    /// Whether the document is listed: itself, else, for a CNPJ, its root. Reads one cache line for each of the two, two at most.
    #[inline]
    pub fn lookup(&self, key: DocumentKey) -> Option<Hit> {
        self.lookup_within(key, 0, Scopes::ALL)
    }

    /// [`Self::lookup`] among some of the entries.
    #[inline]
    pub(super) fn lookup_within(&self, key: DocumentKey, _day: u16, scopes: Scopes) -> Option<Hit> {
        if let Some(sources) = self.exact().find(key.raw()).filter(|_| scopes.exact) {
            return Some(Hit { source: first_source(sources), scope: Scope::Exact });
        }
        let sources = self.roots().find(root_key(key)?).filter(|_| scopes.root)?;
        Some(Hit { source: first_source(sources), scope: Scope::Root })
    }

    /// Brings the cache lines near that a look-up of this document may read. Worth it some hundred nanoseconds ahead.
    #[inline]
    pub fn prefetch(&self, key: DocumentKey) {
        self.exact().prefetch(key.raw());
        if let Some(root) = root_key(key) {
            self.roots().prefetch(root);
        }
    }

    /// Checks that each slot is free or holds a document with a source in a bucket where it is looked for, and that the header
    /// counted them right. So a file with sound hashes that another program made wrongly is refused, too.
    fn check_slots(&self) -> Result<(), &'static str> {
        let content = &self.header.content;
        let exact = count_slots(self.exact(), |key| DocumentKey::from_raw(key).is_some())?;
        let roots = count_slots(self.roots(), |key| key & ROOT_TAG == ROOT_TAG && key & !ROOT_TAG < CNPJ_ROOTS)?;
        if exact != content.exact_entries.to_native() || roots != content.root_entries.to_native() {
            return Err("its header counts other entries than there are");
        }
        Ok(())
    }
}

/// Counts the keys of a table; refuses what no builder writes.
fn count_slots(table: Table<'_>, is_key: impl Fn(u64) -> bool) -> Result<u64, &'static str> {
    let mut keys = 0;
    for (at, bucket) in table.buckets.iter().enumerate() {
        for (key, &sources) in bucket.keys.iter().map(|key| key.to_native()).zip(&bucket.sources) {
            if key == 0 {
                if sources != 0 {
                    return Err("a source without a document");
                }
                continue;
            }
            if !is_key(key) {
                return Err("a key that no document has");
            }
            if sources == 0 || sources >> SNAPSHOT_SOURCES != 0 {
                return Err("a document without a known source");
            }
            let place = Place::of(key, table.seed);
            if place.first(table.buckets.len()) != at && place.second(table.buckets.len()) != at {
                return Err("a document where nobody looks for it");
            }
            keys += 1;
        }
    }
    Ok(keys)
}

/// The list with the lowest code in a source byte.
#[inline]
fn first_source(sources: u8) -> ListSource {
    // A stored byte has one of its four low bits set: made so, or checked so.
    ListSource::from_wire(sources.trailing_zeros() as u8 + 1).unwrap_or(ListSource::Plain)
}

/// Reads until the buffer is full or the file ends; how much.
fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Prints what it is, not what is in it.
impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("id", &self.id).field("as_of", &self.as_of()).field("counts", &self.counts()).finish()
    }
}
