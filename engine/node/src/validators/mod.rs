//! Services outside that a policy asks about a payment.

mod came;
pub mod desk;
pub mod http;
pub mod line;
pub mod shared;
pub mod spec;
mod told;
