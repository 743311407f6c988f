//! Shards with each other and with the control thread: forwarded questions, and lists that change
//! between two batches.

use catraca_core::blacklist::{Entry, Lists, Overlay, Snapshot};
use catraca_core::limits::MESH_QUEUE_LEN;
use catraca_core::shard::messages::{ToControl, ToShard};
use catraca_core::shard::owner;
use catraca_testkit::shard::{Options, Tear, World, payee, payer, payer_of, submit, transaction};
use catraca_wire::frame::{
    ErrorCode, ListSource, Scope, SubmitFrame, TransactionFields, VERDICT_DUPLICATE, Verdict,
};
use catraca_wire::record::{OverlayChange, OverlayOp, Reason, RecordKind, blacklist_version};
use jiff::civil::date;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_owner_decides_wherever_the_connection_is() {
    for shards in [2, 3] {
        let mut w = World::of_shards(shards);
        let clients: Vec<usize> = (0..usize::from(shards)).map(|core| w.client_of(core)).collect();
        for (turn, &c) in clients.iter().enumerate() {
            for n in 0..30 {
                let answer = w.ask(c, n, transaction(&format!("c{turn}n{n}"), payer(n))).verdict();
                assert_eq!(answer.shard, owner(payer(n), shards));
                assert_eq!(answer.flags, 0);
            }
        }
        for n in 0..30 {
            let answer =
                w.ask(clients[0], 100 + n, transaction(&format!("c1n{n}"), payer(n))).verdict();
            assert_eq!(answer.flags, VERDICT_DUPLICATE, "also when it comes in on another core");
        }
        assert_eq!(w.records().len(), 30 * usize::from(shards));
    }
}

#[test]
fn a_shard_that_a_promotion_has_not_reached_yet_decides_for_no_sibling() {
    let mut w = World::with(Options { shards: 2, standbys_from: 1, ..Options::default() });
    let c = w.client_of(0);
    let own = w.ask(c, 1, transaction("own", payer_of(0, 2, 0)));
    assert_eq!(own.verdict().shard, 0);
    let forwarded = w.ask(c, 2, transaction("forwarded", payer_of(1, 2, 0)));
    assert_eq!(forwarded.error(), ErrorCode::NotPrimary);
    assert_eq!(
        w.records().len(),
        1,
        "its table and its place in the log are those of when the standby started"
    );
}

#[test]
fn a_question_is_answered_once_after_its_budget_or_its_asker_is_gone() {
    let mut w = World::of_shards(2);
    let (a, b) = (w.client_of(0), w.client_of(0));
    let t = TransactionFields { budget_us: 20_000.into(), ..transaction("a", payer_of(1, 2, 0)) };
    w.submit(a, 1, t);
    w.submit(
        b,
        1,
        TransactionFields { budget_us: 0.into(), ..transaction("b", payer_of(1, 2, 1)) },
    );
    assert!(w.carry(0, 1) && w.carry(0, 1));
    assert!(w.begin_write(1));
    w.disconnect(b);
    w.pass(Duration::from_millis(20));
    w.tick();
    assert_eq!(
        w.clients[a].answer(1).error(),
        ErrorCode::Unconfirmed,
        "by the asker and by the owner, who both saw the budget end"
    );
    w.settle();
    assert_eq!(w.clients[a].answers(1).len(), 1);
    assert_eq!(w.ask(a, 2, t).verdict().flags, VERDICT_DUPLICATE);
    assert_eq!(w.records().len(), 2);
    // Questions closed, slots free: as many fit as at first.
    let counters = w.cores[0].mover.shard.counters();
    assert_eq!(counters.forwarded, 3);
}

#[test]
fn an_answer_that_comes_over_the_mesh_too_late_is_not_given() {
    let mut w = World::of_shards(2);
    let c = w.client_of(0);
    let t = TransactionFields { budget_us: 20_000.into(), ..transaction("a", payer_of(1, 2, 0)) };
    w.submit(c, 1, t);
    w.carry(0, 1);
    w.begin_write(1);
    w.finish_write(1);
    w.pass(Duration::from_millis(20));
    assert!(w.carry(1, 0));
    assert_eq!(w.clients[c].answer(1).error(), ErrorCode::Late, "it is safe, and too late");
    assert_eq!(w.ask(c, 2, t).verdict().flags, VERDICT_DUPLICATE);
}

#[test]
fn a_question_that_arrives_after_its_budget_records_nothing() {
    let mut w = World::of_shards(2);
    let c = w.client_of(0);
    let t = TransactionFields { budget_us: 20_000.into(), ..transaction("a", payer_of(1, 2, 0)) };
    w.submit(c, 1, t);
    w.pass(Duration::from_millis(20));
    w.settle();
    assert_eq!(w.clients[c].answer(1).error(), ErrorCode::Deadline);
    assert!(w.records().is_empty());
}

