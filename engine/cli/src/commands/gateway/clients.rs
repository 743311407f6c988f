//! `[[clients]]` of a gateway's configuration.

use crate::commands::door::wrong;
use catraca_edge::auth::{Client, Limits};
use catraca_edge::caller::{Digest, client_name};
use catraca_edge::permission::Permission;
use catraca_node::config::credential;
use catraca_node::fatal::Failure;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// The highest rate, each second, and the most requests at once: far past what one gateway answers.
const MAX_LIMIT: u32 = 1_000_000;
/// The longest id, bytes: the longest `client_id` that is taken of a token.
const MAX_ID_LEN: usize = 256;

/// One client, as the configuration has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientEntry {
    /// `client_id` of its tokens, or what its API key is called.
    pub(super) id: String,
    /// 1 to 16 printable ASCII characters.
    name: String,
    /// The institution that it acts for.
    #[serde(default)]
    institution: u16,
    /// Known to be refused: a key that was unknown here would be shown in the message about it.
    api_key: Option<IgnoredAny>,
    /// SHA-256 of its API key, 64 hexadecimal digits.
    api_key_sha256: Option<String>,
    /// File whose first line is that.
    api_key_sha256_file: Option<PathBuf>,
    /// SHA-256 of its certificate in DER, 64 hexadecimal digits.
    pub(super) certificate_sha256: Option<String>,
    /// The certificate is all that it needs.
    #[serde(default)]
    certificate_suffices: bool,
    /// The most that it may do.
    permissions: Vec<Permission>,
    #[serde(default = "usual_decisions")]
    decisions_per_second: u32,
    #[serde(default = "usual_lookups")]
    lookups_per_second: u32,
    #[serde(default = "usual_administration")]
    administration_per_second: u32,
    #[serde(default = "usual_concurrent")]
    concurrent: u32,
}

/// Twice what the busiest single client of a medium bank sends at its peak.
const fn usual_decisions() -> u32 {
    2_000
}

/// Each goes to the disk of the node.
const fn usual_lookups() -> u32 {
    100
}

/// People and their scripts.
const fn usual_administration() -> u32 {
    10
}

/// A quarter of what a gateway holds by default.
const fn usual_concurrent() -> u32 {
    1_024
}

impl ClientEntry {
    /// The client that it is.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let of = |why: String| wrong(format!("client {:?}: {why}", self.id));
        if !(1..=MAX_ID_LEN).contains(&self.id.len()) {
            return Err(of(format!("an id has 1 to {MAX_ID_LEN} bytes")));
        }
        if self.api_key.is_some() {
            return Err(of("api_key_sha256 belongs there, and not the key".to_owned()));
        }
        let name = client_name(&self.name).ok_or_else(|| {
            of("a name has 1 to 16 printable ASCII characters, no space at its ends".to_owned())
        })?;
        let api_key = match (&self.api_key_sha256, &self.api_key_sha256_file) {
            (Some(_), Some(_)) => {
                return Err(of("api_key_sha256 and api_key_sha256_file: one of them".to_owned()));
            }
            (Some(text), None) => Some(text.clone()),
            (None, Some(path)) => {
                let read = credential(path);
                Some(read.map_err(|why| of(format!("{}: {why}", path.display())))?)
            }
            (None, None) => None,
        };
        let digest = |key: &str, text: Option<&String>| {
            let read = text.map(|text| sha256(text)).transpose();
            read.map_err(|()| of(format!("{key}: 64 hexadecimal digits belong there")))
        };
        let limit = |key: &str, value: u32| {
            let value = NonZeroU32::new(value).filter(|value| value.get() <= MAX_LIMIT);
            value.ok_or_else(|| of(format!("{key}: it must be from 1 to {MAX_LIMIT}")))
        };
        Ok(Client {
            id: self.id.clone(),
            name,
            institution: self.institution,
            api_key: digest("api_key_sha256", api_key.as_ref())?,
            certificate: digest("certificate_sha256", self.certificate_sha256.as_ref())?,
            certificate_suffices: self.certificate_suffices,
            permissions: self.permissions.iter().copied().collect(),
            limits: Limits {
                decisions_per_second: limit("decisions_per_second", self.decisions_per_second)?,
                lookups_per_second: limit("lookups_per_second", self.lookups_per_second)?,
                administration_per_second: limit(
                    "administration_per_second",
                    self.administration_per_second,
                )?,
                concurrent: limit("concurrent", self.concurrent)?,
            },
        })
    }
}

/// Hexadecimal digits, with or without the colons that `openssl x509 -fingerprint` puts between them.
fn sha256(text: &str) -> Result<Digest, ()> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text.trim().replace(':', ""), &mut digest).map_err(|_| ())?;
    Ok(digest)
}
