//! Services outside that a policy asks about a payment.

pub mod desk;
pub mod http;
pub mod spec;
