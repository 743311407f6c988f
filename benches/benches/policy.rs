//! Nanoseconds of a policy's rules: alone, a batch of payments at once, and as a part of the whole decision.
//!
//! `rules/N` judges batches of 32 payments by N rules; the figure is for one payment. `single/N` judges one
//! payment by itself, as on an idle node. `decide/…` is the state machine from SUBMIT to VERDICT, with the
//! default policy for Pix and without one.
//!
//! `cargo bench -p catraca-benches --bench policy`

use catraca_benches::{Frames, Machine, Setup, list, pix, rules};
use catraca_core::blacklist::Listing;
use catraca_core::policy::language::ROWS;
use catraca_core::policy::{Batch, Facts, Party, Policy};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{FixedFrame, SubmitFrame, TransactionFields, view};
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

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    let blacklist_only: Arc<Policy> = Policy::blacklist_only().into();
    for (name, policy) in [("blacklist", blacklist_only), ("pix", pix()), ("33 rules", rules(33))] {
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

criterion_group!(benches, alone, whole);
criterion_main!(benches);
