//! Tests of batches with nobody behind the gateway, so that every transaction ends as a problem.

use super::input::{MAX_ITEMS, MAX_PIECE_LEN};
use crate::auth::clients::tests::client;
use crate::auth::{Client, Clients, Limits};
use crate::http::tests::{Alone, SOUND, alone, block_on};
use crate::permission::Permission;
use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use axum::response::Response;
use catraca_tls::sha256;
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tower_service::Service as _;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const KEY: &str = "sesame-sesame-sesame";

fn batch(media: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/v1/decisions:batch").header(header::CONTENT_TYPE, media);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {KEY}"));
    request.body(body.into()).expect("a request")
}

async fn send(alone: &mut Alone, request: Request<Body>) -> Response {
    alone.router.call(request).await.expect("infallible")
}

async fn whole(response: Response) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn codes(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["code"].as_str().expect("a problem")).collect()
}

fn sound(id: &str) -> String {
    SOUND.replace("order-1", id)
}

#[test]
fn every_line_has_its_answer_in_its_place_and_a_bad_one_spoils_no_other() {
    block_on(async {
        let mut alone = alone(Clients::default());
        let long = format!("\"{}\"", "x".repeat(MAX_PIECE_LEN));
        let bad = sound("bad").replace("04933228680", "04933228681");
        let body =
            [&sound("one"), "{", "", &long, &bad, "[]", &sound("two"), "{\"a\":1}"].join("\n");
        let response = send(&mut alone, batch(NDJSON, body)).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::CONTENT_TYPE]),
            (200, &NDJSON.parse().expect("a value"))
        );
        let answers = lines(&whole(response).await);
        assert_eq!(
            codes(&answers),
            [
                "NO_PRIMARY",
                "BAD_JSON",
                "BAD_JSON",
                "TOO_LARGE",
                "BAD_REQUEST",
                "BAD_REQUEST",
                "NO_PRIMARY",
                "BAD_REQUEST"
            ]
        );
        for (answer, number) in answers.iter().zip(1..) {
            assert_eq!((&answer["number"], &answer["recorded"]), (&number.into(), &"no".into()));
            assert!(answer["next"].is_string() && answer["status"].is_u64(), "{answer}");
        }
        assert_eq!(answers[6]["transaction_id"], "two");
        assert!(!format!("{answers:?}").contains("04933228681"), "no document is told");
        assert_eq!(whole(send(&mut alone, batch(NDJSON, "")).await).await, "");
    });
}

#[test]
fn an_array_is_answered_by_an_array() {
    block_on(async {
        let mut alone = alone(Clients::default());
        let body = format!("[{}, 7, {}]", sound("one"), sound("two"));
        let response = send(&mut alone, batch(JSON, body)).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::CONTENT_TYPE]),
            (200, &JSON.parse().expect("a value"))
        );
        let answers: Vec<Value> = serde_json::from_str(&whole(response).await).expect("JSON");
        assert_eq!(codes(&answers), ["NO_PRIMARY", "BAD_REQUEST", "NO_PRIMARY"]);
        let many = format!("[{}]", vec!["1"; MAX_ITEMS + 1].join(","));
        let large = format!("[{}]", " ".repeat(3 * 1024 * 1024));
        for (body, status) in
            [("[", 400), ("{}", 422), ("[]", 422), (many.as_str(), 422), (large.as_str(), 413)]
        {
            let response = send(&mut alone, batch(JSON, body.to_owned())).await;
            assert_eq!(response.status().as_u16(), status, "{}", &body[..body.len().min(20)]);
        }
        let text = send(&mut alone, batch("text/plain", "x")).await;
        assert_eq!(text.status(), 415);
        let mut key = batch(JSON, "[1]");
        key.headers_mut().insert("idempotency-key", "order-1".parse().expect("a value"));
        assert_eq!(send(&mut alone, key).await.status(), 422);
    });
}

/// An endless body, and how many of its lines were read.
fn endless(line: String) -> (Body, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let body = futures::stream::repeat_with(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from(line.clone() + "\n"))
    });
    (Body::from_stream(body), read)
}

#[test]
fn who_does_not_read_is_not_read() {
    block_on(async {
        let mut alone = alone(Clients::default());
        let (body, read) = endless(sound("same"));
        let response = send(&mut alone, batch(NDJSON, body)).await;
        assert_eq!(read.load(Ordering::Relaxed), 0, "nobody has asked for an answer");
        let mut answer = response.into_body();
        answer.frame().await.expect("a frame").expect("whole");
        // Its share is two, and it reads one ahead.
        assert!(read.load(Ordering::Relaxed) <= 6, "{}", read.load(Ordering::Relaxed));
        // The client goes away in the middle.
        drop(answer);
        let (body, read) = endless("nonsense".to_owned());
        let response = send(&mut alone, batch(NDJSON, body)).await;
        let mut answer = response.into_body();
        answer.frame().await.expect("a frame").expect("whole");
        assert!(read.load(Ordering::Relaxed) < 1_000, "{}", read.load(Ordering::Relaxed));
    });
}

