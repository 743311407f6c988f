//! What the tests of the whole system share: starting nodes as real processes, speaking to them
//! byte by byte, loading them, and reading the log that they leave.
//!
//! The tests are in `tests/`; the crate's README.md says what is tested where. Nothing of the
//! product belongs here, and nothing here may be used by it.

pub mod balancers;
pub mod binary;
pub mod clock;
pub mod command;
pub mod disk;
pub mod fuzz;
pub mod gateway;
pub mod house;
pub mod intake;
pub mod issuer;
pub mod kafka;
pub mod load;
pub mod logs;
pub mod network;
pub mod node;
pub mod pair;
pub mod payments;
pub mod policies;
pub mod rabbit;
pub mod raw;
pub mod sandbox;
pub mod services;
pub mod sim;
pub mod tls;
