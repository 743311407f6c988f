//! The log's files: where they lie, how they are made, read and repaired. What they must hold is
//! judged by [`log`](catraca_core::log), which is pure.
//!
//! [`segment`] (names and making of files), `bytes` (files in memory), [`read`] (also while a node
//! writes), [`cursor`] (raw blocks, to send them on), [`startup`] (the only place that repairs a
//! tail), [`quarantine`] (what was cut off), [`lookup`], [`index_file`] and [`search`] (look-ups by indexes) and [`key`].

mod bytes;
pub mod cursor;
mod error;
pub mod index_file;
pub mod key;
pub mod lookup;
pub mod quarantine;
pub mod read;
pub mod search;
pub mod segment;
pub mod startup;

pub use error::LogError;
pub use read::LogReader;
pub use startup::{RecoveredStream, recover_stream};
