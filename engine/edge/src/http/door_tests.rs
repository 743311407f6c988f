//! Tests of who is let in, how often, and over what kind of connection.

use super::tests::{SOUND, alone_with, block_on, post};
use crate::auth::clients::tests::client;
use crate::auth::{Client, Clients, Limits as Allowed};
use crate::caller::Peer;
use crate::permission::Permission;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use catraca_tls::Tls;
use catraca_tls::sha256;
use catraca_tls::testing::Certificates;
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower_service::Service as _;

const KEY: &str = "sesame-sesame-sesame";

fn by_key() -> Client {
    let permissions = [Permission::DecisionsWrite].into_iter().collect();
    Client { api_key: Some(sha256(KEY.as_bytes())), permissions, ..client("by-key") }
}

fn guarded(clients: Vec<Client>) -> Router {
    alone_with(Clients::new(clients, false).expect("sound"))
}

async fn asked(router: &mut Router, request: Request<Body>) -> (u16, Value, HeaderMap) {
    let response = router.call(request).await.expect("infallible");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    (head.status.as_u16(), body, head.headers)
}

fn with(authorization: &str) -> Request<Body> {
    let mut request = post(SOUND);
    let value = authorization.parse().expect("a value");
    request.headers_mut().insert("authorization", value);
    request
}

fn look_up() -> Request<Body> {
    let request = Request::get("/v1/decisions/order-1");
    request.header("authorization", format!("Bearer {KEY}")).body(Body::empty()).expect("a request")
}

#[test]
fn who_shows_nothing_or_the_wrong_thing_is_told_what_is_wrong() {
    block_on(async {
        let mut router = guarded(vec![by_key()]);
        let (status, problem, headers) = asked(&mut router, post(SOUND)).await;
        assert_eq!((status, &problem["code"]), (401, &"NO_TOKEN".into()));
        assert_eq!(headers["www-authenticate"], "Bearer realm=\"catraca\"");
        for bad in ["Bearer wrong", "Basic YTpi", "Bearer", &format!("Bearer {KEY} {KEY}")] {
            let (status, problem, headers) = asked(&mut router, with(bad)).await;
            assert_eq!((status, &problem["code"]), (401, &"BAD_TOKEN".into()), "{bad}");
            let challenge = headers["www-authenticate"].to_str().expect("text");
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            assert!(!problem.to_string().contains("sesame"));
        }
        let (status, problem, _) = asked(&mut router, with(&format!("Bearer {KEY}"))).await;
        assert_eq!((status, &problem["code"]), (503, &"NO_PRIMARY".into()), "it is let in");
        let (status, problem, headers) = asked(&mut router, look_up()).await;
        assert_eq!((status, &problem["code"]), (403, &"NOT_ALLOWED".into()));
        let challenge = headers["www-authenticate"].to_str().expect("text");
        assert!(challenge.ends_with("error=\"insufficient_scope\", scope=\"decisions:read\""));
        // Health is for everybody, and says nothing of nodes.
        let ready = Request::get("/readyz").body(Body::empty()).expect("a request");
        let ready = router.call(ready).await.expect("infallible");
        assert_eq!(ready.status(), 503);
        let body = ready.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, "no primary answers\n");
    });
}

#[test]
fn a_certificate_is_enough_where_the_configuration_says_so_and_never_for_a_page() {
    block_on(async {
        let bound = Client { certificate: Some([2; 32]), ..by_key() };
        let alone =
            Client { certificate: Some([1; 32]), certificate_suffices: true, ..client("alone") };
        let mut router = guarded(vec![bound, alone]);
        let over = |certificate: Option<u8>, mut request: Request<Body>| {
            let certificate = certificate.map(|byte| [byte; 32]);
            request.extensions_mut().insert(Peer { certificate, ..Peer::default() });
            request
        };
        let key = format!("Bearer {KEY}");
        for (certificate, request, expected) in [
            (None, post(SOUND), "NO_TOKEN"),
            (Some(1), post(SOUND), "NO_PRIMARY"),
            (Some(2), post(SOUND), "NO_TOKEN"),
            (Some(2), with(&key), "NO_PRIMARY"),
            (Some(1), with(&key), "BAD_TOKEN"),
            (None, with(&key), "BAD_TOKEN"),
            (Some(1), with("Bearer wrong"), "BAD_TOKEN"),
        ] {
            let (_, problem, _) = asked(&mut router, over(certificate, request)).await;
            assert_eq!(problem["code"], expected, "{certificate:?}");
        }
        let mut page = over(Some(1), post(SOUND));
        page.headers_mut().insert("origin", "https://evil.example".parse().expect("a value"));
        assert_eq!(asked(&mut router, page).await.1["code"], "NOT_ALLOWED");
    });
}

#[test]
fn pages_do_not_reach_a_gateway_that_asks_nobody() {
    block_on(async {
        let mut router = alone_with(Clients::default());
        for (header, value, code) in [
            ("host", "localhost:8080", "NO_PRIMARY"),
            ("host", "[::1]:8080", "NO_PRIMARY"),
            ("host", "evil.example", "BAD_ORIGIN"),
            ("host", "evil.example:8080", "BAD_ORIGIN"),
            ("host", "192.168.0.1:8080", "BAD_ORIGIN"),
            ("origin", "https://evil.example", "BAD_ORIGIN"),
            ("origin", "http://localhost:8080", "BAD_ORIGIN"),
            ("origin", "null", "BAD_ORIGIN"),
        ] {
            let mut request = post(SOUND);
            request.headers_mut().insert(header, value.parse().expect("a value"));
            assert_eq!(asked(&mut router, request).await.1["code"], code, "{header}: {value}");
        }
        for path in ["/readyz", "/nothing", "http://evil.example/v1/decisions"] {
            let request = Request::get(path).header("host", "evil.example");
            let request = request.body(Body::empty()).expect("a request");
            assert_eq!(asked(&mut router, request).await.1["code"], "BAD_ORIGIN", "{path}");
        }
    });
}

