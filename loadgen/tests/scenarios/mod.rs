//! Runs with scenarios: every answer is held to the truth of its payment.

use crate::fake::{FakeNode, Mode};
use catraca_loadgen::options::Core;
use catraca_loadgen::scenario::{
    Label, Scenario, ScenarioOptions, ScenarioReport, Scenarios, Traffic, TrafficPlan, write,
};
use catraca_loadgen::{Monitor, Options, Report, run, table};
use std::collections::HashSet;

const COUNT: u64 = 2_000;
const END: &str = "2025-06-15T12:00:00-03:00";

fn plan() -> TrafficPlan {
    let end: jiff::Timestamp = END.parse().expect("a time");
    let end_ns = u64::try_from(end.as_nanosecond()).expect("after 1970");
    TrafficPlan { seed: 1, payments: COUNT, days: 1, end_ns, scenarios: Scenarios::ALL }
}

fn count(is: impl Fn(Label) -> bool) -> u64 {
    Traffic::new(&plan()).filter(|payment| is(payment.label)).count() as u64
}

/// A node that denies who gets money of tested accounts: strangers, whom nobody else pays.
fn node(mode: Mode) -> FakeNode {
    let paid = |of_tests: bool| {
        Traffic::new(&plan())
            .filter(move |p| (p.label.scenario == Scenario::AccountTesting) == of_tests)
            .flat_map(move |p| {
                [Some(p.payee.document), (!of_tests).then_some(p.payer.document)].into_iter()
            })
            .flatten()
            .collect::<HashSet<_>>()
    };
    assert!(paid(true).is_disjoint(&paid(false)));
    FakeNode::start(&paid(true).into_iter().collect::<Vec<_>>(), 64, mode)
}

fn options(node: &FakeNode) -> Options {
    Options {
        addr: node.addr.clone(),
        transactions: Some(COUNT),
        core: Core::None,
        scenario: ScenarioOptions {
            chosen: Some(Scenarios::ALL),
            scenario_end: Some(END.parse().expect("a time")),
            ..ScenarioOptions::default()
        },
        ..Options::default()
    }
}

fn go(node: &FakeNode, in_flight: u32) -> (Report, ScenarioReport) {
    let options = Options { in_flight: Some(in_flight), ..options(node) };
    let report = run(&options, &Monitor::new()).expect("the run begins");
    assert_eq!(report.failure, None);
    assert_eq!((report.sent, report.answered), (COUNT, COUNT));
    let scenarios = report.scenarios.clone().expect("asked for");
    (report, scenarios)
}

#[test]
fn every_answer_is_matched_with_the_truth() {
    let tests = count(|label| label.scenario == Scenario::AccountTesting);
    let frauds = count(Label::is_fraud);
    for in_flight in [1, 64] {
        let node = node(Mode::Sound);
        let (report, scenarios) = go(&node, in_flight);
        assert_eq!(report.violations.total(), 0, "{:?}", report.violation_examples);
        assert_eq!(node.decided(), COUNT as usize, "every id is another one");
        assert_eq!(scenarios.end, "2025-06-15T15:00:00Z");
        assert_eq!(scenarios.start, "2025-06-14T15:10:00Z");
        assert_eq!(scenarios.rows.len(), Scenario::ALL.len());
        for (row, scenario) in scenarios.rows.iter().zip(Scenario::ALL) {
            assert_eq!((row.scenario, row.is_fraud), (scenario.name(), scenario.is_fraud()));
            assert_eq!(row.payments, count(|label| label.scenario == scenario));
            let denied = if scenario == Scenario::AccountTesting { row.payments } else { 0 };
            assert_eq!((row.denied, row.reviewed, row.no_verdict), (denied, 0, 0), "{row:?}");
            assert_eq!(row.approved, row.payments - denied);
        }
        let found = scenarios.denied;
        assert_eq!((found.true_positives, found.false_positives), (tests, 0));
        assert_eq!((found.false_negatives, found.true_negatives), (frauds - tests, COUNT - frauds));
        assert_eq!(found.precision_permille, Some(1_000));
        assert_eq!(found.recall_permille, Some(tests * 1_000 / frauds));
        assert_eq!(scenarios.flagged, found, "nothing was reviewed");
    }
}

