//! The subcommands, one file each: arguments, and what a person or a program reads.
//!
//! A command prints its result on standard output and returns a [`Failure`] for anything else; only
//! `main.rs` turns that into an exit status. Nothing here is on the path of a decision.

pub mod audit;
pub mod blacklist;
pub mod cluster;
mod connect;
mod csv_lines;
pub mod demo;
mod door;
mod follow;
pub mod gateway;
pub mod intake;
pub mod label;
pub mod log;
pub mod lookup;
mod matched_rules;
pub mod output;
pub mod policy;
pub mod provider;
mod report;
pub mod serve;
pub mod stats;
pub mod subject;
mod target;
mod totals;
pub mod validators;

use catraca_node::fatal::Failure;

/// What a command ends with: 0, or another status without an error (a check that found something).
pub type Outcome = Result<std::process::ExitCode, Failure>;
