//! Load balancers before gateways and nodes: the very files of `scripts/deploy`, with other addresses, in a real nginx and
//! a real HAProxy.

use catraca_tests::balancers::{Balancer, deployed};
use catraca_tests::command;
use catraca_tests::gateway::{Gateway, Http, body, command};
use catraca_tests::load::Load;
use catraca_tests::logs::{Decisions, assert_all_recorded, decisions};
use catraca_tests::node::{LOOK_AGAIN, Node, Setup, folder, free_address, http_get};
use catraca_tests::pair::{Pair, ask};
use catraca_tests::payments::payment;
use catraca_tests::raw::{Raw, hello_of};
use catraca_wire::client::{Client, ClientOptions, Wanted};
use catraca_wire::frame::{ClusterRequest, FrameKind, LookupFrame, Role, Verdict, fill, text_of};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for something that a balancer, a gateway or a node comes to.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the balancers connect to nodes from, in whose `proxy_from` it is: the tests and the gateways connect to the same
/// nodes without a header.
const BALANCERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// A client of theirs that is somewhere else than everybody.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Callers at once through each door.
const CALLERS: usize = 4;
/// Fewest answers to each caller before and after something happens: whoever is stuck has to come loose.
const LEAST_ANSWERS: u64 = 20;

/// A way to have payments decided, and what came through it.
struct Door {
    name: &'static str,
    listen: SocketAddr,
    /// Answers to each caller.
    counts: [AtomicU64; CALLERS],
}

impl Door {
    fn new(name: &'static str, listen: SocketAddr) -> Self {
        Self { name, listen, counts: [0; CALLERS].map(AtomicU64::new) }
    }

    fn counts(&self) -> [u64; CALLERS] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Waits until its gateways have a primary.
    fn await_ready(&self) {
        await_that(self.name, || {
            let ready = Http::connect(self.listen).and_then(|mut http| http.get("/readyz"));
            ready.is_ok_and(|(status, _)| status == 200)
        });
    }

    /// Pays until told to stop, and sends again whatever was not decided. Gives the answers.
    fn pay(&self, place: u64, caller: usize, stop: &AtomicBool) -> Vec<Value> {
        let mut answers = Vec::new();
        let mut http = None;
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let id = format!("{}-{caller}-{number}", self.name);
            let payer = (place * CALLERS as u64 + caller as u64) * 1_000_000 + number;
            let body = body(&payment(&id, payer));
            let began = Instant::now();
            let answer = loop {
                let open = http.take().map_or_else(|| Http::connect(self.listen), Ok);
                let asked = open.and_then(|mut open| {
                    let asked = open.decide(&body)?;
                    http = Some(open);
                    Ok(asked)
                });
                match asked {
                    Ok((200, answer)) => break answer,
                    Ok((status, answer)) => {
                        assert!((502..=504).contains(&status), "{}: {status} {answer}", self.name);
                    }
                    // The balancer closes what it can't answer.
                    Err(_) => {}
                }
                assert!(began.elapsed() < PATIENCE, "{}: {id} is never decided", self.name);
                std::thread::sleep(LOOK_AGAIN * 4);
            };
            self.counts[caller].fetch_add(1, Ordering::Relaxed);
            answers.push(answer);
        }
        answers
    }
}

/// Waits until something holds.
fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: it does not come");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Waits until each caller at each of these doors has so many more answers.
fn await_more(doors: &[Door]) {
    let before: Vec<_> = doors.iter().map(Door::counts).collect();
    for (door, before) in doors.iter().zip(before) {
        await_that(door.name, || {
            let mut counts = door.counts().into_iter().zip(before);
            counts.all(|(now, before)| now >= before + LEAST_ANSWERS)
        });
    }
}

