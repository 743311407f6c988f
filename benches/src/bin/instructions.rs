//! Decides on a given number of transactions and does nothing else worth counting:
//! `scripts/instructions.sh` runs it under callgrind twice, with different numbers, so that all
//! that both runs have in common falls out of the difference.

use catraca_benches::{Frames, Machine, Setup, list};
use catraca_core::policy::Policy;
use catraca_core::shard::dedupe;
use catraca_wire::frame::{FixedFrame, SubmitFrame, VerdictFrame};
use std::process::ExitCode;

/// Transactions prepared in every run, whatever is decided on: the most that may be asked for.
const PREPARED: usize = 65_536;
/// Documents on the list. Fewer than in the timed benches: the count is the same, and valgrind is
/// slow.
const ENTRIES: u64 = 50_000;

fn main() -> ExitCode {
    let arguments: Vec<usize> =
        std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [transactions @ 0..=PREPARED, batch @ 1..=4096] = arguments[..] else {
        eprintln!(
            "usage: instructions TRANSACTIONS BATCH (at most {PREPARED}, and 1 to 4096 at once)"
        );
        return ExitCode::from(2);
    };
    let setup = Setup {
        list: list(ENTRIES),
        dedupe_entries: dedupe::MIN_ENTRIES,
        cluster_id: [1; 16],
        policy: Policy::blacklist_only().into(),
    };
    let (mut machine, mut frames) = (Machine::new(&setup), Frames::new(ENTRIES));
    let mut bytes = vec![0; PREPARED * SubmitFrame::LEN];
    frames.fill(&mut bytes, machine.wall_ns());
    let mut answered = 0;
    for piece in bytes[..transactions * SubmitFrame::LEN].chunks(batch * SubmitFrame::LEN) {
        answered += machine.decide(piece).len();
    }
    assert_eq!(answered, transactions * VerdictFrame::LEN);
    ExitCode::SUCCESS
}
