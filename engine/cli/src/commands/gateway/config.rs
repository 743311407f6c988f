//! The settings of a gateway, in the layers of `catraca serve`: defaults, file, environment, flags.

use super::clients::ClientEntry;
use crate::commands::door::{authorities, check_nodes, check_range, secret, wrong};
use catraca_edge::Options;
use catraca_edge::auth::{Clients, Expected, Source, issuer};
use catraca_edge::receipt::Receipts;
use catraca_node::config::layers;
use catraca_node::fatal::Failure;
use catraca_tls::proxied::Networks;
use catraca_tls::{Files, Tls};
use catraca_wire::client::MAX_IN_FLIGHT;
use catraca_wire::frame::MAX_BUDGET_US;
use serde::Deserialize;
use std::fmt::Display;
use std::iter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Table;

/// What the names of settings in the environment begin with.
const ENVIRONMENT_PREFIX: &str = "CATRACA_GATEWAY_";
/// How long a token may be good, seconds: a minute at least, and a day at most, because none can be taken back.
const LEAST_LIFETIME_S: usize = 60;
const MOST_LIFETIME_S: usize = 86_400;
/// The most clients: each API key that is shown is compared with all of theirs.
const MAX_CLIENTS: usize = 1_024;

/// The settings, each by its name in the file, the environment and its flag.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// Where HTTP is served.
    pub(super) listen: SocketAddr,
    /// `host:port` of each node.
    pub(super) nodes: Vec<String>,
    /// File whose first line is the credential.
    pub(super) credential_file: Option<PathBuf>,
    /// Authorities that vouch for the nodes, PEM; none where they are spoken to in clear.
    pub(super) node_ca_file: Option<PathBuf>,
    /// Certificate that is shown to the nodes, and its private key, PEM.
    pub(super) node_certificate_file: Option<PathBuf>,
    pub(super) node_key_file: Option<PathBuf>,
    /// Connections to the primary.
    pub(super) connections: usize,
    /// Requests that wait for their answers at once.
    pub(super) max_in_flight: usize,
    /// The longest budget of a payment, milliseconds.
    pub(super) timeout_ms: u64,
    /// Level of the program's own log.
    pub(super) log_level: String,
    /// Where metrics are.
    pub(super) metrics_listen: Option<SocketAddr>,
    /// Clients are spoken to in clear, elsewhere than on this machine too.
    pub(super) plain: bool,
    /// Addresses and networks of load balancers, whose PROXY headers are believed.
    pub(super) proxy_from: Vec<String>,
    /// The gateway's certificate, PEM.
    pub(super) tls_certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    pub(super) tls_key_file: Option<PathBuf>,
    /// Authorities of clients' certificates, PEM.
    pub(super) tls_client_ca_file: Option<PathBuf>,
    /// Whose access tokens are taken.
    pub(super) oauth_issuer: Option<String>,
    /// What they must be for.
    pub(super) oauth_audience: Option<String>,
    /// Where the issuer has its keys.
    pub(super) oauth_jwks_url: Option<String>,
    /// Authorities that are trusted for that, PEM.
    pub(super) oauth_ca_file: Option<PathBuf>,
    /// The longest time until a token ends, seconds.
    pub(super) oauth_max_lifetime_s: u64,
    /// Private key of receipts, RSA in PEM; none where there are no receipts.
    pub(super) receipt_key_file: Option<PathBuf>,
    /// Public keys, PEM, whose receipts are still to be checked.
    pub(super) receipt_old_key_files: Vec<PathBuf>,
    /// Who signs them: `iss`.
    pub(super) receipt_issuer: String,
    /// Who may come in.
    pub(super) clients: Vec<ClientEntry>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            nodes: vec!["127.0.0.1:7400".to_owned()],
            credential_file: None,
            node_ca_file: None,
            node_certificate_file: None,
            node_key_file: None,
            connections: 2,
            // Twice what two connections carry by a node's default, so that a burst waits and is not
            // refused.
            max_in_flight: 4_096,
            timeout_ms: u64::from(MAX_BUDGET_US / 1_000),
            log_level: "info".to_owned(),
            metrics_listen: None,
            plain: false,
            proxy_from: Vec::new(),
            tls_certificate_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            oauth_issuer: None,
            oauth_audience: None,
            oauth_jwks_url: None,
            oauth_ca_file: None,
            oauth_max_lifetime_s: 3_600,
            receipt_key_file: None,
            receipt_old_key_files: Vec::new(),
            receipt_issuer: "catraca".to_owned(),
            clients: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the layers. `flags` are what the command line sets, by key.
    ///
    /// # Errors
    /// [`Status::Config`](catraca_node::fatal::Status::Config), naming the file, line and key.
    pub(super) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: Table,
    ) -> Result<Self, Failure> {
        let config: Self = layers::read(file, ENVIRONMENT_PREFIX, environment, flags)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Failure> {
        // Fail closed: whoever reaches it may decide on payments in the name of this gateway.
        if !self.listen.ip().is_loopback() && self.clients.is_empty() {
            return Err(wrong(format!(
                "listen is {}, and clients are not authenticated: without [[clients]] a gateway listens on this machine only",
                self.listen
            )));
        }
        if !self.listen.ip().is_loopback() && self.tls_certificate_file.is_none() && !self.plain {
            return Err(wrong(format!(
                "listen is {}, and there is no TLS: give tls_certificate_file and tls_key_file; or say plain = true, where a \
                 proxy on a private network does it",
                self.listen
            )));
        }
        if self.tls_certificate_file.is_some() && self.plain {
            return Err(wrong("plain = true, and there is a certificate: one of them"));
        }
        self.check_together()?;
        self.proxies()?;
        let lifetime = usize::try_from(self.oauth_max_lifetime_s).unwrap_or(usize::MAX);
        check_range("oauth_max_lifetime_s", lifetime, MOST_LIFETIME_S)?;
        if lifetime < LEAST_LIFETIME_S {
            return Err(wrong("oauth_max_lifetime_s: it must be at least 60"));
        }
        if self.clients.len() > MAX_CLIENTS {
            return Err(wrong(format!("there are more than {MAX_CLIENTS} clients")));
        }
        check_range("max_in_flight", self.max_in_flight, MAX_IN_FLIGHT as usize)?;
        let timeout_ms = usize::try_from(self.timeout_ms).unwrap_or(usize::MAX);
        check_range("timeout_ms", timeout_ms, MAX_BUDGET_US as usize / 1_000)?;
        check_nodes(&self.nodes, self.connections)
    }

    /// Keys that mean nothing without each other.
    fn check_together(&self) -> Result<(), Failure> {
        let tls = [&self.tls_certificate_file, &self.tls_key_file];
        if tls[0].is_some() != tls[1].is_some() {
            return Err(wrong("tls_certificate_file and tls_key_file: both or none"));
        }
        if self.tls_client_ca_file.is_some() && tls[0].is_none() {
            return Err(wrong("tls_client_ca_file, and there is no tls_certificate_file"));
        }
        let oauth = [&self.oauth_issuer, &self.oauth_audience, &self.oauth_jwks_url];
        let given = oauth.iter().filter(|key| key.is_some()).count();
        if !matches!(given, 0 | 3) || oauth.iter().any(|key| key.as_deref() == Some("")) {
            return Err(wrong("oauth_issuer, oauth_audience and oauth_jwks_url: all or none"));
        }
        if self.oauth_ca_file.is_some() && given == 0 {
            return Err(wrong("oauth_ca_file, and there is no oauth_issuer"));
        }
        if given > 0 && self.clients.is_empty() {
            return Err(wrong(
                "oauth_issuer, and there are no [[clients]]: a client that is not named is refused",
            ));
        }
        if self.receipt_key_file.is_none() && !self.receipt_old_key_files.is_empty() {
            return Err(wrong("receipt_old_key_files, and there is no receipt_key_file"));
        }
        let wants_certificate = |client: &&ClientEntry| client.certificate_sha256.is_some();
        if let Some(client) = self.clients.iter().find(wants_certificate)
            && self.tls_client_ca_file.is_none()
        {
            return Err(wrong(format!(
                "client {:?}: certificate_sha256, and there is no tls_client_ca_file",
                client.id
            )));
        }
        Ok(())
    }

    /// Whose PROXY headers are believed.
    fn proxies(&self) -> Result<Networks, Failure> {
        Networks::parse(&self.proxy_from).map_err(|fault| wrong(format!("proxy_from: {fault}")))
    }

    fn issuer(&self) -> Result<Option<(Source, Expected)>, Failure> {
        let said = [&self.oauth_issuer, &self.oauth_audience, &self.oauth_jwks_url];
        let said = said.map(Option::as_deref);
        issuer(said, self.oauth_ca_file.as_deref(), self.oauth_max_lifetime_s)
            .map_err(|fault| wrong(format!("oauth_jwks_url: {fault}")))
    }

    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate_file, &self.tls_key_file)
        else {
            return Ok(None);
        };
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: self.tls_client_ca_file.clone(),
            protocol: Some(b"http/1.1"),
        };
        Tls::new(files).map(Some).map_err(|fault| wrong(fault.to_string()))
    }

    /// What signs receipts.
    fn receipts(&self) -> Result<Option<Receipts>, Failure> {
        let Some(private) = &self.receipt_key_file else { return Ok(None) };
        let files: Vec<&PathBuf> = iter::once(private).chain(&self.receipt_old_key_files).collect();
        let of = |number: usize, why: &dyn Display| {
            wrong(format!("key of receipts, {}: {why}", files[number].display()))
        };
        let read = |(number, path): (usize, &&PathBuf)| {
            std::fs::read(path).map_err(|error| of(number, &error))
        };
        let keys = files.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let receipts = Receipts::new(self.receipt_issuer.clone(), &keys[0], &keys[1..]);
        receipts.map(Some).map_err(|(number, fault)| of(number, &fault))
    }

    /// What the gateway runs with.
    ///
    /// # Errors
    /// [`Status::Config`](catraca_node::fatal::Status::Config) where a file can't be read; it names the file.
    pub(super) fn options(&self) -> Result<Options, Failure> {
        let credential = self.credential_file.as_ref();
        let credential = credential.map(|path| secret("credential file", path)).transpose()?;
        let own = [self.node_certificate_file.as_deref(), self.node_key_file.as_deref()];
        let authorities = authorities("node", self.node_ca_file.as_deref(), own)?;
        let issuer = self.issuer()?;
        let clients = self.clients.iter().map(ClientEntry::client).collect::<Result<_, _>>()?;
        let clients = Clients::new(clients, issuer.is_some());
        Ok(Options {
            clients: clients.map_err(|fault| wrong(fault.to_string()))?,
            issuer,
            proxy_from: self.proxies()?,
            tls: self.tls()?,
            receipts: self.receipts()?,
            metrics_listen: self.metrics_listen,
            listen: self.listen,
            nodes: self.nodes.clone(),
            credential: credential.unwrap_or_default(),
            authorities,
            connections: self.connections,
            max_in_flight: self.max_in_flight,
            timeout: Duration::from_millis(self.timeout_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_node::fatal::Status;

    fn load(environment: &[(&str, &str)], flags: &str) -> Result<Config, Failure> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(None, environment, flags.parse().expect("flags are TOML"))
    }

    #[test]
    fn later_layers_win() {
        let config = load(
            &[
                ("CATRACA_GATEWAY_TIMEOUT_MS", "500"),
                ("CATRACA_GATEWAY_NODES", "['a:1', 'b:2']"),
                ("CATRACA_GATEWAY_LISTEN", "[::1]:9"),
                ("CATRACA_LISTEN", "is another program's"),
            ],
            "timeout_ms = 700",
        )
        .expect("valid");
        assert_eq!((config.timeout_ms, config.nodes.len(), config.listen.port()), (700, 2, 9));
        assert_eq!(config.options().expect("no file").timeout, Duration::from_millis(700));
    }

    #[test]
    fn what_is_wrong_is_named_and_nobody_else_is_let_in() {
        for (environment, flags, expected) in [
            (vec![], "listen = '0.0.0.0:8080'", "not authenticated: without"),
            (vec![], "listen = '10.0.0.1:8080'", "not authenticated: without"),
            (vec![], "listen = '[::]:8080'", "not authenticated: without"),
            (vec![], "nodes = []", "number of nodes is 0"),
            (vec![], "nodes = ['a']", "node \"a\""),
            (vec![], "connections = 0", "connections is 0"),
            (vec![], "max_in_flight = 65537", "max_in_flight is 65537"),
            (vec![], "timeout_ms = 2001", "timeout_ms is 2001"),
            (vec![], "proxy_from = ['10.0.0.0/33']", "proxy_from: \"10.0.0.0/33\""),
            (vec![("CATRACA_GATEWAY_PROXY_FROM", "['0.0.0.0/0']")], "", "everybody"),
            (vec![("CATRACA_GATEWAY_NODE", "a:1")], "", "unknown field `node`"),
            (vec![("CATRACA_GATEWAY_LISTEN", "8080")], "", "CATRACA_GATEWAY_LISTEN"),
        ] {
            let failure = load(&environment, flags).expect_err(flags);
            assert_eq!(failure.status, Status::Config);
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
        let client = "[[clients]]\nid = 'bank'\nname = 'bank'\npermissions = ['decisions:write']\n";
        let key = format!("api_key_sha256 = '{}'\n", "ab".repeat(32));
        let oauth = "oauth_issuer = 'https://i'\noauth_audience = 'a'\n";
        let jwks = "oauth_jwks_url = 'https://i/jwks'\n";
        for (keys, client, expected) in [
            ("listen = '10.0.0.1:1'", key.as_str(), "there is no TLS"),
            ("plain = true\ntls_certificate_file = 'c'", &key, "one of them"),
            ("tls_certificate_file = 'c'", &key, "both or none"),
            ("tls_client_ca_file = 'c'", &key, "no tls_certificate_file"),
            (oauth, &key, "all or none"),
            ("oauth_ca_file = 'c'", &key, "no oauth_issuer"),
            ("oauth_max_lifetime_s = 59", &key, "at least 60"),
            ("", &format!("certificate_sha256 = '{}'", "ab".repeat(32)), "no tls_client_ca_file"),
        ] {
            let failure = load(
                &[],
                &format!(
                    "{keys}\n[[clients]]\nid = 'bank'\nname = 'bank'\npermissions = []\n{client}"
                ),
            );
            let failure = failure.expect_err(expected);
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
        let failure = load(&[], &format!("{oauth}{jwks}")).expect_err("nobody could come");
        assert!(failure.message.contains("no [[clients]]"), "{}", failure.message);
        let load = |keys: &str, more: &str| load(&[], &format!("{keys}\n{client}{more}"));
        for (more, expected) in [
            ("", "no oauth_issuer"),
            ("api_key = 'secret'", "and not the key"),
            ("api_key_sha256 = 'secret'", "64 hexadecimal digits"),
            ("api_key_sha256_file = '/does/not/exist'", "/does/not/exist"),
            ("decisions_per_second = 0", "decisions_per_second"),
            ("concurrent = 2000000", "concurrent"),
        ] {
            let failure = load("", more).expect("read later").options().expect_err(expected);
            assert!(failure.message.contains(expected), "{}", failure.message);
            assert!(!failure.message.contains("secret"), "{}", failure.message);
        }
        for plain in ["plain = true\nlisten = '0.0.0.0:1'", "listen = '127.0.0.1:1'"] {
            let options = load(plain, &key).expect("sound").options().expect("sound");
            assert!(options.clients.all().len() == 1 && options.tls.is_none());
        }
        let missing =
            Config { credential_file: Some("/does/not/exist".into()), ..Config::default() };
        assert!(missing.options().is_err());
    }
}
