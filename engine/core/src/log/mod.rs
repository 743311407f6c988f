//! What a log must look like: judging a block, recovering a stream, proving a record. `wire/LOG.md`
//! is its specification. All of it is pure: no I/O, no clock.
//!
//! `check` judges one block, [`recovery`] a stream; [`proof`] takes out of a block what proves one
//! of its records; [`clearing`] is the order in which blocks are zeroed, [`ahead`] how many segments
//! are kept ready, [`filling`] how long the disk lasts, [`index`] where in a segment a decision lies, [`packed`] the form of full segments
//! that takes less room, [`start`] where a stream begins whose oldest segments were cut off. The writing side is the shard's journal; nothing here seals a block.

pub mod ahead;
mod check;
pub mod clearing;
pub mod damage;
pub mod filling;
pub mod hex;
pub mod index;
pub mod packed;
pub mod policies;
pub mod proof;
pub mod recovery;
pub mod start;

pub use check::{BlockFault, BlockLocation, SoundBlock, Tail, received_block, segment_head};
