//! A real issuer of access tokens: npm's `oidc-provider`, which scripts/setup.sh installs.

use crate::binary::{self, workspace_dir};
use crate::gateway::tcp;
use crate::node::Process;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;

/// The version that scripts/setup.sh installs.
const VERSION: &str = "9.13.3";

/// An issuer with the clients `bank`, whose tokens anybody may use, and `bound`, whose tokens are bound to the
/// certificate that is shown when one is asked for.
pub struct Issuer {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
}

impl Issuer {
    /// Starts one whose key has this name.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(address: SocketAddr, kid: &str) -> Self {
        let mut node = Command::new("node");
        node.arg(workspace_dir().join("tests/oidc/provider.mjs"))
            .arg(binary::tool("oidc-provider", VERSION));
        node.args([&address.port().to_string(), kid]);
        let mut process = Process::spawn(&mut node);
        while tcp(address).is_err() {
            assert!(!process.has_ended(), "{}", process.stderr());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Self { address, process }
    }

    /// What tokens call it.
    pub fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A new token with this scope; `certificate`, PEM, is what a proxy would say of the connection.
    ///
    /// # Panics
    /// When it gives none.
    pub fn token(&self, client: &str, scope: &str, certificate: Option<&str>) -> String {
        let scope = scope.replace(' ', "+").replace(':', "%3A");
        let body = format!(
            "grant_type=client_credentials&client_id={client}&client_secret=of-the-test&scope={scope}"
        );
        let base64 =
            |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let shown = certificate.map(|pem| format!("X-Certificate: {}\r\n", base64(pem)));
        let head = format!(
            "POST /token HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n{}\r\n",
            self.address,
            body.len(),
            shown.unwrap_or_default()
        );
        let mut stream = tcp(self.address).expect("it listens");
        stream.write_all((head + &body).as_bytes()).expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let json = answer.find("{").map(|start| &answer[start..]).unwrap_or_default();
        let end = json.rfind('}').map_or(0, |end| end + 1);
        let answer: Value =
            serde_json::from_str(&json[..end]).unwrap_or_else(|_| panic!("{answer}"));
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// It is down from now on.
    pub fn stop(mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        self.process.wait();
    }
}
