//! The intake between a real broker of Kafka's protocol and real nodes: what is in a topic is decided once and answered at
//! least once, whatever ends or hangs meanwhile.
//!
//! `CATRACA_INTAKE_ROUNDS` is how often something is killed: an intake or the node in turn.

use catraca_tests::command::command;
use catraca_tests::gateway::body;
use catraca_tests::intake::{
    LEAST_ANSWERS, Stopping, World, assert_recorded, await_that, now_ms, rounds,
};
use catraca_tests::kafka::{Client, Kafka, Played, Record};
use catraca_tests::logs::decisions;
use catraca_tests::node::{LOOK_AGAIN, Process, Setup, fail, folder, free_address, http_get};
use catraca_tests::payments::payment;
use catraca_wire::frame::{Transaction, text_of};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Deaths in one run of the suite: partitions of a dead intake are another's after six seconds.
const ROUNDS: u64 = 4;
/// Where payments, answers and dead letters are.
const PAYMENTS: &str = "payments";
const REPLIES: &str = "decisions";
const DEAD: &str = "payments.dead";
/// Partitions of payments and of answers.
const PARTITIONS: i32 = 3;

fn intake(node: SocketAddr, broker: SocketAddr) -> Command {
    let mut intake = command();
    intake.args(["intake", "kafka", "--topic", PAYMENTS]);
    intake.args(["--node", &node.to_string(), "--broker", &broker.to_string()]);
    intake.args(["--reply-topic", REPLIES, "--dead-letter-topic", DEAD]);
    // Everything that it could say of somebody.
    intake.env("CATRACA_INTAKE_LOG_LEVEL", "trace");
    intake
}

/// Starts it, and waits until it has partitions.
fn consuming(command: &mut Command) -> Process {
    let process = Process::spawn(command);
    says(&process, "consuming");
    process
}

fn stop(mut process: Process) -> String {
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0), "{}", process.stderr());
    process.stderr()
}

/// Waits until an intake tells something in these words.
fn says(process: &Process, words: &str) {
    process.wait_for_line(words, |line| {
        line["fields"]["message"].as_str().is_some_and(|text| text.contains(words))
    });
}

fn record(id: &str, number: u64) -> Record {
    record_of(&payment(id, number))
}

fn record_of(payment: &Transaction) -> Record {
    Record::of(text_of(&payment.payer), &body(payment))
}

