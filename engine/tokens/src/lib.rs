//! Access tokens of an OAuth2 issuer (RFC 9068, RFC 8705), for whoever lets clients in by them: the gateway and
//! the node. What a token may do there, and whose it is, they say themselves.
//!
//! ```text
//! Attempts::take       attempts.rs                  so often for each address
//! Tokens::check    ──► claims.rs                    signature and claims
//!                        └ keys.rs ← issuer.rs      one task fetches them, by fetch.rs
//!                                      └ refresh.rs when
//! ```

mod attempts;
mod claims;
mod fetch;
mod issuer;
mod keys;
mod refresh;
mod subject;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use attempts::{Attempts, network};
pub use claims::{Expected, LEEWAY_S, MAX_TOKEN_LEN};
pub use fetch::{Source, SourceFault};
pub use subject::Subject;

use catraca_tls::Digest;
use issuer::{Issuer, NoKey};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a token is not taken. No text holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is good for nothing.
    Bad(&'static str),
    /// The issuer has no such key as far as is known, and was asked so shortly ago that it is not asked again yet: it may
    /// have made one since.
    NotNow,
    /// It can't be checked, because the issuer's keys are not known.
    NoKeys,
}

/// What a sound token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Whom it was issued to.
    pub client_id: String,
    /// Who is behind that client, for an audit trail: its `sub`, without documents; empty where that is the client itself.
    pub subject: Subject,
    /// What it grants, words with spaces between.
    pub scope: String,
    /// The certificate that its bearer has to show.
    pub certificate: Option<Digest>,
    /// The key that signed it.
    pub key: Digest,
    /// Its `exp` and [`LEEWAY_S`], seconds since 1970: from then on it is good for nothing.
    pub until_s: u64,
}

/// The issuer that settings name: its `iss`, what `aud` must have in it, and where its keys are; `None` where one of them is
/// missing. `ca_file`: the authorities that vouch for it, PEM; `max_lifetime_s`: how long its tokens may be good, seconds.
///
/// # Errors
/// Its keys can't be asked for there, or no authority can be read.
pub fn issuer(
    [issuer, audience, jwks_url]: [Option<&str>; 3],
    ca_file: Option<&Path>,
    max_lifetime_s: u64,
) -> Result<Option<(Source, Expected)>, SourceFault> {
    let (Some(issuer), Some(audience), Some(url)) = (issuer, audience, jwks_url) else {
        return Ok(None);
    };
    let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
    let source = Source::new(url, ca_file)?;
    Ok(Some((source, Expected { issuer, audience, max_lifetime_s })))
}

/// Checks tokens of one issuer, whose keys it keeps up to date.
#[derive(Debug, Clone)]
pub struct Tokens {
    issuer: Arc<Issuer>,
    expected: Arc<Expected>,
}

impl Tokens {
    /// Begins to fetch the keys, for as long as the runtime of tokio lives in which it is called.
    pub fn start(source: Source, expected: Expected) -> Self {
        Self { issuer: Issuer::start(source), expected: Arc::new(expected) }
    }

    /// Checks a token of at most [`MAX_TOKEN_LEN`] bytes. It may wait for the issuer's keys, some seconds.
    ///
    /// # Errors
    /// It is not sound, or the issuer's keys are not known.
    pub async fn check(&self, token: &str) -> Result<Checked, Fault> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(Fault::Bad("it is too long"));
        }
        let signed = claims::signed_by(token).map_err(Fault::Bad)?;
        let key = self.issuer.key(&signed.kid).await.map_err(|no_key| match no_key {
            NoKey::Unknown => Fault::Bad("the issuer has no such key"),
            NoKey::NotNow => Fault::NotNow,
            NoKey::NoKeys => Fault::NoKeys,
        })?;
        let claims = claims::checked(token, &signed, &key, &self.expected, now_s());
        let claims = claims.map_err(Fault::Bad)?;
        let (certificate, until_s) = (claims.certificate(), claims.exp.saturating_add(LEEWAY_S));
        let subject = subject::subject(&claims.sub, &claims.client_id);
        let (client_id, scope) = (claims.client_id, claims.scope);
        Ok(Checked { client_id, subject, scope, certificate, key: key.identity, until_s })
    }

    /// Whether the issuer still has this very key, as far as is known: one that it has withdrawn takes its tokens with it.
    pub fn has(&self, key: &Digest) -> bool {
        self.issuer.has(key)
    }
}

/// Seconds since 1970. A clock before that lets nobody in whose token began after it.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
