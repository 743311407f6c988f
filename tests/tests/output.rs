//! Nobody reads, or the disk is full: every subcommand of `--help`, with standard output closed and
//! on `/dev/full`.

use catraca_tests::command;
use catraca_tests::node::{LOOK_AGAIN, Node, Setup, folder, free_address};
use catraca_tests::pair::{Pair, await_place};
use catraca_tests::payments::{document, payment};
use catraca_wire::client::{Client, ClientOptions};
use catraca_wire::frame::{BlacklistChange, Role, Scope};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a node whose words nobody can read.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pipe whose reader has gone.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    Stdio::from(OwnedFd::from(writer))
}

fn full_disk() -> Stdio {
    Stdio::from(
        File::options().write(true).open("/dev/full").expect("/dev/full is expected on Linux"),
    )
}

fn run_with(args: &[&str], stdout: Stdio) -> Output {
    let child = command::command()
        .args(args)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.wait_with_output().expect("it ends")
}

/// Runs a command three times, which must end with `status` where somebody reads and print
/// something: then with a closed pipe, where it must end the same way without a word about it, and
/// on a full disk, where one sentence says so. `before` is called before each.
fn nobody_reads(args: &[&str], status: i32, mut before: impl FnMut()) {
    before();
    let read = run_with(args, Stdio::piped());
    assert_eq!(read.status.code(), Some(status), "{args:?}: {read:?}");
    assert!(!read.stdout.is_empty(), "{args:?} prints nothing, so that this shows nothing");
    before();
    let closed = run_with(args, closed_pipe());
    let said = String::from_utf8_lossy(&closed.stderr).into_owned();
    assert_eq!(closed.status.code(), Some(status), "{args:?} with a closed pipe: {said}");
    assert!(
        !said.contains("pipe") && !said.contains("panic"),
        "{args:?} with a closed pipe: {said}"
    );
    before();
    let full = run_with(args, full_disk());
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!(full.status.code(), Some(1), "{args:?} on a full disk: {said}");
    assert!(
        said.contains("standard output")
            && said.contains("No space left")
            && !said.contains("panic"),
        "{args:?}: {said}"
    );
}

/// The subcommands that the help names, down to the last: each as its words, joined by spaces.
fn subcommands(words: &[String], found: &mut BTreeSet<String>) {
    let help = command::run(words.iter().map(String::as_str).chain(["--help"]));
    assert!(help.status.success(), "{words:?}: {help:?}");
    let text = String::from_utf8(help.stdout).expect("text");
    let names = text
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "));
    let names: Vec<&str> = names
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|n| !n.is_empty())
        .collect();
    if names.is_empty() {
        found.insert(words.join(" "));
    }
    for name in names.into_iter().filter(|name| *name != "help") {
        subcommands(&[words, &[name.to_owned()]].concat(), found);
    }
}

