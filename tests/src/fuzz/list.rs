//! A list as CSV: whatever the file, each of its rows counts or is refused for a reason, none is
//! read twice or lost, and none that counts in doubt goes untold.

use catraca_cli::import::{
    Doubts, ImportError, MASKED_TEXT_LEN, Options, Outcome, Reject, Tally, read_list,
};
use catraca_core::blacklist::{Draft, Snapshot};
use catraca_core::calendar::day_number;
use catraca_wire::frame::{ListSource, Scope};
use jiff::civil::{Date, date};
use std::io::Read;

const DAY: Date = date(2026, 11, 22);
const SOURCES: [ListSource; 4] =
    [ListSource::Ceis, ListSource::Cnep, ListSource::Cepim, ListSource::Plain];

struct Found {
    tally: Result<Tally, ImportError>,
    draft: Draft,
    rejects: Vec<Reject>,
}

/// The first byte is the kind of list, and the length of the pieces in which the rest, the file, is
/// read a second time.
pub fn body(data: &[u8]) {
    let Some((&first, file)) = data.split_first() else { return };
    let source = SOURCES[usize::from(first) % SOURCES.len()];
    let found = read(file, source);
    assert!(
        found.draft.entries.len() + found.rejects.len() <= 2 * file.len(),
        "a document has a byte at least, and so has a row"
    );
    for reject in &found.rejects {
        assert!(reject.outcome != Outcome::Active || reject.doubts.any(), "{reject:?}");
        assert!(reject.line > 0, "{reject:?}");
        let shown = reject.document.chars().filter(|c| c.is_alphanumeric()).count();
        assert!(
            shown <= 6 && reject.document.chars().count() <= MASKED_TEXT_LEN,
            "a document is not masked: {reject:?}"
        );
    }
    assert!(found.rejects.is_sorted_by_key(|reject| reject.line), "rows are told in their order");
    match &found.tally {
        Ok(tally) => {
            let in_doubt =
                found.rejects.iter().filter(|reject| reject.outcome == Outcome::Active).count()
                    as u64;
            assert_eq!(
                tally.rows - tally.active + in_doubt,
                found.rejects.len() as u64,
                "each row is accepted or told"
            );
            assert!(
                tally.active <= found.draft.entries.len() as u64,
                "a row counts without an entry"
            );
            let mut counted = Tally::default();
            found.rejects.iter().for_each(|reject| counted.add(reject.outcome, reject.doubts));
            (in_doubt..tally.active).for_each(|_| counted.add(Outcome::Active, Doubts::default()));
            assert_eq!(*tally, counted, "each refusal and doubt is counted as what it is told");
            let snapshot =
                Snapshot::build(found.draft.clone(), DAY, 1).expect("few entries make a snapshot");
            let active =
                found.draft.entries.iter().filter(|entry| entry.counts_on(day_number(DAY)));
            let mut asked = active.map(|entry| snapshot.lookup(entry.document(), day_number(DAY)));
            assert!(asked.all(|hit| hit.is_some()), "an entry is not found again");
            assert!(
                found
                    .draft
                    .entries
                    .iter()
                    .all(|entry| !snapshot.lines(entry.document()).is_empty()),
                "nor is its line"
            );
        }
        Err(error) => assert!(error.to_string().len() < 512, "an error repeats the file: {error}"),
    }

    // A pipe gives what it has, a file all at once: both are the same list.
    let again = read(Pieces { rest: file, len: usize::from(first / 4) + 1 }, source);
    assert_eq!(
        (&again.draft.entries, &again.rejects),
        (&found.draft.entries, &found.rejects),
        "read in pieces"
    );
    let words = |tally: &Result<Tally, ImportError>| {
        tally.as_ref().map(|tally| *tally).map_err(ToString::to_string)
    };
    assert_eq!(words(&again.tally), words(&found.tally), "read in pieces");
}

fn read(input: impl Read, source: ListSource) -> Found {
    let (mut draft, mut rejects) = (Draft::default(), Vec::new());
    let options = Options { as_of: DAY, sanctions_scope: Scope::Root, ignore_columns: false };
    let tally = read_list(input, source, &options, &mut draft, |reject| {
        rejects.push(reject);
        Ok(())
    });
    Found { tally, draft, rejects }
}

/// Gives a few bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    len: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.len.min(self.rest.len()).min(buffer.len());
        let (piece, rest) = self.rest.split_at(len);
        buffer[..len].copy_from_slice(piece);
        self.rest = rest;
        Ok(len)
    }
}
