//! Tokens over the protocol, with a real node: of a real issuer and of a played one, bound to certificates, renewed and
//! ended on connections that live, keys that change or do not come, long credentials, and clients that are taken back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use catraca_tests::command::run;
use catraca_tests::gateway::{Gateway, body, command};
use catraca_tests::issuer::Issuer;
use catraca_tests::node::{LOOK_AGAIN, Node, Setup, fail, folder, free_address};
use catraca_tests::payments::payment;
use catraca_tls::Authorities;
use catraca_tls::testing::Certificates;
use catraca_tokens::testing::{AUDIENCE, ISSUER, Signer, claims, jwks, whole};
use catraca_wire::client::{Client, ClientError, ClientOptions};
use catraca_wire::frame::{ErrorCode, Verdict, text_of};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for something that a node comes to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A JWKS over HTTP, whose body a test changes; while it is empty the question is taken and not answered.
struct Keys {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
}

impl Keys {
    fn serve(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it has one");
        let keys = Self { address, answer: Arc::new(Mutex::new(answer)), asked: Arc::default() };
        let (answer, asked) = (Arc::clone(&keys.answer), Arc::clone(&keys.asked));
        std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let answer = answer.lock().expect("nobody panics with it").clone();
                asked.fetch_add(1, Ordering::Relaxed);
                if answer.is_empty() {
                    unanswered.push(stream);
                    continue;
                }
                let _ = stream.read(&mut [0; 4_096]);
                let _ = stream.write_all(&answer);
            }
        });
        keys
    }

    fn answers(&self, answer: Vec<u8>) {
        *self.answer.lock().expect("nobody panics with it") = answer;
    }

    /// The settings of a node that takes tokens by these keys.
    fn settings(&self) -> String {
        format!(
            "oauth_issuer = '{ISSUER}'\noauth_audience = '{AUDIENCE}'\noauth_jwks_url = 'http://{}/jwks'\n",
            self.address
        )
    }
}

struct World {
    node: Node,
    config: PathBuf,
    _dirs: [TempDir; 2],
}

impl World {
    /// A node with this configuration.
    fn start(text: &str) -> Self {
        let (data, conf) = (folder(), folder());
        let config = conf.path().join("catraca.toml");
        fs::write(&config, text).expect("written");
        let node = Setup::new(data.path()).shards(2).arg("--config").arg(config.display()).start();
        Self { node, config, _dirs: [data, conf] }
    }

    fn options(&self, credential: &str) -> ClientOptions {
        ClientOptions { credential: credential.to_owned(), ..self.node.client_options() }
    }

    fn connect(&self, credential: &str) -> Result<Client, ClientError> {
        Client::connect(self.options(credential))
    }

    /// Reads the clients of this configuration anew.
    fn reload(&self, text: &str) {
        let message = "the clients of the configuration were read anew";
        let count = |node: &Node| {
            let lines = node.process.lines();
            lines.iter().filter(|line| line.contains(message)).count()
        };
        let before = count(&self.node);
        fs::write(&self.config, text).expect("written");
        self.node.process.signal(Signal::HUP);
        self.node.wait_until("read anew", |node| count(node) > before);
    }
}

fn by_tokens(id: &str, permissions: &str) -> String {
    format!("[[clients]]\nname = '{id}'\noauth_client_id = '{id}'\npermissions = [{permissions}]\n")
}

fn refusal<T>(outcome: Result<T, ClientError>) -> Option<ErrorCode> {
    match outcome {
        Err(ClientError::Refused(error)) => Some(error.code),
        _ => None,
    }
}

fn claims_of(client: &str, more: &[(&str, Value)]) -> Value {
    let mut claims = claims();
    (claims["client_id"], claims["sub"]) = (json!(client), json!(client));
    for (name, value) in more {
        claims[*name] = value.clone();
    }
    claims
}

fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("it is later").as_secs()
}

/// A claim of a token that is already known to be sound.
fn claim(token: &str, name: &str) -> Value {
    let body = token.split('.').nth(1).expect("it has parts");
    let body = URL_SAFE_NO_PAD.decode(body).expect("base64");
    serde_json::from_slice::<Value>(&body).expect("JSON")[name].clone()
}

fn long_credential(dir: &Path) -> (String, String) {
    let (path, credential) = (dir.join("credential"), "0123456789abcdef".repeat(64));
    fs::write(&path, format!("{credential}\n")).expect("written");
    (path.display().to_string(), credential)
}

