//! What TLS costs on the port of clients, and what a client's flood there costs another one.
//!
//! `cargo build --release && cargo run --release -p catraca-benches --bin client_port -- DIRECTORY [ROUNDS [SECONDS]]` runs so many
//! rounds (5) of so many seconds each (2) on data directories below DIRECTORY, which it removes. The node's data core has the
//! first processor, all loads the second: what a flood takes there of the other load's own processor is part of the figure.

use catraca_benches::processes::{Figures, Node, Outcome, load_with, median, program};
use catraca_tls::testing::Certificates;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Connections, and transactions in flight on each: what TLS is held to.
const SHAPE: [&str; 4] = ["--connections", "4", "--in-flight", "512"];
/// What the calm client sends, at planned times.
const CALM: [&str; 4] = ["--connections", "4", "--rate", "20000"];
/// What the flood keeps unanswered.
const FLOOD: [&str; 4] = ["--connections", "64", "--in-flight", "256"];
/// Transactions a second that the flood may have, where it is bounded.
const FLOOD_RATE: u32 = 20_000;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().ok_or("usage: client_port DIRECTORY [ROUNDS [SECONDS]]")?;
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let path = Path::new(&parent).join(format!("client-port-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    let outcome =
        tls(&path, rounds, seconds).and_then(|()| floods(&path, rounds, &seconds.to_string()));
    fs::remove_dir_all(&path)?;
    outcome
}

/// In clear and over TLS, in alternation.
fn tls(path: &Path, rounds: usize, seconds: f64) -> Outcome<()> {
    let certificates = Certificates::new();
    let at = |name: &str| certificates.path(name).display().to_string();
    let (certificate, key, ca) = (at("server"), at("server-key"), at("ca"));
    let settings = [
        ("CATRACA_LISTEN_TLS", "127.0.0.1:0"),
        ("CATRACA_TLS_CERTIFICATE_FILE", &certificate),
        ("CATRACA_TLS_KEY_FILE", &key),
    ];
    let node = Node::start(&path.join("tls"), 0, None, &settings)?;
    let secured = format!("localhost:{}", node.client_tls.rsplit(':').next().unwrap_or_default());
    let seconds = seconds.to_string();
    let flags = [&SHAPE[..], &["--seconds", &seconds, "--warmup", "0.5"]].concat();
    let over_tls = [&flags[..], &["--tls-ca-file", &ca]].concat();
    let mut seen: [Vec<Figures>; 2] = Default::default();
    for round in 0..rounds {
        for turn in 0..2 {
            let kind = (round + turn) % 2;
            seen[kind].push(match kind {
                0 => load_with(&node.client, &flags)?,
                _ => load_with(&secured, &over_tls)?,
            });
        }
        let [clear, tls] = [&seen[0][round], &seen[1][round]];
        println!(
            "round {}: 4 × 512 in clear {:.0}/s, over TLS {:.0}/s: × {:.2}",
            round + 1,
            clear.per_second,
            tls.per_second,
            tls.per_second / clear.per_second
        );
    }
    let ratios = seen[0].iter().zip(&seen[1]).map(|(clear, tls)| tls.per_second / clear.per_second);
    println!("median of the rounds' ratios: × {:.2}\n", median(ratios.collect()));
    Ok(())
}

/// A configuration with a calm client and one that floods, which has these bounds.
fn configure(path: &Path, name: &str, bounds: &str) -> Outcome<PathBuf> {
    let mut text = String::new();
    for (client, bounds) in [("calm", ""), ("flood", bounds)] {
        let credential = path.join(client);
        fs::write(&credential, format!("credential of {client}\n"))?;
        text += &format!(
            "[[clients]]\nname = '{client}'\ncredential_file = '{}'\npermissions = ['submit']\n{bounds}\n",
            credential.display()
        );
    }
    let file = path.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

/// The calm client alone, beside a flood that is not bounded, and beside one that is, in alternation.
fn floods(path: &Path, rounds: usize, seconds: &str) -> Outcome<()> {
    let bounds = format!("shard_submits_per_s = {FLOOD_RATE}");
    let open = configure(path, "open.toml", "")?.display().to_string();
    let bounded = configure(path, "bounded.toml", &bounds)?.display().to_string();
    let [open, bounded] = [("open", &open), ("bounded", &bounded)].map(|(name, config)| {
        Node::start_with(&path.join(name), 0, None, &[], &["--config", config.as_str()])
    });
    let (open, bounded) = (open?, bounded?);
    let calm = path.join("calm").display().to_string();
    let flags = [&CALM[..], &["--seconds", seconds, "--warmup", "0.5", "--credential-file", &calm]]
        .concat();
    const KINDS: [&str; 3] = ["alone", "beside a flood", "beside a flood that is bounded"];
    let mut seen: [Vec<Figures>; KINDS.len()] = Default::default();
    for round in 0..rounds {
        for turn in 0..KINDS.len() {
            let kind = (round + turn) % KINDS.len();
            let node = if kind == 2 { &bounded } else { &open };
            let _flood = (kind > 0).then(|| Flood::start(node, path)).transpose()?;
            let figures = load_with(&node.client, &flags)?;
            println!(
                "round {}: calm {}: {:.0}/s, p50 {:.0} µs, p99 {:.0} µs",
                round + 1,
                KINDS[kind],
                figures.per_second,
                figures.p50_us,
                figures.p99_us
            );
            seen[kind].push(figures);
        }
    }
    let of = |kind: usize, what: fn(&Figures) -> f64| median(seen[kind].iter().map(what).collect());
    let p99s: Vec<f64> = (0..KINDS.len()).map(|kind| of(kind, |f| f.p99_us)).collect();
    for (kind, name) in KINDS.into_iter().enumerate() {
        println!(
            "medians: calm {name}: p50 {:.0} µs, p99 {:.0} µs: × {:.2}",
            of(kind, |f| f.p50_us),
            p99s[kind],
            p99s[kind] / p99s[0]
        );
    }
    Ok(())
}

/// A load that does not end by itself; killed when dropped.
struct Flood(Child);

impl Flood {
    fn start(node: &Node, path: &Path) -> Outcome<Self> {
        let credential = path.join("flood").display().to_string();
        let mut command = Command::new(program("catraca-loadgen")?);
        command.args(["--addr", &node.client, "--core", "1", "--credential-file", &credential]);
        command.args(FLOOD).args(["--seconds", "3600", "--seed", "2"]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
