//! Payments that wait for validators: each is decided once, within its budget, whatever comes of the question.

use catraca_core::calendar::Zone;
use catraca_core::policy::language::{Asking, compile_into};
use catraca_core::policy::lists::{InForce, KeyField};
use catraca_core::policy::replay::{differences, push, recorded_parties, recorded_values};
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::validators::{AnswerState, Validator};
use catraca_core::policy::{
    Batch, EVERY_DAY, EVERY_PAYER, Policy, Rule, RuleEffect, RuleVerdict, Rules, WindowsAsked,
};
use catraca_core::shard::messages::{Admission, Ask, ToControl, ToShard};
use catraca_core::shard::parked::Came;
use catraca_testkit::shard::{Options, Reply, World, payer, submit, transaction};
use catraca_wire::extension::{
    AnswerSource, BreakerState, MAX_WINDOW_VALUES, NoAnswer, RulesSeen, WindowValue, read_asked,
};
use catraca_wire::frame::{
    ErrorCode, SubmitFrame, TransactionFields, VERDICT_DEGRADED, VERDICT_DUPLICATE, Verdict,
};
use std::sync::Arc;
use std::time::Duration;

const WAIT_MS: u64 = 800;
const SUSPENDED: i64 = 1;
const REGULAR: i64 = 0;

/// Asks about every amount above R$ 10; denies who is suspended, and has a person look where there is no answer.
fn policy(version: u32, validators: &[&str]) -> Arc<Policy> {
    let mut asking = Asking::default();
    let validator = |id: &&str, asking: &mut Asking| Validator {
        id: (*id).to_owned(),
        when: compile_into("tx.amount > reais(10)", asking).expect("sound"),
        sends: [KeyField::PayerDocument].into(),
        sends_amount: false,
        words: ["regular", "suspended"].map(str::to_owned).into(),
        wait_ms: WAIT_MS as u16,
        degrades: true,
    };
    let mut asked: Vec<_> = validators.iter().map(|id| validator(id, &mut asking)).collect();
    asked.iter().for_each(|one| assert!(asking.declare(&one.id, &one.words)));
    let rule = |id: &str, when: &str, verdict, asking: &mut Asking| Rule {
        id: id.to_owned(),
        when: compile_into(when, asking).expect("sound"),
        effect: RuleEffect { score: 0, verdict: Some(verdict), shadow: false },
        days: EVERY_DAY,
        share_permille: EVERY_PAYER,
    };
    let mut rules = Vec::new();
    for id in validators {
        let answer = format!("validator(\"{id}\")");
        let when = format!("has({answer}) && {answer} == \"suspended\"");
        rules.push(rule(&format!("{id}-suspended"), &when, RuleVerdict::Deny, &mut asking));
        let when = format!("no_answer({answer})");
        rules.push(rule(&format!("{id}-no-answer"), &when, RuleVerdict::Review, &mut asking));
    }
    let of_rules = rules.iter_mut().map(|rule| &mut rule.when);
    for when in of_rules.chain(asked.iter_mut().map(|validator| &mut validator.when)) {
        when.link(0, 0);
    }
    let windows = WindowsAsked { asked: asking.asked().into(), keys: 64 };
    let rules =
        Rules { rules: rules.into(), windows, validators: asked.into(), ..Rules::default() };
    Policy::new(version, Zone::default(), rules).into()
}

fn bring_into_force(w: &mut World, policy: &Arc<Policy>) {
    for core in 0..w.cores.len() {
        let named = InForce::new(&Default::default(), policy.rules(), ShareKey::of(&[3; 32]));
        w.control(core, ToShard::SwapPolicy(Arc::clone(policy), named.into()));
        let told = w.cores[core].told.pop();
        assert!(matches!(told, Some(ToControl::PolicyReleased(..))));
    }
}

fn world(options: Options) -> (World, usize) {
    let mut w = World::with(options);
    bring_into_force(&mut w, &policy(1, &["status"]));
    let client = w.client();
    (w, client)
}

fn pays(id: &str, n: u64, centavos: i64) -> TransactionFields {
    let mut pays = transaction(id, payer(n));
    pays.amount_centavos = centavos.into();
    pays
}

