//! The cache of answers that nodes share, a real Redis: it saves questions, and decides nothing. Slow, down, full, emptied and
//! talking nonsense, it costs a decision some milliseconds and no more.

use catraca_tests::command;
use catraca_tests::node::{Node, Setup, folder, free_address};
use catraca_tests::pair::{Pair, ask};
use catraca_tests::policies::{activate, write};
use catraca_tests::services::{
    Provider, Redis, SUSPENDED, asked, decide, policy_text, replays, validators,
};
use catraca_wire::frame::{ClusterRequest, VERDICT_DEGRADED, Verdict};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// Answers that are good for long.
const CACHE: &str = "cache = { good_s = 3600, stale_s = 3600 }";

fn shared(node: &Node) -> Value {
    validators(node)["validators"][0]["status"]["shared"].clone()
}

fn puts(node: &Node, name: &str) -> u64 {
    validators(node)["shared_cache"][name].as_u64().expect("a shared cache")
}

/// Decides on payments of payers that nobody has asked about yet: all in time, all by an answer.
fn decide_all(node: &Node, from: u64, count: u64) {
    for payer in from..from + count {
        let began = Instant::now();
        let decided = decide(node, &format!("of-{payer}"), payer, 10_000);
        assert_eq!(decided.verdict, Verdict::Approve, "{payer}");
        assert_eq!(decided.answer.flags & VERDICT_DEGRADED, 0, "{payer}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[test]
fn a_promoted_standby_has_the_answers_that_its_primary_had() {
    let dir = folder();
    let service = Provider::start(dir.path(), free_address(), "");
    let redis = Redis::start(dir.path(), free_address(), &[]);
    let pair = Pair::new(1).set("redis_url", redis.url()).set("redis_timeout_ms", 100);
    let [primary, standby] = pair.start_both();
    let text = policy_text(service.address, CACHE);
    activate(&primary, &write(dir.path(), "policy.toml", &text));
    assert_eq!(decide(&primary, "before", SUSPENDED, 10_000).verdict, Verdict::Deny);
    primary.wait_until("the answer is shared", |node| puts(node, "put") >= 1);
    let names = redis.names();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].starts_with("catraca:1:"), "{names:?}");
    // The service is gone, and so is the primary.
    drop(service);
    primary.kill();
    ask(&standby, &ClusterRequest::promote(false)).expect("a standby in sync is promoted");
    let decided = decide(&standby, "after", SUSPENDED, 10_000);
    assert_eq!(decided.verdict, Verdict::Deny);
    assert_eq!(decided.answer.flags & VERDICT_DEGRADED, 0);
    standby.wait_until("it is shown", |node| shared(node)["found"] == 1);
    let table = command::run(["validators", "--http", &standby.http.to_string()]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.contains(&format!("shared cache {}/0: 1 looks, 1 found", redis.address)),
        "{table}"
    );
    standby.stop();
    let dir = pair.data_dir(1);
    assert!(asked(&dir, "before").starts_with("1:asked:answered:"), "{}", asked(&dir, "before"));
    assert!(asked(&dir, "after").starts_with("1:shared_cache:answered:attempts=0:"));
    replays(&dir);
}

#[test]
fn whatever_happens_to_it_decisions_go_on() {
    let dir = folder();
    let service = Provider::start(dir.path(), free_address(), "");
    let address = free_address();
    // Down from the beginning.
    let node = Setup::new(&dir.path().join("data"))
        .set("redis_url", format!("redis://{address}/0"))
        .set("redis_timeout_ms", 100)
        .start();
    activate(&node, &write(dir.path(), "policy.toml", &policy_text(service.address, CACHE)));
    decide_all(&node, 1_000, 12);
    node.wait_until("it is left alone", |node| shared(node)["opened"].as_u64() >= Some(1));
    assert_eq!(validators(&node)["validators"][0]["status"]["breaker"], "closed");
    // It comes.
    let redis = Redis::start(dir.path(), address, &[]);
    let mut next = 2_000;
    let mut works = |node: &Node| {
        node.wait_until("it works", |node| {
            next += 1;
            decide_all(node, next, 1);
            shared(node)["breaker"] == "closed"
        });
    };
    works(&node);
    decide_all(&node, 3_000, 1);
    node.wait_until("answers are put", |_| !redis.names().is_empty());
    // It is emptied.
    redis.say(&["FLUSHALL"]);
    decide_all(&node, 4_000, 5);
    node.wait_until("answers are put again", |_| redis.names().len() >= 5);
    // It is full: it is read, and takes nothing.
    redis.say(&["CONFIG", "SET", "maxmemory", "1"]);
    let failed = puts(&node, "failed");
    decide_all(&node, 5_000, 5);
    node.wait_until("it takes nothing", |node| puts(node, "failed") >= failed + 5);
    assert_eq!(shared(&node)["breaker"], "closed");
    let error = validators(&node)["shared_cache"]["last_error"].to_string();
    assert!(error.contains("maxmemory"), "{error}");
    redis.say(&["CONFIG", "SET", "maxmemory", "0"]);
    // It hangs.
    redis.hang(true);
    let opened = shared(&node)["opened"].as_u64();
    let mut hangs = 6_000;
    node.wait_until("it is left alone again", |node| {
        hangs += 1;
        decide_all(node, hangs, 1);
        shared(node)["opened"].as_u64() > opened
    });
    redis.hang(false);
    works(&node);
    // It goes away while it is used.
    drop(redis);
    decide_all(&node, 7_000, 12);
    let told = node.stop();
    assert!(told.contains("the shared cache fails and is left alone for a while"), "{told}");
    assert!(told.contains("the shared cache works again"), "{told}");
    assert!(told.contains("the shared cache takes no answers of validators"), "{told}");
    replays(&dir.path().join("data"));
}

#[test]
fn what_no_node_has_put_there_is_not_believed() {
    let dir = folder();
    let service = Provider::start(dir.path(), free_address(), "");
    let redis = Redis::start(dir.path(), free_address(), &[]);
    let data = dir.path().join("data");
    let start = || {
        let setup = Setup::new(&data).set("redis_url", redis.url()).set("redis_timeout_ms", 100);
        setup.start()
    };
    let node = start();
    activate(&node, &write(dir.path(), "policy.toml", &policy_text(service.address, CACHE)));
    assert_eq!(decide(&node, "regular", 1, 10_000).verdict, Verdict::Approve);
    node.wait_until("its answer is there", |_| redis.names().len() == 1);
    let regular = redis.names().remove(0);
    assert_eq!(decide(&node, "suspended", SUSPENDED, 10_000).verdict, Verdict::Deny);
    node.wait_until("the other one, too", |_| redis.names().len() == 2);
    let suspended = redis.names().into_iter().find(|name| *name != regular).expect("two names");
    node.stop();
    // Another run of the node knows nothing by itself, and reads what was put there meanwhile.
    let spoil: [&[&str]; 5] = [
        // The answer to another question.
        &["COPY", &regular, &suspended, "REPLACE"],
        &["SET", &suspended, "regular"],
        &["SETRANGE", &suspended, "1", "\u{2}"],
        &[
            "EVAL",
            "redis.call('DEL', KEYS[1]); return redis.call('LPUSH', KEYS[1], '1')",
            "1",
            &suspended,
        ],
        &["SETRANGE", &suspended, "10000000", "long"],
    ];
    for (n, spoiled) in spoil.into_iter().enumerate() {
        if n == 4 {
            redis.say(&["DEL", &suspended]);
        }
        redis.say(spoiled);
        let node = start();
        let id = format!("spoiled-{n}");
        let decided = decide(&node, &id, SUSPENDED, 10_000);
        assert_eq!(decided.verdict, Verdict::Deny, "{spoiled:?}");
        node.wait_until("the look failed", |node| shared(node)["failures"] == 1);
        // What came is put over it.
        node.wait_until("the answer is put", |node| puts(node, "put") == 1);
        node.stop();
        assert!(asked(&data, &id).starts_with("1:asked:answered:attempts=1:"), "{spoiled:?}");
    }
    // And that is believed.
    let node = start();
    assert_eq!(decide(&node, "sound", SUSPENDED, 10_000).verdict, Verdict::Deny);
    node.stop();
    assert!(asked(&data, "sound").starts_with("1:shared_cache:answered:attempts=0:"));
    replays(&data);
}

/// Something that takes connections and says this to whatever it is told.
fn babbles(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut stream, mut heard) = (stream, [0; 1024]);
                while matches!(stream.read(&mut heard), Ok(1..)) {
                    if stream.write_all(words).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn something_that_is_no_redis_costs_some_milliseconds() {
    let dir = folder();
    let service = Provider::start(dir.path(), free_address(), "");
    let policy = write(dir.path(), "policy.toml", &policy_text(service.address, CACHE));
    let words: [&'static [u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-ERR no\r\n",
        b"$1000000000\r\n0123456789",
        b"+OK\r\n+OK\r\n+OK\r\n:7\r\n*2\r\n$-1\r\n%9\r\n",
    ];
    for (n, words) in words.into_iter().enumerate() {
        let data = dir.path().join(format!("data-{n}"));
        let url = format!("redis://{}/0", babbles(words));
        let node = Setup::new(&data).set("redis_url", url).start();
        activate(&node, &policy);
        decide_all(&node, 0, 7);
        assert_eq!(decide(&node, "suspended", SUSPENDED, 10_000).verdict, Verdict::Deny);
        decide_all(&node, 8, 10);
        node.wait_until("it is left alone", |node| shared(node)["opened"].as_u64() >= Some(1));
        assert_eq!(shared(&node)["found"], 0);
        node.stop();
        replays(&data);
    }
}

/// An authority, and a certificate of 127.0.0.1 by it, as files.
fn certificates(dir: &Path) -> [String; 3] {
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&authority_key).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let server = server.signed_by(&key, &Issuer::new(authority, authority_key)).expect("signed");
    let files =
        [("ca.pem", ca.pem()), ("cert.pem", server.pem()), ("key.pem", key.serialize_pem())];
    files.map(|(name, text)| write(dir, name, &text).display().to_string())
}

#[test]
fn over_tls_it_is_who_its_authority_says() {
    let dir = folder();
    let service = Provider::start(dir.path(), free_address(), "");
    let policy = write(dir.path(), "policy.toml", &policy_text(service.address, CACHE));
    let [ca, cert, key] = certificates(dir.path());
    let address = free_address();
    let port = address.port().to_string();
    let tls = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"];
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let redis = Redis::start(dir.path(), address, &[&tls[..], &files[..]].concat())
        .with_cli(&["--tls", "--insecure"]);
    let start = |name: &str, ca: &str| {
        let node = Setup::new(&dir.path().join(name))
            .set("redis_url", format!("rediss://{address}/0"))
            .set("redis_ca_file", ca)
            .set("redis_timeout_ms", 100)
            .start();
        activate(&node, &policy);
        node
    };
    let node = start("sound", &ca);
    decide_all(&node, 100, 1);
    node.wait_until("its answer is there", |_| redis.names().len() == 1);
    node.stop();
    // Another authority knows nobody there.
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).expect("made");
    let [other_ca, ..] = certificates(&foreign);
    let node = start("foreign", &other_ca);
    decide_all(&node, 200, 12);
    node.wait_until("it is left alone", |node| shared(node)["opened"].as_u64() >= Some(1));
    assert_eq!(redis.names().len(), 1);
    node.stop();
}

