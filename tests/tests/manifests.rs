//! The manifests: what each crate may depend on, so that rustc keeps the arrows between them, and
//! that each dependency has a reason and a user.

use catraca_tests::house::{Breach, assert_none, files};

/// What a crate may depend on, tests of its own aside: rustc keeps the arrows between crates, and
/// this keeps the manifests that tell it so.
struct Manifest {
    file: &'static str,
    /// Crates of this workspace, all that it may have.
    ours: &'static [&'static str],
    /// Crates of others that it must not have.
    never: &'static [&'static str],
}

/// What waits, runs or asks the outside world.
const RUNTIMES: &[&str] = &[
    "axum",
    "clap",
    "comfy-table",
    "crossbeam",
    "csv",
    "futures",
    "getrandom",
    "glommio",
    "hyper",
    "hyper-util",
    "indicatif",
    "libc",
    "procfs",
    "quanta",
    "rand",
    "rustix",
    "rustls-native-certs",
    "signal-hook",
    "tempfile",
    "tikv-jemallocator",
    "tokio",
    "tokio-rustls",
    "tracing",
    "tracing-subscriber",
];

const MANIFESTS: &[Manifest] = &[
    Manifest { file: "wire/Cargo.toml", ours: &[], never: RUNTIMES },
    Manifest { file: "engine/core/Cargo.toml", ours: &["catraca-wire"], never: RUNTIMES },
    Manifest {
        file: "engine/node/Cargo.toml",
        ours: &["catraca-core", "catraca-tls", "catraca-tokens", "catraca-wire"],
        never: &["clap", "comfy-table", "csv", "indicatif"],
    },
    Manifest {
        file: "engine/tls/Cargo.toml",
        // The client of the protocol can be handed its connections.
        ours: &["catraca-wire"],
        never: &["clap", "comfy-table", "csv", "glommio", "indicatif"],
    },
    Manifest {
        file: "engine/tokens/Cargo.toml",
        // Whose a token is, and what it may, say those who let it in.
        ours: &["catraca-tls", "catraca-wire"],
        never: &["axum", "clap", "comfy-table", "csv", "glommio", "indicatif"],
    },
    Manifest {
        file: "engine/edge/Cargo.toml",
        // Doors speak the protocol, and know nothing of who decides.
        ours: &["catraca-tls", "catraca-tokens", "catraca-wire"],
        never: &["clap", "comfy-table", "csv", "glommio", "indicatif"],
    },
    Manifest {
        file: "engine/cli/Cargo.toml",
        ours: &[
            "catraca-core",
            "catraca-edge",
            "catraca-loadgen",
            "catraca-node",
            "catraca-tls",
            "catraca-wire",
        ],
        // The invented provider has a runtime, and `catraca validators`; `house/` holds that nothing else of the
        // cli uses it.
        never: &["glommio", "axum"],
    },
    Manifest {
        file: "loadgen/Cargo.toml",
        ours: &["catraca-tls", "catraca-wire"],
        never: &["glommio", "tokio", "axum"],
    },
    Manifest {
        file: "testkit/Cargo.toml",
        ours: &["catraca-core", "catraca-wire"],
        never: RUNTIMES,
    },
];

/// Crates that may depend on anything: nothing of the product is in them.
const FREE: &[&str] =
    &["benches/Cargo.toml", "benches/zen/Cargo.toml", "tests/Cargo.toml", "tests/fuzz/Cargo.toml"];