#[test]
fn open_questions_are_bounded() {
    let mut w = World::with(Options { shards: 2, in_flight: 100_000, ..Options::default() });
    let (c, back) = (w.client_of(0), w.client_of(1));
    let (to_one, to_zero) = (payer_of(1, 2, 0), payer_of(0, 2, 0));
    let frames = |payer, name: &str| -> Vec<SubmitFrame> {
        (0..MESH_QUEUE_LEN as u64 + 1)
            .map(|n| submit(n, transaction(&format!("{name}{n}"), payer)))
            .collect()
    };
    w.send(c, bytemuck::cast_slice(&frames(to_one, "x")));
    w.send(back, bytemuck::cast_slice(&frames(to_zero, "y")));
    for client in [c, back] {
        assert_eq!(w.clients[client].answer(MESH_QUEUE_LEN as u64).error(), ErrorCode::Overloaded);
        assert_eq!(w.clients[client].replies.len(), 2);
    }
    // Its own transactions are served all the same.
    w.submit(c, 1 << 40, transaction("own", to_zero));
    w.settle();
    assert_eq!(w.clients[c].answer(1 << 40).verdict().shard, 0);
    assert!((0..MESH_QUEUE_LEN as u64).all(|n| w.clients[c].answer(n).verdict().shard == 1));
    assert_eq!(w.records().len(), 2 * MESH_QUEUE_LEN + 1);
    assert_eq!(
        w.ask(c, 1 << 41, transaction("late", to_one)).verdict().flags,
        0,
        "the room is back"
    );
}

#[test]
fn after_a_power_cut_with_another_number_of_shards_the_answers_are_the_same() {
    let mut w = World::of_shards(3);
    let c = w.client();
    let answers: Vec<_> =
        (0..60).map(|n| w.ask(c, n, transaction(&format!("n{n}"), payer(n))).verdict()).collect();
    w.crash(Tear::None);
    let c = w.client_of(2);
    for (n, first) in answers.iter().enumerate() {
        let again = w.ask(c, n as u64, transaction(&format!("n{n}"), payer(n as u64))).verdict();
        assert_eq!(
            (again.lsn, again.shard, again.receipt, again.flags),
            (first.lsn, first.shard, first.receipt, VERDICT_DUPLICATE)
        );
    }
}

fn snapshot(listed: &[u64]) -> Arc<Snapshot> {
    let entry =
        |&n: &u64| Entry::new(payer(n), ListSource::Ceis, Scope::Exact).expect("a source of lists");
    Arc::new(
        Snapshot::from_entries(listed.iter().map(entry).collect(), date(2026, 11, 22), 1)
            .expect("a small list"),
    )
}

#[test]
fn a_decision_sees_one_list_and_names_it() {
    let (old, new) = (snapshot(&[1]), snapshot(&[2]));
    let lists = Lists::new(Some(Arc::clone(&old)), Overlay::new());
    let mut w = World::with(Options { lists, ..Options::default() });
    let c = w.client();
    let verdict =
        |w: &mut World, n: u64, name: &str| w.ask(c, 0, transaction(name, payer(n))).verdict();
    let ask = |w: &mut World, n: u64, name: &str| {
        let answer = verdict(w, n, name);
        w.clients[c].replies.clear();
        (Verdict::from_wire(answer.verdict), answer.blacklist_version.to_native())
    };
    assert_eq!(ask(&mut w, 1, "a"), (Some(Verdict::Deny), blacklist_version(old.id(), 0)));
    assert_eq!(ask(&mut w, 2, "b"), (Some(Verdict::Approve), blacklist_version(old.id(), 0)));
    w.submit(c, 0, transaction("before", payer(1)));
    w.control(0, ToShard::SwapSnapshot(Arc::clone(&new)));
    assert!(
        matches!(w.cores[0].told.last(), Some(ToControl::SnapshotReleased(Some(released))) if released.id() == old.id())
    );
    w.settle();
    assert_eq!(
        w.clients[c].answer(0).verdict().verdict,
        Verdict::Deny.to_wire(),
        "decided before the swap"
    );
    w.clients[c].replies.clear();
    assert_eq!(ask(&mut w, 1, "c"), (Some(Verdict::Approve), blacklist_version(new.id(), 0)));
    assert_eq!(ask(&mut w, 2, "d"), (Some(Verdict::Deny), blacklist_version(new.id(), 0)));
    assert_eq!(
        ask(&mut w, 1, "a"),
        (Some(Verdict::Deny), blacklist_version(old.id(), 0)),
        "decided is decided"
    );
    let change =
        OverlayChange { document: payee(), scope: Scope::Exact, op: OverlayOp::List, sequence: 1 };
    let mut record = change.to_record(w.now.wall_ns);
    record.lsn = 0.into();
    w.control(0, ToShard::AppendRecord(Box::new(record.into())));
    w.tick();
    assert!(
        !w.cores[0].told.iter().any(|told| matches!(told, ToControl::RecordDurable)),
        "not before it is durable"
    );
    w.settle();
    assert!(matches!(w.cores[0].told.last(), Some(ToControl::RecordDurable)));
    w.control(0, ToShard::ApplyOverlay(change));
    assert!(matches!(w.cores[0].told.last(), Some(ToControl::OverlayApplied(1))));
    assert_eq!(ask(&mut w, 1, "e"), (Some(Verdict::Deny), blacklist_version(new.id(), 1)));
    let records = w.records();
    let seen: Vec<_> = records
        .iter()
        .map(|r| (r.kind, r.snapshot_id.to_native(), r.overlay_sequence.to_native(), r.reason))
        .collect();
    let decision = RecordKind::Decision.to_wire();
    assert_eq!(seen[0], (decision, old.id(), 0, Reason::PayerListed.to_wire()));
    assert_eq!(seen[3], (decision, new.id(), 0, Reason::Clear.to_wire()));
    assert_eq!(seen[5].0, RecordKind::OverlayChange.to_wire());
    assert_eq!(seen[6], (decision, new.id(), 1, Reason::PayeeListed.to_wire()));
    assert!(records.iter().enumerate().all(|(index, record)| record.lsn == index as u64 + 1));
}
