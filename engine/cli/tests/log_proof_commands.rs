//! `catraca log prove`, and `catraca log verify --proof` as somebody meets it who has the proof and
//! the key, and no log.

mod log_program;

use log_program::{damage, data_dir, json, run, run_alone, stream};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A proof of record 3 of stream 1 and the key, away from the log, which is gone.
fn away() -> (tempfile::TempDir, String, String) {
    let log = data_dir();
    let away = tempfile::tempdir().expect("a temporary folder");
    let proof = text(away.path().join("proof.json"));
    let (status, _, stderr) =
        run(log.path(), &["prove", "--stream", "1", "--lsn", "3", "--out", &proof]);
    assert_eq!(status, 0, "{stderr}");
    assert!(stderr.contains("record 3 in full, and 2 other records"), "{stderr}");
    assert_eq!(fs::metadata(&proof).expect("there").permissions().mode() & 0o777, 0o600);
    let key = away.path().join("kept.key");
    fs::copy(log.path().join("chain.key"), &key).expect("own");
    (away, proof, text(key))
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}

fn alter(file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).expect("own");
    change(&mut bytes);
    fs::write(file, bytes).expect("own");
}

#[test]
fn a_proof_holds_without_the_log_and_shows_the_record_masked() {
    let (_away, proof, key) = away();
    let verify = ["verify", "--proof", &proof, "--key-file", &key];
    let (status, text, stderr) = run_alone(&verify);
    assert_eq!(status, 0, "{text} {stderr}");
    for part in [
        "T00000003: DENY",
        "***.456.003-**",
        "HOLDS: record 3 of stream 1",
        "records 1 to 30, sealed 2026-11-23T12:00:00.001Z",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("123456003") && !text.contains("203.0.113.9"), "{text}");

    let (status, text, _) = run_alone(&[&verify[..], &["--json", "--unmask"]].concat());
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let proved = &report["proved"];
    assert_eq!((status, &report["holds"], &proved["epoch"]), (0, &true.into(), &1.into()));
    assert!(proved["record"]["payer"].as_str().is_some_and(|payer| payer.starts_with("123456003")));
    assert_eq!(proved["record"]["segment"], serde_json::Value::Null);

    let receipt = proved["receipt"].as_str().expect("text");
    let (status, text, _) = run_alone(&[&verify[..], &["--receipt", receipt]].concat());
    assert_eq!(status, 0);
    assert!(text.contains("The receipt given is this block's."), "{text}");
    let (status, text, _) = run_alone(&[&verify[..], &["--receipt", "0123456789abcdef"]].concat());
    assert_eq!(status, 3);
    assert!(
        text.contains(
            "DOES NOT HOLD: the receipt given is 0123456789abcdef, that of the proof's block"
        ),
        "{text}"
    );
    assert_eq!(run_alone(&[&verify[..], &["--receipt", "+123456789abcde"]].concat()).0, 2);
}