#[test]
fn a_client_has_its_rate_for_each_kind_and_takes_nothing_from_another() {
    block_on(async {
        let number = |number| NonZeroU32::new(number).expect("not 0");
        let limits = Allowed { decisions_per_second: number(3), ..by_key().limits };
        let other = Client { api_key: Some(sha256(b"other")), ..client("other") };
        let own = Client { permissions: other.permissions, limits, ..by_key() };
        let mut router = guarded(vec![own, other]);
        let own = format!("Bearer {KEY}");
        let (_, problem, headers) = asked(&mut router, with(&own)).await;
        assert_eq!(problem["code"], "NO_PRIMARY");
        assert_eq!(headers["ratelimit-policy"], "\"decisions\";q=3;w=1");
        assert_eq!(headers["ratelimit"], "\"decisions\";r=2;t=1");
        // The node that is not there takes 50 ms of each: many at once are faster than the rate anywhere.
        let many: Vec<_> = (0..1_000)
            .map(|_| {
                let (mut router, request) = (router.clone(), with(&own));
                tokio::spawn(async move {
                    let began = Instant::now();
                    (asked(&mut router, request).await, began.elapsed())
                })
            })
            .collect();
        let mut limited = 0;
        for one in many {
            let ((status, problem, headers), took) = one.await.expect("it does not panic");
            if problem["code"] == "RATE_LIMITED" {
                limited += 1;
                assert!(took >= Duration::from_millis(100), "a flood is not slowed down");
                assert_eq!((status, &problem["recorded"]), (429, &"no".into()));
                assert_eq!(headers["retry-after"], "1");
                assert_eq!(headers["ratelimit"], "\"decisions\";r=0;t=1");
            }
        }
        assert!(limited > 0, "none of a thousand");
        assert_eq!(asked(&mut router, look_up()).await.1["code"], "NO_PRIMARY");
        assert_eq!(asked(&mut router, with("Bearer other")).await.1["code"], "NO_PRIMARY");
    });
}

#[test]
fn a_client_has_so_many_requests_at_once() {
    block_on(async {
        let two = NonZeroU32::new(2).expect("not 0");
        let limits = Allowed { concurrent: two, ..by_key().limits };
        let router = guarded(vec![Client { limits, ..by_key() }]);
        let many: Vec<_> = (0..10)
            .map(|_| {
                let (mut router, request) = (router.clone(), with(&format!("Bearer {KEY}")));
                tokio::spawn(async move { asked(&mut router, request).await.1["code"].clone() })
            })
            .collect();
        let mut codes = Vec::new();
        for one in many {
            codes.push(one.await.expect("it does not panic"));
        }
        assert!(codes.contains(&"RATE_LIMITED".into()), "{codes:?}");
        assert!(
            codes.contains(&"NO_PRIMARY".into()) || codes.contains(&"BUSY".into()),
            "{codes:?}"
        );
    });
}

/// A gateway with TLS on a real port.
async fn over_tls(certificates: &Certificates) -> SocketAddr {
    let tls = Arc::new(Tls::new(certificates.files(false)).expect("sound"));
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    let router = guarded(vec![by_key()]);
    drop(tokio::spawn(super::serve(listener, Some(tls), None, router, std::future::pending())));
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// What `/livez` answers over TLS.
async fn live(certificates: &Certificates, address: SocketAddr) -> String {
    let roots = catraca_tls::roots(&certificates.path("ca")).expect("authorities");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(catraca_tls::client(&roots)));
    let stream = TcpStream::connect(address).await.expect("it listens");
    let name = "localhost".try_into().expect("a name");
    let mut stream = connector.connect(name, stream).await.expect("hands are shaken");
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("taken");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_flood_of_handshakes_of_one_site_stops_no_other() {
    let certificates = Certificates::new();
    block_on(async {
        let address = over_tls(&certificates).await;
        let mut open = Vec::new();
        for _ in 0..300 {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).expect("an address of this machine");
            open.push(socket.connect(address).await.expect("it listens"));
        }
        let began = std::time::Instant::now();
        let answer = live(&certificates, address).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        println!("answered within {:?}", began.elapsed());
        // All of them end: most at once, the others when their time is over.
        for mut stream in open {
            let mut byte = [0];
            let ended = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut byte));
            let read = ended.await.expect("it is closed");
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        }
    });
}

#[test]
fn plain_bytes_get_nothing_of_a_port_with_tls() {
    let certificates = Certificates::new();
    block_on(async {
        let address = over_tls(&certificates).await;
        for bytes in
            [&b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &[0; 1_000], b"\x16\x03\x01"]
        {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            let _ = stream.write_all(bytes).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains("HTTP"), "{text}");
        }
        assert!(live(&certificates, address).await.starts_with("HTTP/1.1 200"));
    });
}
