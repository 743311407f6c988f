//! The promises of the log, held by the real shard over a fake disk: an answer follows the durable
//! write, a transaction sent again gets the same answer, also after a power cut, and nothing is
//! acknowledged after a failed write.

use catraca_core::shard::messages::ToControl;
use catraca_testkit::shard::{Fault, Options, Reply, Tear, World, payer, submit, transaction};
use catraca_wire::frame::{AnswerFields, ErrorCode, VERDICT_DUPLICATE, Verdict};
use std::time::Duration;

/// The same answer, but for the flag that tells a resend.
fn first_of(duplicate: AnswerFields) -> AnswerFields {
    assert_eq!(duplicate.flags, VERDICT_DUPLICATE);
    AnswerFields { flags: 0, ..duplicate }
}

#[test]
fn the_answer_follows_the_durable_write() {
    let mut w = World::new();
    let c = w.client();
    w.submit(c, 1, transaction("a", payer(1)));
    w.tick();
    assert!(w.clients[c].answers(1).is_empty(), "only in memory");
    assert!(w.begin_write(0));
    w.tick();
    assert!(w.clients[c].answers(1).is_empty(), "being written");
    assert!(w.finish_write(0));
    let answer = w.clients[c].answer(1).verdict();
    assert_eq!(
        (answer.verdict, answer.flags, answer.lsn.to_native()),
        (Verdict::Approve.to_wire(), 0, 1)
    );
    let records = w.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].transaction, transaction("a", payer(1)));
}

#[test]
fn durable_is_not_yet_answered_until_the_driver_asks() {
    let mut w = World::new();
    let c = w.client();
    w.submit(c, 1, transaction("a", payer(1)));
    let shard = &mut w.cores[0].mover.shard;
    let write = shard.next_write(w.now).expect("a record waits");
    assert!(shard.next_write(w.now).is_none(), "one write at a time");
    shard.give_buffer(write.buffer);
    shard.written(w.now);
    assert!(shard.next_dirty().is_none(), "nothing to send yet");
    shard.answer_committed(w.now);
    assert!(shard.next_dirty().is_some());
}

#[test]
fn while_one_block_is_written_the_next_fills() {
    let mut w = World::new();
    let (a, b) = (w.client(), w.client());
    w.submit(a, 1, transaction("first", payer(1)));
    assert!(w.begin_write(0));
    for n in 0..50 {
        w.submit(a, 10 + n, transaction(&format!("a{n}"), payer(n)));
        w.submit(b, 10 + n, transaction(&format!("b{n}"), payer(n)));
    }
    assert!(!w.begin_write(0), "the disk has one write at a time");
    assert!(w.finish_write(0));
    assert_eq!(w.clients[a].answer(1).verdict().lsn, 1);
    assert!(w.clients[b].answers(10).is_empty());
    assert!(w.finish_write(0), "the next was begun at once");
    assert_eq!(w.cores[0].disk.writes, 2, "a hundred decisions in one write");
    let receipts: Vec<u64> =
        (0..50).map(|n| w.clients[b].answer(10 + n).verdict().receipt.to_native()).collect();
    assert!(receipts.iter().all(|&receipt| receipt == receipts[0] && receipt != 0));
    assert_ne!(receipts[0], w.clients[a].answer(1).verdict().receipt.to_native());
    assert_eq!(w.records().len(), 101);
}

#[test]
fn sent_again_while_unwritten_it_waits_and_gets_the_same_answer() {
    let mut w = World::new();
    let (a, b) = (w.client(), w.client());
    w.submit(a, 1, transaction("a", payer(1)));
    w.submit(b, 2, transaction("a", payer(1)));
    assert!(w.begin_write(0));
    w.submit(b, 3, transaction("a", payer(1)));
    w.submit(a, 4, transaction("a", payer(1)));
    assert!(
        w.clients[b].replies.len() == 1 && w.clients[a].replies.len() == 1,
        "only the welcomes"
    );
    w.settle();
    let first = w.clients[a].answer(1).verdict();
    assert_eq!(first.flags, 0);
    for again in [
        w.clients[b].answer(2),
        w.clients[b].answer(3),
        w.clients[a].answer(4),
        w.ask(b, 5, transaction("a", payer(1))),
    ] {
        assert_eq!(first_of(again.verdict()), first);
    }
    assert_eq!(w.records().len(), 1);
}

#[test]
fn twice_in_one_piece_it_is_recorded_once() {
    let mut w = World::new();
    let c = w.client();
    let frames = [submit(1, transaction("a", payer(1))), submit(2, transaction("a", payer(1)))];
    w.send(c, bytemuck::cast_slice(&frames));
    w.settle();
    assert_eq!(first_of(w.clients[c].answer(2).verdict()), w.clients[c].answer(1).verdict());
    assert_eq!(w.records().len(), 1);
}

