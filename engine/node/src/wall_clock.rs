//! The clock of the day. Never for what must be safe: somebody may set it.

use std::time::SystemTime;

/// Nanoseconds since 1970 UTC; 0 where the clock stands before.
pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
