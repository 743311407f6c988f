//! Doors of catraca for those who speak HTTP and JSON.
//!
//! A gateway is stateless: it holds connections to the nodes and requests that wait, and nothing that is
//! lost with it. Every door leads to the same dedupe, so one id through any door gives one decision. It
//! speaks the client protocol and knows nothing of the engine; as many run as are wanted.

pub mod json;
pub mod link;
