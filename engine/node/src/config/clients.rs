//! Who may connect, and what each may do.

use super::{Config, wrong};
use crate::balancers::Balancers;
use crate::fatal::Failure;
use catraca_core::shard::access::{Access, Bounds, KnownClient, Permissions, credential_hash};
use catraca_core::shard::rate::Rate;
use catraca_tls::proxied::Networks;
use catraca_wire::frame::{MAX_SUBMITTER_NAME_LEN, MAX_TOKEN_LEN, SubmitterFields, SubmitterName};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// Highest rate and burst: far above what a shard decides in a second, and what its buckets can count.
const MAX_RATE: u32 = 100_000_000;

/// A client and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Its name, which the records of what it sends have; at most 16 bytes.
    pub name: String,
    /// Number of its institution, within which ids are told apart.
    #[serde(default)]
    pub institution: u16,
    /// File that holds its credential: the first line, at most 8,192 bytes. A client without one is known by its access
    /// tokens, or else by its certificate.
    pub credential_file: Option<PathBuf>,
    /// `client_id` of its access tokens, where it may come by those.
    pub oauth_client_id: Option<String>,
    /// SHA-256 of the certificate that it has to show over TLS, 64 hexadecimal digits.
    pub certificate_sha256: Option<String>,
    /// `submit`, `lookup`, `stats`, `admin`, `behalf`, `all_institutions`, `audit`.
    pub permissions: Vec<String>,
    /// Transactions a second that it may send to each shard; as many as it likes where it is missing.
    pub shard_submits_per_s: Option<NonZeroU32>,
    /// Transactions that it may send to a shard at once, after a pause; as many as in a second where it is missing.
    pub shard_submit_burst: Option<NonZeroU32>,
    /// Look-ups and operations a second that it may send to each shard; as many as it likes where it is missing.
    pub shard_requests_per_s: Option<NonZeroU32>,
    /// Look-ups and operations that it may send to a shard at once, after a pause; as many as in a second where it is
    /// missing.
    pub shard_request_burst: Option<NonZeroU32>,
    /// Connections that it may have to each shard; as many as there may be where it is missing.
    pub shard_connections: Option<NonZeroU32>,
    /// Unanswered requests of one of its connections, where that is less than the node's `in_flight`.
    pub in_flight: Option<NonZeroU32>,
}

/// A rate by the settings of these names.
fn rate(
    (per_second_name, per_second): (&str, Option<NonZeroU32>),
    (burst_name, burst): (&str, Option<NonZeroU32>),
) -> Result<Option<Rate>, String> {
    let Some(per_second) = per_second else {
        return match burst {
            None => Ok(None),
            Some(_) => Err(format!("{burst_name} is of no use without {per_second_name}")),
        };
    };
    let rate = Rate { per_second, burst: burst.unwrap_or(per_second) };
    if rate.per_second.max(rate.burst).get() > MAX_RATE {
        return Err(format!("{per_second_name} and {burst_name} are at most {MAX_RATE}"));
    }
    Ok(Some(rate))
}

impl ClientConfig {
    fn bounds(&self) -> Result<Bounds, String> {
        Ok(Bounds {
            submits: rate(
                ("shard_submits_per_s", self.shard_submits_per_s),
                ("shard_submit_burst", self.shard_submit_burst),
            )?,
            requests: rate(
                ("shard_requests_per_s", self.shard_requests_per_s),
                ("shard_request_burst", self.shard_request_burst),
            )?,
            connections: self.shard_connections,
            in_flight: self.in_flight,
        })
    }

    /// The SHA-256 of the certificate that it has to show, where it has to.
    fn certificate(&self) -> Result<Option<[u8; 32]>, String> {
        let Some(text) = &self.certificate_sha256 else { return Ok(None) };
        let mut thumbprint = [0; 32];
        hex::decode_to_slice(text.replace(':', ""), &mut thumbprint)
            .map_err(|_| "certificate_sha256: 64 hexadecimal digits".to_owned())?;
        Ok(Some(thumbprint))
    }

