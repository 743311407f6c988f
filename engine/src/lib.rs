//! The engine of catraca: the decision's path as a plain state machine, and what moves it.
//!
//! Arrows point down only: `commands` → `node` → `driver`, `control` → `shard` → `policy`,
//! `blacklist`, `log` → `catraca_wire`. `driver/` alone knows glommio, `control/` alone knows
//! tokio; `shard/`, `policy/` and `log`'s recovery do no I/O and read no clock. A test in `tests/`
//! holds the house to this.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod blacklist;
pub mod block_file;
pub mod calendar;
pub mod channels;
pub mod commands;
pub mod config;
pub mod control;
pub mod data_dir;
pub mod descriptors;
pub mod driver;
pub mod fatal;
pub mod from_log;
pub mod import;
pub mod limits;
pub mod list_files;
pub mod live_feed;
pub mod log;
pub mod log_files;
pub mod mailbox;
mod memory;
pub mod node;
pub mod observe;
mod pages;
pub mod policy;
mod random;
pub mod rebuild;
pub mod replica;
pub mod replication;
pub mod shard;
pub mod signals;
pub mod socket;
mod threads;
pub mod whole_file;
