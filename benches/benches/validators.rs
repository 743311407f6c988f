//! Nanoseconds of what a validator adds to a decision on the data core.
//!
//! `decide/…` is the state machine from SUBMIT to VERDICT, 512 payments at a time with 33 rules: without a validator,
//! with one that is asked about none of them, and with one whose answers are all in the core's own cache. What lies
//! between the last two is a hit: the question's hash, the look-up, the answer in the rows, and who was asked in the
//! record. `waits/…` are payments of which each waits: from SUBMIT until it is in the table and its question is out; and
//! from the answer until it is out of the table, decided by itself, and its VERDICT out. `single` is a payment that
//! comes by itself and waits for nobody, for comparison with the latter.
//!
//! `cargo bench -p catraca-benches --bench validators`

use catraca_benches::{Frames, Machine, Setup, list, rules, rules_with_validator};
use catraca_core::policy::Policy;
use catraca_core::policy::validators::AnswerState;
use catraca_core::shard::messages::{Ask, ToShard};
use catraca_core::shard::parked::Came;
use catraca_wire::extension::{AnswerSource, NoAnswer};
use catraca_wire::frame::{FixedFrame, SubmitFrame, VerdictFrame};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Documents on the list.
const ENTRIES: u64 = 100_000;
const DEDUPE_ENTRIES: usize = 1 << 18;
const BATCH: usize = 512;
/// Time that passes with each transaction, nanoseconds.
const TICK_NS: u64 = 500;
const RULES: usize = 33;
/// Who pays: as many as mostly find room in the core's cache, a quarter of its places.
const PAYERS: usize = 1 << 14;
/// True of all payments of the benches, and of none.
const ALL: &str = "tx.amount > reais(50)";
const NONE: &str = "tx.amount > reais(500)";

/// A shard and its load.
struct Bench {
    machine: Machine,
    frames: Frames,
    bytes: Vec<u8>,
    asks: Vec<Ask>,
}

impl Bench {
    /// A warm one, whose core's cache has what it holds of the answers.
    fn new(policy: Arc<Policy>) -> Self {
        let machine = Machine::new(&Setup {
            list: list(ENTRIES),
            dedupe_entries: DEDUPE_ENTRIES,
            cluster_id: [1; 16],
            policy,
        });
        let frames = Frames::of_payers(ENTRIES, PAYERS);
        let bytes = vec![0; BATCH * SubmitFrame::LEN];
        let mut bench = Self { machine, frames, bytes, asks: Vec::new() };
        for _ in 0..2 * DEDUPE_ENTRIES / BATCH {
            bench.fill(BATCH);
            bench.decide(BATCH);
            bench.answer(false);
        }
        bench
    }

    /// Puts the answers to all payers into the core's cache; those of whom it holds too many in one place pay no more.
    fn cache_answers(&mut self) {
        for pass in 0.. {
            let mut unknown = HashSet::new();
            for _ in 0..16 * PAYERS / BATCH {
                self.fill(BATCH);
                self.decide(BATCH);
                unknown.extend(self.asks.iter().map(|ask| ask.transaction.payer));
                self.answer(true);
            }
            if unknown.is_empty() {
                return;
            }
            if pass > 0 {
                self.frames.drop_payers(&unknown);
            }
        }
    }

    /// New payments.
    fn fill(&mut self, count: usize) {
        self.machine.pass(count as u64 * TICK_NS);
        self.frames.fill(&mut self.bytes[..count * SubmitFrame::LEN], self.machine.wall_ns());
    }

    /// Hands them to the shard; gives how many are decided, and how long that took.
    fn decide(&mut self, count: usize) -> (usize, Duration) {
        let begun = Instant::now();
        let answers = self.machine.decide(black_box(&self.bytes[..count * SubmitFrame::LEN])).len();
        self.machine.take_asks(&mut self.asks);
        let taken = begun.elapsed();
        (answers / VerdictFrame::LEN, taken)
    }

    /// Answers all questions, and has the answers cached where that is asked for.
    fn answer(&mut self, caches: bool) -> (usize, Duration) {
        let now_ns = self.machine.mono_ns();
        if caches {
            self.machine.take(self.asks.iter().map(|ask| ToShard::Cache {
                policy_version: ask.policy_version,
                validator: ask.validator,
                key: ask.key,
                answer: 0,
                given_ns: now_ns,
                good_until_ns: u64::MAX,
            }));
        }
        let came = Came {
            state: AnswerState::Fresh,
            source: AnswerSource::Asked,
            attempts: 1,
            ..Came::nothing(NoAnswer::Answered, 1_500)
        };
        let begun = Instant::now();
        let answers = self.machine.take(self.asks.iter().map(|ask| ToShard::Answered {
            payment: ask.payment.expect("a payment waits"),
            validator: ask.validator,
            came,
        }));
        let answers = answers.len();
        let taken = begun.elapsed();
        self.asks.clear();
        (answers / VerdictFrame::LEN, taken)
    }
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    for (name, policy, caches) in [
        ("no validator", rules(RULES), false),
        ("asked about none", rules_with_validator(RULES, NONE), false),
        ("in the core's cache", rules_with_validator(RULES, ALL), true),
    ] {
        let mut bench = Bench::new(policy);
        if caches {
            bench.cache_answers();
        }
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|decisions| {
                let (mut taken, mut left) = (Duration::ZERO, decisions as usize);
                while left > 0 {
                    let count = left.min(BATCH);
                    bench.fill(count);
                    let (decided, in_time) = bench.decide(count);
                    assert_eq!(decided, count, "nobody waits");
                    taken += in_time;
                    left -= count;
                }
                taken
            });
        });
    }
}

fn waits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("waits");
    group.throughput(Throughput::Elements(1));
    let mut bench = Bench::new(rules_with_validator(RULES, ALL));
    for (name, is_answering) in [("asked", false), ("answered", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|payments| {
                let (mut taken, mut left) = (Duration::ZERO, payments as usize);
                while left > 0 {
                    let count = left.min(BATCH);
                    bench.fill(count);
                    let (decided, asking) = bench.decide(count);
                    assert_eq!(decided, 0, "all wait");
                    let (decided, answering) = bench.answer(false);
                    assert_eq!(decided, count, "none waits");
                    taken += if is_answering { answering } else { asking };
                    left -= count;
                }
                taken
            });
        });
    }
    let mut bench = Bench::new(rules(RULES));
    group.bench_function("single, no validator", |bencher| {
        bencher.iter_custom(|payments| {
            let mut taken = Duration::ZERO;
            for _ in 0..payments {
                bench.fill(1);
                taken += bench.decide(1).1;
            }
            taken
        });
    });
}

criterion_group!(benches, decide, waits);
criterion_main!(benches);
