//! Entries with dates and reasons: what counts on which day, what is kept of each line, and what
//! that takes.

use catraca_core::blacklist::synthetic::document;
use catraca_core::blacklist::{Diff, Draft, Entry, Hit, Line, Named, Side, Snapshot};
use catraca_core::calendar::day_number;
use catraca_node::list_files;
use catraca_testkit::lists::{entry, key};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope};
use jiff::civil::{Date, date};
use proptest::prelude::*;
use std::collections::HashSet;

const DAY: Date = date(2026, 11, 22);

fn snapshot(entries: Vec<Entry>) -> Snapshot {
    Snapshot::from_entries(entries, DAY, 1).expect("built")
}

#[test]
fn an_entry_counts_from_its_first_day_through_its_last() {
    let dated = |from: Option<Date>, until: Option<Date>| {
        entry(key("04933228680"), ListSource::Plain, Scope::Exact).between(from, until)
    };
    let (before, after) = (DAY.yesterday().expect("a day"), DAY.tomorrow().expect("a day"));
    for (from, until, on) in [
        (None, Some(DAY), [true, true, false]),
        (Some(DAY), None, [false, true, true]),
        (Some(DAY), Some(DAY), [false, true, false]),
        (None, None, [true, true, true]),
        (Some(date(1850, 1, 1)), Some(date(9999, 12, 31)), [true, true, true]),
        (Some(after), Some(before), [false, false, false]),
    ] {
        let snapshot = snapshot(vec![dated(from, until)]);
        let listed = [before, DAY, after]
            .map(|day| snapshot.lookup(key("04933228680"), day_number(day)).is_some());
        assert_eq!(listed, on, "{from:?} to {until:?}");
    }
    // One day after the other, and a gap: lines of one document add up.
    let list = snapshot(vec![
        dated(None, Some(before)),
        dated(Some(DAY), Some(DAY)),
        dated(Some(date(2026, 12, 25)), None),
    ]);
    let listed = [before, DAY, after, date(2026, 12, 25)]
        .map(|day| list.lookup(key("04933228680"), day_number(day)).is_some());
    assert_eq!(listed, [true, true, false, true]);
    assert_eq!((list.counts().documents, list.counts().future, list.counts().spans), (1, 0, 3));
    let future = snapshot(vec![dated(Some(after), None)]);
    assert_eq!((future.counts().documents, future.counts().future, future.entries()), (0, 1, 1));
}

#[test]
fn a_branch_whose_own_entry_has_ended_is_listed_with_its_company() {
    let list = snapshot(vec![
        entry(key("ABCDEFGH000195"), ListSource::Ceis, Scope::Root)
            .between(None, Some(date(2026, 12, 31))),
        entry(key("ABCDEFGH000276"), ListSource::Plain, Scope::Exact).between(None, Some(DAY)),
        entry(key("ABCDEFGH000276"), ListSource::Cnep, Scope::Exact)
            .between(None, Some(date(2026, 11, 30))),
    ]);
    let on = |day| list.lookup(key("ABCDEFGH000276"), day_number(day));
    let hit = |source, scope| Some(Hit { source, scope });
    assert_eq!(on(DAY), hit(ListSource::Cnep, Scope::Exact), "the lowest code of those that count");
    assert_eq!(on(date(2026, 11, 30)), hit(ListSource::Cnep, Scope::Exact));
    assert_eq!(on(date(2026, 12, 1)), hit(ListSource::Ceis, Scope::Root));
    assert_eq!(on(date(2027, 1, 1)), None);
}

#[test]
fn what_has_no_dates_takes_no_more_room_whatever_its_reason() {
    let plain = snapshot(
        (0..10_000).map(|n| entry(document(1, n), ListSource::Plain, Scope::Exact)).collect(),
    );
    let mut draft = Draft::from(
        (0..10_000)
            .map(|n| entry(document(1, n), ListSource::Plain, Scope::Exact))
            .collect::<Vec<_>>(),
    );
    for (n, entry) in draft.entries.iter_mut().enumerate() {
        *entry =
            entry.because(draft.reasons.number(["fraud", "mule account", "court order"][n % 3]));
    }
    let reasoned = Snapshot::build(draft, DAY, 1).expect("built");
    assert_eq!(reasoned.counts(), plain.counts());
    assert_eq!(
        reasoned.bytes().len() - plain.bytes().len(),
        "fraudmule accountcourt order".len() + 3 * 2
    );
    let because =
        |n| reasoned.lines(document(1, n)).first().and_then(|line| line.reason).map(str::to_owned);
    assert_eq!(
        (0..3).map(because).collect::<Vec<_>>(),
        ["fraud", "mule account", "court order"].map(|why| Some(why.to_owned()))
    );
}

