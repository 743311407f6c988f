//! What validators cost a node, with real processes: one that hangs and is asked about one payment in a hundred, one that
//! answers after 50 ms and is asked about all, and one all of whose answers are cached.
//!
//! `cargo build --release && cargo run --release -p catraca-benches --bin validators -- DIRECTORY
//! [ROUNDS [SECONDS]]` runs so many rounds (3) of so many seconds a load (2) on data directories below
//! DIRECTORY, which it removes. The node's data core has the first of two processors; the thread that
//! asks validators, the node's other threads and the load share the second; the provider runs where
//! there is room.

use catraca_benches::processes::{Node, Outcome, median, number, program, report};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What every load is warmed up for, seconds: longer than a payment waits.
const WARM_UP: &str = "2";
/// Closed loop: connections, and transactions in flight on each: more than wait for a validator at any time.
const MANY: [&str; 4] = ["--connections", "32", "--in-flight", "1024"];
/// Closed loop, as of the other figures.
const FEW: [&str; 4] = ["--connections", "4", "--in-flight", "512"];
/// Open loop: as many as the node has no trouble with.
const OPEN: [&str; 4] = ["--connections", "32", "--rate", "200000"];
/// The same when the same are asked about, a payer each, of whom a core's cache holds all.
const FEW_PAYERS: [&str; 2] = ["--documents", "2000"];
/// So many payers that hardly two questions are the same.
const MANY_PAYERS: [&str; 2] = ["--documents", "1000000"];
/// A data core that does nothing sleeps at once: the provider needs its processor.
const SLEEPS: (&str, &str) = ("CATRACA_SPIN_US", "0");
/// Loads after the first one, for memory.
const MEMORY_LOADS: usize = 5;
/// A payment must be answered within this, microseconds.
const BUDGET_US: f64 = 2e6;

/// Of the load, whose amounts are 1 to 500,000 centavos, all alike, this is true of one payment in a hundred.
const ONE_IN_A_HUNDRED: &str = "tx.amount <= reais(50)";
/// The breaker stays closed, however many attempts fail: what is worst for whoever waits.
const NO_BREAKER: &str =
    "breaker = { failures_percent = 100, least_attempts = 10000, window_s = 1 }";

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().ok_or("usage: validators DIRECTORY [ROUNDS [SECONDS]]")?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let path = Path::new(&parent).join(format!("validators-{}", std::process::id()));
    fs::create_dir_all(&path)?;
    let bench = Bench { path: &path, rounds, seconds: seconds.to_string() };
    println!("Medians of {rounds} rounds of {seconds} s, in alternation. Times in microseconds.\n");
    let outcome = bench
        .one_that_hangs()
        .and_then(|()| bench.memory())
        .and_then(|()| bench.all_asked())
        .and_then(|()| bench.all_cached());
    fs::remove_dir_all(&path)?;
    outcome
}

struct Bench<'a> {
    path: &'a Path,
    rounds: usize,
    seconds: String,
}

/// What a load saw.
#[derive(Clone, Copy)]
struct Seen {
    /// Sent a second, which in a closed loop follow answers one by one: the time until the last answer, of one that
    /// waits, is no part of it.
    per_second: f64,
    /// Of all of them.
    p50_us: f64,
    p99_us: f64,
    /// Of those that waited for no validator, where they are faster than all that did; else it is more.
    others_p99_us: f64,
    max_us: f64,
    /// Answered by an error, or not at all.
    unanswered: f64,
    /// Of all, per 1,000.
    reviewed_permille: f64,
}

