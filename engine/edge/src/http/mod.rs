//! The paths of the gateway, and what each answers.
//!
//! `server.rs` has the connections, `body.rs` what is read of a request, `decisions.rs` the payments.

mod body;
mod decisions;
mod server;
#[cfg(test)]
mod tests;

pub use server::serve;

use crate::link::Link;
use crate::problem::{NO_SUCH_PATH, Problem, WRONG_METHOD};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use std::time::Duration;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Door {
    /// To the node that decides.
    pub link: Link,
    /// The longest budget of a payment, and the longest wait for a look-up.
    pub timeout: Duration,
}

/// The paths.
pub fn router(door: Door) -> Router {
    Router::new()
        .route("/v1/decisions", post(decisions::decide))
        .route("/v1/decisions/{id}", get(decisions::look_up))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(async || Problem::new(NO_SUCH_PATH, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(WRONG_METHOD, "the path takes another method")
        })
        .with_state(door)
}

/// Whether a primary answers.
async fn ready(State(door): State<Door>) -> Response {
    match door.link.trouble() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("no primary answers: {why}\n"))
            .into_response(),
    }
}
