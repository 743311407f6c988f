//! Load for catraca: transactions at a rate or at a depth, every answer timed and, if asked,
//! checked.
//!
//! The path of a run, each step its own file: [`options`] (what is asked) → [`list`] and
//! [`documents`] (who pays whom, and who is listed) → `plan` (when, in an open loop) →
//! [`transactions`] (the bytes of a SUBMIT) → `nodes`, `handshake`, `link`, `connection`, `poller`, `slots`
//! (the sockets and what is unanswered on each) → [`run()`] (the loop, and what it does when the
//! primary is lost) → `record` (counts, histograms, violations) → [`report`] and the three ways to
//! show it: [`table`], [`hgrm`], [`plot`]. A run that is asked to keeps its [`answers`].
//! [`progress`] watches a run from another thread, through a [`monitor`].
//!
//! A run may be asked for a [`scenario`] instead: Pix traffic of several days with known frauds in it,
//! and the truth kept apart, which its report holds the verdicts to.
//!
//! [`list`], [`documents`] and [`transactions`] are public for the load on other systems that
//! catraca is compared with.
//!
//! One thread drives everything, without locks, without allocating per transaction and, as soon as
//! several are in flight, without a system call per transaction. Nothing here knows the engine: it
//! is measured through its protocol alone.

pub mod answers;
mod connection;
pub mod documents;
mod handshake;
pub mod hgrm;
mod link;
pub mod list;
pub mod monitor;
mod nodes;
pub mod options;
mod pin;
mod plan;
pub mod plot;
mod poller;
pub mod progress;
mod record;
pub mod report;
pub mod run;
pub mod scenario;
mod slots;
pub mod table;
pub mod transactions;
pub mod whole_file;

pub use answers::Answers;
pub use monitor::Monitor;
pub use options::{LoadError, Options};
pub use report::Report;
pub use run::run;
