//! The rules of the house: who may use what, and what no file may hold. Broken, they name the file,
//! the line and the rule.
//!
//! It reads the sources as text, without comments and without the unit tests at a file's end:
//! enough to find a path or a word, and nothing that could be fooled by accident.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file of Rust, lines: past this it is not read in one sitting.
const MAX_LINES: usize = 640;
/// Longer files, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];
/// Files that may hold `unsafe`, each with what for.
const UNSAFE_FILES: [(&str, &str); 8] = [
    ("benches/tests/allocations.rs", "a global allocator that counts"),
    ("engine/src/driver/accept.rs", "borrows the descriptor of a socket"),
    ("engine/src/driver/connection.rs", "borrows the descriptor of a socket"),
    ("engine/src/threads.rs", "a system call without a wrapper"),
    ("engine/src/driver/requirements.rs", "a system call without a wrapper"),
    ("engine/src/memory.rs", "a table over a memory map, the prefetch instruction"),
    ("engine/src/signals.rs", "system calls without a wrapper"),
    ("tests/src/sandbox.rs", "system calls between fork and exec, for tests of poor environments"),
];

/// A rule: in the files below `within`, but not below one of `except`, none of `words` may occur.
struct Rule {
    name: &'static str,
    within: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
}

const EVERYWHERE: &[&str] = &["engine", "wire", "loadgen", "benches", "tests"];
/// What a state machine has no use for.
const OUTSIDE_WORLD: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "Instant",
    "SystemTime",
    "quanta",
    "glommio",
    "tokio",
    "axum",
    "memmap2",
    "rustix",
    "libc",
];
/// What the shard stands on.
const BELOW_THE_SHARD: &[&str] = &[
    "engine/src/policy",
    "engine/src/replica",
    "engine/src/log",
    "engine/src/blacklist",
    "engine/src/observe",
    "engine/src/limits.rs",
];

const RULES: &[Rule] = &[
    Rule {
        name: "only engine/src/driver knows glommio",
        within: EVERYWHERE,
        except: &["engine/src/driver"],
        words: &["glommio::"],
    },
    Rule {
        name: "only engine/src/control knows tokio and axum",
        within: EVERYWHERE,
        except: &["engine/src/control"],
        words: &["tokio::", "axum::"],
    },
    Rule {
        name: "the state machine, the policy and replication do no I/O and read no clock",
        within: &["engine/src/shard", "engine/src/policy", "engine/src/replica"],
        except: &[],
        words: OUTSIDE_WORLD,
    },
    Rule {
        name: "recovery is a pure function, and so are proofs",
        within: &[
            "engine/src/log/recovery.rs",
            "engine/src/log/check.rs",
            "engine/src/log/damage.rs",
            "engine/src/log/proof.rs",
        ],
        except: &[],
        words: OUTSIDE_WORLD,
    },
    Rule {
        name: "the formats do no I/O; the client alone does",
        within: &["wire/src"],
        except: &["wire/src/client"],
        words: &[
            "std::fs",
            "std::thread",
            "std::process",
            "TcpStream",
            "Instant",
            "SystemTime",
            "quanta",
        ],
    },
    Rule {
        name: "arrows point down: the shard and what it stands on know nobody who moves it",
        within: &[
            "engine/src/shard",
            "engine/src/policy",
            "engine/src/replica",
            "engine/src/log",
            "engine/src/blacklist",
        ],
        except: &[],
        words: &["crate::driver", "crate::control", "crate::commands", "crate::node"],
    },
    Rule {
        name: "arrows point down: not up to the shard",
        within: BELOW_THE_SHARD,
        except: &[],
        words: &["crate::shard"],
    },
    Rule {
        name: "arrows point down: replication knows neither what moves the shards nor who asks",
        within: &["engine/src/replication"],
        except: &[],
        words: &["crate::driver", "crate::control", "crate::commands", "crate::node"],
    },
    Rule {
        name: "arrows point down: the driver knows neither replication nor the control thread",
        within: &["engine/src/driver"],
        except: &[],
        words: &["crate::replication", "crate::control"],
    },
    Rule {
        name: "arrows point down: driver and control thread know no command",
        within: &["engine/src/driver", "engine/src/control"],
        except: &[],
        words: &["crate::commands", "crate::node"],
    },
    Rule {
        name: "the formats know nobody",
        within: &["wire"],
        except: &[],
        words: &["catraca_engine", "catraca_loadgen"],
    },
    Rule {
        name: "the load generator knows the protocol only",
        within: &["loadgen"],
        except: &[],
        words: &[
            "catraca_engine::shard",
            "catraca_engine::driver",
            "catraca_engine::control",
            "catraca_engine::node",
        ],
    },
    Rule {
        name: "nothing is left for later",
        within: EVERYWHERE,
        except: &[THIS_FILE],
        words: &["todo!", "unimplemented!", "dbg!"],
    },
];

