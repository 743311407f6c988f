//! `catraca log head`, and `catraca log verify --head`: a log that lost its newest blocks, or had
//! them exchanged, is found out.

mod log_program;

use catraca_testkit::log::TestLog;
use log_program::{damage, data_dir, json, run, stream};
use std::fs;
use std::path::Path;

/// Keeps the head of a log in a file beside it.
fn keep(dir: &Path) -> String {
    let (status, text, stderr) = run(dir, &["head", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let kept = dir.join("head.json");
    fs::write(&kept, text).expect("own");
    kept.into_os_string().into_string().expect("UTF-8")
}

fn cut_off(dir: &Path, log: &TestLog) {
    let last = log.last();
    damage(dir, log.identity.shard, last.segment as u32, |bytes| {
        bytes[last.offset..last.offset + last.len].fill(0)
    });
}

#[test]
fn the_head_is_where_the_chain_ends() {
    let dir = data_dir();
    let (status, report) = json(dir.path(), &["head", "--json"]);
    let (_, verified) = json(dir.path(), &["verify", "--json"]);
    assert_eq!(
        (status, &report["format"], &report["cluster_id"]),
        (0, &"catraca-head-1".into(), &verified["cluster_id"])
    );
    let last = stream(1).last();
    for shard in 0..2 {
        let head = &report["streams"][shard];
        assert_eq!(head["chain"], verified["streams"][shard]["chain_head"]);
        assert_eq!(
            (&head["shard"], &head["epoch"], &head["last_lsn"]),
            (&shard.into(), &1.into(), &600.into())
        );
        assert_eq!(head["block_offset"], last.offset);
        assert!(head["file"].as_str().is_some_and(|file| file.ends_with("00000002.seg")), "{head}");
        assert_eq!(head["damage"], serde_json::Value::Null);
    }
    let (status, text, _) = run(dir.path(), &["head"]);
    assert_eq!(status, 0);
    assert!(text.contains(report["streams"][0]["chain"].as_str().expect("text")), "{text}");

    // Damage in an earlier segment is not read, and that of the last block names the one before.
    damage(dir.path(), 0, 0, |bytes| bytes[5000] ^= 1);
    assert_eq!(json(dir.path(), &["head", "--json"]).0, 0);
    damage(dir.path(), 0, 2, |bytes| bytes[last.offset + 300] ^= 1);
    let (status, report) = json(dir.path(), &["head", "--json"]);
    assert_eq!((status, &report["streams"][0]["last_lsn"]), (3, &570.into()));
    assert!(
        report["streams"][0]["damage"].as_str().is_some_and(|damage| damage.contains("bit rot")),
        "{report}"
    );
}

#[test]
fn the_head_is_found_where_the_last_segment_has_none() {
    // A stream that was never written, and one whose last write began a segment and was torn.
    let dir = data_dir();
    TestLog::new(64 * 1024).write(dir.path());
    for segment in 1..4 {
        fs::remove_file(catraca_node::log_files::segment::segment_path(dir.path(), 0, segment))
            .expect("own");
    }
    let mut torn = stream(1);
    torn.segments.pop();
    torn.roll();
    let last = torn.plain(30);
    torn.segments[last.segment][last.offset + 512..last.offset + 1024].fill(0);
    torn.write(dir.path());
    let (status, report) = json(dir.path(), &["head", "--json"]);
    assert_eq!(
        (status, &report["streams"][0]["last_lsn"], &report["streams"][0]["file"]),
        (0, &0.into(), &serde_json::Value::Null)
    );
    assert_eq!(report["streams"][1]["last_lsn"], 600);
    let kept = keep(dir.path());
    assert_eq!(
        run(dir.path(), &["verify", "--head", &kept]).0,
        0,
        "nothing kept is contained in everything"
    );
}

#[test]
fn newest_blocks_cut_off_are_found_with_a_kept_head_only() {
    let dir = data_dir();
    let kept = keep(dir.path());
    let (status, text, _) = run(dir.path(), &["verify", "--head", &kept]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("The log holds the head that was kept."), "{text}");

    // The log grows, and still holds it.
    let mut log = stream(0);
    log.segments.pop();
    log.plain(40);
    log.write(dir.path());
    let (status, report) = json(dir.path(), &["verify", "--head", &kept, "--json"]);
    assert_eq!((status, &report["head_missing"]), (0, &serde_json::json!([])));

    let log = stream(1);
    cut_off(dir.path(), &log);
    assert_eq!(run(dir.path(), &["verify"]).0, 0, "by itself the log looks sound");
    let (status, text, _) = run(dir.path(), &["verify", "--head", &kept]);
    assert_eq!(status, 3, "{text}");
    let words = "THE HEAD KEPT IS NOT THERE: stream 1: the head kept ends with record 600, what can be read of the log with record 570";
    assert!(text.contains(words), "{text}");
    fs::remove_dir_all(catraca_node::log_files::segment::stream_dir(dir.path(), 1)).expect("own");
    let (status, report) = json(dir.path(), &["verify", "--head", &kept, "--json"]);
    assert_eq!((status, &report["sound"]), (3, &true.into()));
    assert_eq!(report["head_missing"][0], "stream 1: it is in the head kept, and not in the log");
}

#[test]
fn a_log_written_anew_with_the_key_is_found_too() {
    let dir = data_dir();
    let kept = keep(dir.path());
    let rewritten = |blocks: &[usize], epoch: u32| {
        let mut log = TestLog::new(64 * 1024);
        log.identity.epoch = epoch;
        blocks.iter().for_each(|&records| {
            log.plain(records);
        });
        log.prepare();
        log.write(dir.path());
        let (status, text, _) = run(dir.path(), &["verify", "--head", &kept]);
        assert_eq!(status, 3, "{text}");
        assert_eq!(run(dir.path(), &["verify"]).0, 0);
        text
    };
    let text = rewritten(&[30; 20], 2);
    assert!(
        text.contains("stream 0: the block that ends with record 600 has another chain value"),
        "{text}"
    );
    let text = rewritten(&[45; 14], 1);
    assert!(text.contains("stream 0: no block ends with record 600"), "{text}");
}

#[test]
fn what_is_no_head_is_refused() {
    let dir = data_dir();
    let kept = keep(dir.path());
    let text = fs::read_to_string(&kept).expect("own");
    for (bad, words) in [
        (text.replace("catraca-head-1", "catraca-head-9"), "format"),
        ("{}".to_owned(), "no file of heads"),
        (
            r#"{"format": "catraca-head-1", "cluster_id": null, "streams": []}"#.to_owned(),
            "names no stream",
        ),
        (" ".repeat(1024 * 1024 + 1), "too long"),
    ] {
        fs::write(&kept, bad).expect("own");
        let (status, _, stderr) = run(dir.path(), &["verify", "--head", &kept]);
        assert_eq!(status, 1, "{stderr}");
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    fs::write(
        &kept,
        text.replace(&text[text.find("cluster_id").expect("there") + 14..][..4], "0000"),
    )
    .expect("own");
    let (status, text, _) = run(dir.path(), &["verify", "--head", &kept]);
    assert_eq!(status, 3);
    assert!(text.contains("the head kept is of another cluster"), "{text}");
}
