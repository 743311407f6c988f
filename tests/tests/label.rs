//! Labels on a running node: taken once, refused, imported; over a restart and a promotion; listed, shown and
//! held against a replay.

use catraca_tests::command;
use catraca_tests::logs::assert_verified;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_tests::payments::{between, document};
use catraca_tests::raw::Raw;
use catraca_wire::client::{ClientError, now_ns};
use catraca_wire::extension::LabelSource;
use catraca_wire::frame::{
    ClusterRequest, ErrorCode, LabelKind, LabelRequest, LookupFrame, Verdict, transaction_id,
};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// Decides on a payment between these parties.
fn decide(node: &Node, id: &str, payer: u64) {
    let payment = between(id, document(payer), document(2), now_ns());
    assert_eq!(node.client().decide(&payment).expect("decided").verdict, Verdict::Approve);
}

/// Labels as known now.
fn add(node: &Node, id: &str, more: &[&str]) -> Output {
    let (address, now) = (node.listen.to_string(), utc_now());
    let args = ["label", "add", id, "--known-at", &now, "--addr", &address, "--json"];
    command::run([&args[..], more].concat())
}

fn utc_now() -> String {
    jiff::Timestamp::now().to_string()
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn list(data_dir: &Path, more: &[&str]) -> Vec<Value> {
    let data_dir = data_dir.display().to_string();
    let args = ["label", "list", "--log", &data_dir, "--json"];
    let listed = command::json([&args[..], more].concat());
    listed["labels"].as_array().expect("labels").clone()
}

#[test]
fn a_look_up_shows_the_labels_of_the_decision_that_it_finds_and_no_others() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("data")).shards(2).start();
    for (id, payer) in [("order-1", 1), ("order-2", 1), ("order-3", 3)] {
        decide(&node, id, payer);
    }
    // The same id of another payer, labelled too.
    decide(&node, "order-1", 2);
    let payers = [1, 2].map(|payer| document(payer).to_canonical());
    let add = |id: &str, payer: &str, known_at: &str, kind: &str, source: &str| {
        let address = node.listen.to_string();
        let args = ["label", "add", id, "--payer", payer, "--kind", kind, "--source", source];
        let more = ["--known-at", known_at, "--addr", &address, "--json"];
        told(&command::run([&args[..], &more].concat()));
    };
    let (now, before) = (utc_now(), (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)));
    add("order-1", &payers[0], &now, "chargeback", "visa");
    add("order-1", &payers[0], &before.to_string(), "confirmed-good", "desk");
    add("order-1", &payers[1], &now, "med-rejected", "med");
    let address = node.listen.to_string();
    let lookup = |id: &str, more: &[&str]| {
        let output = command::run([&["lookup", id, "--addr", &address], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let found = lookup("order-1", &["--payer", &payers[0], "--json"]);
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let labels = found["labels"].as_array().expect("labels");
    let said: Vec<_> = labels.iter().map(|label| (&label["label"], &label["source"])).collect();
    assert_eq!(
        said,
        [(&json!("chargeback"), &json!("visa")), (&json!("confirmed_good"), &json!("desk"))],
        "in the order of the log"
    );
    for label in labels {
        assert_eq!(label["decision_lsn"], found["lsn"]);
        assert_eq!(label["decision_shard"], found["shard"]);
        assert_eq!(
            (&label["transaction_id"], &label["payer"]),
            (&json!("order-1"), &found["payer"])
        );
        assert!(label["lsn"].as_u64() > Some(0) && label["logged_at_ns"].as_u64() > Some(0));
    }
    let masked = lookup("order-1", &["--payer", &payers[0], "--json", "--mask"]);
    assert!(!masked.contains(&payers[0]), "{masked}");
    // The one that counts comes first.
    let text = lookup("order-1", &["--payer", &payers[0]]);
    let (_, shown) = text.split_once("  label          ").expect("labelled");
    let (counts, earlier) = shown.split_once("\n  earlier        ").expect("two");
    assert!(counts.starts_with("chargeback, says visa, known "), "{text}");
    assert!(earlier.starts_with("confirmed_good, says desk, known "), "{text}");
    // Without a payer it is the newest decision.
    let text = lookup("order-1", &[]);
    assert!(text.contains("med_rejected, says med") && !text.contains("visa"), "{text}");
    assert!(!lookup("order-2", &[]).contains("label"), "it has none");
    let none: Value = serde_json::from_str(&lookup("order-3", &["--json"])).expect("JSON");
    assert_eq!(none["labels"], json!([]));
    let missing = command::run(["lookup", "order-4", "--addr", &address]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    let mut raw = Raw::open(node.listen);
    let mut frame = LookupFrame::empty(7);
    (frame.id, frame.labels) = (transaction_id("order-1").expect("an id"), 2);
    raw.send(&frame).expect("taken");
    let reply = raw.receive().expect("a reply").expect("a reply, not the end");
    assert_eq!(reply.error(), Some((ErrorCode::BadField, false)));
    // Who does not ask is told the decision alone.
    let plain = node.client().lookup("order-1", None).expect("found");
    let (with, labels) = node.client().lookup_with_labels("order-1", None).expect("found");
    assert_eq!((plain.record, labels.len()), (with.record, 1));
    node.stop();
}

#[test]
fn a_label_is_taken_once_and_alters_nothing() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let setup = Setup::new(&data_dir).shards(2);
    let node = setup.start();
    (1..40).for_each(|number| decide(&node, &format!("order-{number}"), 1 + number));
    let before = node.client().lookup("order-7", None).expect("found");
    let fraud = ["--kind", "med-accepted", "--source", "med"];
    let state = told(&add(&node, "order-7", &fraud));
    assert_eq!((&state["changed"], &state["verdict"]), (&true.into(), &"approve".into()));
    assert_eq!((&state["labels"], &state["counts"]), (&1.into(), &"med_accepted".into()));
    assert_eq!(state["decision_lsn"], before.record.lsn);
    assert_eq!(state["decision_shard"], before.place.shard);
    let again = told(&add(&node, "order-7", &fraud));
    assert_eq!((&again["changed"], &again["labels"]), (&false.into(), &1.into()));
    node.kill();
    let node = setup.start();
    let again = told(&add(&node, "order-7", &fraud));
    assert_eq!((&again["changed"], &again["labels"]), (&false.into(), &1.into()), "{again:#}");
    let other = told(&add(&node, "order-7", &["--kind", "confirmed-good", "--source", "desk"]));
    assert_eq!((&other["changed"], &other["counts"]), (&true.into(), &"confirmed_good".into()));
    // Known before: it stays, and does not count.
    let mut client = node.client();
    let source = LabelSource::parse("visa").expect("sound");
    let label = |id: &str, known_at_ns| {
        LabelRequest::new(id, None, LabelKind::Chargeback, known_at_ns, &source).expect("sound")
    };
    let state = client.label(&label("order-7", now_ns() - DAY_NS)).expect("taken");
    assert_eq!((state.changed, state.labels, state.counts), (1, 3, 5));
    let after = node.client().lookup("order-7", None).expect("found");
    assert!(after == before, "the decision is what it was");
    let same = between("order-8", document(9), document(2), now_ns());
    let same = node.client().decide(&same).expect_err("another time, so other content");
    assert!(matches!(same, ClientError::Refused(error) if error.code == ErrorCode::IdReused));
    let code = |id: &str, at| match client.label(&label(id, at)).expect_err("refused") {
        ClientError::Refused(error) => error.code,
        other => panic!("{other}"),
    };
    let mut code = code;
    assert_eq!(code("order-41", now_ns()), ErrorCode::NotFound);
    assert_eq!(code("order-9", now_ns() + 3 * DAY_NS), ErrorCode::BadField);
    assert_eq!(code("order-9", now_ns() - 3 * DAY_NS), ErrorCode::BadField);
    let log = node.stop();
    assert!(log.contains("decision labelled"), "{log}");
    assert_verified(&data_dir, true);
    let listed = list(&data_dir, &[]);
    let kinds: Vec<_> = listed.iter().map(|label| label["label"].as_str()).collect();
    let wanted = ["med_accepted", "confirmed_good", "chargeback"].map(Some);
    assert_eq!(kinds, wanted);
    assert!(listed.iter().all(|label| label["verdict"] == "approve"), "{listed:#?}");
    assert_eq!(list(&data_dir, &["--kind", "chargeback"]).len(), 1);
}

#[test]
fn of_several_payers_with_one_id_the_payer_is_asked() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("data")).shards(2).start();
    (1..6).for_each(|payer| decide(&node, "order-1", payer));
    let good = ["--kind", "confirmed_good", "--source", "desk"];
    let why = refused(&add(&node, "order-1", &good));
    assert!(why.contains("several payers"), "{why}");
    let payer = document(3).to_canonical();
    let state = told(&add(&node, "order-1", &[&good[..], &["--payer", &payer]].concat()));
    assert_eq!(state["changed"], true);
    let payer = document(7).to_canonical();
    let why = refused(&add(&node, "order-1", &[&good[..], &["--payer", &payer]].concat()));
    assert!(why.contains("NOT_FOUND") && !why.contains(&payer), "{why}");
    node.stop();
    let listed = list(&dir.path().join("data"), &["--unmask"]);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["payer"], document(3).to_canonical());
}

