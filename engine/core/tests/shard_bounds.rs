//! Every bound of the shard: at each the answer is a clear error, nothing is recorded, and what
//! comes after is served.

use catraca_core::limits::{
    DISK_FULL_RETRY_MS, MAX_CONTROL_LOOKUPS, MAX_CONTROL_REQUESTS, MAX_PENDING,
    OVERLOADED_RETRY_MS, SHUTTING_DOWN_RETRY_MS,
};
use catraca_core::shard::dedupe::MIN_ENTRIES;
use catraca_core::shard::messages::{Admission, ToControl, ToShard};
use catraca_testkit::shard::{NOON_NS, Options, Reply, World, payer, submit, transaction};
use catraca_wire::frame::{
    ErrorCode, FixedFrame, LookupFrame, PingFrame, StatsFrame, SubmitFrame, TransactionFields,
    VERDICT_DUPLICATE,
};
use std::time::Duration;

const fn error(correlation: u64, code: ErrorCode, retry_after_ms: u32) -> Reply {
    Reply::Error { correlation, code, retry_after_ms, closing: false }
}

/// Many transactions in one piece, with correlations from 1.
fn many(count: usize, name: &str) -> Vec<SubmitFrame> {
    (1..=count as u64)
        .map(|n| submit(n, transaction(&format!("{name}{n}"), payer(n % 50))))
        .collect()
}

fn with_budget(mut t: TransactionFields, budget_us: u32) -> TransactionFields {
    t.budget_us = budget_us.into();
    t
}

#[test]
fn a_write_that_takes_too_long_is_unconfirmed_once() {
    let mut w = World::new();
    let c = w.client();
    let t = with_budget(transaction("a", payer(1)), 50_000);
    w.submit(c, 1, t);
    assert!(w.begin_write(0));
    w.pass(Duration::from_micros(49_999));
    w.tick();
    assert!(w.clients[c].answers(1).is_empty());
    w.pass(Duration::from_micros(1));
    w.tick();
    assert_eq!(w.clients[c].answer(1), error(1, ErrorCode::Unconfirmed, 1));
    w.submit(c, 2, t);
    w.tick();
    assert!(w.clients[c].answers(2).is_empty(), "the resend waits for the first's record");
    w.settle();
    w.pass(Duration::from_secs(5));
    w.tick();
    w.settle();
    assert_eq!(
        w.clients[c].answers(1).len(),
        1,
        "the record that came later makes no second answer"
    );
    let decision = w.clients[c].answer(2).verdict();
    assert_eq!((decision.flags, decision.lsn.to_native()), (VERDICT_DUPLICATE, 1));
    assert_ne!(decision.receipt, 0, "although nobody was waiting for it when it was written");
    assert_eq!(w.records().len(), 1);
}

#[test]
fn a_decision_is_never_given_late_although_no_tick_came_between() {
    let mut w = World::new();
    let c = w.client();
    let t = with_budget(transaction("a", payer(1)), 50_000);
    w.submit(c, 1, t);
    assert!(w.begin_write(0));
    w.pass(Duration::from_micros(50_000));
    assert!(w.finish_write(0));
    assert_eq!(
        w.clients[c].answer(1).error(),
        ErrorCode::Late,
        "that it is safe is known, and told"
    );
    assert_ne!(w.ask(c, 2, t).verdict().receipt, 0);
    assert_eq!(w.records().len(), 1);
}

#[test]
fn a_resend_of_what_is_safe_whose_budget_is_over_tells_that_it_is_late() {
    let mut w = World::new();
    let c = w.client();
    let t = transaction("a", payer(1));
    let first = w.ask(c, 1, t).verdict();
    // Its bytes lay in the server for longer than its budget.
    w.feed_late(
        c,
        bytemuck::bytes_of(&submit(2, with_budget(t, 1_000))),
        Duration::from_micros(1_000),
    );
    assert_eq!(w.clients[c].answer(2), error(2, ErrorCode::Late, 0));
    let again = w.ask(c, 3, t).verdict();
    assert_eq!(
        (again.lsn, again.receipt, again.flags),
        (first.lsn, first.receipt, VERDICT_DUPLICATE)
    );
    assert_eq!(w.records().len(), 1);
}

