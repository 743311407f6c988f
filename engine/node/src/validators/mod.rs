//! Services outside that a policy asks about a payment.

pub mod http;
pub mod spec;
