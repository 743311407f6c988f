//! The desk, whatever comes in whatever order.

use super::acks::Behind;
use super::desk::{Desk, Effect, Now, Receipt, Rules};
use super::letter::{Kind, Letter, UNROUTABLE};
use super::message::{MAX_BODY_LEN, Message};
use crate::link::Outcome;
use bytemuck::Zeroable as _;
use catraca_wire::client::{Decision, ServerError};
use catraca_wire::frame::{Answer, AnswerFields, ErrorCode, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const WALL_MS: u64 = 1_764_000_000_000;
const MS: u64 = 1_000_000;

fn desk() -> Desk {
    desk_with(Behind::Held(4))
}

fn desk_with(behind: Behind) -> Desk {
    let mut desk = Desk::new(Rules { behind, timeout_ns: 2_000 * MS });
    assert_eq!(["one", "two"].map(|name| desk.open(name.to_owned())), [0, 1]);
    desk
}

fn at(ms: u64) -> Now {
    Now { ns: 10_000 * MS + ms * MS, wall_ms: WALL_MS + ms }
}

fn payment(id: &str) -> Value {
    json!({"transaction_id": id, "payer": "04933228680", "payee": "12ABC34501DE35",
        "amount_centavos": 5, "event_time_ns": 1_764_000_000_000_000_000_u64})
}

fn message(body: &Value) -> Message {
    Message { body: body.to_string().into_bytes(), ..Message::default() }
}

fn decision() -> Decision {
    let answer = Answer::from(&AnswerFields::zeroed());
    let verdict = Verdict::Approve;
    Decision {
        verdict,
        duplicate: false,
        degraded: false,
        shadow_disagrees: false,
        reason: None,
        answer,
    }
}

fn refused(code: ErrorCode) -> Outcome {
    let error = ServerError { code, detail: "why".to_owned(), retry_after_ms: 0, closing: false };
    Outcome::Refused { error, in_doubt: false }
}

/// Number and budget of what is asked, microseconds.
type Asked = Vec<(u64, u32)>;
/// Number and letter of what is published.
type Sent = Vec<(u64, Arc<Letter>)>;

/// All that is to be done: what is asked, and what is published.
fn effects(desk: &mut Desk) -> (Asked, Sent) {
    let (mut asked, mut published) = (Vec::new(), Vec::new());
    while let Some(effect) = desk.next_effect() {
        match effect {
            Effect::Ask { number, transaction, .. } => asked.push((number, transaction.budget_us)),
            Effect::Publish { number, letter } => published.push((number, letter)),
            Effect::Settled { .. } | Effect::Poison { .. } | Effect::Astray { .. } => {}
        }
    }
    (asked, published)
}

fn body(letter: &Letter) -> Value {
    serde_json::from_slice(&letter.body).expect("a reply is JSON")
}

fn header<'a>(letter: &'a Letter, name: &str) -> Option<&'a str> {
    letter.headers.iter().find(|(one, _)| *one == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_payment_is_asked_for_answered_and_then_acknowledged() {
    let mut desk = desk();
    let asked_by = Message {
        correlation_id: Some("c-1".to_owned()),
        reply_to: Some("of-asker".to_owned()),
        ..message(&payment("order-1"))
    };
    desk.take(1, 1, asked_by, at(0));
    let (asked, published) = effects(&mut desk);
    assert_eq!((asked, published.len()), (vec![(1, 2_000_000)], 0));
    assert_eq!((desk.id(1), desk.unanswered()), (Some("order-1"), 1));
    desk.answered(1, Outcome::Decided(decision()), at(3));
    let (asked, published) = effects(&mut desk);
    let [(1, letter)] = &published[..] else { panic!("{published:?}") };
    assert!(asked.is_empty());
    let reply = body(letter);
    assert_eq!(
        (&reply["transaction_id"], &reply["verdict"]),
        (&json!("order-1"), &json!("approve"))
    );
    assert_eq!(letter.kind, Kind::ToAsker("of-asker".to_owned()));
    assert_eq!(letter.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(header(letter, "x-catraca-status"), Some("200"));
    assert!(desk.take_acks(1, true).is_empty(), "the broker does not have the answer yet");
    desk.published(1, Receipt::Taken, at(4));
    assert_eq!(desk.take_acks(1, false).len(), 1);
    assert!(desk.take_acks(0, true).is_empty());
    assert_eq!(desk.unanswered(), 0);
}

#[test]
fn the_budget_begins_in_the_queue_and_what_is_too_late_is_told_so() {
    for (enqueued_ago_ms, in_doubt, left_us, recorded) in [
        (Some(500), false, Some(1_500_000), ""),
        (Some(-5_000), false, Some(2_000_000), ""),
        (None, true, Some(2_000_000), ""),
        (Some(2_000), false, None, "no"),
        (Some(900_000), false, None, "no"),
        (Some(2_500), true, None, "perhaps"),
    ] {
        let mut desk = desk();
        let at_ms = enqueued_ago_ms.map(|ago: i64| WALL_MS.wrapping_add_signed(-ago));
        let late = Message { enqueued_at_ms: at_ms, in_doubt, ..message(&payment("order-1")) };
        desk.take(0, 1, late, at(0));
        let (asked, published) = effects(&mut desk);
        assert_eq!(asked.first().map(|(_, budget_us)| *budget_us), left_us, "{enqueued_ago_ms:?}");
        if left_us.is_none() {
            let problem = body(&published[0].1);
            assert_eq!((&problem["code"], &problem["status"]), (&json!("DEADLINE"), &json!(504)));
            assert_eq!(problem["recorded"], recorded);
            assert_eq!(problem["transaction_id"], "order-1");
            assert_eq!(published[0].1.content_type.as_deref(), Some("application/problem+json"));
        }
    }
    let mut own = payment("order-1");
    own["budget_us"] = json!(300_000);
    let mut desk = desk();
    desk.take(0, 1, message(&own), at(0));
    assert_eq!(effects(&mut desk).0, [(1, 300_000)], "a payment may want less");
}

#[test]
fn what_nobody_can_decide_on_goes_to_the_dead_letters_with_the_reason_and_is_answered() {
    let large = Message { body: vec![b' '; MAX_BODY_LEN + 1], ..Message::default() };
    let mut float = payment("order-1");
    float["amount_centavos"] = json!(5.25);
    let gzip = Message { content_encoding: Some("gzip".to_owned()), ..message(&payment("a")) };
    let text = Message { content_type: Some("text/plain".to_owned()), ..message(&payment("a")) };
    let nothing = Message { body: b"nonsense".to_vec(), ..Message::default() };
    for (poison, code) in [
        (nothing, "BAD_JSON"),
        (message(&json!({})), "BAD_REQUEST"),
        (message(&float), "BAD_REQUEST"),
        (large, "TOO_LARGE"),
        (gzip, "NOT_JSON"),
        (text, "NOT_JSON"),
    ] {
        let mut desk = desk();
        // It is no matter of time.
        let poison = Message { enqueued_at_ms: Some(1), ..poison };
        let sent = poison.body.clone();
        desk.take(1, 1, poison, at(0));
        let (asked, published) = effects(&mut desk);
        let [(1, dead)] = &published[..] else { panic!("{code}: {published:?}") };
        assert!(asked.is_empty());
        assert_eq!((&dead.kind, &dead.body), (&Kind::Dead, &sent));
        assert_eq!(header(dead, "x-catraca-reason"), Some(code));
        assert_eq!(header(dead, "x-catraca-queue"), Some("two"));
        assert_eq!(header(dead, "x-enqueued-at-ms"), Some("1"));
        assert!(!header(dead, "x-catraca-detail").unwrap_or_default().is_empty());
        desk.published(1, Receipt::Taken, at(1));
        assert!(desk.take_acks(1, true).is_empty(), "it is not answered");
        let (_, published) = effects(&mut desk);
        assert_eq!(body(&published[0].1)["code"], code);
        assert_eq!(published[0].1.kind, Kind::ToAll);
        desk.published(1, Receipt::Taken, at(2));
        assert_eq!(desk.take_acks(1, true).len(), 1);
    }
    let mut desk = desk();
    desk.take(0, 1, message(&payment("order-1")), at(0));
    effects(&mut desk);
    desk.answered(1, refused(ErrorCode::IdReused), at(1));
    let (_, published) = effects(&mut desk);
    assert_eq!(header(&published[0].1, "x-catraca-reason"), Some("ID_REUSED"));
}

#[test]
fn the_id_may_be_the_messages_own_and_the_payments_counts() {
    let mut without = payment("unused");
    without.as_object_mut().expect("an object").remove("transaction_id");
    for (body, id) in [(payment("of-body"), "of-body"), (without, "of-message")] {
        let mut desk = desk();
        let message = Message { message_id: Some("of-message".to_owned()), ..message(&body) };
        desk.take(0, 1, message, at(0));
        assert_eq!(desk.id(1), Some(id));
    }
}

#[test]
fn it_is_asked_again_within_the_budget_and_then_told_that_it_is_over() {
    let mut desk = desk();
    desk.take(0, 1, message(&payment("order-1")), at(0));
    let (mut asked, mut now_ms) = (effects(&mut desk).0.len(), 0);
    loop {
        desk.answered(1, refused(ErrorCode::Overloaded), at(now_ms));
        let Some(wake_ns) = desk.next_wake() else { break };
        now_ms = wake_ns / MS - 10_000;
        desk.tick(at(now_ms));
        asked += effects(&mut desk).0.len();
    }
    assert!((8..40).contains(&asked), "asked {asked} times");
    assert!((1_700..2_000).contains(&now_ms), "the last time after {now_ms} ms");
    let problem = body(&effects(&mut desk).1[0].1);
    assert_eq!((&problem["code"], &problem["recorded"]), (&json!("DEADLINE"), &json!("no")));
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("OVERLOADED")));

    let mut desk = self::desk();
    desk.take(0, 1, message(&payment("order-1")), at(0));
    let in_doubt = Outcome::NoAnswer { detail: "gone".to_owned(), in_doubt: true };
    desk.answered(1, in_doubt, at(2_500));
    let problem = body(&effects(&mut desk).1[0].1);
    assert_eq!((&problem["code"], &problem["recorded"]), (&json!("DEADLINE"), &json!("perhaps")));
}