#[test]
fn payments_arrive_in_the_order_in_which_they_happened() {
    let node = node(Mode::Sound);
    go(&node, 64);
    let arrived = node.transactions();
    assert_eq!(arrived.len(), COUNT as usize);
    for (frame, payment) in arrived.iter().zip(Traffic::new(&plan())) {
        let mut expected = *frame;
        write(&mut expected, &payment, frame.header.correlation.to_native());
        assert_eq!(bytemuck::bytes_of(frame), bytemuck::bytes_of(&expected));
        assert_eq!((frame.transaction.rail, frame.transaction.id), (1, payment.id));
    }
}

#[test]
fn the_scenarios_are_in_every_form_of_the_report() {
    let (report, scenarios) = go(&node(Mode::Sound), 64);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
    let rows = json["scenarios"]["rows"].as_array().expect("rows");
    assert_eq!((rows.len(), &rows[2]["scenario"]), (7, &"night-drain".into()));
    assert_eq!(rows[6]["denied"], scenarios.rows[6].denied);
    assert_eq!(json["scenarios"]["denied"]["precision_permille"], 1_000);
    let text = table::render(&report);
    for part in ["account-testing", "no verdict", "reviewed or denied", "1000 ‰", "false alarms"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let approved = go(&node(Mode::ApprovesAll), 64).0;
    let json: serde_json::Value = serde_json::from_str(&approved.to_json()).expect("JSON");
    assert!(json["scenarios"]["flagged"]["precision_permille"].is_null());
    assert_eq!(json["scenarios"]["flagged"]["recall_permille"], 0);
}

#[test]
fn an_error_is_no_verdict() {
    let (report, scenarios) = go(&node(Mode::Overloaded), 1);
    let no_verdict: u64 = scenarios.rows.iter().map(|row| row.no_verdict).sum();
    assert_eq!(no_verdict, report.errors["OVERLOADED"]);
    let found = scenarios.flagged;
    let judged =
        found.true_positives + found.false_positives + found.false_negatives + found.true_negatives;
    assert_eq!(judged, COUNT - no_verdict);
}

#[test]
fn the_same_payments_again_are_duplicates_and_named_by_scenario() {
    let node = node(Mode::Sound);
    go(&node, 64);
    let (again, _) = go(&node, 64);
    assert_eq!(again.violations.wrong_duplicate_flag, COUNT);
    assert!(again.violation_examples[0].contains("(of "), "{:?}", again.violation_examples);
    let mut other = options(&node);
    other.seed = 2;
    let other = run(&other, &Monitor::new()).expect("the run begins");
    assert_eq!(other.violations.total(), 0, "another seed is other payments");
}

#[test]
fn the_program_writes_the_truth_and_refuses_what_does_not_go_together() {
    let node = node(Mode::Sound);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let truth = folder.path().join("truth.csv");
    let program = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_catraca-loadgen"))
            .args(["--addr", &node.addr, "--core", "none", "--scenario"])
            .args(arguments)
            .output()
            .expect("the program starts")
    };
    let names = "shops, structuring";
    let done =
        program(&[names, "--transactions", "1000", "--truth", truth.to_str().expect("text")]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("fraud missed"), "{done:?}");
    let written = std::fs::read_to_string(&truth).expect("written");
    assert_eq!(written.lines().count(), 1_001);
    assert!(written.lines().skip(1).all(|line| {
        line.ends_with(",shops,false,false") || line.contains(",structuring,true,")
    }));
    for (arguments, said) in [
        (&["all"][..], "needs --transactions"),
        (&["all", "--transactions", "1000", "--rate", "5"], "--rate"),
        (&["all", "--transactions", "1000", "--verify"], "--verify"),
        (&["all", "--transactions", "1000", "--scenario-end", "2999-01-01T00:00:00Z"], "not later"),
        (&["all", "--transactions", "1000", "--scenario-end", "yesterday"], "--scenario-end"),
        (&["everything", "--transactions", "1000"], "`everything` is no scenario"),
    ] {
        let refused = program(arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains(said), "{said}: {error}");
    }
    let nowhere = program(&["all", "--transactions", "1000", "--truth", "/nowhere/truth.csv"]);
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("--truth"), "{nowhere:?}");
}