#[test]
fn an_import_tells_each_line_that_is_refused_and_can_be_repeated() {
    let dir = folder();
    let data_dir = dir.path().join("data");
    let node = Setup::new(&data_dir).start();
    (1..30).for_each(|number| decide(&node, &format!("order-{number}"), number));
    let now = utc_now();
    let mut csv = "id,payer,kind,known_at,source\n".to_owned();
    for number in 1..20 {
        let payer = document(number).to_canonical();
        csv += &format!("order-{number},{payer},chargeback,{now},visa\n");
    }
    let payer = document(1).to_canonical();
    csv += &format!("order-99,,chargeback,{now},visa\norder-21,{payer},chargeback,{now},visa\n");
    csv += &format!("order-22,,stolen,{now},visa\n\norder-23,,med_rejected,{now},med\n");
    let file = dir.path().join("labels.csv");
    std::fs::write(&file, csv).expect("written");
    let (file, address) = (file.display().to_string(), node.listen.to_string());
    let import = ["label", "import", &file, "--addr", &address, "--json"];
    let output = command::run(import);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["added"], &report["refused"]), (&20.into(), &3.into()), "{report:#}");
    let lines: Vec<_> = [0, 1, 2].map(|at| report["first_refused"][at]["line"].clone()).into();
    assert_eq!(lines, [21, 22, 23]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("line 21: refused: NOT_FOUND") && said.contains("line 23"), "{said}");
    assert!(!said.contains(&payer), "a document: {said}");
    let output = command::run(import);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &report["added"]), (Some(3), &0.into()));
    assert_eq!(report["unchanged"], 20);
    // The same fault hundreds of times is told some times, and counted.
    let wrong = format!("order-1,,stolen,{now},visa\n").repeat(321);
    std::fs::write(&file, format!("id,payer,kind,known_at,source\n{wrong}")).expect("written");
    let said = String::from_utf8(command::run(import).stderr).expect("text");
    assert_eq!(said.matches(": refused: ").count(), 20, "{said}");
    assert!(said.contains("line 21: ") && said.contains("301 more lines were refused"), "{said}");
    std::fs::write(&file, "id,kind\n").expect("written");
    assert_eq!(command::run(import).status.code(), Some(2), "no such columns");
    node.stop();
    assert_eq!(list(&data_dir, &[]).len(), 20);
    assert_verified(&data_dir, true);
    // What became known is known to a replay, once the decisions are old enough.
    let path = data_dir.display().to_string();
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 91);
    let later = later.to_string();
    let replay = ["log", "replay", &path, "--json", "--labels-as-of", &later];
    let labels = command::json(replay)["labels"].clone();
    assert_eq!((&labels["counted"], &labels["labels"]), (&20.into(), &20.into()), "{labels:#}");
    let denied = &labels["recorded"]["denied"];
    assert_eq!((&denied["false_negatives"], &denied["true_negatives"]), (&19.into(), &1.into()));
    assert_eq!(denied["unknown_passed"], 9);
    let labels = command::json(["log", "replay", &path, "--json"])["labels"].clone();
    assert_eq!(labels["skipped"]["not_mature"], 20, "{labels:#}");
}

#[test]
fn a_standby_has_the_labels_and_takes_new_ones_once_it_is_promoted() {
    let pair = Pair::new(2);
    let [primary, standby] = pair.start_both();
    await_in_sync(&primary, &standby);
    (1..9).for_each(|number| decide(&primary, &format!("order-{number}"), number));
    let fraud = ["--kind", "chargeback", "--source", "visa"];
    assert_eq!(told(&add(&primary, "order-3", &fraud))["changed"], true);
    let why = refused(&add(&standby, "order-4", &fraud));
    assert!(why.contains("NOT_PRIMARY"), "{why}");
    primary.kill();
    ask(&standby, &ClusterRequest::promote(false)).expect("promoted");
    let again = told(&add(&standby, "order-3", &fraud));
    assert_eq!(again["changed"], false, "it is there: {again:#}");
    assert_eq!(told(&add(&standby, "order-4", &fraud))["changed"], true);
    decide(&standby, "order-10", 10);
    standby.stop();
    assert_verified(&pair.data_dir(1), true);
    let listed = list(&pair.data_dir(1), &[]);
    let ids: Vec<_> = listed.iter().map(|label| label["transaction_id"].clone()).collect();
    assert_eq!(json!(ids), json!(["order-3", "order-4"]));
}
