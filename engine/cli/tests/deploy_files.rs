//! What `scripts/deploy` and `scripts/monitoring` hold fits this build.

use catraca_core::observe::Counters;
use catraca_node::config::Config;
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

#[test]
fn the_sample_configuration_has_the_defaults() {
    let sample =
        Config::load(Some(&scripts("deploy/catraca.toml")), std::iter::empty(), toml::Table::new())
            .expect("valid");
    let here = Config { data_dir: PathBuf::from("/var/lib/catraca"), ..Config::default() };
    assert_eq!(sample, here);
}

#[test]
fn the_alerts_name_metrics_that_exist() {
    let rules =
        std::fs::read_to_string(scripts("monitoring/catraca-alerts.yml")).expect("readable");
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