fn asks(w: &mut World, core: usize) -> Vec<Ask> {
    w.cores[core].mover.shard.asks_out().drain(..).collect()
}

fn answer(w: &mut World, ask: &Ask, answer: i64) {
    let nothing = Came::nothing(NoAnswer::Answered, 1_500);
    let state = AnswerState::Fresh;
    let came =
        Came { answer, state, source: AnswerSource::Asked, attempts: 1, age_ms: 0, ..nothing };
    w.control(
        ask.shard.into(),
        ToShard::Answered {
            payment: ask.payment.expect("a payment waits"),
            validator: ask.validator,
            came,
        },
    );
    w.settle();
}

fn verdict(w: &World, client: usize, n: u64) -> Verdict {
    Verdict::from_wire(w.clients[client].answer(n).verdict().verdict).expect("known")
}

/// Every record is what its policy makes of it.
fn assert_replays(w: &World, policy: &Policy) {
    for (head, extension) in w.records_whole() {
        let seen = RulesSeen::read(&extension).expect("there are rules");
        let mut values = [WindowValue::Evicted; MAX_WINDOW_VALUES];
        let values = recorded_values(policy, &extension, &mut values);
        let parties = recorded_parties(&head).expect("readable");
        let mut batch = Batch::new();
        push(&mut batch, policy, &head, seen.offset_minutes, parties, values, &seen.exempt);
        policy.judge(&mut batch);
        assert_eq!(differences(policy, batch.judgement(0), &head, &extension), []);
        assert_eq!(batch.asked_as_told(policy.rules()) & 1, 1, "who was asked");
    }
}

#[test]
fn a_payment_waits_for_its_answer_and_another_does_not() {
    let (mut w, c) = world(Options::default());
    w.submit(c, 1, pays("dear", 1, 5_000));
    w.submit(c, 2, pays("cheap", 2, 500));
    w.settle();
    assert!(w.clients[c].answers(1).is_empty(), "it waits");
    assert_eq!(verdict(&w, c, 2), Verdict::Approve);
    let asked = asks(&mut w, 0);
    assert_eq!(asked.len(), 1);
    assert!(asked[0].until_ns <= w.now.mono_ns + WAIT_MS * 1_000_000);
    w.pass(Duration::from_millis(30));
    answer(&mut w, &asked[0], SUSPENDED);
    assert_eq!(verdict(&w, c, 1), Verdict::Deny);
    let flags = w.clients[c].answer(1).verdict().flags;
    assert_eq!(flags & VERDICT_DEGRADED, 0);
    let whole = w.records_whole();
    let (_, extension) =
        whole.iter().find(|(head, _)| head.transaction.id.starts_with(b"dear")).expect("recorded");
    let recorded = read_asked(extension);
    assert_eq!(
        (recorded.len(), recorded[0].source, recorded[0].attempts),
        (1, AnswerSource::Asked, 1)
    );
    assert_eq!(recorded[0].key, asked[0].key.to_le_bytes());
    assert_replays(&w, &policy(1, &["status"]));
    // A second answer, or one for a payment that is gone, changes nothing.
    answer(&mut w, &asked[0], REGULAR);
    assert_eq!(w.records().len(), 2);
}

#[test]
fn without_an_answer_it_is_decided_when_its_time_is_over_and_marked() {
    let (mut w, c) = world(Options::default());
    w.submit(c, 1, pays("dear", 1, 5_000));
    w.settle();
    let asked = asks(&mut w, 0);
    w.pass(Duration::from_millis(WAIT_MS - 1));
    w.tick();
    w.settle();
    assert!(w.clients[c].answers(1).is_empty());
    w.pass(Duration::from_millis(10));
    w.tick();
    w.settle();
    assert_eq!(verdict(&w, c, 1), Verdict::Review);
    assert_ne!(w.clients[c].answer(1).verdict().flags & VERDICT_DEGRADED, 0);
    let (_, extension) = w.records_whole().remove(0);
    let recorded = read_asked(&extension)[0];
    assert_eq!((recorded.source, recorded.no_answer), (AnswerSource::Nowhere, NoAnswer::Timeout));
    assert_replays(&w, &policy(1, &["status"]));
    answer(&mut w, &asked[0], SUSPENDED);
    assert_eq!(w.records().len(), 1, "a late answer changes nothing");
}