#[test]
fn what_is_in_a_topic_is_decided_and_answered_and_what_is_nonsense_is_kept_for_a_person() {
    let (dir, of_broker) = (folder(), folder());
    let node = Setup::new(dir.path()).start();
    let kafka = Kafka::start(of_broker.path());
    let client = kafka.client();
    client.declare(PAYMENTS, PARTITIONS);
    client.declare(REPLIES, PARTITIONS);
    client.declare(DEAD, 1);
    let (replies, dead) = (client.read(REPLIES, PARTITIONS), client.read(DEAD, 1));
    let metrics = free_address();
    let mut command = intake(node.listen, kafka.address);
    let process = consuming(command.args(["--metrics-listen", &metrics.to_string()]));

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let records: Vec<Record> = (0..200)
        .map(|number| {
            let record = record(&format!("k-{number}"), number);
            record.header("correlation-id", number).header("traceparent", &traceparent)
        })
        .collect();
    client.put(PAYMENTS, &records);
    let mut decided = BTreeMap::new();
    for reply in replies.wait_for(200) {
        let answer = reply.json();
        assert_eq!((&answer["verdict"], &answer["duplicate"]), (&json!("approve"), &json!(false)));
        let id = answer["transaction_id"].as_str().expect("an id").to_owned();
        let number: usize = id[2..].parse().expect("its number");
        assert_eq!(reply.key, records[number].key, "the answer has the payment's key");
        assert_eq!(reply.header_of("correlation-id"), Some(&id[2..]));
        assert_eq!(reply.header_of("content-type"), Some("application/json"));
        assert_eq!(reply.header_of("x-catraca-status"), Some("200"));
        assert_eq!(reply.header_of("traceparent"), Some(traceparent.as_str()));
        decided.insert(id, answer);
    }
    assert_eq!(decided.len(), 200);
    let sent = node.client().lookup("k-0", None).expect("it is in the log").record;
    assert_eq!(format!("{:032x}", u128::from_be_bytes(sent.transaction.trace_id)), trace);

    // One id through any door is one decision, and another payment with that id is none.
    let mut twice = payment("twice", 8);
    let told = node.client().decide(&twice).expect("decided");
    client.put(PAYMENTS, &[Record::of("k", &body(&twice))]);
    let answer = replies.wait_for(1)[0].json();
    assert_eq!((&answer["lsn"], &answer["duplicate"]), (&json!(told.answer.lsn), &json!(true)));
    twice.amount_centavos += 1;
    client.put(PAYMENTS, &[Record::of("k", &body(&twice))]);
    let answer = replies.wait_for(1)[0].json();
    assert_eq!((&answer["code"], &answer["recorded"]), (&json!("ID_REUSED"), &json!("no")));
    assert_eq!(dead.wait_for(1)[0].header_of("x-catraca-reason"), Some("ID_REUSED"));

    // Whether somebody asked for it before, nobody knows.
    client.put(PAYMENTS, &[record("late", 9).header("x-enqueued-at-ms", now_ms() - 2_000)]);
    let answer = replies.wait_for(1).remove(0);
    assert_eq!(answer.header_of("content-type"), Some("application/problem+json"));
    let answer = answer.json();
    assert_eq!((&answer["code"], &answer["recorded"]), (&json!("DEADLINE"), &json!("perhaps")));

    let mut float = body(&payment("float", 1));
    float["amount_centavos"] = json!(12.5);
    let nonsense = Record { body: b"{\"payer\": ".to_vec(), ..Record::default() };
    let large = Record { body: vec![b' '; 70_000], ..Record::default() };
    for (poison, code, kept) in [
        (nonsense, "BAD_JSON", 10),
        (Record::of("k", &float), "BAD_REQUEST", float.to_string().len()),
        // Of what is too long the beginning is enough: all of it is where it was.
        (large, "TOO_LARGE", 64 * 1_024 + 1),
        (Record::default(), "BAD_JSON", 0),
    ] {
        client.put(PAYMENTS, std::slice::from_ref(&poison));
        let dead = dead.wait_for(1).remove(0);
        assert_eq!((&dead.body[..], &dead.key), (&poison.body[..kept], &poison.key));
        assert_eq!(dead.header_of("x-catraca-reason"), Some(code));
        let place = dead.header_of("x-catraca-queue").expect("where it was");
        assert!(place.starts_with("payments/"), "{place}");
        let offset = dead.header_of("x-catraca-offset").expect("where it was");
        assert!(offset.parse::<u64>().is_ok(), "{offset}");
        let answer = replies.wait_for(1)[0].json();
        assert_eq!((&answer["code"], &answer["recorded"]), (&json!(code), &json!("no")));
    }

    let (status, text) = http_get(metrics, "/metrics").expect("there");
    assert_eq!(status, 200);
    for line in [
        "catraca_intake_messages_total{queue=\"payments/0\"}",
        "catraca_intake_answers_total{code=\"DECIDED\"} 201",
        "catraca_intake_dead_letters_total 5",
        "catraca_intake_broker_connected 1",
        "catraca_intake_broker_blocked 0",
    ] {
        assert!(text.lines().any(|shown| shown.starts_with(line)), "no {line} in {text}");
    }
    assert_eq!(http_get(metrics, "/readyz").expect("there").0, 200);
    let mut written = stop(process);

    // What was answered is committed: whoever comes next takes what is new, and nothing else.
    let process = consuming(&mut intake(node.listen, kafka.address));
    client.put(PAYMENTS, &[record("next", 11)]);
    assert_eq!(replies.wait_for(1)[0].json()["transaction_id"], "next");
    assert!(replies.next(Duration::from_secs(1)).is_none(), "something is answered again");
    written += &stop(process);
    for secret in [text_of(&sent.transaction.payer), text_of(&sent.transaction.payee)] {
        assert!(!written.contains(secret), "{secret} is in the log:\n{written}");
    }
    assert_recorded(dir.path(), &decided);
    let (status, said) =
        fail(&mut intake(node.listen, "10.0.0.1:9092".parse().expect("an address")));
    assert!(status == 10 && said.contains("there is no TLS"), "{status} {said}");
}

