//! The gateway before real nodes: one id through any door is one decision, whatever happens meanwhile.

use catraca_tests::command::command as program;
use catraca_tests::gateway::{Gateway, Http, body, command};
use catraca_tests::logs::{Decisions, decisions};
use catraca_tests::node::{LOOK_AGAIN, Setup, fail, folder, free_address};
use catraca_tests::pair::{Pair, ask};
use catraca_tests::payments::{cpf, payment};
use catraca_wire::frame::{ClusterRequest, Verdict, text_of};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for something that a gateway comes to.
const PATIENCE: Duration = Duration::from_secs(60);
/// Callers at once.
const CALLERS: u64 = 8;
/// Fewest answers before and after a death, so that each has something to lose.
const LEAST_ANSWERS: u64 = 200;

/// What an answer says of the decision, however often it is asked for.
fn decision(answer: &Value) -> [Value; 6] {
    let fields = ["transaction_id", "verdict", "shard", "lsn", "epoch", "receipt"];
    fields.map(|field| answer[field].clone())
}

/// Asserts that each of these answers is in the log, and that nothing is there twice.
fn assert_recorded(decisions: &Decisions, answers: &[Value]) {
    for answer in answers {
        let number = |field: &str| answer[field].as_u64().expect("a number");
        let place = (number("shard") as u16, number("lsn"));
        let (record, receipt) =
            decisions.get(&place).unwrap_or_else(|| panic!("{answer} is not in the log"));
        assert_eq!(text_of(&record.transaction.id), answer["transaction_id"]);
        assert_eq!(
            Verdict::from_wire(record.verdict).map(Verdict::name),
            answer["verdict"].as_str()
        );
        assert_eq!(format!("{receipt:016x}"), answer["receipt"]);
    }
    let mut places = HashMap::new();
    for (place, (record, _)) in decisions {
        let key = (record.transaction.payer, record.transaction.id);
        let twice = places.insert(key, place);
        assert_eq!(twice, None, "{} was decided twice", text_of(&record.transaction.id));
    }
}

fn await_ready(gateway: &Gateway) {
    let began = Instant::now();
    while gateway.connect().get("/readyz").expect("an answer").0 != 200 {
        assert!(began.elapsed() < PATIENCE, "never ready:\n{}", gateway.process.stderr());
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn one_id_through_either_door_is_one_decision() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let gateway = Gateway::start(&[node.listen.to_string()]);
    await_ready(&gateway);
    let mut http = gateway.connect();
    let mut client = node.client();

    let first = payment("binary-first", 1);
    let told = client.decide(&first).expect("decided");
    let (status, answer) = http.decide(&body(&first)).expect("an answer");
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["verdict"], told.verdict.name());
    assert_eq!(answer["lsn"], told.answer.lsn);
    assert_eq!(answer["receipt"], format!("{:016x}", told.answer.receipt));

    let mut second = payment("http-first", 2);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let fields = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let (status, answer) = http.decide_with(&body(&second), &fields).expect("an answer");
    assert_eq!((status, &answer["duplicate"]), (200, &json!(false)), "{answer}");
    let told = client.decide(&second).expect("decided");
    assert!(told.duplicate);
    assert_eq!(answer["lsn"], told.answer.lsn);

    second.amount_centavos += 1;
    let (status, problem) = http.decide(&body(&second)).expect("an answer");
    assert_eq!((status, &problem["code"]), (422, &json!("ID_REUSED")), "{problem}");
    assert_eq!(problem["recorded"], "no");

    let payer = text_of(&second.payer);
    let (status, stored) =
        http.get(&format!("/v1/decisions/http-first?payer={payer}")).expect("an answer");
    assert_eq!((status, &stored["lsn"]), (200, &answer["lsn"]), "{stored}");
    assert_eq!((&stored["trace_id"], &stored["receipt"]), (&json!(trace), &answer["receipt"]));
    assert_eq!(stored["reason"], "clear");
    assert!(stored["payer"].as_str().is_some_and(|payer| payer.contains("***")), "{stored}");
    assert!(!stored.to_string().contains(payer), "{stored}");
    let (status, problem) = http.get("/v1/decisions/never").expect("an answer");
    assert_eq!((status, &problem["code"]), (404, &json!("NOT_FOUND")));

    let mut old = body(&payment("too-old", 3));
    old["event_time_ns"] = json!(1);
    let (status, problem) = http.decide(&old).expect("an answer");
    assert_eq!((status, &problem["recorded"]), (422, &json!("perhaps")), "{problem}");
    let written = gateway.stop() + &node.stop();
    for document in [first.payer, first.payee, second.payer, second.payee] {
        assert!(!written.contains(text_of(&document)), "a document is in a log:\n{written}");
    }
}