#[test]
fn a_short_budget_leaves_the_log_its_part() {
    let (mut w, c) = world(Options::default());
    let mut hurried = pays("hurried", 1, 5_000);
    hurried.budget_us = 100_000.into();
    w.submit(c, 1, hurried);
    w.settle();
    let until_ns = asks(&mut w, 0)[0].until_ns;
    assert_eq!(until_ns - w.now.mono_ns, 75_000_000);
    w.pass(Duration::from_millis(84));
    w.tick();
    w.settle();
    assert_eq!(verdict(&w, c, 1), Verdict::Review);
}

#[test]
fn a_resend_joins_the_payment_that_waits_and_other_content_is_told() {
    let (mut w, c) = world(Options::default());
    let other = w.client();
    w.submit(c, 1, pays("dear", 1, 5_000));
    w.submit(other, 2, pays("dear", 1, 5_000));
    w.submit(other, 3, pays("dear", 1, 6_000));
    // One more in the packet of the first of another payer.
    let both = [submit(4, pays("twice", 2, 5_000)), submit(5, pays("twice", 2, 5_000))];
    w.send(c, bytemuck::cast_slice::<SubmitFrame, u8>(&both));
    w.settle();
    let asked = asks(&mut w, 0);
    assert_eq!(asked.len(), 2, "each payment is asked about once");
    asked.iter().for_each(|ask| answer(&mut w, ask, SUSPENDED));
    for (client, n, is_duplicate) in [(c, 1, false), (other, 2, true), (c, 4, false), (c, 5, true)]
    {
        assert_eq!(verdict(&w, client, n), Verdict::Deny, "{n}");
        let flags = w.clients[client].answer(n).verdict().flags;
        assert_eq!(flags & VERDICT_DUPLICATE != 0, is_duplicate, "{n}");
    }
    assert_eq!(w.clients[other].answer(3).error(), ErrorCode::IdReused);
    assert_eq!(w.records().len(), 2);
}

#[test]
fn a_resend_with_less_time_is_told_that_nothing_is_known() {
    let (mut w, c) = world(Options::default());
    w.submit(c, 1, pays("dear", 1, 5_000));
    let mut hurried = pays("dear", 1, 5_000);
    hurried.budget_us = 100_000.into();
    w.submit(c, 2, hurried);
    w.settle();
    w.pass(Duration::from_millis(90));
    w.tick();
    w.settle();
    assert_eq!(w.clients[c].answer(2).error(), ErrorCode::Unconfirmed);
    let asked = asks(&mut w, 0);
    answer(&mut w, &asked[0], REGULAR);
    assert_eq!(verdict(&w, c, 1), Verdict::Approve);
}

#[test]
fn an_answer_that_is_good_serves_the_next_payments_of_the_same_payer() {
    let (mut w, c) = world(Options::default());
    w.submit(c, 1, pays("first", 1, 5_000));
    w.settle();
    let asked = asks(&mut w, 0)[0];
    let good_until_ns = w.now.mono_ns + 1_000_000_000;
    let cache = |policy_version, answer| ToShard::Cache {
        policy_version,
        validator: asked.validator,
        key: asked.key,
        answer,
        given_ns: 0,
        good_until_ns,
    };
    w.control(0, cache(1, SUSPENDED));
    w.control(0, cache(9, REGULAR));
    assert_eq!(w.ask(c, 2, pays("second", 1, 6_000)).verdict().verdict, Verdict::Deny.to_wire());
    let (_, extension) = w.records_whole().remove(0);
    assert_eq!(read_asked(&extension)[0].source, AnswerSource::Core);
    assert_replays(&w, &policy(1, &["status"]));
    assert!(asks(&mut w, 0).is_empty(), "nobody is asked");
    w.submit(c, 3, pays("other", 2, 5_000));
    w.pass(Duration::from_secs(1));
    w.submit(c, 4, pays("later", 1, 5_000));
    w.settle();
    assert_eq!(asks(&mut w, 0).len(), 2);
}

