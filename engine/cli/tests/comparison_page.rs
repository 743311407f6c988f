//! The page and the picture of `catraca log replay --policy`: what other people are handed.

mod log_program;

use catraca_testkit::log::{CLUSTER, KEY, NOON_NS, TestLog, decision};
use catraca_wire::block::BlockIdentity;
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::{LabelKind, fill};
use log_program::run;
use std::fs;
use std::path::{Path, PathBuf};

const DAY_NS: u64 = 86_400 * 1_000_000_000;
/// A CPF that is in the first payment's id and in the description of a rule.
const CPF: &str = "52998224725";
/// A name that would do harm in markup.
const POLICY_NAME: &str = "new\"><script>'&.toml";

/// 302 decisions, the first with a hostile id, one with a label of 100 days later; and a policy that reviews
/// everything of more than R$ 12.345,50.
fn written() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let identity = BlockIdentity { shard: 0, epoch: 1, cluster_id: CLUSTER };
    let mut log = TestLog::of(64 * 1024, identity);
    let of = |id: &str, lsn: u64| {
        let mut head = decision(lsn);
        head.transaction.id.fill(0);
        fill(&mut head.transaction.id, id);
        head.transaction.amount_centavos = 5_000_000.into();
        (head, Vec::new())
    };
    log.records(&[of("</code><script>'\"&", 1), of(&format!("pix-{CPF}-7"), 2)]);
    for _ in 0..10 {
        log.plain(30);
    }
    let labelled = decision(100).transaction;
    let label = Label {
        kind: LabelKind::Chargeback,
        known_at_ns: NOON_NS + 100 * DAY_NS,
        source: LabelSource::parse("visa").expect("sound"),
        shard: 0,
        lsn: 100,
    };
    let head = label.to_record(&labelled.id, &labelled.payer, NOON_NS + 100 * DAY_NS);
    log.records(&[(head, label.to_section().to_vec())]);
    log.write(dir.path());
    fs::write(dir.path().join("chain.key"), hex::encode(KEY) + "\n").expect("own");
    let policy = dir.path().join(POLICY_NAME);
    let text = format!(
        "[[rule]]\nid = \"never\"\nwhen = \"tx.amount > reais(900000)\"\nscore = 1\n\
         [[rule]]\nid = \"high\"\ndescription = '''<script>alert(\"1\")</script> like {CPF}'''\n\
         when = \"tx.amount > reais(12345)\"\nverdict = \"review\"\n"
    );
    fs::write(&policy, text).expect("own");
    (dir, policy)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("written")
}

#[test]
fn a_replay_writes_a_page_and_a_picture_that_are_safe_to_open() {
    let (dir, policy) = written();
    let (page, picture) = (dir.path().join("a.html"), dir.path().join("a.svg"));
    let [policy, page_name, picture_name] =
        [&policy, &page, &picture].map(|path| path.to_str().expect("UTF-8"));
    let asked = ["replay", "--policy", policy, "--html", page_name, "--svg", picture_name];
    let (status, text, stderr) = run(dir.path(), &asked);
    assert!(text.contains("302 verdicts would change"), "{text} {stderr}");
    assert_eq!(status, 3, "the log has no text of its policy");
    assert!(stderr.contains("warning: rules have scores"), "{stderr}");
    let written = read(&page);
    for told in [
        "<title>What new&quot;&gt;&lt;script&gt;&#39;&amp;.toml would change</title>",
        "<dt>Decisions</dt><dd>302, made from 2026-11-23 12:00:00 UTC to 2026-11-23 12:00:00 UTC</dd>",
        "<dd>policy version 4, whose text is not in the log: 302 decisions</dd>",
        "<code>&lt;/code&gt;&lt;script&gt;&#39;&quot;&amp;</code></th><td class=\"number\">R$ 50.000,00</td>",
        "<code>pix-***.982.247-**-7</code>",
        "<small>&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; like ***.982.247-**</small>",
        "<td>score +0, review</td>",
        "1 of 1 label counts.",
        "302 decisions of policy version 4 were not recomputed: its text is not there",
    ] {
        assert!(written.contains(told), "{told}\n{written}");
    }
    // What a browser would run, load or follow.
    for harm in ["<script", "<img", "<link", "<iframe", "src=", "href=", "@import", "onload"] {
        assert!(!written.contains(harm), "{harm}");
    }
    let drawn = read(&picture);
    assert!(drawn.starts_with("<?xml") && drawn.trim_end().ends_with("</svg>"));
    assert!(written.contains(drawn.split_once('\n').expect("lines").1), "the page has the same");
    let payers: Vec<_> = (1..=302).map(|lsn| decision(lsn).transaction.payer).collect();
    for text in [&written, &drawn] {
        assert!(!text.contains(CPF), "a document");
        for payer in &payers {
            let payer = payer.escape_ascii().to_string();
            assert!(!text.contains(payer.trim_end_matches("\\x00")), "a payer");
        }
    }
    // The same again, but for the date; standard output is as it is without files.
    let (_, again, _) = run(dir.path(), &asked);
    let plain = run(dir.path(), &["replay", "--policy", policy]).1;
    assert_eq!((&again, &plain), (&text, &text));
    let undated = |page: &str| page.split_once("<footer>").expect("a foot").0.to_owned();
    assert_eq!(undated(&read(&page)), undated(&written));
    assert_eq!(read(&picture), drawn);
}

#[test]
fn the_limit_and_the_times_that_are_asked_for_are_on_the_page() {
    let (dir, policy) = written();
    let page = dir.path().join("a.html");
    let [policy, name] = [&policy, &page].map(|path| path.to_str().expect("UTF-8"));
    let from = "2026-11-23T12:00:00.100Z";
    let more = ["--html", name, "--from", from, "--max-changed-percent", "2.5"];
    let (status, ..) = run(dir.path(), &[&["replay", "--policy", policy][..], &more].concat());
    assert_eq!(status, 3);
    let written = read(&page);
    assert!(written.contains("exceeded: at most 2.5 % may change"), "{written}");
    assert!(written.contains("decisions from 2026-11-23 12:00:00 UTC</dd>"), "{written}");
    assert!(written.contains("1 of 1 label counts"), "{written}");
}

#[test]
fn a_place_that_cannot_be_written_is_told_first_and_nothing_is_lost() {
    let (dir, policy) = written();
    let text = read(&policy);
    let policy = policy.to_str().expect("UTF-8");
    let folder = dir.path().to_str().expect("UTF-8");
    let none = dir.path().join("none/a.svg").display().to_string();
    let asked = |more: &[&str]| run(dir.path(), &[&["replay"][..], more].concat());
    for (more, status, told) in [
        (["--html", folder], 1, format!("{folder}: the page can't be written")),
        (["--svg", &none], 1, format!("{none}: the picture can't be written")),
        (["--html", policy], 2, "this is the policy".to_owned()),
    ] {
        let (found, stdout, stderr) = asked(&[&["--policy", policy], &more[..]].concat());
        assert_eq!((found, &stdout[..]), (status, ""), "{stderr}");
        assert!(stderr.contains(&told), "{told}: {stderr}");
    }
    let (status, _, stderr) = asked(&["--html", "page.html"]);
    assert_eq!(status, 2, "there is nothing to compare: {stderr}");
    assert_eq!(read(Path::new(policy)), text);
    let left = fs::read_dir(dir.path()).expect("there").count();
    assert_eq!(left, 3, "log, key and policy");
}