    fn permissions(&self) -> Result<Permissions, Failure> {
        let mut permissions = Permissions::default();
        for name in &self.permissions {
            if !permissions.grant(name) {
                let known = Permissions::NAMES.join(", ");
                return Err(wrong(format!(
                    "client {:?}: permission {name:?} does not exist; there are {known}",
                    self.name
                )));
            }
        }
        Ok(permissions)
    }
}

/// Reads the credential that a file's first line holds, 1 to [`MAX_TOKEN_LEN`] bytes.
///
/// # Errors
/// Why it holds none; never the credential.
pub fn credential(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let credential = text.lines().next().unwrap_or("").trim();
    if credential.is_empty() || credential.len() > MAX_TOKEN_LEN {
        return Err(format!("the first line must have 1 to {MAX_TOKEN_LEN} bytes"));
    }
    Ok(credential.to_owned())
}

impl Config {
    /// Reads the credentials of the configured clients.
    ///
    /// # Errors
    /// [`Status::Config`](crate::fatal::Status::Config), naming the file; never the credential.
    pub fn access(&self) -> Result<Access, Failure> {
        if self.clients.is_empty() {
            return Ok(Access::open());
        }
        let mut access = Access::default();
        for client in &self.clients {
            let of = |why: String| wrong(format!("client {:?}: {why}", client.name));
            let certificate = client.certificate().map_err(of)?;
            let credential = match &client.credential_file {
                Some(path) => credential(path)
                    .map_err(|why| of(format!("credential file {}: {why}", path.display())))?,
                None if certificate.is_some() || client.oauth_client_id.is_some() => String::new(),
                None => {
                    return Err(of(
                        "give credential_file, oauth_client_id or certificate_sha256".to_owned()
                    ));
                }
            };
            let name = SubmitterName::parse(&client.name).unwrap_or(SubmitterName::EMPTY);
            let known = KnownClient {
                submitter: SubmitterFields::new(client.institution, name),
                permissions: client.permissions()?,
                bounds: client.bounds().map_err(of)?,
                certificate,
                tokens: client.oauth_client_id.as_ref().map(|id| credential_hash(id.as_bytes())),
            };
            if !access.add(credential.as_bytes(), known) {
                let what = match (credential.as_str(), &client.oauth_client_id) {
                    ("", None) => "certificate",
                    ("", Some(_)) => "oauth_client_id",
                    (_, None) => "credential",
                    (_, Some(_)) => "credential or oauth_client_id",
                };
                return Err(of(format!("another client has the same {what}")));
            }
        }
        Ok(access)
    }

    /// The load balancers that are believed.
    ///
    /// # Errors
    /// [`Status::Config`](crate::fatal::Status::Config), naming what is no network.
    pub fn balancers(&self) -> Result<Balancers, Failure> {
        let networks = Networks::parse(&self.proxy_from);
        networks.map(Balancers::new).map_err(|fault| wrong(format!("proxy_from: {fault}")))
    }

    /// Names tell clients apart, and where two have to agree there are two.
    pub(super) fn check_clients(&self) -> Result<(), Failure> {
        let mut names = BTreeSet::new();
        for ClientConfig { name, .. } in &self.clients {
            if name.is_empty() || SubmitterName::parse(name).is_none() {
                return Err(wrong(format!(
                    "client {name:?}: a name has 1 to {MAX_SUBMITTER_NAME_LEN} bytes, and no control characters"
                )));
            }
            if !names.insert(name) {
                return Err(wrong(format!("client {name:?}: the name is given twice")));
            }
        }
        let may_change = |client: &&ClientConfig| client.permissions.iter().any(|p| p == "admin");
        if self.two_person_policies && self.clients.iter().filter(may_change).count() < 2 {
            return Err(wrong(
                "two_person_policies: at least two clients need the permission admin",
            ));
        }
        Ok(())
    }
}
