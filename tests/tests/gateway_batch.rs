//! Many payments in one request, before real nodes: each is answered in its place and recorded once, whatever
//! happens to the client, the gateway or the other lines.

use catraca_tests::gateway::{Gateway, Http, batch_head, body, command, tcp};
use catraca_tests::logs::decisions;
use catraca_tests::node::{LOOK_AGAIN, Node, Setup, folder, free_address, http_get};
use catraca_tests::payments::payment;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for something that a gateway comes to.
const PATIENCE: Duration = Duration::from_secs(60);
/// Payments of a batch: many times what may wait at once.
const MANY: u64 = 20_000;

fn await_ready(gateway: &Gateway) {
    let began = Instant::now();
    while gateway.connect().get("/readyz").expect("an answer").0 != 200 {
        assert!(began.elapsed() < PATIENCE, "never ready:\n{}", gateway.process.stderr());
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn line(id: &str, number: u64) -> String {
    body(&payment(id, number)).to_string() + "\n"
}

/// Sends lines in chunks until there are none, or nobody takes them any more.
fn send(mut to: &TcpStream, lines: impl Iterator<Item = String>) -> std::io::Result<()> {
    let mut lines = lines.peekable();
    while lines.peek().is_some() {
        let chunk: String = lines.by_ref().take(50).collect();
        to.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes())?;
    }
    to.write_all(b"0\r\n\r\n")
}

fn recorded(dir: &Path) -> BTreeSet<(u16, u64)> {
    decisions(dir).keys().copied().collect()
}

fn place(answer: &Value) -> Option<(u16, u64)> {
    Some((answer["shard"].as_u64()? as u16, answer["lsn"].as_u64()?))
}

/// A gateway to this node that is ready, and where its metrics are.
fn with_metrics(node: &Node) -> (Gateway, SocketAddr) {
    let metrics = free_address();
    let mut command = command(&[node.listen.to_string()]);
    let gateway = Gateway::of(command.args(["--metrics-listen", &metrics.to_string()]));
    await_ready(&gateway);
    (gateway, metrics)
}

#[test]
fn a_batch_is_decided_in_its_order_while_others_are_served() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let (gateway, metrics) = with_metrics(&node);
    let stream = tcp(gateway.listen).expect("taken");
    let is_over = AtomicBool::new(false);
    // The content of a payment has its time.
    let lines: Vec<String> = (0..MANY).map(|number| line(&format!("b-{number}"), number)).collect();
    // Every third comes again, at once.
    let first_of = |number: u64| (number - u64::from(number % 3 == 1)) as usize;
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(batch_head("Transfer-Encoding: chunked").as_bytes()).expect("sent");
            let lines = (0..MANY).map(|number| lines[first_of(number)].clone());
            send(&stream, lines).expect("the gateway takes them");
        });
        scope.spawn(|| {
            let mut http = gateway.connect();
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let (status, answer) = http
                    .decide(&body(&payment(&format!("single-{number}"), number)))
                    .expect("an answer");
                assert_eq!(status, 200, "a batch takes nobody's place: {answer}");
            }
        });
        let mut answers = Vec::new();
        let read = Http::over(stream.try_clone().expect("a handle"))
            .answers(|answer| answers.push(answer));
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(read.expect("an answer"), 200);
        answers
    });
    assert_eq!(answers.len() as u64, MANY);
    for (answer, number) in answers.iter().zip(0..) {
        let same = first_of(number);
        assert_eq!(answer["transaction_id"], format!("b-{same}"), "{answer}");
        assert_eq!(place(answer), place(&answers[same]), "{answer}");
    }
    // What was decided once is decided, through any door.
    let again: String = [0, 2, 3].map(|number: usize| lines[number].as_str()).concat();
    let (status, again) = gateway.connect().batch(&again).expect("an answer");
    assert_eq!((status, again.len()), (200, 3));
    for (answer, number) in again.iter().zip([0, 2, 3]) {
        assert_eq!((&answer["duplicate"], place(answer)), (&true.into(), place(&answers[number])));
    }
    let (_, counted) = http_get(metrics, "/metrics").expect("an answer");
    let expected = format!("catraca_gateway_batch_transactions_total {}", MANY + 3);
    assert!(counted.contains(&expected), "{counted}");
    gateway.stop();
    node.stop();
    let recorded = recorded(dir.path());
    assert!(answers.iter().all(|answer| recorded.contains(&place(answer).expect("decided"))));
}

/// A batch that has no end; its answers are counted as they come.
fn endless(stream: &TcpStream, count: &AtomicUsize) -> std::io::Result<Vec<Value>> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&*stream)
                .write_all(batch_head("Transfer-Encoding: chunked").as_bytes())
                .expect("sent");
            // The gateway, or the test, ends it.
            let _ = send(stream, (0..).map(|number| line(&format!("e-{number}"), number)));
        });
        let mut answers = Vec::new();
        let read = Http::over(stream.try_clone()?).answers(|answer| {
            count.fetch_add(1, Ordering::Relaxed);
            answers.push(answer);
        });
        // Nobody waits for what the other thread sends.
        let _ = stream.shutdown(std::net::Shutdown::Both);
        read.map(|_| answers)
    })
}

fn wait_for(count: &AtomicUsize, least: usize, gateway: &Gateway) {
    let began = Instant::now();
    while count.load(Ordering::Relaxed) < least {
        assert!(began.elapsed() < PATIENCE, "it stands still:\n{}", gateway.process.stderr());
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[test]
fn a_stop_answers_what_was_read_of_a_batch_and_nothing_else_is_decided() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let gateway = Gateway::start(&[node.listen.to_string()]);
    await_ready(&gateway);
    let stream = tcp(gateway.listen).expect("taken");
    let count = AtomicUsize::new(0);
    let answers = std::thread::scope(|scope| {
        let running = scope.spawn(|| endless(&stream, &count));
        wait_for(&count, 1_000, &gateway);
        gateway.process.signal(Signal::TERM);
        running.join().expect("it ends").expect("the answer has an end")
    });
    let mut gateway = gateway;
    assert_eq!(gateway.process.wait().code(), Some(0), "{}", gateway.process.stderr());
    node.stop();
    let (last, decided) = answers.split_last().expect("there are some");
    assert_eq!((&last["code"], &last["recorded"]), (&"STOPPING".into(), &"no".into()), "{last}");
    assert_eq!(last["number"], answers.len());
    let places: BTreeSet<_> =
        decided.iter().map(|answer| place(answer).unwrap_or_else(|| panic!("{answer}"))).collect();
    assert_eq!(places, recorded(dir.path()), "what is recorded was answered, and the reverse");
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let dir = folder();
    let node = Setup::new(dir.path()).start();
    let (gateway, metrics) = with_metrics(&node);
    for _ in 0..3 {
        let stream = tcp(gateway.listen).expect("taken");
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let running = scope.spawn(|| endless(&stream, &count));
            wait_for(&count, 500, &gateway);
            stream.shutdown(std::net::Shutdown::Both).expect("it was open");
            let _ = running.join().expect("it ends");
        });
    }
    let began = Instant::now();
    loop {
        let (_, counted) = http_get(metrics, "/metrics").expect("an answer");
        if counted.contains("catraca_gateway_batches_running 0") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{counted}");
        std::thread::sleep(LOOK_AGAIN);
    }
    assert_eq!(gateway.connect().decide(&body(&payment("after", 1))).expect("an answer").0, 200);
    let written = gateway.stop();
    assert!(!written.contains("panic"), "{written}");
}
