//! Fuzzing: for each thing that takes bytes from outside, a function of bytes that asserts what
//! must hold whatever they are.
//!
//! `tests/fuzz` runs the bodies under libFuzzer; `tests/tests/fuzz.rs` runs them with every run of
//! the tests, over the corpus that is kept in the tree and over what [`mutate`] makes of it. A body
//! depends on its input only, never on an earlier one, so that a finding can be replayed. It reads
//! its input as a program where plain bytes would stop at the first check sum.
//!
//! Another target is one more file, one line in [`TARGETS`], its three lines in `tests/fuzz`, and a
//! first input in its corpus.

mod input;
mod list;
mod log;
pub mod mutate;
mod named;
mod policy;
mod proof;
mod replication;
mod session;
mod snapshot;
mod tokens;
mod validators;
mod windows;

/// Something to fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the fuzz target, and of the folder of its corpus.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub body: fn(&[u8]),
    /// Inputs that the suite makes of its corpus, by what one costs.
    pub mutations: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "list", body: list::body, mutations: 3_000 },
    Target { name: "log", body: log::body, mutations: 400 },
    Target { name: "named", body: named::body, mutations: 1_500 },
    Target { name: "policy", body: policy::body, mutations: 1_500 },
    Target { name: "proof", body: proof::body, mutations: 1_500 },
    Target { name: "replication", body: replication::body, mutations: 1_500 },
    Target { name: "session", body: session::body, mutations: 300 },
    Target { name: "snapshot", body: snapshot::body, mutations: 1_500 },
    Target { name: "validators", body: validators::body, mutations: 3_000 },
    Target { name: "windows", body: windows::body, mutations: 1_500 },
];

/// Runs the body of a target.
///
/// # Panics
/// When there is no such target, or something does not hold.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("there is no target {name}"));
    (target.body)(data);
}
