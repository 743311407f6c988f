//! However a service fails, an attempt comes to an outcome, in its time, and with little memory.

use crate::support::{
    MORE_MEMORY_KIB, PATIENCE, PAYER, ask, client, payment, peak_memory_kib, provider, run,
};
use catraca_node::validators::http::{Attempt, Outcome};
use std::time::{Duration, Instant};

const RETRY: Outcome = Outcome::Retryable { retry_after: None };

#[test]
fn answers_come_by_words_numbers_and_statuses_over_one_connection() {
    let provider = provider("");
    let place = format!("http://{}", provider.address);
    run(async {
        let client = client(&place, "status = { 404 = \"not-found\" }");
        for (payer, answer, status) in
            [(PAYER, 0, 200), ("11144477735", 1, 200), ("12345678909", 2, 404), (PAYER, 0, 200)]
        {
            let attempt = client.attempt(&payment(payer)).await;
            let came = (attempt.outcome, attempt.status);
            assert_eq!(came, (Outcome::Answer(answer), Some(status)), "{attempt:?}");
            assert!(!attempt.detail.contains(payer), "{attempt:?}");
        }
    });
    assert_eq!((provider.connections(), provider.requests()), (1, 4));
    let number = client(&place, "answer = \"/number\"\n");
    assert_eq!(run(ask(&number)).outcome, Outcome::Answer(7));
    let alone = number.attempt_alone(&payment(PAYER)).expect("a runtime");
    assert_eq!(alone.outcome, Outcome::Answer(7));
}

#[test]
fn what_is_posted_is_json_by_the_fields_names() {
    let provider = provider("by = \"payer.document\"\nrequire = { x-plain = \"yes\" }\n");
    let place = format!("http://{}", provider.address);
    let url = format!("url = \"{place}/ask\"\nheaders = {{ X-Plain = \"yes\" }}\n");
    let more = format!("{url}send = [\"payer.document\", \"tx.amount\"]");
    let attempt = run(ask(&client(&place, &more)));
    assert_eq!(attempt.outcome, Outcome::Answer(0), "{attempt:?}");
    // A document that is hashed is nobody that the provider knows.
    let policy = crate::support::policy_text(&place, &more).replace("\"full\"", "\"hashed\"");
    let policy = catraca_node::policy_file::parse(&policy).expect("sound");
    let client = catraca_node::validators::http::Client::new(&policy.services[0], &[7; 32]);
    let attempt = run(ask(&client.expect("sound")));
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Final, Some(404)));
}

#[test]
fn each_failure_has_its_outcome_and_keeps_its_time_and_memory() {
    let before_kib = peak_memory_kib();
    for (phase, outcome, status, detail) in [
        ("fail = 'refuse'", RETRY, None, "refused"),
        ("fail = 'reset'", RETRY, None, ""),
        ("fail = 'not-http'", RETRY, None, ""),
        ("fail = 'hang'", RETRY, None, "an answer did not come within 300 ms"),
        ("delay_ms = 60000", RETRY, None, "an answer did not come within 300 ms"),
        ("fail = 'drip'", RETRY, Some(200), "the whole answer did not come within 300 ms"),
        ("fail = 'truncate'", RETRY, Some(200), "the body broke off"),
        ("fail = 'garbage'", Outcome::Final, Some(200), "the body is no JSON"),
        ("fail = 'huge'", Outcome::Final, Some(200), "more than 65536 bytes"),
        ("fail = 'redirect'", Outcome::Final, Some(302), "redirects are not followed"),
        ("fail = 'gzip-bomb'", Outcome::Final, Some(200), "the body is encoded"),
        ("status = 503", RETRY, Some(503), "status 503"),
        ("status = 500\nfail = 'huge'", RETRY, Some(500), "status 500"),
        ("status = 408", RETRY, Some(408), ""),
        ("status = 204", Outcome::Final, Some(204), "status 204 is no answer"),
        ("status = 401", Outcome::Final, Some(401), "status 401 is no answer"),
        ("status = 422", Outcome::Final, Some(422), "status 422 is no answer"),
    ] {
        let provider = provider(&format!("[[phase]]\n{phase}\n"));
        if phase.contains("refuse") {
            // Until nobody listens any more.
            let began = Instant::now();
            while std::net::TcpStream::connect(provider.address).is_ok() {
                assert!(began.elapsed() < PATIENCE);
            }
        }
        let time = if detail.contains("300 ms") { "timeout_ms = 300" } else { "" };
        let client = client(&format!("http://{}", provider.address), time);
        let attempts = run(async {
            let all = (0..4).map(|_| {
                let client = client.clone();
                tokio::spawn(async move { ask(&client).await })
            });
            let all: Vec<_> = all.collect();
            let mut attempts: Vec<Attempt> = Vec::new();
            for one in all {
                attempts.push(one.await.expect("it does not panic"));
            }
            attempts
        });
        for attempt in attempts {
            assert_eq!(
                (attempt.outcome, attempt.status),
                (outcome, status),
                "{phase}: {attempt:?}"
            );
            assert!(attempt.detail.contains(detail), "{phase}: {attempt:?}");
        }
        if phase.contains("redirect") {
            assert_eq!(provider.requests(), 4, "none is followed");
        }
    }
    let more_kib = peak_memory_kib() - before_kib;
    assert!(more_kib < MORE_MEMORY_KIB, "{more_kib} KiB");
}

