//! `/v1/decisions`: a payment is decided on, and a decision is looked up.

use super::{Door, body};
use crate::caller::Caller;
use crate::json::{self, DecisionView, Members, StoredView};
use crate::link::{Outcome, Request};
use crate::problem::{BAD_REQUEST, NO_PRIMARY, Problem};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use catraca_wire::DocumentKey;
use catraca_wire::client::StoredDecision;
use catraca_wire::client::rules::ANSWER_GRACE;
use catraca_wire::frame::{FrameKind, LookupFrame, Transaction, transaction_id};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// The header whose trace id the record keeps (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

/// Decide on a payment. The status is 200 for every verdict.
#[utoipa::path(
    post,
    path = "/v1/decisions",
    security((), ("bearer" = ["decisions:write"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The id of the transaction, where the body has none"),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context; its trace id goes into the record"),
    ),
    request_body = Members,
    responses((status = 200, description = "What was decided", body = DecisionView)),
)]
pub(super) async fn decide(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    request: HttpRequest,
) -> Response {
    door.decide(&caller, request).await.unwrap_or_else(|problem| problem.into_response())
}

/// Look a decision up. Documents are masked.
#[utoipa::path(
    get,
    path = "/v1/decisions/{id}",
    security((), ("bearer" = ["decisions:read"])),
    params(
        ("id" = String, Path, description = "The id of the transaction", example = "order-1"),
        ("payer" = Option<String>, Query, description = "CPF or CNPJ of the payer, where ids may repeat"),
    ),
    responses((status = 200, description = "What the log holds", body = StoredView)),
)]
pub(super) async fn look_up(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    match door.look_up(&caller, id, query.as_deref()).await {
        Ok(stored) => answer(&StoredView::new(&stored)),
        Err(problem) => problem.into_response(),
    }
}

impl Door {
    async fn decide(&self, caller: &Caller, request: HttpRequest) -> Result<Response, Problem> {
        let (head, sent) = request.into_parts();
        body::check_type(&head.headers, &[body::JSON])?;
        let key = body::idempotency_key(&head.headers)?;
        let sent = body::read(sent, body::MAX_BODY_LEN).await?;
        let mut transaction =
            json::read(&sent, key).map_err(|mistake| Problem::of_mistake(&mistake))?;
        transaction.trace_id = trace_id(&head.headers);
        let budget_end = self.begin_budget(&mut transaction);
        let request = Request::submit(caller, &transaction, self.link.at(budget_end));
        match self.link.ask(request, budget_end + ANSWER_GRACE).await {
            Outcome::Decided(decision) => {
                Ok(answer(&DecisionView::new(&transaction.id, &decision)))
            }
            other => Err(Problem::of_outcome(other)),
        }
    }

    /// The time of a transaction begins; gives when it ends.
    pub(super) fn begin_budget(&self, transaction: &mut Transaction) -> Instant {
        let budget = Duration::from_micros(u64::from(transaction.effective_budget_us()));
        let budget = budget.min(self.timeout);
        // At most the transaction's own, which fits.
        transaction.budget_us = budget.as_micros() as u32;
        Instant::now() + budget
    }

    /// The decision on the transaction that path and query name.
    pub(super) async fn look_up(
        &self,
        caller: &Caller,
        id: Result<Path<String>, PathRejection>,
        query: Option<&str>,
    ) -> Result<Box<StoredDecision>, Problem> {
        // What is no UTF-8 is no id either.
        let id = id.map(|Path(id)| id).unwrap_or_default();
        let wrong = |why: &str| Problem::new(BAD_REQUEST, why);
        let mut frame = LookupFrame::empty(0);
        frame.id = transaction_id(&id)
            .ok_or_else(|| wrong("an id is 1 to 32 printable ASCII characters without spaces"))?;
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            let payer = query.strip_prefix("payer=").filter(|rest| !rest.contains('&'));
            let payer = payer.ok_or_else(|| wrong("payer is the only parameter, given once"))?;
            // In a query a document may have its mask, whose slash some encode.
            let payer = payer.replace("%2F", "/").replace("%2f", "/");
            let payer = DocumentKey::parse(&payer).map_err(|e| wrong(&format!("payer: {e}")))?;
            frame.payer = payer.to_wire();
        }
        let request = Request::repeatable(caller, &frame, FrameKind::Record);
        match self.link.ask(request, Instant::now() + self.timeout).await {
            Outcome::Stored(stored) => Ok(stored),
            // A look-up records who asked, and nothing that could be in doubt.
            Outcome::NoAnswer { detail, .. } => Err(Problem::new(NO_PRIMARY, detail)),
            Outcome::Refused { error, .. } => Err(Problem::of_node(&error, false)),
            other => Err(Problem::of_outcome(other)),
        }
    }
}

/// The trace id of a request; zeros where it has none that is sound.
pub(super) fn trace_id(headers: &HeaderMap) -> [u8; 16] {
    let trace = headers.get(TRACEPARENT).and_then(|header| header.to_str().ok());
    trace.and_then(json::trace_id).unwrap_or_default()
}

pub(super) fn answer(view: &impl Serialize) -> Response {
    let body = serde_json::to_string(view).expect("text and numbers are JSON");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}