#[test]
fn a_budget_that_is_over_before_the_decision_records_nothing() {
    let mut w = World::new();
    let c = w.client();
    let t = with_budget(transaction("a", payer(1)), 1_000);
    let id = w.clients[c].id;
    let received_ns = w.now.mono_ns;
    w.pass(Duration::from_millis(1));
    let now = w.now;
    w.cores[0].mover.shard.receive(id, bytemuck::bytes_of(&submit(1, t)), received_ns, now);
    w.feed(c, &[]);
    assert_eq!(w.clients[c].answer(1), error(1, ErrorCode::Deadline, 0));
    w.settle();
    assert!(w.records().is_empty());
    assert_eq!(w.ask(c, 2, t).verdict().flags, 0, "it was never seen");
}

#[test]
fn past_the_most_that_may_wait_it_is_overloaded_and_nothing_recorded() {
    let mut w = World::with(Options { in_flight: 1 << 20, segments: 40, ..Options::default() });
    let c = w.client();
    let frames = many(MAX_PENDING + 3, "t");
    w.send(c, bytemuck::cast_slice(&frames));
    for n in 1..=3 {
        assert_eq!(
            w.clients[c].answer(MAX_PENDING as u64 + n),
            error(MAX_PENDING as u64 + n, ErrorCode::Overloaded, OVERLOADED_RETRY_MS)
        );
    }
    // A resend would wait too.
    w.send(c, bytemuck::bytes_of(&submit(1 << 40, frames[0].transaction)));
    assert_eq!(w.clients[c].answer(1 << 40).error(), ErrorCode::Overloaded);
    // So would the control thread's records.
    let record: catraca_wire::record::RecordHead = bytemuck::Zeroable::zeroed();
    w.control(0, ToShard::AppendRecord(Box::new(record.into())));
    assert!(matches!(w.cores[0].told.last(), Some(ToControl::RecordRefused)));
    w.settle();
    assert_eq!(w.records().len(), MAX_PENDING);
    assert_eq!(w.clients[c].replies.len(), 1 + MAX_PENDING + 4);
    w.send(c, bytemuck::bytes_of(&frames[MAX_PENDING]));
    w.settle();
    assert_eq!(w.clients[c].answers(MAX_PENDING as u64 + 1).len(), 2);
    assert_eq!(w.records().len(), MAX_PENDING + 1);
}

#[test]
fn without_block_memory_it_is_overloaded_and_nothing_recorded() {
    let mut w = World::with(Options { buffers: 1, in_flight: 10_000, ..Options::default() });
    let c = w.client();
    w.send(c, bytemuck::cast_slice(&many(4096, "t")));
    assert_eq!(w.clients[c].answer(4096), error(4096, ErrorCode::Overloaded, OVERLOADED_RETRY_MS));
    assert_eq!(w.clients[c].replies.len(), 2);
    w.settle();
    assert_eq!(w.records().len(), 4095);
    assert_eq!(w.ask(c, 5000, transaction("t4096", payer(4096 % 50))).verdict().flags, 0);
    assert_eq!(w.cores[0].mover.shard.buffers_wanted() + 1, catraca_core::limits::BLOCK_BUFFERS);
}

