//! Lists as the shard judges them: by the local day of the decision, which the record names.

mod support;

use catraca_engine::calendar::{Zone, day_number};
use jiff::civil::{Date, date};
use support::{NOON_NS, World, payer, transaction};

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
        assert_eq!((record.decided_at_ns.to_native(), record.list_day.to_native()), (wall_ns, day(local)), "{name}");
        assert_eq!(Zone::default().day_at(wall_ns).number, day(local), "{name}");
    }
    assert_eq!(w.records().len(), moments.len());
}