#[test]
fn a_wrong_type_where_the_answer_stands_is_named() {
    let provider = provider("");
    let place = format!("http://{}", provider.address);
    for (pointer, detail) in [
        ("/fraction", "a number with a fraction"),
        ("/text", "stands a text"),
        ("", "stands an object"),
        ("/nowhere", "nothing stands at \"/nowhere\""),
        ("/status", "stands a text"),
    ] {
        let attempt = run(ask(&client(&place, &format!("answer = \"{pointer}\""))));
        assert_eq!((attempt.outcome, attempt.status), (Outcome::Final, Some(200)), "{pointer}");
        assert!(attempt.detail.contains(detail), "{pointer}: {attempt:?}");
    }
}

#[test]
fn how_long_a_service_wants_to_be_left_alone_is_told_and_has_a_bound() {
    for (status, seconds, told) in [(429, 3_600, 600), (503, 2, 2)] {
        let script = format!("[[phase]]\nstatus = {status}\nretry_after_s = {seconds}\n");
        let provider = provider(&script);
        let attempt = run(ask(&client(&format!("http://{}", provider.address), "")));
        let retry_after = Some(Duration::from_secs(told));
        assert_eq!(attempt.outcome, Outcome::Retryable { retry_after }, "{attempt:?}");
    }
}

#[test]
fn a_status_that_is_an_answer_is_one_whatever_the_body_is() {
    for fail in ["hang-not", "huge", "garbage", "gzip-bomb", "drip"] {
        let fail = if fail == "hang-not" { String::new() } else { format!("fail = '{fail}'") };
        let provider = provider(&format!("[[phase]]\nstatus = 503\n{fail}\n"));
        let place = format!("http://{}", provider.address);
        let attempt = run(ask(&client(&place, "status = { 503 = \"suspended\" }")));
        assert_eq!((attempt.outcome, attempt.status), (Outcome::Answer(1), Some(503)), "{fail}");
    }
}

#[test]
fn a_connection_that_was_dropped_while_idle_costs_no_attempt() {
    let script = "[[phase]]\nafter_ms = 3000\nfail = 'reset'\n[[phase]]\nafter_ms = 3100\n";
    let provider = provider(script);
    run(async {
        let client = client(&format!("http://{}", provider.address), "");
        assert_eq!(ask(&client).await.outcome, Outcome::Answer(0));
        tokio::time::sleep(Duration::from_millis(4_000)).await;
        let attempt = ask(&client).await;
        assert_eq!(attempt.outcome, Outcome::Answer(0), "{attempt:?}");
    });
    assert_eq!(provider.connections(), 2);
}

#[test]
fn there_are_no_more_connections_than_questions_may_be_under_way() {
    let provider = provider("[[phase]]\ndelay_ms = 50\n");
    let place = format!("http://{}", provider.address);
    run(async {
        let client = client(&place, "limits.in_flight = 3");
        let all = (0..12).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client).await })
        });
        for one in all.collect::<Vec<_>>() {
            assert_eq!(one.await.expect("it does not panic").outcome, Outcome::Answer(0));
        }
    });
    assert!(provider.connections() <= 3, "{}", provider.connections());
}

/// The places of connections whose attempts were given up are free again.
#[test]
fn attempts_that_are_given_up_take_nothing_with_them() {
    let script = "[[phase]]\nfail = 'hang'\n[[phase]]\nafter_ms = 1500\n";
    let provider = provider(script);
    run(async {
        let client = client(&format!("http://{}", provider.address), "limits.in_flight = 1");
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1_500) {
            drop(tokio::time::timeout(Duration::from_millis(50), ask(&client)).await);
        }
        let attempt = ask(&client).await;
        assert_eq!(attempt.outcome, Outcome::Answer(0), "{attempt:?}");
    });
}

#[test]
fn a_name_that_is_none_comes_to_nothing_in_time() {
    let attempt = run(ask(&client("http://no-such-host.invalid", "timeout_ms = 300")));
    assert_eq!((attempt.outcome, attempt.status), (RETRY, None), "{attempt:?}");
    let says = ["looked up", "within 300 ms"];
    assert!(says.iter().any(|says| attempt.detail.contains(says)), "{attempt:?}");
}

/// A port behind which nobody is: the kernel takes connections, as that of a machine whose service hangs.
#[test]
fn a_connection_that_is_never_taken_ends_with_the_attempt() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let attempt = run(ask(&client(&format!("http://{address}"), "timeout_ms = 300")));
    assert_eq!((attempt.outcome, attempt.status), (RETRY, None), "{attempt:?}");
    assert!(attempt.took >= Duration::from_millis(300), "{attempt:?}");
    // The same where TLS is awaited.
    let more = format!("timeout_ms = 300\n{}", crate::tls::any_ca());
    let client = client(&format!("https://localhost:{}", address.port()), &more);
    let attempt = run(ask(&client));
    assert_eq!((attempt.outcome, attempt.status), (RETRY, None), "{attempt:?}");
}
