//! What a standby costs, in clear and over TLS, and how fast it takes over: one node and a pair in
//! alternation under the same load, then the standby's catching up, then deaths of the primary.
//!
//! `cargo build --release && cargo run --release -p catraca-benches --bin pair -- DIRECTORY [ROUNDS
//! [SECONDS]]` runs so many rounds (3) of so many seconds a shape (2) on data directories below
//! DIRECTORY, which it removes. It needs two processors: the primary's data core has the first; the
//! standby, whose data core sleeps, and the load share the second.

use catraca_benches::processes::{Figures, Node, Outcome, load, median};
use catraca_core::blacklist::synthetic;
use catraca_tls::testing::Certificates;
use catraca_wire::client::{Client, ClientOptions, ClusterState, Wanted};
use catraca_wire::frame::{ClusterRequest, Role, Transaction};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Connections, and transactions in flight on each.
const SHAPES: [(usize, usize); 3] = [(1, 1), (64, 1), (4, 512)];
/// Seconds of load that make the log which a standby catches up with.
const CATCH_UP_SECONDS: f64 = 3.0;
/// Deaths of a primary.
const DEATHS: usize = 5;
/// The name of the nodes of the invented cluster.
const NODE_NAME: &str = "node.pair.example";
/// Seed of the invented documents.
const SEED: u64 = 7;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().ok_or("usage: pair DIRECTORY [ROUNDS [SECONDS]]")?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let path = Path::new(&parent).join(format!("pair-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    let tls = Tls::new();
    let outcome = costs(&path, &tls, rounds, seconds)
        .and_then(|()| catching_up(&path, &[]))
        .and_then(|()| catching_up(&path, &tls.settings()))
        .and_then(|()| promotions(&path));
    fs::remove_dir_all(&path)?;
    outcome
}

/// Settings of nodes that speak TLS to each other, by invented certificates.
struct Tls {
    _certificates: Certificates,
    settings: Vec<(&'static str, String)>,
}

impl Tls {
    fn new() -> Self {
        let certificates = Certificates::new();
        certificates.issue("ca", "node", NODE_NAME, None);
        let at = |name: &str| certificates.path(name).display().to_string();
        let settings = vec![
            ("CATRACA_REPLICATION_TLS_CERTIFICATE_FILE", at("node")),
            ("CATRACA_REPLICATION_TLS_KEY_FILE", at("node-key")),
            ("CATRACA_REPLICATION_TLS_CA_FILE", at("ca")),
            ("CATRACA_REPLICATION_TLS_NAME", NODE_NAME.to_owned()),
        ];
        Self { _certificates: certificates, settings }
    }

    fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

/// What is compared.
const KINDS: [&str; 3] = ["alone", "with a standby", "with a standby over TLS"];

/// Throughput and latency without a standby, with one, and with one over TLS, in alternation.
fn costs(path: &Path, tls: &Tls, rounds: usize, seconds: f64) -> Outcome<()> {
    let mut seen: [[Vec<Figures>; KINDS.len()]; SHAPES.len()] = Default::default();
    for round in 0..rounds {
        // Who begins changes, so that none always follows the same one.
        for turn in 0..KINDS.len() {
            let kind = (round + turn) % KINDS.len();
            let settings = if kind == 2 { tls.settings() } else { Vec::new() };
            let folder = path.join("cost");
            let primary = Node::start(&folder.join("a"), 0, None, &settings)?;
            let standby = match kind {
                0 => None,
                _ => Some(follow(&primary, &folder.join("b"), &settings)?),
            };
            for (shape, (connections, in_flight)) in SHAPES.into_iter().enumerate() {
                let figures = load(&primary, connections, in_flight, seconds)?;
                println!(
                    "round {}: {connections} × {in_flight} {}: {:.0}/s, p50 {:.0} µs, p99 {:.0} µs",
                    round + 1,
                    KINDS[kind],
                    figures.per_second,
                    figures.p50_us,
                    figures.p99_us
                );
                seen[shape][kind].push(figures);
            }
            drop((primary, standby));
            fs::remove_dir_all(&folder)?;
        }
    }
    println!("\nMedians of {rounds} rounds of {seconds} s:");
    for ((connections, in_flight), kinds) in SHAPES.into_iter().zip(&seen) {
        let medians = kinds.each_ref().map(|figures| {
            let of = |what: fn(&Figures) -> f64| median(figures.iter().map(what).collect());
            Figures {
                per_second: of(|f| f.per_second),
                p50_us: of(|f| f.p50_us),
                p99_us: of(|f| f.p99_us),
            }
        });
        for (kind, figures) in KINDS.into_iter().zip(&medians) {
            println!(
                "{connections} × {in_flight} {kind}: {:.0}/s, p50 {:.0} µs, p99 {:.0} µs",
                figures.per_second, figures.p50_us, figures.p99_us
            );
        }
        let [alone, clear, sealed] = &medians;
        for (what, of, to) in [("standby to alone", clear, alone), ("TLS to clear", sealed, clear)]
        {
            println!(
                "{connections} × {in_flight}, {what}: throughput × {:.2}, p50 × {:.2}",
                of.per_second / to.per_second,
                of.p50_us / to.p50_us
            );
        }
    }
    Ok(())
}

/// How fast an empty standby takes a log: one of large blocks, and one of small ones.
fn catching_up(path: &Path, settings: &[(&str, &str)]) -> Outcome<()> {
    println!("\n{}", if settings.is_empty() { "In clear:" } else { "Over TLS:" });
    for (connections, in_flight) in [(4, 512), (64, 1)] {
        let folder = path.join("catch-up");
        let primary = Node::start(&folder.join("a"), 0, None, settings)?;
        load(&primary, connections, in_flight, CATCH_UP_SECONDS)?;
        let bytes = primary.metric("catraca_log_bytes_total")?;
        let blocks = primary.metric("catraca_log_blocks_total")?;
        let begun = Instant::now();
        let standby = follow(&primary, &folder.join("b"), settings)?;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "catching up with {:.0} MB in {blocks} blocks of {:.0} KiB, start and bootstrap included: {seconds:.2} s, {:.0} MB/s",
            bytes / 1e6,
            bytes / blocks / 1024.0,
            bytes / 1e6 / seconds
        );
        drop((primary, standby));
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// From the operator's command, after the primary's death under load, to the first decision of the
/// new one.
fn promotions(path: &Path) -> Outcome<()> {
    let folder = path.join("promotion");
    let (mut names, mut cpus) = (["a", "b"], [0, 1]);
    let mut primary = Node::start(&folder.join("a"), 0, None, &[])?;
    let mut standby = follow(&primary, &folder.join("b"), &[])?;
    let mut times = Vec::new();
    println!();
    for death in 0..DEATHS {
        let over = AtomicBool::new(false);
        let address = standby.client.clone();
        let (first, last) = (primary.client.clone(), &over);
        let ms = std::thread::scope(|scope| -> Outcome<f64> {
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(options(&first)) else { return };
                let mut number = 0;
                while !last.load(Ordering::Relaxed)
                    && client.decide(&payment(&format!("{death}-{number}"))).is_ok()
                {
                    number += 1;
                }
            });
            std::thread::sleep(Duration::from_millis(300));
            primary.kill()?;
            over.store(true, Ordering::Relaxed);
            let begun = Instant::now();
            ask(&address, &ClusterRequest::promote(false))?;
            Client::connect(options(&address))?.decide(&payment(&format!("first-{death}")))?;
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        })?;
        println!("promotion {}: {ms:.1} ms from the command to the first answer", death + 1);
        times.push(ms);
        names.swap(0, 1);
        cpus.swap(0, 1);
        primary = standby;
        standby = Node::start(&folder.join(names[1]), cpus[1], None, &[])?;
        await_in_sync(&primary.client)?;
    }
    drop(standby);
    println!("median {:.1} ms", median(times));
    Ok(())
}

/// Starts an empty standby, and waits until it is in sync.
fn follow(primary: &Node, folder: &Path, settings: &[(&str, &str)]) -> Outcome<Node> {
    fs::create_dir_all(folder)?;
    fs::copy(primary.folder.join("chain.key"), folder.join("chain.key"))?;
    let standby = Node::start(folder, 1, Some(&primary.replication), settings)?;
    await_in_sync(&primary.client)?;
    Ok(standby)
}

fn await_in_sync(primary: &str) -> Outcome<()> {
    let begun = Instant::now();
    while !ask(primary, &ClusterRequest::describe())
        .is_ok_and(|state| state.role == Role::Primary && state.in_sync)
    {
        if begun.elapsed() > PATIENCE {
            return Err("the standby does not come in sync".into());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

fn options(address: &str) -> ClientOptions {
    ClientOptions { reconnect_attempts: 0, ..ClientOptions::new(address) }
}

fn ask(address: &str, request: &ClusterRequest) -> Outcome<ClusterState> {
    Ok(Client::connect(ClientOptions {
        role: Wanted::Any,
        answer_timeout_ms: 20_000,
        ..options(address)
    })?
    .cluster(request)?)
}

fn payment(id: &str) -> Transaction {
    let event_time_ns = catraca_wire::client::now_ns();
    let [payer, payee] = [0, 1].map(|number| synthetic::document(SEED, number).to_canonical());
    Transaction::pix(id, &payer, &payee, 12_34, event_time_ns).expect("a valid payment")
}
