//! `catraca policy`, and the page that describes what a policy may hold.

use catraca_core::policy::language::Field;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn check(file: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.args(["policy", "check"]).arg(file).args(more).output().expect("it starts")
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../POLICY.md")).expect("there")
}

/// The policy of the page.
fn policy_of_the_page() -> String {
    let page = page();
    let (_, behind) = page.split_once("```toml\n").expect("it shows one");
    behind.split_once("```").expect("it ends").0.to_owned()
}

#[test]
fn the_policy_of_the_page_is_sound() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("pix.toml");
    fs::write(&file, policy_of_the_page()).expect("own");
    let output = check(&file, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("sound, 2 rules") && text.contains("night-high-amount"), "{text}");
    let report: Value = serde_json::from_slice(&check(&file, &["--json"]).stdout).expect("JSON");
    assert_eq!((&report["sound"], &report["faults"]), (&true.into(), &Value::Array(vec![])));
    assert_eq!(report["rules"][1]["verdict"], "review");
    assert_eq!(report["rules"][1]["fields"], serde_json::json!(["tx.channel"]));
}

#[test]
fn the_page_has_every_field() {
    let page = page();
    for field in Field::ALL {
        assert!(page.contains(&format!("`{}`", field.name())), "{}", field.name());
    }
    let rows = page.lines().filter(|line| line.starts_with("| `tx.") || line.starts_with("| `pay"));
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for name in cells[1].split(", ").map(|name| name.trim_matches('`')) {
            let field = Field::named(name).unwrap_or_else(|| panic!("there is no field {name}"));
            assert_eq!(cells[3] == "yes", field.is_optional(), "{name}");
        }
    }
}

#[test]
fn what_is_wrong_is_shown_at_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("wrong.toml");
    fs::write(&file, "[[rule]]\nid = \"à-noite\"\nwhen = 'tx.rail == \"pixx\"'\nscore = 1\n")
        .expect("own");
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "\
wrong.toml:3:20: \"pixx\" never stands there
3 | when = 'tx.rail == \"pixx\"'
  |                    ^^^^^^
  = did you mean \"pix\"?
";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("wrong.toml:2:6: \"à-noite\" is no id") && text.contains("refused, 2 faults"),
        "{text}"
    );
    let report: Value = serde_json::from_slice(&check(&file, &["--json"]).stdout).expect("JSON");
    assert_eq!(report["sound"], false);
    assert_eq!(
        (&report["faults"][1]["line"], &report["faults"][1]["column"]),
        (&3.into(), &20.into())
    );
    // What is no policy at all.
    fs::write(&file, [0xff, 0xfe]).expect("own");
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"), "{output:?}");
    assert_eq!(check(&dir.path().join("missing"), &[]).status.code(), Some(1));
}
