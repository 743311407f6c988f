//! Reads published lists and the operator's own CSV into a draft of a snapshot.
//!
//! A list is read as a stream; memory is bounded by one row ([`MAX_ROW_LEN`]) and the entries
//! found. A row that can't be used is counted by its reason and handed to the caller for the file
//! of rejects; a file that can't be a whole list is an [`ImportError`]. A row that names a sound
//! document is never refused for anything else: what can't be read of it is taken the way that
//! lists more. Layouts (which column is found by which name) are in `columns.rs`, the reading of
//! one row in `row.rs`, its document in `document.rs`, its dates in `day.rs`, the guards against
//! files that are something else or were cut in `guard.rs`, those against quotes that swallow rows
//! in `quotes.rs`, counts and what is tolerated of them in `tally.rs`.

mod columns;
mod day;
mod document;
mod guard;
mod quotes;
mod row;
mod tally;
mod text;

pub use row::{Doubts, MASKED_TEXT_LEN, Outcome, masked_text};
pub use tally::{
    Intolerable, PLAIN_DOUBTFUL, PLAIN_REJECTS_PERCENT, PUBLISHED_DOUBTFUL_PERCENT,
    PUBLISHED_REJECTS_PERCENT, Tally, Tolerance,
};

use catraca_core::blacklist::Draft;
use catraca_core::blacklist::build::MAX_ENTRIES;
use catraca_wire::frame::{ListSource, Scope};
use columns::Columns;
use csv::ByteRecord;
use guard::Guard;
use jiff::civil::Date;
use row::Row;
use std::io::{BufReader, Cursor, Read};

/// Longest row, bytes: published rows have some kilobytes, the longest reasons some tens. An
/// unclosed quote would otherwise take the rest of the file for one field.
pub const MAX_ROW_LEN: u64 = 1 << 20;

/// A number that may be somebody's CPF or another's CNPJ is listed as both.
const MOST_ENTRIES_OF_A_DOCUMENT: usize = 2;

/// How to read a list.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Entries that ended before this day are left out; active are those that count on it.
    pub as_of: Date,
    /// How far an entry of CEIS, CNEP or CEPIM reaches; a plain list says so itself, or means
    /// [`Scope::Exact`].
    pub sanctions_scope: Scope,
    /// Take a plain list that has columns of unknown names; they are not read.
    pub ignore_columns: bool,
}

/// A row that does not count, or counts in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Line of the file where the row begins, from 1.
    pub line: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// What could not be read of it, if it counts.
    pub doubts: Doubts,
    /// What stood in the document's column, masked.
    pub document: String,
}

/// Why a file can't be taken as a list. The messages don't name the file: the caller knows it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It could not be read.
    #[error("it can't be read: {0}")]
    Io(#[source] std::io::Error),
    /// Its beginning says that it is something else.
    #[error("not a list but {0}")]
    NotAList(&'static str),
    /// A column that must be there is not.
    #[error(
        "no column \"{wanted}\" among the {found} of the first line; a list of this kind ({kind}) has a header that names its columns"
    )]
    NoColumn {
        /// Its published name.
        wanted: &'static str,
        /// How many columns there are.
        found: usize,
        /// The kind of list.
        kind: ListSource,
    },
    /// A plain list has columns that nobody knows.
    #[error(
        "columns that no plain list has: {names}; its columns are document (or cpf, cnpj), scope, reason, valid_from, valid_until: \
         correct the names, or --ignore-columns to build without these"
    )]
    UnknownColumns {
        /// Their names, or their places.
        names: String,
    },
    /// Two columns are there for one thing.
    #[error(
        "two columns hold what \"{name}\" says, and which one counts can't be told; leave one out"
    )]
    SameColumn {
        /// The name.
        name: &'static str,
    },
    /// A header and nothing else.
    #[error("no rows behind the header; download or export it again")]
    NoRows,
    /// It ends within a row.
    #[error("cut off: it ends inside the row of line {line}; download or export it again")]
    Cut {
        /// Line where the row begins.
        line: u64,
    },
    /// A quote that is missing or too many has made one row of several.
    #[error(
        "a quote is missing or too many in the row of line {line}, so that rows behind it can't be told from its text and would stay \
         free; mend it there (a quote inside of quotes is doubled), or download or export the list again"
    )]
    Quotes {
        /// Line where the row begins.
        line: u64,
    },
    /// A row past [`MAX_ROW_LEN`].
    #[error(
        "the row of line {line} is longer than {MAX_ROW_LEN} bytes: a quote is missing there, or the file was cut"
    )]
    RowTooLong {
        /// Line where the row begins.
        line: u64,
    },
    /// More entries than a snapshot holds.
    #[error(
        "with it there are more than {MAX_ENTRIES} entries, the most that a snapshot holds; leave a list out"
    )]
    TooMany,
    /// The file of rejects could not be written.
    #[error("the file of rejects can't be written: {0}")]
    Rejects(#[source] std::io::Error),
}

