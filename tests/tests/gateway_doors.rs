//! Who gets through the door of a gateway: with tokens of a real issuer, with keys and certificates, over TLS.

use catraca_tests::command::command as program;
use catraca_tests::gateway::{Gateway, Http, body, command};
use catraca_tests::issuer::Issuer;
use catraca_tests::node::{LOOK_AGAIN, Node, Setup, fail, folder, free_address, http_get};
use catraca_tests::payments::{cpf, payment};
use catraca_tests::tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for something that a gateway comes to.
const PATIENCE: Duration = Duration::from_secs(60);
/// An API key, and what `printf %s KEY | sha256sum` says of it.
const API_KEY: &str = "open-sesame-open-sesame";
const API_KEY_SHA256: &str = "402ea51cd0fd3ab5140c27f5bdc85e0d2236a65cb62d7d2040fc8b61f124e0dd";

/// Writes an authority and certificates of these names, each with its key.
fn certificates(dir: &Path, authority: &str, names: &[&str]) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("signed");
    fs::write(dir.join(format!("{authority}.pem")), certificate.pem()).expect("written");
    let issuer = rcgen::Issuer::new(params, key);
    for name in names {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        fs::write(dir.join(format!("{name}.pem")), certificate.pem()).expect("written");
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("written");
    }
}

/// A gateway with this configuration besides TLS by `server.pem` in a folder, once its node decides.
fn start(dir: &Path, node: &Node, keys: &str) -> Gateway {
    let file = dir.join("gateway.toml");
    let at = |name: &str| dir.join(name).display().to_string();
    let tls = format!(
        "tls_certificate_file = {:?}\ntls_key_file = {:?}\ntls_client_ca_file = {:?}\n",
        at("server.pem"),
        at("server.key"),
        at("ca.pem")
    );
    fs::write(&file, tls + keys).expect("written");
    let gateway = Gateway::of(command(&[node.listen.to_string()]).arg("--config").arg(&file));
    let began = Instant::now();
    while connect(dir, gateway.listen, None).get("/readyz").expect("an answer").0 != 200 {
        assert!(began.elapsed() < PATIENCE, "never ready:\n{}", gateway.process.stderr());
        std::thread::sleep(LOOK_AGAIN);
    }
    gateway
}

fn connect(dir: &Path, address: SocketAddr, shows: Option<&str>) -> Http {
    let files = shows.map(|name| (file(dir, name, "pem"), file(dir, name, "key")));
    let files = files.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    tls::connect(address, &dir.join("ca.pem"), files).expect("hands are shaken")
}

fn file(dir: &Path, name: &str, kind: &str) -> PathBuf {
    dir.join(format!("{name}.{kind}"))
}

fn decide(http: &mut Http, id: &str, token: &str) -> (u16, Value) {
    let fields = format!("Authorization: Bearer {token}\r\n");
    http.decide_with(&body(&payment(id, 1)), &fields).expect("an answer")
}

#[test]
fn a_token_of_a_real_issuer_decides_and_a_bound_one_needs_its_certificate() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("node")).start();
    let place = free_address();
    let issuer = Issuer::start(place, "one");
    certificates(dir.path(), "ca", &["server", "own", "other"]);
    let client = |id: &str| {
        format!(
            "[[clients]]\nid = \"{id}\"\nname = \"{id}\"\npermissions = [\"decisions:write\", \"decisions:read\"]\n"
        )
    };
    let metrics = free_address();
    let gateway = start(
        dir.path(),
        &node,
        &format!(
            "metrics_listen = \"{metrics}\"\noauth_issuer = \"{0}\"\noauth_audience = \"https://catraca.example\"\noauth_jwks_url = \"{0}/jwks\"\n{1}{2}",
            issuer.name(),
            client("bank"),
            client("bound")
        ),
    );
    let over = |shows| connect(dir.path(), gateway.listen, shows);
    let own = fs::read_to_string(file(dir.path(), "own", "pem")).expect("written before");

    let token = issuer.token("bank", "decisions:write", None);
    let mut http = over(None);
    let (status, answer) = decide(&mut http, "by-token", &token);
    assert_eq!((status, &answer["verdict"]), (200, &json!("approve")), "{answer}");
    let fields = format!("Authorization: Bearer {token}\r\n");
    let (status, problem) = http.get_with("/v1/decisions/by-token", &fields).expect("an answer");
    assert_eq!((status, &problem["code"]), (403, &json!("NOT_ALLOWED")), "{problem}");
    let (status, problem) = http.decide(&body(&payment("nobody", 1))).expect("an answer");
    assert_eq!((status, &problem["code"]), (401, &json!("NO_TOKEN")), "{problem}");

    let bound = issuer.token("bound", "decisions:write decisions:read", Some(&own));
    for (shows, expected) in [(Some("own"), 200), (Some("other"), 401), (None, 401)] {
        let (status, answer) = decide(&mut over(shows), "bound", &bound);
        assert_eq!(status, expected, "{shows:?}: {answer}");
    }

    // Tokens that the gateway has not seen: it has to have the keys.
    let [second, third] = [1, 2].map(|_| issuer.token("bank", "decisions:write", None));
    issuer.stop();
    assert_eq!(decide(&mut http, "issuer-down", &second).0, 200);
    let issuer = Issuer::start(place, "two");
    let rotated = issuer.token("bank", "decisions:write", None);
    let (status, answer) = decide(&mut http, "rotated", &rotated);
    assert_eq!(status, 200, "{answer}");
    for old in [&token, &third] {
        let (status, problem) = decide(&mut http, "old", old);
        assert_eq!((status, &problem["code"]), (401, &json!("BAD_TOKEN")), "{problem}");
    }
    let (status, counted) = http_get(metrics, "/metrics").expect("an answer");
    assert_eq!(status, 200);
    for line in [
        "requests_total{route=\"/v1/decisions\",status=\"200\"} 4",
        "requests_total{route=\"/v1/decisions/{id}\",status=\"403\"} 1",
        "problems_total{code=\"NO_TOKEN\"} 1",
        "problems_total{code=\"BAD_TOKEN\"} 4",
        "requests_in_flight 0",
        "certificate_expiry_timestamp_seconds ",
        "request_duration_seconds_count{route=\"/v1/decisions\"} 9",
    ] {
        let line = format!("catraca_gateway_{line}");
        assert!(counted.lines().any(|counted| counted.starts_with(&line)), "{line}\n{counted}");
    }
    let written = gateway.stop();
    for secret in [&token, &bound, &second, &rotated, &cpf(1).to_canonical()] {
        assert!(!written.contains(secret.as_str()), "{written}");
    }
}

