//! The bodies of the fuzz targets, over the corpus in the tree and over inputs made of it: the same
//! ones with each run.

use catraca_tests::binary::workspace_dir;
use catraca_tests::fuzz::mutate::Mutator;
use catraca_tests::fuzz::{self, TARGETS};
use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

/// Seed of the made inputs.
const SEED: u64 = 20_261_123;
/// Longest input kept in the tree, bytes, and most inputs of a target: a corpus is read with each
/// run, and by people.
const MAX_KEPT_LEN: u64 = 16 * 1024;
const MAX_KEPT: usize = 64;

fn folder() -> PathBuf {
    workspace_dir().join("tests/fuzz")
}

/// The inputs kept for a target, in the order of their names.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder().join("corpus").join(name);
    let listed =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
}

/// Runs a body; on a panic tells how to have it again.
fn run(name: &str, input: &[u8], what: &str) {
    if catch_unwind(|| fuzz::run(name, input)).is_err() {
        let found = catraca_tests::binary::scratch_dir().join(format!("fuzz-{name}-finding"));
        fs::write(&found, input).expect("the scratch folder is writable");
        panic!(
            "{name}: {what} breaks a rule, see above. It is in {}: kept in tests/fuzz/corpus/{name} it is run with each test",
            found.display()
        );
    }
}

fn kept_and_made_inputs_hold(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let corpus = corpus(name);
    for (path, input) in &corpus {
        run(name, input, &path.display().to_string());
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(&inputs, SEED);
    for number in 0..target.mutations {
        run(name, &mutator.input(), &format!("made input {number}"));
    }
}

#[test]
fn lists() {
    kept_and_made_inputs_hold("list");
}

#[test]
fn logs() {
    kept_and_made_inputs_hold("log");
}

#[test]
fn policies() {
    kept_and_made_inputs_hold("policy");
}

#[test]
fn named_lists() {
    kept_and_made_inputs_hold("named");
}

#[test]
fn validators() {
    kept_and_made_inputs_hold("validators");
}

#[test]
fn windows() {
    kept_and_made_inputs_hold("windows");
}

#[test]
fn proofs() {
    kept_and_made_inputs_hold("proof");
}

#[test]
fn replication() {
    kept_and_made_inputs_hold("replication");
}

#[test]
fn sessions() {
    kept_and_made_inputs_hold("session");
}

#[test]
fn snapshots() {
    kept_and_made_inputs_hold("snapshot");
}

/// A target that only one of the table, the fuzzer, this file and the corpus knows would be run by
/// nobody.
#[test]
fn every_target_is_run_everywhere() {
    let manifest =
        fs::read_to_string(folder().join("Cargo.toml")).expect("the fuzz crate's manifest");
    let here = include_str!("fuzz.rs");
    for target in TARGETS {
        let name = target.name;
        assert!(
            manifest.contains(&format!("path = \"targets/{name}.rs\"")),
            "{name} is not in the fuzz crate"
        );
        let text = fs::read_to_string(folder().join(format!("targets/{name}.rs")))
            .expect("the target's file");
        assert!(text.contains(&format!("\"{name}\"")), "targets/{name}.rs runs something else");
        assert!(
            here.contains(&format!("kept_and_made_inputs_hold(\"{name}\")")),
            "{name} is not run here"
        );
        let corpus = corpus(name);
        assert!((1..=MAX_KEPT).contains(&corpus.len()), "{name}: {} inputs", corpus.len());
        for (path, input) in corpus {
            assert!(
                input.len() as u64 <= MAX_KEPT_LEN,
                "{} has {} bytes",
                path.display(),
                input.len()
            );
        }
    }
    assert_eq!(
        manifest.matches("[[bin]]").count(),
        TARGETS.len(),
        "the fuzz crate has a target that the table has not"
    );
}
