//! The snapshot file, byte by byte, and what is refused.
//!
//! A header page of 4096 bytes ([`Header`], then zeros), the buckets of the exact table, the
//! buckets of the root table, the spans (lines with dates, sorted), the reasons (each its length in
//! two bytes, and its text in UTF-8). All integers are little-endian; a day is the number of days
//! since 1970-01-01. Two BLAKE3 hashes cover every byte: `content_hash` the content fields and all
//! behind the header page, so that the same list has the same id whenever it was built;
//! `header_hash` the header page, `content_hash` included.

use super::bucket::BUCKET_LEN;
use super::build::MAX_ENTRIES;
use super::entry::{MAX_REASON_LEN, MAX_REASONS};
use super::span::SPAN_LEN;
use bytemuck::{Pod, Zeroable};
use jiff::civil::Date;
use rend::{u16_le, u32_le, u64_le};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// First bytes of a snapshot file.
pub(super) const MAGIC: [u8; 8] = *b"CATRLIST";
/// Version of the layout below. Version 1 had no dates: it held who was listed on one day.
pub(super) const FORMAT_VERSION: u32 = 2;
/// The header fills a page, so that the buckets behind it are aligned to cache lines and pages.
pub(super) const HEADER_LEN: usize = 4096;
/// Most buckets in one table: 2^25 of 64 bytes are 2 GiB and hold 200 million keys, twice what is
/// promised; a header that claims more is refused before memory is asked for.
pub const MAX_BUCKETS: u64 = 1 << 25;
/// Lists that an entry can come from in a snapshot: codes 1 to 4.
pub(super) const SNAPSHOT_SOURCES: usize = 4;
/// Bytes before each reason: its length.
pub(super) const REASON_HEAD_LEN: usize = 2;

/// The header, at the start of its page.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    /// [`MAGIC`].
    pub(super) magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub(super) version: u32_le,
    /// [`HEADER_LEN`].
    pub(super) header_len: u32_le,
    /// BLAKE3 of the header page with this field zero.
    pub(super) header_hash: [u8; 32],
    /// BLAKE3 of `content` and of everything behind the header page.
    pub(super) content_hash: [u8; 32],
    /// When it was built, nanoseconds since 1970 UTC.
    pub(super) built_at_ns: u64_le,
    /// What is in it.
    pub(super) content: Content,
}

/// What the file holds; part of the content hash.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Content {
    /// The day before which no line has ended, as the decimal number yyyymmdd; the counts are of
    /// this day.
    pub(super) as_of: u32_le,
    /// 0.
    pub(super) reserved: u32_le,
    /// Seed of both tables.
    pub(super) seed: u64_le,
    /// Buckets of the exact table.
    pub(super) exact_buckets: u64_le,
    /// Buckets of the root table.
    pub(super) root_buckets: u64_le,
    /// Keys in the exact table.
    pub(super) exact_entries: u64_le,
    /// Keys in the root table.
    pub(super) root_entries: u64_le,
    /// Spans.
    pub(super) spans: u64_le,
    /// Reasons.
    pub(super) reasons: u32_le,
    /// Bytes of the reasons.
    pub(super) reasons_len: u32_le,
    /// By source: the day of which its list is; 0 unknown.
    pub(super) source_days: [u16_le; SNAPSHOT_SOURCES],
    /// Distinct documents whose first line begins after the day.
    pub(super) future: u64_le,
    /// Distinct documents listed on the day.
    pub(super) documents: u64_le,
    /// Of these, CPFs.
    pub(super) cpf: u64_le,
    /// Of these, CNPJs.
    pub(super) cnpj: u64_le,
    /// Of the CNPJs, those with a letter.
    pub(super) alphanumeric: u64_le,
    /// Distinct documents listed by each source, in order of the codes.
    pub(super) by_source: [u64_le; SNAPSHOT_SOURCES],
}

const _: () = assert!(size_of::<Header>() == 232 && HEADER_LEN.is_multiple_of(BUCKET_LEN));

/// How much is in a snapshot, on the day of which it is. A document listed by two sources counts
/// once in the totals and once for each source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Keys in the tables: documents listed exactly, and roots.
    pub entries: u64,
    /// Of the entries, CNPJ roots.
    pub roots: u64,
    /// Lines with dates, or with a rare reason.
    pub spans: u64,
    /// Distinct documents that will be listed, and are not yet.
    pub future: u64,
    /// Distinct documents.
    pub documents: u64,
    /// Of the documents, CPFs.
    pub cpf: u64,
    /// Of the documents, CNPJs.
    pub cnpj: u64,
    /// Of the CNPJs, those with a letter.
    pub alphanumeric: u64,
    /// Distinct documents by source: CEIS, CNEP, CEPIM, plain.
    pub by_source: [u64; SNAPSHOT_SOURCES],
}

