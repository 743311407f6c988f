//! What operators do: the blacklist, named lists, exemptions, labels, policies. Each is one request to the node,
//! which records it with its client before it is answered.

use super::decisions::answer;
use super::{Door, body};
use crate::caller::Caller;
use crate::json::Mistake;
use crate::json::operations::{
    BlacklistMembers, BlacklistView, ComparisonView, ExemptionMembers, FindMembers, LabelMembers,
    LabelView, ListMembers, ListView, PolicyMembers, PolicyView, list_name, read_blacklist,
    read_exemption, read_find, read_label, read_list, read_policy,
};
use crate::link::{Outcome, Request};
use crate::problem::{NO_ANSWER, NO_PRIMARY, Problem};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request as HttpRequest, State};
use axum::response::{IntoResponse as _, Response};
use catraca_wire::client::rules::Body;
use catraca_wire::frame::{
    BlacklistChange, BlacklistFrame, BlacklistOp, FrameKind, LabelFrame, ListFrame, ListRequest,
    PolicyChange, PolicyFrame, PolicyOp,
};
use catraca_wire::list::ListOp;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// How long a node may take: a policy whose windows are new reads the log before it is in force.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a path names: a list, or a rule.
type Named = Result<Path<String>, PathRejection>;

/// See the blacklist.
#[utoipa::path(
    get,
    path = "/v1/blacklist",
    security((), ("bearer" = ["admin:read"])),
    responses((status = 200, description = "Its state", body = BlacklistView)),
)]
pub(super) async fn blacklist(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
) -> Response {
    told(door.blacklist(&caller, &BlacklistChange::describe()).await)
}

/// Change the blacklist.
#[utoipa::path(
    post,
    path = "/v1/blacklist/changes",
    security((), ("bearer" = ["lists:write"])),
    request_body = BlacklistMembers,
    responses((status = 200, description = "It is done, and recorded", body = BlacklistView)),
)]
pub(super) async fn change_blacklist(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    request: HttpRequest,
) -> Response {
    let changed = async {
        let change = read(request, read_blacklist).await?;
        door.blacklist(&caller, &change).await
    };
    told(changed.await)
}

/// See a named list.
#[utoipa::path(
    get,
    path = "/v1/lists/{name}",
    security((), ("bearer" = ["admin:read"])),
    params(("name" = String, Path, description = "Name of the list", example = "vip", pattern = "^[a-z0-9-]{1,64}$")),
    responses((status = 200, description = "Its state", body = ListView)),
)]
pub(super) async fn list(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    name: Named,
) -> Response {
    let seen = async {
        let name = list_name(&text(name)).map_err(of)?;
        door.list(&caller, &ListRequest::describe(name)).await
    };
    told(seen.await)
}

/// Look whether a key is in a named list. The key stands in the body, because it may be a document.
#[utoipa::path(
    post,
    path = "/v1/lists/{name}/find",
    security((), ("bearer" = ["admin:read"])),
    params(("name" = String, Path, description = "Name of the list", example = "vip", pattern = "^[a-z0-9-]{1,64}$")),
    request_body = FindMembers,
    responses((status = 200, description = "`is_in` says it", body = ListView)),
)]
pub(super) async fn find_in_list(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    name: Named,
    request: HttpRequest,
) -> Response {
    let seen = async {
        let name = list_name(&text(name)).map_err(of)?;
        let asked = read(request, |body| read_find(body, name)).await?;
        door.list(&caller, &asked).await
    };
    told(seen.await)
}

/// Change a named list.
#[utoipa::path(
    post,
    path = "/v1/lists/{name}/changes",
    security((), ("bearer" = ["lists:write"])),
    params(("name" = String, Path, description = "Name of the list", example = "vip", pattern = "^[a-z0-9-]{1,64}$")),
    request_body = ListMembers,
    responses((status = 200, description = "It is done, and recorded", body = ListView)),
)]
pub(super) async fn change_list(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    name: Named,
    request: HttpRequest,
) -> Response {
    let changed = async {
        let name = list_name(&text(name)).map_err(of)?;
        let read_it = |body: &[u8]| read_list(body, name, caller.name.as_str());
        let change = read(request, read_it).await?;
        door.list(&caller, &change).await
    };
    told(changed.await)
}

/// Exempt a key from a rule, or take that back.
#[utoipa::path(
    post,
    path = "/v1/rules/{name}/exemptions",
    security((), ("bearer" = ["lists:write"])),
    params(("name" = String, Path, description = "Id of the rule", example = "night-limit", pattern = "^[a-z0-9-]{1,64}$")),
    request_body = ExemptionMembers,
    responses((status = 200, description = "It is done, and recorded", body = ListView)),
)]
pub(super) async fn exempt(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    name: Named,
    request: HttpRequest,
) -> Response {
    let changed = async {
        let rule = list_name(&text(name)).map_err(of)?;
        let read_it = |body: &[u8]| read_exemption(body, rule, caller.name.as_str());
        let change = read(request, read_it).await?;
        door.list(&caller, &change).await
    };
    told(changed.await)
}

/// Say what became known of a decision.
#[utoipa::path(
    post,
    path = "/v1/labels",
    security((), ("bearer" = ["labels:write"])),
    request_body = LabelMembers,
    responses((status = 200, description = "It is recorded", body = LabelView)),
)]
pub(super) async fn label(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    request: HttpRequest,
) -> Response {
    let labelled = async {
        let label = read(request, read_label).await?;
        // The same label is taken once, so that it may be sent again.
        let request =
            Request::repeatable(&caller, &LabelFrame::from(&label), FrameKind::LabelState);
        door.operate(request, |body| match body {
            Body::LabelState(state) => Some(LabelView::from(&state)),
            _ => None,
        })
        .await
    };
    told(labelled.await)
}

