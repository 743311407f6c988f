//! `catraca blacklist` as a process: what it prints, what it ends with, what it leaves on the disk.

mod blacklist_support;

use blacklist_support::{Folder, catraca, json, stderr};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

impl Folder {
    /// Builds from a plain list with this many documents.
    fn build_plain(&self, entries: u64, out: &str, more: &[&str]) -> Output {
        let (csv, out) = (self.name("synthetic.csv"), self.name(out));
        assert!(
            catraca(&["synth", "--entries", &entries.to_string(), "--out", &csv]).status.success()
        );
        catraca(&[&["build", "--source", &format!("plain={csv}"), "--out", &out], more].concat())
    }
}

fn ceis() -> String {
    format!("ceis={}", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ceis.csv").display())
}

#[test]
fn build_prints_the_expected_figures_and_check_finds_the_documents() {
    let folder = Folder::new();
    let (list, rejects) = (folder.name("list"), folder.name("rejects.csv"));
    let built = catraca(&[
        "build",
        "--source",
        &ceis(),
        "--as-of",
        "2026-11-22",
        "--out",
        &list,
        "--rejects",
        &rejects,
        "--json",
    ]);
    assert!(built.status.success(), "{built:?}");
    let built = json(&built);
    let expected: Value =
        serde_json::from_str(include_str!("data/ceis.expected.json")).expect("JSON");
    for (name, value) in expected.as_object().expect("an object") {
        if !value.is_array() {
            assert_eq!(&built[name], value, "{name}");
        }
    }
    let inspected = catraca(&["inspect", &list, "--json"]);
    assert_eq!(json(&inspected), built["snapshot"]);
    assert!(catraca(&["inspect", &list]).status.success());

    let documents = |name: &str| -> Vec<String> {
        expected[name]
            .as_array()
            .expect("an array")
            .iter()
            .map(|text| text.as_str().expect("text").to_owned())
            .collect()
    };
    for (name, status) in [("must_hit", 3), ("must_not_hit", 0)] {
        let documents = documents(name);
        let mut arguments = vec!["check", &list, "--json"];
        arguments.extend(documents.iter().map(String::as_str));
        let answer = catraca(&arguments);
        assert_eq!(answer.status.code(), Some(status), "{name}");
        let answers = json(&answer)["documents"].as_array().expect("an array").clone();
        assert_eq!(answers.len(), documents.len());
        assert!(answers.iter().all(|answer| answer["listed"] == (name == "must_hit")), "{name}");
        let printed = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(
            documents.iter().all(|document| !printed.contains(document.as_str())),
            "a document was printed in full"
        );
    }

    let refused = std::fs::read_to_string(&rejects).expect("the rejects");
    let rows = expected["rows"].as_u64().expect("a number")
        - expected["active_rows"].as_u64().expect("a number");
    assert_eq!(refused.lines().count() as u64, rows + 1);
    assert!(refused.starts_with("source,line,reason,document\n"), "{refused}");
    let digits = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).count();
    assert!(
        refused.lines().skip(1).all(|line| digits(line.rsplit(',').next().unwrap_or("")) <= 6),
        "an unmasked document"
    );
}

#[test]
fn check_takes_masks_and_shows_none_in_full() {
    let folder = Folder::new();
    let csv = folder.write("own.csv", "document,scope\n12.abc.345/01de-35,root\n04933228680,\n");
    let list = folder.name("list");
    assert!(
        catraca(&["build", "--source", &format!("plain={csv}"), "--out", &list]).status.success()
    );
    let answer = catraca(&["check", &list, "049.332.286-80", "12abc34501de35", "00000000000191"]);
    assert_eq!(answer.status.code(), Some(3));
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("***.332.286-**") && lines[0].ends_with("listed by plain, exact"),
        "{text}"
    );
    assert!(
        lines[1].ends_with("listed by plain, root") && lines[2].ends_with("not listed"),
        "{text}"
    );
    assert_eq!(catraca(&["check", &list, "00000000000191"]).status.code(), Some(0));
    let wrong = catraca(&["check", &list, "04933228680", "04933228681"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("document 2 (***332286**)"), "{wrong:?}");
}

#[test]
fn a_list_that_lost_too_much_is_refused_unless_forced() {
    let folder = Folder::new();
    assert!(folder.build_plain(1_000, "list", &[]).status.success());
    assert!(folder.build_plain(800, "list", &["--json"]).status.success(), "20 % may be lost");
    let before = std::fs::read(folder.path("list")).expect("the list");
    let refused = folder.build_plain(639, "list", &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("639 entries instead of 800")
            && stderr(&refused).contains("--force"),
        "{refused:?}"
    );
    assert_eq!(
        std::fs::read(folder.path("list")).expect("the list"),
        before,
        "the old list must stay"
    );
    assert!(folder.build_plain(639, "list", &["--max-loss", "30"]).status.success());
    assert!(folder.build_plain(10, "list", &["--force"]).status.success());
    // Against another file than the one replaced.
    assert!(folder.build_plain(500, "large", &[]).status.success());
    let refused = folder.build_plain(100, "list", &["--previous", &folder.name("large")]);
    assert!(stderr(&refused).contains("large: 100 entries instead of 500"), "{refused:?}");
}

