//! What tests and benches drive a shard, write a log and name documents of lists with. Knows the
//! core alone: no file, no socket, no runtime. Nothing of the product belongs here, and nothing here
//! may be used by it.

#![allow(missing_docs, reason = "names of tests' own world, read beside the tests")]

pub mod lists;
pub mod log;
pub mod shard;