#[test]
fn what_proves_nothing_is_told() {
    let (away, proof, key) = away();
    let verify = ["verify", "--proof", &proof, "--key-file", &key];
    let other = text(away.path().join("other.key"));
    fs::write(&other, "ab".repeat(32)).expect("own");
    let (status, text, _) = run_alone(&["verify", "--proof", &proof, "--key-file", &other]);
    assert_eq!(status, 3);
    assert!(
        text.contains("DOES NOT HOLD: the chain value computed from it is not the one it names"),
        "{text}"
    );
    let (status, _, stderr) = run_alone(&["verify", "--proof", &proof]);
    assert_eq!(status, 2);
    assert!(stderr.contains("--key-file"), "{stderr}");
    assert_eq!(run_alone(&["verify", "--proof", "missing.json", "--key-file", &key]).0, 1);
    assert_eq!(run_alone(&["verify"]).0, 2, "neither a log nor a proof");
    assert_eq!(run(Path::new("."), &verify).0, 2, "both");
    assert_eq!(run(away.path(), &["verify", "--unmask"]).0, 2);

    alter(&proof, |bytes| bytes[600] ^= 1);
    let (status, text, _) = run_alone(&[&verify[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &report["holds"], &report["proved"]),
        (3, &false.into(), &serde_json::Value::Null)
    );
    alter(&proof, |bytes| bytes.resize(64 * 1024 + 1, b' '));
    let (status, text, _) = run_alone(&verify);
    assert_eq!(status, 3);
    assert!(text.contains("more than 65536 bytes"), "{text}");
}

#[test]
fn a_head_that_was_kept_is_the_proofs_block_or_is_not() {
    let dir = data_dir();
    let (proof, head, key) = (
        text(dir.path().join("p.json")),
        text(dir.path().join("h.json")),
        text(dir.path().join("chain.key")),
    );
    fs::write(&head, run(dir.path(), &["head", "--json"]).1).expect("own");
    let verify = ["verify", "--proof", &proof, "--key-file", &key, "--head", &head];
    assert_eq!(run(dir.path(), &["prove", "--stream", "0", "--lsn", "590", "--out", &proof]).0, 0);
    let (status, text, _) = run_alone(&verify);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("The head kept is this block."), "{text}");
    alter(&head, |bytes| {
        let at = bytes.windows(9).position(|window| window == b"\"chain\": ").expect("there") + 10;
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    });
    let (status, text, _) = run_alone(&verify);
    assert_eq!((status, text.contains("another chain value for this block")), (3, true), "{text}");
    assert_eq!(run(dir.path(), &["prove", "--stream", "0", "--lsn", "300", "--out", &proof]).0, 0);
    let (status, text, _) = run_alone(&verify);
    assert_eq!((status, text.contains("it is another block")), (3, true), "{text}");
}

#[test]
fn what_can_not_be_proved_is_said() {
    let dir = data_dir();
    let (status, _, stderr) = run(dir.path(), &["prove", "--lsn", "3"]);
    assert_eq!(status, 2);
    assert!(stderr.contains("the log has the streams 0, 1"), "{stderr}");
    let (status, _, stderr) = run(dir.path(), &["prove", "--stream", "7", "--lsn", "3"]);
    assert_eq!(status, 2);
    assert!(stderr.contains("there is no stream 7; the log has the streams 0, 1"), "{stderr}");
    let (status, _, stderr) = run(dir.path(), &["prove", "--stream", "1", "--lsn", "601"]);
    assert_eq!(status, 1);
    assert!(stderr.contains("stream 1 has no record 601: its last one is record 600"), "{stderr}");
    assert_eq!(run(dir.path(), &["prove", "--stream", "1", "--lsn", "0"]).0, 2);

    // Damage before the record's segment does not matter, in it it does.
    let last = stream(1).last();
    damage(dir.path(), 1, 0, |bytes| bytes[5000] ^= 1);
    assert_eq!(json(dir.path(), &["prove", "--stream", "1", "--lsn", "600"]).1["lsn"], 600);
    damage(dir.path(), 1, 2, |bytes| bytes[last.offset + 300] ^= 1);
    let (status, _, stderr) = run(dir.path(), &["prove", "--stream", "1", "--lsn", "600"]);
    assert_eq!(status, 12, "{stderr}");
    assert!(stderr.contains("bit rot"), "{stderr}");
    fs::remove_file(dir.path().join("chain.key")).expect("own");
    let (status, _, stderr) = run(dir.path(), &["prove", "--stream", "0", "--lsn", "3"]);
    assert_eq!(status, 1);
    assert!(stderr.contains("--key-file"), "{stderr}");
    // With one stream there is nothing to choose.
    fs::write(dir.path().join("k"), "5a".repeat(32)).expect("own");
    fs::remove_dir_all(catraca_node::log_files::segment::stream_dir(dir.path(), 1)).expect("own");
    let (status, proof) =
        json(dir.path(), &["prove", "--lsn", "3", "--key-file", &text(dir.path().join("k"))]);
    assert_eq!((status, &proof["lsn"]), (0, &3.into()));
}