#[test]
fn a_damaged_previous_list_stops_the_build_unless_forced() {
    let folder = Folder::new();
    folder.write("list", "no list at all");
    let refused = folder.build_plain(10, "list", &[]);
    assert!(!refused.status.success() && stderr(&refused).contains("--force"), "{refused:?}");
    assert!(folder.build_plain(10, "list", &["--force"]).status.success());
    let mut bytes = std::fs::read(folder.path("list")).expect("the list");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(folder.path("list"), bytes).expect("written");
    let refused = catraca(&["inspect", &folder.name("list")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("damaged"), "{refused:?}");
}

#[test]
fn a_previous_list_of_an_earlier_format_is_replaced() {
    let folder = Folder::new();
    assert!(folder.build_plain(1_000, "list", &[]).status.success());
    let mut bytes = std::fs::read(folder.path("list")).expect("the list");
    bytes[8] = 1;
    std::fs::write(folder.path("list"), bytes).expect("written");
    let refused = catraca(&["inspect", &folder.name("list")]);
    assert!(
        stderr(&refused).contains("format version 1")
            && stderr(&refused).contains("build it again"),
        "{refused:?}"
    );
    let again = folder.build_plain(10, "list", &[]);
    assert!(again.status.success() && stderr(&again).contains("format version 1"), "{again:?}");
    assert!(catraca(&["inspect", &folder.name("list")]).status.success());
}

#[test]
fn bad_lists_and_arguments_get_one_sentence() {
    let folder = Folder::new();
    let out = folder.name("list");
    let page = folder.write("page.csv", "<html></html>");
    let expired = folder.write("expired.csv", "document,valid_until\n04933228680,2020-01-01\n");
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--source", "nonsense"], 2, "KIND=FILE"),
        (&["--source", "overlay=x"], 2, "ceis, cnep, cepim, plain"),
        (&["--source", &ceis(), "--as-of", "22/11/2026"], 2, "--as-of"),
        (&["--source", &format!("ceis={}", folder.name("none"))], 1, "can't be read"),
        (&["--source", &format!("ceis={page}")], 1, "web page"),
        (&["--source", &format!("plain={expired}")], 1, "nobody would be listed"),
        (&["--source", &format!("plain={expired}"), "--rejects", &expired], 1, "would overwrite"),
    ];
    for (arguments, status, says) in cases {
        let output = catraca(&[&["build", "--out", &out], arguments].concat());
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(stderr(&output).contains(says), "{says}: {}", stderr(&output));
        assert!(!folder.path("list").exists());
    }
    let output =
        catraca(&["build", "--source", &format!("plain={expired}"), "--force", "--out", &expired]);
    assert!(stderr(&output).contains("would overwrite"), "{output:?}");
    assert!(std::fs::read_to_string(&expired).expect("still there").starts_with("document"));
}

#[test]
fn synth_repeats_itself() {
    let folder = Folder::new();
    let (one, two, other) = (folder.name("1"), folder.name("2"), folder.name("3"));
    for (out, seed) in [(&one, "7"), (&two, "7"), (&other, "8")] {
        assert!(
            catraca(&["synth", "--entries", "1000", "--seed", seed, "--out", out]).status.success()
        );
    }
    let text = |path: &str| std::fs::read_to_string(path).expect("written");
    assert_eq!(text(&one), text(&two));
    assert_ne!(text(&one), text(&other));
    assert_eq!(text(&one).lines().count(), 1_001);
}

#[test]
fn diff_tells_who_came_and_who_went() {
    let folder = Folder::new();
    let lists = [
        (
            "a",
            "document,valid_until,reason\n04933228680,,fraud\n00.000.000/0001-91,2026-11-25,\n12ABC34501DE35,,a mule account\n",
            "2026-11-25",
        ),
        (
            "b",
            "document,valid_until,reason\n14112015000156,,fraud\n12ABC34501DE35,2027-01-01,a mule account\n",
            "2026-11-26",
        ),
    ];
    let [a, b] = lists.map(|(name, list, day)| {
        let source = format!("plain={}", folder.write(&format!("{name}.csv"), list));
        let out = folder.name(name);
        assert!(
            catraca(&["build", "--source", &source, "--as-of", day, "--out", &out])
                .status
                .success()
        );
        out
    });
    let output = catraca(&["diff", &a, &b]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let expected = "came     1\n  14.112.015/****-**  plain, exact: fraud\n\
        went     2, 1 of them had ended\n  00.000.000/****-**  plain, exact, until 2026-11-25\n  ***.332.286-**  plain, exact: fraud\n\
        changed  1\n  12.ABC.345/****-**  plain, exact: a mule account -> plain, exact, until 2027-01-01: a mule account\n";
    assert_eq!(text, expected);
    let output = catraca(&["diff", &a, &b, "--limit", "1", "--json"]);
    let diff = json(&output);
    assert_eq!(
        (output.status.code(), &diff["went"]["count"], &diff["went"]["ended"]),
        (Some(3), &2.into(), &1.into())
    );
    assert_eq!(diff["went"]["first"].as_array().map(Vec::len), Some(1));
    assert_eq!(diff["changed"]["first"][0]["after"][0]["until"], "2027-01-01");
    assert_eq!(catraca(&["diff", &a, &a]).status.code(), Some(0));
    let none = catraca(&["diff", &a, &folder.name("none")]);
    assert!(none.status.code() == Some(1) && stderr(&none).contains("can't be read"), "{none:?}");
}
