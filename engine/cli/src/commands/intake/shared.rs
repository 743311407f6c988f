//! What the intakes have in common: how nodes and a broker are named, and what keeps a password.

use crate::commands::door::{authorities, check_range, secret, wrong};
use catraca_edge::caller::client_name;
use catraca_edge::intake::Submitters;
use catraca_edge::link::Setup as LinkSetup;
use catraca_node::fatal::Failure;
use catraca_wire::address::host_and_port;
use catraca_wire::frame::SubmitterFields;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::Path;

/// The most brokers that are named: a client needs a few of a cluster, and finds the others.
const MAX_BROKERS: usize = 16;
/// Requests that may be on their way to the node, for each message that may be in hand: after a connection to the broker
/// was lost, those of before are still on their way when the same come anew.
pub(super) const REQUESTS_OF_EACH: usize = 2;

/// A password, which nothing prints.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The host without brackets, and the port.
pub(super) fn broker(text: &str) -> Result<(String, u16), Failure> {
    let read = host_and_port(text);
    let (host, port) =
        // Not the text: somebody may have put a URL there, with a password in it.
        read.map_err(|why| wrong(format!("a broker is host:port, without user or scheme: {why}")))?;
    Ok((host.bare(), port))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The brokers; `is_secured`: authorities vouch for them.
pub(super) fn check_brokers(
    brokers: &[String],
    is_secured: bool,
    plain: bool,
) -> Result<(), Failure> {
    check_range("the number of brokers", brokers.len(), MAX_BROKERS)?;
    for place in brokers {
        let (host, _) = broker(place)?;
        // Fail closed: the password and all payments would be readable on the way.
        if !is_secured && !plain && !is_this_machine(&host) {
            return Err(wrong(format!(
                "the broker {place} is not on this machine, and there is no TLS: give broker_ca_file; or say plain = true, \
                 on a private network"
            )));
        }
    }
    if plain && is_secured {
        return Err(wrong("plain = true, and there is a broker_ca_file: one of them"));
    }
    Ok(())
}

/// That no queue or topic is named twice: `what` it is.
pub(super) fn check_once(what: &str, names: &[String]) -> Result<(), Failure> {
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(wrong(format!("the {what} {:?} is given twice", twice[0]))),
        None => Ok(()),
    }
}

/// For whom payments out of a queue or a topic are decided.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submitter {
    /// The queue or topic.
    source: String,
    /// Name of the client, which records have.
    name: String,
    /// Its institution.
    #[serde(default)]
    institution: u16,
}

/// For whom payments out of these queues or topics are decided; `what` they are.
pub(super) fn submitters(
    what: &str,
    named: &[Submitter],
    sources: &[String],
) -> Result<Submitters, Failure> {
    let mut submitters = Submitters::new();
    for Submitter { source, name, institution } in named {
        let of = |why: &str| wrong(format!("submitter of {source:?}: {why}"));
        if !sources.contains(source) {
            return Err(of(&format!("there is no such {what}")));
        }
        let name = client_name(name).ok_or_else(|| {
            of("its name has 1 to 16 characters of ASCII, no space at either end")
        })?;
        let submitter = SubmitterFields::new(*institution, name);
        if submitters.insert(source.clone(), submitter).is_some() {
            return Err(of("it is given twice"));
        }
    }
    // Who speaks for others on a connection can't go back to speaking for itself.
    match sources.iter().find(|source| !submitters.contains_key(*source)) {
        Some(missing) if !submitters.is_empty() => Err(wrong(format!(
            "the {what} {missing:?} has no submitter: name one for each, or none"
        ))),
        _ => Ok(submitters),
    }
}

/// Where the password is from.
pub(super) fn check_password(own: Option<&Secret>, file: Option<&Path>) -> Result<(), Failure> {
    if own.is_some() && file.is_some() {
        return Err(wrong("password and password_file: one of them"));
    }
    if own.is_some_and(|Secret(password)| password.is_empty()) {
        return Err(wrong("the password is empty; leave it out where there is none"));
    }
    Ok(())
}

/// The password.
pub(super) fn password(
    own: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<String>, Failure> {
    match (own, file) {
        (Some(Secret(password)), _) => Ok(Some(password.clone())),
        (None, Some(path)) => secret("password_file", path).map(Some),
        (None, None) => Ok(None),
    }
}

/// The environment with its password as text, although that may look like a number.
pub(super) fn text_of_password(
    prefix: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> impl Iterator<Item = (String, String)> {
    environment.map(move |(name, text)| {
        let is_password = name.strip_prefix(prefix) == Some("PASSWORD");
        let text = if is_password { toml::Value::String(text).to_string() } else { text };
        (name, text)
    })
}

/// The way to the nodes, as settings say it.
pub(super) struct Nodes<'a> {
    pub(super) nodes: &'a [String],
    pub(super) credential_file: Option<&'a Path>,
    pub(super) ca_file: Option<&'a Path>,
    /// Certificate and key that are shown to the nodes.
    pub(super) own: [Option<&'a Path>; 2],
    pub(super) connections: usize,
}

impl Nodes<'_> {
    /// For so many messages that are taken and not answered.
    pub(super) fn link(&self, in_hand: usize) -> Result<LinkSetup, Failure> {
        let credential =
            self.credential_file.map(|path| secret("credential file", path)).transpose()?;
        Ok(LinkSetup {
            nodes: self.nodes.to_vec(),
            credential: credential.unwrap_or_default(),
            authorities: authorities("node", self.ca_file, self.own)?,
            connections: self.connections,
            max_in_flight: in_hand * REQUESTS_OF_EACH,
            // Known with the queues or topics.
            speaks_for: None,
            seed: 0,
        })
    }
}
