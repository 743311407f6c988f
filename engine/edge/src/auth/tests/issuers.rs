//! Issuers that are slow, down, or want to do harm.

use super::support::{Served, Signer, block_on, claims, clients, expected, jwks, whole};
use crate::auth::{Auth, Refusal, Source};
use crate::caller::Peer;
use catraca_tls::Tls;
use catraca_tls::testing::Certificates;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn peer(host: u8) -> Peer {
    Peer { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), certificate: None }
}

#[test]
fn an_issuer_without_keys_lets_nobody_in_and_costs_no_more_than_its_bounds() {
    let redirect =
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let mut huge = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".to_vec();
    huge.resize(2 << 20, b' ');
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..2_048 {
        chunked.extend_from_slice(b"400\r\n");
        chunked.resize(chunked.len() + 0x400, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    let mut long_head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    long_head.resize(1 << 20, b'x');
    block_on(async {
        let token = Signer::ec("e").sign(&claims());
        for (name, answer) in [
            ("redirects", redirect.to_vec()),
            ("is 1 GB", huge),
            ("is endless", chunked),
            ("has a long head", long_head),
            ("is garbage", whole("<html>")),
            ("has no keys", whole("{\"keys\":[]}")),
            ("fails", b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec()),
            ("ends early", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
            ("is no HTTP", b"\x16\x03\x01\x00".to_vec()),
            ("hangs", Vec::new()),
        ] {
            let served = Served::start(answer).await;
            let auth = served.auth();
            let began = Instant::now();
            let refusal = auth.caller(Some(&token), &Peer::default()).await;
            assert_eq!(refusal, Err(Refusal::NoKeys), "{name}");
            if name == "hangs" {
                assert!(began.elapsed() >= Duration::from_secs(1), "it is waited for, a while");
            }
        }
    });
}

#[test]
fn a_flood_of_unknown_keys_is_one_fetch_and_stops_nobody() {
    block_on(async {
        let known = Signer::ec("known");
        let served = Served::start(whole(&jwks(&[&known]))).await;
        let auth = served.auth();
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
        // The first one, the one for all that is unknown, and one for each half minute that this took.
        let most = 2 + began.elapsed().as_secs() as usize / 30;
        assert!(served.times() <= most, "{} fetches", served.times());
        assert!(auth.caller(Some(&known.sign(&claims())), &peer(1)).await.is_ok());
    });
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_goes_with_its_tokens() {
    block_on(async {
        let (old, new) = (Signer::ec("old"), Signer::ec("new"));
        let served = Served::start(whole(&jwks(&[&old]))).await;
        let auth = served.auth();
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

#[test]
fn an_issuer_that_goes_down_leaves_its_keys() {
    block_on(async {
        let (known, other) = (Signer::ec("known"), Signer::ec("other"));
        let served = Served::start(whole(&jwks(&[&known]))).await;
        let auth = served.auth();
        assert!(auth.caller(Some(&known.sign(&claims())), &Peer::default()).await.is_ok());
        served.answers(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n".to_vec());
        let refusal = auth.caller(Some(&other.sign(&claims())), &Peer::default()).await;
        assert_eq!(refusal, Err(Refusal::Bad("the issuer has no such key")));
        assert!(served.times() >= 2, "it was asked, in vain");
        assert!(auth.caller(Some(&known.sign(&claims())), &Peer::default()).await.is_ok());
    });
}

#[test]
fn keys_over_tls_come_from_whom_the_authorities_vouch_for() {
    let certificates = Certificates::new();
    let tls = Arc::new(Tls::new(certificates.files(false)).expect("sound"));
    let signer = Signer::ec("e");
    let answer = whole(&jwks(&[&signer]));
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        drop(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Some((mut stream, _)) = tls.accept(stream).await {
                    let _ = stream.read(&mut [0; 4_096]).await;
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                }
            }
        }));
        for (host, ca, is_vouched_for) in
            [("localhost", "ca", true), ("localhost", "foreign", false), ("127.0.0.1", "ca", false)]
        {
            let url = format!("https://{host}:{port}/jwks");
            let source = Source::new(&url, Some(&certificates.path(ca))).expect("sound");
            let auth = Auth::new(clients(), Some((source, expected())));
            let came = auth.caller(Some(&signer.sign(&claims())), &Peer::default()).await;
            match came {
                Ok(_) => assert!(is_vouched_for, "{host} {ca}"),
                Err(refusal) => {
                    assert_eq!((refusal, is_vouched_for), (Refusal::NoKeys, false), "{host} {ca}");
                }
            }
        }
    });
}

#[test]
fn keys_come_over_tls_or_from_this_machine() {
    for bad in [
        "",
        "issuer.example",
        "http://issuer.example/jwks",
        "http://10.0.0.1/jwks",
        "ftp://issuer.example/jwks",
        "https:///jwks",
        "https://me:secret@issuer.example/jwks",
    ] {
        assert!(Source::new(bad, None).is_err(), "{bad}");
    }
    for good in ["http://127.0.0.1:1/jwks", "http://localhost/jwks", "http://[::1]:1/jwks"] {
        assert!(Source::new(good, None).is_ok(), "{good}");
    }
    let missing = Source::new("https://issuer.example/jwks", Some("/does/not/exist".as_ref()));
    assert!(missing.is_err());
}