/// Why a snapshot file is refused.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file could not be read.
    #[error("{}: the list snapshot can't be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It doesn't begin like a snapshot.
    #[error("{}: not a list snapshot; build one with `catraca blacklist build`", path.display())]
    NotASnapshot {
        /// The file.
        path: PathBuf,
    },
    /// Another version of the format.
    #[error("{}: list snapshot of format version {found}, and this program reads {FORMAT_VERSION}; build it again", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// Shorter or longer than its header says.
    #[error("{}: the list snapshot has {found} bytes where {expected} are due; copy or build it again", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes due.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// A hash doesn't fit.
    #[error("{}: the list snapshot is damaged (the hash of its {part} is wrong); copy or build it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// `header` or `tables`.
        part: &'static str,
    },
    /// The hashes fit and the content makes no sense: made by something else.
    #[error("{}: the list snapshot makes no sense ({what}); build it again", path.display())]
    Nonsense {
        /// The file.
        path: PathBuf,
        /// What makes no sense.
        what: &'static str,
    },
}

/// Why a header is refused, before the path is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    NotASnapshot,
    Version(u32),
    Damaged,
    Nonsense(&'static str),
}

impl Header {
    /// Checks a header page on its own.
    pub(super) fn check(page: &[u8; HEADER_LEN]) -> Result<Self, HeaderFault> {
        let (head, rest) = page.split_at(size_of::<Self>());
        let header: Self = bytemuck::pod_read_unaligned(head);
        if header.magic != MAGIC {
            return Err(HeaderFault::NotASnapshot);
        }
        if header.version.to_native() != FORMAT_VERSION {
            return Err(HeaderFault::Version(header.version.to_native()));
        }
        if header.header_hash != header.hash_page(rest) {
            return Err(HeaderFault::Damaged);
        }
        let content = &header.content;
        let nonsense = if header.header_len.to_native() as usize != HEADER_LEN {
            Some("header length")
        } else if content.reserved.to_native() != 0 || rest.iter().any(|&byte| byte != 0) {
            Some("reserved bytes in use")
        } else if content.exact_buckets.to_native() > MAX_BUCKETS
            || content.root_buckets.to_native() > MAX_BUCKETS
        {
            Some("more buckets than the format allows")
        } else if content.spans.to_native() > MAX_ENTRIES as u64 {
            Some("more dated lines than the format allows")
        } else if content.reasons.to_native() as usize > MAX_REASONS
            || content.reasons_len.to_native() as usize
                > MAX_REASONS * (REASON_HEAD_LEN + MAX_REASON_LEN)
        {
            Some("more reasons than the format allows")
        } else if date_of(content.as_of.to_native()).is_none() {
            Some("as-of date")
        } else {
            None
        };
        nonsense.map_or(Ok(header), |what| Err(HeaderFault::Nonsense(what)))
    }

    /// The hash of a page that begins with this header, its hash field zero, and goes on with
    /// `rest`.
    pub(super) fn hash_page(&self, rest: &[u8]) -> [u8; 32] {
        let unhashed = Self { header_hash: [0; 32], ..*self };
        *blake3::Hasher::new()
            .update(bytemuck::bytes_of(&unhashed))
            .update(rest)
            .finalize()
            .as_bytes()
    }

    /// Bytes of the whole file.
    pub(super) fn file_len(&self) -> u64 {
        self.places().reasons.end as u64
    }

    /// Where the parts of the file are. The counts were checked: 4 GiB of buckets, 3.2 GB of spans,
    /// 11 MB of reasons at most.
    pub(super) fn places(&self) -> Places {
        let content = &self.content;
        let buckets =
            content.exact_buckets.to_native() as usize + content.root_buckets.to_native() as usize;
        let buckets_end = HEADER_LEN + buckets * BUCKET_LEN;
        let spans_end = buckets_end + content.spans.to_native() as usize * SPAN_LEN;
        let reasons_end = spans_end + content.reasons_len.to_native() as usize;
        Places {
            buckets: HEADER_LEN..buckets_end,
            spans: buckets_end..spans_end,
            reasons: spans_end..reasons_end,
        }
    }

    /// The counts in print.
    pub(super) fn counts(&self) -> Counts {
        let content = &self.content;
        Counts {
            entries: content.exact_entries.to_native() + content.root_entries.to_native(),
            roots: content.root_entries.to_native(),
            spans: content.spans.to_native(),
            future: content.future.to_native(),
            documents: content.documents.to_native(),
            cpf: content.cpf.to_native(),
            cnpj: content.cnpj.to_native(),
            alphanumeric: content.alphanumeric.to_native(),
            by_source: content.by_source.map(u64_le::to_native),
        }
    }
}

/// Where the parts of a file are.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) buckets: Range<usize>,
    pub(super) spans: Range<usize>,
    pub(super) reasons: Range<usize>,
}

/// A date as the decimal number yyyymmdd; years before 0 count as 0, since no list has them.
pub(super) fn number_of(date: Date) -> u32 {
    let [month, day] = [date.month(), date.day()].map(|part| u32::from(part.unsigned_abs()));
    u32::from(date.year().max(0).unsigned_abs()) * 10_000 + month * 100 + day
}

/// The date of a decimal number yyyymmdd.
pub(super) fn date_of(number: u32) -> Option<Date> {
    let year = i16::try_from(number / 10_000).ok()?;
    let month = i8::try_from(number / 100 % 100).ok()?;
    let day = i8::try_from(number % 100).ok()?;
    Date::new(year, month, day).ok()
}
