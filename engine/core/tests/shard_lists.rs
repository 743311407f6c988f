//! Lists as the shard judges them: by the local day of the decision, which the record names.

use catraca_core::blacklist::{Entry, Lists, Overlay, Snapshot};
use catraca_core::calendar::{Zone, day_number};
use catraca_core::policy::{RULE_PAYEE_LISTED, RULE_PAYER_ALLOWED, RULE_PAYER_LISTED};
use catraca_core::shard::messages::ToShard;
use catraca_testkit::shard::{NOON_NS, Options, World, payee, payer, transaction};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope, Verdict};
use catraca_wire::record::{OverlayChange, OverlayOp, Reason};
use jiff::civil::{Date, date};
use std::sync::Arc;

/// 2026-11-23, 23:59:59 in São Paulo, which is 02:59:59 of the next day in UTC.
const LAST_SECOND_NS: u64 = NOON_NS + (15 * 3600 - 1) * 1_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

fn day(date: Date) -> u16 {
    day_number(date)
}

#[test]
fn a_record_names_the_local_day_of_its_decision() {
    let mut w = World::new();
    let c = w.client();
    let moments = [
        ("noon", NOON_NS, date(2026, 11, 23)),
        ("last second", LAST_SECOND_NS, date(2026, 11, 23)),
        ("midnight", LAST_SECOND_NS + SECOND_NS, date(2026, 11, 24)),
        // A clock that is set back goes back to the day before.
        ("set back", LAST_SECOND_NS, date(2026, 11, 23)),
        ("next day", LAST_SECOND_NS + 8 * 3600 * SECOND_NS, date(2026, 11, 24)),
    ];
    for (n, (name, wall_ns, _)) in moments.into_iter().enumerate() {
        w.now.wall_ns = wall_ns;
        w.ask(c, n as u64, transaction(&name.replace(' ', "-"), payer(n as u64))).verdict();
    }
    for (record, (name, wall_ns, local)) in w.records().iter().zip(moments) {
        assert_eq!(
            (record.decided_at_ns.to_native(), record.list_day.to_native()),
            (wall_ns, day(local)),
            "{name}"
        );
        assert_eq!(Zone::default().day_at(wall_ns).number, day(local), "{name}");
    }
    assert_eq!(w.records().len(), moments.len());
}

#[test]
fn an_allowed_payer_passes_until_midnight_and_the_record_says_why() {
    let entry = Entry::new(payer(1), ListSource::Ceis, Scope::Exact).expect("a source of lists");
    let snapshot =
        Snapshot::from_entries(vec![entry], date(2026, 11, 22), 1).expect("a small list");
    let lists = Lists::new(Some(Arc::new(snapshot)), Overlay::new());
    let mut w = World::with(Options { lists, ..Options::default() });
    let c = w.client();
    let change =
        |document, op, sequence| OverlayChange { document, scope: Scope::Exact, op, sequence };
    w.ask(c, 0, transaction("listed", payer(1)));
    w.control(
        0,
        ToShard::ApplyOverlay(change(
            payer(1),
            OverlayOp::Allow { until_day: day(date(2026, 11, 23)) },
            1,
        )),
    );
    w.ask(c, 1, transaction("allowed", payer(1)));
    w.now.wall_ns = LAST_SECOND_NS;
    w.ask(c, 2, transaction("last-second", payer(1)));
    w.now.wall_ns += SECOND_NS;
    w.ask(c, 3, transaction("midnight", payer(1)));
    w.now.wall_ns -= SECOND_NS;
    w.control(0, ToShard::ApplyOverlay(change(payee(), OverlayOp::List, 2)));
    w.ask(c, 4, transaction("listed-payee", payer(1)));
    let (deny, approve) = (Verdict::Deny, Verdict::Approve);
    let expected = [
        (deny, Reason::PayerListed, RULE_PAYER_LISTED, ListSource::Ceis.to_wire(), 0),
        (approve, Reason::Allowed, RULE_PAYER_ALLOWED, 0, 0),
        (approve, Reason::Allowed, RULE_PAYER_ALLOWED, 0, 0),
        (deny, Reason::PayerListed, RULE_PAYER_LISTED, ListSource::Ceis.to_wire(), 0),
        (
            deny,
            Reason::PayeeListed,
            RULE_PAYER_ALLOWED | RULE_PAYEE_LISTED,
            0,
            ListSource::Overlay.to_wire(),
        ),
    ];
    let records = w.records();
    assert_eq!(records.len(), expected.len());
    for (n, (record, (verdict, reason, rules, payer_source, payee_source))) in
        records.iter().zip(expected).enumerate()
    {
        assert_eq!((record.verdict, record.reason), (verdict.to_wire(), reason.to_wire()), "{n}");
        assert_eq!(record.matched_rules.to_native(), rules, "{n}");
        assert_eq!((record.payer_source, record.payee_source), (payer_source, payee_source), "{n}");
    }
}

#[test]
fn an_entry_begins_and_ends_with_its_day_and_replay_agrees() {
    let entry = |n, from: Option<Date>, until: Option<Date>| {
        let entry =
            Entry::new(payer(n), ListSource::Ceis, Scope::Exact).expect("a source of lists");
        entry.between(from, until)
    };
    let (today, tomorrow) = (date(2026, 11, 23), date(2026, 11, 24));
    // Built once, the day before.
    let entries = vec![
        entry(0, None, Some(today)),
        entry(1, Some(tomorrow), None),
        entry(2, Some(today), Some(today)),
        entry(3, None, None),
        entry(4, Some(date(2020, 1, 1)), Some(date(2030, 1, 1))),
    ];
    let snapshot =
        Arc::new(Snapshot::from_entries(entries, date(2026, 11, 22), 1).expect("a small list"));
    let lists = Lists::new(Some(Arc::clone(&snapshot)), Overlay::new());
    let mut w = World::with(Options { shards: 2, lists, ..Options::default() });
    let c = w.client();
    let mut correlation = 0;
    let mut denied = |w: &mut World, name: &str| -> Vec<bool> {
        let ask = |n: u64| {
            correlation += 1;
            let answer =
                w.ask(c, correlation, transaction(&format!("{name}{n}"), payer(n))).verdict();
            answer.verdict == Verdict::Deny.to_wire()
        };
        (0..6).map(ask).collect()
    };
    w.now.wall_ns = LAST_SECOND_NS;
    assert_eq!(denied(&mut w, "today"), [true, false, true, true, true, false]);
    w.now.wall_ns += SECOND_NS;
    assert_eq!(denied(&mut w, "tomorrow"), [false, true, false, true, true, false]);
    w.now.wall_ns -= SECOND_NS;
    assert_eq!(
        denied(&mut w, "again"),
        [true, false, true, true, true, false],
        "a clock that is set back"
    );
    // What a decision saw can be looked up again with what its record names.
    let records = w.records();
    assert_eq!(records.len(), 18);
    for record in records {
        assert_eq!(record.snapshot_id, snapshot.id());
        let source = |document: &[u8; 14]| {
            let document = DocumentKey::from_wire(document).expect("recorded");
            snapshot
                .lookup(document, record.list_day.to_native())
                .map_or(0, |hit| hit.source.to_wire())
        };
        let again = (source(&record.transaction.payer), source(&record.transaction.payee));
        assert_eq!(again, (record.payer_source, record.payee_source));
    }
}
