//! Keys that come and go, and floods of tokens by keys that are unknown.

use super::auth_of;
use crate::auth::Refusal;
use crate::caller::Peer;
use catraca_tokens::testing::{Served, Signer, block_on, claims, jwks, whole};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

fn peer(host: u8) -> Peer {
    Peer { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), certificate: None }
}

#[test]
fn a_flood_of_unknown_keys_is_one_fetch_and_stops_nobody() {
    block_on(async {
        let known = Signer::ec("known");
        let served = Served::start(whole(&jwks(&[&known]))).await;
        let auth = auth_of(&served);
        let good = known.sign(&claims());
        assert!(auth.caller(Some(&good), &peer(1)).await.is_ok());
        let forged = Signer::ec("x");
        let began = Instant::now();
        let (mut refused, mut limited) = (0, 0);
        for number in 0..400 {
            let forged = Signer { kid: format!("unknown-{number}"), ..forged.clone() };
            match auth.caller(Some(&forged.sign(&claims())), &peer(2)).await {
                Err(Refusal::Bad(_)) => refused += 1,
                Err(Refusal::TooOften(_)) => limited += 1,
                other => panic!("{other:?}"),
            }
            assert!(auth.caller(Some(&good), &peer(2)).await.is_ok(), "what is known is let in");
        }
        assert_eq!(refused + limited, 400);
        // The first one, the one for all that is unknown, and one for each 10 s that this took.
        let most = 2 + began.elapsed().as_secs() as usize / 10;
        assert!(served.times() <= most, "{} fetches", served.times());
        assert!(auth.caller(Some(&known.sign(&claims())), &peer(1)).await.is_ok());
    });
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_goes_with_its_tokens() {
    block_on(async {
        let (old, new) = (Signer::ec("old"), Signer::ec("new"));
        let served = Served::start(whole(&jwks(&[&old]))).await;
        let auth = auth_of(&served);
        let token = old.sign(&claims());
        assert!(auth.caller(Some(&token), &Peer::default()).await.is_ok());
        served.answers(whole(&jwks(&[&new])));
        // All that come at once wait for one fetch.
        let auth = Arc::new(auth);
        let many: Vec<_> = (0..20)
            .map(|_| {
                let (auth, token) = (Arc::clone(&auth), new.sign(&claims()));
                tokio::spawn(async move { auth.caller(Some(&token), &Peer::default()).await })
            })
            .collect();
        for one in many {
            assert!(one.await.expect("it does not panic").is_ok());
        }
        assert_eq!(served.times(), 2);
        let refusal = auth.caller(Some(&token), &Peer::default()).await;
        assert_eq!(refusal, Err(Refusal::Bad("the issuer has no such key")), "though it was known");
    });
}
