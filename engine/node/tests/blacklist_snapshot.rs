//! Snapshots and look-ups through the public API: what hits, what doesn't, and what no damaged file
//! gets past.

use catraca_core::blacklist::synthetic::document;
use catraca_core::blacklist::{Counts, Draft, Entry, Hit, MAX_BUCKETS, Snapshot, SnapshotError};
use catraca_core::calendar::day_number;
use catraca_node::list_files;
use catraca_testkit::lists::{entry, key};
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::{DocumentKey, DocumentKind};
use jiff::civil::{Date, date};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

const DAY: Date = date(2026, 11, 22);
const BUILT_AT_NS: u64 = 1_795_305_600_000_000_000;

fn snapshot(entries: Vec<Entry>) -> Snapshot {
    Snapshot::from_entries(entries, DAY, BUILT_AT_NS).expect("built")
}

fn synthetic(entries: u64) -> Snapshot {
    snapshot(
        (0..entries)
            .map(|number| entry(document(1, number), ListSource::Plain, Scope::Exact))
            .collect(),
    )
}

/// A small snapshot with all kinds of entries, saved: two documents with dates, two of its reasons
/// too rare for a slot.
fn saved(folder: &Path) -> (PathBuf, Vec<u8>) {
    let mut entries: Vec<_> =
        (0..40).map(|number| entry(document(1, number), ListSource::Plain, Scope::Exact)).collect();
    entries
        .extend((40..60).map(|number| entry(document(1, number), ListSource::Ceis, Scope::Root)));
    let mut draft = Draft::from(entries);
    for at in 0..9 {
        draft.entries[at] =
            draft.entries[at].because(draft.reasons.number(&format!("reason {at}")));
    }
    draft.entries[38] = draft.entries[38].between(None, Some(DAY));
    draft.entries[39] = draft.entries[39].between(Some(DAY), None);
    let path = folder.join("list.catraca");
    list_files::save(&Snapshot::build(draft, DAY, BUILT_AT_NS).expect("built"), &path)
        .expect("saved");
    let bytes = std::fs::read(&path).expect("read");
    (path, bytes)
}

fn rewrite(path: &Path, bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    std::fs::write(path, bytes).expect("written");
    list_files::open(path)
}

#[test]
fn every_listed_document_hits_and_no_other() {
    // Sizes around the bucket's seven slots, where tables are smallest and fullest, and some larger
    // ones.
    for entries in (0..80).chain([1_000, 40_000]) {
        let snapshot = synthetic(entries);
        assert_eq!(snapshot.entries(), entries);
        for number in 0..entries {
            let hit = snapshot.lookup(document(1, number), day_number(DAY));
            assert_eq!(
                hit,
                Some(Hit { source: ListSource::Plain, scope: Scope::Exact }),
                "{number} of {entries}"
            );
        }
        for number in entries..entries + 1_000 {
            snapshot.prefetch(document(1, number));
            assert_eq!(
                snapshot.lookup(document(1, number), day_number(DAY)),
                None,
                "{number} of {entries}"
            );
        }
    }
}

#[test]
fn a_root_hits_every_branch_and_an_exact_entry_one() {
    let snapshot = snapshot(vec![
        entry(key("ABCDEFGH000195"), ListSource::Cnep, Scope::Root),
        entry(key("12ABC34501DE35"), ListSource::Plain, Scope::Exact),
        entry(key("04933228680"), ListSource::Ceis, Scope::Root),
        entry(key("00000000000191"), ListSource::Ceis, Scope::Root),
    ]);
    let root = Some(Hit { source: ListSource::Cnep, scope: Scope::Root });
    assert_eq!(snapshot.lookup(key("ABCDEFGH000195"), day_number(DAY)), root);
    assert_eq!(snapshot.lookup(key("ABCDEFGH000276"), day_number(DAY)), root);
    assert_eq!(
        snapshot.lookup(key("12ABC34501DE35"), day_number(DAY)),
        Some(Hit { source: ListSource::Plain, scope: Scope::Exact })
    );
    let sibling = DocumentKey::from_raw(key("12ABC34501DE35").raw() + 1).expect("a key");
    assert_eq!(snapshot.lookup(sibling, day_number(DAY)), None);
    // A CPF has no branches, and the root of zeros is a root like any other.
    assert_eq!(
        snapshot.lookup(key("04933228680"), day_number(DAY)),
        Some(Hit { source: ListSource::Ceis, scope: Scope::Exact })
    );
    let branch = DocumentKey::from_raw(77).expect("a branch of root zero");
    assert_eq!(
        snapshot.lookup(branch, day_number(DAY)),
        Some(Hit { source: ListSource::Ceis, scope: Scope::Root })
    );
}

