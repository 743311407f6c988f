//! The settings of an intake of Kafka, in the layers of `catraca serve`: defaults, file, environment, flags.

use crate::commands::door::{authorities, check_nodes, check_range, wrong};
use crate::commands::intake::shared::{
    Nodes, REQUESTS_OF_EACH, Secret, Submitter, check_brokers, check_once, check_password,
    password, submitters, text_of_password,
};
use catraca_edge::intake::kafka::{Login, Secured, Setup};
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
/// The most topics: partitions, of which a topic has many, are what spreads the load.
const MAX_TOPICS: usize = 64;
/// The longest name of a topic, bytes, as Kafka has it; and of a group, which has no other bound.
const MAX_NAME_LEN: usize = 249;

/// How a password is told.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) enum Mechanism {
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "PLAIN")]
    Plain,
}

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
    /// `host:port` of some brokers.
    pub(super) brokers: Vec<String>,
    /// Authorities that vouch for the brokers, PEM; none where they are spoken to in clear.
    pub(super) broker_ca_file: Option<PathBuf>,
    /// Certificate that is shown to the brokers, and its private key, PEM.
    pub(super) broker_certificate_file: Option<PathBuf>,
    pub(super) broker_key_file: Option<PathBuf>,
    /// The brokers are spoken to in clear, elsewhere than on this machine too.
    pub(super) plain: bool,
    /// Who the intake is to the brokers.
    pub(super) user: Option<String>,
    /// Its password; from the environment.
    pub(super) password: Option<Secret>,
    /// File whose first line is the password.
    pub(super) password_file: Option<PathBuf>,
    /// How it is told.
    pub(super) sasl_mechanism: Mechanism,
    /// The topics.
    pub(super) topics: Vec<String>,
    /// For whom payments are decided, by their topic.
    pub(super) submitters: Vec<Submitter>,
    /// The consumer group.
    pub(super) group: String,
    /// The topic of replies.
    pub(super) reply_topic: String,
    /// The topic of records that nobody can decide on.
    pub(super) dead_letter_topic: String,
    /// Records that are taken and not answered.
    pub(super) max_in_flight: usize,
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
            brokers: vec!["127.0.0.1:9092".to_owned()],
            broker_ca_file: None,
            broker_certificate_file: None,
            broker_key_file: None,
            plain: false,
            user: None,
            password: None,
            password_file: None,
            sasl_mechanism: Mechanism::ScramSha512,
            topics: Vec::new(),
            submitters: Vec::new(),
            group: "catraca".to_owned(),
            reply_topic: String::new(),
            dead_letter_topic: String::new(),
            // What a node answers in some tens of milliseconds, and brokers confirm in some more.
            max_in_flight: 4_096,
            timeout_ms: u64::from(MAX_BUDGET_US / 1_000),
            log_level: "info".to_owned(),
            metrics_listen: None,
        }
    }
}