#[test]
fn tokens_of_a_real_issuer_decide_and_a_bound_one_needs_its_certificate() {
    let certificates = Certificates::new();
    let place = free_address();
    let issuer = Issuer::start(place, "one");
    let (keys, secrets) = (issuer.name(), folder());
    let (credential_file, credential) = long_credential(secrets.path());
    let text = format!(
        "listen_tls = '127.0.0.1:0'\ntls_certificate_file = '{}'\ntls_key_file = '{}'\ntls_client_ca_file = '{}'\n\
         oauth_issuer = '{keys}'\noauth_audience = 'https://catraca.example'\noauth_jwks_url = '{keys}/jwks'\n\
         {}{}[[clients]]\nname = 'batch'\ncredential_file = '{credential_file}'\npermissions = ['submit']\n",
        certificates.path("server").display(),
        certificates.path("server-key").display(),
        certificates.path("ca").display(),
        by_tokens("bank", "'submit', 'lookup', 'admin'"),
        by_tokens("bound", "'submit'"),
    );
    let world = World::start(&text);

    // What it may is what client and scope have in common.
    let token = issuer.token("bank", "decisions:write", None);
    let mut client = world.connect(&token).expect("let in");
    let exp = claim(&token, "exp").as_u64().expect("a number");
    assert_eq!(client.token_expires_at_ns(), Some((exp + 30) * 1_000_000_000));
    assert_eq!(client.decide(&payment("a", 1)).expect("decided").verdict, Verdict::Approve);
    assert_eq!(refusal(client.lookup("a", None)), Some(ErrorCode::Forbidden));
    let reads = issuer.token("bank", "decisions:write decisions:read", None);
    client.renew(&reads).expect("renewed");
    let stored = client.lookup("a", None).expect("found");
    assert_eq!(text_of(&stored.record.submitter.name), "bank");

    // The same connection is nobody else's.
    let own = fs::read_to_string(certificates.path("client")).expect("written before");
    let others = issuer.token("bound", "decisions:write", Some(&own));
    assert_eq!(refusal(client.renew(&others)), Some(ErrorCode::Unauthenticated));
    assert_eq!(refusal(client.renew(&credential)), Some(ErrorCode::Forbidden));
    client.decide(&payment("b", 2)).expect("it goes on as it was");

    let ready =
        world.node.process.wait_for_line("ready", |line| line["fields"]["message"] == "ready");
    let tls: SocketAddr =
        ready["fields"]["listen_tls"].as_str().expect("told").parse().expect("an address");
    let over_tls = |shows: Option<&str>, token: &str| {
        let own =
            shows.map(|name| (certificates.path(name), certificates.path(&format!("{name}-key"))));
        let own = own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let authorities = Authorities::new(&certificates.path("ca"), own).expect("sound");
        Client::connect(ClientOptions {
            secure: Some(Arc::new(authorities)),
            addresses: vec![format!("localhost:{}", tls.port())],
            ..world.options(token)
        })
    };
    let bound = issuer.token("bound", "decisions:write", Some(&own));
    over_tls(Some("client"), &bound)
        .expect("bound to it")
        .decide(&payment("c", 3))
        .expect("it may");
    for shows in [Some("other"), None] {
        let refused = refusal(over_tls(shows, &bound));
        assert_eq!(refused, Some(ErrorCode::Unauthenticated), "{shows:?}");
    }
    assert_eq!(refusal(world.connect(&bound)), Some(ErrorCode::Unauthenticated), "in clear");

    // A credential of 1 KiB.
    let mut batch = world.connect(&credential).expect("known");
    assert_eq!(batch.token_expires_at_ns(), None);
    batch.decide(&payment("d", 4)).expect("decided");
    let wrong = credential.replace("cdef", "cdee");
    assert_eq!(refusal(world.connect(&wrong)), Some(ErrorCode::Unauthenticated));

    // The issuer's key is another one: those that are connected go on, and no token by the old one is taken any more.
    let old = issuer.token("bank", "decisions:write", None);
    issuer.stop();
    let issuer = Issuer::start(place, "two");
    let new = issuer.token("bank", "decisions:write", None);
    world.connect(&new).expect("its key was fetched").decide(&payment("e", 5)).expect("decided");
    // Whether the issuer still has it is asked every 10 s at most; until then it is told to come again.
    let began = Instant::now();
    while refusal(world.connect(&old)) != Some(ErrorCode::Unauthenticated) {
        assert!(began.elapsed() < PATIENCE, "a key that was withdrawn is never unknown");
        std::thread::sleep(LOOK_AGAIN * 10);
    }
    client.decide(&payment("f", 6)).expect("it is connected");
    client.renew(&new).expect("renewed by the new key");

    // A client that is taken back is let go, and comes back with no token.
    world.reload(&text.replace("oauth_client_id = 'bank'", "oauth_client_id = 'was-bank'"));
    assert!(client.decide(&payment("g", 7)).is_err());
    assert_eq!(refusal(world.connect(&new)), Some(ErrorCode::Unauthenticated));
    batch.decide(&payment("h", 8)).expect("others go on");
    let told = world.node.stop();
    for secret in [token, reads, bound, new, credential] {
        assert!(!told.contains(&secret), "a log has a credential");
    }
}