/// What is wrong with the workspace's dependencies: one in a block without a comment that says what
/// for, or one without a user.
fn dependencies(workspace: &str, members: &[(String, String)]) -> Vec<Breach> {
    let mut found = Vec::new();
    let (mut inside, mut reason) = (false, false);
    for (index, line) in workspace.lines().enumerate() {
        if line.starts_with('[') {
            (inside, reason) = (line == "[workspace.dependencies]", false);
        } else if !inside {
            continue;
        } else if line.is_empty() {
            reason = false;
        } else if line.starts_with('#') {
            reason = true;
        } else if let Some((name, _)) = line.split_once(" = ") {
            let mut breach = |what: &str| {
                found.push(Breach {
                    file: "Cargo.toml".to_owned(),
                    line: index + 1,
                    what: format!("{name}: {what}"),
                });
            };
            if !reason && !name.starts_with("catraca-") {
                breach("a dependency without a comment that says what it is for");
            }
            let uses =
                |line: &str| line.split_once([' ', '.']).is_some_and(|(used, _)| used == name);
            if !members.iter().any(|(_, text)| text.lines().any(uses)) {
                breach("a dependency that no member uses");
            }
            // The next one has a comment of its own.
            reason = false;
        }
    }
    found
}

/// What a crate's manifest has that it must not have.
fn arrows(manifest: &Manifest, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let mut name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if let Some(header) = line.strip_prefix('[') {
            inside = header.contains("dependencies") && !header.starts_with("dev-");
            // A table of its own for one dependency.
            name = header.trim_end_matches(']').rsplit_once("dependencies.").map_or("", |(_, n)| n);
        } else if inside && line.contains("package =") {
            name = "something under another name";
        }
        let is_ours = name.starts_with("catraca-");
        let is_wrong = (is_ours && !manifest.ours.contains(&name))
            || manifest.never.contains(&name)
            || name.contains(' ');
        if inside && is_wrong {
            found.push(Breach {
                file: manifest.file.to_owned(),
                line: index + 1,
                what: format!("this crate must not depend on {name}"),
            });
        }
    }
    found
}

#[test]
fn every_dependency_has_a_reason_and_a_user() {
    let (workspace, members): (Vec<_>, Vec<_>) =
        files("Cargo.toml").into_iter().partition(|(file, _)| file == "Cargo.toml");
    assert_none(&dependencies(&workspace[0].1, &members));
}

#[test]
fn the_manifests_keep_the_arrows() {
    let texts = files("Cargo.toml");
    for (file, _) in texts.iter().filter(|(file, _)| file != "Cargo.toml") {
        let is_known = MANIFESTS.iter().any(|manifest| manifest.file == file);
        assert!(is_known || FREE.contains(&file.as_str()), "{file}: what may it depend on?");
    }
    for manifest in MANIFESTS {
        let (_, text) = texts
            .iter()
            .find(|(file, _)| file == manifest.file)
            .unwrap_or_else(|| panic!("{} is gone", manifest.file));
        assert!(text.contains("\n[dependencies]\n"), "{} is read wrongly", manifest.file);
        assert_none(&arrows(manifest, text));
    }
}

/// The test itself: made-up offenders are found.
#[test]
fn made_up_offenders_are_found() {
    let core = MANIFESTS.iter().find(|m| m.file == "engine/core/Cargo.toml").expect("it is there");
    let made_up = "[package]\nname = \"catraca-core\"\n[dependencies]\nblake3.workspace = true\n\
        catraca-node.workspace = true\ntokio = { workspace = true }\n[dev-dependencies]\n\
        catraca-testkit.workspace = true\n[dependencies.axum]\nversion = \"1\"\n\
        [target.'cfg(unix)'.dependencies]\nlibc = \"1\"\nrt = { package = \"tokio\" }\n";
    let lines: Vec<usize> = arrows(core, made_up).iter().map(|breach| breach.line).collect();
    assert_eq!(lines, [5, 6, 9, 12, 13], "its own tests may use what it must not");
    let manifest = "[workspace.dependencies]\n# For a reason.\na = \"1\"\nb = \"1\"\n\n# A heading.\n\nc = \"1\"\n[profile.dev]\nd = 1\n";
    let members =
        [("x/Cargo.toml".to_owned(), "a.workspace = true\nc = { workspace = true }\n".to_owned())];
    let found: Vec<usize> =
        dependencies(manifest, &members).iter().map(|breach| breach.line).collect();
    assert_eq!(found, [4, 4, 8], "b has neither, c no reason");
}
