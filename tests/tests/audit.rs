//! The audit trail, with real processes: no administrative act and no access to personal data without an entry, refusals
//! included, on both nodes of a pair.

use catraca_tests::command;
use catraca_tests::load::Load;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::pair::Pair;
use catraca_tests::payments::{document, payment};
use catraca_wire::client::{Client, ClientError, ClientOptions};
use catraca_wire::frame::{
    ErrorCode, FixedFrame, FrameKind, MAX_AUDIT_ENTRIES, OnBehalfFrame, request_len,
};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long refusals may take to be recorded: they are counted for a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Segments as small as they may be: a log of a second has several.
const SMALL_SEGMENTS_MIB: &str = "2";
/// So many payments fill several of them on each of two shards: a record has 256 bytes and more.
const SEVERAL_SEGMENTS: u64 = 60_000;
/// So many payments are more than one answer of the trail looks through, on each of two shards, and less than a segment.
const LONG_SEGMENT: u64 = 300_000;

/// One client that may do everything but read the trail, one that may do nothing besides, and one that reads it.
fn configure(dir: &Path) {
    let mut text = String::new();
    for (name, permissions) in [
        ("desk", "'submit', 'lookup', 'stats', 'admin'"),
        ("till", "'submit'"),
        ("auditor", "'audit'"),
    ] {
        let path = dir.join(name);
        fs::write(&path, format!("credential of {name}\n")).expect("written");
        text += &format!(
            "[[clients]]\nname = '{name}'\ncredential_file = '{}'\ninstitution = 7\npermissions = [{permissions}]\n",
            path.display()
        );
    }
    fs::write(dir.join("catraca.toml"), text).expect("written");
    fs::write(dir.join("stranger"), "nobody knows this\n").expect("written");
    let rules = "[[rule]]\nid = 'high'\nwhen = 'tx.amount > reais(1000)'\nscore = 450\n";
    fs::write(dir.join("policy.toml"), rules).expect("written");
    fs::write(dir.join("next.toml"), format!("{rules}shadow = true\n")).expect("written");
}

struct World {
    node: Node,
    conf: tempfile::TempDir,
    data: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        Self::start_with(SMALL_SEGMENTS_MIB)
    }

    /// The same with segments of this length.
    fn start_with(segment_mib: &str) -> Self {
        let (data, conf) = (folder(), folder());
        configure(conf.path());
        let file = conf.path().join("catraca.toml");
        let setup = Setup::new(data.path()).set("segment_mib", segment_mib);
        let node = setup.shards(2).arg("--config").arg(file.display()).start();
        Self { node, conf, data }
    }

    /// A command as one of the clients, and its status.
    fn run(&self, client: &str, args: &[&str]) -> Option<i32> {
        let credential = self.conf.path().join(client).display().to_string();
        let address = self.node.listen.to_string();
        let more = ["--addr", &address, "--credential-file", &credential];
        command::run([args, &more].concat()).status.code()
    }

    fn path(&self, name: &str) -> String {
        self.conf.path().join(name).display().to_string()
    }

    fn client(&self, name: &str) -> Result<Client, ClientError> {
        let credential =
            fs::read_to_string(self.conf.path().join(name)).expect("written").trim().to_owned();
        Client::connect(ClientOptions { credential, ..self.node.client_options() })
    }

    /// What the auditor is told over the network.
    fn told_auditor(&self, more: &[&str]) -> Vec<Value> {
        let credential = self.path("auditor");
        let address = self.node.listen.to_string();
        let export = ["audit", "export", "--addr", &address, "--credential-file", &credential];
        lines(&[&export, more].concat())
    }

    fn trail(&self) -> Vec<Value> {
        trail(self.data.path(), &[])
    }
}

/// All entries of a data directory's trail.
fn trail(data_dir: &Path, more: &[&str]) -> Vec<Value> {
    let data_dir = data_dir.display().to_string();
    lines(&[&["audit", "export", &data_dir], more].concat())
}