impl Bench<'_> {
    /// A validator that hangs, asked about one payment in a hundred.
    fn one_that_hangs(&self) -> Outcome<()> {
        let kinds = ["nobody is asked", "it hangs, no breaker", "it hangs"];
        let loads = [("closed loop, 32 × 1,024", MANY), ("open loop, 200,000/s", OPEN)];
        let mut seen: [[Vec<Seen>; 3]; 2] = Default::default();
        for round in 0..self.rounds {
            for kind in (0..3).map(|kind| (kind + round) % 3) {
                let provider = Provider::start(self.path, "hangs", "fail = \"hang\"")?;
                let policy = match kind {
                    0 => plain(),
                    1 => hanging(&provider.address, NO_BREAKER),
                    _ => hanging(&provider.address, ""),
                };
                let node = self.node(&policy, &[])?;
                for (load, (_, flags)) in loads.iter().enumerate() {
                    seen[load][kind].push(self.load(&node, &[&flags[..]])?);
                }
            }
        }
        for ((load, _), seen) in loads.iter().zip(&seen) {
            println!("A validator asked about 1 % of payments, {load}:");
            let baseline = middle(&seen[0]);
            for (kind, seen) in kinds.iter().zip(seen) {
                let own = middle(seen);
                let longest = seen.iter().map(|seen| seen.max_us).fold(0.0, f64::max);
                println!(
                    "  {kind:22} {:9.0}/s × {:.3}; p50 {:6.0}; p99 {:6.0}, of the others {:6.0} × {:.2}; longest {longest:8.0}; reviewed {:.1} ‰; without a verdict {}{}",
                    own.per_second,
                    own.per_second / baseline.per_second,
                    own.p50_us,
                    own.p99_us,
                    own.others_p99_us,
                    own.others_p99_us / baseline.others_p99_us,
                    own.reviewed_permille,
                    seen.iter().map(|seen| seen.unanswered).sum::<f64>(),
                    if longest <= BUDGET_US { "" } else { " OVER ITS BUDGET" }
                );
                let each: Vec<String> = seen
                    .iter()
                    .map(|seen| format!("{:.0}/s {:.0}", seen.per_second, seen.others_p99_us))
                    .collect();
                println!("    rounds: {}", each.join(", "));
            }
        }
        println!();
        Ok(())
    }

    /// Memory of a node, of which one payment in a hundred waits for what hangs: after each load.
    fn memory(&self) -> Outcome<()> {
        let provider = Provider::start(self.path, "hangs", "fail = \"hang\"")?;
        let node = self.node(&hanging(&provider.address, NO_BREAKER), &[])?;
        let mut mib = Vec::new();
        // The first one fills the table of what was decided.
        for load in 0..=MEMORY_LOADS {
            let seconds = if load == 0 { "6" } else { &self.seconds };
            self.load_for(&node, &[&MANY[..]], seconds)?;
            mib.push(format!("{:.0}", node.memory_mib()?));
        }
        println!("Memory of the node, MiB, after each of so many loads: {}", mib.join(", "));
        println!(
            "  payments that waited: {}; not parked for want of room: {}\n",
            node.metric("catraca_validators_parked_total")?,
            node.metric("catraca_validators_not_parked_total")?
        );
        Ok(())
    }

    /// Every payment waits for a provider that answers after 50 ms.
    fn all_asked(&self) -> Outcome<()> {
        println!(
            "Every payment waits for a provider that answers after a time, closed loop, 4 × 512:"
        );
        for delay_ms in [50, 0] {
            let (mut rates, mut seen) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds {
                let phase = format!("delay_ms = {delay_ms}");
                let provider = Provider::start(self.path, "delays", &phase)?;
                let policy = asking(
                    &format!("http://{}/{{payer.document}}/{{tx.amount}}", provider.address),
                    "true",
                    "cache = { good_s = 0, negative_s = 0 }\nlimits = { in_flight = 1024, queue = 65535 }\ntimeout_ms = 1400\nwait_ms = 1500",
                );
                let node = self.node(&policy, &[SLEEPS])?;
                let own = self.load(&node, &[&FEW, &MANY_PAYERS])?;
                let answered = answered_by_asking(&node)?;
                rates.push(own.per_second * answered);
                seen.push(own);
            }
            let own = middle(&seen);
            println!(
                "  {delay_ms:2} ms: {:6.0} answers of it a second (rounds {:.0?}); decided {:6.0}/s, p50 {:.0}, p99 {:.0}, longest {:.0}; reviewed for want of an answer {:.1} ‰; without a verdict {}",
                median(rates.clone()),
                rates,
                own.per_second,
                own.p50_us,
                own.p99_us,
                own.max_us,
                own.reviewed_permille,
                seen.iter().map(|seen| seen.unanswered).sum::<f64>()
            );
        }
        println!();
        Ok(())
    }

    /// Every payment asks, and the core's cache answers.
    fn all_cached(&self) -> Outcome<()> {
        let mut seen: [Vec<Seen>; 2] = Default::default();
        let mut hits = Vec::new();
        for round in 0..self.rounds {
            for is_asking in [round % 2 == 1, round % 2 == 0] {
                let provider = Provider::start(self.path, "answers", "delay_ms = 0")?;
                let policy = if is_asking {
                    asking(
                        &format!("http://{}/{{payer.document}}", provider.address),
                        "true",
                        "cache = { good_s = 3600 }",
                    )
                } else {
                    plain()
                };
                let node = self.node(&policy, &[])?;
                // Answers come into the caches.
                self.load_for(&node, &[&FEW, &FEW_PAYERS], "0.1")?;
                let own = self.load(&node, &[&FEW, &FEW_PAYERS])?;
                if is_asking {
                    let hit = node.metric("catraca_validators_core_cache_hits_total")?;
                    let parked = node.metric("catraca_validators_parked_total")?;
                    hits.push(format!("{hit} hits, {parked} waited"));
                }
                seen[usize::from(is_asking)].push(own);
            }
        }
        println!("Every payment asks, and the core's cache answers, closed loop, 4 × 512:");
        let baseline = middle(&seen[0]);
        for (kind, seen) in ["nobody is asked", "answers from the cache"].iter().zip(&seen) {
            let own = middle(seen);
            let each: Vec<String> =
                seen.iter().map(|seen| format!("{:.0}", seen.per_second)).collect();
            println!(
                "  {kind:22} {:9.0}/s × {:.3}; p50 {:.0}; p99 {:.0} × {:.2}; rounds {}",
                own.per_second,
                own.per_second / baseline.per_second,
                own.p50_us,
                own.p99_us,
                own.p99_us / baseline.p99_us,
                each.join(", ")
            );
        }
        println!("  {}", hits.join("; "));
        Ok(())
    }

    /// A new node, with a policy in force.
    fn node(&self, policy: &str, settings: &[(&str, &str)]) -> Outcome<Node> {
        let folder = self.path.join("node");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
            // A new one need not listen where the one before did, and may not be able to.
            fs::remove_file(folder.with_extension("ports"))?;
        }
        let node = Node::start(&folder, 0, None, settings)?;
        let file = self.path.join("policy.toml");
        fs::write(&file, policy)?;
        let activated = Command::new(program("catraca")?)
            .args(["policy", "activate"])
            .arg(&file)
            .args(["--addr", &node.client])
            .output()?;
        if activated.status.success() {
            Ok(node)
        } else {
            Err(String::from_utf8_lossy(&activated.stderr).into_owned().into())
        }
    }

    fn load(&self, node: &Node, flags: &[&[&str]]) -> Outcome<Seen> {
        self.load_for(node, flags, &self.seconds)
    }

    fn load_for(&self, node: &Node, flags: &[&[&str]], seconds: &str) -> Outcome<Seen> {
        let distribution = self.path.join("distribution");
        let file = distribution.display().to_string();
        let ours = ["--hgrm", &file, "--seconds", seconds, "--warmup", WARM_UP];
        let report = report(node, &[&ours[..], &flags.concat()].concat())?;
        let answered = number(&report["answered"])?;
        if answered == 0.0 || !report["failure"].is_null() {
            return Err(format!("the load came to nothing: {}", report["failure"]).into());
        }
        let verdicts = |kind: &str| report["verdicts"][kind].as_f64().unwrap_or(0.0);
        let reviewed = verdicts("review") / answered;
        let errors: f64 = report["errors"]
            .as_object()
            .map_or(0.0, |errors| errors.values().filter_map(Value::as_f64).sum());
        let latency = &report["latency_us"];
        Ok(Seen {
            per_second: number(&report["sent"])? / seconds.parse::<f64>()?,
            p50_us: number(&latency["p50"])?,
            p99_us: number(&latency["p99"])?,
            others_p99_us: quantile(&fs::read_to_string(&distribution)?, 0.99 * (1.0 - reviewed))?,
            max_us: number(&latency["max"])?,
            unanswered: errors + number(&report["unanswered"])? + number(&report["unsent"])?,
            reviewed_permille: reviewed * 1e3,
        })
    }
}

