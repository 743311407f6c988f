//! The immutable snapshot: opened with every byte checked, asked without a lock.

use super::bucket::{Bucket, DATED, REASON_SHIFT, SOURCES, Table};
use super::build::{self, BuildError};
use super::entry::{Draft, Entry, counts_on};
use super::fitness::Counting;
use super::format::{
    Counts, HEADER_LEN, Header, HeaderFault, SNAPSHOT_SOURCES, SnapshotError, date_of,
};
use super::span::{self, Span};
use super::{Hit, Named, check, first_branch, memory, root_key};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope};
use jiff::civil::Date;
use memmap2::Mmap;
use std::io::{self, Read};
use std::path::Path;

/// Bytes read and hashed at a time: small enough to be hashed out of the processor's cache, large
/// enough for BLAKE3's widest code.
const READ_CHUNK: usize = 512 * 1024;
/// An immutable list. Share it as `Arc<Snapshot>`; dropping the last handle unmaps it, which takes
/// milliseconds: do it off the cores.
pub struct Snapshot {
    /// The whole file's bytes.
    image: Mmap,
    header: Header,
    id: u64,
    /// Where the root table begins, in buckets behind the header.
    exact_buckets: usize,
    seed: u64,
    /// Where the buckets end and the spans begin, and where these end, bytes.
    buckets_end: usize,
    spans_end: usize,
    /// In order of their numbers, from 1.
    reasons: Vec<Box<str>>,
}

/// A line of a list that names a document: for people, who want to know why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Whose list.
    pub source: ListSource,
    /// How far it reaches.
    pub scope: Scope,
    /// First day, in days since 1970-01-01; 0 always.
    pub from: u16,
    /// Last day; 0 without end.
    pub until: u16,
    /// The reason that the list gives.
    pub reason: Option<&'a str>,
}

impl Line<'_> {
    /// Whether it counts on a day.
    pub const fn counts_on(&self, day: u16) -> bool {
        counts_on(self.from, self.until, day)
    }
}

impl Snapshot {
    /// Reads a snapshot of `found` bytes and checks all of it: form, lengths, both hashes, every
    /// slot. `path` is where it lies, for errors.
    ///
    /// # Errors
    /// What [`SnapshotError`] lists. No bytes make this panic, or use more memory than `found`.
    pub fn read(path: &Path, found: u64, mut file: impl Read) -> Result<Self, SnapshotError> {
        let owned = || path.to_path_buf();
        let io_error = |source| SnapshotError::Io { path: path.to_path_buf(), source };
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
        let nonsense = |what| SnapshotError::Nonsense { path: owned(), what };
        let reasons =
            check::reasons(&image[header.places().reasons], &header.content).map_err(nonsense)?;
        let snapshot = Self::sealed(memory::seal(image).map_err(io_error)?, header, reasons);
        check::tables(snapshot.exact(), snapshot.roots(), snapshot.spans(), &header.content)
            .map_err(nonsense)?;
        Ok(snapshot)
    }

    /// Builds one in memory: for `catraca blacklist build`, tests and benches. The order of the
    /// entries doesn't matter.
    ///
    /// # Errors
    /// Too many entries, or no memory for them.
    pub fn from_entries(
        entries: Vec<Entry>,
        as_of: Date,
        built_at_ns: u64,
    ) -> Result<Self, BuildError> {
        Self::build(entries.into(), as_of, built_at_ns)
    }

    /// Builds one in memory out of entries, their reasons, and the days of their sources.
    ///
    /// # Errors
    /// Too many entries, or no memory for them.
    pub fn build(draft: Draft, as_of: Date, built_at_ns: u64) -> Result<Self, BuildError> {
        build::build(draft, as_of, built_at_ns)
    }

