//! The table of faults in README.md names tests that exist.

use catraca_tests::binary::workspace_dir;
use std::collections::HashSet;
use std::fs;

/// Rows of the table, fewer would mean that it was not found.
const LEAST_ROWS: usize = 18;

#[test]
fn every_fault_has_a_test_and_every_test_named_exists() {
    let folder = workspace_dir().join("tests");
    let page = fs::read_to_string(folder.join("README.md")).expect("the crate's README");
    let (_, section) =
        page.split_once("## Faults, and where they are tested").expect("the section");
    let section = section.split("\n## ").next().expect("a section has a beginning");
    let files: Vec<(String, String)> = fs::read_dir(folder.join("tests"))
        .expect("the tests are there")
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                fs::read_to_string(entry.path()).expect("readable"),
            )
        })
        .collect();
    let is_test = |text: &str, name: &str| text.contains(&format!("#[test]\nfn {name}()"));
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= LEAST_ROWS, "{} rows", rows.len());
    let mut named = HashSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 4, "{row}");
        let names: Vec<&str> =
            cells[2..].iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        assert!(!names.is_empty(), "no test is named for: {}", cells[0]);
        for name in names {
            let exists = match name.strip_suffix(".rs") {
                Some(_) => files.iter().any(|(file, _)| file == name),
                None => files.iter().any(|(_, text)| is_test(text, name)),
            };
            assert!(exists, "{name} is named for {:?} and is no test", cells[0].trim());
            named.insert(name);
        }
    }
    let unnamed = files
        .iter()
        .filter(|(file, _)| file == "sim_faults.rs" || file == "sim_epochs.rs")
        .flat_map(|(_, text)| {
            text.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next())
        });
    for name in unnamed {
        assert!(
            named.contains(name),
            "{name} simulates a fault that the table does not name it for"
        );
    }
}