/// That a name may be a topic's.
fn check_topic(what: &str, name: &str) -> Result<(), Failure> {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() {
        return Err(wrong(format!("{what} is missing")));
    }
    // What Kafka itself takes. With a `^` the client would take it for a pattern, and consume whatever there is.
    if name.len() > MAX_NAME_LEN || !name.bytes().all(is_sound) || [".", ".."].contains(&name) {
        return Err(wrong(format!(
            "{what} is {name:?}: a topic has letters, digits, '.', '_' and '-', at most {MAX_NAME_LEN}"
        )));
    }
    Ok(())
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
        check_range("the number of topics", self.topics.len(), MAX_TOPICS)?;
        check_range("timeout_ms", self.timeout_ms as usize, MAX_BUDGET_US as usize / 1_000)?;
        let most = MAX_IN_FLIGHT as usize / REQUESTS_OF_EACH;
        check_range("max_in_flight", self.max_in_flight, most)?;
        check_range("the length of group", self.group.len(), MAX_NAME_LEN)?;
        for topic in &self.topics {
            check_topic("a topic", topic)?;
        }
        check_once("topic", &self.topics)?;
        self.submitters()?;
        let others =
            [("reply_topic", &self.reply_topic), ("dead_letter_topic", &self.dead_letter_topic)];
        for (what, topic) in others {
            check_topic(what, topic)?;
            // It would take its own replies for payments, for ever.
            if self.topics.contains(topic) {
                return Err(wrong(format!("{what} is {topic:?}, out of which payments are taken")));
            }
        }
        if self.reply_topic == self.dead_letter_topic {
            return Err(wrong("reply_topic and dead_letter_topic are one topic: give two"));
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        if self.user.is_some() != has_password {
            return Err(wrong("user and its password: both or none"));
        }
        Ok(())
    }

    fn submitters(&self) -> Result<Submitters, Failure> {
        submitters("topic", &self.submitters, &self.topics)
    }

    /// What the intake runs with.
    ///
    /// # Errors
    /// [`Status::Config`](catraca_node::fatal::Status::Config) where a file can't be read; it names the file.
    pub(super) fn options(&self) -> Result<(Setup, Options), Failure> {
        let password = password(self.password.as_ref(), self.password_file.as_deref())?;
        let mechanism = match self.sasl_mechanism {
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
        };
        let login = self.user.clone().zip(password);
        let own = self.broker_certificate_file.clone().zip(self.broker_key_file.clone());
        let secured = self.broker_ca_file.clone().map(|ca_file| Secured { ca_file, own });
        // The library reads them at the start only, and says what is wrong without the name.
        let own = [self.broker_certificate_file.as_deref(), self.broker_key_file.as_deref()];
        authorities("broker", self.broker_ca_file.as_deref(), own)?;
        let setup = Setup {
            brokers: self.brokers.clone(),
            secured,
            login: login.map(|(user, password)| Login { user, password, mechanism }),
            topics: self.topics.clone(),
            submitters: self.submitters()?,
            group: self.group.clone(),
            reply_topic: self.reply_topic.clone(),
            dead_letter_topic: self.dead_letter_topic.clone(),
            max_in_flight: self.max_in_flight,
        };
        let nodes = Nodes {
            nodes: &self.nodes,
            credential_file: self.credential_file.as_deref(),
            ca_file: self.node_ca_file.as_deref(),
            own: [self.node_certificate_file.as_deref(), self.node_key_file.as_deref()],
            connections: self.connections,
        };
        let timeout = Duration::from_millis(self.timeout_ms);
        let link = nodes.link(self.max_in_flight)?;
        Ok((setup, Options { timeout, link, metrics_listen: self.metrics_listen }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_node::fatal::Status;

    const LEAST: &str = "topics = ['t']\nreply_topic = 'r'\ndead_letter_topic = 'd'\n";

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
                ("CATRACA_INTAKE_TOPICS", "['a', 'b']"),
            ],
            "timeout_ms = 700\nuser = 'u'\nreply_topic = 'r'\ndead_letter_topic = 'd'",
        )
        .expect("valid");
        let (setup, options) = config.options().expect("no file");
        assert_eq!(options.timeout, Duration::from_millis(700));
        assert_eq!(setup.topics, ["a", "b"]);
        assert_eq!(options.link.max_in_flight, 8_192);
        let login = setup.login.as_ref().expect("a user");
        assert_eq!((login.password.as_str(), login.mechanism), ("12345", "SCRAM-SHA-512"));
        assert!(!format!("{config:?}{setup:?}{options:?}").contains("12345"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (keys, expected) in [
            ("topics = []", "number of topics is 0"),
            ("topics = ['t', 't']", "given twice"),
            ("topics = ['']", "a topic is missing"),
            ("topics = ['^pay.*']", "a topic has letters"),
            ("reply_topic = ''", "reply_topic is missing"),
            ("reply_topic = 't'", "out of which payments are taken"),
            ("dead_letter_topic = 't'", "out of which payments are taken"),
            ("dead_letter_topic = 'a b'", "a topic has letters"),
            ("group = ''", "length of group is 0"),
            ("max_in_flight = 0", "max_in_flight is 0"),
            ("max_in_flight = 40000", "max_in_flight is 40000"),
            ("timeout_ms = 2001", "timeout_ms is 2001"),
            ("submitters = [{ source = 'x', name = 'mar' }]", "there is no such topic"),
            ("submitters = [{ source = 't', name = '' }]", "its name has 1 to 16"),
            (
                "submitters = [{ source = 't', name = 'a' }, { source = 't', name = 'b' }]",
                "given twice",
            ),
            (
                "topics = ['t', 'u']\nsubmitters = [{ source = 't', name = 'a' }]",
                "\"u\" has no submitter",
            ),
            ("dead_letter_topic = 'r'", "one topic"),
            ("reply_topic = '..'", "a topic has letters"),
            ("sasl_mechanism = 'OAUTHBEARER'", "OAUTHBEARER"),
            ("user = 'u'", "both or none"),
            ("password = 'secret'", "both or none"),
            ("brokers = ['k:9092']", "there is no TLS"),
            ("plain = true\nbroker_ca_file = 'c'", "one of them"),
            ("queues = ['q']", "unknown field `queues`"),
        ] {
            let key = keys.split(' ').next().unwrap_or_default();
            let rest: String = LEAST
                .lines()
                .filter(|line| !line.starts_with(key))
                .fold(String::new(), |rest, line| rest + line + "\n");
            let failure = load(&[], &format!("{rest}{keys}")).expect_err(keys);
            assert_eq!(failure.status, Status::Config);
            assert!(failure.message.contains(expected), "{keys}: {}", failure.message);
            assert!(!failure.message.contains("secret"), "{}", failure.message);
        }
        for (keys, expected) in [
            ("broker_ca_file = '/does/not/exist'", "/does/not/exist"),
            ("broker_ca_file = '/'", "/"),
            ("broker_ca_file = 'Cargo.toml'", "Cargo.toml"),
            ("broker_key_file = 'k'", "both or none"),
            ("broker_key_file = 'k'\nbroker_certificate_file = 'c'", "no broker_ca_file"),
            ("user = 'u'\npassword_file = '/does/not/exist'", "/does/not/exist"),
            ("credential_file = '/does/not/exist'", "/does/not/exist"),
        ] {
            let config = load(&[], &format!("{LEAST}{keys}")).expect("read later");
            let failure = config.options().expect_err(keys);
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
    }
}
