//! What the gateway says of itself: `/openapi.json`, OpenAPI 3.1 out of the types that are read and answered, and
//! `/docs`, the same for people. Nothing in it is secret, so nobody is asked who they are.

use super::body::JSON;
use super::{batch, decisions, operations, receipts};
use crate::problem::{self, NO_SUCH_PATH, Problem, ROWS, Row};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catraca_tls::sha256;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi, openapi};

/// What the paths of payments begin with, and the path that is of neither them nor what decides.
const OF_PAYMENTS: [&str; 2] = ["/v1/decisions", "/v1/receipts"];
const OF_LABELS: &str = "/v1/labels";
const PROBLEM_JSON: &str = "application/problem+json";
/// The page; everything that it shows comes from the document.
const PAGE: &str = include_str!("docs.html");
/// Nothing but what the page itself has, by its hashes, and the document of this gateway.
static PAGE_POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let hash = |element: &str| {
        let (_, behind) = PAGE.split_once(&format!("<{element}>"))?;
        let (text, _) = behind.split_once(&format!("</{element}>"))?;
        Some(STANDARD.encode(sha256(text.as_bytes())))
    };
    let (style, script) = (hash("style")?, hash("script")?);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).ok()
});

#[derive(OpenApi)]
#[openapi(
    info(
        title = "catraca gateway",
        description = "Payments are approved, reviewed or denied. One id through any door gives one decision: whatever happens, send the same body with the same id again."
    ),
    paths(
        decisions::decide, decisions::look_up, batch::decide,
        operations::blacklist, operations::change_blacklist, operations::list, operations::find_in_list,
        operations::change_list, operations::exempt, operations::label, operations::policy,
        operations::change_policy, operations::compare,
        receipts::receipt, receipts::keys,
        live, super::ready, document, page
    ),
    components(schemas(problem::Members<'static>)),
    modifiers(&Rest)
)]
struct Description;

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| Description::openapi().to_json().expect("text and numbers are JSON"));

/// What no attribute says: who may come in, and the problems.
struct Rest;

impl Modify for Rest {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description =
            Some("An access token (RFC 9068) or an API key, where the gateway asks".to_owned());
        let bearer = SecurityScheme::Http(bearer);
        components.security_schemes.insert("bearer".to_owned(), bearer.into());
        if let Some(RefOr::T(Schema::Object(problem))) = components.schemas.get_mut("Problem")
            && let Some(RefOr::T(Schema::Object(code))) = problem.properties.get_mut("code")
        {
            code.enum_values = Some(ROWS.iter().map(|row| row.code.into()).collect());
        }
        let of_payments = by_status(&ROWS);
        let of_operations = by_status(&ROWS.map(Row::of_operation));
        let of_changes = by_status(&ROWS.map(Row::of_operation).map(Row::of_change));
        let paths = document.paths.paths.iter_mut().filter(|(path, _)| path.starts_with("/v1/"));
        let operations = paths.flat_map(|(path, item)| {
            let problems = if OF_PAYMENTS.iter().any(|prefix| path.starts_with(prefix)) {
                &of_payments
            } else if path == OF_LABELS {
                &of_operations
            } else {
                &of_changes
            };
            [&mut item.get, &mut item.post].into_iter().flatten().map(move |one| (one, problems))
        });
        for (operation, problems) in operations {
            for (status, codes) in problems {
                let schema = Some(Ref::from_schema_name("Problem"));
                let response = ResponseBuilder::new()
                    .description(codes.join("\n\n"))
                    .content(PROBLEM_JSON, Content::new(schema));
                let responses = &mut operation.responses.responses;
                responses.insert(status.to_string(), RefOr::T(response.build()));
            }
        }
    }
}

/// The texts of problems by their status.
fn by_status(rows: &[Row]) -> BTreeMap<u16, Vec<String>> {
    let mut by_status: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for row in rows {
        let text = format!("{} (recorded: {}): {}", row.code, row.recorded.name(), row.next);
        by_status.entry(row.status).or_default().push(text);
    }
    by_status
}

/// Whether the process serves.
#[utoipa::path(get, path = "/livez", tag = "gateway", responses((status = 200, description = "It serves", body = String)))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "gateway", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn document() -> Response {
    let media = HeaderValue::from_static(JSON);
    ([(header::CONTENT_TYPE, media)], DOCUMENT.as_str()).into_response()
}

/// The same for people.
#[utoipa::path(get, path = "/docs", tag = "gateway", responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub(super) async fn page() -> Response {
    // Without its rules the page is not shown.
    let Some(policy) = PAGE_POLICY.clone() else {
        return Problem::new(NO_SUCH_PATH, "the page can't be shown").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, PAGE).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::NDJSON;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_has_the_routes_and_the_problems_and_no_others() {
        let document: Value = serde_json::from_str(&DOCUMENT).expect("JSON");
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<(&str, &str)> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("operations").keys();
                methods.map(move |method| (path.as_str(), method.as_str()))
            })
            .collect();
        assert_eq!(described, super::super::ROUTES.into_iter().collect());
        let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        let codes: Vec<&str> =
            codes.as_array().expect("codes").iter().filter_map(Value::as_str).collect();
        assert_eq!(codes, ROWS.map(|row| row.code));
        for row in ROWS {
            let post = &paths["/v1/decisions"]["post"]["responses"];
            let said = post[row.status.to_string()]["description"].as_str().expect("a text");
            assert!(said.contains(row.code) && said.contains(row.next), "{said}");
        }
        let operations = paths.values().flat_map(|item| item.as_object().expect("one").values());
        let names: Vec<&str> = operations.filter_map(|one| one["operationId"].as_str()).collect();
        let different: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!((names.len(), different.len()), (described.len(), described.len()), "{names:?}");
        let failed = &paths["/v1/policy/changes"]["post"]["responses"]["409"]["description"];
        assert!(failed.as_str().is_some_and(|said| said.starts_with("FAILED")), "{failed}");
        let batch = &paths["/v1/decisions:batch"]["post"];
        for side in [&batch["requestBody"]["content"], &batch["responses"]["200"]["content"]] {
            assert!(side[JSON].is_object() && side[NDJSON].is_object(), "{side}");
        }
        let write = serde_json::json!({"bearer": ["decisions:write"]});
        assert!(batch["security"].as_array().is_some_and(|all| all.contains(&write)), "{batch}");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for word in ["http://", "https://", "//", "innerHTML", "eval"] {
            assert!(!PAGE.contains(word), "{word}");
        }
        let policy = PAGE_POLICY.as_ref().and_then(|policy| policy.to_str().ok()).expect("text");
        assert_eq!(policy.matches("sha256-").count(), 2, "{policy}");
        assert!(PAGE.contains("lang=\"en\"") && PAGE.contains("<main"));
    }
}
