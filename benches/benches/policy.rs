//! Nanoseconds of a policy's rules: alone, a batch of payments at once, and as a part of the whole decision.
//!
//! `rules/N` judges batches of 32 payments by N rules; the figure is for one payment. `single/N` judges one
//! payment by itself, as on an idle node. `decide/…` is the state machine from SUBMIT to VERDICT, with the
//! default policy for Pix and without one. `windows/33 rules` has eight windows over a quarter of a million payers,
//! whose tables are full of pairs.
//!
//! `cargo bench -p catraca-benches --bench policy`

use catraca_benches::{Frames, Machine, Setup, list, pix, rules, rules_with_windows};
use catraca_core::blacklist::Listing;
use catraca_core::policy::language::ROWS;
use catraca_core::policy::windows::{DecidedPayment, Past, Together, WindowsKey};
use catraca_core::policy::{Batch, Facts, Party, Policy};
use catraca_wire::DocumentKey;
use catraca_wire::extension::WindowValue;
use catraca_wire::frame::{FixedFrame, SubmitFrame, TransactionFields, Verdict, view};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Documents on the list.
const ENTRIES: u64 = 100_000;
const DEDUPE_ENTRIES: usize = 1 << 18;
const BATCH: usize = 512;
/// Time that passes with each transaction, nanoseconds.
const TICK_NS: u64 = 500;
/// 20:30 in São Paulo.
const EVENT_NS: u64 = 1_795_563_000 * 1_000_000_000;

/// Payments that differ in amount, hour, rail and device.
fn payments() -> Vec<(TransactionFields, Party, Party)> {
    let mut frames = Frames::new(ENTRIES);
    let mut bytes = vec![0; ROWS * SubmitFrame::LEN];
    frames.fill(&mut bytes, EVENT_NS);
    let frames = bytes.chunks_exact(SubmitFrame::LEN).enumerate().map(|(n, frame)| {
        let mut transaction = view::<SubmitFrame>(frame).expect("whole").transaction;
        let n = n as u64;
        transaction.amount_centavos = (n as i64 * 37_777 % 2_000_000 + 1).into();
        transaction.event_time_ns = (EVENT_NS + n * 3_600_000_000_000).into();
        transaction.rail = 1 + (n % 2) as u8;
        transaction.device = (n % 5).into();
        let party =
            |document| Party::new(DocumentKey::from_wire(document).expect("valid"), Listing::Free);
        let (payer, payee) = (party(&transaction.payer), party(&transaction.payee));
        (transaction, payer, payee)
    });
    frames.collect()
}

fn judge(policy: &Policy, batch: &mut Batch, payments: &[(TransactionFields, Party, Party)]) {
    batch.clear();
    for (transaction, payer, payee) in payments {
        let facts = Facts {
            transaction,
            payer: *payer,
            payee: *payee,
            decided_at_ns: EVENT_NS,
            offset_minutes: -180,
        };
        batch.push(&facts, true, &[]);
    }
    policy.judge(batch);
    black_box(batch.judgement(0));
}

fn alone(criterion: &mut Criterion) {
    let payments = payments();
    let mut batch = Batch::new();
    for (name, together) in [("rules", ROWS), ("single", 1)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(together as u64));
        // The row alone: what filling the batch's columns costs.
        for count in [1, 33, 256] {
            let policy = rules(count);
            group.bench_function(count.to_string(), |bencher| {
                bencher.iter(|| judge(&policy, &mut batch, &payments[..together]));
            });
        }
    }
}

/// Payers whose payments windows hold before.
const PAYERS: u64 = 1 << 18;
/// Payees and devices of these.
const PAYEES: u64 = 1 << 16;

/// Payments that are made beforehand, and come again and again at later times.
const MADE: u64 = 1 << 19;

/// A payment of one of many payers; the same number gives the same payment.
fn one_of_many(number: u64) -> (TransactionFields, DocumentKey, DocumentKey) {
    let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let document = |n: u64| DocumentKey::from_cpf_number(n as u32 + 1).expect("nine digits");
    let (payer, payee) = (document(mixed >> 46), document(mixed >> 20 & (PAYEES - 1)));
    (transaction.payer, transaction.payee) = (payer.to_wire(), payee.to_wire());
    transaction.amount_centavos = (mixed as i64 & 0xf_ffff | 1).into();
    transaction.event_time_ns = (EVENT_NS + number * 1_000_000).into();
    transaction.rail = 1;
    transaction.channel = 1;
    transaction.device = (mixed >> 30 & (PAYEES - 1)).into();
    (transaction, payer, payee)
}

