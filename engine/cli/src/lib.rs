//! The `catraca` command line: what each command does, and the import of lists, which only commands
//! need.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod commands;
pub mod import;