/// Each figure's median.
fn middle(seen: &[Seen]) -> Seen {
    let of = |what: fn(&Seen) -> f64| median(seen.iter().map(what).collect());
    Seen {
        per_second: of(|seen| seen.per_second),
        p50_us: of(|seen| seen.p50_us),
        p99_us: of(|seen| seen.p99_us),
        others_p99_us: of(|seen| seen.others_p99_us),
        max_us: of(|seen| seen.max_us),
        unanswered: of(|seen| seen.unanswered),
        reviewed_permille: of(|seen| seen.reviewed_permille),
    }
}

/// The value of which the distribution says that so much of it is at most that: between two of its lines, the straight
/// line.
fn quantile(distribution: &str, wanted: f64) -> Outcome<f64> {
    let mut before = (0.0, 0.0);
    for line in distribution.lines() {
        let mut columns = line.split_whitespace().map_while(|text| text.parse::<f64>().ok());
        let (Some(value), Some(share)) = (columns.next(), columns.next()) else { continue };
        if share >= wanted {
            let (low, from) = before;
            let part = if share > from { (wanted - from) / (share - from) } else { 1.0 };
            return Ok(low + (value - low) * part);
        }
        before = (value, share);
    }
    Err("the distribution ends too early".into())
}

/// Of what payments had to wait for, how much the service itself answered, one answer for one payment.
fn answered_by_asking(node: &Node) -> Outcome<f64> {
    // Figures are made every now and then.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let attempts = node.metric("catraca_validator_attempts_total")?;
    let failures = node.metric("catraca_validator_failures_total")?;
    let parked = node.metric("catraca_validators_parked_total")?;
    Ok((attempts - failures) / parked)
}