/// Reads one list, adds the entries that have not ended to `draft`, and hands each row that doesn't
/// count on the day, or counts in doubt, to `reject`.
///
/// # Errors
/// What [`ImportError`] lists; `draft` then holds what was read before.
pub fn read_list(
    input: impl Read,
    source: ListSource,
    options: &Options,
    draft: &mut Draft,
    mut reject: impl FnMut(Reject) -> std::io::Result<()>,
) -> Result<Tally, ImportError> {
    let mut input = BufReader::with_capacity(guard::SNIFF_LEN, input);
    let mut start = Vec::new();
    // Not what one read gives, which from a pipe may be less than the header.
    input
        .by_ref()
        .take(guard::SNIFF_LEN as u64)
        .read_to_end(&mut start)
        .map_err(ImportError::Io)?;
    guard::refuse_other_formats(&start)?;
    let delimiter = guard::delimiter(&start, source);
    let crlf = guard::ends_lines_with_crlf(&start);
    let input = Cursor::new(start).chain(input);
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(Guard::new(input, delimiter));
    let mut record = ByteRecord::new();
    let mut line = next_row(&mut rows, &mut record, false)?.ok_or(ImportError::NoRows)?;
    let columns = Columns::find(&record, source, options.ignore_columns)?;
    if quotes::swallowed_rows(&record, &columns, delimiter) {
        return Err(ImportError::Quotes { line });
    }
    let mut tally = Tally::default();
    // The last row read may be the end marker, so a row that looks like it is taken for one only
    // when nothing follows.
    let mut at_marker = false;
    let mut last_is_short = false;
    let mut last_may_be_cut = false;
    while let Some(begins) = next_row(&mut rows, &mut record, crlf)? {
        if at_marker {
            let (outcome, doubts) = (Outcome::WrongFields, Doubts::default());
            tally.add(outcome, doubts);
            reject(Reject { line, outcome, doubts, document: String::new() })
                .map_err(ImportError::Rejects)?;
        }
        at_marker = guard::is_end_marker(&record);
        if at_marker {
            // `line` stays that of the last true row, for the message that the file was cut inside
            // it.
            continue;
        }
        line = begins;
        last_is_short = record.len() < columns.width;
        last_may_be_cut =
            record.iter().next_back().is_some_and(|field| day::may_be_cut(&text::decoded(field)));
        // A spreadsheet's empty rows name nobody.
        if record.iter().all(|field| field.trim_ascii().is_empty()) {
            continue;
        }
        if quotes::swallowed_rows(&record, &columns, delimiter) {
            return Err(ImportError::Quotes { line });
        }
        if draft.entries.len() + columns.documents.len() * MOST_ENTRIES_OF_A_DOCUMENT > MAX_ENTRIES
        {
            return Err(ImportError::TooMany);
        }
        let Row { outcome, doubts, column } = row::read(&record, &columns, source, options, draft);
        tally.add(outcome, doubts);
        if outcome != Outcome::Active || doubts.any() {
            let document = masked_text(record.get(column).unwrap_or_default());
            reject(Reject { line, outcome, doubts, document }).map_err(ImportError::Rejects)?;
        }
    }
    // Without the marker the last row swallowed it: its quote was never closed. A row without its
    // line end is whole if it has all fields, closes its last one in the published lists, which
    // quote all of them, and does not end in what may be half a day.
    let end = rows.get_ref().last_byte();
    let unended = !matches!(end, b'\r' | b'\n');
    let cut_after_delimiter = source != ListSource::Plain && unended && end != b'"';
    if !at_marker || cut_after_delimiter || (unended && (last_is_short || last_may_be_cut)) {
        return Err(ImportError::Cut { line });
    }
    if tally.rows == 0 {
        return Err(ImportError::NoRows);
    }
    Ok(tally)
}

/// Reads a row; the line where it begins, or `None` at the end. The CSV reader ends a row at CR and
/// counts the LF behind it as part of the next one: `after_crlf` says that there is one.
fn next_row<R: Read>(
    rows: &mut csv::Reader<Guard<R>>,
    record: &mut ByteRecord,
    after_crlf: bool,
) -> Result<Option<u64>, ImportError> {
    let line = rows.position().line() + u64::from(after_crlf);
    rows.get_mut().begin_row();
    match rows.read_byte_record(record) {
        Ok(true) => Ok(Some(line)),
        Ok(false) => Ok(None),
        Err(error) => Err(match (rows.get_ref().misquoted(), rows.get_ref().row_too_long()) {
            (Some(line), _) => ImportError::Quotes { line },
            (None, true) => ImportError::RowTooLong { line },
            (None, false) => ImportError::Io(error.into()),
        }),
    }
}
