//! The rules of the house: who may use what, and what no file may hold. Broken, they name the file,
//! the line and the rule.
//!
//! It reads the sources as text, without comments and without the unit tests at a file's end:
//! enough to find a path or a word, and nothing that could be fooled by accident.

mod rules;

use catraca_tests::house::{Breach, assert_none, below, files, has_word};
use rules::RULES;

/// Longest file of Rust, lines: past this it is not read in one sitting.
const MAX_LINES: usize = 500;
/// Longer files, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];
/// Files that may hold `unsafe`, each with what for.
const UNSAFE_FILES: [(&str, &str); 9] = [
    ("benches/tests/allocations.rs", "a global allocator that counts"),
    (
        "engine/edge/src/intake/kafka/headers.rs",
        "headers whose names are no text, which end the library",
    ),
    ("engine/node/src/driver/accept.rs", "borrows the descriptor of a socket"),
    ("engine/node/src/driver/connection.rs", "borrows the descriptor of a socket"),
    ("engine/node/src/threads.rs", "a system call without a wrapper"),
    ("engine/node/src/driver/requirements.rs", "a system call without a wrapper"),
    ("engine/core/src/memory.rs", "a table over a memory map, the prefetch instruction"),
    ("engine/node/src/signals.rs", "system calls without a wrapper"),
    ("tests/src/sandbox.rs", "system calls between fork and exec, for tests of poor environments"),
];

const THIS_FOLDER: &str = "tests/tests/house/";

