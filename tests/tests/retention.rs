//! Oldest segments cut off while a node runs, by the clock that it sees: what is kept is the log, the
//! archive has the rest, and a standby that is empty begins where its primary's log does.

use catraca_tests::clock::Clock;
use catraca_tests::command;
use catraca_tests::load::{Answered, Load};
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, assert_verified, decisions};
use catraca_tests::node::folder;
use catraca_tests::pair::{Pair, ask, await_in_sync};
use catraca_wire::frame::ClusterRequest;
use serde_json::Value;
use std::path::Path;

/// Shortest segments that a node makes, MiB.
const SEGMENT_MIB: u64 = 2;
/// Decisions that the smallest dedupe table holds: so many are kept whatever their age.
const TABLE: u64 = 131_072;
/// Answers: more than the table holds, by several segments.
const ANSWERS: u64 = TABLE + 60_000;
/// In force all the while.
const POLICY: &str =
    "[[rule]]\nid = \"round\"\nwhen = \"tx.amount % 100 == 0\"\nverdict = \"review\"\n";
/// Days after which segments are cut off, and how far the clock is set, seconds.
const KEEP_DAYS: u64 = 2;
const LATER_S: i64 = 3 * 24 * 3600;

fn verified(data_dir: &Path, key: &Path) -> Value {
    let words = ["log", "verify", "--json", "--key-file"].map(str::to_owned);
    let paths = [key, data_dir].map(|path| path.display().to_string());
    let report = command::json(words.iter().chain(&paths));
    assert_eq!(report["sound"], true, "{report}");
    assert_eq!(report["chain_values_checked"], true, "{report}");
    report
}

fn is_message(line: &Value, part: &str) -> bool {
    line["fields"]["message"].as_str().is_some_and(|message| message.contains(part))
}

#[test]
fn old_log_is_archived_and_cut_off_and_a_new_standby_begins_behind_it() {
    let dir = folder();
    let archive = dir.path().join("archive");
    std::fs::create_dir(&archive).expect("a folder");
    let mut pair = Pair::new(1)
        .set("segment_mib", SEGMENT_MIB)
        .set("dedupe_entries", TABLE)
        .set("event_max_age_s", 30 * 24 * 3600);
    let clock = Clock::of(&mut pair.setups[0], dir.path());
    pair.setups[0] = pair.setups[0]
        .clone()
        .set("retention_days", KEEP_DAYS)
        .set("retention_min_free_percent", 1)
        .set("archive_dir", archive.display());
    let primary = pair.start(0);
    primary.process.wait_for_line("an archive that frees nothing", |line| {
        line["level"] == "ERROR" && is_message(line, "is on the filesystem of the data directory")
    });
    // Its text goes with the oldest segments; who begins behind them has it all the same.
    let before = dir.path().join("before.toml");
    let text = "[[rule]]\nid = \"before\"\nwhen = \"tx.amount > 5\"\nscore = 1\n";
    std::fs::write(&before, text).expect("written");
    let policy = dir.path().join("policy.toml");
    std::fs::write(&policy, format!("# {}\n{POLICY}", "x".repeat(9_000))).expect("written");
    let policy = policy.display().to_string();
    let address = primary.listen.to_string();
    for policy in [&before.display().to_string(), &policy] {
        command::json(["policy", "activate", policy, "--addr", &address, "--json"]);
    }
    let load = Load::start(&primary, "load", 500);
    load.wait_for(ANSWERS);
    let seen = load.stop();
    let last = seen.answered.iter().map(|a| a.decision.answer.lsn).max().expect("some");
    primary.wait_until("full segments are packed", |node| {
        node.metric("catraca_log_segments_packed_total") >= 8.0
    });
    assert_eq!(primary.metric("catraca_log_segments_removed_total"), 0.0, "nothing is old");
    clock.set(&primary, LATER_S);
    primary.wait_until("the oldest are cut off", |node| {
        node.metric("catraca_log_segments_removed_total") >= 4.0
    });
    let removed = primary.metric("catraca_log_segments_removed_total");
    assert!(primary.metric("catraca_log_segments_archived_total") >= removed);
    // What the table holds is known still.
    let (old, kept): (Vec<Answered>, Vec<Answered>) = seen
        .answered
        .into_iter()
        .partition(|answered| answered.decision.answer.lsn + TABLE <= last);
    assert!(!old.is_empty());
    assert_same_answers(&mut primary.client(), &kept[kept.len() - 2_000..]);
    // A standby that has nothing begins where the primary's log does, and can take over.
    pair.share_key();
    let standby = pair.start(1);
    standby.process.wait_for_line("where it begins", |line| {
        is_message(line, "this node's log begins where the primary's does")
    });
    await_in_sync(&primary, &standby);
    let more = Load::start(&primary, "more", 50);
    more.wait_for(200);
    let more = more.stop();
    primary.kill();
    ask(&standby, &ClusterRequest::promote(false)).expect("in sync");
    assert_same_answers(&mut standby.client(), &kept[kept.len() - 2_000..]);
    assert_same_answers(&mut standby.client(), &more.answered);
    let address = standby.listen.to_string();
    let in_force = command::json(["policy", "status", "--addr", &address, "--json"]);
    assert_eq!((&in_force["version"], &in_force["previous_version"]), (&2.into(), &1.into()));
    assert!(more.answered.iter().all(|answered| answered.decision.answer.policy_version == 2));
    let rolled_back = command::json(["policy", "rollback", "--addr", &address, "--json"]);
    assert_eq!((&rolled_back["version"], &rolled_back["rules"]), (&3.into(), &1.into()));
    standby.stop();
    for node in [0, 1] {
        let data_dir = pair.data_dir(node).display().to_string();
        let replayed = command::json(["log", "replay", &data_dir, "--json"]);
        assert_eq!(replayed["equal"], true, "{replayed:#}");
        assert!(replayed["decisions"].as_u64() >= Some(TABLE));
    }
    // Both logs are sound and begin behind the same record; with the archive nothing is missing.
    let key = pair.data_dir(0).join("chain.key");
    let reports = [0, 1].map(|node| verified(&pair.data_dir(node), &key));
    let begins = reports.each_ref().map(|report| {
        report["streams"][0]["begins"]["behind_lsn"].as_u64().expect("it says where it begins")
    });
    assert!(begins[1] <= begins[0], "the standby keeps all that it was given: {begins:?}");
    assert!(begins[0] > 0 && begins[0] + TABLE <= last, "{begins:?} of {last}");
    let archived = verified(&archive, &key);
    assert_eq!(archived["streams"][0]["begins"], Value::Null);
    assert!(archived["streams"][0]["last_lsn"].as_u64() >= Some(begins[0]));
    assert_verified(&pair.data_dir(1), true);
    let mut all = decisions(&pair.data_dir(0));
    assert!(all.len() as u64 >= TABLE);
    std::fs::copy(&key, archive.join("chain.key")).expect("the key");
    all.extend(decisions(&archive));
    assert_all_recorded(&all, old.iter().chain(&kept));
}
