//! Pages that name source files for a reader to open name such as there are.

use catraca_tests::house::{files, root};

/// The pages that name source files for a reader to open, and where those are looked for.
const PAGES: [&str; 2] = ["engine/ARCHITECTURE.md", "CONTRIBUTING.md"];
const SOURCE_FOLDERS: [&str; 5] =
    ["", "engine/core/src", "engine/node/src", "engine/edge/src", "engine/cli/src"];

/// The Rust files that a page names, in backticks.
fn named_sources(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|name| {
        name.ends_with(".rs") && !name.contains([' ', '*', '<']) && name.contains('/')
    })
}

#[test]
fn the_pages_name_files_that_exist() {
    let pages = files(".md");
    for page in PAGES {
        let (_, text) = pages.iter().find(|(file, _)| file == page).expect("the page is there");
        let mut count = 0;
        for name in named_sources(text) {
            let exists = |folder: &&str| root().join(folder).join(name).is_file();
            assert!(SOURCE_FOLDERS.iter().any(exists), "{page}: {name} is gone");
            count += 1;
        }
        assert!(count > 3, "{page} is read wrongly: it names {count} files");
    }
}
