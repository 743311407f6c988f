//! A snapshot file: a damaged one is refused with a typed error, and one with sound hashes that
//! something else made does no harm.

use super::input::{Input, spoil};
use catraca_core::blacklist::synthetic::document;
use catraca_core::blacklist::{Draft, Entry, Hit, Snapshot, SnapshotError};
use catraca_node::list_files;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope};
use jiff::civil::date;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::LazyLock;
use tempfile::TempDir;

const HEADER_LEN: usize = 4096;
/// Where the header has its hash, the hash of the content, and the fields that count as content
/// (`blacklist/format.rs`).
const HEADER_HASH: Range<usize> = 16..48;
const CONTENT_HASH: Range<usize> = 48..80;
const CONTENT: Range<usize> = 88..232;
/// The days asked about.
const DAY: u16 = 20_779;
const LATER: u16 = DAY + 20;
/// Documents asked for: listed ones and as many others.
const ASKED: u64 = 160;

/// A sound snapshot with all kinds of entries, as a file, and what it answers.
static SOUND: LazyLock<(Vec<u8>, Vec<Option<Hit>>)> = LazyLock::new(|| {
    let sources = [ListSource::Ceis, ListSource::Cnep, ListSource::Cepim, ListSource::Plain];
    let entry = |number: u64| {
        let scope = if number.is_multiple_of(3) { Scope::Root } else { Scope::Exact };
        let entry = Entry::new(document(1, number), sources[number as usize % 4], scope)
            .expect("a source of lists");
        let until = (number % 4 > 1).then(|| date(2026, 12, 1 + (number % 28) as i8));
        entry.between(number.is_multiple_of(5).then(|| date(2026, 12, 10)), until)
    };
    let mut draft = Draft::from((0..80).map(entry).collect::<Vec<_>>());
    for entry in &mut draft.entries {
        *entry =
            entry.because(draft.reasons.number(&format!("reason {}", entry.document().raw() % 12)));
    }
    let snapshot = Snapshot::build(draft, date(2026, 11, 22), 1).expect("few entries");
    (snapshot.bytes().to_vec(), answers(&snapshot))
});

fn asked() -> impl Iterator<Item = DocumentKey> {
    (0..ASKED).map(|number| document(1, number))
}

fn answers(snapshot: &Snapshot) -> Vec<Option<Hit>> {
    let asked = asked().inspect(|&key| snapshot.prefetch(key));
    asked.flat_map(|key| [DAY, LATER].map(|day| snapshot.lookup(key, day))).collect()
}

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder");
}

fn open(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    let path: PathBuf = FOLDER.with(|folder| folder.path().join("list.catraca"));
    std::fs::write(&path, bytes).expect("a temporary file");
    list_files::open(&path)
}

/// The first byte says what the rest is: the file; a program that spoils a sound one; one after
/// which hashes are made right.
pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let (sound, hits) = &*SOUND;
    let first = input.byte();
    let file = match first % 3 {
        0 => input.rest().to_vec(),
        1 => spoilt(first >= 128, &mut input),
        _ => {
            let mut file = spoilt(first >= 128, &mut input);
            if file.len() >= HEADER_LEN {
                make_hashes_right(&mut file);
            }
            return forged(&file);
        }
    };
    match open(&file) {
        Ok(snapshot) => {
            assert_eq!(file, *sound, "no other bytes have its hashes");
            assert_eq!(answers(&snapshot), *hits);
        }
        Err(error) => {
            assert_ne!(file, *sound, "a sound snapshot is refused: {error}");
            assert!(!matches!(error, SnapshotError::Io { .. }), "{error}");
        }
    }
}

/// The sound file spoilt: anywhere, or but for the zeros behind the header, which are most of it.
fn spoilt(anywhere: bool, input: &mut Input<'_>) -> Vec<u8> {
    let mut file = SOUND.0.clone();
    if anywhere {
        spoil(&mut file, input);
        return file;
    }
    file.drain(CONTENT.end..HEADER_LEN);
    spoil(&mut file, input);
    let at = CONTENT.end.min(file.len());
    drop(file.splice(at..at, std::iter::repeat_n(0, HEADER_LEN - CONTENT.end)));
    file
}

/// What somebody made with sound hashes: refused, or in every way a snapshot.
fn forged(file: &[u8]) {
    let snapshot = match open(file) {
        Ok(snapshot) => snapshot,
        Err(error) => return assert!(!matches!(error, SnapshotError::Io { .. }), "{error}"),
    };
    assert_eq!(snapshot.bytes(), file);
    let slots = (file.len() - HEADER_LEN) / 64 * 7;
    assert!(snapshot.entries() <= slots as u64 && snapshot.counts().roots <= snapshot.entries());
    assert_ne!(snapshot.id(), 0);
    let hits = answers(&snapshot);
    assert!(hits.iter().flatten().count() as u64 <= 2 * ASKED);
    assert!(
        asked()
            .all(|key| snapshot.lines(key).iter().all(|line| line.source != ListSource::Overlay))
    );
    assert!(
        hits.iter().flatten().all(|hit| hit.source != ListSource::Overlay),
        "a source that no snapshot has"
    );
    if snapshot.entries() == 0 {
        assert!(hits.iter().all(Option::is_none), "an empty list lists somebody");
    }
}

fn make_hashes_right(file: &mut [u8]) {
    let content = *blake3::Hasher::new()
        .update(&file[CONTENT])
        .update(&file[HEADER_LEN..])
        .finalize()
        .as_bytes();
    file[CONTENT_HASH].copy_from_slice(&content);
    file[HEADER_HASH].fill(0);
    let header = *blake3::hash(&file[..HEADER_LEN]).as_bytes();
    file[HEADER_HASH].copy_from_slice(&header);
}
