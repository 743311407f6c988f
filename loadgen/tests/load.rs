//! Runs against a fake node that behaves, and against each way in which one does not.

mod failover;
mod fake;
mod scenarios;

use catraca_loadgen::options::{Arrivals, Core, Wait};
use catraca_loadgen::{LoadError, Monitor, Options, Report, hgrm, plot, run, table};
use catraca_wire::DocumentKey;
use fake::{FakeNode, Mode};
use std::path::PathBuf;

const LISTED: [&str; 3] = ["04933228680", "12ABC34501DE35", "00000000000191"];

struct Setting {
    node: FakeNode,
    folder: tempfile::TempDir,
}

impl Setting {
    fn new(in_flight: u32, mode: Mode) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows: String =
            LISTED.iter().map(|document| format!("{document},exact,test,,\n")).collect();
        std::fs::write(
            folder.path().join("list.csv"),
            format!("document,scope,reason,valid_from,valid_until\n{rows}"),
        )
        .expect("writable");
        let listed = LISTED.map(|document| DocumentKey::parse(document).expect("valid").to_wire());
        Self { node: FakeNode::start(&listed, in_flight, mode), folder }
    }

    fn list(&self) -> PathBuf {
        self.folder.path().join("list.csv")
    }

    /// 2,000 verified transactions, a quarter of them listed, 2 connections × 8.
    fn options(&self) -> Options {
        Options {
            addr: self.node.addr.clone(),
            connections: 2,
            in_flight: Some(8),
            transactions: Some(2_000),
            listed_share: 0.25,
            list: Some(self.list()),
            documents: 500,
            verify: true,
            core: Core::None,
            wait: Wait::Epoll,
            // Longer than a busy machine leaves the fake node alone.
            stall_seconds: 10.0,
            ..Options::default()
        }
    }

    fn run(&self, change: impl FnOnce(&mut Options)) -> Report {
        let mut options = self.options();
        change(&mut options);
        run(&options, &Monitor::new()).expect("the run begins")
    }

    fn refused(&self, change: impl FnOnce(&mut Options)) -> LoadError {
        let mut options = self.options();
        change(&mut options);
        run(&options, &Monitor::new()).expect_err("the run must not begin")
    }
}

fn assert_sound(report: &Report) {
    assert_eq!(report.failure, None);
    assert_eq!(report.violations.total(), 0, "{:?}", report.violation_examples);
    assert_eq!((report.answered, report.unanswered, report.unsent), (report.sent, 0, 0));
}

#[test]
fn a_closed_loop_sends_what_it_was_asked_to() {
    for (wait, connections) in [(Wait::Epoll, 2), (Wait::Spin, 2), (Wait::Spin, 12)] {
        let setting = Setting::new(64, Mode::Sound);
        let report =
            setting.run(|options| (options.wait, options.connections) = (wait, connections));
        assert_sound(&report);
        assert_eq!(report.sent, 2_000);
        assert_eq!(setting.node.decided(), 2_000, "every id is another one");
        let denied = report.verdicts["deny"];
        assert!((400..600).contains(&denied), "{denied}");
        assert_eq!(report.verdicts["approve"] + denied, 2_000);
        assert_eq!(report.latency.len(), 2_000);
        let p = &report.latency_us;
        assert!(
            0.0 < p.p50 && p.p50 <= p.p99 && p.p99 <= p.p99_99 && p.p99_99 <= p.max * 1.001,
            "{p:?}"
        );
    }
}

#[test]
fn a_time_is_measured_without_its_warm_up() {
    let setting = Setting::new(64, Mode::Sound);
    let report = setting.run(|options| {
        options.transactions = None;
        options.seconds = Some(0.2);
        options.warmup = Some(0.1);
    });
    assert_sound(&report);
    assert!(report.seconds >= 0.2, "{}", report.seconds);
    assert!(
        report.sent > 0 && report.sent < setting.node.submissions(),
        "the warm-up is not counted"
    );
}

