//! The clock of the day is set, back and forth, while a shard works: nothing is lost, done twice,
//! or left waiting. What is refused for its age may be: it is judged by the clock that there is.

use catraca_testkit::shard::{NOON_NS, Reply, Tear, World, payer, transaction};
use catraca_wire::frame::{AnswerFields, ErrorCode, TransactionFields, VERDICT_DUPLICATE};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

const HOUR_NS: i64 = 3_600_000_000_000;
/// How the clock is set, one after the other: an hour back and forth two, and the whole day that a
/// transaction may be old.
const JUMPS_NS: [i64; 6] =
    [-HOUR_NS, 2 * HOUR_NS, -2 * HOUR_NS, 25 * HOUR_NS, -48 * HOUR_NS, 24 * HOUR_NS];
/// Transactions between two of them.
const EACH: u64 = 40;

/// A client whose own clock is right, and what it was told.
#[derive(Default)]
struct Told {
    transactions: HashMap<u64, TransactionFields>,
    verdicts: HashMap<u64, AnswerFields>,
    refused: u64,
}

impl Told {
    fn submit(&mut self, w: &mut World, client: usize, passed: Duration, number: u64) {
        let mut t = transaction(&format!("order-{number}"), payer(number % 7));
        t.event_time_ns = (NOON_NS + passed.as_nanos() as u64).into();
        self.transactions.insert(number, t);
        w.submit(client, number, t);
    }

    /// Each of these has one answer: a verdict, or that its time is not one.
    fn take(&mut self, w: &World, client: usize, numbers: std::ops::Range<u64>) {
        for number in numbers {
            match &w.clients[client].answers(number)[..] {
                [Reply::Verdict { answer, .. }] => {
                    assert_eq!(answer.flags & VERDICT_DUPLICATE, 0, "{number} is new");
                    self.verdicts.insert(number, *answer);
                }
                [Reply::Error { code: ErrorCode::BadField, .. }] => self.refused += 1,
                other => panic!("{number}: {other:?}"),
            }
        }
    }

    /// Whatever the clock shows: what was decided is answered as it was, and nothing else is in the
    /// log.
    fn assert_kept(&self, w: &mut World, client: usize, correlations_from: u64) {
        for (&number, told) in &self.verdicts {
            let again =
                w.ask(client, correlations_from + number, self.transactions[&number]).verdict();
            assert_eq!(again.flags & VERDICT_DUPLICATE, VERDICT_DUPLICATE, "{number}");
            assert_eq!(
                (again.lsn, again.verdict, again.receipt),
                (told.lsn, told.verdict, told.receipt),
                "{number}"
            );
        }
        let records = w.records();
        let ids: HashSet<_> = records.iter().map(|record| record.transaction.id).collect();
        assert_eq!(
            (records.len(), ids.len()),
            (self.verdicts.len(), self.verdicts.len()),
            "one record for each"
        );
    }
}

#[test]
fn a_clock_set_back_and_forth_under_load_loses_doubles_and_stalls_nothing() {
    let mut w = World::new();
    let client = w.client();
    let mut told = Told::default();
    let mut passed = Duration::ZERO;
    let mut number = 1;
    for (round, jump_ns) in JUMPS_NS.into_iter().enumerate() {
        let first = number;
        // Some are on their way to the disk, and some wait for it, when the clock is set.
        for half in [0, 1] {
            for _ in 0..EACH / 2 {
                told.submit(&mut w, client, passed, number);
                number += 1;
            }
            if half == 0 {
                w.begin_write(0);
                w.set_clock(jump_ns);
            }
            passed += Duration::from_millis(10);
            w.pass(Duration::from_millis(10));
            w.tick();
        }
        w.settle();
        told.take(&w, client, first..number);
        told.assert_kept(&mut w, client, 1_000_000 * (round as u64 + 1));
    }
    assert!(
        told.verdicts.len() as u64 > EACH && told.refused > 0,
        "{} decided, {} refused",
        told.verdicts.len(),
        told.refused
    );
    assert_eq!(told.verdicts.len() as u64 + told.refused, number - 1);
    // The power goes while the clock is an hour off, and the node starts from its log.
    w.set_clock(-HOUR_NS);
    w.crash(Tear::None);
    let client = w.client();
    told.assert_kept(&mut w, client, 100_000_000);
}

#[test]
fn budgets_run_by_the_other_clock() {
    let mut w = World::new();
    let client = w.client();
    let mut told = Told::default();
    for jump_ns in [HOUR_NS, -2 * HOUR_NS, HOUR_NS] {
        let number = told.transactions.len() as u64 + 1;
        told.submit(&mut w, client, Duration::ZERO, number);
        assert!(w.begin_write(0));
        w.set_clock(jump_ns);
        w.pass(Duration::from_millis(1_999));
        w.tick();
        assert!(
            w.clients[client].answers(number).is_empty(),
            "its 2 s are not over, whatever the clock shows"
        );
        w.pass(Duration::from_millis(1));
        w.tick();
        assert_eq!(
            w.clients[client].answer(number).error(),
            ErrorCode::Unconfirmed,
            "and now they are"
        );
        w.settle();
        // In step with the real time again for the next one, as a client's own clock is.
        w.now.wall_ns = NOON_NS;
    }
    assert_eq!(w.records().len(), 3);
}
