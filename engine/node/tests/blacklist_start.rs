//! A list takes the place of the one in use only if it may, at a start as at a load.

use catraca_core::blacklist::fitness::{self, Unfit};
use catraca_core::blacklist::{Entry, Snapshot, synthetic};
use catraca_core::calendar::day_number;
use catraca_node::lifecycle::list::{Configured, choose};
use catraca_node::list_files;
use catraca_wire::frame::{ListSource, Scope};
use jiff::civil::{Date, date};
use std::path::Path;

const TODAY: Date = date(2026, 11, 25);
const MOST_PERCENT: u64 = 20;

/// A list of so many documents, of which some ended yesterday.
fn list(documents: u64, ended: u64, as_of: Date, built_at_ns: u64) -> Snapshot {
    let yesterday = TODAY.yesterday().expect("a day");
    let entry = |n: u64| {
        let entry = Entry::new(synthetic::document(1, n), ListSource::Plain, Scope::Exact)
            .expect("a source");
        entry.between(None, (n < ended).then_some(yesterday))
    };
    Snapshot::from_entries((0..documents).map(entry).collect(), as_of, built_at_ns).expect("built")
}

fn hold(old: &Snapshot, new: &Snapshot) -> Result<(), Unfit> {
    fitness::hold(old, new, day_number(TODAY), MOST_PERCENT)
}

#[test]
fn a_list_may_lose_no_more_of_what_counts_than_allowed() {
    let earlier = date(2026, 11, 1);
    let old = list(100, 0, earlier, 1);
    assert_eq!(hold(&old, &list(80, 0, earlier, 2)), Ok(()));
    let lost =
        |after| Err(Unfit::Loss { before: 100, after, day: TODAY, most_percent: MOST_PERCENT });
    assert_eq!(hold(&old, &list(79, 0, earlier, 2)), lost(79));
    assert_eq!(hold(&old, &list(100, 21, earlier, 2)), lost(79), "ended entries list nobody");
    assert_eq!(hold(&list(100, 50, earlier, 1), &list(50, 0, earlier, 2)), Ok(()));
    let none = list(0, 0, earlier, 2);
    assert!(fitness::hold(&old, &none, day_number(TODAY), 100).is_err());
    assert_eq!(fitness::hold(&old, &list(1, 0, earlier, 2), day_number(TODAY), 100), Ok(()));
}

#[test]
fn no_source_may_lose_more_than_allowed_however_many_others_have() {
    let list = |ceis: u64, plain: u64| {
        let sources = [(ListSource::Ceis, ceis), (ListSource::Plain, plain)];
        let entries = sources.iter().flat_map(|&(source, count)| {
            (0..count).map(move |n| {
                Entry::new(
                    synthetic::document(u64::from(source.to_wire()), n),
                    source,
                    Scope::Exact,
                )
                .expect("a source")
            })
        });
        Snapshot::from_entries(entries.collect(), date(2026, 11, 1), 1).expect("built")
    };
    let old = list(10_000, 10);
    let lost = |source_list, before, after| {
        Err(Unfit::SourceLoss {
            source_list,
            before,
            after,
            day: TODAY,
            most_percent: MOST_PERCENT,
        })
    };
    assert_eq!(hold(&old, &list(11_000, 0)), lost(ListSource::Plain, 10, 0));
    assert_eq!(hold(&old, &list(10_000, 7)), lost(ListSource::Plain, 10, 7));
    assert_eq!(hold(&old, &list(7_999, 4_000)), lost(ListSource::Ceis, 10_000, 7_999));
    assert_eq!(hold(&old, &list(8_000, 8)), Ok(()));
    assert_eq!(hold(&list(10, 0), &list(10, 5)), Ok(()), "a new source");
}

#[test]
fn a_list_for_a_day_that_has_not_come_is_not_used() {
    let tomorrow = TODAY.tomorrow().expect("a day");
    let (old, early) = (list(100, 0, TODAY, 1), list(100, 0, tomorrow, 2));
    let refused = Err(Unfit::Early { as_of: tomorrow, today: TODAY });
    assert_eq!(
        (hold(&old, &early), fitness::hold_to_day(&early, day_number(TODAY))),
        (refused, refused)
    );
    assert_eq!(fitness::hold_to_day(&early, day_number(tomorrow)), Ok(()));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("early.catraca");
    list_files::save(&early, &file).expect("saved");
    let configured = |today: Date| Configured {
        path: Some(&file),
        today: day_number(today),
        max_loss_percent: MOST_PERCENT,
    };
    let failure = choose(folder.path(), &configured(TODAY), 0).expect_err("early");
    assert!(
        failure.to_string().contains("early.catraca") && failure.to_string().contains("2026-11-26"),
        "{failure}"
    );
    assert_eq!(
        choose(folder.path(), &configured(tomorrow), 0).expect("chosen").map(|list| list.id()),
        Some(early.id())
    );
}

#[test]
fn a_kept_list_that_is_damaged_or_old_is_mended_by_the_same_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let earlier = date(2026, 11, 1);
    let (first, again, other) =
        (list(100, 0, earlier, 5), list(100, 0, earlier, 9), list(90, 0, earlier, 7));
    assert_eq!(first.id(), again.id());
    let kept = folder.path().join(format!("{:016x}.snap", first.id()));
    let file = folder.path().join("configured.catraca");
    let start = |named: Option<&Snapshot>| {
        if let Some(named) = named {
            list_files::save(named, &file).expect("saved");
        }
        let path = named.map(|_| file.as_path());
        choose(
            folder.path(),
            &Configured { path, today: day_number(TODAY), max_loss_percent: MOST_PERCENT },
            first.id(),
        )
    };
    std::fs::write(&kept, "damaged").expect("written");
    for named in [None, Some(&other)] {
        let failure = start(named).expect_err("the list in use can't be read").to_string();
        assert!(
            failure.contains("--blacklist") && failure.contains(&format!("{:016x}", first.id())),
            "{failure}"
        );
    }
    assert_eq!(start(Some(&first)).expect("mended").map(|list| list.built_at_ns()), Some(5));
    assert_eq!(start(None).expect("kept").map(|list| list.id()), Some(first.id()));
    // Built and loaded again, it is newer than the one that was configured in between.
    control_takes_in(&again, folder.path(), &file);
    assert_eq!(start(Some(&other)).expect("chosen").map(|list| list.id()), Some(first.id()));
}

fn control_takes_in(list: &Snapshot, lists_dir: &Path, file: &Path) {
    list_files::save(list, file).expect("saved");
    let taken = catraca_node::list_files::take_in(file, lists_dir).expect("taken");
    assert_eq!(taken.built_at_ns(), list.built_at_ns());
}

#[test]
fn a_configured_list_that_a_load_would_refuse_leaves_the_loaded_one_in_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let earlier = date(2026, 11, 1);
    let loaded = list(100, 0, earlier, 5);
    list_files::save(&loaded, &folder.path().join(format!("{:016x}.snap", loaded.id())))
        .expect("saved");
    let file = folder.path().join("configured.catraca");
    let chosen = |named: &Snapshot, loaded_id: u64| {
        list_files::save(named, &file).expect("saved");
        let path: Option<&Path> = Some(&file);
        let configured =
            Configured { path, today: day_number(TODAY), max_loss_percent: MOST_PERCENT };
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
