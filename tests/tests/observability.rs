//! What an operator sees of a node: metrics, health, histograms, look-ups, and a log that names
//! nobody.

use catraca_tests::load::Load;
use catraca_tests::node::{Node, Setup, folder, http, http_get};
use catraca_tests::payments::{between, cpf, document, payment};
use catraca_tests::raw::Raw;
use catraca_tests::{binary, command};
use catraca_wire::client::now_ns;
use catraca_wire::frame::{
    BlacklistChange, ErrorCode, FrameKind, LookupFrame, Scope, Verdict, fill, view,
};
use catraca_wire::record::RecordHead;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn metrics_are_well_formed_and_move() {
    let dir = folder();
    let node = Setup::new(dir.path()).shards(2).start();
    let mut client = node.client();
    let before = node.metric("catraca_approved_total");
    for number in 0..100 {
        client.decide(&payment(&format!("order-{number}"), number)).expect("decided");
    }
    let again = payment("twice", 1);
    client.decide(&again).expect("decided");
    client.decide(&again).expect("decided before");
    // Each core tells its counts in its own time.
    let counted =
        |name: &str, wanted: f64| node.wait_until(name, |node| node.metric(name) == wanted);
    counted("catraca_approved_total", before + 101.0);
    counted("catraca_duplicates_total", 1.0);
    counted("catraca_connections", 1.0);
    counted("catraca_log_committed_lsn", 101.0);
    node.wait_until("about half belongs to the other shard", |node| {
        node.metric("catraca_forwarded_total") > 0.0
    });
    node.wait_until("bytes of the log are counted", |node| {
        node.metric("catraca_log_bytes_total") >= 4096.0
    });

    let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let text = http(node.http, "GET", "/metrics", accept).expect("an answer").body;
    assert!(text.ends_with("# EOF\n"), "the format's own end is missing");
    let mut described = HashSet::new();
    let mut samples = HashSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name, rest) = (words.next(), words.next(), words.next());
            assert!(matches!(keyword, Some("HELP" | "TYPE" | "UNIT")) && rest.is_some(), "{line}");
            described.insert(name.expect("a name").to_owned());
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        assert!(samples.insert(series.to_owned()), "twice: {line}");
        let name = series.split('{').next().unwrap_or(series);
        assert!(
            ["catraca_", "process_"].iter().any(|p| name.starts_with(p))
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        );
        let plain = ["_total", "_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        assert!(described.contains(name) || described.contains(plain), "not described: {line}");
    }
    assert!(samples.iter().any(|series| series.starts_with("catraca_build_info{")), "{text}");
    node.stop();
}

/// The lines of the text format that have this name, each with its labels and its value.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let (series, value) = line.rsplit_once(' ')?;
        let labels = series.strip_prefix(name)?;
        (labels.is_empty() || labels.starts_with('{'))
            .then(|| (labels, value.parse().expect("a number")))
    })
}

#[test]
fn latencies_are_histograms_that_count_every_decision() {
    let dir = folder();
    let node = Setup::new(dir.path()).shards(2).start();
    let load = Load::start(&node, "load", 50);
    load.wait_for(1_000);
    let answered = load.stop().answered.len() as f64;
    let (_, text) = node.http_get("/metrics");
    for stage in ["ingress", "decide", "log_write", "total"] {
        let of = format!("stage=\"{stage}\"");
        let buckets: Vec<(f64, f64)> = samples(&text, "catraca_stage_latency_seconds_bucket")
            .filter(|(labels, _)| labels.contains(&of))
            .map(|(labels, count)| {
                let bound = labels
                    .split("le=\"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .expect("a bound");
                (
                    if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") },
                    count,
                )
            })
            .collect();
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{stage}: {buckets:?}");
        assert!(
            buckets.first().is_some_and(|(bound, _)| *bound == 0.000_05),
            "{stage}: {buckets:?}"
        );
        assert!(
            [2.0, 2.5].iter().all(|wanted| buckets.iter().any(|(bound, _)| bound == wanted)),
            "{stage}: {buckets:?}"
        );
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, answered)), "{stage}");
        let one = |name| {
            let found: Vec<f64> = samples(&text, name)
                .filter(|(labels, _)| labels.contains(&of))
                .map(|(_, v)| v)
                .collect();
            assert_eq!(found.len(), 1, "{name} of {stage}");
            found[0]
        };
        assert_eq!(one("catraca_stage_latency_seconds_count"), answered);
        let sum = one("catraca_stage_latency_seconds_sum");
        assert!(sum > 0.0 && sum < answered * 60.0, "{stage}: {sum}");
    }
    node.stop();
}