const THIS_FILE: &str = "tests/tests/house.rs";

/// A rule broken.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    file: String,
    line: usize,
    what: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// All files with this ending, as paths from the root, with their text.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be read") {
            let path = entry.expect("readable").path();
            let name =
                path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "data" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let path = path
                    .strip_prefix(root())
                    .expect("below the root")
                    .to_string_lossy()
                    .into_owned();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// The lines of a source with their numbers: comments taken out, and in a crate's `src` the unit
/// tests at the end as well. An import is one line, with the paths that its groups stand for behind
/// it.
fn code(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut import = false;
    for (index, line) in text.lines().enumerate() {
        if file.contains("/src/") && line == "#[cfg(test)]" {
            break;
        }
        let before = line.split("//").next().unwrap_or_default();
        if before.trim().is_empty() {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if import => *last += before,
            _ => lines.push((index + 1, before.to_owned())),
        }
        import = (import || before.trim_start().starts_with("use ")) && !before.contains(';');
    }
    for (_, line) in &mut lines {
        for base in ["std", "crate"] {
            let Some((_, group)) = line.split_once(&format!("use {base}::{{")) else { continue };
            let names = group
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .filter(|name| !name.is_empty());
            let paths: String = names.map(|name| format!(" {base}::{name}")).collect();
            *line += &paths;
        }
    }
    lines
}

/// Whether a word occurs, not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(name);
        let after =
            word.ends_with(name) && line[at + word.len()..].chars().next().is_some_and(name);
        !before && !after
    })
}

fn below(file: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| {
        file.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// What one file breaks.
fn breaches(file: &str, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut breach = |line, what: String| found.push(Breach { file: file.to_owned(), line, what });
    // This file names what it looks for.
    let lines = if file == THIS_FILE { Vec::new() } else { code(file, text) };
    for (number, line) in lines {
        for rule in
            RULES.iter().filter(|rule| below(file, rule.within) && !below(file, rule.except))
        {
            for word in rule.words.iter().filter(|word| has_word(&line, word)) {
                breach(number, format!("{}: {word}", rule.name));
            }
        }
        if has_word(&line, "unsafe") && UNSAFE_FILES.iter().all(|(path, _)| *path != file) {
            breach(number, "unsafe in a file that is not named for it".to_owned());
        }
    }
    let length = text.lines().count();
    if length > MAX_LINES && LONG_FILES.iter().all(|(path, _)| *path != file) {
        breach(length, format!("more than {MAX_LINES} lines: look for a seam"));
    }
    found
}

/// Paths of the machines that the project is built on, which mean nothing to anybody else.
fn workplaces(file: &str, text: &str) -> Vec<Breach> {
    // Put together here, so that this file does not hold them.
    let places = [["/wo", "rk/"].concat(), ["/ho", "me/"].concat(), ["../sha", "red/"].concat()];
    let holds = |line: &str| places.iter().any(|place| line.contains(place.as_str()));
    let lines = text.lines().enumerate().filter(|(_, line)| holds(line));
    lines
        .map(|(index, _)| Breach {
            file: file.to_owned(),
            line: index + 1,
            what: "a path of a workplace".to_owned(),
        })
        .collect()
}

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
        }
    }
    found
}

fn assert_none(breaches: &[Breach]) {
    let report = breaches.iter().fold(String::new(), |mut text, Breach { file, line, what }| {
        let _ = writeln!(text, "{file}:{line}: {what}");
        text
    });
    assert!(breaches.is_empty(), "\n{report}");
}

#[test]
fn the_sources_keep_the_rules() {
    let sources = files(".rs");
    assert!(sources.len() > 100, "the sources were not found: {}", sources.len());
    assert_none(&sources.iter().flat_map(|(file, text)| breaches(file, text)).collect::<Vec<_>>());
}

#[test]
fn no_file_knows_a_workplace() {
    let texts = [".rs", ".toml", ".md", ".sh", ".py"].into_iter().flat_map(files);
    assert_none(&texts.flat_map(|(file, text)| workplaces(&file, &text)).collect::<Vec<_>>());
}

#[test]
fn every_dependency_has_a_reason_and_a_user() {
    let (workspace, members): (Vec<_>, Vec<_>) =
        files("Cargo.toml").into_iter().partition(|(file, _)| file == "Cargo.toml");
    assert_none(&dependencies(&workspace[0].1, &members));
}