#[test]
fn a_stop_answers_what_was_read_and_says_where_it_ends() {
    block_on(async {
        let mut alone = alone(Clients::default());
        let (body, _) = endless(sound("same"));
        let response = send(&mut alone, batch(NDJSON, body)).await;
        let mut answer = response.into_body();
        let mut text = Vec::new();
        text.extend(
            answer.frame().await.expect("a frame").expect("whole").into_data().expect("data"),
        );
        alone.stops.send_replace(true);
        while let Some(frame) = answer.frame().await {
            text.extend(frame.expect("whole").into_data().expect("data"));
        }
        let answers = lines(&String::from_utf8(text).expect("text"));
        for (answer, number) in answers.iter().zip(1..) {
            assert_eq!(answer["number"], number);
        }
        let codes = codes(&answers);
        let (last, before) = codes.split_last().expect("some");
        assert_eq!(*last, "STOPPING");
        assert!(before.iter().all(|code| *code == "NO_PRIMARY"), "{before:?}");
        let body = format!("[{}]", vec![SOUND; 50].join(","));
        let answers = whole(send(&mut alone, batch(JSON, body)).await).await;
        let answers: Vec<Value> = serde_json::from_str(&answers).expect("an array");
        assert_eq!((answers.len(), &answers[49]["code"]), (50, &"STOPPING".into()));
    });
}

fn guarded(limits: Limits) -> Alone {
    let permissions = [Permission::DecisionsWrite].into_iter().collect();
    let api_key = Some(sha256(KEY.as_bytes()));
    let own = Client { api_key, permissions, limits, ..client("by-key") };
    alone(Clients::new(vec![own], false).expect("clients"))
}

#[test]
fn each_transaction_counts_for_the_rate_and_waits_for_it() {
    block_on(async {
        let per_second = NonZeroU32::new(20).expect("not 0");
        let mut alone =
            guarded(Limits { decisions_per_second: per_second, ..client("any").limits });
        let response = send(&mut alone, batch(NDJSON, "nonsense\n".repeat(30))).await;
        assert_eq!(response.status(), 200);
        assert_eq!(lines(&whole(response).await).len(), 30);
        let text = alone.metrics();
        assert!(text.contains("batch_transactions_total 30"), "{text}");
        assert!(text.contains("problems_total{code=\"BAD_JSON\"} 30"), "{text}");
    });
}

#[test]
fn a_client_has_so_many_batches_and_requests_at_once() {
    block_on(async {
        let mut alone = guarded(client("any").limits);
        let mut running = Vec::new();
        for _ in 0..16 {
            let response = send(&mut alone, batch(NDJSON, endless(String::new()).0)).await;
            assert_eq!(response.status(), 200);
            running.push(response);
        }
        assert!(alone.metrics().contains("batches_running 16"));
        assert_eq!(send(&mut alone, batch(NDJSON, "")).await.status(), 429);
        running.pop();
        assert_eq!(send(&mut alone, batch(NDJSON, "")).await.status(), 200);
        drop(running);
        assert!(alone.metrics().contains("batches_running 0"));
        let one = NonZeroU32::MIN;
        let mut alone = guarded(Limits { concurrent: one, ..client("any").limits });
        let held = send(&mut alone, batch(NDJSON, endless(String::new()).0)).await;
        assert_eq!(send(&mut alone, batch(NDJSON, "")).await.status(), 429);
        drop(held);
    });
}

#[test]
fn a_line_that_does_not_come_ends_the_batch() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut alone = alone(Clients::default());
        let begun = futures::stream::iter([Ok::<_, Infallible>(Bytes::from("nonsense\n{\"a"))]);
        let body = futures::StreamExt::chain(begun, futures::stream::pending());
        let response = send(&mut alone, batch(NDJSON, Body::from_stream(body))).await;
        let answers = lines(&whole(response).await);
        assert_eq!(codes(&answers), ["BAD_JSON", "SLOW_BODY"]);
        assert_eq!(answers[1]["number"], 2);
        let broken = futures::stream::iter([
            Ok(Bytes::from("nonsense\n{\"a")),
            Err(std::io::Error::other("gone")),
        ]);
        let response = send(&mut alone, batch(NDJSON, Body::from_stream(broken))).await;
        assert_eq!(codes(&lines(&whole(response).await)), ["BAD_JSON", "BAD_JSON"]);
    });
}
