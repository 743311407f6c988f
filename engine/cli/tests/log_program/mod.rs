//! A data directory on disk, and the program that reads it; beside `catraca_testkit::log`.

#![allow(dead_code, reason = "each test file uses its part")]

use catraca_node::log_files::segment;
use catraca_testkit::log::{CLUSTER, KEY, TestLog};
use catraca_wire::block::BlockIdentity;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A data directory with two streams of 600 records and the chain's key.
pub fn data_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for shard in [0, 1] {
        stream(shard).write(dir.path());
    }
    fs::write(dir.path().join("chain.key"), hex::encode(KEY) + "\n").expect("own");
    dir
}

pub fn stream(shard: u16) -> TestLog {
    let mut log = TestLog::of(64 * 1024, BlockIdentity { shard, epoch: 1, cluster_id: CLUSTER });
    for _ in 0..20 {
        log.plain(30);
    }
    log.prepare();
    log
}

pub fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command
        .arg("log")
        .arg(arguments[0])
        .arg(dir)
        .args(&arguments[1..])
        .env("TZ", "America/Sao_Paulo");
    command
}

pub fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    ended(command(dir, arguments))
}

/// `catraca log` with these arguments and no data directory.
pub fn run_alone(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.arg("log").args(arguments);
    ended(command)
}

fn ended(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

pub fn json(dir: &Path, arguments: &[&str]) -> (i32, serde_json::Value) {
    let (status, stdout, stderr) = run(dir, arguments);
    (
        status,
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout} {stderr}")),
    )
}

pub fn damage(dir: &Path, shard: u16, segment: u32, change: impl FnOnce(&mut Vec<u8>)) {
    let path = segment::segment_path(dir, shard, segment);
    let mut bytes = fs::read(&path).expect("readable");
    change(&mut bytes);
    fs::write(path, bytes).expect("own");
}
