//! What the golden vectors hold. `examples/vectors.rs` writes them; `tests/vectors.rs` asserts that
//! the files say the same. What they say is in `frames`, `cluster` and `log`, the invented values in
//! `samples`, and how a value looks in JSON in `shapes`.
//!
//! In the JSON an integer of 64 bits is a decimal string (many parsers lose its last digits), a
//! zero-filled text is a string without its zeros, and opaque bytes are a string of hexadecimal
//! digits. A nested layout is an object.

mod audit;
mod auth;
mod behalf;
mod cluster;
mod frames;
mod lists;
mod log;
mod policies;
mod samples;
mod shapes;
mod validators;

pub use frames::frames;
pub use log::log;

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
