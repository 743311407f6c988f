//! Services outside that a policy asks about a payment.

pub mod spec;
