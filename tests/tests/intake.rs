//! The intake between a real RabbitMQ and real nodes: what is in a queue is decided once and answered at least once,
//! whatever ends or hangs meanwhile.
//!
//! `CATRACA_INTAKE_ROUNDS` is how often something is killed: the intake, the node and the broker in turn.

use catraca_tests::command::command;
use catraca_tests::gateway::body;
use catraca_tests::intake::{
    LEAST_ANSWERS, Stopping, World, assert_recorded, await_that, decision, now_ms, rounds,
};
use catraca_tests::logs::decisions;
use catraca_tests::node::{LOOK_AGAIN, Process, Setup, fail, folder, free_address, http_get};
use catraca_tests::payments::payment;
use catraca_tests::rabbit::{Amqp, Done, Letter, Rabbit};
use catraca_tls::testing::Certificates;
use catraca_wire::frame::{Transaction, text_of};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Deaths in one run of the suite: a broker needs ten seconds to come back.
const ROUNDS: u64 = 4;
/// Where answers and dead letters go.
const REPLIES: &str = "decisions";
const DEAD: &str = "payments.dead";

fn intake(node: SocketAddr, broker: &str, queues: &[&str]) -> Command {
    let mut intake = command();
    intake.args(["intake", "amqp", "--node", &node.to_string(), "--broker", broker]);
    intake.args(["--reply-key", REPLIES, "--dead-letter-key", DEAD]);
    for queue in queues {
        intake.args(["--queue", queue]);
    }
    // Everything that it could say of somebody.
    intake.env("CATRACA_INTAKE_LOG_LEVEL", "trace");
    intake.env("CATRACA_INTAKE_PASSWORD", "guest");
    intake
}

/// Starts it, and waits until it consumes.
fn consuming(command: &mut Command) -> Process {
    let process = Process::spawn(command);
    process.wait_for_line("consuming", |line| line["fields"]["message"] == "consuming");
    process
}

fn stop(mut process: Process) -> String {
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0), "{}", process.stderr());
    process.stderr()
}

fn letter(id: &str, number: u64) -> Letter {
    letter_of(&payment(id, number))
}

fn letter_of(payment: &Transaction) -> Letter {
    let correlation_id = format!("c-{}", text_of(&payment.id));
    Letter { correlation_id, ..Letter::of(&body(payment)) }
}

