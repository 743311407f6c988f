//! `catraca demo` as a program: real nodes, real load, the death of the primary, and what it leaves
//! behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command
        .args(["demo", "--data-dir"])
        .arg(folder)
        .args(arguments)
        .env("CATRACA_DEDUPE_ENTRIES", "131072")
        .env("CATRACA_SEGMENT_MIB", "16")
        .env("CATRACA_DISK_RESERVE_MIB", "64");
    command
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder")
}

/// Waits for something.
fn await_that(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Processes that work in this folder: nodes of a demo.
fn nodes_in(folder: &Path) -> usize {
    let wanted = folder.to_str().expect("UTF-8");
    let processes = std::fs::read_dir("/proc").expect("a process table").flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains("serve\0") && line.contains(wanted))
        .count()
}

/// A demo whose load begins, and what it says from there on.
fn under_way(folder: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut command = demo(folder, &["--seconds", "60"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines =
        BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("== Load")), "the demo ended");
    assert_eq!(nodes_in(folder), 2);
    (child, lines)
}

#[test]
fn the_demo_loses_its_primary_and_nothing_else() {
    let folder = folder();
    let output = demo(folder.path(), &["--seconds", "0.4", "--json"]).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let result: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(result["ok"], true, "{result:#}");
    let failover = &result["failover"];
    let [before, after] = ["acknowledged_before", "acknowledged_after"]
        .map(|name| failover[name].as_u64().expect("a number"));
    assert!(before > 0 && after > 0, "{failover:#}");
    assert!(failover["longest_gap_ms"].as_f64() > Some(0.0), "{failover:#}");
    for (name, wanted) in
        [("lost", 0), ("different", 0), ("double", 0), ("epoch_before", 1), ("epoch_after", 2)]
    {
        assert_eq!(failover[name], wanted, "{failover:#}");
    }
    assert_eq!((&failover["logs_sound"], &failover["heads_equal"]), (&true.into(), &true.into()));
    let logs = result["logs"].as_array().expect("a list");
    assert_eq!(logs.len(), 2);
    for log in logs {
        assert_eq!(
            (&log["sound"], &log["chain_values_checked"]),
            (&true.into(), &true.into()),
            "{log:#}"
        );
        assert!(log["records"].as_u64() >= Some(before + after), "{result:#}");
        assert_eq!(log["streams"][0]["chain_head"], logs[0]["streams"][0]["chain_head"]);
    }
    assert_eq!(result["load"]["failovers"], 1, "{result:#}");
    assert_eq!(result["explained"]["verdict"], "deny");
    assert!(result["load"]["verdicts"]["deny"].as_u64() > Some(0), "{result:#}");
    assert!(result["load"]["resent"].as_u64() > Some(0), "{result:#}");
    let plot = std::fs::read_to_string(result["plot"].as_str().expect("a path"))
        .expect("the plot was drawn");
    assert!(plot.contains("<svg"));
    assert!(result["folder_len"].as_u64() > Some(1 << 20), "{result:#}");
    // The example names a document, and a demo's output is for anybody's eyes.
    assert!(
        result["explained"]["payer"].as_str().is_some_and(|payer| payer.contains('*')),
        "{result:#}"
    );
    assert_eq!(nodes_in(folder.path()), 0);
}

#[test]
fn an_interrupted_demo_stops_its_nodes_in_order() {
    let folder = folder();
    let (child, lines) = under_way(folder.path());
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .expect("it runs");
    // Whoever reads no more would stop what writes.
    lines.for_each(drop);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("interrupted"), "{said}");
    let path = folder.path().display();
    assert!(said.contains(&format!("iB are left in {path}")), "{said}");
    assert!(said.contains(&format!("remove them: rm -r {path}\n")), "{said}");
    assert_eq!(nodes_in(folder.path()), 0);
    for name in ["primary.log", "standby.log"] {
        let said = std::fs::read_to_string(folder.path().join(name)).expect("its log");
        assert!(said.contains(r#""stopped""#), "{name}: {said}");
    }
}

#[test]
fn a_killed_demo_leaves_no_node_behind() {
    let folder = folder();
    let (mut child, _lines) = under_way(folder.path());
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    await_that("without nodes", || nodes_in(folder.path()) == 0);
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = folder();
    std::fs::write(folder.path().join("precious"), "data").expect("writable");
    let output = demo(folder.path(), &[]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("still there").count(), 1);
}

#[test]
fn a_service_that_hangs_half_way_holds_up_no_payment() {
    let folder = folder();
    let output = demo(folder.path(), &["--validators", "--json"]).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(shown["ok"], true, "{shown}");
    assert_eq!(shown["replayed"]["differing"], 0, "{shown}");
}