#[test]
fn control_requests_are_bounded() {
    let mut w = World::new();
    let c = w.client();
    let questions: Vec<StatsFrame> =
        (1..=MAX_CONTROL_REQUESTS as u64 + 2).map(StatsFrame::empty).collect();
    w.send(c, bytemuck::cast_slice(&questions));
    let asked = |w: &World| {
        w.cores[0].told.iter().filter(|told| matches!(told, ToControl::Request { .. })).count()
    };
    assert_eq!(asked(&w), MAX_CONTROL_REQUESTS);
    for n in 1..=2 {
        assert_eq!(
            w.clients[c].answer(MAX_CONTROL_REQUESTS as u64 + n).error(),
            ErrorCode::Overloaded
        );
    }
    let connection = w.clients[c].id;
    let not_found = catraca_wire::frame::ErrorFrame::new(1, ErrorCode::NotFound, 0, false, "");
    w.control(0, ToShard::Answer { connection, frames: bytemuck::bytes_of(&not_found).to_vec() });
    assert_eq!(w.clients[c].answer(1).error(), ErrorCode::NotFound);
    w.send(c, bytemuck::bytes_of(&StatsFrame::empty(1000)));
    assert_eq!(asked(&w), MAX_CONTROL_REQUESTS + 1, "room for one more");
    // Look-ups find no room in the last places, which are for operators.
    w.send(c, bytemuck::bytes_of(&LookupFrame::empty(1001)));
    assert_eq!(w.clients[c].answer(1001).error(), ErrorCode::Overloaded);
    // Answers to who is gone give their room back as well.
    w.disconnect(c);
    for _ in 0..MAX_CONTROL_REQUESTS {
        w.control(0, ToShard::Answer { connection, frames: vec![0; 16] });
    }
    let c = w.client();
    w.send(c, bytemuck::bytes_of(&StatsFrame::empty(1)));
    assert_eq!(asked(&w), MAX_CONTROL_REQUESTS + 2);
    for n in 2..=MAX_CONTROL_LOOKUPS as u64 + 1 {
        w.send(c, bytemuck::bytes_of(&LookupFrame::empty(n)));
    }
    assert_eq!(w.clients[c].answer(MAX_CONTROL_LOOKUPS as u64 + 1).error(), ErrorCode::Overloaded);
    w.send(c, bytemuck::bytes_of(&StatsFrame::empty(1002)));
    assert_eq!(asked(&w), MAX_CONTROL_REQUESTS + 2 + MAX_CONTROL_LOOKUPS);
}

#[test]
fn past_in_flight_nothing_is_read_and_nothing_lost() {
    let mut w = World::with(Options { in_flight: 4, ..Options::default() });
    let c = w.client();
    w.send(c, bytemuck::cast_slice(&many(100, "t")));
    let id = w.clients[c].id;
    assert_eq!(w.cores[0].mover.shard.read_allowance(id), 0);
    assert_eq!(
        100 * SubmitFrame::LEN - w.clients[c].outgoing.len(),
        4 * SubmitFrame::LEN,
        "no more was taken than may be unanswered"
    );
    assert!(w.begin_write(0));
    assert!(w.finish_write(0));
    assert_eq!(w.clients[c].replies.len(), 5);
    assert!(w.cores[0].mover.shard.read_allowance(id) > 0, "and on it goes");
    w.settle();
    assert!((1..=100).all(|n| w.clients[c].answer(n).verdict().flags == 0));
    assert_eq!(w.records().len(), 100);
}

/// Bytes can arrive although no more than before may be taken: the read was begun earlier. What was
/// kept then must not lie there until more arrives.
#[test]
fn what_was_kept_is_taken_once_answers_have_gone_out() {
    let mut w = World::with(Options { in_flight: 4096, ..Options::default() });
    let c = w.client();
    w.send(c, bytemuck::cast_slice(&many(3_000, "t")));
    assert!(w.cores[0].mover.shard.read_allowance(w.clients[c].id) > 0, "a read begins");
    w.set_deaf(c, true);
    w.begin_write(0);
    w.finish_write(0);
    let late = [
        submit(9_001, transaction("late1", payer(1))),
        submit(9_002, transaction("late2", payer(1))),
    ];
    w.feed(c, bytemuck::cast_slice(&late));
    w.set_deaf(c, false);
    w.settle();
    assert_eq!(w.clients[c].answer(9_001).verdict().flags, 0);
    assert_eq!(w.clients[c].answer(9_002).verdict().flags, 0);
}