/// 33 rules, eight of which read a window each: windows read, rules judged, the payment added.
fn with_windows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("windows");
    let policy = rules_with_windows(33);
    let mut made: Vec<_> = (0..MADE).map(one_of_many).collect();
    let past = || {
        let past = Past::new(&policy, 1, WindowsKey::without_secret()).expect("sound windows");
        past.expect("the policy reads windows")
    };
    for (name, most) in [("33 rules", ROWS), ("33 rules, single", 1)] {
        let mut past = past();
        let mut number = 0;
        let mut batch = Batch::new();
        let mut together = Together::with_capacity(ROWS);
        let mut ahead = Vec::with_capacity(ROWS);
        let mut values = vec![WindowValue::Evicted; policy.window_values()];
        let mut run = |count: u64| {
            let mut left = count as usize;
            while left > 0 {
                let first = (number % MADE) as usize;
                let last = (first + most.min(left)).min(MADE as usize);
                let payments = &mut made[first..last];
                batch.clear();
                together.clear();
                let mut taken = 0;
                let decided_at_ns = EVENT_NS + number * 1_000_000;
                ahead.clear();
                for (transaction, payer, payee) in &mut *payments {
                    transaction.event_time_ns = decided_at_ns.into();
                    let event = past.event(*payer, *payee, transaction, decided_at_ns);
                    past.windows().prefetch(&event);
                    ahead.push(event);
                }
                let windows = past.windows();
                ahead.iter().for_each(|event| windows.prefetch_entries(event));
                for ((transaction, payer, payee), event) in payments.iter().zip(&ahead) {
                    if !windows.read_together(event, &mut together, &mut values) {
                        break;
                    }
                    let party = |document| Party::new(document, Listing::Free);
                    let facts = Facts {
                        transaction,
                        payer: party(*payer),
                        payee: party(*payee),
                        decided_at_ns,
                        offset_minutes: -180,
                    };
                    batch.push(&facts, true, &values);
                    taken += 1;
                }
                policy.judge(&mut batch);
                for row in 0..taken {
                    let verdict = batch.judgement(row).decision.verdict;
                    past.windows_mut().add_together(&together, row, verdict);
                }
                number += taken as u64;
                left -= taken;
            }
        };
        run(4 * PAYERS);
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let begun = Instant::now();
                run(count);
                begun.elapsed()
            });
        });
    }
}

/// A payment that another shard decided: added to the windows of payees and devices.
fn of_siblings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("windows");
    let policy = rules_with_windows(33);
    let past = Past::new(&policy, 2, WindowsKey::without_secret()).expect("sound windows");
    let mut past = past.expect("the policy reads windows").of_shard(0);
    let made: Vec<_> = (0..MADE).map(one_of_many).collect();
    let mut number = 0;
    let mut together = Vec::with_capacity(ROWS);
    let mut events = Vec::with_capacity(ROWS);
    let mut run = |count: u64| {
        let until = number + count;
        while number < until {
            together.clear();
            while number < until && together.len() < ROWS {
                let (mut transaction, payer, payee) = made[(number % MADE) as usize];
                let decided_at_ns = EVENT_NS + number * 1_000_000;
                transaction.event_time_ns = decided_at_ns.into();
                number += 1;
                together.push(DecidedPayment {
                    stream: 1,
                    lsn: number,
                    payer,
                    payee,
                    transaction,
                    decided_at_ns,
                    verdict: Verdict::Approve,
                });
            }
            past.take_of_siblings(&together, &mut events);
        }
    };
    run(4 * PAYERS);
    group.throughput(Throughput::Elements(1));
    group.bench_function("a payment of a sibling", |bencher| {
        bencher.iter_custom(|count| {
            let begun = Instant::now();
            run(count);
            begun.elapsed()
        });
    });
}

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    let blacklist_only: Arc<Policy> = Policy::blacklist_only().into();
    for (name, policy) in [
        ("blacklist", blacklist_only),
        ("pix", pix()),
        ("33 rules", rules(33)),
        ("33 rules, 8 windows", rules_with_windows(33)),
    ] {
        let mut machine = Machine::new(&Setup {
            list: list(ENTRIES),
            dedupe_entries: DEDUPE_ENTRIES,
            cluster_id: [1; 16],
            policy,
        });
        let mut frames = Frames::new(ENTRIES);
        let mut bytes = vec![0; BATCH * SubmitFrame::LEN];
        let mut next = |machine: &mut Machine, bytes: &mut [u8]| {
            machine.pass((bytes.len() / SubmitFrame::LEN) as u64 * TICK_NS);
            frames.fill(bytes, machine.wall_ns());
        };
        for _ in 0..2 * DEDUPE_ENTRIES / BATCH {
            next(&mut machine, &mut bytes);
            machine.decide(&bytes);
        }
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|decisions| {
                let mut taken = Duration::ZERO;
                let mut left = decisions as usize;
                while left > 0 {
                    let count = left.min(BATCH);
                    let bytes = &mut bytes[..count * SubmitFrame::LEN];
                    next(&mut machine, bytes);
                    let begun = Instant::now();
                    black_box(machine.decide(black_box(bytes)).len());
                    taken += begun.elapsed();
                    left -= count;
                }
                taken
            });
        });
    }
}

criterion_group!(benches, alone, with_windows, of_siblings, whole);
criterion_main!(benches);
