//! `catraca label list`, and what `catraca log` says of labels; on files.

use catraca_testkit::log::{CLUSTER, KEY, NOON_NS, TestLog, decision, id};
use catraca_wire::block::BlockIdentity;
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::{LabelKind, text_of};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const DAY_NS: u64 = 86_400 * 1_000_000_000;

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.args(args).env("TZ", "America/Sao_Paulo").output().expect("the binary runs")
}

fn found(args: &[&str]) -> (Option<i32>, Value) {
    let output = run(args);
    let found = serde_json::from_slice(&output.stdout);
    (output.status.code(), found.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

/// A label of a decision of stream 1, known so many days after it.
fn label(log: &mut TestLog, of: u64, kind: LabelKind, days: u64, source: &str) {
    let label = Label {
        kind,
        known_at_ns: NOON_NS + days * DAY_NS,
        source: LabelSource::parse(source).expect("sound"),
        shard: 1,
        lsn: of,
    };
    let transaction = decision(of).transaction;
    let head = label.to_record(&transaction.id, &transaction.payer, NOON_NS + days * DAY_NS);
    log.records(&[(head, label.to_section().to_vec())]);
}

/// A log of two streams: labels in the first, the decisions in the second, of which the third and
/// every hundredth are denied.
fn written(dir: &Path) {
    let stream =
        |shard| TestLog::of(64 * 1024, BlockIdentity { shard, epoch: 1, cluster_id: CLUSTER });
    let (mut labels, mut decisions) = (stream(0), stream(1));
    for _ in 0..10 {
        decisions.plain(30);
    }
    // Denied: 3, 100, 200, 300.
    label(&mut labels, 3, LabelKind::FalsePositive, 10, "desk");
    label(&mut labels, 100, LabelKind::Chargeback, 20, "visa");
    label(&mut labels, 5, LabelKind::Chargeback, 30, "visa");
    label(&mut labels, 6, LabelKind::ConfirmedGood, 40, "desk");
    // Known before, logged after.
    label(&mut labels, 7, LabelKind::MedAccepted, 60, "med");
    label(&mut labels, 7, LabelKind::MedRejected, 50, "med");
    // Of a decision that is not there.
    label(&mut labels, 9_999, LabelKind::Chargeback, 60, "visa");
    label(&mut labels, 8, LabelKind::Chargeback, 200, "visa");
    // Of a decision that was lost, and whose place another one has.
    let lost = Label {
        kind: LabelKind::Chargeback,
        known_at_ns: NOON_NS + 60 * DAY_NS,
        source: LabelSource::parse("visa").expect("sound"),
        shard: 1,
        lsn: 9,
    };
    let head = lost.to_record(&id(900_000), &decision(9).transaction.payer, NOON_NS);
    labels.records(&[(head, lost.to_section().to_vec())]);
    labels.write(dir);
    decisions.write(dir);
    std::fs::write(dir.join("chain.key"), hex::encode(KEY) + "\n").expect("own");
}

#[test]
fn labels_are_listed_with_the_verdicts_of_their_decisions() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path());
    let path = dir.path().display().to_string();
    let list =
        |more: &[&str]| found(&[&["label", "list", "--log", &path, "--json"], more].concat());
    let (status, all) = list(&[]);
    assert_eq!((status, &all["damaged"]), (Some(0), &false.into()), "{all:#}");
    let labels = all["labels"].as_array().expect("labels");
    assert_eq!(labels.len(), 9);
    let first = &labels[0];
    assert_eq!(first["label"], "false_positive");
    assert_eq!((&first["verdict"], &first["is_fraud"]), (&"deny".into(), &false.into()));
    assert_eq!((&first["decision_shard"], &first["decision_lsn"]), (&1.into(), &3.into()));
    assert_eq!((&first["source"], &first["transaction_id"]), (&"desk".into(), &"T00000003".into()));
    assert_eq!(first["known_at"], "2026-12-03T12:00:00Z");
    assert!(first["payer"].as_str().is_some_and(|payer| payer.starts_with("***.")), "{first}");
    assert_eq!(labels[2]["verdict"], "approve");
    for lost in [&labels[6], &labels[8]] {
        assert_eq!((&lost["verdict"], &lost["decided_at"]), (&Value::Null, &Value::Null));
    }
    let (_, chargebacks) = list(&["--kind", "chargeback"]);
    assert_eq!(chargebacks["labels"].as_array().map(Vec::len), Some(5));
    let (_, one) = list(&["--id", text_of(&id(7))]);
    assert_eq!(one["labels"].as_array().map(Vec::len), Some(2));
    let (_, times) = list(&["--from", "2026-12-13", "--to", "2027-01-12T12:00:00Z"]);
    assert_eq!(times["labels"].as_array().map(Vec::len), Some(3), "20, 30 and 40 days");
    let (status, none) = list(&["--kind", "med-accepted", "--id", "other"]);
    assert_eq!((status, &none["labels"]), (Some(0), &json!([])));
    let text = String::from_utf8(run(&["label", "list", "--log", &path]).stdout).expect("text");
    assert!(text.contains("false_positive") && text.contains("not in this log"), "{text}");
    assert!(!text.contains(decision(3).transaction.payer.escape_ascii().to_string().as_str()));
    assert_eq!(run(&["label", "list", "--log", &path, "--kind", "fraud"]).status.code(), Some(2));
    let back = ["label", "list", "--log", &path, "--from", "2027-01-01", "--to", "2026-01-01"];
    assert_eq!(run(&back).status.code(), Some(2));
    assert_eq!(run(&["label", "list", "--log", "/nowhere"]).status.code(), Some(11));
}

