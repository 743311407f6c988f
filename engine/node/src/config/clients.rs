//! Who may connect, and what each may do.

use super::{Config, wrong};
use crate::balancers::Balancers;
use crate::fatal::Failure;
use catraca_core::shard::access::{Access, KnownClient, Permissions};
use catraca_core::shard::rate::Rate;
use catraca_tls::proxied::Networks;
use catraca_wire::frame::{
    MAX_CREDENTIAL_LEN, MAX_SUBMITTER_NAME_LEN, SubmitterFields, SubmitterName,
};
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
    /// File that holds its credential: the first line, at most 64 bytes. A client without one is known by its
    /// certificate.
    pub credential_file: Option<PathBuf>,
    /// SHA-256 of the certificate that it has to show over TLS, 64 hexadecimal digits.
    pub certificate_sha256: Option<String>,
    /// `submit`, `lookup`, `stats`, `admin`, `behalf`, `all_institutions`.
    pub permissions: Vec<String>,
    /// Transactions a second that it may send to each shard; as many as it likes where it is missing.
    pub shard_submits_per_s: Option<NonZeroU32>,
    /// Transactions that it may send to a shard at once, after a pause; as many as in a second where it is missing.
    pub shard_submit_burst: Option<NonZeroU32>,
}

impl ClientConfig {
    fn rate(&self) -> Result<Option<Rate>, Failure> {
        let name = &self.name;
        let (per_second, burst) = (self.shard_submits_per_s, self.shard_submit_burst);
        let Some(per_second) = per_second else {
            return match burst {
                None => Ok(None),
                Some(_) => Err(wrong(format!(
                    "client {name:?}: shard_submit_burst is of no use without shard_submits_per_s"
                ))),
            };
        };
        let rate = Rate { per_second, burst: burst.unwrap_or(per_second) };
        if rate.per_second.max(rate.burst).get() > MAX_RATE {
            return Err(wrong(format!(
                "client {name:?}: shard_submits_per_s and shard_submit_burst are at most {MAX_RATE}"
            )));
        }
        Ok(Some(rate))
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

/// Reads the credential that a file's first line holds, 1 to [`MAX_CREDENTIAL_LEN`] bytes.
///
/// # Errors
/// Why it holds none; never the credential.
pub fn credential(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let credential = text.lines().next().unwrap_or("").trim();
    if credential.is_empty() || credential.len() > MAX_CREDENTIAL_LEN {
        return Err(format!("the first line must have 1 to {MAX_CREDENTIAL_LEN} bytes"));
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
                None if certificate.is_some() => String::new(),
                None => return Err(of("give credential_file or certificate_sha256".to_owned())),
            };
            let name = SubmitterName::parse(&client.name).unwrap_or(SubmitterName::EMPTY);
            let known = KnownClient {
                submitter: SubmitterFields::new(client.institution, name),
                permissions: client.permissions()?,
                rate: client.rate()?,
                certificate,
            };
            if !access.add(credential.as_bytes(), known) {
                let what = if credential.is_empty() { "certificate" } else { "credential" };
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