#[test]
fn who_asks_twice_at_once_gets_one_decision() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let gateway = Gateway::start(&[node.listen.to_string()]);
    await_ready(&gateway);
    let bodies: Vec<Value> = (0..50).map(|n| body(&payment(&format!("same-{n}"), n))).collect();
    let answers: Vec<Vec<Value>> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut http = gateway.connect();
                    let answer = |body: &Value| http.decide(body).expect("an answer");
                    bodies
                        .iter()
                        .map(answer)
                        .map(|(status, answer)| {
                            assert_eq!(status, 200, "{answer}");
                            answer
                        })
                        .collect()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("it ends")).collect()
    });
    for at in 0..bodies.len() {
        let same: Vec<&Value> = answers.iter().map(|of_caller| &of_caller[at]).collect();
        assert!(same.iter().all(|answer| decision(answer) == decision(same[0])), "{same:#?}");
        let first = same.iter().filter(|answer| answer["duplicate"] == false).count();
        assert_eq!(first, 1, "one of them was the first");
    }
    gateway.stop();
    node.stop();
    assert_recorded(&decisions(dir.path()), &answers.concat());
}

/// Pays until told to stop, and sends again whatever was not decided: what is paid is answered. Gives
/// the answers, and how many problems came before them.
fn pay(
    listen: SocketAddr,
    caller: u64,
    stop: &AtomicBool,
    count: &AtomicU64,
) -> (Vec<Value>, usize) {
    let (mut answers, mut problems) = (Vec::new(), 0);
    let mut http = Http::connect(listen).expect("the gateway takes connections");
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = body(&payment(&format!("c{caller}-{number}"), caller * 1_000_000 + number));
        let began = Instant::now();
        let answer = loop {
            let (status, answer) = http.decide(&body).expect("the gateway stays");
            match status {
                200 => break answer,
                503 | 504 => assert_ne!(answer["next"], Value::Null, "{answer}"),
                _ => panic!("{status} {answer}"),
            }
            assert!(began.elapsed() < PATIENCE, "never decided: {answer}");
            problems += 1;
            std::thread::sleep(Duration::from_millis(20));
        };
        count.fetch_add(1, Ordering::Relaxed);
        answers.push(answer);
    }
    (answers, problems)
}

#[test]
fn a_failover_under_load_loses_nothing_and_doubles_nothing() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    let gateway = Gateway::start(&pair.addresses());
    await_ready(&gateway);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let wait_for = |more: u64| {
        let least = count.load(Ordering::Relaxed) + more;
        let began = Instant::now();
        while count.load(Ordering::Relaxed) < least {
            assert!(began.elapsed() < PATIENCE, "it stands still:\n{}", gateway.process.stderr());
            std::thread::sleep(LOOK_AGAIN);
        }
    };
    let paid: Vec<(Vec<Value>, usize)> = std::thread::scope(|scope| {
        let (stop, count, listen) = (&stop, &count, gateway.listen);
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| scope.spawn(move || pay(listen, caller, stop, count)))
            .collect();
        wait_for(LEAST_ANSWERS);
        primary.kill();
        ask(&standby, &ClusterRequest::promote(false)).expect("a standby in sync is promoted");
        wait_for(LEAST_ANSWERS);
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().expect("it ends")).collect()
    });
    let problems: usize = paid.iter().map(|(_, problems)| problems).sum();
    let answers: Vec<Value> = paid.into_iter().flat_map(|(answers, _)| answers).collect();
    println!("{} payments, {problems} problems before their answers", answers.len());
    let epochs: BTreeMap<u64, usize> =
        answers.iter().fold(BTreeMap::new(), |mut epochs, answer| {
            *epochs.entry(answer["epoch"].as_u64().expect("a number")).or_default() += 1;
            epochs
        });
    assert_eq!(epochs.len(), 2, "both nodes decided: {epochs:?}");
    let written = gateway.stop();
    assert!(!written.contains("panic"), "{written}");
    standby.stop();
    assert_recorded(&decisions(&pair.data_dir(1)), &answers);
}

