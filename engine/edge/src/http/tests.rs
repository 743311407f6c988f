//! Tests of the paths on bad input: each a typed answer, with nobody to ask behind them.

use super::{Door, Metrics, Rates, router};
use crate::auth::{Auth, Clients};
use crate::link::{Link, Setup};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower_service::Service as _;

pub(super) const SOUND: &str = r#"{"transaction_id":"order-1","payer":"04933228680","payee":"12ABC34501DE35","amount_centavos":1,"event_time":"2026-11-22T12:34:56Z"}"#;
const JSON: &str = "application/json";

/// Paths whose only node is not there.
pub(super) struct Alone {
    pub(super) router: Router,
    /// Has it stop.
    pub(super) stops: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl Alone {
    /// What is counted.
    pub(super) fn metrics(&self) -> String {
        self.metrics.shown(None).expect("it is written")
    }
}

/// The paths alone, for everybody.
fn alone_for_all() -> Router {
    alone_with(Clients::default())
}

/// The same for these clients.
pub(super) fn alone_with(clients: Clients) -> Router {
    alone(clients).router
}

/// And with what else a test looks at.
pub(super) fn alone(clients: Clients) -> Alone {
    let link = Link::start(Setup {
        nodes: vec!["127.0.0.1:1".to_owned()],
        authorities: None,
        credential: String::new(),
        connections: 1,
        max_in_flight: 4,
        speaks_for: None,
        seed: 1,
    });
    let metrics = Arc::new(Metrics::new(false));
    let rates = Arc::new(Rates::new(&clients));
    let auth = Arc::new(Auth::new(clients, None));
    let (stops, stopping) = watch::channel(false);
    let timeout = Duration::from_millis(50);
    let of_door = Arc::clone(&metrics);
    let router =
        router(Door { link, timeout, auth, rates, metrics: of_door, receipts: None, stopping });
    Alone { router, stops, metrics }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

async fn answered(router: &mut Router, request: Request<Body>) -> (u16, Value) {
    let response: Response<Body> = router.call(request).await.expect("infallible");
    let status = response.status().as_u16();
    let of = response.headers().get(header::CONTENT_TYPE).cloned();
    assert_eq!(of.expect("a type"), "application/problem+json");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

pub(super) fn post(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/v1/decisions").header(header::CONTENT_TYPE, JSON);
    request.body(body.into()).expect("a request")
}

#[test]
fn bad_bodies_get_problems_and_are_never_sent() {
    block_on(async {
        let mut router = alone_for_all();
        let float = SOUND.replace("\"amount_centavos\":1", "\"amount_centavos\":1.5");
        let double = SOUND.replacen('{', "{\"payer\":\"04933228680\",", 1);
        let unknown = SOUND.replacen('{', "{\"ammount\":1,", 1);
        let bad_cpf = SOUND.replace("04933228680", "04933228681");
        for (body, status, code) in [
            (float, 422, "BAD_REQUEST"),
            (double, 422, "BAD_REQUEST"),
            (unknown, 422, "BAD_REQUEST"),
            (bad_cpf, 422, "BAD_REQUEST"),
            (String::new(), 400, "BAD_JSON"),
            ("[".repeat(10_000), 422, "BAD_REQUEST"),
            ("{\"payer\":".repeat(6_000), 422, "BAD_REQUEST"),
            (" ".repeat(10 * 1024 * 1024), 413, "TOO_LARGE"),
        ] {
            let (got, problem) = answered(&mut router, post(body.clone())).await;
            let body = &body[..body.len().min(200)];
            assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{body} {problem}");
            assert_eq!(problem["recorded"], "no", "{problem}");
            assert_eq!(problem["status"], status);
            assert!(problem["next"].as_str().is_some_and(|next| next.ends_with('.')));
        }
    });
}

#[test]
fn headers_are_held_to_their_forms() {
    block_on(async {
        let mut router = alone_for_all();
        for kind in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/json; charset=latin1"),
            Some("application/jsonp"),
        ] {
            let mut request = post(SOUND);
            request.headers_mut().remove(header::CONTENT_TYPE);
            if let Some(kind) = kind {
                let kind = kind.parse().expect("a value");
                request.headers_mut().insert(header::CONTENT_TYPE, kind);
            }
            let (status, problem) = answered(&mut router, request).await;
            assert_eq!((status, &problem["code"]), (415, &"NOT_JSON".into()), "{kind:?}");
        }
        let mut other = post(SOUND);
        other.headers_mut().insert("idempotency-key", "order-2".parse().expect("a value"));
        assert_eq!(answered(&mut router, other).await.1["code"], "ID_MISMATCH");
        let mut twice = post(SOUND);
        for _ in 0..2 {
            twice.headers_mut().append("idempotency-key", "order-1".parse().expect("a value"));
        }
        assert_eq!(answered(&mut router, twice).await.1["code"], "BAD_REQUEST");
        let wrong = Request::put("/v1/decisions").body(Body::empty()).expect("a request");
        let response = router.call(wrong).await.expect("infallible");
        assert_eq!(response.headers()[header::ALLOW], "POST");
        for (method, path, status) in [
            ("GET", "/v1/decisions", 405),
            ("POST", "/v1/decisions/order-1", 405),
            ("GET", "/", 404),
            ("GET", "/v1/decisions/two%20words", 422),
            ("GET", "/v1/decisions/%ff", 422),
            ("GET", "/v1/decisions/order-1?payer=04933228681", 422),
            ("GET", "/v1/decisions/order-1?payer=04933228680&payer=04933228680", 422),
            ("GET", "/v1/decisions/order-1?paier=04933228680", 422),
        ] {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Body::empty()).expect("a request");
            let (got, problem) = answered(&mut router, request).await;
            assert_eq!(got, status, "{method} {path} {problem}");
        }
    });
}

#[test]
fn without_a_node_nothing_is_recorded_and_the_caller_may_come_again() {
    block_on(async {
        let mut router = alone_for_all();
        let mut key = post(SOUND.replace("\"transaction_id\":\"order-1\",", ""));
        key.headers_mut().insert("idempotency-key", "\"order-1\"".parse().expect("a value"));
        for request in [post(SOUND), key] {
            let response = router.call(request).await.expect("infallible");
            assert_eq!(response.headers()["retry-after"], "1");
            assert_eq!(response.status(), 503);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            let problem: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(
                (&problem["code"], &problem["recorded"]),
                (&"NO_PRIMARY".into(), &"no".into())
            );
        }
        let ready = Request::get("/readyz").body(Body::empty()).expect("a request");
        assert_eq!(router.call(ready).await.expect("infallible").status(), 503);
        let live = Request::get("/livez").body(Body::empty()).expect("a request");
        assert_eq!(router.call(live).await.expect("infallible").status(), 200);
    });
}

#[test]
fn every_route_of_the_table_is_there_with_its_method_alone() {
    block_on(async {
        let mut router = alone_for_all();
        for (path, method) in super::ROUTES {
            let other = if method == "get" { "post" } else { "get" };
            for (method, is_there) in [(method, true), (other, false)] {
                let request = Request::builder().method(&*method.to_uppercase());
                let request = request.uri(path.replace("{id}", "order-1"));
                let request = request.body(Body::empty()).expect("a request");
                let status = router.call(request).await.expect("infallible").status().as_u16();
                assert_ne!(status, 404, "{path}");
                assert_eq!(status != 405, is_there, "{method} {path}");
            }
        }
    });
}

#[test]
fn every_answer_has_the_number_of_its_request() {
    block_on(async {
        let mut router = alone_for_all();
        let own = "c770aef3-6784-41f7-8e0e-ff5f97bddb3a";
        for (method, path, status) in [
            ("GET", "/livez", 200),
            ("GET", "/none", 404),
            ("PUT", "/v1/decisions", 405),
            ("POST", "/v1/decisions", 415),
            ("POST", "/v1/decisions:batch", 415),
        ] {
            for given in [Some(own), Some("order-1"), None] {
                let mut request = Request::builder().method(method).uri(path);
                if let Some(given) = given {
                    request = request.header("x-fapi-interaction-id", given);
                }
                let request = request.body(Body::empty()).expect("a request");
                let response = router.call(request).await.expect("infallible");
                assert_eq!(response.status().as_u16(), status, "{method} {path}");
                let number = response.headers()["x-fapi-interaction-id"].to_str();
                let number = number.expect("text");
                assert!(number.len() == 36 && (number == own) == (given == Some(own)), "{number}");
            }
        }
        let mut page = post(SOUND);
        page.headers_mut().insert(header::ORIGIN, "https://a.example".parse().expect("a value"));
        let refused = router.call(page).await.expect("infallible");
        assert_eq!(refused.status(), 403);
        assert!(refused.headers().contains_key("x-fapi-interaction-id"));
    });
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packing = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packing.write_all(bytes).expect("into memory");
    packing.finish().expect("into memory")
}

#[test]
fn packed_bodies_are_read_and_held_to_the_same_bounds() {
    block_on(async {
        let mut router = alone_for_all();
        let bomb = packed(&vec![b' '; 100 * 1024 * 1024]);
        let mut broken = packed(SOUND.as_bytes());
        broken.truncate(broken.len() / 2);
        for (path, media, body, encoding, expected) in [
            ("", JSON, packed(SOUND.as_bytes()), "gzip", "NO_PRIMARY"),
            ("", JSON, SOUND.into(), "identity", "NO_PRIMARY"),
            ("", JSON, bomb.clone(), "gzip", "TOO_LARGE"),
            (":batch", JSON, bomb.clone(), "gzip", "TOO_LARGE"),
            ("", JSON, broken, "gzip", "BAD_JSON"),
            ("", JSON, SOUND.into(), "gzip", "BAD_JSON"),
            ("", JSON, packed(SOUND.as_bytes()), "X-GZIP", "NO_PRIMARY"),
            ("", JSON, [packed(SOUND.as_bytes()), b"more".to_vec()].concat(), "gzip", "BAD_JSON"),
            ("", JSON, packed(SOUND.as_bytes()), "br", "BAD_ENCODING"),
            ("", JSON, packed(SOUND.as_bytes()), "gzip, gzip", "BAD_ENCODING"),
            (":batch", "application/x-ndjson", SOUND.into(), "zstd", "BAD_ENCODING"),
        ] {
            let request = Request::post(format!("/v1/decisions{path}"))
                .header(header::CONTENT_TYPE, media)
                .header(header::CONTENT_ENCODING, encoding);
            let request = request.body(Body::from(body)).expect("a request");
            let (_, problem) = answered(&mut router, request).await;
            assert_eq!(problem["code"], expected, "{path} {encoding} {problem}");
        }
        let lines = Request::post("/v1/decisions:batch")
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header(header::CONTENT_ENCODING, "gzip");
        // Two files, one behind the other, are one.
        let both = [packed(b"1\n"), packed(b"2\n")].concat();
        let lines = lines.body(Body::from(both)).expect("a request");
        let response = router.call(lines).await.expect("infallible");
        let answers = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(answers.iter().filter(|byte| **byte == b'\n').count(), 2);
    });
}

#[test]
fn long_answers_are_packed_for_who_asks_and_lines_never() {
    block_on(async {
        let mut router = alone_for_all();
        for (media, asks, is_packed) in [
            (JSON, "gzip", true),
            (JSON, "br, gzip;q=0.5", true),
            (JSON, "br", false),
            (JSON, "gzip;q=0", false),
            ("application/x-ndjson", "gzip", false),
        ] {
            let body =
                if media == JSON { format!("[{}]", ["1"; 50].join(",")) } else { "1\n".repeat(50) };
            let request = Request::post("/v1/decisions:batch")
                .header(header::CONTENT_TYPE, media)
                .header(header::ACCEPT_ENCODING, asks);
            let request = request.body(Body::from(body)).expect("a request");
            let response = router.call(request).await.expect("infallible");
            let said = response.headers().get(header::CONTENT_ENCODING).cloned();
            let bytes = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(said.is_some(), is_packed, "{media} {asks}");
            let mut text = String::new();
            if is_packed {
                let mut unpacking = flate2::read::GzDecoder::new(&bytes[..]);
                unpacking.read_to_string(&mut text).expect("gzip");
                assert!(bytes.len() < text.len() / 4);
            } else {
                text.push_str(std::str::from_utf8(&bytes).expect("text"));
            }
            assert_eq!(text.matches("BAD_REQUEST").count(), 50);
        }
        let mut short = post("{");
        short.headers_mut().insert(header::ACCEPT_ENCODING, "gzip".parse().expect("a value"));
        assert_eq!(answered(&mut router, short).await.1["code"], "BAD_JSON");
    });
}

/// Sends bytes to a real port, and gives all that comes back until the connection ends.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // It may answer and close before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_port_takes_what_http_allows_and_nothing_else() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let served = super::serve(listener, None, None, alone_for_all(), std::future::pending());
        drop(tokio::spawn(served));
        let length = SOUND.len();
        let old = format!(
            "POST /v1/decisions HTTP/1.0\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n{SOUND}"
        );
        let answer = raw(address, old.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
        let head = format!(
            "POST /v1/decisions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {JSON}\r\n"
        );
        let chunks =
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{SOUND}\r\n0\r\n\r\n");
        let answer = raw(address, chunks.as_bytes()).await;
        assert!(answer.contains("NO_PRIMARY"), "it is read, and there is no node: {answer}");
        // A megabyte in chunks: it is refused behind the first 64 KiB.
        let mut endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for _ in 0..1_024 {
            endless.extend_from_slice(b"400\r\n");
            endless.resize(endless.len() + 0x400, b' ');
            endless.extend_from_slice(b"\r\n");
        }
        let answer = raw(address, &endless).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
        // Two lengths, and a length beside chunks: what smuggling is made of.
        let smuggled =
            format!("{head}Content-Length: {length}\r\nContent-Length: 3\r\n\r\n{SOUND}");
        assert!(raw(address, smuggled.as_bytes()).await.starts_with("HTTP/1.1 400"));
        let long = format!("{head}X-Long: {}\r\n\r\n", "a".repeat(64 * 1024));
        let answer = raw(address, long.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        for garbage in
            [&b"\x00\x01\x02\r\n\r\n"[..], b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        {
            let answer = raw(address, garbage).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
    });
}
