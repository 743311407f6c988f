//! What stands before a path: who asks, whether it may, and how often.

use super::Door;
use super::interaction::Interaction;
use super::limits::TooMuch;
use crate::auth::Refusal;
use crate::caller::{Caller, Peer};
use crate::permission::Permission;
use crate::problem::{
    BAD_ORIGIN, BAD_TOKEN, BUSY, NO_KEYS, NO_TOKEN, NOT_ALLOWED, Problem, RATE_LIMITED,
};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::sleep;

/// How long a client waits that has asked for too much at once: as long as an answer takes, by far.
const AT_ONCE_RETRY: Duration = Duration::from_secs(1);

/// What stands before one path.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) door: Door,
    /// As metrics have it.
    pub(super) route: &'static str,
    /// What the path asks for.
    pub(super) permission: Permission,
    /// How its requests are counted.
    pub(super) counts: Counts,
}

/// How the requests of a path are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Each is one.
    Request,
    /// What is in them, by the handler.
    Contents,
}

/// How long whoever asks for too much waits to be told so. Else a client that asks again at once would take a processor
/// from all others with refusals alone. What waits is bounded by connections: each has one request.
const REFUSED_AFTER: Duration = Duration::from_millis(100);

/// Lets requests through that have a permission; handlers find a [`Caller`] among their extensions.
pub(super) async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let begun = guard.door.metrics.begin(guard.route);
    let response = admitted(&guard, request, next).await;
    begun.answered(&response);
    response
}

async fn admitted(guard: &Guard, mut request: Request, next: Next) -> Response {
    let Guard { door, permission, counts, .. } = guard;
    let caller = match who(door, request.headers(), request.extensions().get()).await {
        Ok(caller) => {
            let number: Option<&Interaction> = request.extensions().get();
            let request_id = number.map(|number| number.0.into_bytes()).unwrap_or_default();
            Caller { request_id, ..caller }
        }
        Err(refusal) => {
            if matches!(refusal, Refusal::TooOften(_)) {
                sleep(REFUSED_AFTER).await;
            }
            return refused(door, refusal);
        }
    };
    if !caller.permissions.has(*permission) {
        return lacks(*permission);
    }
    if *counts == Counts::Contents {
        request.extensions_mut().insert(caller);
        return next.run(request).await;
    }
    let class = permission.class();
    let (left, _place) = match door.rates.take(&caller, class) {
        Ok(taken) => taken.unzip(),
        Err(too_much) => {
            sleep(REFUSED_AFTER).await;
            return of_too_much(too_much);
        }
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    if let Some(left) = left {
        left.tell(response.headers_mut());
    }
    response
}

/// What is answered to who asks for too much.
pub(super) fn of_too_much(too_much: TooMuch) -> Response {
    match too_much {
        TooMuch::AtOnce => {
            Problem::new(RATE_LIMITED, "as many requests of this client wait as may")
                .after(AT_ONCE_RETRY)
                .into_response()
        }
        TooMuch::Batches => Problem::new(BUSY, "as many batches run as may").into_response(),
        TooMuch::Often(left, wait) => {
            let detail = format!("more {} than this client may have", left.class.name());
            let mut response = Problem::new(RATE_LIMITED, detail).after(wait).into_response();
            left.tell(response.headers_mut());
            response
        }
    }
}

async fn who(door: &Door, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Caller, Refusal> {
    if !door.auth.asks() {
        return Ok(Caller::anybody());
    }
    let shown = bearer(headers)?;
    let peer = peer.copied().unwrap_or_default();
    let caller = Caller { peer, ..door.auth.caller(shown, &peer).await? };
    // A browser shows a certificate for any page that asks; a token it does not have.
    if shown.is_none() && headers.contains_key(header::ORIGIN) {
        return Err(Refusal::NotAllowed("a certificate alone is not enough for a web page"));
    }
    Ok(caller)
}

/// What stands behind `Bearer` (RFC 6750, section 2.1); nowhere else is looked.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let wrong = Refusal::Bad("Authorization is to be Bearer and a token or an API key, once");
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (first, None) = (all.next(), all.next()) else { return Err(wrong) };
    let Some(value) = first else { return Ok(None) };
    let (scheme, shown) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(wrong.clone())?;
    let shown = shown.trim_start_matches(' ');
    let is_token = !shown.is_empty() && shown.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && is_token).then_some(Some(shown)).ok_or(wrong)
}