fn lines(command: &[&str]) -> Vec<Value> {
    let output = command::run(command);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Acts with what came of them.
fn told(entries: &[Value]) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    entries
        .iter()
        .map(|entry| format!("{} {}", text(&entry["act"]), text(&entry["outcome"])))
        .collect()
}

/// Everything that is no decision, each at least once as the desk.
fn administer(world: &World) {
    let listed = document(1).to_canonical();
    let now = jiff::Timestamp::now();
    let soon = (now + jiff::SignedDuration::from_hours(30 * 24)).to_string();
    let soon_day = &soon[..10];
    let (policy, next) = (world.path("policy.toml"), world.path("next.toml"));
    let ok = |args: &[&str]| assert_eq!(world.run("desk", args), Some(0), "{args:?}");
    ok(&["lookup", "order-1"]);
    ok(&["blacklist", "add", &listed]);
    ok(&["blacklist", "remove", &listed]);
    ok(&["blacklist", "allow", &listed, "--until", soon_day]);
    ok(&["policy", "activate", &policy]);
    ok(&["policy", "activate", &policy]);
    ok(&["policy", "candidate", &next]);
    ok(&["policy", "candidate", "--end"]);
    ok(&["policy", "activate", &next]);
    ok(&["policy", "rollback"]);
    for _ in 0..2 {
        let label = ["label", "add", "order-1", "--kind", "chargeback", "--source", "visa"];
        ok(&[&label[..], &["--known-at", &now.to_string()]].concat());
    }
    ok(&["policy", "lists", "create", "vip", "--kind", "document"]);
    ok(&["policy", "lists", "set", "vip", &listed, "--value", "3"]);
    ok(&["policy", "lists", "find", "vip", &listed]);
    ok(&["policy", "lists", "remove", "vip", &listed]);
    ok(&["policy", "exempt", "high", &listed, "--until", &soon, "--reason", "a test"]);
    ok(&["policy", "exempt", "high", &listed, "--end"]);
}

