//! `catraca log` on a log of months: invented, packed, indexed, and without its oldest part.

use catraca_node::log_files::index_file::IndexFiles;
use catraca_node::log_files::lookup::OwnLog;
use catraca_node::log_files::segment::packed_path;
use catraca_node::log_files::{LogReader, key, log_start, removal};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn catraca(args: &[&str], dir: &Path) -> Output {
    let words = args.iter().map(|word| word.replace("DIR", &dir.display().to_string()));
    Command::new(env!("CARGO_BIN_EXE_catraca")).args(words).output().expect("it starts")
}

fn json(args: &[&str], dir: &Path) -> Value {
    let output = catraca(args, dir);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// A log of 60,000 decisions in segments of 2 MiB.
fn years(dir: &Path) {
    let words = ["log", "synth", "DIR", "--records", "60000", "--days", "90", "--segment-mib", "2"];
    let output = catraca(&words, dir);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Cuts off the first segments.
fn cut_off(dir: &Path, segments: u32) -> u64 {
    let key = key::load(&dir.join(key::KEY_FILE)).expect("a key");
    let cluster_id = LogReader::open(dir, Some(key)).expect("a log").cluster_id().expect("known");
    let files = IndexFiles::new(OwnLog { data_dir: dir.to_owned(), cluster_id, key });
    let indexes: Vec<_> =
        (0..segments).map(|segment| files.summary(0, segment).expect("it has an index")).collect();
    let start = removal::summarize(&files, 0, &indexes, 1_795_500_000_000_000_000);
    let start = start.expect("sound");
    removal::begin_at(&files, 0, &start).expect("removed");
    start.last_lsn()
}

#[test]
fn every_command_reads_a_packed_log() {
    let dir = tempfile::tempdir().expect("a folder");
    years(dir.path());
    assert!(packed_path(dir.path(), 0, 4).exists());
    let report = json(&["log", "verify", "DIR", "--json"], dir.path());
    assert_eq!((&report["sound"], &report["records"]), (&true.into(), &60_001.into()), "{report}");
    assert_eq!(report["streams"][0]["begins"], Value::Null);
    let show = ["log", "show", "DIR", "--transaction", "SYNTH-20000", "--json"];
    let shown = json(&show, dir.path());
    assert_eq!(shown["matches"], 1, "{shown}");
    assert_eq!(json(&[&show[..], &["--scan"]].concat(), dir.path()), shown);
    let text = catraca(&show[..5], dir.path());
    assert!(String::from_utf8_lossy(&text.stdout).contains(".zseg offset"), "{text:?}");
    let export = catraca(&["log", "export", "DIR", "--format", "csv"], dir.path());
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    assert_eq!(export.stdout.split(|&byte| byte == b'\n').count(), 60_001 + 2);
    let head = json(&["log", "head", "DIR", "--json"], dir.path());
    assert_eq!(head["streams"][0]["last_lsn"], 60_001, "{head}");
    let proof =
        catraca(&["log", "prove", "DIR", "--lsn", "777", "--out", "DIR/proof.json"], dir.path());
    assert!(proof.status.success(), "{}", String::from_utf8_lossy(&proof.stderr));
    let words = ["log", "verify", "--proof", "DIR/proof.json", "--key-file", "DIR/chain.key"];
    assert!(catraca(&words, dir.path()).status.success());
}

#[test]
fn damage_in_a_packed_segment_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    years(dir.path());
    let path = packed_path(dir.path(), 0, 1);
    let mut bytes = fs::read(&path).expect("there");
    bytes[1_000] ^= 1;
    fs::write(&path, bytes).expect("own");
    let output = catraca(&["log", "verify", "DIR"], dir.path());
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("00000001.zseg offset 256: packed segment: the frame"), "{text}");
    // What lies before it, and what indexes lead to behind it, is read.
    let show = |id: &str| catraca(&["log", "show", "DIR", "--transaction", id], dir.path());
    assert!(show("SYNTH-10").status.success());
    assert!(show("SYNTH-40000").status.success());
    let scan = ["log", "show", "DIR", "--transaction", "SYNTH-40000", "--scan"];
    let output = catraca(&scan, dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not all of the log could be read"));
}

#[test]
fn a_log_says_from_where_it_begins() {
    let dir = tempfile::tempdir().expect("a folder");
    years(dir.path());
    // Heads kept before: at the very end of what is removed, and in the middle of it.
    let whole = json(&["log", "head", "DIR", "--json"], dir.path());
    let last = cut_off(dir.path(), 3);
    let start = log_start::tail(dir.path(), 0).expect("sound");
    let report = json(&["log", "verify", "DIR", "--json"], dir.path());
    assert_eq!(report["sound"], true, "{report}");
    assert_eq!(report["records"], 60_001 - last);
    let begins = &report["streams"][0]["begins"];
    assert_eq!((&begins["behind_lsn"], &begins["segment"]), (&last.into(), &3.into()), "{report}");
    assert_eq!(begins["changes"], 1, "who was listed by hand is listed still");
    assert_eq!(begins["behind_chain"], hex::encode(start.previous_chain));
    let text = catraca(&["log", "verify", "DIR"], dir.path());
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(&format!("stream 0: begins behind record {last}, chain ")), "{text}");
    let verify = |lsn: u64, chain: &str| {
        let mut kept = whole.clone();
        kept["streams"][0]["last_lsn"] = lsn.into();
        kept["streams"][0]["chain"] = chain.into();
        fs::write(dir.path().join("head.json"), kept.to_string()).expect("own");
        let output = catraca(&["log", "verify", "DIR", "--head", "DIR/head.json"], dir.path());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let chain = hex::encode(start.previous_chain);
    assert_eq!(verify(last, &chain).0, Some(0), "the last block removed is known");
    let (status, text) = verify(last, &"00".repeat(32));
    assert!(status == Some(3) && text.contains("another chain value"), "{text}");
    let (status, text) = verify(last - 1, &chain);
    assert!(status == Some(3) && text.contains("older than what was removed"), "{text}");
    // What was removed is not there any more, and nobody says that the log is damaged.
    let gone = catraca(&["log", "show", "DIR", "--transaction", "SYNTH-10"], dir.path());
    assert_eq!(gone.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&gone.stderr).contains("not all of the log could be read"));
    let kept = catraca(&["log", "show", "DIR", "--transaction", "SYNTH-50000"], dir.path());
    assert!(kept.status.success());
    // A beginning that was tampered with.
    let path = log_start::path(dir.path(), 0);
    let mut bytes = fs::read(&path).expect("there");
    bytes[40] ^= 1;
    fs::write(&path, bytes).expect("own");
    let output = catraca(&["log", "verify", "DIR"], dir.path());
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("log.start offset 0"), "{output:?}");
}

#[test]
fn an_invented_log_is_made_in_an_empty_folder_only() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("file"), "something").expect("own");
    let output = catraca(&["log", "synth", "DIR"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"), "{output:?}");
    assert!(!dir.path().join("log").exists());
}
