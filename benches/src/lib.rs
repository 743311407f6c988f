//! What the benches share: the state machine of one shard with a disk that is done at once, and
//! transactions to feed it.
//!
//! Nothing here measures; the benches, the counting test and the programs in `bin/` do.

mod frames;
mod machine;
mod policies;
pub mod processes;

pub use frames::Frames;
pub use machine::{CHAIN_KEY, Machine, Setup, WALL_NS, list};
pub use policies::{pix, rules, rules_with_validator, rules_with_windows};
