//! Issuers that are slow, down, or want to do harm.

use crate::testing::{Served, Signer, block_on, claims, expected, jwks, whole};
use crate::{Fault, Source, Tokens};
use catraca_tls::Tls;
use catraca_tls::testing::Certificates;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

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
            let tokens = served.tokens();
            let began = Instant::now();
            let fault = tokens.check(&token).await;
            assert_eq!(fault, Err(Fault::NoKeys), "{name}");
            if name == "hangs" {
                assert!(began.elapsed() >= Duration::from_secs(1), "it is waited for, a while");
            }
        }
    });
}

#[test]
fn an_issuer_that_goes_down_leaves_its_keys() {
    block_on(async {
        let (known, other) = (Signer::ec("known"), Signer::ec("other"));
        let served = Served::start(whole(&jwks(&[&known]))).await;
        let tokens = served.tokens();
        assert!(tokens.check(&known.sign(&claims())).await.is_ok());
        served.answers(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n".to_vec());
        let fault = tokens.check(&other.sign(&claims())).await;
        assert_eq!(fault, Err(Fault::NoKeys), "it may have that one by now");
        assert!(served.times() >= 2, "it was asked, in vain");
        assert!(tokens.check(&known.sign(&claims())).await.is_ok());
    });
}

#[test]
fn a_key_that_is_made_up_does_not_make_a_new_one_unknown_for_good() {
    block_on(async {
        let (known, new) = (Signer::ec("known"), Signer::ec("new"));
        let served = Served::start(whole(&jwks(&[&known]))).await;
        let tokens = served.tokens();
        assert!(tokens.check(&known.sign(&claims())).await.is_ok(), "its keys are there");
        let made_up = tokens.check(&Signer::ec("made-up").sign(&claims())).await;
        assert_eq!(made_up, Err(Fault::Bad("the issuer has no such key")));
        served.answers(whole(&jwks(&[&known, &new])));
        let fault = tokens.check(&new.sign(&claims())).await;
        assert_eq!(fault, Err(Fault::NotNow), "the issuer is asked again, and not yet");
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
            let tokens = Tokens::start(source, expected());
            let came = tokens.check(&signer.sign(&claims())).await;
            match came {
                Ok(_) => assert!(is_vouched_for, "{host} {ca}"),
                Err(fault) => {
                    assert_eq!((fault, is_vouched_for), (Fault::NoKeys, false), "{host} {ca}");
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