    /// Over a finished image whose header was checked or just made.
    pub(super) fn sealed(image: Mmap, header: Header, reasons: Vec<Box<str>>) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = header.content_hash;
        // 0 means "no snapshot" in records and frames.
        let id = u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1);
        let exact_buckets = header.content.exact_buckets.to_native() as usize;
        let places = header.places();
        let (buckets_end, spans_end) = (places.buckets.end, places.spans.end);
        Self {
            image,
            header,
            id,
            exact_buckets,
            seed: header.content.seed.to_native(),
            buckets_end,
            spans_end,
            reasons,
        }
    }

    /// The first eight bytes of the content hash, little-endian; never 0. The same list has the
    /// same id, whenever it was built.
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

    /// Of the entries, those that count on a day. Looks at all of them: some tenths of a second for
    /// 100 million.
    pub fn entries_on(&self, day: u16) -> Counting {
        let mut counting = Counting::default();
        for (key, &byte) in
            self.buckets().iter().flat_map(|bucket| bucket.keys.iter().zip(&bucket.sources))
        {
            let sources =
                if key.to_native() == 0 { 0 } else { self.sources_on(byte, key.to_native(), day) };
            counting.all += u64::from(sources != 0);
            for (at, count) in counting.by_source.iter_mut().enumerate() {
                *count += u64::from(sources >> at & 1);
            }
        }
        counting
    }

    /// When it was built, nanoseconds since 1970 UTC.
    pub const fn built_at_ns(&self) -> u64 {
        self.header.built_at_ns.to_native()
    }

    /// The day before which no line has ended. The counts are of this day.
    pub fn as_of(&self) -> Date {
        // The header was checked, or made from a date.
        date_of(self.header.content.as_of.to_native()).unwrap_or(Date::ZERO)
    }

    /// The day of which the list of each source is, in order of the codes, in days since
    /// 1970-01-01; 0 unknown, or no such list.
    pub fn source_days(&self) -> [u16; SNAPSHOT_SOURCES] {
        self.header.content.source_days.map(|day| day.to_native())
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
        // Never fails: the mapping is page-aligned, the header fills a page, and the length was
        // checked to be whole buckets.
        bytemuck::cast_slice(&self.image[HEADER_LEN..self.buckets_end])
    }

    #[inline]
    fn spans(&self) -> &[Span] {
        // Never fails: buckets end where a span may begin, and the length was checked.
        bytemuck::cast_slice(&self.image[self.buckets_end..self.spans_end])
    }

    #[inline]
    fn exact(&self) -> Table<'_> {
        Table { buckets: &self.buckets()[..self.exact_buckets], seed: self.seed }
    }

    #[inline]
    fn roots(&self) -> Table<'_> {
        Table { buckets: &self.buckets()[self.exact_buckets..], seed: self.seed }
    }

    /// Whether the document is listed on a day (days since 1970-01-01): itself, else, for a CNPJ,
    /// its root. Reads one cache line for each of the two, two at most; for a document with dates
    /// also its spans.
    #[inline]
    pub fn lookup(&self, key: DocumentKey, day: u16) -> Option<Hit> {
        self.lookup_exact(key, day).or_else(|| self.lookup_root(key, day))
    }

    /// [`Self::lookup`] among the entries of the document itself.
    #[inline]
    pub(super) fn lookup_exact(&self, key: DocumentKey, day: u16) -> Option<Hit> {
        let source = self.source_on(self.exact().find(key.raw())?, key.raw(), day)?;
        Some(Hit { source, scope: Scope::Exact })
    }

    /// [`Self::lookup`] among the entries of its company.
    #[inline]
    pub(super) fn lookup_root(&self, key: DocumentKey, day: u16) -> Option<Hit> {
        let root = root_key(key)?;
        let source = self.source_on(self.roots().find(root)?, root, day)?;
        Some(Hit { source, scope: Scope::Root })
    }

    /// The list with the lowest code that names a key on a day, out of its byte.
    #[inline]
    fn source_on(&self, byte: u8, key: u64, day: u16) -> Option<ListSource> {
        if byte & DATED == 0 {
            return Some(first_source(byte));
        }
        self.dated_source(byte, key, day)
    }

    #[inline(never)]
    fn dated_source(&self, byte: u8, key: u64, day: u16) -> Option<ListSource> {
        let sources = self.sources_on(byte, key, day);
        (sources != 0).then(|| first_source(sources))
    }

    /// The bits of the lists that name a key on a day, out of its byte.
    fn sources_on(&self, byte: u8, key: u64, day: u16) -> u8 {
        let dated = if byte & DATED == 0 { 0 } else { span::sources_on(self.spans(), key, day) };
        byte & SOURCES | dated
    }

    /// All lines that name a document or its company, whatever their dates: the document's first.
    /// Allocates.
    pub fn lines(&self, key: DocumentKey) -> Vec<Line<'_>> {
        let mut lines = self.lines_naming(Named { document: key, scope: Scope::Exact });
        lines.extend(self.lines_naming(Named { document: key, scope: Scope::Root }));
        lines
    }

    /// All lines that name a document itself, or its company itself. Allocates.
    pub fn lines_naming(&self, named: Named) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        let Some((key, byte)) = self.slot(named) else { return lines };
        let spans = span::of(self.spans(), key);
        let inline = u16::from(byte >> REASON_SHIFT);
        for source in ListSource::ALL.iter().copied().take(SNAPSHOT_SOURCES) {
            let line = |from, until, reason| Line {
                source,
                scope: named.scope,
                from,
                until,
                reason: self.reason(reason),
            };
            let bit = 1 << (source.to_wire() - 1);
            let reason = if source == ListSource::Plain { inline } else { 0 };
            let spans = spans.iter().filter(|span| span.source == source.to_wire());
            // An undated line whose reason has no room in the byte is a span as well.
            if byte & bit != 0 && (reason != 0 || spans.clone().all(Span::is_dated)) {
                lines.push(line(0, 0, reason));
            }
            lines.extend(spans.map(|span| {
                line(span.from.to_native(), span.until.to_native(), span.reason.to_native())
            }));
        }
        lines
    }

    /// The table key and the byte of a document's own slot, or of its company's.
    fn slot(&self, named: Named) -> Option<(u64, u8)> {
        let (table, key) = match named.scope {
            Scope::Exact => (self.exact(), named.document.raw()),
            Scope::Root => (self.roots(), root_key(named.document)?),
        };
        Some((key, table.find(key)?))
    }

    /// Whether it has an entry of the document itself, or of its company itself.
    pub(super) fn names(&self, named: Named) -> bool {
        self.slot(named).is_some()
    }

    /// The lists that name it, where that is all: without dates and without reasons.
    pub(super) fn bare(&self, named: Named) -> Option<u8> {
        let (_, byte) = self.slot(named)?;
        (byte <= SOURCES && self.spans().is_empty()).then_some(byte)
    }

    /// All documents and companies that it names, in no order that means anything.
    pub(super) fn named(&self) -> impl Iterator<Item = Named> {
        let exact =
            self.exact().keys().filter_map(|key| Some((Scope::Exact, DocumentKey::from_raw(key)?)));
        let roots = self.roots().keys().filter_map(|key| Some((Scope::Root, first_branch(key)?)));
        exact.chain(roots).map(|(scope, document)| Named { scope, document })
    }

    fn reason(&self, number: u16) -> Option<&str> {
        self.reasons.get(usize::from(number).checked_sub(1)?).map(|text| &**text)
    }

    /// Brings the cache lines near that a look-up of this document may read. Worth it some hundred
    /// nanoseconds ahead.
    #[inline]
    pub fn prefetch(&self, key: DocumentKey) {
        self.exact().prefetch(key.raw());
        if let Some(root) = root_key(key) {
            self.roots().prefetch(root);
        }
    }
}

/// The list with the lowest code in a source byte that has one.
#[inline]
fn first_source(byte: u8) -> ListSource {
    // One of the four low bits is set: made so, or checked so.
    ListSource::from_wire(byte.trailing_zeros() as u8 + 1).unwrap_or(ListSource::Plain)
}

/// Reads until the buffer is full or the file ends; how much.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
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
        f.debug_struct("Snapshot")
            .field("id", &self.id)
            .field("as_of", &self.as_of())
            .field("counts", &self.counts())
            .finish()
    }
}