#[test]
fn no_administrative_path_and_no_look_up_is_without_an_entry() {
    let world = World::start();
    world.client("till").expect("known").decide(&payment("order-1", 1)).expect("decided");
    let label_before = told(&world.trail());
    assert!(label_before.is_empty(), "a payment is no act: {label_before:?}");
    administer(&world);
    let entries = world.trail();
    let done = told(&entries);
    let expected = [
        "lookup told",
        "blacklist add done",
        "blacklist remove done",
        "blacklist allow done",
        "policy activate done",
        "policy activate unchanged",
        "policy candidate unchanged",
        "policy end_candidate unchanged",
        "policy rollback done",
        "label done",
        "label unchanged",
        "list create done",
        "list set done",
        "list describe told",
        "list remove done",
        "list exempt done",
        "list unexempt done",
    ];
    for expected in expected {
        assert!(done.contains(expected), "no entry {expected:?} in {done:?}");
    }
    for entry in &entries {
        assert_eq!(
            (&entry["client"], &entry["institution"]),
            (&"desk".into(), &7.into()),
            "{entry:#}"
        );
        assert_eq!(entry["remote"], "127.0.0.1", "{entry:#}");
        let subject = entry["subject"].as_str().expect("a command says who runs it");
        assert!(subject.starts_with("catraca, uid "), "{subject}");
        let document = entry["document"].as_str().unwrap_or("*");
        assert!(document.contains('*'), "masked: {document}");
    }
    let of = |act: &str| entries.iter().find(|entry| entry["act"] == act).expect("it is there");
    assert_eq!(of("lookup")["transaction_id"], "order-1");
    assert_eq!(
        (&of("list set")["target"], &of("list set")["record"]),
        (&"vip".into(), &"list_change".into())
    );
    assert_eq!(of("list describe")["document"], document(1).to_string(), "whom it was asked about");
    let (first, back) = (of("policy activate"), of("policy rollback"));
    assert!(first["before"].is_null() && first["after"] == back["after"], "{first:#} {back:#}");
    // A look at figures alone is no act.
    let count = entries.len();
    assert_eq!(world.run("desk", &["blacklist", "status"]), Some(0));
    assert_eq!(world.run("desk", &["policy", "status"]), Some(0));
    assert_eq!(world.run("desk", &["status"]), Some(0));
    assert_eq!(world.trail().len(), count);
    let data_dir = world.data.path().display().to_string();
    let verified = command::run(["audit", "verify", &data_dir, "--json"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let verified: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!((&verified["whole"], &verified["silent"]), (&true.into(), &0.into()));
    let unmasked = trail(world.data.path(), &["--unmask"]);
    assert!(unmasked.iter().any(|entry| entry["document"] == document(1).to_canonical()));
    world.node.stop();
}

/// HELLO and one frame over a connection of one's own; the server's answer is of no interest.
fn send_raw(world: &World, frame: &[u8]) {
    let mut hello = catraca_wire::frame::HelloFrame::empty(1);
    (hello.version_min, hello.version_max) = (1, 1);
    let credential = fs::read(world.conf.path().join("till")).expect("written");
    let credential = credential.trim_ascii();
    hello.credential[..credential.len()].copy_from_slice(credential);
    hello.credential_len = credential.len() as u8;
    let mut stream = TcpStream::connect(world.node.listen).expect("the node listens");
    stream.write_all(&[bytemuck::bytes_of(&hello), frame].concat()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).expect("it ends");
}

#[test]
fn what_is_refused_is_told_whatever_it_is() {
    let world = World::start();
    // Who may only submit asks for everything else there is. A kind that is new fails here until it has its place.
    let mut asked = BTreeSet::new();
    for &kind in FrameKind::ALL {
        let Some(len) = request_len(kind) else { continue };
        let needs = match kind {
            // Each has a place of its own.
            FrameKind::Hello | FrameKind::Auth | FrameKind::Submit | FrameKind::Ping => continue,
            FrameKind::OnBehalf => bytemuck::bytes_of(&OnBehalfFrame::empty(2)).to_vec(),
            _ => {
                let header = catraca_wire::frame::HeaderFields::new(kind, len, 0, 2);
                let mut frame = bytemuck::bytes_of(&header).to_vec();
                frame.resize(len, 0);
                frame
            }
        };
        send_raw(&world, &needs);
        asked.insert(kind.name().to_ascii_lowercase());
    }
    assert_eq!(OnBehalfFrame::LEN, 192);
    let stranger = world.client("stranger");
    assert!(
        matches!(stranger, Err(ClientError::Refused(error)) if error.code == ErrorCode::Unauthenticated)
    );
    for _ in 0..20 {
        assert!(world.client("stranger").is_err());
    }
    // What is allowed, and makes no sense or can't be.
    assert_eq!(world.run("desk", &["promote"]), Some(1));
    assert_eq!(world.run("desk", &["lookup", "no-such-order"]), Some(1));
    world.node.process.signal(Signal::HUP);
    let began = Instant::now();
    let kinds = asked.len() + 1;
    loop {
        let entries = world.trail();
        let refused = entries.iter().filter(|entry| entry["outcome"] == "refused");
        let by_till: BTreeSet<_> = refused
            .clone()
            .filter(|entry| entry["client"] == "till" && entry["code"] == "FORBIDDEN")
            .map(|entry| {
                entry["act"].as_str().expect("text").split(' ').next().expect("one").to_owned()
            })
            .collect();
        let unknown: u64 = refused
            .clone()
            .filter(|entry| entry["act"] == "hello" && entry["code"] == "UNAUTHENTICATED")
            .map(|entry| entry["count"].as_u64().expect("a number"))
            .sum();
        let by_desk = refused.filter(|entry| entry["client"] == "desk").count();
        let reloads = entries.iter().filter(|entry| entry["act"] == "reload").count();
        if by_till == asked && unknown == 21 && by_desk == 2 && reloads == 1 {
            let records = entries.len();
            assert!(records <= 2 * (kinds + 4) + 8, "a flood is counted: {records} entries");
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{by_till:?} of {asked:?}, {unknown} of 21, {by_desk} of 2, {reloads} of 1"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    world.node.stop();
}

#[test]
fn a_primary_that_can_not_record_gives_nothing_out_and_still_goes_on_alone() {
    let pair = Pair::new(1);
    let [primary, standby] = pair.start_both();
    primary.client().decide(&payment("order-1", 1)).expect("decided");
    primary.client().lookup("order-1", None).expect("found");
    standby.kill();
    // Nothing is confirmed from the moment on that the primary has noticed, and mostly before.
    let refused = primary.client().lookup("order-1", None).expect_err("it can't be recorded");
    assert!(
        matches!(&refused, ClientError::Refused(error) if error.code == ErrorCode::Failed),
        "{refused}"
    );
    let address = primary.listen.to_string();
    let alone = command::run(["solo", "--standby-is-down", "--addr", &address]);
    assert!(alone.status.success(), "{alone:?}");
    primary.client().lookup("order-1", None).expect("found");
    let entries = trail(&pair.data_dir(0), &[]);
    let done = told(&entries);
    assert!(done.contains("cluster go_solo done") && done.contains("lookup told"), "{done:?}");
    let forced =
        entries.iter().find(|entry| entry["act"] == "cluster go_solo").expect("it is there");
    assert_eq!(forced["target"], "forced");
    primary.stop();
}

#[test]
fn who_may_read_the_trail_is_told_all_of_it_over_the_network_and_that_is_recorded() {
    let world = World::start();
    let mut till = world.client("till").expect("known");
    till.decide(&payment("order-1", 1)).expect("decided");
    administer(&world);
    let mut desk = world.client("desk").expect("known");
    for _ in 0..2 * MAX_AUDIT_ENTRIES {
        desk.lookup("order-1", None).expect("found");
    }
    let before = world.trail();
    assert_eq!(world.told_auditor(&[]), before, "of some pages, oldest first");
    assert_eq!(
        world.told_auditor(&["--client", "desk", "--unmask"]),
        trail(world.data.path(), &["--unmask", "--client", "desk"])
    );
    let after = world.trail();
    let told: Vec<_> = after.iter().filter(|entry| entry["act"] == "audit").collect();
    assert!(told.len() >= 6 && told.len() == after.len() - before.len(), "{}", told.len());
    for entry in &told {
        assert_eq!(
            [&entry["client"], &entry["outcome"], &entry["target"]],
            ["auditor", "told", "audit trail"]
        );
    }
    // What is in segments of before is not read for what was asked for later.
    let load = Load::by(till, "l", 256);
    load.wait_for(SEVERAL_SEGMENTS);
    load.stop();
    let then = jiff::Timestamp::now();
    desk.lookup("order-1", None).expect("found");
    let [late] = world.told_auditor(&["--from", &then.to_string()]).try_into().expect("one");
    assert_eq!((&late["act"], &late["client"]), (&"lookup".into(), &"desk".into()));
    // Who may do everything else may not do this.
    assert_eq!(world.run("desk", &["audit", "show"]), Some(1));
    world.node.stop();
}

#[test]
fn entries_deep_in_a_long_segment_are_told_too() {
    let world = World::start_with("128");
    let mut till = world.client("till").expect("known");
    let mut desk = world.client("desk").expect("known");
    till.decide(&payment("order-1", 1)).expect("decided");
    // More than one answer looks through: an answer would begin anew in the same segment, and never come further.
    let load = Load::by(till, "deep", 512);
    load.wait_for(LONG_SEGMENT);
    load.stop();
    let then = jiff::Timestamp::now();
    desk.lookup("order-1", None).expect("found");
    let before = world.trail();
    assert_eq!(before.len(), 1);
    let lsn = before[0]["lsn"].as_u64().expect("a number");
    assert!(lsn * 256 > 32 << 20, "it lies behind what one answer looks through: {lsn}");
    assert_eq!(world.told_auditor(&[]), before);
    assert_eq!(world.told_auditor(&["--from", &then.to_string(), "--client", "desk"]), before);
    world.node.stop();
}