#[test]
fn a_reply_that_nobody_takes_is_not_lost() {
    let mut desk = desk();
    let asker = Message { reply_to: Some("gone".to_owned()), ..message(&payment("order-1")) };
    desk.take(0, 1, asker, at(0));
    desk.answered(1, Outcome::Decided(decision()), at(1));
    effects(&mut desk);
    desk.published(1, Receipt::Returned, at(2));
    let (_, published) = effects(&mut desk);
    assert_eq!(published[0].1.kind, Kind::ToAll);
    desk.published(1, Receipt::Returned, at(3));
    let (_, published) = effects(&mut desk);
    let dead = &published[0].1;
    assert_eq!(dead.kind, Kind::Dead);
    assert_eq!(header(dead, "x-catraca-reason"), Some(UNROUTABLE));
    assert_eq!(body(dead)["transaction_id"], "order-1");
    // Where nothing takes that, it waits for the operator, and is not acknowledged.
    for _ in 0..20 {
        desk.published(1, Receipt::Returned, at(4));
        assert!(effects(&mut desk).1.is_empty() && desk.take_acks(0, true).is_empty());
        let wake_ns = desk.next_wake().expect("it is tried again");
        assert!(wake_ns <= at(1_004).ns);
        desk.tick(Now { ns: wake_ns, wall_ms: WALL_MS });
        assert_eq!(effects(&mut desk).1.len(), 1);
    }
    desk.published(1, Receipt::Taken, at(5));
    assert_eq!(desk.take_acks(0, true).len(), 1);
}

