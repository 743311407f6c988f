//! The demo of policies: one node, Pix traffic with known frauds, the default policy at work on it, a stricter one
//! tried beside it, taken into force and rolled back, and every decision computed anew from the log. All by the
//! commands that a person would type.

use super::node::{Node, Setup};
use super::pair::Ports;
use super::stage::{self, Interrupt, Say};
use crate::commands::Outcome;
use crate::commands::output::json;
use catraca_loadgen::options::Core;
use catraca_loadgen::scenario::{ScenarioOptions, Scenarios};
use catraca_loadgen::{Monitor, Options, Report, table};
use catraca_node::fatal::Failure;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Payments of each of the two runs: enough that each fraud has some cases.
const PAYMENTS: u64 = 40_000;
/// How long the policy that is tried may take to have seen them all.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the demo shows.
struct Shown<'a> {
    say: &'a Say,
    folder: &'a Path,
    addr: String,
}

/// Runs it.
pub fn run(data_dir: Option<&Path>, quiet: bool) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let folder = stage::folder(data_dir)?;
    let say = Say::new(quiet);
    let shown = show(&folder, &interrupt, &say);
    stage::end(say, &folder, shown)
}

fn show(folder: &Path, interrupt: &Interrupt, say: &Say) -> Result<(), Failure> {
    let ports = Ports::find()?;
    let setup = Setup::alone(folder, &ports);
    say.heading("A node, and the default policy for Pix");
    say.command(&setup.command_line());
    let mut node = Node::start(&setup, interrupt)?;
    let shown = Shown { say, folder, addr: setup.listen.clone() };
    let mut result = shown.all(&setup, &mut node, interrupt)?;
    if say.quiet {
        result["folder_len"] = stage::folder_len(folder).into();
        say.print(&json(&result));
    }
    Ok(())
}

impl Shown<'_> {
    fn all(&self, setup: &Setup, node: &mut Node, interrupt: &Interrupt) -> Result<Value, Failure> {
        self.policy(&["init"], &[])?;
        let tested = self.policy(&["test", "pix.toml", "pix-tests.toml"], &[])?;
        self.policy(&["activate", "pix.toml"], &["--addr", &self.addr])?;

        self.say.heading("A day of payments, two in a hundred of them frauds");
        self.say.text(&format!(
            "{PAYMENTS} payments of households and shops, and of five kinds of fraud; the node does not know which is which. \
             One case of fraud in six is made to look honest."
        ));
        let first = self.payments(1, interrupt)?;

        self.say.heading("A stricter policy, tried beside it");
        self.say.text("It reviews from a score of 300 instead of 400, and decides nothing yet.");
        let pix = self.folder.join("pix.toml");
        let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", pix.display()));
        let text = std::fs::read_to_string(&pix).map_err(failed)?;
        let stricter =
            text.replace("review = 400", "review = 300").replace("review = 500", "review = 400");
        if stricter == text {
            return Err(Failure::failed(
                "the default policy has other thresholds than the demo knows",
            ));
        }
        std::fs::write(self.folder.join("stricter.toml"), stricter).map_err(failed)?;
        self.policy(&["diff", "pix.toml", "stricter.toml"], &[])?;
        self.policy(&["candidate", "stricter.toml"], &["--addr", &self.addr])?;
        let second = self.payments(2, interrupt)?;
        let compared = self.compare(interrupt)?;

        self.say.heading("In force, and back");
        self.policy(&["activate", "stricter.toml"], &["--addr", &self.addr])?;
        self.policy(&["rollback"], &["--addr", &self.addr])?;

        self.say.heading("Every decision, computed anew from the log");
        node.stop()?;
        let replayed =
            self.command(&["log", "replay", &setup.data_dir.display().to_string()], &[])?;
        Ok(json!({
            "ok": true,
            "folder": self.folder,
            "tested": tested,
            "first": first.scenarios,
            "second": second.scenarios,
            "compared": compared,
            "replayed": replayed,
        }))
    }

    /// The payments of a seed; shows what became of them.
    fn payments(&self, seed: u64, interrupt: &Interrupt) -> Result<Report, Failure> {
        let chosen = Scenarios::ALL;
        let options = Options {
            addr: self.addr.clone(),
            connections: 1,
            transactions: Some(PAYMENTS),
            seed,
            core: Core::None,
            scenario: ScenarioOptions { chosen: Some(chosen), ..ScenarioOptions::default() },
            ..Options::default()
        };
        self.say.command(&format!(
            "catraca-loadgen --scenario all --transactions {PAYMENTS} --seed {seed} --addr {}",
            self.addr
        ));
        let report = catraca_loadgen::run(&options, &Monitor::new())
            .map_err(|e| Failure::failed(e.to_string()))?;
        interrupt.check()?;
        if let Some(failure) = &report.failure {
            return Err(Failure::failed(failure.clone()));
        }
        let scenarios = report.scenarios.as_ref();
        let scenarios = scenarios.ok_or_else(|| Failure::failed("the load had no scenarios"))?;
        self.say.text(&table::scenarios(scenarios));
        Ok(report)
    }

    /// What came of the policy that is tried, once it has seen all payments.
    fn compare(&self, interrupt: &Interrupt) -> Result<Value, Failure> {
        let began = Instant::now();
        let args = ["policy", "compare", "stricter.toml", "--addr", &self.addr];
        loop {
            interrupt.check()?;
            let came = self.parsed(&args)?;
            let count = |what: &str| came[what].as_u64().unwrap_or(0);
            if count("payments") + count("left_out") >= PAYMENTS {
                if !self.say.quiet {
                    self.command(&args, &[])?;
                }
                return Ok(came);
            }
            if began.elapsed() > SEEN_WITHIN {
                return Err(Failure::failed("the policy that is tried does not see the payments"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn policy(&self, args: &[&str], more: &[&str]) -> Result<Value, Failure> {
        self.command(&[&["policy"], args].concat(), more)
    }

    /// Runs a command of this program in the demo's folder, and shows what it prints; for a program it is
    /// JSON.
    fn command(&self, args: &[&str], more: &[&str]) -> Result<Value, Failure> {
        let args = [args, more].concat();
        self.say.command(&format!("catraca {}", args.join(" ")));
        if self.say.quiet {
            return self.parsed(&args);
        }
        self.say.text(&self.output(&args)?);
        Ok(Value::Null)
    }

    fn parsed(&self, args: &[&str]) -> Result<Value, Failure> {
        let takes_json = args[..2] != ["policy", "init"];
        let text = if takes_json {
            self.output(&[args, &["--json"]].concat())?
        } else {
            self.output(args)?
        };
        if !takes_json {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text)
            .map_err(|e| Failure::failed(format!("catraca {}: {e}", args.join(" "))))
    }

    fn output(&self, args: &[&str]) -> Result<String, Failure> {
        // Status 3 says that something was found, as a difference of two policies.
        let found = (args[..2] == ["policy", "diff"]).then_some(3);
        stage::output(self.folder, args, found)
    }
}