#[test]
fn an_id_with_other_content_is_refused_and_the_first_decision_stands() {
    let mut w = World::new();
    let c = w.client();
    let first = transaction("a", payer(1));
    let mut other = first;
    other.amount_centavos = 1_001.into();
    w.submit(c, 1, first);
    w.submit(c, 2, other);
    assert_eq!(
        w.clients[c].answer(2).error(),
        ErrorCode::IdReused,
        "also while the first is unwritten"
    );
    w.settle();
    assert_eq!(w.ask(c, 3, other).error(), ErrorCode::IdReused);
    let mut same = first;
    (same.budget_us, same.trace_id) = (5_000.into(), [9; 16]);
    assert_eq!(first_of(w.ask(c, 4, same).verdict()), w.clients[c].answer(1).verdict());
    let of_another_payer = w.ask(c, 5, transaction("a", payer(2)));
    assert_eq!(of_another_payer.verdict().flags, 0, "an id belongs to its payer");
    assert_eq!(w.records().len(), 2);
    w.crash(Tear::None);
    let c = w.client();
    assert_eq!(w.ask(c, 3, other).error(), ErrorCode::IdReused, "also after a restart");
}

#[test]
fn after_a_power_cut_answered_decisions_stand() {
    let mut w = World::with(Options { shards: 2, ..Options::default() });
    let mut answers = Vec::new();
    for round in 0..3 {
        let c = w.client();
        for n in 0..40 {
            let t = transaction(&format!("r{round}n{n}"), payer(n));
            answers.push((t, w.ask(c, n, t).verdict()));
        }
        w.crash(Tear::None);
        let c = w.client_of(1);
        for (n, (t, answer)) in answers.iter().enumerate() {
            assert_eq!(first_of(w.ask(c, n as u64, *t).verdict()), *answer);
        }
        assert_eq!(w.records().len(), answers.len());
    }
}

/// A write that the power cut in any of its sectors: whole, it counts; torn, it never was; and
/// either way the resend is answered once.
#[test]
fn a_torn_block_was_never_acknowledged_and_is_decided_anew() {
    // 20 records: a block of 11 sectors with something in them.
    let tears = (0..=12)
        .map(Tear::First)
        .chain((0..40u64).map(|n| Tear::Random(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
        .chain([Tear::All]);
    let (mut kept, mut lost) = (0, 0);
    for tear in tears {
        let mut w = World::new();
        let c = w.client();
        let before = w.ask(c, 1, transaction("before", payer(1))).verdict();
        for n in 0..20 {
            w.submit(c, 100 + n, transaction(&format!("t{n}"), payer(n)));
        }
        assert!(w.begin_write(0));
        w.crash(tear);
        let survived = w.records().len() - 1;
        assert!(
            survived == 0 || survived == 20,
            "{tear:?}: a block counts whole or not at all: {survived}"
        );
        kept += usize::from(survived == 20);
        lost += usize::from(survived == 0);
        let c = w.client();
        assert_eq!(first_of(w.ask(c, 1, transaction("before", payer(1))).verdict()), before);
        for n in 0..20 {
            let answer = w.ask(c, 100 + n, transaction(&format!("t{n}"), payer(n))).verdict();
            assert_eq!(answer.flags == VERDICT_DUPLICATE, survived == 20, "{tear:?}");
        }
        assert_eq!(w.records().len(), 21);
    }
    assert!(kept >= 1 && lost >= 40, "both happened: {kept} kept, {lost} lost");
}

#[test]
fn the_log_goes_on_in_the_next_segment_and_says_so() {
    let mut w = World::with(Options { segments: 3, in_flight: 10_000, ..Options::default() });
    let c = w.client();
    let mut sent = 0;
    for block in 0..3 {
        for n in 0..4095 {
            w.submit(c, sent + 1, transaction(&format!("b{block}n{n}"), payer(1)));
            sent += 1;
        }
        w.settle();
    }
    assert_eq!(w.clients[c].replies.len() as u64, sent + 1);
    let taken: Vec<u32> = w.cores[0]
        .told
        .iter()
        .filter_map(|told| match told {
            ToControl::SegmentTaken { segment, .. } => Some(*segment),
            _ => None,
        })
        .collect();
    assert_eq!(taken, [1, 2]);
    assert_eq!(w.records().len() as u64, sent);
    // The segments that exist are full: what comes now waits, and its budget ends.
    w.submit(c, sent + 1, transaction("late", payer(1)));
    w.settle();
    assert!(w.clients[c].answers(sent + 1).is_empty());
    w.pass(Duration::from_secs(2));
    w.tick();
    assert_eq!(w.clients[c].answer(sent + 1).error(), ErrorCode::Unconfirmed);
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged() {
    for fault in [Fault::Io, Fault::NoSpace] {
        let mut w = World::new();
        let c = w.client();
        let before = w.ask(c, 1, transaction("before", payer(1))).verdict();
        w.submit(c, 2, transaction("a", payer(1)));
        assert!(w.begin_write(0));
        w.submit(c, 3, transaction("b", payer(1)));
        w.cores[0].disk.fault = Some(fault);
        assert!(w.finish_write(0));
        assert!(w.ended);
        w.submit(c, 4, transaction("before", payer(1)));
        w.pass(Duration::from_secs(3));
        w.tick();
        w.settle();
        assert!([2, 3, 4].iter().all(|&n| w.clients[c].answers(n).is_empty()), "{fault:?}");
        // A new start finds what was acknowledged, and answers the rest anew.
        w.crash(Tear::None);
        let c = w.client();
        assert_eq!(first_of(w.ask(c, 1, transaction("before", payer(1))).verdict()), before);
        for (n, id) in [(2, "a"), (3, "b")] {
            assert!(matches!(w.ask(c, n, transaction(id, payer(1))), Reply::Verdict { .. }));
        }
        assert_eq!(w.records().len(), 3);
    }
}