/// What happens to a desk.
#[derive(Debug, Clone)]
enum Step {
    Deliver { sound: bool, age_ms: u64, in_doubt: bool, to_asker: bool },
    Answer { nth: usize, with: u8 },
    Confirm { nth: usize, receipt: Receipt },
    Pass { ms: u64 },
    Lose { one_queue: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let receipt = prop_oneof![
        6 => Just(Receipt::Taken),
        1 => Just(Receipt::Returned),
        1 => Just(Receipt::Refused)
    ];
    prop_oneof![
        4 => (any::<bool>(), 0u64..3_000, any::<bool>(), any::<bool>()).prop_map(
            |(sound, age_ms, in_doubt, to_asker)| {
                Step::Deliver { sound, age_ms, in_doubt, to_asker }
            }
        ),
        4 => (any::<usize>(), any::<u8>()).prop_map(|(nth, with)| Step::Answer { nth, with }),
        6 => (any::<usize>(), receipt).prop_map(|(nth, receipt)| Step::Confirm { nth, receipt }),
        2 => (0u64..1_500).prop_map(|ms| Step::Pass { ms }),
        1 => any::<bool>().prop_map(|one_queue| Step::Lose { one_queue }),
    ]
}

fn outcome(with: u8) -> Outcome {
    match with % 8 {
        0..=2 => Outcome::Decided(decision()),
        3 => refused(ErrorCode::Overloaded),
        4 => refused(ErrorCode::BadField),
        5 => refused(ErrorCode::Deadline),
        6 => Outcome::NoAnswer { detail: String::new(), in_doubt: true },
        _ => Outcome::Full,
    }
}

/// What a test knows of a desk from its effects alone.
#[derive(Default)]
struct World {
    asked: BTreeSet<u64>,
    letters: BTreeMap<u64, Arc<Letter>>,
    /// Replies of which the broker has said that it has them, by delivery.
    replied: BTreeSet<u64>,
    /// Deliveries of this connection by tag.
    by_tag: BTreeMap<u64, u64>,
    acked: BTreeSet<u64>,
    settled: usize,
}

impl World {
    fn look(&mut self, desk: &mut Desk) {
        while let Some(effect) = desk.next_effect() {
            match effect {
                Effect::Ask { number, queue: _, transaction, budget_end_ns } => {
                    assert!(self.asked.insert(number), "asked while it is asked");
                    assert!(transaction.budget_us > 0 && budget_end_ns > 0);
                }
                Effect::Publish { number, letter } => {
                    let before = self.letters.insert(number, letter);
                    assert!(before.is_none(), "a letter while there is one on its way");
                }
                Effect::Settled { .. } => self.settled += 1,
                Effect::Poison { .. } | Effect::Astray { .. } => {}
            }
        }
        for ack in desk.take_acks(0, false) {
            let tags = if ack.multiple { 1..=ack.tag } else { ack.tag..=ack.tag };
            for tag in tags.filter(|tag| !self.acked.contains(tag)).collect::<Vec<_>>() {
                let number = self.by_tag[&tag];
                assert!(self.replied.contains(&number), "acknowledged before it was answered");
                self.acked.insert(tag);
            }
        }
    }
}

proptest! {
    /// Nothing is acknowledged that is not answered, nothing is answered twice over one connection, and nothing is
    /// left lying: with a node and a broker that work, all that is open ends.
    #[test]
    fn each_delivery_is_answered_and_then_acknowledged(
        steps in prop::collection::vec(step(), 1..120),
        by_itself in any::<bool>(),
    ) {
        let behind = if by_itself { Behind::Held(4) } else { Behind::Never };
        let (mut desk, mut world, mut now_ms, mut tag, mut number) =
            (desk_with(behind), World::default(), 0, 0, 0);
        let confirm = |desk: &mut Desk, world: &mut World, number: u64, receipt, now| {
            let letter = world.letters.remove(&number).expect("it is on its way");
            if receipt == Receipt::Taken && header(&letter, "x-catraca-status").is_some() {
                assert!(world.replied.insert(number), "answered twice");
            }
            desk.published(number, receipt, now);
        };
        for step in steps {
            match step {
                Step::Deliver { sound, age_ms, in_doubt, to_asker } => {
                    (tag, number) = (tag + 1, number + 1);
                    world.by_tag.insert(tag, number);
                    let body = if sound { payment("order-1") } else { json!({"payer": 1.5}) };
                    let delivered = Message {
                        enqueued_at_ms: Some(WALL_MS + now_ms - age_ms),
                        in_doubt,
                        reply_to: to_asker.then(|| "of-asker".to_owned()),
                        ..message(&body)
                    };
                    desk.take(0, tag, delivered, at(now_ms));
                }
                Step::Answer { nth, with } => {
                    let nth = nth.checked_rem(world.asked.len());
                    if let Some(number) = nth.and_then(|nth| world.asked.iter().nth(nth).copied()) {
                        world.asked.remove(&number);
                        desk.answered(number, outcome(with), at(now_ms));
                    }
                }
                Step::Confirm { nth, receipt } => {
                    let nth = nth.checked_rem(world.letters.len());
                    if let Some(number) = nth.and_then(|nth| world.letters.keys().nth(nth).copied()) {
                        confirm(&mut desk, &mut world, number, receipt, at(now_ms));
                    }
                }
                Step::Pass { ms } => {
                    now_ms += ms;
                    desk.tick(at(now_ms));
                }
                Step::Lose { one_queue } => {
                    // All of them are of that queue.
                    if one_queue { desk.forget_queue(0) } else { desk.forget() };
                    prop_assert_eq!(desk.unanswered(), 0);
                    prop_assert!(desk.next_wake().is_none());
                    // What comes for them later is nobody's.
                    for number in std::mem::take(&mut world.asked) {
                        desk.answered(number, outcome(0), at(now_ms));
                    }
                    world.letters.clear();
                    world.by_tag.clear();
                    world.acked.clear();
                    tag = 0;
                }
            }
            world.look(&mut desk);
        }
        // From now on all works.
        for _ in 0..20 {
            now_ms += 2_000;
            desk.tick(at(now_ms));
            world.look(&mut desk);
            for number in std::mem::take(&mut world.asked) {
                desk.answered(number, Outcome::Decided(decision()), at(now_ms));
            }
            world.look(&mut desk);
            for number in world.letters.keys().copied().collect::<Vec<_>>() {
                confirm(&mut desk, &mut world, number, Receipt::Taken, at(now_ms));
            }
            world.look(&mut desk);
        }
        prop_assert_eq!(desk.unanswered(), 0);
        let held = desk.take_acks(0, true);
        prop_assert!(by_itself || held.is_empty());
        prop_assert_eq!(world.acked.len() + held.len(), tag as usize, "each is acknowledged once");
    }
}
