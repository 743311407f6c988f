//! The log's files: where they lie, how they are made, read and repaired. What they must hold is
//! judged by [`log`](catraca_core::log), which is pure.
//!
//! [`segment`] (names and making of files), [`segment_file`] (a segment's bytes, out of either file),
//! [`log_start`] (where a stream begins), [`removal`] (of old segments), [`checkpoint`], [`packed`] and [`pack`] (segments without padding, compressed), `bytes` (segments in memory), [`read`]
//! (also while a node writes), [`cursor`] (raw blocks, to send them on), [`startup`] (the only place that
//! repairs a tail), [`turn`] (who may replace files), [`quarantine`] (what was cut off), [`trail`] (of who asked for what), [`lookup`], [`indexed`], [`index_file`] and [`search`] (look-ups by indexes),
//! [`dedupe_file`] (what a start reads in a segment's place), [`past`] (windows of a policy) and [`key`].

mod bytes;
pub mod checkpoint;
pub mod cursor;
pub mod dedupe_file;
mod error;
pub mod index_file;
pub mod indexed;
pub mod key;
pub mod log_start;
pub mod lookup;
pub mod pack;
pub mod packed;
pub mod past;
pub mod quarantine;
pub mod read;
pub mod removal;
pub mod search;
pub mod segment;
pub mod segment_file;
pub mod startup;
pub mod trail;
pub mod turn;
pub mod windows_file;

pub use error::LogError;
pub use read::LogReader;
pub use startup::{RecoveredStream, recover_stream};