#[test]
fn what_is_refused_at_once_makes_room_for_what_came_with_it() {
    let mut w = World::with(Options { in_flight: 2, ..Options::default() });
    let c = w.client();
    w.ask(c, 1, transaction("a", payer(1)));
    let mut other = transaction("a", payer(1));
    other.amount_centavos = 2_000.into();
    let lookup = LookupFrame::empty(2);
    let (reused, ping) = (submit(3, other), PingFrame::empty(4));
    // The first two fill what may be in flight; the second is refused when it is decided, and
    // nothing else will come.
    w.send(
        c,
        &[bytemuck::bytes_of(&lookup), bytemuck::bytes_of(&reused), bytemuck::bytes_of(&ping)]
            .concat(),
    );
    assert_eq!(w.clients[c].answer(3).error(), ErrorCode::IdReused);
    assert_eq!(w.clients[c].answers(4).len(), 1, "PING was left behind");
}

#[test]
fn a_client_that_takes_no_answers_is_not_read() {
    let mut w = World::with(Options { in_flight: 1 << 20, ..Options::default() });
    let (deaf, other) = (w.client(), w.client());
    w.set_deaf(deaf, true);
    let mut sent = 0;
    // Pings are answered at once, and never count as unanswered.
    for n in 0..20_000 {
        w.send(deaf, bytemuck::bytes_of(&catraca_wire::frame::PingFrame::empty(n)));
        sent += 24;
    }
    let taken = sent - w.clients[deaf].outgoing.len();
    assert!(taken < 200_000, "{taken} of {sent} bytes taken");
    assert_eq!(w.ask(other, 1, transaction("a", payer(1))).verdict().lsn, 1);
    w.set_deaf(deaf, false);
    w.settle();
    assert_eq!(w.clients[deaf].replies.len(), 20_001);
}

#[test]
fn closed_admission_still_answers_what_was_decided() {
    for (admission, code, retry_after_ms) in [
        (Admission::DiskFull, ErrorCode::DiskFull, DISK_FULL_RETRY_MS),
        (Admission::Stopping, ErrorCode::ShuttingDown, SHUTTING_DOWN_RETRY_MS),
    ] {
        let mut w = World::new();
        let c = w.client();
        let first = w.ask(c, 1, transaction("a", payer(1))).verdict();
        w.submit(c, 2, transaction("b", payer(1)));
        w.admit(admission);
        w.submit(c, 3, transaction("c", payer(1)));
        assert_eq!(w.clients[c].answer(3), error(3, code, retry_after_ms));
        assert_eq!(w.ask(c, 4, transaction("a", payer(1))).verdict().lsn, first.lsn);
        assert_eq!(w.clients[c].answer(2).verdict().lsn, 2, "accepted before");
        assert_eq!(w.records().len(), 2);
        if admission == Admission::DiskFull {
            w.admit(Admission::Open);
            assert_eq!(w.ask(c, 5, transaction("c", payer(1))).verdict().lsn, 3);
        }
    }
}

#[test]
fn drained_is_told_once_and_only_when_all_is_answered() {
    let mut w = World::new();
    let c = w.client();
    let drained = |w: &World| {
        w.cores[0].told.iter().filter(|told| matches!(told, ToControl::Drained(0))).count()
    };
    w.submit(c, 1, transaction("a", payer(1)));
    w.admit(Admission::Stopping);
    w.tick();
    assert_eq!(drained(&w), 0, "one waits for the disk");
    w.begin_write(0);
    w.tick();
    assert_eq!(drained(&w), 0);
    w.settle();
    w.tick();
    w.tick();
    assert_eq!(drained(&w), 1);
    assert_eq!(w.ask(c, 2, transaction("a", payer(1))).verdict().flags, VERDICT_DUPLICATE);
    w.tick();
    assert_eq!(drained(&w), 1);
}