#[test]
fn two_validators_are_asked_at_once_and_both_are_waited_for() {
    let mut w = World::new();
    let both = policy(1, &["status", "score"]);
    bring_into_force(&mut w, &both);
    let c = w.client();
    w.submit(c, 1, pays("dear", 1, 5_000));
    w.settle();
    let asked = asks(&mut w, 0);
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].key, asked[1].key);
    answer(&mut w, &asked[1], SUSPENDED);
    assert!(w.clients[c].answers(1).is_empty());
    w.pass(Duration::from_millis(WAIT_MS + 10));
    w.tick();
    w.settle();
    assert_eq!(verdict(&w, c, 1), Verdict::Deny);
    let (_, extension) = w.records_whole().remove(0);
    let why: Vec<_> = read_asked(&extension).iter().map(|asked| asked.no_answer).collect();
    assert_eq!(why, [NoAnswer::Timeout, NoAnswer::Answered]);
    assert_replays(&w, &both);
}

#[test]
fn another_policy_decides_on_what_waits_without_asking_again() {
    let (mut w, c) = world(Options::default());
    (0..3).for_each(|n| w.submit(c, n, pays(&format!("n{n}"), n, 5_000)));
    w.settle();
    let asked = asks(&mut w, 0);
    let next = policy(2, &["score", "status"]);
    bring_into_force(&mut w, &next);
    answer(&mut w, &asked[1], SUSPENDED);
    w.submit(c, 9, pays("after", 9, 5_000));
    w.tick();
    w.settle();
    for n in 0..3 {
        assert_eq!(verdict(&w, c, n), Verdict::Review, "{n}");
    }
    assert!(w.clients[c].answers(9).is_empty(), "this one waits for the new policy's validators");
    for (head, extension) in w.records_whole() {
        assert_eq!(head.policy_version.to_native(), 2);
        assert!(read_asked(&extension).iter().all(|one| one.no_answer == NoAnswer::PolicyChanged));
    }
    assert_replays(&w, &next);
    let none: Arc<Policy> = Policy::new(3, Zone::default(), Rules::default()).into();
    bring_into_force(&mut w, &none);
    w.tick();
    w.settle();
    assert_eq!(verdict(&w, c, 9), Verdict::Approve);
}

#[test]
fn a_stop_records_nothing_of_what_waits() {
    let (mut w, c) = world(Options::default());
    w.submit(c, 1, pays("dear", 1, 5_000));
    w.submit(c, 2, pays("dear", 1, 5_000));
    w.settle();
    w.admit(Admission::Stopping);
    assert!(!w.cores[0].told.iter().any(|told| matches!(told, ToControl::Drained(_))));
    w.tick();
    w.settle();
    for n in [1, 2] {
        assert_eq!(w.clients[c].answer(n).error(), ErrorCode::ShuttingDown);
    }
    assert_eq!(w.records().len(), 0);
    w.tick();
    assert!(w.cores[0].told.iter().any(|told| matches!(told, ToControl::Drained(_))));
}

#[test]
fn a_forwarded_payment_waits_on_the_core_of_its_payer() {
    let mut w = World::of_shards(2);
    bring_into_force(&mut w, &policy(1, &["status"]));
    let c = w.client_of(0);
    (0..8).for_each(|n| w.submit(c, n, pays(&format!("n{n}"), n, 5_000)));
    w.settle();
    for core in 0..2 {
        let asked = asks(&mut w, core);
        assert!(!asked.is_empty() && asked.iter().all(|ask| usize::from(ask.shard) == core));
        asked.iter().for_each(|ask| answer(&mut w, ask, SUSPENDED));
    }
    assert!((0..8).all(|n| verdict(&w, c, n) == Verdict::Deny));
}