#[test]
fn an_open_loop_sends_every_planned_transaction() {
    for arrivals in [Arrivals::Fixed, Arrivals::Poisson] {
        let setting = Setting::new(64, Mode::Sound);
        let report = setting.run(|options| {
            options.in_flight = None;
            options.rate = Some(5_000.0);
            options.arrivals = arrivals;
            options.transactions = None;
            options.seconds = Some(0.3);
            options.warmup = Some(0.05);
        });
        assert_eq!((report.failure.as_deref(), report.violations.total()), (None, 0));
        // Whatever could not be sent in time on a busy machine is reported, and nothing is lost
        // between the two.
        assert!(
            (1_250..1_750).contains(&(report.sent + report.unsent)),
            "{} + {}",
            report.sent,
            report.unsent
        );
        assert_eq!(report.intended, Some(report.sent + report.unsent));
        assert_eq!(report.sent, report.answered);
        assert_eq!(report.latency.len(), report.service.len());
        assert!(report.latency.mean() >= report.service.mean());
        assert_eq!(report.late_sends > 0, report.max_lateness_us > report.late_threshold_us);
    }
}

#[test]
fn an_open_loop_limited_by_the_node_is_late_and_says_so() {
    // One unanswered transaction at a time and pieces of a byte: far from a million a second.
    let setting = Setting::new(1, Mode::Dribbles { bytes: 1 });
    let report = setting.run(|options| {
        options.in_flight = None;
        options.rate = Some(1e6);
        options.arrivals = Arrivals::Fixed;
        options.connections = 1;
        options.transactions = None;
        // Long enough that something is sent on a machine with much else to do.
        options.seconds = Some(1.0);
        options.warmup = Some(0.0);
    });
    assert_eq!((report.failure.as_deref(), report.violations.total()), (None, 0));
    assert!(
        report.unsent > 0 && report.late_sends > 0 && report.max_lateness_us > 1_000.0,
        "{}",
        report.to_json()
    );
    // A million a second for a second, of which each was sent or not.
    assert_eq!(report.intended, Some(1_000_000));
    assert_eq!(report.sent + report.unsent, 1_000_000);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
    assert_eq!(json["intended"], 1_000_000);
    assert_eq!(
        json["sent"].as_u64().expect("a number") + json["unsent"].as_u64().expect("a number"),
        1_000_000
    );
    let text = table::render(&report);
    assert!(text.contains("1,000,000 intended, ") && text.contains(" never sent, "), "{text}");
    assert!(report.latency.mean() > report.service.mean());
    assert!(table::render(&report).contains("did not keep up"));
}

#[test]
fn a_repeated_transaction_gets_the_same_answer() {
    let report = Setting::new(64, Mode::Sound).run(|options| options.resend_share = 0.3);
    assert_sound(&report);
    assert!((450..750).contains(&report.resent), "{}", report.resent);
    let report = Setting::new(64, Mode::Forgets).run(|options| options.resend_share = 0.3);
    assert_eq!(report.violations.wrong_duplicate_flag, report.resent);
    assert_eq!(report.violations.changed_answer, report.resent);
}

#[test]
fn a_wrong_verdict_is_a_violation_with_its_documents_masked() {
    let setting = Setting::new(64, Mode::ApprovesAll);
    let report = setting.run(|_| ());
    assert!((400..600).contains(&report.violations.wrong_verdict));
    assert_eq!(report.violations.total(), report.violations.wrong_verdict);
    assert_eq!(report.violation_examples.len(), 10);
    let text = table::render(&report);
    assert!(text.contains("VIOLATIONS") && text.contains("listed"), "{text}");
    assert!(
        LISTED.iter().all(|document| !text.contains(document))
            && !report.to_json().contains(LISTED[0])
    );
    assert_eq!(setting.run(|options| options.verify = false).violations.total(), 0);
}

#[test]
fn each_correlation_is_answered_once() {
    let twice = Setting::new(64, Mode::Repeats { at: 50 }).run(|_| ()).violations;
    assert_eq!((twice.answered_twice, twice.total()), (1, 1));
    let invented = Setting::new(64, Mode::Invents { at: 50 }).run(|_| ()).violations;
    assert_eq!((invented.unknown_correlation, invented.total()), (1, 1));
}

