//! What runs a node: moves the state machines of `catraca-core` with sockets, files, timers and
//! threads. `driver/` alone knows glommio, `control/` alone knows tokio.
//!
//! Arrows point down only: `lifecycle` → `control` → `replication`, `lifecycle` → `driver`, all →
//! files, mailboxes, threads → `catraca_core` → `catraca_wire`. A test in `tests/` holds the house to what rustc can't.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod archive_place;
mod available_memory;
pub mod balancers;
pub mod block_file;
pub mod channels;
pub mod config;
pub mod control;
pub mod data_dir;
pub mod descriptors;
pub mod driver;
pub mod fatal;
pub mod from_log;
pub mod in_use;
pub mod lifecycle;
pub mod list_files;
pub mod live_feed;
pub mod log_files;
pub mod logging;
pub mod mailbox;
mod memory_ahead;
mod pages;
pub mod policy_file;
pub mod policy_windows;
mod random;
pub mod replay;
pub mod replication;
pub mod signals;
pub mod socket;
mod threads;
pub mod time_zone;
pub mod validators;
pub mod wall_clock;
pub mod whole_file;