/// See the policy in force.
#[utoipa::path(
    get,
    path = "/v1/policy",
    security((), ("bearer" = ["admin:read"])),
    responses((status = 200, description = "Its state", body = PolicyView)),
)]
pub(super) async fn policy(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
) -> Response {
    told(door.policy(&caller, &PolicyChange::describe()).await)
}

/// Change the policy: a state after `activate` and `rollback`, a comparison after `candidate` and `end_candidate`.
#[utoipa::path(
    post,
    path = "/v1/policy/changes",
    security((), ("bearer" = ["policies:write"])),
    request_body = PolicyMembers,
    responses((status = 200, description = "It is done, and recorded; or it waits for another client", body = inline(Changed))),
)]
pub(super) async fn change_policy(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    request: HttpRequest,
) -> Response {
    let changed = async {
        let change = read(request, read_policy).await?;
        door.policy(&caller, &change).await
    };
    told(changed.await)
}

/// See what came of the policy that is tried.
#[utoipa::path(
    get,
    path = "/v1/policy/comparison",
    security((), ("bearer" = ["admin:read"])),
    responses((status = 200, description = "What came of it", body = ComparisonView)),
)]
pub(super) async fn compare(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
) -> Response {
    told(door.policy(&caller, &PolicyChange::compare()).await)
}

/// What a change of the policy is answered with.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(super) enum Changed {
    Policy(PolicyView),
    Comparison(ComparisonView),
}

impl Door {
    async fn blacklist(
        &self,
        caller: &Caller,
        change: &BlacklistChange,
    ) -> Result<Response, Problem> {
        let frame = BlacklistFrame::from(change);
        let is_look = change.op == BlacklistOp::Describe.to_wire();
        let request = ask(caller, &frame, FrameKind::BlacklistState, is_look);
        let changed = self.operate(request, |body| match body {
            Body::BlacklistState(state) => Some(BlacklistView::from(&state)),
            _ => None,
        });
        changed.await.map_err(Problem::of_change)
    }

    async fn list(&self, caller: &Caller, change: &ListRequest) -> Result<Response, Problem> {
        let is_look = change.op == ListOp::Describe.to_wire();
        let request = ask(caller, &ListFrame::from(change), FrameKind::ListState, is_look);
        let changed = self.operate(request, |body| match body {
            Body::ListState(state) => Some(ListView::new(change, &state)),
            _ => None,
        });
        changed.await.map_err(Problem::of_change)
    }

    async fn policy(&self, caller: &Caller, change: &PolicyChange) -> Result<Response, Problem> {
        let is_of_policy =
            [PolicyOp::Describe, PolicyOp::Activate, PolicyOp::Rollback].map(PolicyOp::to_wire);
        let answered_by = if is_of_policy.contains(&change.op) {
            FrameKind::PolicyState
        } else {
            FrameKind::Comparison
        };
        let is_look =
            [PolicyOp::Describe, PolicyOp::Compare].map(PolicyOp::to_wire).contains(&change.op);
        let request = ask(caller, &PolicyFrame::from(change), answered_by, is_look);
        let changed = self.operate(request, |body| match body {
            Body::PolicyState(state) => Some(Changed::Policy(PolicyView::from(&*state))),
            Body::Comparison(comparison) => {
                Some(Changed::Comparison(ComparisonView::from(&*comparison)))
            }
            _ => None,
        });
        changed.await.map_err(Problem::of_change)
    }

    /// Asks the node, and shows what it says.
    async fn operate<V: Serialize>(
        &self,
        request: Request,
        view: impl FnOnce(Body) -> Option<V>,
    ) -> Result<Response, Problem> {
        // Patience is for a node that works on it, and not for one that is not there.
        if !self.link.is_ready_within(self.timeout).await {
            let why = self.link.trouble().unwrap_or_default();
            return Err(Problem::new(NO_PRIMARY, why).of_operation());
        }
        let problem = match self.link.ask(request, Instant::now() + PATIENCE).await {
            Outcome::Answer(body) => match view(*body) {
                Some(view) => return Ok(answer(&view)),
                None => Problem::new(NO_ANSWER, "an answer of another kind came"),
            },
            other => Problem::of_outcome(other),
        };
        Err(problem.of_operation())
    }
}

fn ask<F: catraca_wire::frame::FixedFrame>(
    caller: &Caller,
    frame: &F,
    answered_by: FrameKind,
    is_look: bool,
) -> Request {
    if is_look {
        Request::repeatable(caller, frame, answered_by)
    } else {
        Request::once(caller, frame, answered_by)
    }
}

/// The body, read as what it should be.
async fn read<T>(
    request: HttpRequest,
    read: impl FnOnce(&[u8]) -> Result<T, Mistake>,
) -> Result<T, Problem> {
    let (head, sent) = request.into_parts();
    body::check_type(&head.headers, &[body::JSON]).map_err(Problem::of_operation)?;
    let sent = body::read(sent, body::MAX_BODY_LEN).await.map_err(Problem::of_operation)?;
    read(&sent).map_err(of)
}

fn of(mistake: Mistake) -> Problem {
    Problem::of_mistake(&mistake).of_operation()
}

/// What is no UTF-8 is no name either.
fn text(name: Named) -> String {
    name.map(|Path(name)| name).unwrap_or_default()
}

fn told(result: Result<Response, Problem>) -> Response {
    result.unwrap_or_else(|problem| problem.into_response())
}