#[test]
fn a_reply_that_never_comes_ends_the_run_as_stalled() {
    let report =
        Setting::new(64, Mode::Drops { at: 100 }).run(|options| options.stall_seconds = 0.5);
    assert_eq!((report.unanswered, report.answered), (1, report.sent - 1));
    let failure = report.failure.expect("stalled");
    assert!(
        failure.contains("left 1 transactions unanswered") && failure.contains("0.5 s"),
        "{failure}"
    );
}

#[test]
fn errors_are_counted_by_code_and_free_their_slot() {
    let report = Setting::new(64, Mode::Overloaded).run(|_| ());
    assert_sound(&report);
    let overloaded = report.errors["OVERLOADED"];
    assert_eq!(overloaded, 666);
    assert_eq!(report.errors.len(), 1);
    assert_eq!(report.latency.len(), 2_000 - overloaded, "an error has no latency");
}

#[test]
fn a_node_that_closes_is_named_with_its_last_words() {
    let report = Setting::new(64, Mode::Closes { at: 500 }).run(|options| options.connections = 1);
    let failure = report.failure.clone().expect("the connection is gone");
    assert!(failure.contains("SHUTTING_DOWN: the node is stopping"), "{failure}");
    assert_eq!(
        (report.answered, report.errors["SHUTTING_DOWN"]),
        (501, 1),
        "what came before the end is read to the last"
    );
    assert_eq!(report.unanswered, report.sent - 501);
}

#[test]
fn replies_in_pieces_are_put_together() {
    assert_sound(
        &Setting::new(64, Mode::Dribbles { bytes: 7 })
            .run(|options| options.transactions = Some(500)),
    );
}

#[test]
fn a_run_that_is_told_to_stop_reports() {
    let setting = Setting::new(64, Mode::Sound);
    let options = Options {
        transactions: None,
        seconds: Some(600.0),
        warmup: Some(0.0),
        ..setting.options()
    };
    let monitor = Monitor::new();
    let report = std::thread::scope(|scope| {
        let run = scope.spawn(|| run(&options, &monitor));
        while monitor.answered() < 100 {
            std::thread::yield_now();
        }
        monitor.stop();
        run.join().expect("no panic").expect("begins")
    });
    assert_sound(&report);
    assert!(report.interrupted && report.sent >= 100 && report.seconds < 600.0);
}

#[test]
fn what_cannot_begin_says_why_and_what_to_do() {
    let setting = Setting::new(16, Mode::Sound);
    let limit = setting.refused(|options| options.in_flight = Some(17)).to_string();
    assert!(limit.contains("--in-flight is 17") && limit.contains("allows 16"), "{limit}");
    let closed_port = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound")
        .to_string();
    let nobody = setting.refused(|options| options.addr = closed_port.clone()).to_string();
    assert!(nobody.contains(&closed_port) && nobody.contains("catraca serve"), "{nobody}");
    let name = setting.refused(|options| options.addr = "no port".to_owned()).to_string();
    assert!(name.contains("`no port`") && name.contains("--addr"), "{name}");
    let list = setting.refused(|options| options.list = Some("/nowhere.csv".into())).to_string();
    assert!(list.contains("/nowhere.csv") && list.contains("--list"), "{list}");
    let refuses = Setting::new(16, Mode::Refuses).refused(|_| ()).to_string();
    assert!(
        refuses.contains("UNAUTHENTICATED: unknown credential")
            && refuses.contains("--credential-file"),
        "{refuses}"
    );
    let standby = Setting::new(16, Mode::Standby).refused(|_| ()).to_string();
    assert!(standby.contains("standby") && standby.contains("--addr 10.0.0.1:7400"), "{standby}");
}

