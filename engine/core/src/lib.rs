//! The core of catraca: what a node decides, as plain state machines. No socket, no file, no clock,
//! no thread and no runtime in here: bytes, times and durable writes are handed in, and what is to
//! be done is given out. `catraca-node` moves it with real ones, the simulator with fakes.
//!
//! ```text
//! shard       one data core: sessions, admission, dedupe, journal, answers
//! policy      what is decided of a transaction        blacklist   who is listed, and how a shard asks
//! replica     what a node does about the others       log         what a log must look like
//! rebuild     the shards' state out of blocks         observe     counters and histograms
//! named_lists what people put beside a policy's rules while they are in force
//! validate    how one service outside is asked about payments
//! ```
//!
//! Arrows point down only: `shard` → `policy`, `replica` → `blacklist`, `named_lists`, `log` → `catraca_wire`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod blacklist;
pub mod calendar;
pub mod cut_off;
pub mod limits;
pub mod log;
pub mod memory;
pub mod named_lists;
pub mod observe;
pub mod owner;
pub mod policy;
pub mod rebuild;
pub mod replica;
pub mod shard;
mod slot_index;
pub mod validate;
