use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;

fn waiting(id: u64, since_ms: u64, until_ms: u64) -> Waiting {
    Waiting {
        origin: Origin::Remote {
            shard: 1,
            pending: crate::shard::messages::PendingForward { slot: id as u32, generation: 0 },
        },
        transaction: bytemuck::Zeroable::zeroed(),
        submitter: SubmitterFields::default(),
        policy_version: 1,
        fingerprint: Fingerprint {
            key: id.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            key_more: id as u32,
            content: 0,
        },
        received_ns: since_ms * MS,
        deadline_ns: (until_ms + 200) * MS,
        until_ns: until_ms * MS,
        since_ns: since_ms * MS,
    }
}

fn nothing() -> [Came; MAX_VALIDATORS] {
    [Came::nothing(NoAnswer::Failed, 0); MAX_VALIDATORS]
}

fn answer(answer: i64) -> Came {
    let state = AnswerState::Fresh;
    Came { answer, state, source: AnswerSource::Asked, ..Came::nothing(NoAnswer::Answered, 7) }
}

fn parked() -> Parked {
    let mut parked = Parked::new();
    parked.prepare();
    parked
}

fn id_of(waiting: &Waiting) -> u32 {
    waiting.fingerprint.key_more
}

#[test]
fn a_place_is_no_larger_than_it_is_said() {
    assert!(size_of::<Place>() <= 320, "{}", size_of::<Place>());
    assert!(size_of::<Came>() <= 48, "{}", size_of::<Came>());
}

#[test]
fn it_waits_for_every_validator_that_is_owed_and_takes_each_answer_once() {
    let mut parked = parked();
    let first = parked.park(waiting(1, 0, 800), (0b101, 0b111), &nothing());
    assert_eq!(parked.find(&waiting(1, 0, 0).fingerprint), Some(first.slot));
    assert_eq!(parked.find(&waiting(2, 0, 0).fingerprint), None);
    assert!(!parked.answered(first, 0, answer(5)));
    assert!(!parked.answered(first, 0, answer(6)), "a second answer changes nothing");
    assert!(!parked.answered(first, 1, answer(6)), "nor does one that is not owed");
    assert!(parked.answered(first, 2, answer(7)));
    let (_, (came, known), _) = parked.take(first.slot, 9 * MS);
    assert_eq!(known, 0b111);
    assert_eq!(came[..3], [answer(5), nothing()[0], answer(7)]);
    assert!(parked.is_empty());
    assert!(!parked.answered(first, 2, answer(7)), "it is gone");
    let second = parked.park(waiting(2, 0, 800), (0b1, 0b1), &nothing());
    assert_eq!(second.slot, first.slot);
    assert!(!parked.answered(first, 0, answer(7)), "the place has another one");
    let (_, (came, _), _) = parked.take(second.slot, 9 * MS);
    assert_eq!(came[0], Came::nothing(NoAnswer::Timeout, 9_000));
}

#[test]
fn resends_are_taken_with_their_payment_or_when_their_own_time_is_over() {
    let mut parked = parked();
    let first = parked.park(waiting(1, 0, 800), (1, 1), &nothing());
    for until_ms in [500, 100, 900] {
        parked.join(first.slot, waiting(u64::from(until_ms as u32), 0, until_ms));
    }
    assert_eq!(parked.joined_to(first.slot), 3);
    assert!(parked.next_over(99 * MS).is_none());
    // With the end of its step.
    let over = parked.next_over(104 * MS);
    assert!(matches!(over, Some(Err(resend)) if id_of(&resend) == 100));
    assert!(parked.next_over(499 * MS).is_none());
    let (_, _, mut joined) = parked.take(first.slot, 499 * MS);
    let mut ids = Vec::new();
    while let Some(resend) = parked.take_joined(&mut joined) {
        ids.push(id_of(&resend));
    }
    assert_eq!(ids, [900, 500]);
    assert!(parked.is_empty());
}

proptest! {
    #[test]
    fn nobody_is_lost_and_nobody_waits_past_his_time(
        steps in prop::collection::vec((0..5_u8, 1..40_u64, 1..1_500_u64), 1..300),
    ) {
        let mut parked = parked();
        // By id: until when, the payment that it joined.
        let mut model: BTreeMap<u32, (u64, Option<u32>)> = BTreeMap::new();
        let mut handles: BTreeMap<u32, ParkedPayment> = BTreeMap::new();
        let (mut now_ms, mut next) = (1, 0_u32);
        for (what, step_ms, wait_ms) in steps {
            match what {
                0 | 1 => {
                    next += 1;
                    let one = waiting(next.into(), now_ms, now_ms + wait_ms);
                    handles.insert(next, parked.park(one, (1, 1), &nothing()));
                    model.insert(next, (now_ms + wait_ms, None));
                }
                2 => {
                    let of = model.iter().filter(|(_, (_, joined))| joined.is_none());
                    let Some((&of, _)) = of.max_by_key(|(id, _)| u64::from(**id) * wait_ms % 97) else { continue };
                    next += 1;
                    parked.join(handles[&of].slot, waiting(next.into(), now_ms, now_ms + wait_ms));
                    model.insert(next, (now_ms + wait_ms, Some(of)));
                }
                3 => {
                    let of = model.iter().filter(|(_, (_, joined))| joined.is_none());
                    let Some((&of, _)) = of.min_by_key(|(id, _)| u64::from(**id) * wait_ms % 89) else { continue };
                    prop_assert!(parked.answered(handles[&of], 0, answer(1)));
                    let (taken, _, mut joined) = parked.take(handles[&of].slot, now_ms * MS);
                    prop_assert_eq!(id_of(&taken), of);
                    model.remove(&of);
                    while let Some(resend) = parked.take_joined(&mut joined) {
                        let was = model.remove(&id_of(&resend));
                        prop_assert_eq!(was.and_then(|(_, joined)| joined), Some(of));
                    }
                }
                // Mostly small steps, now and then once round the wheel and more.
                _ => now_ms += if wait_ms > 1_450 { 40 * wait_ms } else { step_ms },
            }
            while let Some(over) = parked.next_over(now_ms * MS) {
                match over {
                    Ok(slot) => {
                        let (taken, _, mut joined) = parked.take(slot, now_ms * MS);
                        let was = model.remove(&id_of(&taken));
                        prop_assert!(was.is_some_and(|(until_ms, _)| until_ms <= now_ms));
                        while let Some(resend) = parked.take_joined(&mut joined) {
                            prop_assert!(model.remove(&id_of(&resend)).is_some());
                        }
                    }
                    Err(resend) => {
                        let was = model.remove(&id_of(&resend));
                        prop_assert!(was.is_some_and(|(until_ms, _)| until_ms <= now_ms));
                    }
                }
            }
            prop_assert!(model.values().all(|(until_ms, _)| *until_ms + 8 > now_ms));
            prop_assert_eq!(parked.len(), model.len());
        }
        prop_assert_eq!(parked.next_of_others(0, Some(1)), None, "all were parked by this policy");
        let mut from = 0;
        while let Some(slot) = parked.next_of_others(from, Some(2)) {
            prop_assert_eq!(parked.next_of_others(from, None), Some(slot));
            from = slot + 1;
            let (_, _, mut joined) = parked.take(slot, now_ms * MS);
            while parked.take_joined(&mut joined).is_some() {}
        }
        prop_assert!(parked.is_empty());
    }
}