/// A client that has come with a token that ends in a moment. On a machine that is busy the token may be over before it
/// is looked at: then with the next one.
fn ends_soon(world: &World, signer: &Signer) -> Client {
    let began = Instant::now();
    loop {
        // Clocks may differ by 30 s: it is good for 3 s more.
        let exp = json!(now_s() - 27);
        let token = signer.sign(&claims_of("bank", &[("exp", exp)]));
        let options = ClientOptions { reconnect_attempts: 1, ..world.options(&token) };
        match Client::connect(options) {
            Ok(client) => return client,
            Err(ClientError::Refused(error)) => {
                assert_eq!(error.code, ErrorCode::Unauthenticated, "{error}");
            }
            Err(error) => panic!("{error}"),
        }
        assert!(began.elapsed() < PATIENCE, "never let in:\n{}", world.node.process.stderr());
    }
}

#[test]
fn a_connection_ends_with_its_token_and_goes_on_where_it_was_renewed() {
    let signer = Signer::ec("one");
    let keys = Keys::serve(whole(&jwks(&[&signer])));
    let world = World::start(&format!("{}{}", keys.settings(), by_tokens("bank", "'submit'")));
    let mut ends = ends_soon(&world, &signer);
    let end_ns = ends.token_expires_at_ns().expect("it has an end");
    let mut renewed = ends_soon(&world, &signer);
    let first_end_ns = renewed.token_expires_at_ns().expect("it has an end");
    let token = signer.sign(&claims_of("bank", &[]));
    let renewal = renewed.renew(&token);
    // Where the machine was busy the first token has ended meanwhile, and that is all that this shows.
    let was_in_time = renewal.is_ok();
    if let Ok(until_ns) = renewal {
        assert!(until_ns.is_some_and(|until_ns| until_ns > first_end_ns));
    }
    let began = Instant::now();
    let mut number = 0;
    let last = loop {
        number += 1;
        match ends.decide(&payment(&format!("ends-{number}"), 1)) {
            Ok(_) => assert!(began.elapsed() < PATIENCE, "it never ends"),
            Err(error) => break error,
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    let now_ns = catraca_wire::client::now_ns();
    assert!(now_ns >= end_ns, "{last} came before its end");
    assert!(ends.decide(&payment("after", 1)).is_err(), "the same token lets nobody in");
    if was_in_time {
        renewed.decide(&payment("renewed", 1)).expect("it was renewed");
    }
    // A client that is told of the end comes back with a newer one.
    ends.renew(&token).expect("taken");
    ends.decide(&payment("back", 1)).expect("decided");
    world.node.stop();
}

#[test]
fn while_keys_do_not_come_tokens_wait_and_everybody_else_does_not() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let keys = Keys::serve(Vec::new());
    let secrets = folder();
    let (credential_file, credential) = long_credential(secrets.path());
    let world = World::start(&format!(
        "{}{}[[clients]]\nname = 'batch'\ncredential_file = '{credential_file}'\npermissions = ['submit']\n",
        keys.settings(),
        by_tokens("bank", "'submit'"),
    ));
    let token = old.sign(&claims_of("bank", &[]));
    let patient = |token: &str| {
        let options = world.options(token);
        Client::connect(ClientOptions { connect_timeout_ms: 60_000, ..options })
    };
    match patient(&token) {
        Err(ClientError::Refused(error)) => {
            assert_eq!(error.code, ErrorCode::Overloaded, "{error}");
            assert!(error.retry_after_ms > 0 && error.closing);
        }
        other => panic!("{other:?}"),
    }
    world
        .connect(&credential)
        .expect("it needs no keys")
        .decide(&payment("a", 1))
        .expect("decided");
    // They come, and then go again: what was fetched is good for a while.
    keys.answers(whole(&jwks(&[&old])));
    let began = Instant::now();
    let mut client = loop {
        match patient(&token) {
            Ok(client) => break client,
            Err(error) => assert!(began.elapsed() < PATIENCE, "never let in: {error}"),
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    client.decide(&payment("b", 1)).expect("decided");
    keys.answers(Vec::new());
    let unknown = new.sign(&claims_of("bank", &[]));
    // The issuer may have that key by now: nobody knows.
    assert_eq!(refusal(client.renew(&unknown)), Some(ErrorCode::Overloaded));
    client.decide(&payment("c", 1)).expect("a refused renewal changes nothing");
    patient(&token).expect("its key is known");
    assert!(keys.asked.load(Ordering::Relaxed) >= 2);
    world.node.stop();
}

#[test]
fn a_flood_of_forged_tokens_is_bounded_and_keeps_nobody_out_who_is_known() {
    let signer = Signer::ec("one");
    let keys = Keys::serve(whole(&jwks(&[&signer])));
    let secrets = folder();
    let (credential_file, credential) = long_credential(secrets.path());
    let world = World::start(&format!(
        "{}{}[[clients]]\nname = 'batch'\ncredential_file = '{credential_file}'\npermissions = ['submit']\n",
        keys.settings(),
        by_tokens("bank", "'submit'"),
    ));
    let mut known = world.connect(&credential).expect("known");
    let forger = Signer::ec("one");
    let mut codes = Vec::new();
    let began = Instant::now();
    // So many that the quota of the address is used up, however slow this machine is.
    while !codes.contains(&Some(ErrorCode::Overloaded)) && began.elapsed() < PATIENCE / 10 {
        let forged = forger.sign(&claims_of("bank", &[("jti", json!(codes.len().to_string()))]));
        codes.push(refusal(world.connect(&forged)));
        known.decide(&payment(&format!("p{}", codes.len()), 1)).expect("decided");
    }
    let expected = [Some(ErrorCode::Unauthenticated), Some(ErrorCode::Overloaded)];
    assert!(codes.iter().all(|code| expected.contains(code)), "{codes:?}");
    world.node.wait_until("recorded", |node| {
        let data_dir = node.setup.data_dir.display().to_string();
        let trail = run(["audit", "export", &data_dir]);
        String::from_utf8_lossy(&trail.stdout).contains("\"auth\"")
    });
    world.node.stop();
}

#[test]
fn commands_and_doors_come_with_whatever_their_file_holds() {
    let signer = Signer::ec("one");
    let keys = Keys::serve(whole(&jwks(&[&signer])));
    let secrets = folder();
    let (credential_file, _) = long_credential(secrets.path());
    let world = World::start(&format!(
        "{}{}[[clients]]\nname = 'door'\ncredential_file = '{credential_file}'\npermissions = ['submit', 'behalf']\n",
        keys.settings(),
        by_tokens("desk", "'stats', 'admin'"),
    ));
    let token_file = secrets.path().join("token");
    let write = |scope: &str| {
        let token = signer.sign(&claims_of("desk", &[("scope", json!(scope))]));
        fs::write(&token_file, token).expect("written");
    };
    let address = world.node.listen.to_string();
    let describes = || {
        let args = ["status", "--addr", &address, "--credential-file"].map(OsString::from);
        run(args.into_iter().chain([token_file.clone().into_os_string()]))
    };
    write("node:stats");
    let told = describes();
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && text.contains("primary"), "{told:?}");
    write("decisions:write");
    let told = describes();
    assert!(String::from_utf8_lossy(&told.stdout).contains("FORBIDDEN"), "{told:?}");
    let mut start = command(std::slice::from_ref(&address));
    let gateway = Gateway::of(start.arg("--credential-file").arg(&credential_file));
    let mut http = gateway.connect();
    let began = Instant::now();
    while http.get("/readyz").expect("an answer").0 != 200 {
        assert!(began.elapsed() < PATIENCE, "never ready:\n{}", gateway.process.stderr());
        std::thread::sleep(LOOK_AGAIN);
    }
    let (status, answer) = http.decide(&body(&payment("by-door", 1))).expect("an answer");
    assert_eq!(status, 200, "{answer}");
    gateway.stop();
    world.node.stop();
}

#[test]
fn what_is_wrong_with_an_issuer_is_named_before_the_node_starts() {
    let dir = folder();
    for (text, expected) in [
        ("oauth_issuer = 'https://i'\n", "all or none"),
        (
            "[[clients]]\nname = 'bank'\noauth_client_id = 'bank'\npermissions = []\n",
            "no oauth_issuer",
        ),
        (
            "oauth_issuer = 'i'\noauth_audience = 'a'\noauth_jwks_url = 'http://issuer.example/'\n\
             [[clients]]\nname = 'bank'\noauth_client_id = 'bank'\npermissions = []\n",
            "oauth_jwks_url",
        ),
    ] {
        let file = dir.path().join("catraca.toml");
        fs::write(&file, text).expect("written");
        let setup = Setup::new(&dir.path().join("data")).arg("--config").arg(file.display());
        let (status, told) = fail(&mut setup.command());
        assert!(status == 10 && told.contains(expected), "{status}: {told}");
    }
}