#[test]
fn counts_are_of_distinct_documents() {
    let snapshot = snapshot(vec![
        entry(key("ABCDEFGH000195"), ListSource::Cnep, Scope::Root),
        entry(key("ABCDEFGH000276"), ListSource::Cnep, Scope::Root),
        entry(key("ABCDEFGH000276"), ListSource::Plain, Scope::Exact),
        entry(key("04933228680"), ListSource::Plain, Scope::Exact),
        entry(key("04933228680"), ListSource::Ceis, Scope::Exact),
        entry(key("04933228680"), ListSource::Ceis, Scope::Exact),
    ]);
    let expected = Counts {
        entries: 3,
        roots: 1,
        spans: 0,
        future: 0,
        documents: 3,
        cpf: 1,
        cnpj: 2,
        alphanumeric: 2,
        by_source: [1, 2, 0, 2],
    };
    assert_eq!(snapshot.counts(), expected);
    assert_eq!(
        snapshot.lookup(key("04933228680"), day_number(DAY)).map(|hit| hit.source),
        Some(ListSource::Ceis)
    );
    assert_eq!((snapshot.as_of(), snapshot.built_at_ns()), (DAY, BUILT_AT_NS));
}

#[test]
fn the_same_entries_give_the_same_bytes() {
    let entries: Vec<_> = (0..5_000)
        .map(|number| entry(document(2, number), ListSource::Ceis, Scope::Root))
        .collect();
    let one = snapshot(entries.clone());
    let two = snapshot(entries.iter().rev().copied().collect());
    assert_eq!(one.bytes(), two.bytes());
    assert_ne!(one.id(), 0);
    let later = Snapshot::from_entries(entries.clone(), DAY, BUILT_AT_NS + 1).expect("built");
    assert_eq!((later.id(), later.content_hash()), (one.id(), one.content_hash()));
    assert_ne!(later.bytes(), one.bytes());
    assert_ne!(snapshot(entries[1..].to_vec()).id(), one.id());
}

#[test]
fn a_saved_snapshot_opens_to_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("list.catraca");
    let built = synthetic(10_000);
    list_files::save(&synthetic(10), &path).expect("saved");
    list_files::save(&built, &path).expect("replaced");
    let opened = list_files::open(&path).expect("sound");
    assert_eq!(opened.bytes(), built.bytes());
    assert_eq!(
        (opened.id(), opened.counts(), opened.as_of()),
        (built.id(), built.counts(), built.as_of())
    );
    assert!(
        (0..10_000).all(|number| opened.lookup(document(1, number), day_number(DAY)).is_some())
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("listed").count(),
        1,
        "a temporary file was left"
    );
    // An empty list is a list.
    list_files::save(&synthetic(0), &path).expect("saved");
    assert_eq!(
        list_files::open(&path).expect("sound").lookup(document(1, 1), day_number(DAY)),
        None
    );
}

#[test]
fn every_flipped_bit_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = saved(folder.path());
    for at in 0..bytes.len() {
        // All bits of what has a meaning; one for each byte of the header page's empty rest.
        let bits = if (256..4096).contains(&at) { at % 8..at % 8 + 1 } else { 0..8 };
        for bit in bits {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let error =
                rewrite(&path, &damaged).expect_err("a flipped bit was accepted").to_string();
            assert!(
                error.contains("list.catraca") && error.contains("build"),
                "byte {at} bit {bit}: {error}"
            );
        }
    }
    rewrite(&path, &bytes).expect("whole again");
}

