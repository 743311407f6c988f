//! `catraca policy ask` and `catraca provider`, from the shell.

use crate::support::{ANSWERS, policy_text, provider};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

fn catraca(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catraca"));
    command.args(args).env("TEST_TOKEN", "Bearer hush").output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_validator_is_asked_once_and_its_answer_is_told() {
    let provider = provider("require = { authorization = \"Bearer hush\" }\n");
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let policy = path("policy.toml");
    let more =
        "secret_headers = { authorization = { env = \"TEST_TOKEN\" } }\nnegative = [\"suspended\"]";
    fs::write(&policy, policy_text(&format!("http://{}", provider.address), more)).expect("own");
    let ask = ["policy", "ask", &policy, "--validator", "person"];

    let came = catraca(&[&ask[..], &["--payer", "111.444.777-35", "--amount", "60000"]].concat());
    let said = text(&came.stdout);
    assert_eq!(came.status.code(), Some(0), "{came:?}");
    for line in [
        "yes",
        "/people/***.444.777-**",
        "authorization: ***",
        "200",
        "\"suspended\", negative",
        "DENY, because of rule suspended",
        "the payment is for review",
        "REVIEW, because of rule person-no-answer",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("hush") && !said.contains("11144477735"), "{said}");

    // What the payment is comes from a file as well, and flags go before it.
    let payment = path("payment.json");
    fs::write(&payment, "{\"payer\": \"11144477735\", \"amount_centavos\": 50000}").expect("own");
    let args = ["--payment", &payment, "--payer", "52998224725", "--show-documents", "--json"];
    let came = catraca(&[&ask[..], &args].concat());
    let report: Value = serde_json::from_slice(&came.stdout).expect("JSON");
    assert_eq!(came.status.code(), Some(0), "{came:?}");
    assert_eq!((&report["answer"], &report["status"]), (&"regular".into(), &200.into()));
    assert_eq!((&report["asks_about_it"], &report["is_negative"]), (&false.into(), &false.into()));
    assert_eq!((&report["with_answer"], &report["outcome"]), (&Value::Null, &"answer".into()));
    assert_eq!(report["without_answer"]["verdict"], "approve");
    assert_eq!(report["request"]["headers"]["authorization"], "***");
    let url = report["request"]["url"].as_str().expect("it has one");
    assert!(url.ends_with("/people/52998224725"), "{url}");

    // Nothing is told of whom the provider does not know, or by nobody.
    let unknown = catraca(&[&ask[..], &["--payer", "12345678909", "--json"]].concat());
    let report: Value = serde_json::from_slice(&unknown.stdout).expect("JSON");
    assert_eq!((unknown.status.code(), &report["outcome"]), (Some(1), &"final".into()));
    drop(provider);
    let gone = catraca(&ask);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(text(&gone.stdout).contains("none; a node would ask again"), "{gone:?}");

    for (args, says) in [
        (&["--validator", "nobody"][..], "the policy has no validator nobody; person"),
        (&["--validator", "person", "--payer", "1"], "payer: "),
        (&["--validator", "person", "--device", "xyz"], "hex digits"),
        (&[], "--validator"),
    ] {
        let came = catraca(&[&["policy", "ask", &policy], args].concat());
        assert_eq!(came.status.code(), Some(2), "{came:?}");
        assert!(text(&came.stderr).contains(says), "{came:?}");
    }
}

/// A child that is killed at the end of its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_provider_names_its_address_and_answers() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (answers, policy, key) = (path("answers.toml"), path("policy.toml"), path("chain.key"));
    fs::write(&answers, ANSWERS).expect("written");
    let child = Command::new(env!("CARGO_BIN_EXE_catraca"))
        .args(["provider", "--answers", &answers])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Killed(child.expect("it starts"));
    let mut line = String::new();
    let stdout = child.0.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let place = line.trim().strip_prefix("provider listens on ").expect("the address").to_owned();
    let ask = ["policy", "ask", &policy, "--validator", "person"];
    fs::write(&policy, policy_text(&place, "")).expect("written");
    assert_eq!(catraca(&ask).status.code(), Some(0));

    // Hashed, it is the hash by the cluster's key; without one that is said.
    let hashed = policy_text(&place, "").replace("\"full\"", "\"hashed\"");
    fs::write(&policy, hashed).expect("written");
    let without = catraca(&ask);
    assert!(text(&without.stderr).contains("--key-file"), "{without:?}");
    fs::write(&key, format!("{}\n", "07".repeat(32))).expect("written");
    let with = catraca(&[&ask[..], &["--key-file", &key]].concat());
    assert!(with.stderr.is_empty() && with.status.code() == Some(1), "{with:?}");
    let url = |output: &Output| text(&output.stdout).lines().nth(2).map(str::to_owned);
    assert_ne!(url(&with), url(&without));

    for (script, says) in
        [("answers = 1", "unknown field"), ("[[phase]]\nstatus = 1\n", "1 is none")]
    {
        fs::write(&answers, script).expect("written");
        let refused = catraca(&["provider", "--answers", &answers]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(text(&refused.stderr).contains(says), "{refused:?}");
    }
    fs::write(&answers, ANSWERS).expect("written");
    let ended = catraca(&["provider", "--answers", &answers, "--seconds", "0.1"]);
    assert!(ended.status.success() && text(&ended.stdout).contains("0 requests"), "{ended:?}");
}