#[test]
fn every_subcommand_prints_safely() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (csv, list, data, proof) =
        (path("list.csv"), path("list.catraca"), path("data"), path("proof.json"));
    let other = path("other.catraca");
    let tomorrow = jiff::Zoned::now().date().tomorrow().expect("a day").to_string();
    let source = format!("plain={csv}");
    let listed = document(1).to_canonical();
    std::fs::write(&csv, format!("document\n{listed}\n")).expect("written");
    let node = Setup::new(Path::new(&data)).start();
    node.client().decide(&payment("order-1", 1)).expect("decided");
    let addr = node.listen.to_string();
    let build = ["blacklist", "build", "--source", &source, "--out", &list];

    let mut tried = BTreeSet::new();
    let mut case = |words: &str, args: &[&str], status: i32| {
        tried.insert(words.to_owned());
        nobody_reads(args, status, || {});
    };
    case(
        "blacklist synth",
        &["blacklist", "synth", "--entries", "10", "--out", &path("synth.csv")],
        0,
    );
    case("blacklist build", &build, 0);
    case("blacklist build", &[&build[..], &["--json"]].concat(), 0);
    case("blacklist inspect", &["blacklist", "inspect", &list], 0);
    case("blacklist inspect", &["blacklist", "inspect", &list, "--json"], 0);
    case("blacklist check", &["blacklist", "check", &list, &listed], 3);
    case("blacklist check", &["blacklist", "check", &list, &listed, "--json"], 3);
    case("blacklist check", &["blacklist", "check", &list, &document(2).to_canonical()], 0);
    let made = command::run([
        "blacklist",
        "build",
        "--source",
        &format!("plain={}", path("synth.csv")),
        "--out",
        &other,
    ]);
    assert!(made.status.success(), "{made:?}");
    case("blacklist diff", &["blacklist", "diff", &list, &other], 3);
    case("blacklist diff", &["blacklist", "diff", &list, &other, "--json"], 3);
    case(
        "blacklist allow",
        &["blacklist", "allow", &listed, "--until", &tomorrow, "--addr", &addr],
        0,
    );
    case("blacklist load", &["blacklist", "load", &list, "--addr", &addr, "--force"], 0);
    case("blacklist add", &["blacklist", "add", &listed, "--addr", &addr], 0);
    case("blacklist remove", &["blacklist", "remove", &listed, "--addr", &addr], 0);
    case("blacklist status", &["blacklist", "status", "--addr", &addr], 0);
    case("blacklist status", &["blacklist", "status", "--addr", &addr, "--json"], 0);
    case("serve", &["serve", "--data-dir", &data, "--check-config"], 0);
    case("gateway", &["gateway", "--node", &addr, "--check-config"], 0);
    let intake = ["intake", "amqp", "--queue", "q", "--reply-key", "r", "--dead-letter-key", "d"];
    case("intake amqp", &[&intake[..], &["--check-config"]].concat(), 0);
    let topics = ["--topic", "t", "--reply-topic", "r", "--dead-letter-topic", "d"];
    case("intake kafka", &[&["intake", "kafka"], &topics[..], &["--check-config"]].concat(), 0);
    let http = node.http.to_string();
    // It has subcommands, and so is none by its own name.
    nobody_reads(&["validators", "--http", &http], 0, || {});
    nobody_reads(&["validators", "--http", &http, "--json"], 0, || {});
    let report = ["subject", "report", &data, "--document", &listed];
    case("subject report", &report, 3);
    case("subject report", &[&report[..], &["--json"]].concat(), 3);
    case("stats", &["stats", "--addr", &addr], 0);
    case("stats", &["stats", "--addr", &addr, "--json"], 0);
    case("lookup", &["lookup", "order-1", "--addr", &addr], 0);
    case("lookup", &["lookup", "order-1", "--addr", &addr, "--json"], 0);
    case("status", &["status", "--addr", &addr], 0);
    case("status", &["status", "--addr", &addr, "--json"], 0);
    let policy = path("policy.toml");
    std::fs::write(&policy, "[[rule]]\nid = \"a\"\nwhen = \"payer.listed\"\nscore = 1\n")
        .expect("written");
    case("policy check", &["policy", "check", &policy], 0);
    case("policy check", &["policy", "check", &policy, "--json"], 0);
    case("policy check", &["policy", "check", &csv], 3);
    case("policy activate", &["policy", "activate", &policy, "--addr", &addr], 0);
    let second = path("second.toml");
    std::fs::write(&second, "[[rule]]\nid = \"b\"\nwhen = \"payer.listed\"\nscore = 2\n")
        .expect("written");
    case("policy activate", &["policy", "activate", &second, "--addr", &addr, "--json"], 0);
    case("policy rollback", &["policy", "rollback", "--addr", &addr], 0);
    case("policy rollback", &["policy", "rollback", "--addr", &addr, "--json"], 0);
    case("policy candidate", &["policy", "candidate", &policy, "--addr", &addr], 0);
    case("policy compare", &["policy", "compare", &policy, "--addr", &addr], 0);
    case("policy compare", &["policy", "compare", "--addr", &addr, "--json"], 0);
    case("policy status", &["policy", "status", "--addr", &addr], 0);
    case("policy status", &["policy", "status", "--addr", &addr, "--json"], 0);
    case("policy diff", &["policy", "diff", &policy, &second], 3);
    case("policy diff", &["policy", "diff", &policy, &policy, "--json"], 0);
    case("policy history", &["policy", "history", &data], 0);
    case("policy history", &["policy", "history", &data, "--json"], 0);
    case("policy history", &["policy", "history", &data, "--text", "1"], 0);
    let made_up = path("payment.json");
    std::fs::write(&made_up, "{\"amount_centavos\": 5}").expect("written");
    let explain = ["policy", "explain", &policy, "--transaction", &made_up];
    case("policy explain", &explain, 0);
    case("policy explain", &[&explain[..], &["--json"]].concat(), 0);
    let stored = ["policy", "explain", &policy, "--log", &data, "--id", "order-1"];
    case("policy explain", &stored, 0);
    let asking = path("asking.toml");
    // Nobody listens on port 1, so that there is no answer; that is told all the same.
    let validator =
        "[[validator]]\nid = \"v\"\nurl = \"http://127.0.0.1:1/a\"\nwhen = \"payer.listed\"\n";
    let meaning = "status = { 200 = 1 }\nno_answer = \"skip\"\n";
    let rule = "[[rule]]\nid = \"a\"\nwhen = 'no_answer(validator(\"v\"))'\nscore = 1\n";
    std::fs::write(&asking, [validator, meaning, rule].concat()).expect("written");
    let ask = ["policy", "ask", &asking, "--validator", "v"];
    case("policy ask", &ask, 1);
    case("policy ask", &[&ask[..], &["--json"]].concat(), 1);
    let answers = path("answers.toml");
    std::fs::write(&answers, "[answer.a]\nbody = 1\n").expect("written");
    case("provider", &["provider", "--answers", &answers, "--seconds", "0.1"], 0);
    let cases = path("cases.toml");
    std::fs::write(&cases, "[[case]]\nname = \"it passes\"\nverdict = \"approve\"\n")
        .expect("written");
    case("policy test", &["policy", "test", &policy, &cases], 0);
    case("policy test", &["policy", "test", &policy, &cases, "--json"], 0);
    let init = path("init");
    let empty = || {
        drop(std::fs::remove_dir_all(&init));
        std::fs::create_dir(&init).expect("made");
    };
    nobody_reads(&["policy", "init", "--dir", &init], 0, empty);
    let now = jiff::Timestamp::now().to_string();
    let add = ["label", "add", "order-1", "--kind", "chargeback", "--source", "visa"];
    let add = [&add[..], &["--known-at", &now, "--addr", &addr]].concat();
    case("label add", &add, 0);
    case("label add", &[&add[..], &["--json"]].concat(), 0);
    let labels = path("labels.csv");
    let rows = format!("id,payer,kind,known_at,source\norder-1,,confirmed_good,{now},desk\n");
    std::fs::write(&labels, rows).expect("written");
    case("label import", &["label", "import", &labels, "--addr", &addr], 0);
    case("label import", &["label", "import", &labels, "--addr", &addr, "--json"], 0);
    case("label list", &["label", "list", "--log", &data], 0);
    case("label list", &["label", "list", "--log", &data, "--json"], 0);
    let lists = ["policy", "lists"];
    let mut of_lists = |words: &str, args: &[&str], status: i32| {
        case(words, &[&lists[..], args, &["--addr", &addr]].concat(), status);
        case(words, &[&lists[..], args, &["--addr", &addr, "--json"]].concat(), status);
    };
    of_lists("policy lists create", &["create", "vip", "--kind", "document"], 0);
    of_lists("policy lists set", &["set", "vip", &listed, "--value", "3"], 0);
    of_lists("policy lists find", &["find", "vip", &document(2).to_canonical()], 3);
    of_lists("policy lists remove", &["remove", "vip", &listed], 0);
    let entries = path("vip.csv");
    std::fs::write(&entries, format!("key,value\n{listed},3\n")).expect("written");
    of_lists("policy lists import", &["import", "vip", &entries], 0);
    case("policy lists show", &["policy", "lists", "show", "--log", &data], 0);
    case("policy lists show", &["policy", "lists", "show", "vip", "--log", &data, "--json"], 0);
    case("policy activate", &["policy", "activate", &asking, "--addr", &addr], 0);
    let force = ["validators", "force", "v", "open", "--reason", "a test", "--author", "ana"];
    let force = [&force[..], &["--addr", &addr]].concat();
    case("validators force", &force, 0);
    case("validators force", &[&force[..], &["--json"]].concat(), 0);
    case("validators history", &["validators", "history", &data], 0);
    case("validators history", &["validators", "history", &data, "--json"], 0);
    let exempt = ["policy", "exempt", "no-such-rule", &listed, "--end", "--addr", &addr];
    case("policy exempt", &exempt, 0);
    case("policy exempt", &[&exempt[..], &["--json"]].concat(), 0);
    for command in ["show", "export", "verify"] {
        case(&format!("audit {command}"), &["audit", command, &data], 0);
    }
    case("audit show", &["audit", "show", &data, "--json"], 0);
    case("audit show", &["audit", "show", "--addr", &addr], 0);
    case("audit export", &["audit", "export", "--addr", &addr], 0);
    case("audit verify", &["audit", "verify", &data, "--json"], 0);
    case("log replay", &["log", "replay", &data], 0);
    case("log replay", &["log", "replay", &data, "--policy", &policy, "--json"], 0);
    case("log verify", &["log", "verify", &data], 0);
    case("log verify", &["log", "verify", &data, "--json"], 0);
    case("log head", &["log", "head", &data], 0);
    case("log head", &["log", "head", &data, "--json"], 0);
    case("log show", &["log", "show", &data, "--transaction", "order-1"], 0);
    case("log show", &["log", "show", &data, "--transaction", "order-1", "--json"], 0);
    case("log export", &["log", "export", &data, "--format", "csv"], 0);
    case("log export", &["log", "export", &data, "--format", "ndjson"], 0);
    case("log prove", &["log", "prove", &data, "--lsn", "1"], 0);
    let made = command::run(["log", "prove", &data, "--lsn", "1", "--out", &proof]);
    assert!(made.status.success(), "{made:?}");
    case(
        "log verify",
        &["log", "verify", "--proof", &proof, "--key-file", &format!("{data}/chain.key")],
        0,
    );
    let demo = path("demo");
    // It takes an empty folder, and leaves some hundred MiB in it.
    let remove = || drop(std::fs::remove_dir_all(&demo));
    nobody_reads(&["demo", "--seconds", "0.1", "--data-dir", &demo], 0, remove);
    remove();
    tried.insert("demo".to_owned());
    let years = path("years");
    let remove = || drop(std::fs::remove_dir_all(&years));
    let synth = ["log", "synth", &years, "--records", "100", "--segment-mib", "2"];
    nobody_reads(&synth, 0, remove);
    remove();
    tried.insert("log synth".to_owned());
    node.stop();

    tried.insert("policy init".to_owned());
    // In tests of their own, below: they change what a pair is.
    tried.extend(["promote", "solo"].map(str::to_owned));
    let mut named = BTreeSet::new();
    subcommands(&[], &mut named);
    assert_eq!(tried, named, "each subcommand has a case here");
    for words in &named {
        let help: Vec<&str> = words.split(' ').chain(["--help"]).collect();
        nobody_reads(&help, 0, || {});
    }
    nobody_reads(&["--help"], 0, || {});
    nobody_reads(&["--version"], 0, || {});
}

