//! Access tokens that come over the protocol: checked here, for a core that knows them as no client's credential. Each
//! check is a task of its own, of which each core has a few, so that one that waits for the issuer's keys stops nobody.

use super::Control;
use catraca_core::limits::TOKEN_RETRY_MS;
use catraca_core::shard::access::{Granted, Permissions, credential_hash};
use catraca_core::shard::messages::{ConnectionId, Refusal, ToShard};
use catraca_tokens::{Attempts, Expected, Fault, Source, Tokens};
use catraca_wire::frame::ErrorCode;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

/// What is answered where there is no issuer.
const NO_ISSUER: Refusal =
    Refusal::new(ErrorCode::Unauthenticated, "this node takes tokens of no issuer");
/// What is answered while it is not known which keys the issuer has: it can't be reached.
const NO_KEYS: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    TOKEN_RETRY_MS,
    "the token can't be checked now: the issuer's keys are not known",
);
/// What is answered where the issuer has no such key as far as is known, and is not asked again yet.
const NO_KEY_YET: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    TOKEN_RETRY_MS,
    "the issuer has no such key as far as is known; it is asked again soon",
);
/// What is answered to an address that shows too many.
const TOO_OFTEN: &str = "too many tokens to check came from this address";
/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Whose tokens are taken.
pub(super) struct Desk {
    tokens: Option<Tokens>,
    attempts: Attempts,
}

impl Desk {
    /// Those of this issuer, where there is one. To be called within a runtime of tokio.
    pub(super) fn new(issuer: Option<(Source, Expected)>) -> Self {
        let tokens = issuer.map(|(source, expected)| Tokens::start(source, expected));
        Self { tokens, attempts: Attempts::new() }
    }

    /// What this token grants, which came from this address.
    async fn granted(&self, token: &[u8], remote: IpAddr) -> Result<Granted, Refusal> {
        let tokens = self.tokens.as_ref().ok_or(NO_ISSUER)?;
        self.attempts.take(remote).map_err(|wait| {
            Refusal::retry(ErrorCode::Overloaded, at_least_a_millisecond(wait), TOO_OFTEN)
        })?;
        let bad = |why| Refusal::new(ErrorCode::Unauthenticated, why);
        let token = std::str::from_utf8(token).map_err(|_| bad("the token is no text"))?;
        let checked = tokens.check(token).await.map_err(|fault| match fault {
            Fault::Bad(why) => bad(why),
            // It would be taken for final, by who came with a new key of the issuer behind somebody who made one up.
            Fault::NotNow => NO_KEY_YET,
            Fault::NoKeys => NO_KEYS,
        })?;
        Ok(Granted {
            client: credential_hash(checked.client_id.as_bytes()),
            permissions: Permissions::of_scope(&checked.scope),
            certificate: checked.certificate,
            expires_at_ns: checked.until_s.saturating_mul(SECOND_NS),
            subject: checked.subject.to_wire(),
        })
    }
}

fn at_least_a_millisecond(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Checks a token, and tells the core that has the connection.
pub(super) async fn check(
    control: Rc<Control>,
    (shard, connection): (u16, ConnectionId),
    remote: [u8; 16],
    token: Vec<u8>,
) {
    let remote = IpAddr::V6(Ipv6Addr::from(remote)).to_canonical();
    let came = control.tokens.granted(&token, remote).await;
    // A reason that the caller is told, and nothing of the token.
    if let Err(refusal) = &came {
        tracing::debug!(%remote, code = %refusal.code, why = refusal.detail, "a token was not taken");
    }
    let came = ToShard::TokenChecked(connection, Box::new(came));
    control.tell(usize::from(shard), came).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_tokens::testing::{Served, Signer, block_on, claims, expected, jwks, whole};
    use serde_json::json;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_sound_token_grants_what_its_scope_names() {
        block_on(async {
            let signer = Signer::ec("e");
            let served = Served::start(whole(&jwks(&[&signer]))).await;
            let desk = Desk::new(Some((served.source(), expected())));
            let mut claims = claims();
            claims["scope"] = json!("openid decisions:write node:stats lists:write");
            let granted = desk.granted(signer.sign(&claims).as_bytes(), HERE).await;
            let granted = granted.expect("it is sound");
            let expected = Permissions { submit: true, stats: true, ..Permissions::default() };
            assert_eq!(granted.permissions, expected);
            assert_eq!(granted.client, credential_hash(b"bank"));
            let exp = claims["exp"].as_u64().expect("a number");
            assert_eq!(granted.expires_at_ns, (exp + 30) * SECOND_NS);
            let foreign = Signer::ec("e").sign(&claims);
            let refusal = desk.granted(foreign.as_bytes(), HERE).await.expect_err("another key");
            assert_eq!(refusal.code, ErrorCode::Unauthenticated);
            let refusal = desk.granted(&[0xff; 70], HERE).await.expect_err("no text");
            assert_eq!(refusal.code, ErrorCode::Unauthenticated);
        });
    }

    #[test]
    fn without_keys_and_in_a_flood_it_may_be_tried_again_and_without_an_issuer_not() {
        block_on(async {
            let token = Signer::ec("e").sign(&claims());
            let served = Served::start(whole("{}")).await;
            let desk = Desk::new(Some((served.source(), expected())));
            let refusal = desk.granted(token.as_bytes(), HERE).await.expect_err("no keys");
            assert_eq!(refusal, NO_KEYS);
            let mut codes = Vec::new();
            // Were this machine slower than the quota, it would never end: no number is asserted.
            for _ in 0..u16::MAX {
                let refusal = desk.granted(token.as_bytes(), HERE).await.expect_err("no keys");
                codes.push(refusal.code);
                if refusal.detail == TOO_OFTEN {
                    assert!(refusal.retry_after_ms > 0);
                    break;
                }
            }
            assert!(codes.iter().all(|code| *code == ErrorCode::Overloaded));
            let other: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
            let refusal = desk.granted(token.as_bytes(), other).await.expect_err("no keys");
            assert_eq!(refusal, NO_KEYS, "somebody else is not kept from it");
            let refusal = Desk::new(None).granted(token.as_bytes(), HERE).await;
            assert_eq!(refusal, Err(NO_ISSUER));
        });
    }
}
