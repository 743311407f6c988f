//! What catraca's parts say to each other and to the disk: documents, frames, records and log
//! blocks.
//!
//! Nothing here does I/O, reads a clock or knows a runtime. Byte layouts are defined once, as Rust
//! structs whose archived form ([`rkyv`]) is the layout; sizes are asserted when this crate is
//! compiled, and the golden vectors in `wire/vectors/` pin every byte for clients in other
//! languages. `PROTOCOL.md` and `LOG.md` beside this crate say the same in prose.
//!
//! The blocking client lives behind the feature `client` and is the only module that opens a
//! socket.

pub mod address;
pub mod block;
#[cfg(feature = "client")]
pub mod client;
pub mod document;
pub mod extension;
pub mod frame;
pub mod list;
pub mod log_start;
pub mod packed;
pub mod record;
pub mod replication;
pub mod short_text;
pub mod transaction;

pub use document::{DocumentError, DocumentKey, DocumentKind};