/// The lines of a source with their numbers: comments taken out, and in a crate's `src` the unit
/// tests at the end as well. An import is one line, with the paths that its groups stand for behind
/// it.
fn code(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut import = false;
    for (index, line) in text.lines().enumerate() {
        let tests_follow =
            || text.lines().nth(index + 1).is_some_and(|next| next.starts_with("mod tests"));
        if file.contains("/src/") && line == "#[cfg(test)]" && tests_follow() {
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

/// What one file breaks.
fn breaches(file: &str, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut breach = |line, what: String| found.push(Breach { file: file.to_owned(), line, what });
    // This file names what it looks for.
    let lines = if file.starts_with(THIS_FOLDER) { Vec::new() } else { code(file, text) };
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
        ("engine/node/src/config.rs", "use glommio::net::TcpStream;"),
        ("loadgen/src/main.rs", "    glommio::spawn_local(async {});"),
        ("engine/core/src/shard/submit.rs", "use tokio::sync::mpsc;"),
        ("engine/node/src/driver/core.rs", "use axum::Router;"),
        ("engine/node/src/validators/http.rs", "use axum::Router;"),
        ("engine/node/src/validators/http.rs", "use crate::control::policies;"),
        ("engine/cli/src/commands/policy/ask.rs", "use hyper::Request;"),
        ("engine/cli/src/commands/gateway/mod.rs", "use tokio::net::TcpListener;"),
        ("engine/tokens/src/claims.rs", "use tokio::time::timeout;"),
        ("engine/edge/src/link/exchange.rs", "use tokio::sync::mpsc;"),
        ("engine/edge/src/link/recovery.rs", "use std::time::Instant;"),
        ("engine/edge/src/link/driver.rs", "use crate::problem::Problem;"),
        ("engine/edge/src/intake/desk.rs", "use lapin::message::Delivery;"),
        ("engine/edge/src/intake/message.rs", "use rdkafka::message::BorrowedMessage;"),
        ("engine/edge/src/intake/desk.rs", "use std::time::SystemTime;"),
        ("engine/edge/src/http/batch/mod.rs", "use crate::intake::Message;"),
        ("engine/edge/src/json/answer.rs", "use axum::Json;"),
        ("engine/core/src/shard/submit.rs", "use std::time::{Duration, Instant};"),
        ("engine/core/src/shard/submit.rs", "use std::{fs, io};"),
        ("engine/core/src/shard/submit.rs", "use std::{\n    fmt,\n    net::TcpStream,\n};"),
        ("engine/core/src/policy/mod.rs", "let now = std::time::SystemTime::now();"),
        ("engine/core/src/replica/mod.rs", "std::thread::sleep(pause);"),
        ("engine/core/src/log/recovery.rs", "use std::fs::File;"),
        ("engine/core/src/log/check.rs", "use memmap2::Mmap;"),
        ("engine/core/src/calendar.rs", "    let rules = TimeZone::get(name);"),
        ("engine/core/src/replica/state.rs", "use crate::policy::Policy;"),
        ("engine/core/src/validate/asker.rs", "use crate::policy::Policy;"),
        ("engine/node/src/control/mod.rs", "use crate::driver::CoreSetup;"),
        ("engine/node/src/config.rs", "#[cfg(test)]\nuse std::fmt;\nuse crate::driver::Core;"),
        ("engine/core/src/blacklist/memory.rs", "    let map = unsafe { Mmap::map(&file) };"),
        ("wire/src/block.rs", "use std::fs::File;"),
        ("wire/src/frame/mod.rs", "use std::net::TcpStream;"),
        ("engine/core/src/blacklist/lists.rs", "use crate::shard::Shard;"),
        ("engine/core/src/log/check.rs", "use crate::{limits, shard};"),
        ("engine/node/src/replication/feed.rs", "use crate::driver::CoreSetup;"),
        ("engine/node/src/replication/feed.rs", "    crate::control::run(setup);"),
        ("engine/node/src/driver/core.rs", "use crate::{mailbox, replication};"),
        ("engine/node/src/control/mod.rs", "use crate::lifecycle::run;"),
        ("engine/node/src/log_files/read.rs", "use crate::replication::Replication;"),
        ("engine/node/src/config.rs", "    unsafe { libc::getpid() };"),
        ("engine/node/src/config.rs", concat!("        Kind::Other => todo", "!(),")),
        ("loadgen/src/run.rs", "let x = dbg!(y);"),
    ] {
        assert!(!breaches(file, line).is_empty(), "{file}: {line}");
    }
    assert!(
        !breaches("engine/node/src/config.rs", &"let a = 1;\n".repeat(MAX_LINES + 1)).is_empty()
    );
    for (file, text) in [
        ("engine/node/src/driver/core.rs", "use glommio::net::TcpStream;"),
        ("engine/node/src/control/mod.rs", "use tokio::sync::mpsc;"),
        ("engine/node/src/validators/http.rs", "use tokio::sync::Semaphore;"),
        ("engine/edge/src/link/driver.rs", "use tokio::sync::mpsc;"),
        ("engine/edge/src/http/mod.rs", "use axum::Router;"),
        ("engine/core/src/shard/submit.rs", "use std::time::Duration;"),
        ("engine/core/src/shard/submit.rs", "// No glommio in here: std::fs neither."),
        ("engine/core/src/shard/submit.rs", "let instantly = Instantly;"),
        ("engine/core/src/shard/submit.rs", "#[cfg(test)]\nmod tests { use std::fs; }"),
        ("engine/core/src/blacklist/memory.rs", "use memmap2::MmapMut;"),
        ("engine/cli/src/commands/serve.rs", "use catraca_node::{config, lifecycle};"),
        ("engine/node/src/driver/mod.rs", "use crate::{channels, threads};"),
        ("wire/src/client/connection.rs", "use std::net::TcpStream;"),
        ("wire/src/transaction.rs", "use std::net::IpAddr;"),
        ("engine/core/src/memory.rs", "    unsafe { prefetch() }"),
    ] {
        assert_eq!(breaches(file, text), [], "{file}: {text}");
    }
    assert_eq!(workplaces("README.md", &["see /wo", "rk/notes"].concat()).len(), 1);
    assert_eq!(workplaces("README.md", "the work/life balance"), []);
}