fn refused(door: &Door, refusal: Refusal) -> Response {
    // Tokens that are no good are told so; who shows nothing is told what to show (RFC 6750, section 3).
    let (problem, challenge) = match refusal {
        Refusal::Nothing => {
            let detail = "this gateway asks who is there";
            (Problem::new(NO_TOKEN, detail), "Bearer realm=\"catraca\"")
        }
        Refusal::Bad(why) => {
            let kind = if door.auth.takes_tokens() { "token" } else { "API key" };
            let problem = Problem::new(BAD_TOKEN, format!("the {kind} is no good: {why}"));
            (problem, "Bearer realm=\"catraca\", error=\"invalid_token\"")
        }
        Refusal::NotAllowed(why) => return Problem::new(NOT_ALLOWED, why).into_response(),
        Refusal::NoKeys => {
            let detail = "the issuer's keys are not known, so that no token can be checked";
            return Problem::new(NO_KEYS, detail).into_response();
        }
        Refusal::TooOften(wait) => {
            let detail = "too many tokens that are not known come from this address";
            return Problem::new(RATE_LIMITED, detail).after(wait).into_response();
        }
    };
    let mut response = problem.into_response();
    let challenge = HeaderValue::from_static(challenge);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn lacks(permission: Permission) -> Response {
    let scope = permission.scope();
    let mut response =
        Problem::new(NOT_ALLOWED, format!("it needs the permission {scope}")).into_response();
    let challenge =
        format!("Bearer realm=\"catraca\", error=\"insufficient_scope\", scope=\"{scope}\"");
    // Names of permissions are ASCII.
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Keeps web pages out of a gateway that asks nobody who it is: those of other sites, and those whose name was
/// made to lead to this machine (DNS rebinding).
pub(super) async fn keep_pages_out(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return Problem::new(BAD_ORIGIN, "it comes from a web page").into_response();
    }
    let hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
    let hosts = hosts.chain(request.uri().authority().map(|authority| Some(authority.as_str())));
    if !hosts.into_iter().all(|host| host.is_some_and(is_this_machine)) {
        let detail = "Host is another name than localhost or a loopback address";
        return Problem::new(BAD_ORIGIN, detail).into_response();
    }
    next.run(request).await
}

fn is_this_machine(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority().filter(|own| own.as_str() == host) else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_this_machine() {
        for own in
            ["localhost", "localhost:8080", "LocalHost:1", "127.0.0.1", "127.0.0.1:80", "[::1]:80"]
        {
            assert!(is_this_machine(own), "{own}");
        }
        for other in [
            "",
            "a",
            "localhost.example",
            "10.0.0.1:80",
            "[::2]",
            "127.0.0.1.example",
            "a@localhost",
            "localhost/",
        ] {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    #[test]
    fn authorization_has_one_form() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
            }
            bearer(&headers).map(|shown| shown.map(str::to_owned))
        };
        assert_eq!(of(&[]), Ok(None));
        for sound in ["Bearer abc", "bearer abc", "BEARER   abc"] {
            assert_eq!(of(&[sound]), Ok(Some("abc".to_owned())));
        }
        for bad in ["Basic YTpi", "Bearer", "Bearer ", "Bearer a b", "abc", "Bearer\tabc"] {
            assert!(of(&[bad]).is_err(), "{bad}");
        }
        assert!(of(&["Bearer abc", "Bearer abc"]).is_err());
    }
}
