//! Nanoseconds per decision of the whole state machine, from the bytes of a SUBMIT to the bytes of
//! its VERDICT, and of its parts.
//!
//! A list of a million documents, a dedupe table that is full and forgets, blocks sealed and
//! chained; the disk takes no time. `batch` feeds 512 SUBMITs at once, as a busy socket does;
//! `single` one, which pays a block of its own each time.
//!
//! `cargo bench -p catraca-benches --bench decide`; a part of the name as argument picks a few.

use catraca_benches::{CHAIN_KEY, Frames, Machine, Setup, WALL_NS, list};
use catraca_core::policy::Policy;
use catraca_core::shard::dedupe::{Dedupe, DedupeKey, Found};
use catraca_wire::DocumentKey;
use catraca_wire::block::{BlockIdentity, MAX_BLOCK_LEN, seal};
use catraca_wire::frame::{AnswerFields, FixedFrame, SubmitFrame, VerdictFrame, view};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Documents on the list.
const ENTRIES: u64 = 1_000_000;
/// Entries of the dedupe table: 80 MiB, many times any cache, and full after a second.
const DEDUPE_ENTRIES: usize = 1 << 20;
const BATCH: usize = 512;
/// Time that passes with each transaction, nanoseconds.
const TICK_NS: u64 = 500;

fn machine() -> (Machine, Frames) {
    let mut machine = Machine::new(&Setup {
        list: list(ENTRIES),
        dedupe_entries: DEDUPE_ENTRIES,
        cluster_id: [1; 16],
        policy: Policy::blacklist_only().into(),
    });
    let mut frames = Frames::new(ENTRIES);
    let mut bytes = vec![0; BATCH * SubmitFrame::LEN];
    for _ in 0..2 * DEDUPE_ENTRIES / BATCH {
        next(&mut machine, &mut frames, &mut bytes);
        machine.decide(&bytes);
    }
    (machine, frames)
}

fn next(machine: &mut Machine, frames: &mut Frames, bytes: &mut [u8]) {
    machine.pass((bytes.len() / SubmitFrame::LEN) as u64 * TICK_NS);
    frames.fill(bytes, machine.wall_ns());
}

fn whole(criterion: &mut Criterion) {
    let (mut machine, mut frames) = machine();
    let mut bytes = vec![0; BATCH * SubmitFrame::LEN];
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    group.bench_function("batch", |bencher| {
        bencher.iter_custom(|decisions| {
            let mut taken = Duration::ZERO;
            let mut left = decisions as usize;
            while left > 0 {
                let count = left.min(BATCH);
                let bytes = &mut bytes[..count * SubmitFrame::LEN];
                next(&mut machine, &mut frames, bytes);
                let begun = Instant::now();
                let answered = black_box(machine.decide(black_box(bytes))).len();
                taken += begun.elapsed();
                assert_eq!(answered, count * VerdictFrame::LEN);
                left -= count;
            }
            taken
        });
    });
    group.bench_function("single", |bencher| {
        bencher.iter_custom(|decisions| {
            let mut taken = Duration::ZERO;
            let mut left = decisions as usize;
            while left > 0 {
                let count = left.min(BATCH);
                let bytes = &mut bytes[..count * SubmitFrame::LEN];
                next(&mut machine, &mut frames, bytes);
                let begun = Instant::now();
                for frame in bytes.chunks_exact(SubmitFrame::LEN) {
                    black_box(machine.decide(black_box(frame)));
                }
                taken += begun.elapsed();
                left -= count;
            }
            taken
        });
    });
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    let mut frames = Frames::new(ENTRIES);
    let mut bytes = vec![0; BATCH * SubmitFrame::LEN];
    frames.fill(&mut bytes, WALL_NS);
    let all: Vec<SubmitFrame> =
        bytes.chunks_exact(SubmitFrame::LEN).filter_map(|b| view(b).copied()).collect();
    let mut group = criterion.benchmark_group("part");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("documents (payer and payee, for 512)", |bencher| {
        bencher.iter(|| {
            for frame in &all {
                black_box(DocumentKey::from_wire(black_box(&frame.transaction.payer)).is_ok());
                black_box(DocumentKey::from_wire(black_box(&frame.transaction.payee)).is_ok());
            }
        });
    });
    let mut table = Dedupe::new(DEDUPE_ENTRIES, DedupeKey([7; 16]));
    let payers: Vec<DocumentKey> =
        all.iter().filter_map(|f| DocumentKey::from_wire(&f.transaction.payer).ok()).collect();
    group.bench_function("fingerprint (for 512)", |bencher| {
        bencher.iter(|| {
            for (frame, &payer) in all.iter().zip(&payers) {
                black_box(table.fingerprint(0, payer, black_box(&frame.transaction)));
            }
        });
    });
    let mut transactions = all.clone();
    let mut number = 0u64;
    let mut lsn = 0u64;
    group.bench_function("dedupe (fingerprint, prefetch, find, insert, for 512)", |bencher| {
        bencher.iter(|| {
            for batch in transactions.chunks_mut(32) {
                let mut prints = [None; 32];
                for ((frame, payer), print) in batch.iter_mut().zip(&payers).zip(&mut prints) {
                    number += 1;
                    frame.transaction.id[16..24].copy_from_slice(&number.to_le_bytes());
                    let made = table.fingerprint(0, *payer, &frame.transaction);
                    table.prefetch(&made);
                    *print = Some(made);
                }
                for print in prints.iter().flatten() {
                    if table.find(print) == Found::New {
                        lsn += 1;
                        let answer =
                            AnswerFields { lsn: lsn.into(), ..bytemuck::Zeroable::zeroed() };
                        black_box(table.insert(print, lsn, 0, &answer));
                    }
                }
            }
        });
    });
    let identity = BlockIdentity { shard: 0, epoch: 1, cluster_id: [1; 16] };
    let mut block = vec![0x31; MAX_BLOCK_LEN];
    for records in [1usize, BATCH] {
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(format!("seal ({records} records)"), |bencher| {
            bencher.iter(|| {
                let chain = seal(
                    &mut block,
                    records * 256,
                    &identity,
                    1,
                    records as u32,
                    1,
                    &[2; 32],
                    &CHAIN_KEY,
                );
                black_box(chain)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parts, whole);
criterion_main!(benches);