#[test]
fn a_stop_answers_what_was_taken() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let gateway = Gateway::start(&[node.listen.to_string()]);
    await_ready(&gateway);
    // The node says nothing for a while, so that the stop meets a payment that waits.
    node.process.signal(Signal::STOP);
    let mut http = gateway.connect();
    let waiting = std::thread::spawn(move || http.decide(&body(&payment("waits", 1))));
    std::thread::sleep(Duration::from_millis(200));
    gateway.process.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    node.process.signal(Signal::CONT);
    let (status, answer) = waiting.join().expect("it ends").expect("an answer");
    assert_eq!((status, &answer["transaction_id"]), (200, &json!("waits")), "{answer}");
    let mut gateway = gateway;
    assert_eq!(gateway.process.wait().code(), Some(0));
    assert!(Http::connect(gateway.listen).is_err());
}

#[test]
fn a_gateway_is_ready_when_a_primary_answers_and_only_then() {
    let dir = folder();
    let mut setup = Setup::new(dir.path());
    setup.listen = free_address();
    let gateway = Gateway::start(&[setup.listen.to_string()]);
    let mut http = gateway.connect();
    assert_eq!(http.get("/livez").expect("an answer").0, 200);
    assert_eq!(http.get("/readyz").expect("an answer").0, 503);
    let (status, problem) = http.decide(&body(&payment("nobody", 1))).expect("an answer");
    assert_eq!((status, &problem["code"]), (503, &json!("NO_PRIMARY")), "{problem}");
    assert_eq!(problem["recorded"], "no");
    let node = setup.start();
    await_ready(&gateway);
    assert_eq!(http.decide(&body(&payment("somebody", 1))).expect("an answer").0, 200);
    node.kill();
    let began = Instant::now();
    while http.get("/readyz").expect("an answer").0 != 503 {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn a_gateway_that_may_not_is_told_and_lets_nobody_wait() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let secret = dir.path().join("gateway.credential");
    std::fs::write(&secret, "sesame\n").expect("written");
    let mut with_credential = command(&[node.listen.to_string()]);
    let gateway = Gateway::of(with_credential.arg("--credential-file").arg(&secret));
    let began = Instant::now();
    let (status, problem) =
        gateway.connect().decide(&body(&payment("secret", 1))).expect("an answer");
    assert_eq!((status, &problem["code"]), (502, &json!("UNAUTHENTICATED")), "{problem}");
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits in vain");
    assert!(!gateway.stop().contains("sesame"));

    let (status, said) = fail(program().args(["gateway", "--listen", "0.0.0.0:8080"]));
    assert!(status == 10 && said.contains("not authenticated"), "{status} {said}");
    let taken = node.http.to_string();
    let (status, said) = fail(program().args(["gateway", "--listen", &taken]));
    assert!(status == 10 && said.contains("can't listen"), "{status} {said}");
}

#[test]
fn one_caller_in_a_flood_of_nonsense_is_served() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let gateway = Gateway::start(&[node.listen.to_string()]);
    await_ready(&gateway);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (stop, listen) = (&stop, gateway.listen);
            scope.spawn(move || {
                let mut bad = body(&payment("bad", number));
                bad["payer"] = json!("04933228681");
                while !stop.load(Ordering::Relaxed) {
                    let mut http = Http::connect(listen).expect("taken");
                    assert_eq!(http.decide(&bad).expect("an answer").0, 422);
                }
            });
        }
        let mut http = gateway.connect();
        for number in 0..100 {
            let body = body(&payment(&format!("good-{number}"), number));
            assert_eq!(http.decide(&body).expect("an answer").0, 200);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let document = cpf(1).to_canonical();
    assert!(!gateway.stop().contains(&document));
}
