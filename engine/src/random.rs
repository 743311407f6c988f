//! Random bytes from the system, for identities and keys.

use std::fs::File;
use std::io::Read;

/// Bytes that nobody can guess.
///
/// # Panics
/// Where `/dev/urandom` can't be read: no system that catraca runs on.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("Linux has /dev/urandom");
    bytes
}