/// Has callers pay through all doors while something happens; their answers, by door.
fn paying(doors: &[Door], happens: impl FnOnce()) -> Vec<Vec<Value>> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let all: Vec<Vec<_>> = (0..)
            .zip(doors)
            .map(|(place, door)| {
                let stop = &stop;
                let begin = |caller| scope.spawn(move || door.pay(place, caller, stop));
                (0..CALLERS).map(begin).collect()
            })
            .collect();
        // A test that fails must not wait for callers that nobody stops.
        let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(happens));
        stop.store(true, Ordering::Relaxed);
        let ended = |callers: Vec<std::thread::ScopedJoinHandle<'_, Vec<Value>>>| {
            callers.into_iter().flat_map(|caller| caller.join().expect("it ends")).collect()
        };
        let answers = all.into_iter().map(ended).collect();
        if let Err(panic) = happened {
            std::panic::resume_unwind(panic);
        }
        answers
    })
}

/// Asserts that these answers are in the log as they were told.
fn assert_told(decisions: &Decisions, answers: &[Value]) {
    for answer in answers {
        let number = |field: &str| answer[field].as_u64().expect("a number");
        let (record, receipt) = decisions
            .get(&(number("shard") as u16, number("lsn")))
            .unwrap_or_else(|| panic!("{answer} is not in the log"));
        let verdict = Verdict::from_wire(record.verdict).map(Verdict::name);
        assert_eq!(text_of(&record.transaction.id), answer["transaction_id"]);
        assert_eq!(
            (verdict, &*format!("{receipt:016x}")),
            (answer["verdict"].as_str(), answer["receipt"].as_str().expect("text"))
        );
    }
}

/// Two gateways with metrics, and where those are.
struct Gateways([(Gateway, SocketAddr); 2]);

impl Gateways {
    /// To these nodes; `balancer` may send PROXY headers, and has to.
    fn start(nodes: &[String], balancer: Option<&str>) -> Self {
        Self([0, 1].map(|_| {
            let metrics = free_address();
            let mut command = command(nodes);
            command.args(["--metrics-listen", &metrics.to_string()]);
            if let Some(balancer) = balancer {
                command.env("CATRACA_GATEWAY_PROXY_FROM", format!("['{balancer}']"));
            }
            (Gateway::of(&mut command), metrics)
        }))
    }

    fn listen(&self, index: usize) -> String {
        self.0[index].0.listen.to_string()
    }