#[test]
fn event_times_have_limits_and_connections_a_number() {
    let mut w = World::with(Options { connections: 2, ..Options::default() });
    let limits = w.options.event_time;
    let c = w.client();
    let at = |name: &str, event_time_ns: u64| TransactionFields {
        event_time_ns: event_time_ns.into(),
        ..transaction(name, payer(1))
    };
    assert_eq!(w.ask(c, 1, at("a", NOON_NS + limits.ahead_ns)).verdict().flags, 0);
    assert_eq!(w.ask(c, 2, at("b", NOON_NS + limits.ahead_ns + 1)).error(), ErrorCode::BadField);
    assert_eq!(w.ask(c, 3, at("c", NOON_NS - limits.age_ns)).verdict().flags, 0);
    assert_eq!(w.ask(c, 4, at("d", NOON_NS - limits.age_ns - 1)).error(), ErrorCode::BadField);
    // What is remembered is answered first: only what is new is judged by its time.
    w.pass(Duration::from_secs(4));
    let old = at("c", NOON_NS - limits.age_ns);
    assert_eq!(
        w.ask(c, 5, old).verdict().flags,
        VERDICT_DUPLICATE,
        "it was in time when it was new"
    );
    let other = TransactionFields { amount_centavos: 7.into(), ..old };
    assert_eq!(w.ask(c, 6, other).error(), ErrorCode::IdReused);
    assert_eq!(w.ask(c, 7, at("e", NOON_NS - limits.age_ns)).error(), ErrorCode::BadField);
    assert_eq!(w.records().len(), 2);
    let _second = w.client();
    let now = w.now;
    assert!(w.cores[0].mover.shard.connect(&Default::default(), now).is_none());
    w.disconnect(c);
    assert!(w.cores[0].mover.shard.connect(&Default::default(), now).is_some());
}

/// The dedupe window forgets; what it forgot is refused rather than decided twice, also where the
/// transaction's own time was ahead of the server's.
#[test]
fn what_fell_out_of_the_window_is_never_decided_again() {
    let mut w = World::with(Options { in_flight: 1 << 20, segments: 60, ..Options::default() });
    let c = w.client();
    let ahead = TransactionFields {
        event_time_ns: (NOON_NS + 1_000_000_000).into(),
        ..transaction("ahead", payer(1))
    };
    let plain = transaction("plain", payer(1));
    let first = [w.ask(c, 1, ahead).verdict(), w.ask(c, 2, plain).verdict()];
    assert!(first.iter().all(|answer| answer.flags == 0));
    let mut number = 10;
    let mut fill = |w: &mut World, count: usize| {
        for _ in 0..count.div_ceil(4000) {
            w.pass(Duration::from_millis(500));
            let frames: Vec<SubmitFrame> = (0..4000)
                .map(|_| {
                    number += 1;
                    let t = TransactionFields {
                        event_time_ns: w.now.wall_ns.into(),
                        ..transaction(&format!("f{number}"), payer(number % 50))
                    };
                    submit(number, t)
                })
                .collect();
            w.send(c, bytemuck::cast_slice(&frames));
            w.settle();
            assert_eq!(w.clients[c].answer(number).verdict().flags, 0);
            w.clients[c].replies.clear();
        }
    };
    fill(&mut w, MIN_ENTRIES - 5_000);
    assert_eq!(w.ask(c, 3, ahead).verdict().lsn, first[0].lsn, "still held");
    fill(&mut w, 10_000);
    let records = w.records().len();
    for restarted in [false, true] {
        if restarted {
            w.crash(catraca_testkit::shard::Tear::None);
        }
        let c = w.client();
        assert_eq!(w.ask(c, 4, ahead).error(), ErrorCode::BadField);
        assert_eq!(w.ask(c, 5, plain).error(), ErrorCode::BadField);
        let far = TransactionFields {
            event_time_ns: (w.now.wall_ns + 200_000_000_000).into(),
            ..transaction("far", payer(1))
        };
        assert_eq!(
            w.ask(c, 6, far).error(),
            ErrorCode::BadField,
            "it would carry the horizon past the present"
        );
    }
    assert_eq!(w.records().len(), records);
}