#[test]
fn metrics_come_in_the_form_that_is_asked_for() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let form = |accept: &str| {
        let reply = http(node.http, "GET", "/metrics", accept).expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
        let form = reply
            .head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "))
            .expect("a type")
            .to_owned();
        assert_eq!(
            reply.body.ends_with("# EOF\n"),
            form.starts_with("application/openmetrics-text"),
            "{accept}"
        );
        form
    };
    let (text, open_metrics) = (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    );
    assert_eq!(form(""), text);
    assert_eq!(form("Accept: */*\r\n"), text);
    assert_eq!(
        form(
            "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3\r\n"
        ),
        open_metrics
    );
    for path in ["/metrics", "/livez", "/readyz"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let reply = http(node.http, method, path, "Content-Length: 0\r\n").expect("an answer");
            assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
            assert!(reply.head.contains("allow: get, head"), "{reply:?}");
        }
        let reply = http(node.http, "HEAD", path, "").expect("an answer");
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{path}");
    }
    node.stop();
}

/// Runs `promtool` (Debian's package prometheus, which scripts/setup.sh installs) with this input;
/// it must find nothing to say.
fn promtool(args: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is there: run scripts/setup.sh");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "promtool {args:?}: {output:?}\n{input}");
    assert!(
        output.stderr.is_empty(),
        "promtool {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics_of_a_loaded_node() {
    let dir = folder();
    let node = Setup::new(dir.path()).shards(2).start();
    let load = Load::start(&node, "load", 50);
    load.wait_for(1_000);
    let (_, text) = node.http_get("/metrics");
    promtool(&["check", "metrics"], &text);
    load.stop();
    node.stop();
}

#[test]
fn promtool_finds_nothing_wrong_with_the_alerts() {
    let folder = binary::workspace_dir().join("scripts/monitoring");
    for (check, file) in [("check", "catraca-alerts.yml"), ("test", "catraca-alerts-test.yml")] {
        promtool(&[check, "rules", &folder.join(file).display().to_string()], "");
    }
}

#[test]
fn health_tells_a_stopping_node_from_a_serving_one() {
    /// A stop takes some 50 ms, in which a busy machine may let nobody look.
    const ATTEMPTS: u32 = 5;
    for attempt in 1..=ATTEMPTS {
        let dir = folder();
        let mut node = Setup::new(dir.path()).start();
        assert_eq!(node.http_get("/livez"), (200, "ok\n".to_owned()));
        assert_eq!(node.http_get("/readyz"), (200, "ready\n".to_owned()));
        assert_eq!(node.http_get("/nonsense").0, 404);
        node.process.signal(Signal::TERM);
        let mut stopping = false;
        while let Ok((status, body)) = http_get(node.http, "/readyz") {
            stopping |= status == 503 && body == "stopping\n";
            assert_eq!(status, if stopping { 503 } else { 200 }, "{body}");
        }
        assert_eq!(node.process.wait().code(), Some(0), "{}", node.process.stderr());
        if stopping {
            return;
        }
        println!("attempt {attempt}: nobody looked in time");
    }
    panic!("a stopping node never said that it is not ready");
}

#[test]
fn the_histograms_of_the_running_node_count_each_decision() {
    let dir = folder();
    let node = Setup::new(dir.path()).shards(2).start();
    let load = Load::start(&node, "load", 50);
    load.wait_for(1_000);
    let answered = load.stop().answered.len() as u64;
    let address = node.listen.to_string();
    let stats = command::json(["stats", "--addr", &address, "--json"]);
    for stage in ["ingress", "decide", "log_write", "total"] {
        let stage_stats = &stats["stages"][stage];
        assert_eq!(stage_stats["count"], answered, "{stage}: {stats:#}");
        let quantiles: Vec<f64> = ["p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us", "max_us"]
            .map(|name| {
                stage_stats[name]
                    .as_f64()
                    .unwrap_or_else(|| panic!("{stage} has no {name}: {stats:#}"))
            })
            .to_vec();
        assert!(quantiles.is_sorted(), "{stage}: {quantiles:?}");
    }
    assert!(stats["uptime_s"].as_f64().is_some_and(|s| s > 0.0));
    let counts: u64 = ["0", "1"]
        .map(|shard| {
            command::json(["stats", "--addr", &address, "--shard", shard, "--json"])["stages"]["total"]["count"].as_u64()
        })
        .into_iter()
        .flatten()
        .sum();
    assert_eq!(counts, answered, "the shards' histograms are the node's");
    assert!(
        !command::run(["stats", "--addr", &address, "--shard", "2"]).status.success(),
        "there is no third shard"
    );
    node.stop();
}

#[test]
fn a_look_up_tells_the_decision_and_masks_on_request() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let (payer, payee) = (cpf(0), document(7));
    let decision =
        node.client().decide(&between("order-1", payer, payee, now_ns())).expect("decided");
    let address = node.listen.to_string();
    let found = command::json(["lookup", "order-1", "--addr", &address, "--json"]);
    assert_eq!(found["verdict"], "approve", "{found:#}");
    assert_eq!(found["lsn"], decision.answer.lsn, "{found:#}");
    assert!(found.to_string().contains(&payer.to_canonical()), "{found:#}");
    let masked = command::json(["lookup", "order-1", "--addr", &address, "--json", "--mask"]);
    assert!(!masked.to_string().contains(&payer.to_canonical()), "{masked:#}");
    assert_eq!(masked["lsn"], found["lsn"]);
    let missing = command::run(["lookup", "order-2", "--addr", &address, "--json"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("NOT_FOUND"), "{missing:?}");
    node.stop();
}

/// Bytes that a node's system calls have read so far, whether from the disk or not.
fn bytes_read(node: &Node) -> u64 {
    let path = format!("/proc/{}/io", node.process.pid().as_raw_nonzero());
    let text = std::fs::read_to_string(path).expect("a running process tells");
    let count = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    count.and_then(|count| count.parse().ok()).expect("a number")
}

#[test]
fn look_ups_read_what_is_written_and_not_the_rest_of_the_segments() {
    /// As many as a shard lets through at once.
    const AT_ONCE: u64 = 48;
    let dir = folder();
    let node = Setup::new(dir.path()).set("segment_mib", 128).start();
    let decision = node.client().decide(&payment("order-1", 1)).expect("decided");
    let before = bytes_read(&node);
    let mut raw = Raw::open(node.listen);
    for correlation in 1..=AT_ONCE {
        let mut frame = LookupFrame::empty(correlation);
        fill(&mut frame.id, if correlation % 2 == 0 { "order-1" } else { "order-2" });
        raw.send(&frame).expect("taken");
    }
    for _ in 1..=AT_ONCE {
        let reply = raw.receive().expect("a reply").expect("a reply, not the end");
        if reply.correlation().is_multiple_of(2) {
            assert_eq!(reply.kind(), FrameKind::Record);
            let record: &RecordHead = view(&reply.0[64..320]).expect("a record");
            assert_eq!(record.lsn.to_native(), decision.answer.lsn);
        } else {
            assert_eq!(reply.error(), Some((ErrorCode::NotFound, false)));
        }
    }
    let read = bytes_read(&node) - before;
    assert!(
        read < AT_ONCE * 256 * 1024,
        "{read} bytes were read for {AT_ONCE} look-ups in a log of one block"
    );
    node.stop();
}

#[test]
fn the_programs_log_is_json_and_names_nobody() {
    let dir = folder();
    let node = Setup::new(dir.path()).set("log_level", "debug").start();
    let mut client = node.client();
    let listed = cpf(100);
    client.blacklist(&BlacklistChange::add(listed, Scope::Exact)).expect("added");
    let mut used = vec![listed];
    for number in 0..200 {
        let payer = cpf(number * 3);
        let decision = client
            .decide(&between(&format!("order-{number}"), payer, listed, now_ns()))
            .expect("decided");
        assert_eq!(decision.verdict, Verdict::Deny);
        used.push(payer);
    }
    client.lookup("order-1", Some(used[2])).expect("found");
    client.blacklist(&BlacklistChange::remove(listed, Scope::Exact)).expect("removed");
    drop(client);
    let written = node.stop();
    for line in written.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            line["level"].is_string()
                && line["timestamp"].is_string()
                && line["fields"]["message"].is_string(),
            "{line}"
        );
    }
    assert!(written.contains("blacklist changed"), "the change is told:\n{written}");
    for key in used {
        let digits = key.to_canonical();
        let shown =
            format!("{}.{}.{}-{}", &digits[..3], &digits[3..6], &digits[6..9], &digits[9..]);
        assert!(
            !written.contains(&digits) && !written.contains(&shown),
            "a document in full:\n{written}"
        );
        assert!(!written.contains(&key.raw().to_string()), "a document's number:\n{written}");
    }
}