/// A policy that asks nobody.
fn plain() -> String {
    format!("[[rule]]\nid = \"small\"\nwhen = \"{ONE_IN_A_HUNDRED}\"\nscore = 1\n")
}

/// A policy that asks about one payment in a hundred, and has a person look where there is no answer.
fn hanging(address: &str, more: &str) -> String {
    let more = format!("wait_ms = 800\nlimits = {{ queue = 65535 }}\n{more}");
    asking(&format!("http://{address}/{{payer.document}}"), ONE_IN_A_HUNDRED, &more)
}

fn asking(url: &str, when: &str, more: &str) -> String {
    format!(
        r#"
[[validator]]
id = "status"
url = "{url}"
when = "{when}"
documents = "full"
answer = "/status"
answers = ["regular", "suspended"]
no_answer = "review"
{more}

[[rule]]
id = "suspended"
when = 'has(validator("status")) && validator("status") == "suspended"'
verdict = "deny"
"#
    )
}

/// An invented service; killed when dropped.
struct Provider {
    process: Child,
    address: String,
}

impl Provider {
    fn start(path: &Path, name: &str, phase: &str) -> Outcome<Self> {
        let answers = path.join(format!("{name}.toml"));
        let text = "otherwise = { body = { status = \"regular\" } }\n[[phase]]\nafter_ms = 0\n";
        fs::write(&answers, format!("{text}{phase}\n"))?;
        let mut process = Command::new(program("catraca")?)
            .args(["provider", "--listen", "127.0.0.1:0", "--answers"])
            .arg(&answers)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("standard output is piped")?)
            .read_line(&mut line)?;
        let address = line.trim().rsplit("http://").next().unwrap_or_default().to_owned();
        Ok(Self { process, address })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
