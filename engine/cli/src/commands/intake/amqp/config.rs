//! The settings of an intake of RabbitMQ, in the layers of `catraca serve`: defaults, file, environment, flags.

use crate::commands::door::{authorities, check_nodes, check_range, wrong};
use crate::commands::intake::shared::{
    Nodes, REQUESTS_OF_EACH, Secret, Submitter, broker, check_brokers, check_once, check_password,
    password, submitters, text_of_password,
};
use catraca_edge::intake::amqp::{Route, Setup};
use catraca_edge::intake::{Options, Submitters};
use catraca_node::config::layers;
use catraca_node::fatal::Failure;
use catraca_wire::client::MAX_IN_FLIGHT;
use catraca_wire::frame::MAX_BUDGET_US;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Table;

/// What the names of settings in the environment begin with.
const ENVIRONMENT_PREFIX: &str = "CATRACA_INTAKE_";
/// The most queues: each has a channel, of which a broker gives 2,047.
const MAX_QUEUES: usize = 256;
/// The longest name of a queue, an exchange or a key, bytes: a short string of AMQP.
const MAX_NAME_LEN: usize = 255;
/// The settings, each by its name in the file, the environment and its flag.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
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
    /// `host:port` of each broker.
    pub(super) brokers: Vec<String>,
    /// Authorities that vouch for the broker, PEM; none where it is spoken to in clear.
    pub(super) broker_ca_file: Option<PathBuf>,
    /// Certificate that is shown to the broker, and its private key, PEM.
    pub(super) broker_certificate_file: Option<PathBuf>,
    pub(super) broker_key_file: Option<PathBuf>,
    /// The broker is spoken to in clear, elsewhere than on this machine too.
    pub(super) plain: bool,
    /// The virtual host.
    pub(super) vhost: String,
    /// Who the intake is to the broker.
    pub(super) user: String,
    /// Its password; from the environment.
    pub(super) password: Option<Secret>,
    /// File whose first line is the password.
    pub(super) password_file: Option<PathBuf>,
    /// The queues.
    pub(super) queues: Vec<String>,
    /// For whom payments are decided, by their queue.
    pub(super) submitters: Vec<Submitter>,
    /// Unacknowledged messages of each queue.
    pub(super) prefetch: u16,
    /// Where replies go that name no queue.
    pub(super) reply_exchange: String,
    pub(super) reply_key: String,
    /// Where messages go that nobody can decide on.
    pub(super) dead_letter_exchange: String,
    pub(super) dead_letter_key: String,
    /// The longest budget of a payment, milliseconds.
    pub(super) timeout_ms: u64,
    /// Level of the program's own log.
    pub(super) log_level: String,
    /// Where metrics and health are.
    pub(super) metrics_listen: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:7400".to_owned()],
            credential_file: None,
            node_ca_file: None,
            node_certificate_file: None,
            node_key_file: None,
            connections: 2,
            brokers: vec!["127.0.0.1:5672".to_owned()],
            broker_ca_file: None,
            broker_certificate_file: None,
            broker_key_file: None,
            plain: false,
            vhost: "/".to_owned(),
            user: "guest".to_owned(),
            password: None,
            password_file: None,
            queues: Vec::new(),
            submitters: Vec::new(),
            // What a node answers in some tens of milliseconds, and a broker confirms in a few syncs of its disk.
            prefetch: 1_024,
            reply_exchange: String::new(),
            reply_key: String::new(),
            dead_letter_exchange: String::new(),
            dead_letter_key: String::new(),
            timeout_ms: u64::from(MAX_BUDGET_US / 1_000),
            log_level: "info".to_owned(),
            metrics_listen: None,
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
        let environment = text_of_password(ENVIRONMENT_PREFIX, environment);
        let config: Self = layers::read(file, ENVIRONMENT_PREFIX, environment, flags)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Failure> {
        check_nodes(&self.nodes, self.connections)?;
        check_brokers(&self.brokers, self.broker_ca_file.is_some(), self.plain)?;
        check_password(self.password.as_ref(), self.password_file.as_deref())?;
        check_range("the number of queues", self.queues.len(), MAX_QUEUES)?;
        check_range("timeout_ms", self.timeout_ms as usize, MAX_BUDGET_US as usize / 1_000)?;
        check_range("prefetch", self.prefetch.into(), u16::MAX.into())?;
        let most = MAX_IN_FLIGHT as usize / REQUESTS_OF_EACH;
        check_range("prefetch times the number of queues", self.in_hand(), most)?;
        check_once("queue", &self.queues)?;
        self.submitters()?;
        let routes = [&self.reply_exchange, &self.reply_key];
        let routes = [routes, [&self.dead_letter_exchange, &self.dead_letter_key]].concat();
        if self.queues.iter().chain(routes.iter().copied()).any(|name| name.len() > MAX_NAME_LEN) {
            return Err(wrong(format!(
                "a name of a queue or an exchange, and a key, has at most {MAX_NAME_LEN} bytes"
            )));
        }
        if self.queues.iter().any(String::is_empty) {
            return Err(wrong("a queue has a name"));
        }
        for (what, exchange, key) in [
            ("reply", &self.reply_exchange, &self.reply_key),
            ("dead_letter", &self.dead_letter_exchange, &self.dead_letter_key),
        ] {
            if exchange.is_empty() && key.is_empty() {
                return Err(wrong(format!(
                    "{what}_key is missing: with the default exchange it is the queue that they go to"
                )));
            }
            // It would take its own replies for payments, for ever.
            if exchange.is_empty() && self.queues.contains(key) {
                return Err(wrong(format!(
                    "{what}_key is {key:?}, out of which payments are taken"
                )));
            }
        }
        Ok(())
    }

    /// Messages that are taken and not answered, at most.
    fn in_hand(&self) -> usize {
        usize::from(self.prefetch) * self.queues.len()
    }

    fn submitters(&self) -> Result<Submitters, Failure> {
        submitters("queue", &self.submitters, &self.queues)
    }

    /// What the intake runs with.
    ///
    /// # Errors
    /// [`Status::Config`](catraca_node::fatal::Status::Config) where a file can't be read; it names the file.
    pub(super) fn options(&self) -> Result<(Setup, Options), Failure> {
        let password = password(self.password.as_ref(), self.password_file.as_deref())?;
        let route = |exchange: &String, key: &String| Route {
            exchange: exchange.clone(),
            key: key.clone(),
        };
        let setup = Setup {
            brokers: self.brokers.iter().map(|text| broker(text)).collect::<Result<_, _>>()?,
            vhost: self.vhost.clone(),
            user: self.user.clone(),
            // What RabbitMQ has, for this machine only.
            password: password.unwrap_or_else(|| "guest".to_owned()),
            authorities: authorities(
                "broker",
                self.broker_ca_file.as_deref(),
                [self.broker_certificate_file.as_deref(), self.broker_key_file.as_deref()],
            )?,
            queues: self.queues.clone(),
            submitters: self.submitters()?,
            prefetch: self.prefetch,
            reply: route(&self.reply_exchange, &self.reply_key),
            dead_letter: route(&self.dead_letter_exchange, &self.dead_letter_key),
        };
        let nodes = Nodes {
            nodes: &self.nodes,
            credential_file: self.credential_file.as_deref(),
            ca_file: self.node_ca_file.as_deref(),
            own: [self.node_certificate_file.as_deref(), self.node_key_file.as_deref()],
            connections: self.connections,
        };
        let timeout = Duration::from_millis(self.timeout_ms);
        let link = nodes.link(self.in_hand())?;
        Ok((setup, Options { timeout, link, metrics_listen: self.metrics_listen }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_node::fatal::Status;

    const LEAST: &str = "queues = ['q']\nreply_key = 'r'\ndead_letter_key = 'd'\n";

    fn load(environment: &[(&str, &str)], flags: &str) -> Result<Config, Failure> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(None, environment, flags.parse().expect("flags are TOML"))
    }

    #[test]
    fn later_layers_win_and_a_password_is_text() {
        let config = load(
            &[
                ("CATRACA_INTAKE_TIMEOUT_MS", "500"),
                ("CATRACA_INTAKE_PASSWORD", "12345"),
                ("CATRACA_INTAKE_QUEUES", "['a', 'b']"),
                ("CATRACA_GATEWAY_LISTEN", "is another program's"),
            ],
            "timeout_ms = 700\nreply_key = 'r'\ndead_letter_exchange = 'dlx'\nbrokers = ['[::1]:5673']",
        )
        .expect("valid");
        assert!(!format!("{config:?}").contains("12345"));
        let (setup, options) = config.options().expect("no file");
        assert_eq!(options.timeout, Duration::from_millis(700));
        assert_eq!((setup.password.as_str(), setup.queues.len()), ("12345", 2));
        assert_eq!(setup.brokers, [("::1".to_owned(), 5_673)]);
        assert_eq!(options.link.max_in_flight, 4_096);
        assert!(!format!("{setup:?}{options:?}").contains("12345"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (keys, expected) in [
            ("queues = []", "number of queues is 0"),
            ("queues = ['q', 'q']", "given twice"),
            ("queues = ['']", "has a name"),
            ("reply_key = ''", "reply_key is missing"),
            ("dead_letter_key = ''", "dead_letter_key is missing"),
            ("reply_key = 'q'", "out of which payments are taken"),
            ("dead_letter_key = 'q'", "out of which payments are taken"),
            ("prefetch = 0", "prefetch is 0"),
            ("prefetch = 40000", "times the number of queues is 40000"),
            ("timeout_ms = 2001", "timeout_ms is 2001"),
            ("submitters = [{ source = 'x', name = 'mar' }]", "there is no such queue"),
            ("submitters = [{ source = 'q', name = '' }]", "its name has 1 to 16"),
            (
                "submitters = [{ source = 'q', name = 'a' }, { source = 'q', name = 'b' }]",
                "given twice",
            ),
            (
                "queues = ['q', 'u']\nsubmitters = [{ source = 'q', name = 'a' }]",
                "\"u\" has no submitter",
            ),
            ("nodes = ['a']", "node \"a\""),
            ("brokers = []", "number of brokers is 0"),
            ("brokers = ['amqp://u:secret@mq:5672']", "a broker is host:port"),
            ("brokers = ['10.0.0.1:5672']", "there is no TLS"),
            ("brokers = ['mq:5672']", "there is no TLS"),
            ("plain = true\nbroker_ca_file = 'c'", "one of them"),
            ("password = 'secret'\npassword_file = 'p'", "one of them"),
            ("url = 'amqp://u:secret@mq'", "unknown field `url`"),
        ] {
            let key = keys.split(' ').next().unwrap_or_default();
            let rest: String = LEAST
                .lines()
                .filter(|line| !line.starts_with(key))
                .fold(String::new(), |rest, line| rest + line + "\n");
            let failure = load(&[], &format!("{rest}{keys}")).expect_err(keys);
            assert_eq!(failure.status, Status::Config);
            assert!(failure.message.contains(expected), "{}", failure.message);
            assert!(!failure.message.contains("secret"), "{}", failure.message);
        }
        for plain in ["plain = true\nbrokers = ['mq:5672']", "brokers = ['localhost:5672']"] {
            assert!(load(&[], &format!("{LEAST}{plain}")).expect("sound").options().is_ok());
        }
        for (keys, expected) in [
            ("broker_ca_file = '/does/not/exist'", "/does/not/exist"),
            ("password_file = '/does/not/exist'", "/does/not/exist"),
            ("credential_file = '/does/not/exist'", "/does/not/exist"),
            ("node_key_file = 'k'", "both or none"),
            ("broker_certificate_file = 'c'", "broker_certificate_file and broker_key_file"),
            ("broker_certificate_file = 'c'\nbroker_key_file = 'k'", "no broker_ca_file"),
        ] {
            let config = load(&[], &format!("{LEAST}{keys}")).expect("read later");
            let failure = config.options().expect_err(keys);
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
    }
}
