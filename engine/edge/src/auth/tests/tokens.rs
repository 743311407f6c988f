//! Tokens of clients of the gateway, and of others.

use super::auth_of;
use crate::auth::Refusal;
use crate::caller::Peer;
use crate::permission::Permission;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use catraca_tokens::testing::{AUDIENCE, Served, Signer, block_on, claims, jwks, whole};
use jsonwebtoken::encode;
use serde_json::{Value, json};

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn a_sound_token_says_who_asks_and_what_it_may() {
    block_on(async {
        let (ec, rsa) = (Signer::ec("e"), Signer::rsa("r"));
        let served = Served::start(whole(&jwks(&[&ec, &rsa]))).await;
        let auth = auth_of(&served);
        for signer in [&ec, &rsa] {
            let token = signer.sign(&claims());
            for _ in 0..2 {
                let caller = auth.caller(Some(&token), &Peer::default()).await.expect("let in");
                assert_eq!((caller.name.as_str(), caller.institution), ("bank", 7));
                assert!(caller.permissions.has(Permission::DecisionsWrite));
                assert!(!caller.permissions.has(Permission::DecisionsRead), "its scope lacks it");
                assert!(caller.subject.is_empty(), "the client itself");
            }
        }
        let person = ec.sign(&with("sub", json!("cpf:529.982.247-25")));
        for _ in 0..2 {
            let caller = auth.caller(Some(&person), &Peer::default()).await.expect("let in");
            let told = caller.principal().expect("it is known");
            assert_eq!(told.subject().as_str(), "cpf:***.982.247-**");
        }
        let several = with("aud", json!(["https://other.example", AUDIENCE]));
        let mut header = ec.header();
        header.typ = Some("application/AT+JWT".to_owned());
        let token = encode(&header, &several, &ec.key).expect("signed");
        assert!(auth.caller(Some(&token), &Peer::default()).await.is_ok());
        assert_eq!(served.times(), 1, "keys are fetched once");
    });
}

#[test]
fn a_token_of_somebody_else_and_what_is_no_token_are_refused() {
    block_on(async {
        let ec = Signer::ec("e");
        let served = Served::start(whole(&jwks(&[&ec]))).await;
        let auth = auth_of(&served);
        let unlisted = ec.sign(&with("client_id", json!("nobody")));
        let refusal = auth.caller(Some(&unlisted), &Peer::default()).await;
        assert!(matches!(refusal, Err(Refusal::NotAllowed(_))), "{refusal:?}");
        for bad in ["a".repeat(10_000), "..".to_owned(), Signer::ec("e").sign(&claims())] {
            let refusal = auth.caller(Some(&bad), &Peer::default()).await;
            assert!(matches!(refusal, Err(Refusal::Bad(_))), "{refusal:?}");
        }
    });
}

#[test]
fn a_token_that_is_bound_is_good_over_its_certificate_alone() {
    block_on(async {
        let ec = Signer::ec("e");
        let served = Served::start(whole(&jwks(&[&ec]))).await;
        let auth = auth_of(&served);
        let own = Peer { certificate: Some([1; 32]), ..Peer::default() };
        let other = Peer { certificate: Some([2; 32]), ..Peer::default() };
        let bound = ec.sign(&with("cnf", json!({ "x5t#S256": base64([1; 32]) })));
        // The client has the certificate in its configuration, the token has none.
        let mut branch = with("client_id", json!("branch"));
        branch["sub"] = json!("branch");
        let branch = ec.sign(&branch);
        for token in [&bound, &branch] {
            // Once it is known as well.
            for _ in 0..2 {
                assert!(auth.caller(Some(token), &own).await.is_ok());
                for wrong in [&other, &Peer::default()] {
                    let refusal = auth.caller(Some(token), wrong).await.expect_err("refused");
                    assert!(matches!(refusal, Refusal::Bad(why) if why.contains("certificate")));
                }
            }
        }
        assert_eq!(auth.caller(None, &own).await, Err(Refusal::Nothing), "it does not suffice");
    });
}