#[test]
fn what_is_queued_is_decided_and_answered_and_what_is_nonsense_is_kept_for_a_person() {
    let (dir, of_broker, certificates) = (folder(), folder(), Certificates::new());
    let tls = free_address();
    let path = |name: &str| certificates.path(name).display().to_string();
    let settings = format!(
        "listeners.ssl.1 = {tls}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n",
        path("ca"),
        path("server"),
        path("server-key")
    );
    let node = Setup::new(dir.path()).start();
    let rabbit = Rabbit::start(of_broker.path(), &settings, "");
    let client = rabbit.client();
    for queue in ["p0", "p1", REPLIES, DEAD, "of-asker"] {
        client.declare(queue);
    }
    let metrics = free_address().to_string();
    let mut command = intake(node.listen, &rabbit.address.to_string(), &["p0", "p1"]);
    let process = consuming(command.args(["--metrics-listen", &metrics]));

    let put = |queue: &str, letters: &[Letter]| client.put(queue, letters).expect("it stays");
    for queue in ["p0", "p1"] {
        let to_all: Vec<Letter> = (0..100).map(|n| letter(&format!("{queue}-{n}"), n)).collect();
        put(queue, &to_all);
    }
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let asks = Letter { reply_to: "of-asker".to_owned(), ..letter("asks", 7) };
    put("p0", &[asks.header("traceparent", &traceparent)]);
    let replies = client.wait_for(REPLIES, 200);
    let ids: BTreeSet<String> = replies
        .iter()
        .map(|reply| {
            let answer = reply.json();
            let id = answer["transaction_id"].as_str().expect("an id").to_owned();
            assert_eq!(
                (&answer["verdict"], &answer["duplicate"]),
                (&json!("approve"), &json!(false))
            );
            assert_eq!(reply.correlation_id, format!("c-{id}"));
            assert_eq!(reply.content_type, "application/json");
            assert_eq!(reply.header_of("x-catraca-status"), Some("200"));
            id
        })
        .collect();
    assert_eq!(ids.len(), 200);
    let asked = client.wait_for("of-asker", 1).remove(0);
    assert_eq!(
        (asked.json()["transaction_id"].clone(), asked.correlation_id.as_str()),
        (json!("asks"), "c-asks")
    );
    assert_eq!(asked.header_of("traceparent"), Some(traceparent.as_str()));

    // One id through any door is one decision.
    let mut twice = payment("twice", 8);
    let told = node.client().decide(&twice).expect("decided");
    put("p1", &[Letter::of(&body(&twice))]);
    let answer = client.wait_for(REPLIES, 1)[0].json();
    assert_eq!((&answer["lsn"], &answer["duplicate"]), (&json!(told.answer.lsn), &json!(true)));
    twice.amount_centavos += 1;
    put("p1", &[Letter { reply_to: "nobody".to_owned(), ..Letter::of(&body(&twice)) }]);
    let answer = client.wait_for(REPLIES, 1)[0].json();
    assert_eq!(
        (&answer["code"], &answer["recorded"]),
        (&json!("ID_REUSED"), &json!("no")),
        "{answer}"
    );
    let dead = client.wait_for(DEAD, 1).remove(0);
    assert_eq!(dead.header_of("x-catraca-reason"), Some("ID_REUSED"));

    let late = now_ms() - 2_000;
    put("p0", &[letter("late", 9).header("x-enqueued-at-ms", late)]);
    let answer = client.wait_for(REPLIES, 1).remove(0);
    assert_eq!(answer.content_type, "application/problem+json");
    assert_eq!(answer.header_of("x-catraca-status"), Some("504"));
    let answer = answer.json();
    assert_eq!(
        (&answer["code"], &answer["recorded"]),
        (&json!("DEADLINE"), &json!("no")),
        "{answer}"
    );

    let mut float = body(&payment("float", 1));
    float["amount_centavos"] = json!(12.5);
    let nonsense = Letter { body: b"{\"payer\": ".to_vec(), ..letter("unused", 1) };
    let large = Letter { body: vec![b' '; 70_000], ..Letter::default() };
    for (poison, code) in
        [(nonsense, "BAD_JSON"), (Letter::of(&float), "BAD_REQUEST"), (large, "TOO_LARGE")]
    {
        put("p1", std::slice::from_ref(&poison));
        let dead = client.wait_for(DEAD, 1).remove(0);
        assert_eq!((dead.body, dead.correlation_id), (poison.body, poison.correlation_id));
        let header = |name: &str| dead.headers.iter().find(|(one, _)| one == name).cloned();
        assert_eq!(header("x-catraca-reason").expect("the reason").1, code);
        assert_eq!(header("x-catraca-queue").expect("where it was").1, "p1");
        assert!(header("x-catraca-detail").is_some());
        let answer = client.wait_for(REPLIES, 1)[0].json();
        assert_eq!(
            (&answer["code"], &answer["recorded"]),
            (&json!(code), &json!("no")),
            "{answer}"
        );
    }

    let (status, text) = http_get(metrics.parse().expect("an address"), "/metrics").expect("there");
    assert_eq!(status, 200);
    for line in [
        "catraca_intake_messages_total{queue=\"p0\"} 102",
        "catraca_intake_answers_total{code=\"DECIDED\"} 202",
        "catraca_intake_answers_total{code=\"TOO_LARGE\"} 1",
        "catraca_intake_dead_letters_total 4",
        "catraca_intake_returned_total 1",
        "catraca_intake_broker_connected 1",
    ] {
        assert!(text.lines().any(|shown| shown.starts_with(line)), "no {line} in {text}");
    }
    assert_eq!(http_get(metrics.parse().expect("an address"), "/readyz").expect("there").0, 200);
    let written = stop(process);

    // What was delivered before and not acknowledged gets the decision that stands, or is told that nobody knows.
    let first = replies[0].json();
    let id = first["transaction_id"].as_str().expect("an id");
    let sent = node.client().lookup(id, None).expect("it is in the log").record.transaction;
    let late = letter("late-again", 10).header("x-enqueued-at-ms", late);
    put("p0", &[Letter::of(&body(&sent)), late]);
    rabbit.client().spoil("p0", 2);
    let mut secure = intake(node.listen, &format!("localhost:{}", tls.port()), &["p0"]);
    let process = consuming(secure.arg("--broker-ca-file").arg(certificates.path("ca")));
    let (mut again, mut in_doubt) = (None, None);
    for reply in client.wait_for(REPLIES, 2) {
        let answer = reply.json();
        let of = if answer["transaction_id"] == id { &mut again } else { &mut in_doubt };
        *of = Some(answer);
    }
    let (again, in_doubt) = (again.expect("answered"), in_doubt.expect("answered"));
    assert_eq!((decision(&again), &again["duplicate"]), (decision(&first), &json!(true)));
    assert_eq!((&in_doubt["code"], &in_doubt["recorded"]), (&json!("DEADLINE"), &json!("perhaps")));
    let written = written + &stop(process);

    // Each queue of an institution of its own: the same id is a payment of each.
    let mut named = intake(node.listen, &rabbit.address.to_string(), &["p0", "p1"]);
    named.env(
        "CATRACA_INTAKE_SUBMITTERS",
        "[{ source = 'p0', name = 'loja-mar', institution = 7 }, { source = 'p1', name = 'loja-sol', institution = 8 }]",
    );
    let process = consuming(&mut named);
    for queue in ["p0", "p1"] {
        put(queue, &[letter("of-each", 11)]);
    }
    let mut answers = client.wait_for(REPLIES, 2);
    assert!(answers.iter_mut().all(|answer| answer.json()["duplicate"] == false), "{answers:?}");
    stop(process);
    let decided = decisions(dir.path());
    let of_each =
        decided.values().filter(|(record, _)| text_of(&record.transaction.id) == "of-each");
    let submitters: BTreeSet<_> = of_each
        .map(|(record, _)| (record.submitter.institution, text_of(&record.submitter.name)))
        .collect();
    assert_eq!(submitters, [(7, "loja-mar"), (8, "loja-sol")].into());
    assert_eq!(client.waiting("p0") + client.waiting("p1") + client.waiting(REPLIES), 0);
    for secret in ["guest", text_of(&sent.payer), text_of(&sent.payee)] {
        assert!(!written.contains(secret), "{secret} is in the log:\n{written}");
    }
    let (status, said) = fail(&mut intake(node.listen, "10.0.0.1:5672", &["p0"]));
    assert!(status == 10 && said.contains("there is no TLS"), "{status} {said}");
}