#[test]
fn those_without_room_are_decided_at_once_and_the_others_as_they_must() {
    let options = Options { in_flight: 100_000, segments: 64, ..Options::default() };
    let (mut w, c) = world(options);
    let room = catraca_core::shard::parked::MAX_PARKED as u64;
    for first in (0..room + 10).step_by(1_000) {
        let frames: Vec<SubmitFrame> = (first..(first + 1_000).min(room + 10))
            .map(|n| submit(n, pays(&format!("n{n}"), n, 5_000)))
            .collect();
        w.send(c, bytemuck::cast_slice(&frames));
        // They are taken, and never answered.
        asks(&mut w, 0);
    }
    w.settle();
    let verdicts = |w: &World| -> Vec<u8> {
        let replies = w.clients[c].replies.iter();
        replies
            .filter_map(|reply| match reply {
                Reply::Verdict { answer, .. } => Some(answer.verdict),
                _ => None,
            })
            .collect()
    };
    assert_eq!(verdicts(&w).len(), 10);
    assert_eq!(verdict(&w, c, room + 9), Verdict::Review);
    let (_, extension) = w.records_whole().remove(0);
    assert_eq!(read_asked(&extension)[0].no_answer, NoAnswer::TooManyParked);
    w.pass(Duration::from_millis(WAIT_MS + 10));
    for _ in 0..=room / 4096 {
        w.tick();
        w.settle();
    }
    let all = verdicts(&w);
    assert!(all.len() as u64 == room + 10);
    assert!(all.iter().all(|verdict| *verdict == Verdict::Review.to_wire()));
    let closed = BreakerState::Closed;
    assert!(
        w.records_whole().iter().all(|(_, extension)| read_asked(extension)[0].breaker == closed)
    );
}

#[test]
fn questions_that_nobody_takes_are_bounded_too() {
    let options = Options { in_flight: 100_000, segments: 8, ..Options::default() };
    let (mut w, c) = world(options);
    let room = 2 * catraca_core::limits::ASK_QUEUE_LEN as u64;
    let frames: Vec<SubmitFrame> =
        (0..room + 5).map(|n| submit(n, pays(&format!("n{n}"), n, 5_000))).collect();
    w.send(c, bytemuck::cast_slice(&frames));
    w.settle();
    assert_eq!(w.records().len(), 5, "these could not be asked about");
    assert_eq!(asks(&mut w, 0).len() as u64, room);
}

#[test]
fn resends_of_one_payment_are_bounded() {
    let (mut w, c) = world(Options::default());
    (0..70).for_each(|n| w.submit(c, n, pays("dear", 1, 5_000)));
    w.settle();
    let refused = (65..70).all(|n| w.clients[c].answer(n).error() == ErrorCode::Overloaded);
    assert!(refused, "64 have joined");
    let asked = asks(&mut w, 0);
    answer(&mut w, &asked[0], REGULAR);
    assert!((0..65).all(|n| verdict(&w, c, n) == Verdict::Approve));
    assert_eq!(w.records().len(), 1);
}

/// A validator that is asked about what happened a second ago or longer, beside the one of amounts.
fn policy_of_old_ones() -> Arc<Policy> {
    let both = policy(1, &["status", "late"]);
    let mut rules = both.rules().clone();
    let mut asking = Asking::default();
    rules.validators[1].when = compile_into("tx.age >= seconds(1)", &mut asking).expect("sound");
    Policy::new(1, Zone::default(), rules).into()
}

#[test]
fn what_must_be_asked_only_after_the_wait_is_asked_then() {
    let mut w = World::new();
    let both = policy_of_old_ones();
    bring_into_force(&mut w, &both);
    let c = w.client();
    let mut young = pays("young", 1, 5_000);
    young.event_time_ns = (w.now.wall_ns - 500_000_000).into();
    w.submit(c, 1, young);
    w.settle();
    let first = asks(&mut w, 0);
    assert_eq!(first.len(), 1, "it is half a second old");
    w.pass(Duration::from_millis(600));
    answer(&mut w, &first[0], REGULAR);
    assert!(w.clients[c].answers(1).is_empty(), "it is older than a second now");
    let second = asks(&mut w, 0);
    assert_eq!((second.len(), second[0].validator), (1, 1));
    answer(&mut w, &second[0], SUSPENDED);
    assert_eq!(verdict(&w, c, 1), Verdict::Deny);
    let (_, extension) = w.records_whole().remove(0);
    let recorded = read_asked(&extension);
    assert!(recorded.iter().all(|asked| asked.no_answer == NoAnswer::Answered), "{recorded:?}");
    assert_replays(&w, &both);
}
