//! Nanoseconds per document look-up in snapshots of 1 and 10 million entries, and bytes for each
//! listed document.
//!
//! Look-ups are independent of each other, over a million different documents in turn, so that they
//! go to memory and not to a few warm cache lines; `ahead` prefetches each document sixteen
//! look-ups before it is asked, as a data core does with a batch. One company in fifty is listed by
//! root, so that a CNPJ asks both tables.
//!
//! `cargo bench -p catraca-benches --bench lookup`; a part of the name as argument picks a few.

use catraca_core::blacklist::synthetic::document;
use catraca_core::blacklist::{Entry, Lists, Overlay, Snapshot};
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::{DocumentKey, DocumentKind};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::civil::date;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Entries of the lists.
const SIZES: [u64; 2] = [1_000_000, 10_000_000];
/// Documents asked in turn: a power of two, and as many cache lines as no cache holds.
const ASKED: usize = 1 << 20;
/// Look-ups between a prefetch and its look-up.
const AHEAD: usize = 16;
const SEED: u64 = 1;
/// The day asked about.
const DAY_NUMBER: u16 = 20_782;

fn entry(number: u64) -> Entry {
    let document = document(SEED, number);
    // Numbers ending in 5 to 9 are companies': this is one in fifty of them.
    let scope = if number % 100 == 5 { Scope::Root } else { Scope::Exact };
    Entry::new(document, ListSource::Plain, scope).expect("plain is a source of lists")
}

/// Documents of a kind, from a number on, in an order that has nothing to do with the table's.
fn asked(kind: DocumentKind, from: u64, count: u64) -> Vec<DocumentKey> {
    let numbers = (0..).map(|step: u64| from + step.wrapping_mul(7_368_787) % count);
    numbers
        .map(|number| document(SEED, number))
        .filter(|document| document.kind() == kind)
        .take(ASKED)
        .collect()
}

fn lookups(criterion: &mut Criterion) {
    for entries in SIZES {
        let begun = Instant::now();
        let list = (0..entries).map(entry).collect();
        let made = begun.elapsed();
        let snapshot = Snapshot::from_entries(list, date(2026, 11, 22), 1).expect("built");
        let counts = snapshot.counts();
        println!(
            "{entries} entries: {:.2} bytes for each document, {} roots, documents made in {made:.1?}, snapshot built in {:.1?}",
            snapshot.bytes().len() as f64 / counts.documents as f64,
            counts.roots,
            begun.elapsed() - made
        );
        let lists = Lists::new(Some(Arc::new(snapshot)), Overlay::new());
        for (kind_name, kind) in [("cpf", DocumentKind::Cpf), ("cnpj", DocumentKind::Cnpj)] {
            for (name, from) in [("hit", 0), ("miss", entries)] {
                let documents = asked(kind, from, entries);
                let mut group = criterion.benchmark_group(format!("lookup/{kind_name}/{name}"));
                let mut place = 0;
                group.bench_with_input(
                    BenchmarkId::new("plain", entries),
                    &documents,
                    |bencher, documents| {
                        bencher.iter(|| {
                            place = (place + 1) & (ASKED - 1);
                            black_box(lists.lookup(documents[place], DAY_NUMBER))
                        });
                    },
                );
                group.bench_with_input(
                    BenchmarkId::new("ahead", entries),
                    &documents,
                    |bencher, documents| {
                        bencher.iter(|| {
                            place = (place + 1) & (ASKED - 1);
                            lists.prefetch(documents[(place + AHEAD) & (ASKED - 1)]);
                            black_box(lists.lookup(documents[place], DAY_NUMBER))
                        });
                    },
                );
            }
        }
    }
}

criterion_group!(benches, lookups);
criterion_main!(benches);
