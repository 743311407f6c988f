//! The demo's list: the bundled sample, built into a snapshot, and as the load generator reads it.

use crate::import::{Options, Tally, read_list};
use catraca_core::blacklist::{Draft, Entry, Snapshot};
use catraca_core::calendar::{DEFAULT_ZONE, day_number};
use catraca_node::fatal::Failure;
use catraca_node::list_files;
use catraca_node::time_zone;
use catraca_wire::client::now_ns;
use catraca_wire::frame::{ListSource, Scope};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A list in the published layout of CEIS with its difficulties; the people and companies are
/// invented.
const SAMPLE: &[u8] = include_bytes!("../../../../../scripts/sample/ceis-sample.csv");

/// What was made of the sample.
pub struct DemoList {
    /// Rows by what became of them.
    pub tally: Tally,
    /// Distinct documents that count today.
    pub documents: u64,
    /// The snapshot that the node loads.
    pub snapshot: PathBuf,
    /// The documents that count, one a line, for the load generator.
    pub listed: PathBuf,
    /// One of them, canonical.
    pub example: String,
}

/// Builds the snapshot and writes both files.
pub fn build(folder: &Path) -> Result<DemoList, Failure> {
    let zone = time_zone::named(DEFAULT_ZONE).map_err(|e| Failure::failed(e.to_string()))?;
    let as_of = zone.date_at(now_ns());
    let options = Options { as_of, sanctions_scope: Scope::Root, ignore_columns: false };
    let mut draft = Draft::default();
    let tally = read_list(SAMPLE, ListSource::Ceis, &options, &mut draft, |_| Ok(()))
        .map_err(|e| Failure::failed(format!("the bundled list: {e}")))?;
    let active = draft.entries.iter().filter(|entry| entry.counts_on(day_number(as_of)));
    let documents: Vec<_> = active.map(Entry::document).collect();
    let example = documents.first().ok_or_else(|| {
        Failure::failed(format!("no entry of the bundled list counts on {as_of}"))
    })?;
    let example = example.to_canonical();
    let mut text = String::from("document\n");
    for document in &documents {
        writeln!(text, "{}", document.to_canonical()).expect("writing to a string can't fail");
    }
    let (snapshot_path, listed) = (folder.join("sample.catraca"), folder.join("listed.csv"));
    let snapshot =
        Snapshot::build(draft, as_of, now_ns()).map_err(|e| Failure::failed(e.to_string()))?;
    list_files::save(&snapshot, &snapshot_path)
        .map_err(|e| Failure::failed(format!("{}: {e}", snapshot_path.display())))?;
    std::fs::write(&listed, text)
        .map_err(|e| Failure::failed(format!("{}: {e}", listed.display())))?;
    Ok(DemoList {
        tally,
        documents: snapshot.counts().documents,
        snapshot: snapshot_path,
        listed,
        example,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_makes_a_list() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let list = build(folder.path()).expect("the sample is a list");
        assert!(list.documents > 100 && list.tally.active >= list.documents, "{:?}", list.tally);
        let snapshot = list_files::open(&list.snapshot).expect("written whole");
        let listed = std::fs::read_to_string(&list.listed).expect("written");
        assert!(listed.lines().skip(1).all(|line| {
            let key = catraca_wire::DocumentKey::parse(line).expect("a document");
            snapshot.lookup(key, day_number(snapshot.as_of())).is_some()
        }));
    }
}
