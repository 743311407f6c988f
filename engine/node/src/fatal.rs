//! How catraca ends: exit statuses, and the one sentence that goes with a failure.
//!
//! Statuses are stable, so that a supervisor can tell a wrong configuration from a dying disk.
//! engine/OPERATING.md lists them.

use std::fmt;

/// The exit status of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The command failed for the reason given.
    Failed = 1,
    /// The command line is wrong (clap's own status).
    Usage = 2,
    /// A check found what it looks for: a listed document, a log that does not verify.
    Found = 3,
    /// The configuration is wrong.
    Config = 10,
    /// The data directory can't be used: in use, not writable, of another cluster or version.
    DataDirectory = 11,
    /// The log is damaged in a way that must not be repaired by dropping records.
    LogDamaged = 12,
    /// A write or sync of the log failed while running. Nothing was acknowledged after it.
    DiskFailed = 13,
    /// The machine lacks something: io_uring, lockable memory, descriptors, a core.
    Environment = 14,
    /// A data core stopped making progress.
    Stuck = 15,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Failed,
        Self::Usage,
        Self::Found,
        Self::Config,
        Self::DataDirectory,
        Self::LogDamaged,
        Self::DiskFailed,
        Self::Environment,
        Self::Stuck,
    ];
}

/// A failure for a person: what, where, and what to do, in one sentence or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit status.
    pub status: Status,
    /// The sentence.
    pub message: String,
}

impl Failure {
    /// A failure with its status.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A plain failure, status 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Status::Failed, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Ends the process at once, from any thread: logs the failure and exits with its status. No
/// destructor runs, nothing more is answered.
pub fn end(failure: &Failure) -> ! {
    tracing::error!(status = failure.status as u8, "{failure}");
    std::process::exit(i32::from(failure.status as u8))
}
