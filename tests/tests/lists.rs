//! Lists on a running node: loaded, changed, refused; under load, over restarts.

use catraca_core::calendar::Zone;
use catraca_tests::command;
use catraca_tests::load::Load;
use catraca_tests::logs::{assert_verified, decisions};
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_tests::payments::{between, document, payment};
use catraca_wire::DocumentKey;
use catraca_wire::client::now_ns;
use catraca_wire::frame::{BlacklistChange, ClusterRequest, Verdict};
use catraca_wire::record::{Reason, blacklist_version};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Builds a snapshot out of the documents with these numbers.
fn build(dir: &Path, name: &str, numbers: Range<u64>) -> PathBuf {
    let source = dir.join(format!("{name}.csv"));
    let rows: String = numbers
        .map(|number| format!("{},exact,a test,,\n", document(number).to_canonical()))
        .collect();
    std::fs::write(&source, format!("document,scope,reason,valid_from,valid_until\n{rows}"))
        .expect("written");
    let out = dir.join(format!("{name}.catraca"));
    let source = format!("plain={}", source.display());
    command::json([
        "blacklist",
        "build",
        "--source",
        &source,
        "--out",
        &out.display().to_string(),
        "--json",
    ]);
    out
}

fn blacklist(node: &Node, args: &[&str]) -> Value {
    let address = node.listen.to_string();
    command::json([&["blacklist"], args, &["--addr", &address, "--json"]].concat())
}

