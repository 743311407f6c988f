//! Clients of several institutions at one node, with real processes: ids and look-ups belong to the institution, and
//! clients are read anew without a restart.

use catraca_tests::gateway::Gateway;
use catraca_tests::logs::assert_verified;
use catraca_tests::node::{Node, Setup, folder};
use catraca_tests::payments;
use catraca_wire::client::{Client, ClientError, ClientOptions};
use catraca_wire::frame::{ErrorCode, Transaction, text_of};
use rustix::process::Signal;
use std::fs;
use std::path::Path;

/// A client of the configuration: its name, its institution, what it may do, and what else is said of it.
type Configured<'a> = (&'a str, u16, &'a str, &'a str);

/// Writes credentials, named as their clients, and the configuration.
fn configure(dir: &Path, clients: &[Configured<'_>]) {
    let mut text = String::new();
    for (name, institution, permissions, more) in clients {
        let path = dir.join(format!("{name}.credential"));
        fs::write(&path, format!("credential of {name}\n")).expect("written");
        text += &format!(
            "[[clients]]\nname = '{name}'\ncredential_file = '{}'\ninstitution = {institution}\n\
             permissions = [{permissions}]\n{more}\n",
            path.display()
        );
    }
    fs::write(dir.join("catraca.toml"), text).expect("written");
}

fn client(node: &Node, name: &str) -> Result<Client, ClientError> {
    let credential = format!("credential of {name}");
    Client::connect(ClientOptions { credential, ..node.client_options() })
}

fn payment(id: &str, amount_centavos: i64) -> Transaction {
    Transaction { amount_centavos, ..payments::payment(id, 1) }
}

fn code<T>(outcome: Result<T, ClientError>) -> Option<ErrorCode> {
    match outcome {
        Err(ClientError::Refused(error)) => Some(error.code),
        _ => None,
    }
}

#[test]
fn nobody_learns_the_verdict_of_another_institution_by_its_id() {
    let (dir, conf) = (folder(), folder());
    configure(
        conf.path(),
        &[
            ("mar", 1, "'submit', 'lookup'", ""),
            ("sol", 2, "'submit', 'lookup'", ""),
            ("auditor", 0, "'lookup', 'all_institutions'", ""),
        ],
    );
    let file = conf.path().join("catraca.toml");
    let node = Setup::new(dir.path()).shards(2).arg("--config").arg(file.display()).start();
    let (mut mar, mut sol) =
        (client(&node, "mar").expect("known"), client(&node, "sol").expect("known"));
    let ours = payment("order-1", 1_000);
    let first = mar.decide(&ours).expect("decided");

    assert_eq!(code(sol.lookup("order-1", None)), Some(ErrorCode::NotFound));
    // The very id and payer, guessed: a payment of its own.
    let theirs = sol.decide(&payment("order-1", 1)).expect("decided");
    assert!(!theirs.duplicate);
    assert_ne!((theirs.answer.shard, theirs.answer.lsn), (first.answer.shard, first.answer.lsn));
    for (client, amount, name) in [(&mut mar, 1_000, "mar"), (&mut sol, 1, "sol")] {
        let stored = client.lookup("order-1", None).expect("its own");
        assert_eq!(stored.record.transaction.amount_centavos, amount);
        assert_eq!(text_of(&stored.record.submitter.name), name);
    }
    let again = mar.decide(&ours).expect("decided");
    assert!(again.duplicate && again.answer.lsn == first.answer.lsn);
    let mut auditor = client(&node, "auditor").expect("known");
    let newest = auditor.lookup("order-1", None).expect("of every institution");
    assert_eq!(newest.record.submitter.institution, 2, "the newest");
    drop((mar, sol, auditor));
    let setup = node.setup.clone();
    node.stop();
    // The next run knows them apart, too.
    let node = setup.start();
    let mut sol = client(&node, "sol").expect("known");
    assert_eq!(sol.lookup("order-1", None).expect("its own").record.transaction.amount_centavos, 1);
    let reused = code(sol.decide(&ours));
    assert_eq!(reused, Some(ErrorCode::IdReused), "within the institution it is another payment");
    node.stop();
    assert_verified(dir.path(), true);
}

#[test]
fn clients_are_read_anew_without_a_restart() {
    let (dir, conf) = (folder(), folder());
    configure(conf.path(), &[("till", 0, "'submit'", ""), ("old", 0, "'submit'", "")]);
    let file = conf.path().join("catraca.toml");
    let node = Setup::new(dir.path()).arg("--config").arg(file.display()).start();
    let reload = |message: &str| {
        node.process.signal(Signal::HUP);
        node.process.wait_for_line(message, |line| {
            line["fields"]["message"].as_str().is_some_and(|told| told.contains(message))
        });
    };
    let (mut till, mut old) =
        (client(&node, "till").expect("known"), client(&node, "old").expect("known"));
    till.decide(&payment("a", 1)).expect("decided");
    old.decide(&payment("b", 1)).expect("decided");
    assert!(
        matches!(client(&node, "new"), Err(ClientError::Refused(error)) if error.code == ErrorCode::Unauthenticated)
    );
    // What is wrong changes nothing.
    fs::write(&file, "[[clients]]\nname = 'till'\n").expect("written");
    reload("the clients stay as they were");
    // Without clients whoever connects could do everything.
    fs::write(&file, "").expect("written");
    reload("the clients stay as they were: there are none");
    assert!(Client::connect(node.client_options()).is_err());
    till.decide(&payment("c", 1)).expect("decided");
    configure(
        conf.path(),
        &[
            ("till", 0, "'submit'", "shard_submits_per_s = 1\nshard_submit_burst = 2"),
            ("new", 0, "'submit'", ""),
        ],
    );
    reload("were read anew");
    client(&node, "new").expect("known now").decide(&payment("d", 1)).expect("decided");
    assert!(old.decide(&payment("e", 1)).is_err(), "let go");
    assert_eq!(code(client(&node, "old")), Some(ErrorCode::Unauthenticated), "known no longer");
    // With less time than until the next token the client tells of the refusal instead of waiting.
    let hurried = |n: u32| Transaction { budget_us: 100_000, ..payment(&format!("f{n}"), 1) };
    let refusals: Vec<_> = (0..10).filter_map(|n| code(till.decide(&hurried(n)))).collect();
    assert!(refusals.contains(&ErrorCode::RateLimited), "{refusals:?}");
    node.stop();
}

/// API keys of two clients of a gateway, and what `printf %s KEY | sha256sum` says of them.
const KEYS: [(&str, &str, u16, &str); 2] = [
    (
        "mar-shop",
        "key-of-mar-key-of-mar",
        1,
        "d1c64c79e739a72193177d690438f5e3e68484979b1f3f08d0588099b9e7a57d",
    ),
    (
        "sol-shop",
        "key-of-sol-key-of-sol",
        2,
        "19b89915f27c2924d7440bfded359a48e8c46a9dab0042dd9e10fd01b28d27fd",
    ),
];

/// A gateway with these clients, whose own credential is that of this client of the node.
fn gateway(conf: &Path, node: &Node, own: &str) -> Gateway {
    let mut text = String::new();
    for (name, _, institution, hash) in KEYS {
        text += &format!(
            "[[clients]]\nid = '{name}'\nname = '{name}'\ninstitution = {institution}\n\
             api_key_sha256 = '{hash}'\npermissions = ['decisions:write', 'decisions:read']\n"
        );
    }
    let file = conf.join(format!("gateway-{own}.toml"));
    fs::write(&file, text).expect("written");
    let credential = conf.join(format!("{own}.credential"));
    let mut command = catraca_tests::gateway::command(&[node.listen.to_string()]);
    command.arg("--config").arg(&file).arg("--credential-file").arg(credential);
    Gateway::of(&mut command)
}

#[test]
fn through_a_gateway_each_client_is_of_its_own_institution() {
    let (dir, conf) = (folder(), folder());
    configure(
        conf.path(),
        &[
            ("door", 0, "'submit', 'lookup', 'behalf', 'all_institutions'", ""),
            ("mute", 0, "'submit', 'lookup'", ""),
            ("mar", 1, "'submit', 'lookup'", ""),
        ],
    );
    let file = conf.path().join("catraca.toml");
    let node = Setup::new(dir.path()).shards(2).arg("--config").arg(file.display()).start();
    let open = gateway(conf.path(), &node, "door");
    let mut http = open.connect();
    let what = payment("order-1", 1_000);
    let mut duplicates = Vec::new();
    for (client, amount) in [(0, 1_000), (1, 7), (0, 1_000)] {
        let (name, key, ..) = KEYS[client];
        let mut theirs = what;
        theirs.amount_centavos = amount;
        let fields = format!("Authorization: Bearer {key}\r\n");
        let body = catraca_tests::gateway::body(&theirs);
        let (status, decided) = http.decide_with(&body, &fields).expect("an answer");
        assert_eq!(status, 200, "{name}: {decided}");
        let (status, found) = http.get_with("/v1/decisions/order-1", &fields).expect("an answer");
        assert_eq!((status, found["submitter"].as_str()), (200, Some(name)), "{found}");
        assert_eq!(found["amount_centavos"], amount, "its own, and not another one's");
        duplicates.push(decided["duplicate"].as_bool().expect("a flag"));
    }
    assert_eq!(duplicates, [false, false, true]);
    // The same institution by itself: the same payment.
    let mut mar = client(&node, "mar").expect("known");
    assert!(mar.decide(&what).expect("decided").duplicate);
    open.stop();

    // Who may not speak for others gets nothing recorded as its own.
    let mute = gateway(conf.path(), &node, "mute");
    let body = catraca_tests::gateway::body(&payment("order-2", 1));
    let fields = format!("Authorization: Bearer {}\r\n", KEYS[0].1);
    let (status, problem) = mute.connect().decide_with(&body, &fields).expect("an answer");
    assert!(status >= 500 && problem["verdict"].is_null(), "{status}: {problem}");
    mute.stop();
    assert_eq!(code(mar.lookup("order-2", None)), Some(ErrorCode::NotFound));
    node.stop();
    assert_verified(dir.path(), true);
}