#[test]
fn a_broker_that_is_away_or_hangs_is_waited_for() {
    let (dir, of_broker) = (folder(), folder());
    let node = Setup::new(dir.path()).start();
    let address = free_address();
    let metrics = free_address();
    // Nobody is there.
    let mut command = intake(node.listen, address);
    let mut process = Process::spawn(command.args(["--metrics-listen", &metrics.to_string()]));
    says(&process, "fails; trying on");
    assert_eq!(http_get(metrics, "/readyz").expect("there").0, 503);
    // Whoever is told to stop meanwhile does.
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0), "{}", process.stderr());

    let kafka = Kafka::start_at(of_broker.path(), address);
    let client = kafka.client();
    client.declare(PAYMENTS, 1);
    client.declare(REPLIES, 1);
    let process = consuming(&mut command);
    client.put(PAYMENTS, &[record("before", 1)]);
    let replies = client.read(REPLIES, 1);
    assert_eq!(replies.wait_for(1)[0].json()["transaction_id"], "before");

    // It hangs longer than it may without a heartbeat.
    kafka.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(8));
    kafka.signal(Signal::CONT);
    client.put(PAYMENTS, &[record("after", 2)]);
    let is_it = |reply: &Record| reply.json()["transaction_id"] == "after";
    while !replies.wait_for(1).iter().any(is_it) {}
    assert!(!stop(process).contains("panic"));
    node.stop();
}

#[test]
fn an_intake_that_stops_gives_its_partitions_to_the_other_one() {
    let (dir, of_broker) = (folder(), folder());
    let node = Setup::new(dir.path()).start();
    let kafka = Kafka::start(of_broker.path());
    let client = kafka.client();
    client.declare(PAYMENTS, PARTITIONS);
    client.declare(REPLIES, PARTITIONS);
    let mut command = intake(node.listen, kafka.address);
    let stays = consuming(&mut command);
    let goes = consuming(&mut command);
    says(&stays, "partitions are given up");
    assert!(!stop(goes).contains("panic"));
    let has_all = |line: &Value| {
        line["fields"]["message"] == "consuming" && line["fields"]["all"] == PARTITIONS
    };
    // It had all of them before the other came, too.
    let twice = AtomicU64::new(0);
    stays.wait_for_line("all partitions again", |line| {
        has_all(line) && twice.fetch_add(1, Ordering::Relaxed) > 0
    });
    let records: Vec<Record> = (0..30).map(|n| record(&format!("s-{n}"), n)).collect();
    client.put(PAYMENTS, &records);
    // This broker takes its time for the change, so that some may be too late.
    client.read(REPLIES, PARTITIONS).wait_for(30);
    stop(stays);
    node.stop();
}

