//! What `scripts/deploy`, `scripts/monitoring` and the pages for operators say fits this build.

use catraca_core::observe::Counters;
use catraca_node::config::Config;
use catraca_node::fatal::Status;
use std::path::{Path, PathBuf};
use std::process::Command;

fn scripts(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(file)
}

#[test]
fn the_sample_configuration_is_right() {
    let output = Command::new(env!("CARGO_BIN_EXE_catraca"))
        .args(["serve", "--check-config", "--config"])
        .arg(scripts("deploy/catraca.toml"))
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a check of a door's configuration.
fn check(door: &[&str], file: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_catraca"))
        .args(door)
        .args(["--check-config", "--config"])
        .arg(file)
        .output()
        .expect("it starts");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_sample_configurations_of_doors_are_right_and_so_is_what_is_commented_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("door.toml");
    for (door, sample, least) in [
        (&["gateway"][..], "deploy/gateway.toml", 15),
        (&["intake", "amqp"], "deploy/intake-amqp.toml", 15),
        (&["intake", "kafka"], "deploy/intake-kafka.toml", 15),
    ] {
        let (is_right, said) = check(door, &scripts(sample));
        assert!(is_right, "{sample}: {said}");
        let text = std::fs::read_to_string(scripts(sample)).expect("it is there");
        let mut tried = 0;
        // Those of a table are no settings by themselves.
        let settings = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("# [["));
        for (number, line) in settings {
            let Some(setting) = line.strip_prefix("# ").filter(|line| line.contains(" = ")) else {
                continue;
            };
            if !setting.split(' ').next().is_some_and(|key| key.bytes().all(is_of_key)) {
                continue;
            }
            let mut lines: Vec<&str> = text.lines().collect();
            lines[number] = setting;
            std::fs::write(&file, lines.join("\n")).expect("written");
            let (_, said) = check(door, &file);
            // It may name a file that is not here, or lack what belongs to it; it is known, and well formed.
            for wrong in ["unknown field", "invalid type", "expected", "TOML parse error"] {
                assert!(!said.contains(wrong), "{sample} line {}: {said}", number + 1);
            }
            tried += 1;
        }
        assert!(tried >= least, "{sample}: only {tried} settings were tried");
    }
}

fn is_of_key(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

#[test]
fn a_check_refuses_an_archive_that_frees_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let check = |percent: &str| {
        Command::new(env!("CARGO_BIN_EXE_catraca"))
            .args(["serve", "--check-config", "--data-dir"])
            .arg(dir.path().join("data"))
            .env("CATRACA_RETENTION_DAYS", "400")
            .env("CATRACA_RETENTION_MIN_FREE_PERCENT", percent)
            .env("CATRACA_ARCHIVE_DIR", dir.path())
            .output()
            .expect("it starts")
    };
    let refused = check("20");
    assert_eq!(refused.status.code(), Some(Status::Config as i32));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("on the filesystem of the data directory"), "{told}");
    assert!(check("0").status.success());
}

#[test]
fn the_sample_configuration_has_the_defaults() {
    let sample =
        Config::load(Some(&scripts("deploy/catraca.toml")), std::iter::empty(), toml::Table::new())
            .expect("valid");
    let here = Config { data_dir: PathBuf::from("/var/lib/catraca"), ..Config::default() };
    assert_eq!(sample, here);
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of a page's tables, from a heading to the next, as cells.
fn rows<'p>(page: &'p str, heading: &str) -> Vec<Vec<&'p str>> {
    let (_, section) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let lines = section.lines().skip(1).take_while(|line| !line.starts_with('#'));
    let cells =
        |line: &'p str| line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
    lines.filter(|line| line.starts_with("| ")).skip(1).map(cells).collect()
}

fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[test]
fn the_page_of_settings_has_every_key_with_its_default() {
    let load = |key: &str, value: toml::Value| {
        let flags = toml::Table::from_iter([(key.to_owned(), value)]);
        Config::load(None, std::iter::empty(), flags)
    };
    // An unknown key is told with those that there are.
    let told = load("no_such_key", toml::Value::Boolean(true)).expect_err("unknown").message;
    let (_, known) = told.split_once("expected one of").expect("it lists them");
    let mut known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let page = page("CONFIGURATION.md");
    let rows = rows(&page, "## Keys");
    let mut keys: Vec<&str> =
        rows.iter().map(|row| code(row[0]).trim_matches(['[', ']'])).collect();
    keys.sort_unstable();
    known.sort_unstable();
    assert_eq!(keys, known);
    for row in rows.iter().filter(|row| row[1] != "none") {
        let (key, default) = (code(row[0]), code(row[1]));
        let value = format!("value = {default}").parse::<toml::Table>().map_or_else(
            |_| toml::Value::String(default.to_owned()),
            |mut table| table.remove("value").expect("it has one"),
        );
        let config = load(key, value).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(config, Config::default(), "{key} is not {default} by default");
    }
}

#[test]
fn the_page_for_operators_has_every_exit_status() {
    let page = page("OPERATING.md");
    let rows = rows(&page, "## Stopping and exit statuses");
    let told: Vec<u8> = rows.iter().map(|row| row[0].parse().expect("a number")).collect();
    let all: Vec<u8> = [0].into_iter().chain(Status::ALL.map(|status| status as u8)).collect();
    assert_eq!(told, all);
}

/// Names of metrics, those of lists and of the process aside.
fn known_metrics() -> Vec<&'static str> {
    let counters = Counters::default();
    let mut known: Vec<&str> = counters.each().map(|(name, ..)| name).collect();
    known.extend([
        "catraca_stage_latency_seconds_bucket",
        "catraca_uptime_seconds",
        "catraca_list_in_use",
        "catraca_list_age_seconds",
    ]);
    known.extend([
        "catraca_epoch",
        "catraca_primary",
        "catraca_solo",
        "catraca_peer_connected",
        "catraca_in_sync",
    ]);
    known.push("catraca_standby_behind_records");
    known.extend([
        "catraca_candidate_payments_total",
        "catraca_candidate_centavos_total",
        "catraca_candidate_left_out_total",
        "catraca_candidate_left_out_centavos_total",
        "catraca_candidate_until_timestamp_seconds",
    ]);
    known.extend([
        "catraca_validator_breaker_open",
        "catraca_validator_breaker_forced",
        "catraca_validator_usable",
        "catraca_validator_no_answer_total",
        "catraca_validator_shared_breaker_open",
        "catraca_validator_shared_puts_total",
        "catraca_validator_shared_failures_total",
        "catraca_validator_shared_timeouts_total",
    ]);
    known.extend([
        "catraca_log_segments_packed_total",
        "catraca_log_packing_freed_bytes_total",
        "catraca_log_unsound_segments",
        "catraca_log_segments_archived_total",
        "catraca_log_segments_removed_total",
        "catraca_disk_size_bytes",
        "catraca_disk_free_bytes",
        "catraca_disk_lasts_seconds",
    ]);
    known.extend([
        "catraca_proxy_connections_refused_total",
        "catraca_tls_certificate_expiry_timestamp_seconds",
        "catraca_gateway_certificate_expiry_timestamp_seconds",
        "catraca_gateway_problems_total",
        "catraca_intake_broker_connected",
        "catraca_intake_broker_blocked",
    ]);
    known
}

#[test]
fn the_alerts_name_metrics_that_exist() {
    let rules =
        std::fs::read_to_string(scripts("monitoring/catraca-alerts.yml")).expect("readable");
    let known = known_metrics();
    let mut named = 0;
    for word in rules
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("catraca_"))
    {
        assert!(known.contains(&word), "{word} is not a metric");
        named += 1;
    }
    assert!(named > 10, "the rules were read");
}

#[test]
fn the_page_for_operators_names_metrics_that_exist() {
    let page = page("OPERATING.md");
    let known = known_metrics();
    let mut named = 0;
    for word in page
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("catraca_"))
    {
        // A family that is named by its beginning, and a histogram by its base.
        let exists = known.iter().any(|name| {
            *name == word
                || (word.ends_with('_') && name.starts_with(word))
                || *name == format!("{word}_bucket")
        });
        assert!(exists || word == "catraca_build_info", "{word} is not a metric");
        named += 1;
    }
    assert!(named > 8, "the page was read: {named}");
}
