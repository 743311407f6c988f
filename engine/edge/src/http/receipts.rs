//! `/v1/receipts`: decisions with a signature, and the keys that check it.

use super::{Door, body};
use crate::caller::Caller;
use crate::json::StoredView;
use crate::problem::{NO_RECEIPTS, Problem};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A JWS in its compact form (RFC 7515, section 9.2.1).
const JOSE: &str = "application/jose";
/// How long the keys may be kept: whoever meets a `kid` that is not among them asks anew.
const KEYS_CACHED: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// A decision, signed: a JWS (PS256) of the members of a look-up, with `iss`, `iat` and `institution`.
#[utoipa::path(
    get,
    path = "/v1/receipts/{id}",
    security((), ("bearer" = ["decisions:read"])),
    params(
        ("id" = String, Path, description = "The id of the transaction", example = "order-1"),
        ("payer" = Option<String>, Query, description = "CPF or CNPJ of the payer, where ids may repeat"),
    ),
    responses((status = 200, description = "The receipt", body = String, content_type = "application/jose")),
)]
pub(super) async fn receipt(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let signed = async {
        let receipts = Arc::clone(door.receipts.as_ref().ok_or_else(no_receipts)?);
        let stored = door.look_up(&caller, id, query.as_deref()).await?;
        let institution = stored.record.submitter.institution;
        let view = StoredView::new(&stored);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A signature takes as long as a thousand decisions: not on their thread.
        let signing = tokio::task::spawn_blocking(move || {
            receipts.sign(&view, institution, now.as_secs()).map_err(|error| error.to_string())
        });
        let signed = signing.await.unwrap_or_else(|error| Err(error.to_string()));
        signed.map_err(|why| {
            tracing::error!(why, "a receipt can't be signed");
            Problem::new(NO_RECEIPTS, "the key does not sign")
        })
    };
    match signed.await {
        Ok(signed) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(JOSE)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (headers, signed).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// The public keys of receipts, a JWKS (RFC 7517).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "gateway",
    responses((status = 200, description = "The keys", body = Object), (status = 501, description = "There are none")),
)]
pub(super) async fn keys(State(door): State<Door>) -> Response {
    let Some(receipts) = &door.receipts else { return no_receipts().into_response() };
    let media = HeaderValue::from_static(body::JSON);
    let headers = [(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, KEYS_CACHED)];
    (headers, receipts.jwks().to_owned()).into_response()
}

fn no_receipts() -> Problem {
    Problem::new(NO_RECEIPTS, "this gateway has no key to sign receipts with")
}