#[test]
fn certificates_are_read_anew_and_open_connections_stay() {
    let dir = folder();
    let node = Setup::new(&dir.path().join("node")).start();
    certificates(dir.path(), "ca", &["server", "own"]);
    let gateway = start(
        dir.path(),
        &node,
        &format!(
            "[[clients]]\nid = \"key\"\nname = \"key\"\napi_key_sha256 = \"{API_KEY_SHA256}\"\npermissions = [\"decisions:write\"]\n"
        ),
    );
    let mut early = connect(dir.path(), gateway.listen, None);
    assert_eq!(decide(&mut early, "early", API_KEY).0, 200);
    assert_eq!(decide(&mut early, "early", "another").0, 401);

    let told = |message: &'static str| {
        gateway.process.signal(Signal::HUP);
        let has = |line: &Value| {
            line["fields"]["message"].as_str().is_some_and(|text| text.starts_with(message))
        };
        gateway.process.wait_for_line(message, has);
    };
    let key = fs::read(file(dir.path(), "server", "key")).expect("written before");
    fs::write(file(dir.path(), "server", "key"), "half a fi").expect("written");
    told("certificates can't be used");
    assert_eq!(decide(&mut connect(dir.path(), gateway.listen, None), "old", API_KEY).0, 200);
    fs::write(file(dir.path(), "server", "key"), key).expect("written");

    fs::rename(dir.path().join("ca.pem"), dir.path().join("old-ca.pem")).expect("renamed");
    certificates(dir.path(), "ca", &["server"]);
    told("certificates were read anew");
    assert_eq!(decide(&mut connect(dir.path(), gateway.listen, None), "new", API_KEY).0, 200);
    let old_ca = dir.path().join("old-ca.pem");
    assert!(tls::connect(gateway.listen, &old_ca, None).is_err(), "it has another certificate");
    assert_eq!(decide(&mut early, "still", API_KEY).0, 200);
    let written = gateway.stop();
    assert!(written.contains("the certificate is good"), "{written}");
    assert!(!written.contains(API_KEY) && !written.contains("half a fi"), "{written}");
}

#[test]
fn nobody_listens_elsewhere_without_clients_and_tls_or_the_word_for_it() {
    let dir = folder();
    let file = dir.path().join("gateway.toml");
    let client = format!(
        "[[clients]]\nid = \"key\"\nname = \"key\"\napi_key_sha256 = \"{API_KEY_SHA256}\"\npermissions = [\"decisions:write\"]\n"
    );
    let checked = || {
        let mut command = program();
        command.args(["gateway", "--listen", "0.0.0.0:8080", "--check-config", "--config"]);
        command.arg(&file);
        command
    };
    for (keys, expected) in [
        (String::new(), "not authenticated"),
        ("plain = true\n".to_owned(), "not authenticated"),
        (client.clone(), "no TLS"),
        (format!("tls_certificate_file = \"/none\"\ntls_key_file = \"/none\"\n{client}"), "/none"),
    ] {
        fs::write(&file, &keys).expect("written");
        let (status, said) = fail(&mut checked());
        assert!(status == 10 && said.contains(expected), "{keys}: {status} {said}");
    }
    fs::write(&file, format!("plain = true\n{client}")).expect("written");
    assert!(checked().output().expect("it runs").status.success());
}
