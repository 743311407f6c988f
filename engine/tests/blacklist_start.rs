//! A list takes the place of the one in use only if it may, at a start as at a load.

use catraca_engine::blacklist::fitness::{Unfit, hold_against};
use catraca_engine::blacklist::{Entry, Snapshot, synthetic};
use catraca_engine::calendar::day_number;
use catraca_engine::node::list::{Configured, choose};
use catraca_wire::frame::{ListSource, Scope};
use jiff::civil::{Date, date};
use std::path::Path;

const TODAY: Date = date(2026, 11, 25);
const MOST_PERCENT: u64 = 20;

/// A list of so many documents, of which some ended yesterday.
fn list(documents: u64, ended: u64, as_of: Date, built_at_ns: u64) -> Snapshot {
    let yesterday = TODAY.yesterday().expect("a day");
    let entry = |n: u64| {
        let entry = Entry::new(synthetic::document(1, n), ListSource::Plain, Scope::Exact).expect("a source");
        entry.between(None, (n < ended).then_some(yesterday))
    };
    Snapshot::from_entries((0..documents).map(entry).collect(), as_of, built_at_ns).expect("built")
}

fn hold(old: &Snapshot, new: &Snapshot) -> Result<(), Unfit> {
    hold_against(old, new, day_number(TODAY), MOST_PERCENT)
}

#[test]
fn a_list_may_lose_no_more_of_what_counts_than_allowed() {
    let earlier = date(2026, 11, 1);
    let old = list(100, 0, earlier, 1);
    assert_eq!(hold(&old, &list(80, 0, earlier, 2)), Ok(()));
    let lost = |after| Err(Unfit::Loss { before: 100, after, most_percent: MOST_PERCENT });
    assert_eq!(hold(&old, &list(79, 0, earlier, 2)), lost(79));
    assert_eq!(hold(&old, &list(100, 21, earlier, 2)), lost(79), "ended entries list nobody");
    assert_eq!(hold(&list(100, 50, earlier, 1), &list(50, 0, earlier, 2)), Ok(()));
    let none = list(0, 0, earlier, 2);
    assert!(hold_against(&old, &none, day_number(TODAY), 100).is_err());
    assert_eq!(hold_against(&old, &list(1, 0, earlier, 2), day_number(TODAY), 100), Ok(()));
}

#[test]
fn a_configured_list_that_a_load_would_refuse_leaves_the_loaded_one_in_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let earlier = date(2026, 11, 1);
    let loaded = list(100, 0, earlier, 5);
    loaded.save(&folder.path().join(format!("{:016x}.snap", loaded.id()))).expect("saved");
    let file = folder.path().join("configured.catraca");
    let chosen = |named: &Snapshot, loaded_id: u64| {
        named.save(&file).expect("saved");
        let path: Option<&Path> = Some(&file);
        let configured = Configured { path, today: day_number(TODAY), max_loss_percent: MOST_PERCENT };
        choose(folder.path(), &configured, loaded_id).expect("chosen").expect("one").id()
    };
    let small = list(50, 0, earlier, 6);
    let near = list(90, 0, earlier, 6);
    assert_eq!(chosen(&small, loaded.id()), loaded.id());
    assert_eq!(chosen(&near, loaded.id()), near.id());
    assert_eq!(chosen(&list(110, 0, earlier, 4), loaded.id()), loaded.id(), "an older one");
    // Nothing to hold it against; and what was forced is in use.
    assert_eq!(chosen(&small, 0), small.id());
    assert_eq!(chosen(&small, small.id()), small.id());
}