/// A client that connects again whenever the broker comes back.
struct Faithful<'a> {
    broker: SocketAddr,
    stop: &'a AtomicBool,
    client: Option<Amqp>,
}

impl Faithful<'_> {
    /// Does something with a connection until that succeeds; none when it is told to stop before.
    fn insist<T>(&mut self, mut act: impl FnMut(&Amqp) -> Done<T>) -> Option<T> {
        while !self.stop.load(Ordering::Relaxed) {
            self.client = self.client.take().or_else(|| Amqp::connect(self.broker).ok());
            match self.client.as_ref().map(&mut act) {
                Some(Ok(done)) => return Some(done),
                Some(Err(_)) => self.client = None,
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
        None
    }
}

/// Puts payments into both queues, and again what was too late.
fn produce(broker: SocketAddr, world: &Mutex<World>, more: &AtomicBool, stop: &AtomicBool) {
    let mut faithful = Faithful { broker, stop, client: None };
    while !stop.load(Ordering::Relaxed) {
        let batch = world.lock().expect("nobody panicked").batch(more.load(Ordering::Relaxed));
        let batch: Vec<Letter> = batch.iter().map(letter_of).collect();
        let stamp = |letter: Letter| letter.header("x-enqueued-at-ms", now_ms());
        for (queue, part) in ["p0", "p1"].iter().zip(batch.chunks(batch.len().div_ceil(2).max(1))) {
            let put = |client: &Amqp| {
                client.put(queue, &part.iter().cloned().map(stamp).collect::<Vec<_>>())
            };
            if faithful.insist(put).is_none() {
                return;
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn consume(broker: SocketAddr, world: &Mutex<World>, stop: &AtomicBool) {
    let mut faithful = Faithful { broker, stop, client: None };
    while let Some(replies) = faithful.insist(|client| client.take(REPLIES)) {
        let mut world = world.lock().expect("nobody panicked");
        replies.iter().for_each(|reply| world.hear(reply.json()));
        drop(world);
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn whoever_is_killed_each_payment_is_decided_once_and_answered() {
    let rounds = rounds(ROUNDS);
    let (dir, of_broker) = (folder(), folder());
    let mut setup = Setup::new(dir.path());
    setup.listen = free_address();
    let mut rabbit = Rabbit::prepare(of_broker.path(), "", "");
    let address = rabbit.address.to_string();
    let mut command = intake(setup.listen, &address, &["p0", "p1"]);
    command.env("CATRACA_INTAKE_LOG_LEVEL", "info");
    // Neither the broker nor its queues are there.
    let mut process = Process::spawn(&mut command);
    let is_away = |line: &Value| {
        line["fields"]["message"].as_str().is_some_and(|text| text.contains("trying again"))
    };
    process.wait_for_line("the broker is away", is_away);
    rabbit.run();
    let is_missing = |line: &Value| {
        is_away(line) && line["fields"]["why"].as_str().is_some_and(|why| why.contains("no queue"))
    };
    process.wait_for_line("a queue is missing", is_missing);
    let client = rabbit.client();
    ["p0", "p1", REPLIES, DEAD].iter().for_each(|queue| client.declare(queue));
    drop(client);
    let mut node = setup.start();

    let world = Mutex::new(World::default());
    let (more, stop_all) = (AtomicBool::new(true), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (world, more, stop_all, broker) = (&world, &more, &stop_all, rabbit.address);
        scope.spawn(move || produce(broker, world, more, stop_all));
        scope.spawn(move || consume(broker, world, stop_all));
        // A test that fails must not wait for them.
        let _stopping = Stopping(stop_all);
        for round in 0..rounds {
            let before = world.lock().expect("nobody panicked").answers;
            await_that("answered before a death", world, &process, |world| {
                world.answers >= before + LEAST_ANSWERS
            });
            match round % 3 {
                0 => {
                    process.signal(Signal::KILL);
                    process.wait();
                    process = Process::spawn(&mut command);
                }
                1 => {
                    node.process.signal(Signal::KILL);
                    node.process.wait();
                    node = setup.start();
                }
                _ => {
                    rabbit.kill();
                    rabbit.run();
                }
            }
        }
        more.store(false, Ordering::Relaxed);
        await_that("all decided", world, &process, |world| {
            world.late.is_empty() && world.decided.len() == world.put.len()
        });
        stop_all.store(true, Ordering::Relaxed);
    });
    assert!(!stop(process).contains("panic"));
    node.stop();
    let world = world.into_inner().expect("nobody panicked");
    println!("{} payments, {} answers over {rounds} deaths", world.put.len(), world.answers);
    assert_recorded(dir.path(), &world.decided);
    assert_eq!(decisions(dir.path()).len(), world.put.len(), "each once, and nothing else");
}

#[test]
fn a_broker_that_closes_channels_is_survived() {
    let (dir, of_broker) = (folder(), folder());
    let node = Setup::new(dir.path()).start();
    // A message that is not acknowledged for a second has its channel closed.
    let often = "[{rabbit, [{channel_tick_interval, 200}]}].";
    let rabbit = Rabbit::start(of_broker.path(), "consumer_timeout = 1000\n", often);
    let client = rabbit.client();
    ["p0", REPLIES].iter().for_each(|queue| client.declare(queue));
    let process = consuming(&mut intake(node.listen, &rabbit.address.to_string(), &["p0"]));

    // Nothing takes dead letters, so that one waits, and is not lost; others are answered meanwhile.
    let poison = Letter { body: b"nonsense".to_vec(), ..Letter::default() };
    client.put("p0", &[poison, letter("beside", 1)]).expect("put");
    assert_eq!(client.wait_for(REPLIES, 1)[0].json()["transaction_id"], "beside");
    says(&process, "nobody takes dead letters");
    says(&process, "delivery acknowledgement on channel");
    client.declare(DEAD);
    let dead = client.wait_for(DEAD, 1).remove(0);
    assert_eq!(dead.header_of("x-catraca-reason"), Some("BAD_JSON"));
    // What was beside it may have been delivered and answered again.
    let is_it = |reply: &Letter| reply.json()["code"] == "BAD_JSON";
    while !client.wait_for(REPLIES, 1).iter().any(is_it) {}

    assert!(!stop(process).contains("panic"));
    assert_eq!(client.waiting("p0"), 0);
    node.stop();
}

/// Waits until an intake tells something in these words.
fn says(process: &Process, words: &str) {
    process.wait_for_line(words, |line| {
        ["message", "why"]
            .iter()
            .any(|field| line["fields"][field].as_str().is_some_and(|text| text.contains(words)))
    });
}

#[test]
fn a_broker_that_takes_nothing_is_waited_for() {
    let (dir, of_broker) = (folder(), folder());
    let node = Setup::new(dir.path()).start();
    let rabbit = Rabbit::start(of_broker.path(), "", "");
    let client = rabbit.client();
    ["p0", REPLIES].iter().for_each(|queue| client.declare(queue));
    let process = consuming(&mut intake(node.listen, &rabbit.address.to_string(), &["p0"]));
    // The broker is short of memory, so that replies wait; it says when it has some again.
    node.process.signal(Signal::STOP);
    client
        .put("p0", &(0..50).map(|n| letter(&format!("b-{n}"), n)).collect::<Vec<_>>())
        .expect("put");
    let level = rabbit.say(&["eval", "vm_memory_monitor:get_vm_memory_high_watermark()."]);
    rabbit.say(&["set_vm_memory_high_watermark", "0.000001"]);
    node.process.signal(Signal::CONT);
    says(&process, "takes no replies");
    rabbit.say(&["set_vm_memory_high_watermark", level.trim()]);
    says(&process, "takes replies again");
    let mut answered = BTreeSet::new();
    while answered.len() < 50 {
        for reply in client.wait_for(REPLIES, 1) {
            answered.insert(reply.json()["transaction_id"].to_string());
        }
    }
    assert!(!stop(process).contains("panic"));
    assert_eq!(client.waiting("p0"), 0);
    node.stop();
}