#[test]
fn a_damaged_log_lists_what_comes_before_the_damage() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path());
    let segment = dir.path().join("log/shard-0000/00000000.seg");
    let mut bytes = std::fs::read(&segment).expect("there");
    // The fifth block's records.
    bytes[4096 * 5 + 300] ^= 1;
    std::fs::write(&segment, bytes).expect("own");
    let path = dir.path().display().to_string();
    let (status, listed) = found(&["label", "list", "--log", &path, "--json"]);
    assert_eq!((status, &listed["damaged"]), (Some(3), &true.into()));
    assert_eq!(listed["labels"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_decision_is_shown_with_its_labels_and_exported_with_them() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path());
    let path = dir.path().display().to_string();
    let show = ["log", "show", &path, "--transaction", "T00000007"];
    let text = String::from_utf8(run(&show).stdout).expect("text");
    let lines: Vec<_> = text.lines().filter(|line| line.contains("says med")).collect();
    assert!(lines[0].trim().starts_with("label") && lines[0].contains("med_accepted"), "{text}");
    assert!(lines[1].trim().starts_with("earlier") && lines[1].contains("med_rejected"), "{text}");
    for more in [&["--json"][..], &["--json", "--scan"]] {
        let (status, shown) = found(&[&show[..], more].concat());
        assert_eq!((status, &shown["matches"]), (Some(0), &1.into()), "{shown:#}");
        assert_eq!(shown["labels"][0]["label"], "med_accepted");
        assert_eq!(shown["labels"][1]["label"], "med_rejected");
    }
    let exported = run(&["log", "export", &path, "--format", "ndjson"]).stdout;
    let first = exported.split(|&byte| byte == b'\n').next().expect("a line");
    let first: Value = serde_json::from_slice(first).expect("JSON");
    assert_eq!((&first["kind"], &first["label"]), (&"label".into(), &"false_positive".into()));
    assert_eq!((&first["labelled_shard"], &first["labelled_lsn"]), (&1.into(), &3.into()));
    assert_eq!((&first["verdict"], &first["label_source"]), (&"".into(), &"desk".into()));
    let verified = run(&["log", "verify", &path]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_replay_holds_verdicts_to_mature_labels_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path());
    let path = dir.path().display().to_string();
    let policy = dir.path().join("all.toml");
    std::fs::write(&policy, "[[rule]]\nid = \"all\"\nwhen = \"true\"\nverdict = \"review\"\n")
        .expect("own");
    let policy = policy.display().to_string();
    let replay = |more: &[&str]| {
        found(&[&["log", "replay", &path, "--json", "--policy", &policy], more].concat()).1
    };
    // As of the newest label, known after 200 days, all decisions are mature.
    let labels = replay(&[])["labels"].clone();
    assert_eq!((&labels["labels"], &labels["counted"]), (&9.into(), &6.into()), "{labels:#}");
    assert_eq!(labels["mature_after_days"], 90);
    assert_eq!(labels["skipped"]["superseded"], 1);
    assert_eq!(labels["skipped"]["decision_not_in_log"], 2);
    let denied = &labels["recorded"]["denied"];
    // True: 100. False: 3. Missed: 5, 7, 8. Passed and good: 6. Blocked, and nobody knows: 200, 300.
    assert_eq!(
        denied,
        &json!({
            "true_positives": 1, "false_positives": 1, "false_negatives": 3, "true_negatives": 1,
            "unknown_taken": 2, "unknown_passed": 292, "precision_permille": 500, "recall_permille": 250,
        })
    );
    assert_eq!(&labels["recorded"]["reviewed_or_denied"], denied, "nothing was reviewed");
    let candidate = &labels["candidate"];
    assert_eq!(
        candidate["reviewed_or_denied"],
        json!({
            "true_positives": 4, "false_positives": 2, "false_negatives": 0, "true_negatives": 0,
            "unknown_taken": 294, "unknown_passed": 0, "precision_permille": 666, "recall_permille": 1000,
        })
    );
    assert_eq!(&candidate["denied"], denied, "the lists deny the same");
    // 89 days after the decisions none is mature; the label of day 200 is not known.
    let early = replay(&["--labels-as-of", "2027-02-20T00:00:00Z"])["labels"].clone();
    assert_eq!((&early["counted"], &early["skipped"]["not_mature"]), (&0.into(), &5.into()));
    assert_eq!(early["skipped"]["known_later"], 1);
    assert_eq!(early["recorded"]["denied"]["unknown_taken"], 0, "what is young is not counted");
    // A day later they are, and what is known later is as if it were not.
    let mature = replay(&["--labels-as-of", "2027-02-22"])["labels"].clone();
    assert_eq!(
        (&mature["counted"], &mature["recorded"]["denied"]["false_negatives"]),
        (&5.into(), &2.into())
    );
    let outside = replay(&["--to", "2026-11-23T12:00:00.050Z"])["labels"].clone();
    assert_eq!(outside["skipped"]["outside_times"], 1, "{outside:#}");
    assert_eq!(outside["recorded"]["denied"]["unknown_taken"], 0);
    let sum = |labels: &Value| {
        let skipped = labels["skipped"].as_object().expect("reasons");
        let skipped: u64 = skipped.values().filter_map(Value::as_u64).sum();
        labels["counted"].as_u64().expect("a number") + skipped
    };
    for labels in [&labels, &early, &mature, &outside] {
        assert_eq!(sum(labels), 9, "each label counts or has its reason: {labels:#}");
    }
    let text = run(&["log", "replay", &path]).stdout;
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("recorded: denied") && !text.contains("candidate"), "{text}");
    assert!(
        text.contains("6 of 9 labels count; skipped: 1 superseded, 2 decision not in log"),
        "{text}"
    );
}
