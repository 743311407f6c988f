//! Windows in which the payments of all shards count: what one shard answers the others see, wherever the next
//! payment comes in, and nothing is answered that they do not know of.

use catraca_core::calendar::Zone;
use catraca_core::limits::BROADCAST_QUEUE_LEN;
use catraca_core::policy::language::{Asking, compile_into};
use catraca_core::policy::lists::InForce;
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::{
    EVERY_DAY, EVERY_PAYER, Policy, Rule, RuleEffect, RuleVerdict, Rules, WindowsAsked,
};
use catraca_core::rebuild::Pasts;
use catraca_core::shard::messages::{CaughtUp, KeptPayments, ToControl, ToShard};
use catraca_core::shard::owner;
use catraca_testkit::shard::{KEY, Options, World, payer, payer_of, submit, transaction};
use catraca_wire::frame::{ErrorCode, SubmitFrame, Verdict};
use std::sync::Arc;

/// Denies whoever is paid the fourth time.
fn policy() -> Arc<Policy> {
    let mut asking = Asking::default();
    let rule = Rule {
        id: "fourth".to_owned(),
        when: compile_into("payee.count('1h') >= 3", &mut asking).expect("sound"),
        effect: RuleEffect { score: 0, verdict: Some(RuleVerdict::Deny), shadow: false },
        days: EVERY_DAY,
        share_permille: EVERY_PAYER,
    };
    let windows = WindowsAsked { asked: asking.asked().into(), keys: 16_384 };
    let rules = Rules { rules: [rule].into(), windows, ..Rules::default() };
    Policy::new(1, Zone::default(), rules).into()
}

/// The last that a core told the control thread.
fn told(w: &mut World, core: usize) -> ToControl {
    w.cores[core].told.pop().expect("it was asked for")
}

/// Brings a policy into force on every shard, as the control thread does before anything was decided.
fn bring_into_force(w: &mut World, policy: &Arc<Policy>) {
    let shards = w.options.shards;
    let pasts = Pasts::new(policy, shards, &KEY).expect("sound").expect("it reads windows");
    for core in 0..usize::from(shards) {
        w.control(core, ToShard::KeepPayments(Box::<KeptPayments>::default()));
    }
    for core in 0..usize::from(shards) {
        w.control(core, ToShard::Broadcast(true));
        let ToControl::Broadcasts(shard, 0) = told(w, core) else { panic!("nothing was decided") };
        assert_eq!(usize::from(shard), core);
    }
    for (core, past) in pasts.into_shards().into_iter().enumerate() {
        w.control(core, ToShard::CatchUp(Some(past)));
        assert!(matches!(told(w, core), ToControl::CaughtUp(CaughtUp::Level(Some(_)))));
        let named =
            Arc::new(InForce::new(&Default::default(), policy.rules(), ShareKey::unknown()));
        w.control(core, ToShard::SwapPolicy(Arc::clone(policy), named));
        assert!(matches!(told(w, core), ToControl::PolicyReleased(..)));
    }
}

#[test]
fn any_number_of_shards_decides_the_same_in_the_same_order() {
    let policy = policy();
    let decide = |shards: u16| -> Vec<u8> {
        let mut w = World::of_shards(shards);
        bring_into_force(&mut w, &policy);
        let clients: Vec<_> = (0..usize::from(shards)).map(|core| w.client_of(core)).collect();
        let mut decide = |n: u64| {
            // Each comes in on another core than the one before, and mostly not on its payer's.
            let client = clients[n as usize % clients.len()];
            let mut paid = transaction(&format!("n{n}"), payer(n));
            paid.payee = payer(1_000 + n % 5).to_wire();
            w.ask(client, n, paid).verdict().verdict
        };
        (0..30).map(&mut decide).collect()
    };
    let of_one = decide(1);
    let denied = of_one.iter().filter(|verdict| **verdict == Verdict::Deny.to_wire()).count();
    assert_eq!(denied, 30 - 5 * 3, "each of five payees is paid three times");
    for shards in [2, 3, 4] {
        assert_eq!(decide(shards), of_one, "{shards} shards");
    }
}

#[test]
fn a_forward_sees_what_was_answered_before_it_was_sent() {
    let mut w = World::of_shards(3);
    bring_into_force(&mut w, &policy());
    let (c, other) = (w.client_of(2), w.client_of(1));
    for n in 0..3 {
        let verdict = w.ask(c, n, transaction(&format!("a{n}"), payer_of(2, 3, n as usize)));
        assert_eq!(verdict.verdict().verdict, Verdict::Approve.to_wire());
    }
    // Shard 0 has heard of none of them when the forward of shard 1 comes.
    assert_eq!(w.broadcast[0][2].len(), 3);
    w.submit(other, 9, transaction("b", payer_of(0, 3, 0)));
    assert!(w.carry(1, 0));
    assert!(w.broadcast[0][2].is_empty());
    w.settle();
    assert_eq!(w.clients[other].answer(9).verdict().verdict, Verdict::Deny.to_wire());
}

#[test]
fn nothing_is_written_that_a_sibling_is_not_told_of_and_what_waits_is_bounded() {
    // A promotion has not reached the other shard: it leaves what it is told.
    let options =
        Options { in_flight: 100_000, segments: 8, standbys_from: 1, ..Options::default() };
    let mut w = World::with(Options { shards: 2, ..options });
    bring_into_force(&mut w, &policy());
    let c = w.client_of(0);
    let room = BROADCAST_QUEUE_LEN as u64;
    let payers: Vec<_> = (0..).map(payer).filter(|p| owner(*p, 2) == 0).take(64).collect();
    let mut paid = 0..;
    let mut pay = |w: &mut World, count: u64| -> Vec<u64> {
        let numbers: Vec<u64> = paid.by_ref().take(count as usize).collect();
        let frame = |n: &u64| {
            let mut paid = transaction(&format!("n{n}"), payers[*n as usize % payers.len()]);
            paid.payee = payer(5_000 + n).to_wire();
            submit(*n, paid)
        };
        let frames: Vec<SubmitFrame> = numbers.iter().map(frame).collect();
        w.send(c, bytemuck::cast_slice(&frames));
        numbers
    };
    let first = pay(&mut w, room);
    w.settle();
    assert!(first.iter().all(|n| w.clients[c].answer(*n).verdict().shard == 0));
    // The queue is full: these wait before they are written.
    let written = w.records().len();
    let waiting = pay(&mut w, room);
    w.settle();
    assert_eq!(w.records().len(), written);
    assert!(waiting.iter().all(|n| w.clients[c].answers(*n).is_empty()));
    let refused = pay(&mut w, 1)[0];
    assert_eq!(w.clients[c].answer(refused).error(), ErrorCode::Overloaded);
    // The other one takes what it is told; here by hand.
    w.broadcast[1][0].clear();
    w.broadcast[1][0].clear();
    w.tick();
    w.settle();
    assert!(waiting.iter().all(|n| w.clients[c].answer(*n).verdict().shard == 0));
    assert_eq!(w.records().len(), written + waiting.len());
}
