//! Load for catraca.
fn main() {}
