//! Policies of tests: their files, and what the program says of them.

use crate::command;
use crate::node::Node;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Writes a policy's file, or another one.
///
/// # Panics
/// When it can't be written.
pub fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

/// Runs `catraca policy` against a node, which must succeed, and parses what it prints.
///
/// # Panics
/// When it fails, or prints no JSON.
pub fn policy(node: &Node, args: &[&str]) -> Value {
    let address = node.listen.to_string();
    command::json([&["policy"], args, &["--addr", &address, "--json"]].concat())
}

/// Puts a policy into force, as [`policy`] does.
///
/// # Panics
/// As that does.
pub fn activate(node: &Node, path: &Path) -> Value {
    policy(node, &["activate", &path.display().to_string()])
}
