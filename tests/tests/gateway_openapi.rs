//! The gateway against its own description: Schemathesis asks everything that the description allows and much that it
//! does not, and clients that generators make of it have payments decided.

use catraca_tests::binary::{tool, workspace_dir};
use catraca_tests::gateway::{Gateway, body, command};
use catraca_tests::node::{LOOK_AGAIN, Node, Setup, folder};
use catraca_tests::payments::payment;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The versions that scripts/setup.sh installs.
const SCHEMATHESIS: &str = "4.32.5";
const PYTHON_CLIENT: &str = "0.29.1";
const OPENAPI_TYPESCRIPT: &str = "7.13.0";
/// Longest wait for something that a gateway comes to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node, and a gateway to it that signs receipts.
fn start(dir: &Path) -> (Node, Gateway) {
    let node = Setup::new(&dir.join("node")).start();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let file = dir.join("receipts.key");
    fs::write(&file, key.serialize_pem()).expect("written");
    let mut command = command(&[node.listen.to_string()]);
    let gateway = Gateway::of(command.env("CATRACA_GATEWAY_RECEIPT_KEY_FILE", file));
    let began = Instant::now();
    while gateway.connect().get("/readyz").expect("an answer").0 != 200 {
        assert!(began.elapsed() < PATIENCE, "never ready:\n{}", gateway.process.stderr());
        std::thread::sleep(LOOK_AGAIN);
    }
    (node, gateway)
}

/// The gateway's description, as a file and as it is.
fn description(dir: &Path, gateway: &Gateway) -> (PathBuf, Value) {
    let file = dir.join("openapi.json");
    let (status, document) = gateway.connect().get("/openapi.json").expect("an answer");
    assert_eq!(status, 200, "{document}");
    fs::write(&file, document.to_string()).expect("written");
    (file, document)
}

fn program(package: &str, version: &str, name: &str) -> PathBuf {
    tool(package, version).join("bin").join(name)
}

/// Runs it to a good end; what it wrote.
fn run(command: &mut Command) -> String {
    // Nothing is left beside the sources.
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{written}\n{said}", output.status);
    written
}

#[test]
fn the_gateway_does_what_its_description_says() {
    let dir = folder();
    let (node, gateway) = start(dir.path());
    // What the examples of the description are about.
    let mut http = gateway.connect();
    assert_eq!(http.decide(&body(&payment("order-1", 1))).expect("an answer").0, 200);
    let create = json!({"operation": "create", "key_kind": "document"});
    assert_eq!(http.post("/v1/lists/vip/changes", &create, "").expect("an answer").0, 200);
    let (described, document) = description(dir.path(), &gateway);
    let sources = workspace_dir().join("tests/openapi");
    let mut schemathesis = Command::new(program("schemathesis", SCHEMATHESIS, "schemathesis"));
    // It keeps what it found where it runs.
    schemathesis.current_dir(dir.path()).env("PYTHONPATH", &sources);
    schemathesis.args(["--no-color", "--config-file"]).arg(sources.join("schemathesis.toml"));
    // From a file, because it leaves out the operation that it has the description from.
    schemathesis.arg("run").arg(described).args(["--url", &format!("http://{}", gateway.listen)]);
    let written = run(&mut schemathesis);
    let paths = document["paths"].as_object().expect("paths").values();
    let operations: usize = paths.map(|path| path.as_object().expect("operations").len()).sum();
    for said in
        [format!("{operations} selected / {operations} total"), format!("Tested: {operations}\n")]
    {
        assert!(written.contains(&said), "not {said:?}: {written}");
    }
    let said = gateway.stop();
    assert!(!said.contains("panic"), "{said}");
    node.stop();
}

#[test]
fn clients_that_generators_make_have_payments_decided() {
    let dir = folder();
    let (node, gateway) = start(dir.path());
    let url = format!("http://{}", gateway.listen);
    let sources = workspace_dir().join("tests/openapi");
    let (described, _) = description(dir.path(), &gateway);

    let python = |name| program("openapi-python-client", PYTHON_CLIENT, name);
    let made = dir.path().join("made");
    let mut generator = Command::new(python("openapi-python-client"));
    generator.args(["generate", "--meta", "none", "--path"]).arg(&described);
    run(generator.arg("--output-path").arg(&made));
    let mut client = Command::new(python("python"));
    let written = run(client.arg(sources.join("generated.py")).arg(dir.path()).arg(&url));
    assert!(written.contains("decided"), "{written}");

    let modules = tool("openapi-typescript", OPENAPI_TYPESCRIPT).join("node_modules");
    std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).expect("linked");
    let node_of = |script: &str| {
        let mut command = Command::new("node");
        command.current_dir(dir.path()).arg(modules.join(".bin").join(script));
        command
    };
    run(node_of("openapi-typescript").arg(&described).args(["-o", "made.d.ts"]));
    fs::copy(sources.join("generated.ts"), dir.path().join("generated.mts")).expect("copied");
    run(node_of("tsc").args(["--strict", "--skipLibCheck", "--target", "es2022"]).args([
        "--lib",
        "es2022,dom",
        "--module",
        "nodenext",
        "--moduleResolution",
        "nodenext",
        "generated.mts",
    ]));
    let mut client = Command::new("node");
    let written = run(client.current_dir(dir.path()).args(["generated.mjs", &url]));
    assert!(written.contains("decided"), "{written}");
    gateway.stop();
    node.stop();
}
