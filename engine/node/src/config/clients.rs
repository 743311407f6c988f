//! Who may connect, and what each may do.

use super::{Config, wrong};
use crate::fatal::Failure;
use catraca_core::shard::access::{Access, Permissions};
use catraca_wire::frame::MAX_CREDENTIAL_LEN;
use catraca_wire::list::{Author, MAX_AUTHOR_LEN};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A client and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Its name, for the program's log and for who took a policy into force; at most 32 bytes.
    pub name: String,
    /// File that holds its credential: the first line, at most 64 bytes.
    pub credential_file: PathBuf,
    /// `submit`, `lookup`, `stats`, `admin`.
    pub permissions: Vec<String>,
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
            let path = &client.credential_file;
            let of = |why: String| {
                wrong(format!(
                    "client {:?}: credential file {}: {why}",
                    client.name,
                    path.display()
                ))
            };
            let credential = credential(path).map_err(of)?;
            let mut permissions = Permissions::default();
            for name in &client.permissions {
                if !permissions.grant(name) {
                    let known = Permissions::NAMES.join(", ");
                    return Err(wrong(format!(
                        "client {:?}: permission {name:?} does not exist; there are {known}",
                        client.name
                    )));
                }
            }
            if !access.add(credential.as_bytes(), permissions) {
                return Err(of("another client has the same credential".to_owned()));
            }
        }
        Ok(access)
    }

    /// The names of the configured clients, in their order. They were checked when the configuration was read.
    pub fn client_names(&self) -> Vec<Author> {
        let names = self.clients.iter();
        names.map(|client| Author::parse(&client.name).unwrap_or(Author::EMPTY)).collect()
    }

    /// Names tell clients apart, and where two have to agree there are two.
    pub(super) fn check_clients(&self) -> Result<(), Failure> {
        let mut names = BTreeSet::new();
        for ClientConfig { name, .. } in &self.clients {
            if name.is_empty() || Author::parse(name).is_none() {
                return Err(wrong(format!(
                    "client {name:?}: a name has 1 to {MAX_AUTHOR_LEN} bytes, and no control characters"
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