/// Runs a change that must be refused, and gives the sentence.
fn refused(node: &Node, args: &[&str]) -> String {
    let output =
        command::run([&["blacklist"], args, &["--addr", &node.listen.to_string()]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let sentence = String::from_utf8(output.stderr).expect("text");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    sentence
}

fn id(state: &Value) -> u64 {
    u64::from_str_radix(state["snapshot_id"].as_str().expect("text"), 16)
        .expect("an id in hexadecimal digits")
}

/// Decides on a payment to this document, from one that is never listed.
fn verdict(node: &Node, name: &str, payee: DocumentKey) -> (Verdict, u64) {
    let id = name.replace(' ', "-");
    let decision =
        node.client().decide(&between(&id, document(9_999), payee, now_ns())).expect("decided");
    (decision.verdict, decision.answer.blacklist_version)
}

#[test]
fn single_entries_count_at_once_and_survive_restarts() {
    let dir = folder();
    let setup = Setup::new(&dir.path().join("data")).shards(2);
    let node = setup.start();
    let listed = document(1);
    assert_eq!(verdict(&node, "before", listed).0, Verdict::Approve);
    let state = blacklist(&node, &["add", &listed.to_canonical()]);
    assert_eq!(
        (&state["changed"], &state["overlay_sequence"], &state["overlay_entries"]),
        (&true.into(), &1.into(), &1.into())
    );
    assert_eq!(verdict(&node, "added", listed), (Verdict::Deny, blacklist_version(0, 1)));
    // Decided before it was listed: sent again it is still that decision.
    node.kill();
    let node = setup.start();
    assert_eq!(verdict(&node, "restarted", listed), (Verdict::Deny, blacklist_version(0, 1)));
    blacklist(&node, &["remove", &listed.to_canonical()]);
    assert_eq!(verdict(&node, "removed", listed), (Verdict::Approve, blacklist_version(0, 2)));
    node.stop();
    let node = setup.shards(1).start();
    assert_eq!(verdict(&node, "other shards", listed), (Verdict::Approve, blacklist_version(0, 2)));
    let state = blacklist(&node, &["status"]);
    assert_eq!(state["overlay_sequence"], 2, "{state:#}");
    node.stop();
    assert_verified(&dir.path().join("data"), true);
}

/// The value of one series on `/metrics`, if it is there.
fn series(node: &Node, name: &str) -> Option<f64> {
    let (_, text) = node.http_get("/metrics");
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    value.map(|value| value.parse().expect("a number"))
}

/// A day as the command line takes it, some days after today in the node's zone.
fn day_from_today(days: i64) -> String {
    let today = Zone::default().date_at(now_ns());
    today.checked_add(jiff::Span::new().days(days)).expect("near").to_string()
}

#[test]
fn an_allowed_document_passes_over_restarts_and_failover_until_it_is_listed_again() {
    let pair = Pair::new(1);
    let list = build(pair.folder(), "list", 0..1_000);
    let primary = pair.start(0);
    blacklist(&primary, &["load", &list.display().to_string()]);
    let listed = document(10);
    let canonical = listed.to_canonical();
    for (until, says) in [(day_from_today(400), "until_day"), (day_from_today(-3), "until_day")] {
        let sentence = refused(&primary, &["allow", &canonical, "--until", &until]);
        assert!(sentence.contains(says), "{until}: {sentence}");
    }
    assert_eq!(verdict(&primary, "before", listed).0, Verdict::Deny);
    let state = blacklist(&primary, &["allow", &canonical, "--until", &day_from_today(2)]);
    assert_eq!((&state["changed"], &state["overlay_sequence"]), (&true.into(), &1.into()));
    assert_eq!(verdict(&primary, "allowed", listed).0, Verdict::Approve);
    let said = primary.kill();
    let audit = said
        .lines()
        .find(|line| line.contains("blacklist changed"))
        .unwrap_or_else(|| panic!("{said}"));
    for part in ["allowed", "exact", "connection", &listed.to_string(), &day_from_today(2)] {
        assert!(audit.contains(part), "{part}: {audit}");
    }
    assert!(!said.contains(&canonical), "{said}");
    let primary = pair.start(0);
    assert_eq!(verdict(&primary, "restarted", listed).0, Verdict::Approve);
    pair.share_key();
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    primary.kill();
    // The list may still be on its way.
    standby.wait_until("promoted", |node| ask(node, &ClusterRequest::promote(false)).is_ok());
    assert_eq!(verdict(&standby, "promoted", listed).0, Verdict::Approve);
    // Yesterday is over: that ends it. So does listing the document.
    blacklist(&standby, &["allow", &canonical, "--until", &day_from_today(-1)]);
    assert_eq!(verdict(&standby, "ended", listed).0, Verdict::Deny);
    blacklist(&standby, &["allow", &canonical, "--until", &day_from_today(0)]);
    assert_eq!(verdict(&standby, "allowed again", listed).0, Verdict::Approve);
    blacklist(&standby, &["add", &canonical]);
    assert_eq!(verdict(&standby, "listed again", listed).0, Verdict::Deny);
    standby.stop();
    let data = pair.data_dir(1).display().to_string();
    let shown = command::run(["log", "show", &data, "--transaction", "promoted"]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("APPROVE, because who is listed is allowed"), "{shown}");
    let exported = command::run(["log", "export", &data, "--format", "ndjson"]);
    let exported: Vec<Value> = String::from_utf8(exported.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let allowed: Vec<_> = exported.iter().filter(|record| record["verdict"] == "allowed").collect();
    assert_eq!(allowed.len(), 3, "{exported:#?}");
    assert_eq!(allowed[0]["allowed_until"], day_from_today(2));
    let today = day_from_today(0);
    let decisions = exported.iter().filter(|record| record["kind"] == "decision");
    assert!(decisions.clone().all(|record| record["list_day"] == *today) && decisions.count() >= 6);
}

#[test]
fn a_loaded_list_is_in_force_until_another_takes_its_place() {
    let dir = folder();
    let (first, second) =
        (build(dir.path(), "first", 0..1_000), build(dir.path(), "second", 500..1_500));
    let setup = Setup::new(&dir.path().join("data")).shards(2);
    let node = setup.start();
    let state = blacklist(&node, &["load", &first.display().to_string()]);
    assert_eq!(
        (&state["changed"], &state["snapshot_entries"]),
        (&true.into(), &1_000.into()),
        "{state:#}"
    );
    assert_eq!(
        verdict(&node, "listed", document(10)),
        (Verdict::Deny, blacklist_version(id(&state), 0))
    );
    assert_eq!(
        blacklist(&node, &["load", &first.display().to_string()])["changed"],
        false,
        "it is in use already"
    );
    // The node has its own copy: what becomes of the original is nobody's concern.
    std::fs::remove_file(&first).expect("there");
    node.kill();
    let node = setup.start();
    assert_eq!(id(&blacklist(&node, &["status"])), id(&state));
    assert_eq!(verdict(&node, "after a restart", document(10)).0, Verdict::Deny);
    // What a list is made of and how old it is shows on /metrics, from the start on.
    for (name, value) in [
        ("catraca_list_in_use", 1.0),
        ("catraca_list_entries{source=\"plain\"}", 1_000.0),
        ("catraca_list_entries{source=\"overlay\"}", 0.0),
    ] {
        assert_eq!(series(&node, name), Some(value), "{name}");
    }
    let age = series(&node, "catraca_list_age_seconds{source=\"plain\"}").expect("shown");
    let built = series(&node, "catraca_list_built_timestamp_seconds").expect("shown");
    let loaded = series(&node, "catraca_list_loaded_timestamp_seconds").expect("shown");
    assert!((0.0..600.0).contains(&age) && built < loaded, "{age} {built} {loaded}");
    assert_eq!(
        series(&node, "catraca_list_source_timestamp_seconds{source=\"plain\"}"),
        None,
        "its name has no date"
    );
    // A single entry outlasts a new list, in both directions.
    blacklist(&node, &["remove", &document(700).to_canonical()]);
    blacklist(&node, &["add", &document(10).to_canonical()]);
    let newer = blacklist(&node, &["load", &second.display().to_string()]);
    assert_ne!(id(&newer), id(&state));
    assert_eq!(series(&node, "catraca_list_entries{source=\"overlay\"}"), Some(2.0));
    for (name, number, expected) in [
        ("no longer listed", 11, Verdict::Approve),
        ("newly listed", 1_200, Verdict::Deny),
        ("unlisted by hand", 700, Verdict::Approve),
        ("listed by hand", 10, Verdict::Deny),
    ] {
        assert_eq!(
            verdict(&node, name, document(number)),
            (expected, blacklist_version(id(&newer), 2)),
            "{name}"
        );
    }
    node.stop();
}

#[test]
fn a_promoted_standby_decides_with_the_lists_of_its_primary() {
    let pair = Pair::new(1);
    let files = [build(pair.folder(), "one", 0..1_000), build(pair.folder(), "two", 500..1_500)];
    let primary = pair.start(0);
    // Loaded before the standby is there, and while it is.
    blacklist(&primary, &["load", &files[0].display().to_string()]);
    pair.share_key();
    let standby = pair.start(1);
    await_in_sync(&primary, &standby);
    let newer = blacklist(&primary, &["load", &files[1].display().to_string()]);
    blacklist(&primary, &["add", &document(10).to_canonical()]);
    let kept = pair.data_dir(1).join("lists");
    standby.wait_until("the list has come", |_| {
        let wanted = format!("{:016x}", id(&newer));
        std::fs::read_dir(&kept).is_ok_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| {
                    let name = file.file_name().to_string_lossy().into_owned();
                    name.contains(&wanted) && !name.ends_with(".new")
                })
            })
        })
    });
    primary.kill();
    standby.wait_until("promoted", |node| ask(node, &ClusterRequest::promote(false)).is_ok());
    for (name, number, expected) in [
        ("of the old list", 11, Verdict::Approve),
        ("of the new one", 1_200, Verdict::Deny),
        ("by hand", 10, Verdict::Deny),
    ] {
        assert_eq!(
            verdict(&standby, name, document(number)),
            (expected, blacklist_version(id(&newer), 1)),
            "{name}"
        );
    }
    // It goes on with what it took over.
    let state = blacklist(&standby, &["remove", &document(10).to_canonical()]);
    assert_eq!((id(&state), &state["overlay_sequence"]), (id(&newer), &2.into()));
    assert_eq!(verdict(&standby, "no more by hand", document(10)).0, Verdict::Approve);
    let returned = pair.start(0);
    await_in_sync(&standby, &returned);
    standby.kill();
    ask(&returned, &ClusterRequest::promote(false)).expect("in sync");
    assert_eq!(
        verdict(&returned, "still not", document(10)),
        (Verdict::Approve, blacklist_version(id(&newer), 2))
    );
}