    /// How many payments one has answered.
    fn answered(&self, index: usize) -> u64 {
        let begins = "catraca_gateway_requests_total{route=\"/v1/decisions\"";
        let (_, text) = http_get(self.0[index].1, "/metrics").expect("an answer");
        let of_route = text.lines().filter(|line| line.starts_with(begins));
        of_route.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn signal(&self, index: usize, signal: Signal) {
        self.0[index].0.process.signal(signal);
    }
}

/// What nginx is started with: where clients come in over HTTP, to gateways as they are, and to each node.
struct Nginx {
    _process: Balancer,
    http: SocketAddr,
    stream: SocketAddr,
    nodes: [SocketAddr; 2],
}

impl Nginx {
    /// In front of `plain` over HTTP, of `told` by connections, and of nodes.
    fn start(dir: &Path, plain: &Gateways, told: &Gateways, nodes: [String; 2]) -> Self {
        let [http, stream, a, b] = [0; 4].map(|_| free_address());
        let http_file = deployed(
            "nginx-http.conf",
            &[
                ("0.0.0.0:8080", http.to_string()),
                ("10.0.0.11:8080", plain.listen(0)),
                ("10.0.0.12:8080", plain.listen(1)),
            ],
        );
        let [node_a, node_b] = nodes.map(|node| format!("{node}; proxy_bind {BALANCERS}"));
        let stream_file = deployed(
            "nginx-stream.conf",
            &[
                ("0.0.0.0:8443", stream.to_string()),
                ("10.0.0.11:8443", told.listen(0)),
                ("10.0.0.12:8443", told.listen(1)),
                ("0.0.0.0:7400", a.to_string()),
                ("0.0.0.0:7410", b.to_string()),
                ("10.0.0.1:7400", node_a),
                ("10.0.0.2:7400", node_b),
            ],
        );
        let process = Balancer::nginx(dir, &http_file, &stream_file, &[http, stream, a, b]);
        Self { _process: process, http, stream, nodes: [a, b] }
    }
}

/// HAProxy, and where clients come in over HTTP and with the binary protocol.
struct Haproxy {
    _process: Balancer,
    http: SocketAddr,
    nodes: SocketAddr,
}

impl Haproxy {
    fn start(dir: &Path, told: &Gateways, nodes: [&Node; 2]) -> Self {
        let [http, binary] = [0; 2].map(|_| free_address());
        let told_of = |node: &Node| format!("{} source {BALANCERS}", node.listen);
        let checked = |node: &Node| format!("addr {} port {}", node.http.ip(), node.http.port());
        let file = deployed(
            "haproxy.cfg",
            &[
                ("0.0.0.0:8080", http.to_string()),
                ("0.0.0.0:7400", binary.to_string()),
                ("10.0.0.11:8080", told.listen(0)),
                ("10.0.0.12:8080", told.listen(1)),
                ("10.0.0.1:7400", told_of(nodes[0])),
                ("10.0.0.2:7400", told_of(nodes[1])),
                ("addr 10.0.0.1 port 7402", checked(nodes[0])),
                ("addr 10.0.0.2 port 7402", checked(nodes[1])),
            ],
        );
        let process = Balancer::haproxy(dir, &file, &[http, binary]);
        Self { _process: process, http, nodes: binary }
    }
}

/// What the node behind an address says of its part.
fn role(address: SocketAddr) -> Role {
    let options = ClientOptions { role: Wanted::Any, ..ClientOptions::new(address.to_string()) };
    let mut client = Client::connect(options).expect("it leads to a node");
    client.cluster(&ClusterRequest::describe()).expect("every node describes itself").role
}

/// Asks for a payment from where nobody else is, under a name that the audit trail has.
fn look_up(door: SocketAddr, name: &str, id: &str) {
    let mut raw = Raw::connect_from(CLIENT, door).expect("the balancer takes connections");
    let welcome = raw.ask(&hello_of(name));
    assert_eq!(welcome.kind(), FrameKind::Welcome, "{name}: {:?}", welcome.error());
    let mut lookup = LookupFrame::empty(1);
    fill(&mut lookup.id, id);
    let found = raw.ask(&lookup);
    assert_eq!(found.kind(), FrameKind::Record, "{name}: {:?}", found.error());
}

/// Where each of those who look something up did it from, by name, out of a node's audit trail.
fn remotes(data_dir: &Path) -> BTreeMap<String, String> {
    let output = command::run(["audit", "export", &data_dir.display().to_string()]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lookups = entries.filter(|entry| entry["act"] == "lookup");
    lookups.map(|entry| (text(&entry["subject"]), text(&entry["remote"]))).collect()
}

#[test]
fn a_failover_moves_the_traffic_of_each_balancer_and_nothing_is_lost_or_doubled() {
    let pair = Pair::new(1).set("proxy_from", format!("['{BALANCERS}']"));
    let dir = folder();
    let [primary, standby] = pair.start_both();
    let plain = Gateways::start(&pair.addresses(), None);
    let told = Gateways::start(&pair.addresses(), Some("127.0.0.1"));
    let nodes = [&primary, &standby].map(|node| node.listen.to_string());
    let nginx = Nginx::start(dir.path(), &plain, &told, nodes);
    let haproxy = Haproxy::start(dir.path(), &told, [&primary, &standby]);
    let doors = [
        Door::new("nginx-http", nginx.http),
        Door::new("nginx-stream", nginx.stream),
        Door::new("haproxy-http", haproxy.http),
    ];
    doors.iter().for_each(Door::await_ready);
    assert_eq!(nginx.nodes.map(role), [Role::Primary, Role::Standby], "each port has its node");
    let load = Load::through_failover(vec![haproxy.nodes.to_string()], "haproxy-binary", 8);
    let answers = paying(&doors, || {
        await_more(&doors);
        load.wait_for(LEAST_ANSWERS);
        assert_eq!(role(haproxy.nodes), Role::Primary, "no connection reaches a standby");
        look_up(haproxy.nodes, "haproxy-before", "haproxy-binary-1");
        look_up(nginx.nodes[0], "nginx-before", "haproxy-binary-1");
        primary.kill();
        ask(&standby, &ClusterRequest::promote(false)).expect("a standby in sync is promoted");
        let before = load.answered();
        await_more(&doors);
        load.wait_for(before + LEAST_ANSWERS);
        look_up(haproxy.nodes, "haproxy-after", "haproxy-binary-1");
        look_up(nginx.nodes[1], "nginx-after", "haproxy-binary-1");
    });
    let seen = load.stop();
    let refused = standby.metric("catraca_proxy_connections_refused_total");
    assert_eq!(refused, 0.0, "each connection of a balancer has its header");
    assert_eq!(role(haproxy.nodes), Role::Primary);
    assert_eq!(role(nginx.nodes[1]), Role::Primary);
    drop((nginx, haproxy, plain, told));
    standby.stop();
    let asked = remotes(&pair.data_dir(1));
    let expected = ["haproxy-before", "nginx-before", "haproxy-after", "nginx-after"];
    let expected = expected.map(|name| (name.to_owned(), CLIENT.to_string()));
    assert_eq!(asked, BTreeMap::from(expected), "the client's own address, not a balancer's");
    let recorded = decisions(&pair.data_dir(1));
    for (door, answers) in doors.iter().zip(&answers) {
        let epochs: BTreeSet<u64> =
            answers.iter().filter_map(|answer| answer["epoch"].as_u64()).collect();
        assert_eq!(epochs.len(), 2, "both nodes decided through {}: {epochs:?}", door.name);
        println!("{}: {} payments", door.name, answers.len());
        assert_told(&recorded, answers);
    }
    // This looks for doubles among all of them.
    assert_all_recorded(&recorded, &seen.answered);
    println!("haproxy-binary: {} payments, {} sent again", seen.answered.len(), seen.resent);
}

#[test]
fn a_gateway_that_hangs_starves_nobody_and_comes_back() {
    let dir = folder();
    let setup = Setup::new(&dir.path().join("node"));
    let node = setup.set("proxy_from", format!("['{BALANCERS}']")).start();
    let nodes = [node.listen.to_string()];
    let plain = Gateways::start(&nodes, None);
    let told = Gateways::start(&nodes, Some("127.0.0.1"));
    let nginx = Nginx::start(dir.path(), &plain, &told, [0, 1].map(|_| node.listen.to_string()));
    let haproxy = Haproxy::start(dir.path(), &told, [&node, &node]);
    let doors = [Door::new("nginx", nginx.http), Door::new("haproxy", haproxy.http)];
    doors.iter().for_each(Door::await_ready);
    let all = [&plain, &told];
    let takes_part = |gateways: &Gateways, index: usize| {
        let before = gateways.answered(index);
        await_that("a gateway gets its part", || gateways.answered(index) > before);
    };
    let answers = paying(&doors, || {
        for gateways in all {
            takes_part(gateways, 0);
            takes_part(gateways, 1);
        }
        all.iter().for_each(|gateways| gateways.signal(0, Signal::STOP));
        await_more(&doors);
        all.iter().for_each(|gateways| takes_part(gateways, 1));
        all.iter().for_each(|gateways| gateways.signal(0, Signal::CONT));
        all.iter().for_each(|gateways| takes_part(gateways, 0));
        // And one that is gone.
        all.iter().for_each(|gateways| gateways.signal(1, Signal::KILL));
        await_more(&doors);
    });
    drop((nginx, haproxy, plain, told));
    node.stop();
    let recorded = decisions(&dir.path().join("node"));
    assert_told(&recorded, &answers.concat());
    // This looks for doubles among all of them.
    assert_all_recorded(&recorded, []);
    println!("{} payments", answers.concat().len());
}
