//! The paths of the gateway, and what each answers.
//!
//! `server.rs` and `sites.rs` have the connections, `proxied.rs` whom they are from behind a balancer, `guard.rs` and `limits.rs` who gets past them, `body.rs` what is read of a
//! request, `decisions.rs` the payments, `batch/` many of them at once, `operations.rs` what operators do, `receipts.rs` signed decisions,
//! `interaction.rs` the number of each request, `gzip.rs` what is packed,
//! `openapi.rs` the description of the paths.

mod batch;
mod body;
mod decisions;
#[cfg(test)]
mod door_tests;
mod guard;
mod gzip;
mod interaction;
mod limits;
mod linger;
mod metrics;
mod openapi;
mod operations;
mod proxied;
#[cfg(test)]
mod proxied_tests;
mod receipts;
mod server;
mod sites;
#[cfg(test)]
mod tests;

pub use limits::Rates;
pub(crate) use metrics::{BOUNDS_S, watch_router};
pub use metrics::{Metrics, Refusals, metrics_router};
pub use proxied::Proxies;
pub use server::serve;

use crate::auth::Auth;
use crate::link::Link;
use crate::permission::Permission;
use crate::problem::{NO_SUCH_PATH, Problem, WRONG_METHOD};
use crate::receipt::Receipts;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use guard::{Counts, Guard};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Door {
    /// To the node that decides.
    pub link: Link,
    /// The longest budget of a payment, and the longest wait for a look-up.
    pub timeout: Duration,
    /// Who may come in.
    pub auth: Arc<Auth>,
    /// How often.
    pub rates: Arc<Rates>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Signs receipts; none where there are none.
    pub receipts: Option<Arc<Receipts>>,
    /// Becomes true when the gateway stops: batches read no more then.
    pub stopping: watch::Receiver<bool>,
}

/// All paths with their methods: tests hold the router and `/openapi.json` to them.
const ROUTES: [(&str, &str); 19] = [
    ("/v1/decisions", "post"),
    ("/v1/decisions/{id}", "get"),
    ("/v1/decisions:batch", "post"),
    ("/v1/blacklist", "get"),
    ("/v1/blacklist/changes", "post"),
    ("/v1/lists/{name}", "get"),
    ("/v1/lists/{name}/find", "post"),
    ("/v1/lists/{name}/changes", "post"),
    ("/v1/rules/{name}/exemptions", "post"),
    ("/v1/labels", "post"),
    ("/v1/policy", "get"),
    ("/v1/policy/changes", "post"),
    ("/v1/policy/comparison", "get"),
    ("/v1/receipts/{id}", "get"),
    ("/.well-known/jwks.json", "get"),
    ("/livez", "get"),
    ("/readyz", "get"),
    ("/openapi.json", "get"),
    ("/docs", "get"),
];

/// The paths, each with the permission that it asks for.
pub fn router(door: Door) -> Router {
    let open = |route: &'static str, handler: MethodRouter<Door>| {
        debug_assert!(ROUTES.iter().any(|(path, _)| *path == route), "{route} is in the table");
        Router::new().route(route, handler)
    };
    let guarded = |route: &'static str, handler: MethodRouter<Door>, permission, counts| {
        let guard = Guard { door: door.clone(), route, permission, counts };
        let guard = from_fn_with_state(guard, guard::admit);
        open(route, handler.route_layer(guard))
    };
    let one = |route, handler, permission| guarded(route, handler, permission, Counts::Request);
    let (write, read) = (Permission::DecisionsWrite, Permission::DecisionsRead);
    let (see, lists) = (Permission::AdminRead, Permission::ListsWrite);
    let operations = Router::new()
        .merge(one("/v1/blacklist", get(operations::blacklist), see))
        .merge(one("/v1/blacklist/changes", post(operations::change_blacklist), lists))
        .merge(one("/v1/lists/{name}", get(operations::list), see))
        .merge(one("/v1/lists/{name}/find", post(operations::find_in_list), see))
        .merge(one("/v1/lists/{name}/changes", post(operations::change_list), lists))
        .merge(one("/v1/rules/{name}/exemptions", post(operations::exempt), lists))
        .merge(one("/v1/labels", post(operations::label), Permission::LabelsWrite))
        .merge(one("/v1/policy", get(operations::policy), see))
        .merge(one(
            "/v1/policy/changes",
            post(operations::change_policy),
            Permission::PoliciesWrite,
        ))
        .merge(one("/v1/policy/comparison", get(operations::compare), see));
    let paths = operations
        .merge(one("/v1/decisions", post(decisions::decide), write))
        .merge(one("/v1/decisions/{id}", get(decisions::look_up), read))
        // No id of a decision can take this path away.
        .merge(guarded("/v1/decisions:batch", post(batch::decide), write, Counts::Contents))
        .merge(one("/v1/receipts/{id}", get(receipts::receipt), read));
    // What everybody may read is not packed anew for everybody.
    let router = gzip::layered(paths)
        .merge(open("/.well-known/jwks.json", get(receipts::keys)))
        .merge(open("/livez", get(openapi::live)))
        .merge(open("/readyz", get(ready)))
        .merge(open("/openapi.json", get(openapi::document)))
        .merge(open("/docs", get(openapi::page)))
        .fallback(async || Problem::new(NO_SUCH_PATH, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(WRONG_METHOD, "the path takes another method")
        });
    let router =
        if door.auth.asks() { router } else { router.layer(from_fn(guard::keep_pages_out)) };
    // The outermost: every answer has its number, and refusals too.
    router.layer(from_fn(interaction::number)).with_state(door)
}

/// Whether a primary answers.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "gateway",
    responses(
        (status = 200, description = "One does", body = String),
        (status = 503, description = "None does", body = String),
    ),
)]
async fn ready(State(door): State<Door>) -> Response {
    match door.link.trouble() {
        None => "ready\n".into_response(),
        // Who is asked who it is, is told nothing of the nodes before.
        Some(_) if door.auth.asks() => {
            (StatusCode::SERVICE_UNAVAILABLE, "no primary answers\n").into_response()
        }
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("no primary answers: {why}\n"))
            .into_response(),
    }
}
