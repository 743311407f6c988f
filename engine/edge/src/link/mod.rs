//! The binary link: many requests over few connections to the node that decides.
//!
//! ```text
//! handlers → Link → driver → Exchange (pure) → driver → connection → node
//!                      ↑                                     │
//!                      └────────────── events ───────────────┘
//! ```
//!
//! `exchange.rs`, `recovery.rs`, `lane.rs` and `request.rs` decide what is sent where, what is sent
//! again, and which answer belongs to whom; they do no I/O and read no clock. `driver.rs` moves them,
//! `connection.rs` has the sockets, and `many.rs` is for who asks for much at once.

mod connection;
mod driver;
mod exchange;
mod lane;
mod many;
mod recovery;
mod request;
#[cfg(test)]
mod tests;

pub use driver::{Link, Setup};
pub use exchange::{DialError, Effect, Exchange, Patience};
pub use many::Many;
pub use request::{Outcome, Request};