#[test]
fn every_truncation_and_any_tail_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, mut bytes) = saved(folder.path());
    for len in 0..bytes.len() {
        rewrite(&path, &bytes[..len]).expect_err("a truncated file was accepted");
    }
    bytes.push(0);
    assert!(matches!(rewrite(&path, &bytes), Err(SnapshotError::Length { .. })));
}

/// Recomputes both hashes, as somebody would who wants to be believed.
fn rehashed(mut bytes: Vec<u8>) -> Vec<u8> {
    let content = blake3::Hasher::new().update(&bytes[88..232]).update(&bytes[4096..]).finalize();
    bytes[48..80].copy_from_slice(content.as_bytes());
    bytes[16..48].fill(0);
    let header = blake3::hash(&bytes[..4096]);
    bytes[16..48].copy_from_slice(header.as_bytes());
    bytes
}

#[test]
fn sound_hashes_do_not_excuse_nonsense() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, bytes) = saved(folder.path());
    rewrite(&path, &rehashed(bytes.clone()))
        .expect("nothing changed: the offsets in this test are right");
    let change = |offset: usize, value: u64, expected: &str| {
        let mut forged = bytes.clone();
        forged[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        let error = rewrite(&path, &rehashed(forged)).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    change(8, 9 | 4096 << 32, "format version 9");
    // Who was listed on one day: its dates can't be made up.
    change(8, 1 | 4096 << 32, "format version 1, and this program reads 2; build it again");
    change(88, 20_261_322, "as-of date");
    change(104, MAX_BUCKETS + 1, "more buckets");
    change(112, u64::MAX, "more buckets");
    change(104, 1, "bytes where");
    change(120, 41, "counts other entries");
    change(136, u64::MAX, "more dated lines");
    change(136, 3, "bytes where");
    change(144, 10 << 32 | 9, "bytes where");
    change(144, u64::MAX, "more reasons");
    let spans = bytes.len() - 9 * 10 - 4 * 16;
    change(spans, 1, "not there");
    change(spans + 16, 1, "out of their order");
    let line = |from: u64, until: u64, source: u64, reason: u64| {
        from | until << 16 | source << 32 | reason << 48
    };
    change(spans + 8, line(0, 0, 9, 1), "known source");
    change(spans + 8, line(0, 0, 4 | 1 << 8, 1), "known source");
    change(spans + 8, line(0, 0, 4, 10), "known source");
    change(spans + 8, line(0, 0, 4, 0), "without dates");
    // Two of the four have dates, which their documents' slots say; two are there for their
    // reasons.
    let outcomes = |value: u64| -> Vec<String> {
        let forged = (0..4).map(|n| {
            let mut forged = bytes.clone();
            forged[spans + 16 * n + 8..][..8].copy_from_slice(&value.to_le_bytes());
            rewrite(&path, &rehashed(forged))
                .map_or_else(|error| error.to_string(), |_| String::new())
        });
        forged.collect()
    };
    let refused = |value, expected: &str| {
        outcomes(value).iter().filter(|error| error.contains(expected)).count()
    };
    assert_eq!(refused(line(7, 0, 4, 1), "does not say that it has dates"), 2);
    assert_eq!(refused(line(0, 0, 4, 1), "without dates"), 2);
    let texts = bytes.len() - 9 * 10;
    change(texts, 0, "a length that none has");
    change(texts, 0x000a, "no text");
    change(texts + 9 * 9, 0xffff_ffff, "reason");
    change(300, 1, "reserved bytes");
    change(96, 12_345, "nobody looks for it");
    change(4096, 1 << 63 | 111_111_111, "no document has");
    let sources = 4096 + 56;
    for (byte, expected) in [
        (0x20, "without a known source"),
        (0x10, "dates that are not there"),
        (0xe8, ""),
        (0x28 | 0x10, "dates that are not there"),
        (0x21, "reason that is not there"),
    ] {
        let mut forged = bytes.clone();
        forged[sources] = byte;
        let error = rewrite(&path, &rehashed(forged))
            .map_or_else(|error| error.to_string(), |_| String::new());
        assert!(
            error.contains(expected) && error.is_empty() == expected.is_empty(),
            "{byte:x}: {error}"
        );
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(list_files::open(folder.path()), Err(SnapshotError::NotASnapshot { .. })));
    assert!(matches!(
        list_files::open(Path::new("/dev/zero")),
        Err(SnapshotError::NotASnapshot { .. })
    ));
    assert!(matches!(list_files::open(&folder.path().join("none")), Err(SnapshotError::Io { .. })));
}

#[test]
fn a_failed_save_leaves_the_old_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("list");
    std::fs::create_dir(&path).expect("a folder in the way");
    list_files::save(&synthetic(3), &path).expect_err("a folder can't be replaced by a file");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("listed").count(),
        1,
        "a temporary file was left"
    );
    list_files::save(&synthetic(3), &folder.path().join("none/list")).expect_err("no such folder");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn forged_tables_never_panic(noise in proptest::collection::vec((4096usize..6_000, any::<u8>()), 1..40)) {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, mut bytes) = saved(folder.path());
        for (at, byte) in noise {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(snapshot) = rewrite(&path, &rehashed(bytes)) {
            for number in 0..100 {
                let _ = snapshot.lookup(document(1, number), day_number(DAY));
            }
        }
    }

    #[test]
    fn a_snapshot_agrees_with_a_map(
        raws in proptest::collection::vec((0u64..3_000, 0u8..4, any::<bool>()), 0..400),
        asked in proptest::collection::vec(0u64..3_000, 0..200),
    ) {
        // Few roots (a million apart is another root), so that exact entries, roots and branches
        // meet.
        let document = |number: u64| match number % 3 {
            0 => DocumentKey::from_cpf_number(number as u32 + 1).expect("no repeated digit below 111,111,111"),
            _ => DocumentKey::from_raw(number / 30 * 36u64.pow(4) + number % 30 + 1).expect("a key"),
        };
        let mut exact: HashMap<DocumentKey, u8> = HashMap::new();
        let mut roots: HashMap<u64, u8> = HashMap::new();
        let mut entries = Vec::new();
        for (number, source, root) in raws {
            let (document, scope) = (document(number), if root { Scope::Root } else { Scope::Exact });
            entries.push(entry(document, ListSource::ALL[usize::from(source)], scope));
            match document.cnpj_root() {
                Some(key) if root => roots.entry(key).and_modify(|least| *least = source.min(*least)).or_insert(source),
                _ => exact.entry(document).and_modify(|least| *least = source.min(*least)).or_insert(source),
            };
        }
        let snapshot = snapshot(entries);
        for number in asked {
            let asked = document(number);
            let hit = |scope| move |&source: &u8| Hit { source: ListSource::ALL[usize::from(source)], scope };
            let expected = exact.get(&asked).map(hit(Scope::Exact));
            let expected = expected.or_else(|| roots.get(&asked.cnpj_root()?).map(hit(Scope::Root)));
            prop_assert_eq!(snapshot.lookup(asked, day_number(DAY)), expected);
        }
    }
}

#[test]
fn synthetic_documents_differ_and_repeat() {
    let documents: HashSet<_> = (0..200_000).map(|number| document(5, number)).collect();
    assert_eq!(documents.len(), 200_000);
    let cpf = documents.iter().filter(|document| document.kind() == DocumentKind::Cpf).count();
    assert!((99_990..=100_000).contains(&cpf), "{cpf}");
    assert_eq!(document(5, 42), document(5, 42));
    assert_ne!(document(5, 42), document(6, 42));
    for number in (0..1_000_000_000).step_by(1_000_003) {
        let document = document(9, number);
        assert_eq!(DocumentKey::from_wire(&document.to_wire()), Ok(document));
    }
}
