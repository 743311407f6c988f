//! The protocol over TLS, with a real node: many frames in few records, certificates that say who a client is, certificates
//! that are read anew, and connections that never shake hands.

use catraca_loadgen::options::{Core, Wait};
use catraca_loadgen::{Monitor, Options};
use catraca_tests::gateway::Gateway;
use catraca_tests::node::{Node, Setup, fail, folder, http_get};
use catraca_tests::payments::payment;
use catraca_tls::Authorities;
use catraca_tls::testing::Certificates;
use catraca_wire::client::{Client, ClientError, ClientOptions};
use catraca_wire::frame::{ErrorCode, Verdict, text_of};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

struct World {
    node: Node,
    address: SocketAddr,
    certificates: Certificates,
    _conf: tempfile::TempDir,
    _data: tempfile::TempDir,
}

/// A configuration of a node with TLS by these certificates, and clients.
fn configuration(certificates: &Certificates, clients: &str) -> String {
    format!(
        "listen_tls = '127.0.0.1:0'\ntls_certificate_file = '{}'\ntls_key_file = '{}'\ntls_client_ca_file = '{}'\n{clients}",
        certificates.path("server").display(),
        certificates.path("server-key").display(),
        certificates.path("ca").display()
    )
}

impl World {
    fn start(shards: u16, clients: impl Fn(&Path, &Certificates) -> String) -> Self {
        let (data, conf, certificates) = (folder(), folder(), Certificates::new());
        let file = conf.path().join("catraca.toml");
        let text = configuration(&certificates, &clients(conf.path(), &certificates));
        fs::write(&file, text).expect("written");
        let node =
            Setup::new(data.path()).shards(shards).arg("--config").arg(file.display()).start();
        let ready =
            node.process.wait_for_line("ready", |line| line["fields"]["message"] == "ready");
        let address = ready["fields"]["listen_tls"].as_str().expect("it is told").parse();
        let address = address.expect("an address");
        Self { node, address, certificates, _conf: conf, _data: data }
    }

    /// What a client connects with that shows this certificate.
    fn options(&self, shows: Option<&str>, credential: &str) -> ClientOptions {
        let own = shows.map(|name| {
            (self.certificates.path(name), self.certificates.path(&format!("{name}-key")))
        });
        let own = own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let authorities = Authorities::new(&self.certificates.path("ca"), own).expect("sound");
        ClientOptions {
            secure: Some(Arc::new(authorities)),
            credential: credential.to_owned(),
            addresses: vec![format!("localhost:{}", self.address.port())],
            ..self.node.client_options()
        }
    }

    fn connect(&self, shows: Option<&str>, credential: &str) -> Result<Client, ClientError> {
        Client::connect(self.options(shows, credential))
    }
}

fn refusal<T>(outcome: Result<T, ClientError>) -> Option<ErrorCode> {
    match outcome {
        Err(ClientError::Refused(error)) => Some(error.code),
        _ => None,
    }
}

#[test]
fn many_payments_over_tls_are_decided_each_once_as_without() {
    let world = World::start(2, |_, _| String::new());
    let mut secured = world.connect(None, "").expect("hands are shaken");
    let count = 20_000;
    let payments: Vec<_> =
        (0..count).map(|number| payment(&format!("p{number}"), number)).collect();
    for payment in &payments {
        secured.queue(payment).expect("queued");
    }
    secured.flush();
    let mut approved = 0;
    while secured.owed() > 0 {
        let reply = secured.receive().expect("an answer");
        approved += u64::from(reply.result.expect("decided").verdict == Verdict::Approve);
    }
    assert_eq!(approved, count);
    // The same payment by the other door is the same payment.
    assert!(world.node.client().decide(&payments[7]).expect("decided").duplicate);
    let stored = secured.lookup("p7", None).expect("found");
    assert_eq!(text_of(&stored.record.transaction.id), "p7");
    // In clear nothing is said on the port of TLS.
    let plain = ClientOptions { secure: None, ..world.options(None, "") };
    assert!(Client::connect(plain).is_err());
    world.node.stop();
}

