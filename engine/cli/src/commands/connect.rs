//! Options of commands that talk to a running node.

use catraca_node::fatal::Failure;
use catraca_tls::Authorities;
use catraca_wire::client::{Client, ClientOptions, Wanted};
use catraca_wire::frame::MAX_CLIENT_NAME_LEN;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the node is, and who asks.
#[derive(clap::Args, Debug)]
pub struct Connect {
    /// Address of the running node
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    pub addr: String,
    #[command(flatten)]
    pub credential: Credential,
}

/// Who asks.
#[derive(clap::Args, Debug, Default)]
pub struct Credential {
    /// File whose first line is the credential, where the node asks for one
    #[arg(long, value_name = "FILE")]
    pub credential_file: Option<PathBuf>,
    /// Connect over TLS, to a node by whom an authority of this file (PEM) vouches
    #[arg(long, value_name = "FILE")]
    pub tls_ca_file: Option<PathBuf>,
    /// Certificate that is shown to the node (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_ca_file", requires = "tls_key_file")]
    pub tls_certificate_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate_file")]
    pub tls_key_file: Option<PathBuf>,
}

impl Credential {
    /// Options for the node at this address.
    ///
    /// # Errors
    /// When the file can't be read; one sentence.
    pub fn options(&self, addr: &str) -> Result<ClientOptions, Failure> {
        let mut options = ClientOptions::new(addr);
        options.client_name = os_user();
        if let Some(path) = &self.credential_file {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::failed(format!("credential file {}: {e}", path.display())))?;
            options.credential = text.lines().next().unwrap_or("").trim().to_owned();
        }
        if let Some(ca) = &self.tls_ca_file {
            let own = self.tls_certificate_file.as_deref().zip(self.tls_key_file.as_deref());
            let authorities =
                Authorities::new(ca, own).map_err(|fault| Failure::failed(fault.to_string()))?;
            options.secure = Some(Arc::new(authorities));
        }
        // The node that was named, whatever it is: a command says something to it or about it.
        options.role = Wanted::Any;
        // Slow answers are normal here: a look-up reads the log.
        options.answer_timeout_ms = 60_000;
        Ok(options)
    }
}

/// Who runs this, for the audit trail: the user of the operating system.
fn os_user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let of_uid = |user: &Vec<&str>| user.get(2).and_then(|id| id.parse().ok()) == Some(uid);
    let name = fields.find(of_uid).map_or_else(String::new, |user| user[0].to_owned());
    let who = format!("catraca, uid {uid} {name}");
    let end = (0..=who.len().min(MAX_CLIENT_NAME_LEN)).rev().find(|&at| who.is_char_boundary(at));
    who[..end.unwrap_or(0)].trim().to_owned()
}

/// How long a policy's command waits: the node may read all of its log for the policy's windows.
const POLICY_TIMEOUT_MS: u64 = 6 * 3_600_000;

impl Connect {
    /// Connects, to wait for an answer for hours.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_patiently(&self) -> Result<Client, Failure> {
        let mut options = self.credential.options(&self.addr)?;
        options.answer_timeout_ms = POLICY_TIMEOUT_MS;
        Client::connect(options).map_err(|e| Failure::failed(format!("node at {}: {e}", self.addr)))
    }

    /// Connects.
    ///
    /// # Errors
    /// When the file can't be read or the node can't be reached; one sentence.
    pub fn connect(&self) -> Result<Client, Failure> {
        Client::connect(self.credential.options(&self.addr)?)
            .map_err(|e| Failure::failed(format!("node at {}: {e}", self.addr)))
    }
}