#[test]
fn promote_and_solo_do_what_they_do_whoever_reads() {
    let pair = Pair::new(1);
    let nodes = pair.start_both();
    let address = |node: &Node| node.listen.to_string();
    // Each promotion makes the standby the primary; the next one promotes the other node back.
    let mut round = 0;
    for stdout in [Stdio::piped(), closed_pipe(), full_disk()] {
        let [primary, standby] = [&nodes[round % 2], &nodes[(round + 1) % 2]];
        await_place("primary and standby", [primary, standby], |[primary, standby]| {
            primary.role == Role::Primary
                && standby.role == Role::Standby
                && standby.in_sync
                && primary.connected
        });
        let promoted = run_with(&["promote", "--addr", &address(standby)], stdout);
        let said = String::from_utf8_lossy(&promoted.stderr).into_owned();
        assert_eq!(promoted.status.code(), Some(if round == 2 { 1 } else { 0 }), "{said}");
        assert_eq!(said.is_empty(), round < 2, "{said}");
        await_place("changed", [standby, primary], |[primary, _]| primary.role == Role::Primary);
        round += 1;
    }
    nobody_reads(&["solo", "--addr", &address(&nodes[round % 2]), "--standby-is-down"], 0, || {});
}

#[test]
fn a_node_whose_log_nobody_takes_goes_on() {
    for stderr in [closed_pipe as fn() -> Stdio, full_disk] {
        let dir = folder();
        let mut setup = Setup::new(dir.path()).set("log_level", "debug");
        setup.listen = free_address();
        let mut node = setup
            .command()
            .stderr(stderr())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let options =
            ClientOptions { reconnect_attempts: 0, ..ClientOptions::new(setup.listen.to_string()) };
        let began = Instant::now();
        let mut client = loop {
            match Client::connect(options.clone()) {
                Ok(client) => break client,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            assert!(
                node.try_wait().expect("a child").is_none(),
                "it ended because nobody takes its log"
            );
            std::thread::sleep(LOOK_AGAIN);
        };
        client.decide(&payment("order-1", 1)).expect("decided");
        client
            .blacklist(&BlacklistChange::add(document(1), Scope::Exact))
            .expect("changed, and told in the log");
        client.decide(&payment("order-2", 2)).expect("decided");
        let pid = rustix::process::Pid::from_child(&node);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("a child takes signals");
        assert_eq!(node.wait().expect("a child").code(), Some(0));
    }
}
