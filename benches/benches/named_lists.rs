//! Nanoseconds of a look-up in named lists: what a core pays for each value that the rules in force ask of them.
//!
//! `look up/…` asks for the payer of each of many payments, so that the table's pages are where a node has
//! them: of a small list in the caches, of the largest mostly in memory. `exempt/…` asks which rules are not
//! applied to a payment, where nobody is exempted, and where a hundred thousand documents are. `change` makes the
//! next table of the largest list, as the control thread does for one entry.
//!
//! `cargo bench -p catraca-benches --bench named_lists`

use catraca_core::blacklist::Listing;
use catraca_core::blacklist::synthetic::document;
use catraca_core::limits::DECISION_BATCH;
use catraca_core::named_lists::{MAX_ENTRIES, NamedLists};
use catraca_core::policy::language::{Asking, compile_into};
use catraca_core::policy::lists::InForce;
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::{EVERY_DAY, EVERY_PAYER, Facts, Party, Rule, RuleEffect, Rules};
use catraca_wire::extension::{ChangedEntry, ListChange, MAX_LIST_ENTRIES_AT_ONCE, WindowValue};
use catraca_wire::frame::TransactionFields;
use catraca_wire::list::{Author, ListKey, ListKeyKind, ListName, ListOp, ListReason};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Payments that are asked about, one after the other: more than caches hold.
const PAYMENTS: u64 = 1 << 17;
const NOW_NS: u64 = 1_795_563_000 * 1_000_000_000;
const SEED: u64 = 3;

/// Makes a change of some entries.
fn change(named: &NamedLists, op: ListOp, of: &str, entries: Vec<ChangedEntry>) -> ListChange {
    ListChange {
        op,
        key_kind: ListKeyKind::Document,
        name: ListName::parse(of).expect("a name"),
        sequence: named.sequence() + entries.len().max(1) as u64,
        changed_at_ns: 1,
        author: Author::EMPTY,
        reason: ListReason::EMPTY,
        entries,
    }
}

/// Lists in which `op` was done for so many documents.
fn filled(op: ListOp, of: &str, count: u64) -> NamedLists {
    let mut named = NamedLists::default();
    let create = change(&named, ListOp::Create, "limits", Vec::new());
    named.apply(&create).expect("room");
    let numbers: Vec<u64> = (0..count).collect();
    for numbers in numbers.chunks(MAX_LIST_ENTRIES_AT_ONCE) {
        let entry = |&number: &u64| ChangedEntry {
            key: ListKey::of(document(SEED, number).raw().into()),
            value: number as i64,
            until_ns: 0,
        };
        let next = change(&named, op, of, numbers.iter().map(entry).collect());
        named.apply(&next).expect("room");
    }
    named
}

fn rules() -> Rules {
    let mut asking = Asking::default();
    let mut when = compile_into("payer.document in list('limits')", &mut asking).expect("sound");
    when.link(0, 0);
    let effect = RuleEffect { score: 1, verdict: None, shadow: false };
    let rule =
        Rule { id: "rule".to_owned(), when, effect, days: EVERY_DAY, share_permille: EVERY_PAYER };
    Rules { rules: [rule].into(), lists: asking.looked_up().into(), ..Rules::default() }
}

/// Payers, half of them among the first so many documents.
fn payers(count: u64) -> Vec<Party> {
    let payer = |number: u64| {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        Party::new(document(SEED, mixed % (2 * count)), Listing::Free)
    };
    (0..PAYMENTS).map(payer).collect()
}

fn look_up(criterion: &mut Criterion) {
    let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
    transaction.device = 7.into();
    let rules = rules();
    let asked = |in_force: &InForce, payer: Party, values: &mut [WindowValue]| {
        let facts = Facts {
            transaction: &transaction,
            payer,
            payee: payer,
            decided_at_ns: NOW_NS,
            offset_minutes: -180,
        };
        in_force.look_up(black_box(&facts), values);
    };
    let mut group = criterion.benchmark_group("look up");
    group.throughput(Throughput::Elements(1));
    for (name, count) in [
        ("1,000 entries", 1_000),
        ("100,000 entries", 100_000),
        ("1,048,576 entries", MAX_ENTRIES as u64),
    ] {
        let in_force =
            InForce::new(&filled(ListOp::Set, "limits", count), &rules, ShareKey::unknown());
        let payers = payers(count);
        let mut values = [WindowValue::Missing; 1];
        let chunks: Vec<&[Party]> = payers.chunks_exact(DECISION_BATCH).collect();
        let mut chunks = chunks.iter().cycle();
        // As a batch of payments is: what each reads is fetched before the first is decided.
        group.throughput(Throughput::Elements(DECISION_BATCH as u64));
        group.bench_function(format!("{name}, 32 together"), |bencher| {
            bencher.iter(|| {
                let payers = chunks.next().expect("they go round");
                for payer in *payers {
                    in_force.prefetch(&transaction, payer.document, payer.document);
                }
                for payer in *payers {
                    asked(&in_force, *payer, &mut values);
                    black_box(values);
                }
            });
        });
        group.throughput(Throughput::Elements(1));
        let mut payers = payers.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                asked(&in_force, *payers.next().expect("they go round"), &mut values);
                black_box(values)
            });
        });
    }
    drop(group);
    let mut group = criterion.benchmark_group("exempt");
    group.throughput(Throughput::Elements(1));
    for (name, count) in [("nobody", 0), ("100,000 documents", 100_000)] {
        let in_force =
            InForce::new(&filled(ListOp::Exempt, "rule", count), &rules, ShareKey::unknown());
        let payers = payers(count.max(1_000));
        let mut payers = payers.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let payer = *payers.next().expect("they go round");
                let facts = Facts {
                    transaction: &transaction,
                    payer,
                    payee: payer,
                    decided_at_ns: NOW_NS,
                    offset_minutes: -180,
                };
                black_box(in_force.exempt(black_box(&facts)))
            });
        });
    }
}

fn next_table(criterion: &mut Criterion) {
    let named = filled(ListOp::Set, "limits", MAX_ENTRIES as u64);
    let mut number = 0;
    criterion.bench_function("change", |bencher| {
        bencher.iter(|| {
            number += 1;
            let key = ListKey::of(document(SEED, number % MAX_ENTRIES as u64).raw().into());
            let entry = ChangedEntry { key, value: -1, until_ns: 0 };
            let change = change(&named, ListOp::Set, "limits", vec![entry]);
            let mut next = named.clone();
            next.apply(&change).expect("room");
            black_box(next)
        });
    });
}

criterion_group!(benches, look_up, next_table);
criterion_main!(benches);