/// Starts a node that must refuse, and gives what it says.
fn refused(dir: &Path, settings: &[(&str, &str)]) -> String {
    let mut setup = Setup::new(&dir.join("refused"));
    for (key, value) in settings {
        setup = setup.set(key, value);
    }
    let (status, told) = setup.fail();
    assert_eq!(status, 10, "{told}");
    told
}

#[test]
fn a_password_comes_from_a_file_and_is_told_to_nobody() {
    let dir = folder();
    let service = Provider::start(dir.path(), free_address(), "");
    let redis = Redis::start(dir.path(), free_address(), &["--requirepass", "hunter2"])
        .with_cli(&["-a", "hunter2", "--no-auth-warning"]);
    let password = write(dir.path(), "password", "hunter2\n").display().to_string();
    let node = Setup::new(&dir.path().join("data"))
        .set("redis_url", redis.url())
        .set("redis_password_file", &password)
        .set("redis_timeout_ms", 100)
        .start();
    activate(&node, &write(dir.path(), "policy.toml", &policy_text(service.address, CACHE)));
    decide_all(&node, 100, 1);
    node.wait_until("its answer is there", |_| redis.names().len() == 1);
    node.wait_until("it is counted", |node| puts(node, "put") == 1);
    let (_, metrics) = node.http_get("/metrics");
    assert!(
        metrics.contains("catraca_validator_shared_puts_total{outcome=\"put\"} 1"),
        "{metrics}"
    );
    let shown = validators(&node).to_string();
    let told = node.stop();
    assert!(!told.contains("hunter2") && !shown.contains("hunter2"), "{told}");
    // Settings that are none.
    let told = refused(dir.path(), &[("redis_url", "redis://:hunter2@127.0.0.1/0")]);
    assert!(told.contains("redis_password_file") && !told.contains("hunter2"), "{told}");
    let told = refused(dir.path(), &[("redis_url", "127.0.0.1:6379")]);
    assert!(told.contains("redis://"), "{told}");
    let told = refused(dir.path(), &[("redis_password_file", &password)]);
    assert!(told.contains("needs redis_url"), "{told}");
    let url = redis.url();
    let missing = [("redis_url", url.as_str()), ("redis_password_file", "/nowhere/password")];
    let told = refused(dir.path(), &missing);
    assert!(told.contains("/nowhere/password"), "{told}");
    let told = refused(dir.path(), &[("redis_url", &url), ("redis_timeout_ms", "0")]);
    assert!(told.contains("redis_timeout_ms"), "{told}");
}
