//! The log on disk: segments, recovery, reading. `wire/LOG.md` is its specification.
//!
//! `check` judges one block, [`recovery`] a stream, both pure: no I/O, no clock, no allocation.
//! [`proof`], pure too, takes out of a block what proves one of its records; [`clearing`] is the
//! order in which blocks are zeroed, [`ahead`] how many segments are kept ready. Around them, with
//! I/O: [`segment`] (names and making of files), `bytes` (files in memory), [`read`] (also while a
//! node writes), [`cursor`] (raw blocks, to send them on), [`startup`] (the only place that repairs
//! a tail), [`quarantine`] (what was cut off), [`lookup`] and [`key`]. The writing side is the shard's
//! journal, the driver and replication; nothing here seals a block.

pub mod ahead;
mod bytes;
mod check;
pub mod clearing;
pub mod cursor;
pub mod damage;
mod error;
pub mod hex;
pub mod key;
pub mod lookup;
pub mod proof;
pub mod quarantine;
pub mod read;
pub mod recovery;
pub mod segment;
pub mod startup;

pub use check::{BlockFault, BlockLocation, SoundBlock, Tail, received_block};
pub use error::LogError;
pub use read::LogReader;
pub use startup::{RecoveredStream, recover_stream};
