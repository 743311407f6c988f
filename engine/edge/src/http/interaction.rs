//! The number of a request, `x-fapi-interaction-id`: that of the client, or one made here; in every answer, with
//! what a node is asked, and in the program's own log.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use uuid::{Builder, Uuid};

/// The header, as FAPI has it.
const INTERACTION: HeaderName = HeaderName::from_static("x-fapi-interaction-id");
/// A UUID with its dashes: other spellings are not taken over.
const UUID_LEN: usize = 36;

/// Among the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interaction(pub(super) Uuid);

/// Numbers a request, and says the number to whoever sees the answer.
pub(super) async fn number(mut request: Request, next: Next) -> Response {
    let interaction = given(request.headers()).or_else(made);
    // Not the path itself: it may have a document in it.
    let method = request.method().clone();
    if let Some(id) = interaction {
        request.extensions_mut().insert(Interaction(id));
    }
    let mut response = next.run(request).await;
    if let Some(id) = interaction {
        let mut text = [0; UUID_LEN];
        let text = id.hyphenated().encode_lower(&mut text);
        let status = response.status().as_u16();
        tracing::debug!(interaction_id = &*text, %method, status, "answered");
        // A UUID is ASCII.
        if let Ok(value) = HeaderValue::from_str(text) {
            response.headers_mut().insert(INTERACTION, value);
        }
    }
    response
}

/// The client's, where it is given once and is one.
fn given(headers: &HeaderMap) -> Option<Uuid> {
    let mut all = headers.get_all(INTERACTION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let text = only.to_str().ok().filter(|text| text.len() == UUID_LEN)?;
    // Zeros mean none to a node.
    Uuid::try_parse(text).ok().filter(|id| !id.is_nil())
}

fn made() -> Option<Uuid> {
    let mut chance = [0; 16];
    getrandom::fill(&mut chance).ok()?;
    Some(Builder::from_random_bytes(chance).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_is_taken_over() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(INTERACTION, value.parse().expect("a value"));
            }
            given(&headers)
        };
        let sound = "C770AEF3-6784-41F7-8E0E-FF5F97BDDB3A";
        assert_eq!(of(&[sound]).map(|id| id.to_string()), Some(sound.to_lowercase()));
        for bad in [
            "",
            "c770aef3678441f78e0eff5f97bddb3a",
            "{c770aef3-6784-41f7-8e0e-ff5f97bddb3a}",
            "c770aef3-6784-41f7-8e0e-ff5f97bddb3",
            "c770aef3-6784-41f7-8e0e-ff5f97bddb3g",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!((of(&[]), of(&[sound, sound])), (None, None));
        assert_ne!(made(), made());
    }
}
