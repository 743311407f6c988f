//! Payments that are judged together: each sees what it would see alone, after all before it.

use super::*;
use proptest::prelude::*;

fn values_of(windows: &Windows) -> Vec<Value> {
    vec![Value::Evicted; windows.asked().len()]
}

fn pairs() -> Vec<Asked> {
    let hour = sliding(3_600, 10);
    vec![
        asked(Subject::Payer, hour, Function::Count),
        asked(Subject::Payee, hour, Function::Sum),
        asked(Subject::PayerToPayee, sliding(86_400, 10), Function::Count),
        asked(Subject::Device, hour, Function::Distinct { of: Member::Payer, up_to: 4 }),
    ]
}

proptest! {
    #[test]
    fn a_batch_reads_what_payments_one_by_one_read(
        payments in prop::collection::vec((0..90u64, 0..4u64, 0..600u64, 0..3u64), 1..400),
        most in 1..32usize,
    ) {
        // Far more pairs than a table has keys: whoever comes lets somebody go.
        let (mut alone, mut together) = (windows(&pairs()), windows(&pairs()));
        let events: Vec<Event> = payments
            .iter()
            .scan(0, |time_s, &(payer, payee, on_s, device)| {
                *time_s += on_s % 60;
                let device = (device > 0).then_some(device);
                Some(Event { keys: keys(payer, payee, device), ..payment(*time_s, 100) })
            })
            .collect();
        let mut batch = Together::with_capacity(most);
        let mut batches = 0;
        let mut rest = &events[..];
        while !rest.is_empty() {
            batch.clear();
            batches += 1;
            let mut taken = 0;
            let mut seen = Vec::new();
            while taken < most.min(rest.len()) {
                let mut values = values_of(&together);
                if !together.read_together(&rest[taken], &mut batch, &mut values) {
                    break;
                }
                seen.push(values);
                taken += 1;
            }
            prop_assert!(taken > 0, "the first of a batch waits for nobody");
            prop_assert_eq!(batch.len(), taken);
            for (place, (event, seen)) in rest[..taken].iter().zip(seen).enumerate() {
                prop_assert_eq!(read(&alone, event), seen);
                alone.add(event, Verdict::Approve);
                together.add_together(&batch, place, Verdict::Approve);
            }
            rest = &rest[taken..];
        }
        prop_assert_eq!(alone.digest(), together.digest());
        prop_assert!(batches >= events.len().div_ceil(most));
    }
}

#[test]
fn a_full_table_splits_a_batch_only_where_a_key_must_go() {
    let mut full = windows(&pairs()[..1]);
    let of = |payer| Event { keys: keys(payer, 1, None), ..payment(0, 100) };
    (0..MIN_KEYS as u64).for_each(|payer| full.add(&of(payer), Verdict::Approve));
    let mut batch = Together::default();
    let mut values = values_of(&full);
    for payer in 0..20 {
        assert!(full.read_together(&of(payer), &mut batch, &mut values), "{payer} is known");
    }
    assert!(full.read_together(&of(1_000), &mut batch, &mut values), "it goes last");
    assert!(!full.read_together(&of(30), &mut batch, &mut values), "it may be the one that goes");
    assert!(!full.read_together(&of(7), &mut batch, &mut values), "it is in the batch");
    batch.clear();
    assert!(full.read_together(&of(30), &mut batch, &mut values));
}