#[test]
fn a_load_goes_over_tls_and_its_answers_are_checked() {
    let world = World::start(1, |_, certificates| {
        format!(
            "[[clients]]\nname = 'load'\ncertificate_sha256 = '{}'\npermissions = ['submit']\n",
            hex(&certificates.thumbprint("client"))
        )
    });
    let options = |own: Option<&str>| Options {
        addr: format!("localhost:{}", world.address.port()),
        connections: 3,
        in_flight: Some(300),
        transactions: Some(20_000),
        resend_share: 0.05,
        tls_ca_file: Some(world.certificates.path("ca")),
        tls_certificate_file: own.map(|name| world.certificates.path(name)),
        tls_key_file: own.map(|name| world.certificates.path(&format!("{name}-key"))),
        core: Core::None,
        wait: Wait::Epoll,
        verify: true,
        ..Options::default()
    };
    let report = catraca_loadgen::run(&options(Some("client")), &Monitor::default()).expect("ran");
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert_eq!((report.answered, report.violations.total()), (20_000, 0));
    let refused = catraca_loadgen::run(&options(None), &Monitor::default()).expect_err("nobody");
    assert!(refused.to_string().contains("UNAUTHENTICATED"), "{refused}");
    let clear = Options { tls_ca_file: None, ..options(None) };
    let refused = catraca_loadgen::run(&clear, &Monitor::default()).expect_err("in clear");
    assert!(refused.to_string().contains("HELLO"), "{refused}");
    let wrong = Options { addr: world.node.listen.to_string(), ..options(None) };
    let refused = catraca_loadgen::run(&wrong, &Monitor::default()).expect_err("no TLS there");
    assert!(refused.to_string().contains("listen_tls"), "{refused}");
    world.node.stop();
}

#[test]
fn a_certificate_is_who_a_client_is_or_what_its_credential_is_bound_to() {
    let world = World::start(1, |conf, certificates| {
        let token = conf.join("token");
        fs::write(&token, "sesame\n").expect("written");
        format!(
            "[[clients]]\nname = 'by-cert'\ncertificate_sha256 = '{}'\npermissions = ['submit', 'lookup']\n\
             [[clients]]\nname = 'bound'\ncredential_file = '{}'\ncertificate_sha256 = '{}'\npermissions = ['submit']\n",
            hex(&certificates.thumbprint("client")),
            token.display(),
            hex(&certificates.thumbprint("other"))
        )
    });
    let mut by_certificate = world.connect(Some("client"), "").expect("known");
    by_certificate.decide(&payment("a", 1)).expect("decided");
    let stored = by_certificate.lookup("a", None).expect("found");
    assert_eq!(text_of(&stored.record.submitter.name), "by-cert");
    world
        .connect(Some("other"), "sesame")
        .expect("known")
        .decide(&payment("b", 1))
        .expect("decided");
    for (shows, credential) in
        [(None, ""), (Some("other"), ""), (None, "sesame"), (Some("client"), "sesame")]
    {
        let refused = refusal(world.connect(shows, credential));
        assert_eq!(refused, Some(ErrorCode::Unauthenticated), "{shows:?} {credential:?}");
    }
    assert!(world.connect(Some("stranger"), "").is_err(), "of another authority");
    // In clear nobody has shown a certificate.
    let clear = ClientOptions { credential: "sesame".to_owned(), ..world.node.client_options() };
    assert_eq!(refusal(Client::connect(clear)), Some(ErrorCode::Unauthenticated));
    world.node.stop();
}

#[test]
fn certificates_are_read_anew_and_open_connections_stay() {
    let world = World::start(1, |_, _| String::new());
    let mut early = world.connect(None, "").expect("hands are shaken");
    let metrics = || http_get(world.node.http, "/metrics").expect("served").1;
    let line = "catraca_tls_certificate_expiry_timestamp_seconds{certificate=\"clients\"} ";
    assert!(metrics().lines().any(|text| text.starts_with(line)), "{}", metrics());
    let told = |message: &'static str| {
        world.node.process.signal(Signal::HUP);
        let has = |line: &Value| {
            line["fields"]["message"].as_str().is_some_and(|text| text.starts_with(message))
        };
        world.node.process.wait_for_line(message, has);
    };
    let key = fs::read(world.certificates.path("server-key")).expect("there");
    world.certificates.write("server-key", "half a fi");
    told("certificates can't be used");
    world.connect(None, "").expect("those from before are in use");
    fs::write(world.certificates.path("server-key"), key).expect("written");
    told("certificates were read anew");
    world.connect(None, "").expect("hands are shaken").decide(&payment("new", 1)).expect("decided");
    early.decide(&payment("early", 1)).expect("the connection stays");
    world.node.stop();
}