#[test]
fn lists_are_swapped_under_load_and_no_decision_sees_half_of_one() {
    /// Swaps while payments are decided.
    const SWAPS: usize = 20;
    let dir = folder();
    // Payments of the load go to documents 5,000 to 9,998.
    let members = [5_000..7_500, 6_000..8_500];
    let files: Vec<String> = (0..2)
        .map(|n| build(dir.path(), &n.to_string(), members[n].clone()).display().to_string())
        .collect();
    let data = dir.path().join("data");
    let node = Setup::new(&data).shards(2).start();
    let mut listed: HashMap<u64, HashSet<[u8; 14]>> = HashMap::from([(0, HashSet::new())]);
    let loads: Vec<Load> =
        (0..2).map(|number| Load::start(&node, &format!("load{number}"), 50)).collect();
    let mut admin = node.client();
    for swap in 0..SWAPS {
        // Both members of a swap see traffic.
        let goal: Vec<u64> = loads.iter().map(|load| load.answered() + 100).collect();
        loads.iter().zip(goal).for_each(|(load, goal)| load.wait_for(goal));
        let change = BlacklistChange::load(&files[swap % 2], false).expect("a short path");
        let state = admin.blacklist(&change).expect("loaded");
        assert_eq!(state.changed, 1);
        listed.insert(
            state.snapshot_id,
            members[swap % 2].clone().map(|number| document(number).to_wire()).collect(),
        );
    }
    assert_eq!(listed.len(), 3, "each list keeps its id");
    let mut answered = 0;
    for load in loads {
        let seen = load.stop();
        assert!(seen.refused.is_empty() && seen.unanswered.is_empty(), "{:?}", seen.refused);
        answered += seen.answered.len();
        for one in &seen.answered {
            let version = one.decision.answer.blacklist_version;
            assert!(
                listed.keys().any(|id| blacklist_version(*id, 0) == version),
                "an unknown version {version:x}"
            );
        }
    }
    node.stop();
    let recorded = decisions(&data);
    assert_eq!(recorded.len(), answered);
    let mut used = HashSet::new();
    for (record, _) in recorded.values() {
        let expected = listed[&record.snapshot_id].contains(&record.transaction.payee);
        assert_eq!(
            record.verdict == Verdict::Deny.to_wire(),
            expected,
            "list {:016x}",
            record.snapshot_id
        );
        assert_eq!(
            record.reason,
            if expected { Reason::PayeeListed } else { Reason::Clear }.to_wire()
        );
        used.insert(record.snapshot_id);
    }
    assert_eq!(used.len(), 3, "each list decided on something");
}

