//! Random bytes, from the kernel.

/// So many unpredictable bytes: for keys, identities and nonces. Needs no descriptor on any kernel
/// that catraca runs on, so that it works where there is none left.
///
/// # Panics
/// Where the kernel has no random bytes: none that catraca runs on.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    bytes
}