#[test]
fn every_line_is_kept_with_its_dates_and_its_reason() {
    // Ten reasons, so that some have no room in a slot, and several for one document.
    let mut draft = Draft::default();
    let document = key("12ABC34501DE35");
    for n in 0..10u8 {
        let reason = draft.reasons.number(&format!("reason {n}"));
        draft.entries.push(entry(document, ListSource::Plain, Scope::Exact).because(reason));
    }
    let reason = draft.reasons.number("reason 3");
    draft.entries.push(
        entry(document, ListSource::Plain, Scope::Root).between(Some(DAY), None).because(reason),
    );
    draft.entries.push(entry(document, ListSource::Ceis, Scope::Root));
    draft.reasons.number("that nobody gives");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("list");
    list_files::save(&Snapshot::build(draft, DAY, 1).expect("built"), &path).expect("saved");
    let list = list_files::open(&path).expect("sound");
    let lines = list.lines(document);
    let reasons: HashSet<_> =
        lines[..10].iter().map(|line| line.reason.expect("a reason").to_owned()).collect();
    assert_eq!(reasons, (0..10).map(|n| format!("reason {n}")).collect::<HashSet<_>>());
    assert!(lines[..10].iter().all(|line| (line.source, line.scope, line.from, line.until)
        == (ListSource::Plain, Scope::Exact, 0, 0)));
    let ceis =
        Line { source: ListSource::Ceis, scope: Scope::Root, from: 0, until: 0, reason: None };
    let dated =
        Line { source: ListSource::Plain, from: day_number(DAY), reason: Some("reason 3"), ..ceis };
    assert_eq!(lines[10..], [ceis, dated]);
    assert!(list.lines(key("04933228680")).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_with_dates_agrees_with_its_lines(
        raws in proptest::collection::vec((0u64..300, 0u8..4, any::<bool>(), 0i16..30, 0i16..30, 0u8..12), 0..400),
        asked in proptest::collection::vec((0u64..300, 0i16..34), 0..200),
        seed in any::<u64>(),
    ) {
        let document = |number: u64| match number % 3 {
            0 => DocumentKey::from_cpf_number(number as u32 + 1).expect("no repeated digit below 111,111,111"),
            _ => DocumentKey::from_raw(number / 30 * 36u64.pow(4) + number % 30 + 1).expect("a key"),
        };
        let day = |days: i16| DAY.saturating_add(jiff::Span::new().days(days));
        // The first three days stand for "no bound".
        let bound = |days: i16| (days > 2).then(|| day(days));
        let mut draft = Draft::default();
        for &(number, source, root, from, until, reason) in &raws {
            let scope = if root { Scope::Root } else { Scope::Exact };
            let line = entry(document(number), ListSource::ALL[usize::from(source)], scope).between(bound(from), bound(until));
            draft.entries.push(line.because(draft.reasons.number(&"x".repeat(usize::from(reason)))));
        }
        let mut shuffled = draft.clone();
        shuffled.entries.sort_by_key(|entry| entry.document().raw().wrapping_mul(seed | 1));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        list_files::save(&Snapshot::build(draft, DAY, 1).expect("built"), &path).expect("saved");
        let list = list_files::open(&path).expect("what the builder makes is sound");
        let other = Snapshot::build(shuffled, DAY, 1).expect("built");
        prop_assert_eq!(list.bytes(), other.bytes());
        for (number, days) in asked {
            let (asked, on) = (document(number), day(days));
            let names = |&&(number, _, root, ..): &&(u64, u8, bool, i16, i16, u8), scope: Scope| {
                let named = document(number);
                let root = root && named.cnpj_root().is_some();
                match scope {
                    Scope::Exact => !root && named == asked,
                    Scope::Root => root && named.cnpj_root() == asked.cnpj_root(),
                }
            };
            let counts = |from: i16, until: i16| bound(from).is_none_or(|from| from <= on) && bound(until).is_none_or(|until| on <= until);
            let least = |scope| {
                let lines = raws.iter().filter(|line| names(line, scope) && counts(line.3, line.4));
                lines.map(|line| line.1).min().map(|source| Hit { source: ListSource::ALL[usize::from(source)], scope })
            };
            prop_assert_eq!(list.lookup(asked, day_number(on)), least(Scope::Exact).or_else(|| least(Scope::Root)));
            let kept: HashSet<_> = list.lines(asked).iter().map(|line| (line.source.to_wire(), line.scope, line.from, line.until, line.reason.map_or(0, str::len))).collect();
            for scope in [Scope::Exact, Scope::Root] {
                for &(_, source, _, from, until, reason) in raws.iter().filter(|line| names(line, scope)) {
                    let [from, until] = [from, until].map(|days| bound(days).map_or(0, day_number));
                    let reason = usize::from(reason);
                    let wanted = |reason| (ListSource::ALL[usize::from(source)].to_wire(), scope, from, until, reason);
                    // An undated line without a reason is not told from one that gives one.
                    let other = reason == 0 && from == 0 && until == 0
                        && kept.iter().any(|line| (line.0, line.1, line.2, line.3) == (wanted(0).0, scope, 0, 0));
                    prop_assert!(other || kept.contains(&wanted(reason)), "{:?} of {:?}", wanted(reason), kept);
                }
            }
        }
    }
}

#[test]
fn two_snapshots_are_compared_by_who_came_who_went_and_what_changed() {
    let plain = |text: &str| entry(key(text), ListSource::Plain, Scope::Exact);
    let company = entry(key("ABCDEFGH000276"), ListSource::Ceis, Scope::Root);
    let before = snapshot(vec![
        plain("04933228680"),
        plain("00000000000191").between(None, Some(DAY)),
        plain("37635419000120").between(None, Some(date(2026, 12, 31))),
        plain("12ABC34501DE35"),
        company,
    ]);
    let after = Snapshot::from_entries(
        vec![
            plain("37635419000120").between(None, Some(date(2027, 12, 31))),
            plain("12ABC34501DE35"),
            plain("ABCDEFGH000195"),
            company,
        ],
        date(2026, 11, 23),
        1,
    );
    let after = after.expect("built");
    let diff = Diff::between(&before, &after, 10);
    let named = |text, scope| Named { scope, document: key(text) };
    let side = |named: Vec<Named>| Side { count: named.len() as u64, first: named };
    assert_eq!(diff.came, side(vec![named("ABCDEFGH000195", Scope::Exact)]));
    assert_eq!(
        diff.went,
        side(vec![named("00000000000191", Scope::Exact), named("04933228680", Scope::Exact)])
    );
    assert_eq!(
        (diff.ended, &diff.changed),
        (1, &side(vec![named("37635419000120", Scope::Exact)]))
    );
    // The other way round, and of companies the first branch.
    let back = Diff::between(&after, &before, 10);
    assert_eq!((&back.came, &back.went, &back.changed), (&diff.went, &diff.came, &diff.changed));
    let gone = Diff::between(&before, &snapshot(vec![]), 10);
    assert!(
        gone.went.first.contains(&named("ABCDEFGH000195", Scope::Root)) && gone.went.count == 5
    );
    assert!(Diff::between(&before, &before, 10).is_empty() && !diff.is_empty());
    // What is told is bounded, and what is counted is not.
    let (none, many) = (
        snapshot(vec![]),
        snapshot(
            (0..1_000).map(|n| entry(document(1, n), ListSource::Plain, Scope::Exact)).collect(),
        ),
    );
    let diff = Diff::between(&none, &many, 7);
    assert_eq!((diff.came.count, diff.came.first.len()), (1_000, 7));
    let mut least: Vec<_> =
        (0..1_000).map(|n| Named { scope: Scope::Exact, document: document(1, n) }).collect();
    least.sort();
    assert_eq!(diff.came.first, least[..7]);
    assert_eq!(Diff::between(&none, &many, 0).came, Side { count: 1_000, first: vec![] });
}
