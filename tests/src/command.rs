//! Running a subcommand to its end.

use crate::binary;
use serde_json::Value;
use std::ffi::OsStr;
use std::process::{Command, Output};

/// A command without anything of the test's environment that would configure it.
pub fn command() -> Command {
    wrapped(&[])
}

/// The same, started by another program: `ip netns exec NAME`, say.
pub fn wrapped(wrapper: &[String]) -> Command {
    let mut command = match wrapper.split_first() {
        None => Command::new(binary::catraca()),
        Some((program, args)) => {
            let mut command = Command::new(program);
            command.args(args).arg(binary::catraca());
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CATRACA_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `catraca` with these arguments.
///
/// # Panics
/// When it can't be started.
pub fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    command().args(args).output().expect("the program starts")
}

/// Runs `catraca` with these arguments, which must succeed, and parses what it prints.
///
/// # Panics
/// When it fails, or prints no JSON.
pub fn json<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Value {
    let output = run(args);
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}
