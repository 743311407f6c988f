//! The log: segments, recovery, reading.
