//! `catraca subject report`, on files.

use catraca_testkit::log::{CLUSTER, KEY, NOON_NS, TestLog, decision, id};
use catraca_wire::DocumentKey;
use catraca_wire::block::BlockIdentity;
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::{LabelKind, Scope, text_of};
use catraca_wire::record::{OverlayChange, OverlayOp};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Whom all decisions of the test logs pay.
const PAYEE: &str = "12.ABC.345/01DE-35";

fn report(dir: &Path, document: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.args(["subject", "report"]).arg(dir).args(["--document", document]).args(args);
    command.output().expect("the binary runs")
}

fn object(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// Who pays the payment with this number.
fn payer(number: u64) -> String {
    text_of(&decision(number).transaction.payer).to_owned()
}

fn stream(shard: u16) -> TestLog {
    TestLog::of(64 * 1024, BlockIdentity { shard, epoch: 1, cluster_id: CLUSTER })
}

/// Decisions of whom everybody pays once in stream 1; in stream 0 a label of the fifth, and the listing of its payer.
fn written(dir: &Path) -> TestLog {
    let (mut changes, mut decisions) = (stream(0), stream(1));
    for _ in 0..10 {
        decisions.plain(30);
    }
    let label = Label {
        kind: LabelKind::Chargeback,
        known_at_ns: NOON_NS,
        source: LabelSource::parse("desk").expect("sound"),
        shard: 1,
        lsn: 5,
    };
    let nobody = [0; 14];
    changes.records(&[(label.to_record(&id(5), &nobody, NOON_NS), label.to_section().to_vec())]);
    let listed = OverlayChange {
        document: DocumentKey::parse(&payer(5)).expect("valid"),
        scope: Scope::Exact,
        op: OverlayOp::List,
        sequence: 1,
    };
    changes.records(&[(listed.to_record(NOON_NS), Vec::new())]);
    for log in [&mut changes, &mut decisions] {
        log.prepare();
        log.write(dir);
    }
    fs::write(dir.join("chain.key"), hex::encode(KEY) + "\n").expect("own");
    decisions
}

#[test]
fn all_that_is_held_is_told_and_the_others_stay_masked() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    written(dir.path());
    let file = dir.path().join("records.ndjson");
    let to_file = ["--json", "--records", file.to_str().expect("UTF-8")];
    let output = report(dir.path(), &payer(5), &to_file);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = object(&output);
    let counts: Vec<(Value, Value)> = told["records"]
        .as_array()
        .expect("roles")
        .iter()
        .map(|role| (role["what"].clone(), role["records"].clone()))
        .collect();
    let one = |what: &str| (json!(what), json!(1));
    assert_eq!(counts, [one("payer"), one("listed"), one("labelled")], "{told:#}");
    assert_eq!(told["records"][0]["amount_centavos"], "1234505");
    assert_eq!(told["records"][0]["verdicts"], json!({"approve": 1}));
    assert_eq!((&told["lists"], &told["not_read"]), (&json!([]), &json!([])));
    let records = fs::read_to_string(&file).expect("written");
    let lines: Vec<Value> =
        records.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let roles: Vec<&Value> = lines.iter().map(|line| &line["role"]).collect();
    assert_eq!(roles, ["listed", "payer", "labelled"], "{records}");
    assert_eq!(
        (&lines[1]["ip"], &lines[2]["label"]),
        (&json!("203.0.113.9"), &json!("chargeback"))
    );
    let other = DocumentKey::parse(PAYEE).expect("valid").to_canonical();
    assert!(!records.contains(&other) && !records.contains(&payer(5)), "{records}");

    // Whom others pay is told nothing of where they are.
    let output = report(dir.path(), PAYEE, &to_file);
    assert_eq!(object(&output)["records"][0]["records"], 300);
    let records = fs::read_to_string(&file).expect("written");
    assert!(!records.contains("203.0.113.9"));
    assert_eq!(records.lines().count(), 301, "with the label of one of them");
    let text = report(dir.path(), PAYEE, &[]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("decisions as payee") && text.contains("4 deny"), "{text}");
}

#[test]
fn nothing_is_held_of_a_stranger_and_a_document_may_come_over_standard_input() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    written(dir.path());
    let stranger = DocumentKey::from_cpf_number(987_654_321).expect("no repeated digit");
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.args(["subject", "report"]).arg(dir.path()).args(["--document", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(format!("{}\n", stranger.to_canonical()).as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.contains("No record") && text.contains("No list"), "{text}");

    let output = report(dir.path(), "12345678900", &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("12345678900"), "{said}");
    assert_eq!(report(Path::new("/does/not/exist"), PAYEE, &[]).status.code(), Some(11));
}

#[test]
fn what_is_in_quarantine_is_held_too_and_what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let decisions = written(dir.path());
    let folder = dir.path().join("quarantine");
    fs::create_dir(&folder).expect("own");
    let block = decisions.last();
    fs::write(folder.join("shard-0001-lsn-271-300-epoch-1.blocks"), decisions.bytes_of(&block))
        .expect("own");
    let told = object(&report(dir.path(), &payer(290), &["--json"]));
    assert_eq!(told["records"][0]["records"], 2, "in the log and in quarantine: {told:#}");
    assert_eq!(told["not_read"], json!([]));

    fs::remove_file(dir.path().join("chain.key")).expect("own");
    let output = report(dir.path(), &payer(290), &["--json"]);
    let told = object(&output);
    assert_eq!((output.status.code(), &told["records"][0]["records"]), (Some(3), &json!(1)));
    let not_read = told["not_read"][0].as_str().expect("a file");
    assert!(not_read.contains("without the chain's key"), "{not_read}");
}
