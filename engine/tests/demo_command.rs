//! `catraca demo` as a program: a real node, real load, and what it leaves behind.

use std::path::Path;
use std::process::Command;

fn demo(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_catraca"))
        .args(["demo", "--seconds", "0.3", "--data-dir"])
        .arg(folder)
        .args(arguments)
        .env("CATRACA_DEDUPE_ENTRIES", "131072")
        .env("CATRACA_SEGMENT_MIB", "16")
        .env("CATRACA_DISK_RESERVE_MIB", "64")
        .output()
        .expect("it starts")
}

#[test]
fn the_demo_shows_a_whole_system_and_leaves_a_sound_log() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let output = demo(folder.path(), &["--json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(result["ok"], true, "{result:#}");
    assert_eq!(result["log"]["sound"], true);
    assert_eq!(result["explained"]["verdict"], "deny");
    assert!(result["load"]["verdicts"]["deny"].as_u64() > Some(0), "{result:#}");
    assert!(result["load"]["resent"].as_u64() > Some(0), "{result:#}");
    let plot = std::fs::read_to_string(result["plot"].as_str().expect("a path")).expect("the plot was drawn");
    assert!(plot.contains("<svg"));
    // The example names a document, and a demo's output is for anybody's eyes.
    assert!(result["explained"]["payer"].as_str().is_some_and(|payer| payer.contains('*')), "{result:#}");
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    std::fs::write(folder.path().join("precious"), "data").expect("writable");
    let output = demo(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("still there").count(), 1);
}