#[test]
fn a_bad_list_is_refused_and_the_old_one_stays() {
    let dir = folder();
    let good = build(dir.path(), "good", 0..2_000);
    let node = Setup::new(&dir.path().join("data")).start();
    let before = blacklist(&node, &["load", &good.display().to_string()]);
    let bytes = std::fs::read(&good).expect("built");
    let bad = dir.path().join("bad.catraca");
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let cases = [
        ("a flipped bit in the middle", flipped(bytes.len() / 2)),
        ("a flipped bit at the start", flipped(9)),
        ("a flipped bit at the end", flipped(bytes.len() - 1)),
        ("cut in the middle", bytes[..bytes.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("no list", b"document,scope\n1,exact\n".repeat(1_000)),
    ];
    let path = bad.display().to_string();
    for (what, bytes) in cases {
        std::fs::write(&bad, bytes).expect("written");
        let sentence = refused(&node, &["load", &path, "--force"]);
        assert!(sentence.contains("FAILED"), "{what}: {sentence}");
        assert_eq!(id(&blacklist(&node, &["status"])), id(&before), "{what}");
        assert_eq!(verdict(&node, what, document(1)).0, Verdict::Deny, "{what}");
    }
    let missing = dir.path().join("missing.catraca").display().to_string();
    assert!(refused(&node, &["load", &missing]).contains("FAILED"));
    // Sound, but most of it is gone: refused, unless somebody says that it is right.
    let small = build(dir.path(), "small", 0..1_000).display().to_string();
    let sentence = refused(&node, &["load", &small]);
    assert!(sentence.contains("lost") && sentence.contains("force"), "{sentence}");
    assert_eq!(id(&blacklist(&node, &["status"])), id(&before));
    assert_eq!(verdict(&node, "still-the-old", document(1_500)).0, Verdict::Deny);
    let forced = blacklist(&node, &["load", &small, "--force"]);
    assert_eq!((&forced["changed"], &forced["snapshot_entries"]), (&true.into(), &1_000.into()));
    assert_eq!(verdict(&node, "forced", document(1_500)).0, Verdict::Approve);
    node.stop();
}

#[test]
fn a_node_whose_list_is_damaged_says_so_and_does_not_decide_without_it() {
    let dir = folder();
    let list = build(dir.path(), "list", 0..1_000);
    let setup = Setup::new(&dir.path().join("data"));
    let node = setup.start();
    let state = blacklist(&node, &["load", &list.display().to_string()]);
    node.client().decide(&payment("order-1", 1)).expect("decided");
    node.stop();
    let kept = dir.path().join("data/lists").join(format!("{:016x}.snap", id(&state)));
    let mut bytes = std::fs::read(&kept).expect("kept");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&kept).expect("there");
    std::fs::write(&kept, bytes).expect("written");
    let (status, text) = setup.fail();
    assert_eq!(status, 10, "{text}");
    assert!(text.contains("blacklist") && text.contains(".snap"), "{text}");
}

#[test]
fn a_node_whose_list_is_of_an_earlier_format_starts_with_one_that_was_built_again_and_not_without()
{
    let dir = folder();
    let list = build(dir.path(), "list", 0..1_000);
    let setup = Setup::new(&dir.path().join("data"));
    let node = setup.start();
    let state = blacklist(&node, &["load", &list.display().to_string()]);
    node.stop();
    // What an earlier build kept says so at its beginning, and that is all that is looked at.
    let kept = dir.path().join("data/lists").join(format!("{:016x}.snap", id(&state)));
    let mut bytes = std::fs::read(&kept).expect("kept");
    bytes[8] = 1;
    std::fs::remove_file(&kept).expect("there");
    std::fs::write(&kept, &bytes).expect("written");
    let (status, text) = setup.fail();
    assert_eq!(status, 10, "{text}");
    for says in ["format version 1", "blacklist build", "--blacklist"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let earlier = dir.path().join("earlier.catraca");
    std::fs::write(&earlier, bytes).expect("written");
    let (status, text) =
        Setup::new(&dir.path().join("data")).set("blacklist", earlier.display()).fail();
    assert!(status == 10 && text.contains("format version 1"), "{text}");
    let again = build(dir.path(), "again", 0..1_200);
    let node = Setup::new(&dir.path().join("data")).set("blacklist", again.display()).start();
    assert_eq!(blacklist(&node, &["status"])["snapshot_entries"], 1_200);
    assert_eq!(verdict(&node, "listed", document(1_100)).0, Verdict::Deny);
    node.stop();
    // It is in the log, and needs no naming from then on.
    let node = setup.start();
    assert_eq!(blacklist(&node, &["status"])["snapshot_entries"], 1_200);
    node.stop();
}