#[test]
fn the_credential_goes_out_without_its_newline() {
    let setting = Setting::new(64, Mode::Sound);
    let path = setting.folder.path().join("credential");
    std::fs::write(&path, "an invented token\n").expect("writable");
    assert_sound(&setting.run(|options| options.credential_file = Some(path.clone())));
    assert_eq!(setting.node.credentials(), [b"an invented token", b"an invented token"]);
    std::fs::write(&path, "x".repeat(8_193)).expect("writable");
    assert!(
        setting
            .refused(|options| options.credential_file = Some(path))
            .to_string()
            .contains("1 to 8192")
    );
}

#[test]
fn the_report_is_shown_in_every_form() {
    let setting = Setting::new(64, Mode::Sound);
    let report = setting.run(|options| {
        options.in_flight = None;
        options.rate = Some(20_000.0);
        options.listed_share = 0.5;
    });
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
    for name in [
        "target",
        "connections",
        "rate",
        "seconds",
        "sent",
        "answered",
        "errors",
        "verdicts",
        "throughput_per_s",
        "latency_us",
        "service_us",
        "late_sends",
    ] {
        assert!(json.get(name).is_some(), "{name} is missing");
    }
    for name in ["p50", "p90", "p99", "p99_9", "p99_99", "max", "mean"] {
        assert!(json["latency_us"][name].as_f64().is_some_and(|us| us > 0.0), "{name}");
        assert!(json["service_us"][name].is_f64(), "{name}");
    }
    assert_eq!(json["sent"], 2_000);
    assert_eq!(json["intended"], 2_000);
    assert!(json.get("in_flight").is_none());
    let files = hgrm::write(&report, &setting.folder.path().join("run.hgrm")).expect("writable");
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| {
        std::fs::read_to_string(file).expect("written").contains("Total count    =         2000]")
    }));
    let svg = setting.folder.path().join("run.svg");
    plot::draw(&report, &svg).expect("writable");
    let svg = std::fs::read_to_string(svg).expect("written");
    assert!(
        svg.contains(&report.target)
            && svg.contains("99.9%")
            && svg.contains("service")
            && svg.ends_with("</svg>\n")
    );
    let text = table::render(&report);
    assert!(
        text.contains("p99.99")
            && text.contains("late sends")
            && text.contains("every verdict agrees"),
        "{text}"
    );
    assert!(plot::draw(&report, std::path::Path::new("/nowhere/run.svg")).is_err());
}

#[test]
fn the_program_ends_with_the_status_of_what_happened() {
    let program = |setting: &Setting, arguments: &[&str]| {
        let list = setting.list();
        std::process::Command::new(env!("CARGO_BIN_EXE_catraca-loadgen"))
            .args([
                "--addr",
                &setting.node.addr,
                "--core",
                "none",
                "--wait",
                "epoll",
                "--stall-seconds",
                "1.5",
                "--documents",
                "500",
            ])
            .args(["--verify", "--listed-share", "0.5", "--transactions", "200", "--list"])
            .arg(&list)
            .args(arguments)
            .output()
            .expect("the program starts")
    };
    let sound = Setting::new(64, Mode::Sound);
    let done = program(&sound, &["--json", "-"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let json: serde_json::Value =
        serde_json::from_slice(&done.stdout).expect("nothing but JSON on standard output");
    assert_eq!((&json["sent"], &json["in_flight"]), (&200.into(), &64.into()));
    assert!(json.get("intended").is_none(), "a closed loop plans nothing");
    assert!(done.stderr.is_empty(), "no progress bar without a terminal: {done:?}");
    let violated = program(&Setting::new(64, Mode::ApprovesAll), &[]);
    assert_eq!(violated.status.code(), Some(3), "{violated:?}");
    let stalled = program(&Setting::new(64, Mode::Drops { at: 3 }), &[]);
    assert_eq!(stalled.status.code(), Some(1), "{stalled:?}");
    assert!(String::from_utf8_lossy(&stalled.stderr).contains("unanswered"), "{stalled:?}");
    let limit = program(&sound, &["--in-flight", "65"]);
    assert_eq!(limit.status.code(), Some(1), "{limit:?}");
    assert_eq!(program(&sound, &["--in-flight", "0"]).status.code(), Some(2));
    assert_eq!(program(&sound, &["--rate", "5", "--in-flight", "3"]).status.code(), Some(2));
}
