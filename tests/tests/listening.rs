//! Nobody's connection is taken before there is somebody to answer it.

use catraca_tests::node::{Process, Setup, folder, free_address};
use catraca_tests::payments::payment;
use catraca_tests::raw::{Raw, hello};
use catraca_wire::frame::WelcomeFrame;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a connection may wait to be taken.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);

/// Asks an address for connections until told to stop, and says what became of each that was taken.
struct Prober<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<T>>,
}

impl<T: Send + 'static> Prober<T> {
    fn start(address: SocketAddr, taken: impl Fn(TcpStream) -> T + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !told.load(Ordering::Relaxed) {
                seen.extend(TcpStream::connect_timeout(&address, PROBE_TIMEOUT).ok().map(&taken));
                std::thread::sleep(Duration::from_micros(200));
            }
            seen
        });
        Self { stop, thread }
    }

    fn stop(self) -> Vec<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the prober")
    }
}

fn with_fixed_ports(mut setup: Setup) -> Setup {
    (setup.listen, setup.replication, setup.http) =
        (free_address(), free_address(), free_address());
    setup
}

/// Starts a node that must end with this status, and asks its ports for connections all the while:
/// none may be taken.
fn assert_none_taken(setup: &Setup, ports: &[SocketAddr], status: i32) {
    for &port in ports {
        // The kernel ends the rings of an earlier run in its own time.
        while TcpStream::connect_timeout(&port, PROBE_TIMEOUT).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let probers: Vec<_> = ports.iter().map(|&port| Prober::start(port, drop)).collect();
    let (ended, text) = setup.fail();
    for (port, prober) in ports.iter().zip(probers) {
        assert_eq!(
            prober.stop().len(),
            0,
            "{port} took connections of a node that never served:\n{text}"
        );
    }
    assert_eq!(ended, status, "{text}");
}

#[test]
fn a_node_that_can_not_start_takes_no_connection() {
    let dir = folder();
    let setup = with_fixed_ports(Setup::new(dir.path()));
    // A port that is taken is found out before anything else is.
    let busy = std::net::TcpListener::bind(setup.http).expect("free");
    assert_none_taken(&setup, &[setup.listen, setup.replication], 10);
    drop(busy);
    // A log that is damaged is found out when the ports are taken already.
    let node = setup.start();
    let mut client = node.client();
    for number in 0..20 {
        client.decide(&payment(&format!("order-{number}"), number)).expect("decided");
    }
    drop(client);
    node.stop();
    let segment = dir.path().join("log/shard-0000/00000000.seg");
    let file = std::fs::File::options().write(true).open(segment).expect("the first segment");
    file.write_all_at(&[0xaa; 512], 3 * 4096).expect("written");
    assert_none_taken(&setup, &[setup.listen, setup.replication, setup.http], 12);
}

#[test]
fn what_is_taken_while_a_node_starts_is_answered() {
    let dir = folder();
    let setup = with_fixed_ports(Setup::new(dir.path()).shards(2));
    let greeted = Prober::start(setup.listen, |stream| {
        let mut raw = Raw(stream);
        raw.0.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        let greeted = raw.send(&hello("")).is_ok();
        greeted && matches!(raw.receive(), Ok(Some(reply)) if reply.get::<WelcomeFrame>().is_some())
    });
    let mut process = Process::spawn(&mut setup.command());
    process.wait_for_line("ready", |line| line["fields"]["message"] == "ready");
    // Some more of those that come after it.
    std::thread::sleep(Duration::from_millis(50));
    let answers = greeted.stop();
    assert!(!answers.is_empty(), "the prober came through");
    let unanswered = answers.iter().filter(|&&answered| !answered).count();
    assert_eq!(unanswered, 0, "of {} connections", answers.len());
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait().code(), Some(0), "{}", process.stderr());
    for port in [setup.listen, setup.replication, setup.http] {
        assert!(
            TcpStream::connect_timeout(&port, PROBE_TIMEOUT).is_err(),
            "a node that is gone takes connections on {port}"
        );
    }
}