#[test]
fn the_lists_of_exceptions_are_up_to_date() {
    let sources = files(".rs");
    let text_of = |path: &str| {
        let (_, text) = sources
            .iter()
            .find(|(file, _)| file == path)
            .unwrap_or_else(|| panic!("{path} is gone"));
        text
    };
    for (path, _reason) in LONG_FILES {
        let lines = text_of(path).lines().count();
        assert!(lines > MAX_LINES, "{path} has {lines} lines: it needs no exception any more");
    }
    for (path, _reason) in UNSAFE_FILES {
        let used = code(path, text_of(path)).iter().any(|(_, line)| has_word(line, "unsafe"));
        assert!(used, "{path} needs no exception any more");
    }
}

/// The test itself: each rule finds its made-up offender, and lets the innocent go.
#[test]
fn made_up_offenders_are_found() {
    for (file, line) in [
        ("engine/src/node.rs", "use glommio::net::TcpStream;"),
        ("loadgen/src/main.rs", "    glommio::spawn_local(async {});"),
        ("engine/src/shard/submit.rs", "use tokio::sync::mpsc;"),
        ("engine/src/driver/core.rs", "use axum::Router;"),
        ("engine/src/shard/submit.rs", "use std::time::{Duration, Instant};"),
        ("engine/src/shard/submit.rs", "use std::{fs, io};"),
        ("engine/src/shard/submit.rs", "use std::{\n    fmt,\n    net::TcpStream,\n};"),
        ("engine/src/policy/mod.rs", "let now = std::time::SystemTime::now();"),
        ("engine/src/replica/mod.rs", "std::thread::sleep(pause);"),
        ("engine/src/log/recovery.rs", "use std::fs::File;"),
        ("engine/src/log/check.rs", "use memmap2::Mmap;"),
        ("wire/src/block.rs", "use std::fs::File;"),
        ("wire/src/frame/mod.rs", "use std::net::TcpStream;"),
        ("engine/src/shard/mod.rs", "use crate::driver::ShardChannels;"),
        ("engine/src/shard/mod.rs", "    crate::control::run(setup);"),
        ("engine/src/shard/mod.rs", "use crate::{limits, node};"),
        ("engine/src/blacklist/lists.rs", "use crate::shard::Shard;"),
        ("engine/src/log/read.rs", "use crate::shard::messages::Now;"),
        ("engine/src/control/mod.rs", "use crate::commands::serve;"),
        ("wire/src/record.rs", "use catraca_engine::shard::Shard;"),
        ("loadgen/src/run.rs", "use catraca_engine::shard::Shard;"),
        ("engine/src/node.rs", "    unsafe { libc::getpid() };"),
        ("engine/src/node.rs", concat!("        Kind::Other => todo", "!(),")),
        ("loadgen/src/run.rs", "let x = dbg!(y);"),
    ] {
        assert!(!breaches(file, line).is_empty(), "{file}: {line}");
    }
    assert!(!breaches("engine/src/node.rs", &"let a = 1;\n".repeat(MAX_LINES + 1)).is_empty());
    for (file, text) in [
        ("engine/src/driver/core.rs", "use glommio::net::TcpStream;"),
        ("engine/src/control/mod.rs", "use tokio::sync::mpsc;"),
        ("engine/src/shard/submit.rs", "use std::time::Duration;"),
        ("engine/src/shard/submit.rs", "// No glommio in here: std::fs neither."),
        ("engine/src/shard/submit.rs", "let instantly = Instantly;"),
        ("engine/src/shard/submit.rs", "#[cfg(test)]\nmod tests { use std::fs; }"),
        ("engine/src/commands/serve.rs", "use crate::{config, node};"),
        ("engine/src/driver/mod.rs", "use crate::{limits, shard};"),
        ("wire/src/client/connection.rs", "use std::net::TcpStream;"),
        ("wire/src/transaction.rs", "use std::net::IpAddr;"),
        ("engine/src/memory.rs", "    unsafe { prefetch() }"),
    ] {
        assert_eq!(breaches(file, text), [], "{file}: {text}");
    }
    assert_eq!(workplaces("README.md", &["see /wo", "rk/notes"].concat()).len(), 1);
    assert_eq!(workplaces("README.md", "the work/life balance"), []);
    let manifest = "[workspace.dependencies]\n# For a reason.\na = \"1\"\nb = \"1\"\n\nc = \"1\"\n[profile.dev]\nd = 1\n";
    let members =
        [("x/Cargo.toml".to_owned(), "a.workspace = true\nc = { workspace = true }\n".to_owned())];
    let found: Vec<usize> =
        dependencies(manifest, &members).iter().map(|breach| breach.line).collect();
    assert_eq!(found, [4, 6], "b has no user, c no reason");
}