#[test]
fn who_never_shakes_hands_is_let_go_and_keeps_nobody_else_out() {
    let world = World::start(1, |_, _| String::new());
    let mut silent: Vec<_> =
        (0..200).map(|_| TcpStream::connect(world.address).expect("taken")).collect();
    for (number, stream) in silent.iter_mut().enumerate() {
        // A third says nothing, a third nonsense, a third the beginning of a handshake.
        let _ = match number % 3 {
            0 => Ok(()),
            1 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n"),
            _ => stream.write_all(&[22, 3, 1, 2, 0, 1]),
        };
    }
    let mut client = world.connect(None, "").expect("others are served meanwhile");
    client.decide(&payment("meanwhile", 1)).expect("decided");
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
        let mut rest = Vec::new();
        // Closed by the node, with an alert or without.
        let ended = stream.read_to_end(&mut rest);
        let is_over =
            ended.as_ref().err().is_none_or(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(is_over && rest.len() < 64, "{ended:?}");
    }
    client.decide(&payment("after", 1)).expect("decided");
    world.node.stop();
}

#[test]
fn a_gateway_speaks_to_its_node_over_tls_and_shows_its_certificate() {
    let world = World::start(1, |_, certificates| {
        format!(
            "[[clients]]\nname = 'door'\ncertificate_sha256 = '{}'\npermissions = ['submit', 'lookup']\n",
            hex(&certificates.thumbprint("client"))
        )
    });
    let at = |name: &str| world.certificates.path(name).display().to_string();
    let start = |ca: &str| {
        let mut command =
            catraca_tests::gateway::command(&[format!("localhost:{}", world.address.port())]);
        command.env("CATRACA_GATEWAY_NODE_CA_FILE", at(ca));
        command.env("CATRACA_GATEWAY_NODE_CERTIFICATE_FILE", at("client"));
        command.env("CATRACA_GATEWAY_NODE_KEY_FILE", at("client-key"));
        Gateway::of(&mut command)
    };
    let gateway = start("ca");
    let body = catraca_tests::gateway::body(&payment("by-gateway", 1));
    let (status, answer) = gateway.connect().decide_with(&body, "").expect("an answer");
    assert_eq!((status, answer["verdict"].as_str()), (200, Some("approve")), "{answer}");
    gateway.stop();
    let fooled = start("foreign");
    let body = catraca_tests::gateway::body(&payment("elsewhere", 1));
    let (status, problem) = fooled.connect().decide_with(&body, "").expect("an answer");
    assert!(status >= 500 && problem["verdict"].is_null(), "{status}: {problem}");
    fooled.stop();
    world.node.stop();
}

#[test]
fn what_belongs_together_is_given_together() {
    let (data, conf, certificates) = (folder(), folder(), Certificates::new());
    let file = conf.path().join("catraca.toml");
    let whole = configuration(&certificates, "");
    let without = |key: &str| {
        let lines = whole.lines().filter(|line| !line.starts_with(key));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let client = format!(
        "[[clients]]\nname = 'a'\ncertificate_sha256 = '{}'\npermissions = ['submit']\n",
        "ab".repeat(32)
    );
    for (text, said) in [
        (without("tls_key_file"), "no tls_key_file"),
        (without("listen_tls"), "no listen_tls"),
        (without("tls_client_ca_file") + &client, "no tls_client_ca_file"),
        (whole.replace("server-key", "client-key"), "client-key"),
        (whole.replace("127.0.0.1:0", "0.0.0.0:0"), "no [[clients]]"),
        (
            format!("{whole}[[clients]]\nname = 'a'\npermissions = []\n"),
            "oauth_client_id or certificate_sha256",
        ),
        (format!("{whole}{}", client.replace(&"ab".repeat(32), "abc")), "64 hexadecimal digits"),
    ] {
        fs::write(&file, text).expect("written");
        let (status, told) =
            fail(&mut Setup::new(data.path()).arg("--config").arg(file.display()).command());
        assert!(status == 10 && told.contains(said), "{said}: {status} {told}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
