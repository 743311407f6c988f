//! What operators do through a gateway, before a real node: it is done for the client that asks, may, and is named in
//! the node's audit trail. Receipts, checked by another program than ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use catraca_tests::command as program;
use catraca_tests::gateway::{Gateway, body, command};
use catraca_tests::node::{LOOK_AGAIN, Node, Setup, folder};
use catraca_tests::payments::payment;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for something that a gateway comes to.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    data: TempDir,
    conf: TempDir,
    node: Node,
    gateway: Gateway,
}

/// What `printf %s KEY | sha256sum` says of the API keys, which are the names of their clients.
const CLIENTS: [(&str, &str); 2] = [
    ("desk", "49be417ad74080a0031b636b44cfc26fdd0065492d6cd3b033960c4414955cf7"),
    ("till", "a64e98ff18a83009e15ef5bf714722bffd0a669d9c2700cf7ccd9ee625dc5733"),
];

impl World {
    /// A node, and a gateway to it with two clients: `desk` may do everything, `till` only what tills do.
    fn start() -> Self {
        let (data, conf) = (folder(), folder());
        let file = |name: &str, text: &str| {
            let path = conf.path().join(name);
            fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let door = file("door", "credential of the door\n");
        let node = file(
            "catraca.toml",
            &format!(
                "[[clients]]\nname = 'door'\ncredential_file = '{door}'\n\
                 permissions = ['submit', 'lookup', 'admin', 'behalf']\n"
            ),
        );
        let node = Setup::new(data.path()).arg("--config").arg(node).start();
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
        let private = file("receipts.key", &key.serialize_pem());
        file("receipts.pem", &key.public_key_pem());
        let client = |name: &str, permissions: &str| {
            format!(
                "[[clients]]\nid = '{name}'\nname = '{name}'\ninstitution = 7\nadministration_per_second = 1000\n\
                 api_key_sha256 = '{}'\npermissions = [{permissions}]\n",
                CLIENTS.iter().find(|(client, _)| *client == name).expect("it is there").1
            )
        };
        let every = "'decisions:write', 'decisions:read', 'lists:write', 'labels:write', \
                     'policies:write', 'admin:read'";
        let gateway = file(
            "gateway.toml",
            &format!(
                "credential_file = '{door}'\nreceipt_key_file = '{private}'\n\
                 receipt_issuer = 'https://bank.example'\n{}{}",
                client("desk", every),
                client("till", "'decisions:write'")
            ),
        );
        let mut command = command(&[node.listen.to_string()]);
        let gateway = Gateway::of(command.args(["--config", &gateway]));
        let began = Instant::now();
        while gateway.connect().get("/readyz").expect("an answer").0 != 200 {
            assert!(began.elapsed() < PATIENCE, "never ready:\n{}", gateway.process.stderr());
            std::thread::sleep(LOOK_AGAIN);
        }
        Self { data, conf, node, gateway }
    }

    fn post(&self, who: &str, path: &str, body: &Value) -> (u16, Value) {
        self.gateway.connect().post(path, body, &shown(who)).expect("an answer")
    }

    fn get(&self, who: &str, path: &str) -> (u16, Value) {
        self.gateway.connect().get_with(path, &shown(who)).expect("an answer")
    }

    /// What is asked for is done.
    fn done(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post("desk", path, body);
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }

    /// What is asked for is refused, with this status and code.
    fn refused(&self, path: &str, body: &Value, expected: (u16, &str)) -> Value {
        let (status, answer) = self.post("desk", path, body);
        assert_eq!((status, answer["code"].as_str()), (expected.0, Some(expected.1)), "{answer}");
        assert_eq!(answer["recorded"], "no", "{answer}");
        answer
    }
}

fn shown(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

fn trail(data: &Path) -> Vec<Value> {
    let output = program::run(["audit", "export", &data.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn operators_do_through_the_gateway_what_they_may_and_the_trail_names_them() {
    let world = World::start();
    let listed = "049.332.286-80";
    let soon = "2099-01-01T00:00:00Z";

    let add = json!({"operation": "add", "document": listed});
    let state = world.done("/v1/blacklist/changes", &add);
    assert_eq!((&state["changed"], &state["overlay_entries"]), (&true.into(), &1.into()));
    let (status, seen) = world.get("desk", "/v1/blacklist");
    assert_eq!((status, &seen["overlay_sequence"]), (200, &state["overlay_sequence"]), "{seen}");
    let mut denied = body(&payment("denied", 1));
    denied["payer"] = listed.into();
    let answer = world.done("/v1/decisions", &denied);
    assert_eq!((&answer["verdict"], &answer["reason"]), (&"deny".into(), &"payer_listed".into()));
    world.done("/v1/blacklist/changes", &json!({"operation": "remove", "document": listed}));
    let bad = json!({"operation": "add", "document": "049.332.286-81"});
    let problem = world.refused("/v1/blacklist/changes", &bad, (422, "BAD_REQUEST"));
    assert!(!problem.to_string().contains("332"), "no document in a problem: {problem}");

    let vip = "/v1/lists/vip/changes";
    let set = json!({"operation": "set", "key": listed, "value": 3, "reason": "a test"});
    let problem = world.refused(vip, &set, (409, "FAILED"));
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("vip")), "{problem}");
    world.done(vip, &json!({"operation": "create", "key_kind": "document"}));
    assert_eq!(world.done(vip, &set)["is_in"], true);
    assert_eq!(world.done(vip, &set)["changed"], false, "the same again changes nothing");
    let find = json!({"key": listed});
    assert_eq!(world.done("/v1/lists/vip/find", &find)["is_in"], true);
    world.done(vip, &json!({"operation": "remove", "key": listed}));
    assert_eq!(world.done("/v1/lists/vip/find", &find)["is_in"], false);
    let (status, seen) = world.get("desk", "/v1/lists/vip");
    assert_eq!((status, &seen["key_kind"]), (200, &"document".into()), "{seen}");
    let exempt = json!({"operation": "exempt", "key_kind": "document", "key": listed, "until": in_a_month()});
    world.refused("/v1/rules/no-such/exemptions", &exempt, (409, "FAILED"));

    world.done("/v1/decisions", &body(&payment("order-1", 1)));
    let label = json!({"transaction_id": "order-1", "label": "confirmed_good", "known_at": now(), "source": "disputes"});
    let labelled = world.done("/v1/labels", &label);
    assert_eq!(
        (&labelled["changed"], &labelled["counts"]),
        (&true.into(), &"confirmed_good".into())
    );
    assert_eq!(world.done("/v1/labels", &label)["changed"], false);
    let mut unknown = label.clone();
    unknown["transaction_id"] = "none".into();
    world.refused("/v1/labels", &unknown, (404, "NOT_FOUND"));

    let policy = "[[rule]]\nid = 'high'\nwhen = 'tx.amount > reais(1000)'\nscore = 450\n";
    let path = world.conf.path().join("policy.toml");
    fs::write(&path, policy).expect("written");
    let checked = program::run(["policy", "check", &path.display().to_string(), "--json"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    let id = checked["id"].as_str().unwrap_or_else(|| panic!("{checked:#}"));
    let change = |operation: &str| json!({"operation": operation, "path": path.display().to_string(), "policy_id": id});
    assert_eq!(world.done("/v1/policy/changes", &change("activate"))["policy_id"], id);
    assert_eq!(world.get("desk", "/v1/policy").1["rules"], 1);
    let mut candidate = change("candidate");
    candidate["until"] = soon.into();
    assert_eq!(world.done("/v1/policy/changes", &candidate)["policy_id"], id);
    let (status, compared) = world.get("desk", "/v1/policy/comparison");
    assert_eq!((status, compared["verdicts"].as_array().map(Vec::len)), (200, Some(9)));
    world.done("/v1/policy/changes", &json!({"operation": "end_candidate"}));

    // Who may only submit may nothing else, and the node is not even asked.
    for (path, body) in [
        ("/v1/blacklist/changes", &add),
        (vip, &set),
        ("/v1/lists/vip/find", &find),
        ("/v1/rules/high/exemptions", &exempt),
        ("/v1/labels", &label),
        ("/v1/policy/changes", &change("activate")),
    ] {
        let (status, problem) = world.post("till", path, body);
        assert_eq!((status, &problem["code"]), (403, &"NOT_ALLOWED".into()), "{path}: {problem}");
    }
    for path in [
        "/v1/blacklist",
        "/v1/lists/vip",
        "/v1/policy",
        "/v1/policy/comparison",
        "/v1/receipts/order-1",
    ] {
        assert_eq!(world.get("till", path).0, 403, "{path}");
    }
    let entries = trail(world.data.path());
    let acts: Vec<&str> = entries.iter().filter_map(|entry| entry["act"].as_str()).collect();
    for act in [
        "blacklist add",
        "blacklist remove",
        "list create",
        "list set",
        "list describe",
        "list remove",
        "label",
        "policy activate",
        "policy candidate",
        "policy end_candidate",
    ] {
        assert!(acts.contains(&act), "no {act} in {acts:?}");
    }
    for entry in &entries {
        let who = (&entry["client"], &entry["institution"], &entry["via"]);
        assert_eq!(who, (&"desk".into(), &7.into(), &"door".into()), "{entry:#}");
    }
    let written = world.gateway.stop();
    assert!(!written.contains("332.286") && !written.contains("04933228680"), "{written}");
    world.node.stop();
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn in_a_month() -> String {
    (jiff::Timestamp::now() + Duration::from_secs(30 * 24 * 60 * 60)).to_string()
}

/// What OpenSSL says of a signature by PS256 over these bytes.
fn openssl_takes(dir: &Path, signed: &[u8], signature: &[u8]) -> bool {
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).expect("written");
        path
    };
    let mut openssl = Command::new("openssl");
    openssl.args([
        "dgst",
        "-sha256",
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:32",
    ]);
    openssl.arg("-verify").arg(dir.join("receipts.pem"));
    openssl.arg("-signature").arg(file("signature", signature)).arg(file("signed", signed));
    openssl.output().expect("openssl runs").status.success()
}

#[test]
fn a_receipt_is_checked_without_us() {
    let world = World::start();
    let decided = world.done("/v1/decisions", &body(&payment("order-1", 1)));
    let (status, text) = world.get("desk", "/v1/receipts/order-1");
    assert_eq!(status, 200, "{text}");
    let text = text.as_str().expect("a JWS is no JSON");
    let (signed, signature) = text.rsplit_once('.').expect("three parts");
    let (head, claims) = signed.split_once('.').expect("three parts");
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let signature = decode(signature);
    assert!(openssl_takes(world.conf.path(), signed.as_bytes(), &signature));
    let changed = signed.replace(&claims[..8], "eyJpc3Mj");
    assert!(!openssl_takes(world.conf.path(), changed.as_bytes(), &signature) || changed == signed);
    let json = |part: &str| serde_json::from_slice::<Value>(&decode(part)).expect("JSON");
    let (head, claims) = (json(head), json(claims));
    assert_eq!((&head["alg"], &head["typ"]), (&"PS256".into(), &"catraca-receipt+jwt".into()));
    for key in ["transaction_id", "verdict", "shard", "lsn", "epoch", "receipt"] {
        assert_eq!(claims[key], decided[key], "{key}");
    }
    assert_eq!(
        (&claims["iss"], &claims["institution"]),
        (&"https://bank.example".into(), &7.into())
    );
    assert!(claims["payer"].as_str().is_some_and(|payer| payer.contains('*')), "{claims}");
    let (status, keys) = world.gateway.connect().get("/.well-known/jwks.json").expect("an answer");
    assert_eq!(
        (status, &keys["keys"][0]["kid"]),
        (200, &head["kid"]),
        "nobody is asked who they are"
    );
    let (status, problem) = world.get("desk", "/v1/receipts/none");
    assert_eq!((status, &problem["code"]), (404, &"NOT_FOUND".into()));
    // The chain value is the log's.
    let data = world.data.path().display().to_string();
    world.gateway.stop();
    world.node.stop();
    let shown = program::run(["log", "show", &data, "--transaction", "order-1", "--json"]);
    let chain = claims["chain"].as_str().expect("a chain value");
    assert!(String::from_utf8_lossy(&shown.stdout).contains(chain), "{chain}");
}