#[test]
fn answers_that_nobody_takes_wait_and_no_more_is_taken_than_may_be() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let played = Played::start(&[PAYMENTS, REPLIES, DEAD]);
    let client = Client::of(played.address());
    let metrics = free_address();
    let mut command = intake(node.listen, played.address());
    command.args(["--metrics-listen", &metrics.to_string(), "--max-in-flight", "4"]);
    let records: Vec<Record> = (0..40).map(|n| record(&format!("w-{n}"), n)).collect();
    client.put(PAYMENTS, &records);
    played.refuse(true);
    let process = consuming(&mut command);
    let why = |line: &Value| line["fields"]["why"].as_str().unwrap_or_default().to_owned();
    process.wait_for_line("why", |line| why(line).contains("not taken: Message production"));
    let shown = || http_get(metrics, "/metrics").expect("there").1;
    let began = Instant::now();
    while !shown().lines().any(|line| line == "catraca_intake_broker_blocked 1") {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", shown());
        std::thread::sleep(LOOK_AGAIN);
    }
    assert_eq!(http_get(metrics, "/readyz").expect("there").0, 503);
    let text = shown();
    let in_flight = text.lines().find(|line| line.starts_with("catraca_intake_messages_in_flight"));
    let in_flight = in_flight.and_then(|line| line.split(' ').nth(1)).expect("a gauge");
    assert!(in_flight.parse::<u32>().is_ok_and(|count| (1..=5).contains(&count)), "{in_flight}");

    played.refuse(false);
    let replies = client.read(REPLIES, 1);
    let mut answered = BTreeSet::new();
    while answered.len() < records.len() {
        for reply in replies.wait_for(1) {
            answered.insert(reply.json()["transaction_id"].to_string());
        }
    }
    assert!(!stop(process).contains("panic"));
    node.stop();
}

#[test]
fn whoever_is_killed_each_payment_is_decided_once_and_answered() {
    let rounds = rounds(ROUNDS);
    let (dir, of_broker) = (folder(), folder());
    let mut setup = Setup::new(dir.path());
    setup.listen = free_address();
    let mut node = setup.start();
    let kafka = Kafka::start(of_broker.path());
    let client = kafka.client();
    client.declare(PAYMENTS, PARTITIONS);
    client.declare(REPLIES, PARTITIONS);
    client.declare(DEAD, 1);
    let mut command = intake(setup.listen, kafka.address);
    command.env("CATRACA_INTAKE_LOG_LEVEL", "info");
    // Two of one group, which share the partitions.
    let mut intakes = [0, 1].map(|_| Process::spawn(&mut command));

    let world = Mutex::new(World::default());
    let (more, stop_all) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (world, more, stop_all, kafka) = (&world, &more, &stop_all, &kafka);
        scope.spawn(move || {
            let client = kafka.client();
            while !stop_all.load(Ordering::Relaxed) {
                let more = more.load(Ordering::Relaxed);
                let batch = world.lock().expect("nobody panicked").batch(more);
                let records: Vec<Record> = batch.iter().map(record_of).collect();
                client.put(PAYMENTS, &records);
                std::thread::sleep(LOOK_AGAIN);
            }
        });
        scope.spawn(move || {
            let replies = kafka.client().read(REPLIES, PARTITIONS);
            while !stop_all.load(Ordering::Relaxed) {
                if let Some(reply) = replies.next(LOOK_AGAIN) {
                    world.lock().expect("nobody panicked").hear(reply.json());
                }
            }
        });
        // A test that fails must not wait for them.
        let _stopping = Stopping(stop_all);
        for round in 0..rounds {
            let before = world.lock().expect("nobody panicked").answers;
            await_that("answered before a death", world, &intakes[0], |world| {
                world.answers >= before + LEAST_ANSWERS
            });
            if round % 2 == 0 {
                let intake = &mut intakes[round as usize / 2 % 2];
                intake.signal(Signal::KILL);
                intake.wait();
                *intake = Process::spawn(&mut command);
            } else {
                node.process.signal(Signal::KILL);
                node.process.wait();
                node = setup.start();
            }
        }
        more.store(false, Ordering::Relaxed);
        await_that("all decided", world, &intakes[0], |world| {
            world.late.is_empty() && world.decided.len() == world.put.len()
        });
        stop_all.store(true, Ordering::Relaxed);
    });
    for intake in intakes {
        assert!(!stop(intake).contains("panic"));
    }
    node.stop();
    let world = world.into_inner().expect("nobody panicked");
    println!("{} payments, {} answers over {rounds} deaths", world.put.len(), world.answers);
    assert_recorded(dir.path(), &world.decided);
    assert_eq!(decisions(dir.path()).len(), world.put.len(), "each once, and nothing else");
}
