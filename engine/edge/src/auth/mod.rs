//! Who asks. By an access token of the issuer (RFC 9068, RFC 8705), by an API key, or by a certificate alone.
//!
//! ```text
//! Authorization: Bearer … ─┬─ API key?  clients.rs                     hash and compare
//!                          ├─ known?    cache.rs                       hash and look up
//!                          └─ else      attempts.rs → claims.rs        so often for each address
//!                                         └ keys.rs ← issuer.rs        one task fetches them
//!                                                       └ refresh.rs   when
//! ```

pub(crate) mod attempts;
mod cache;
mod claims;
pub(crate) mod clients;
mod fetch;
mod issuer;
pub(crate) mod keys;
mod refresh;
#[cfg(test)]
mod tests;

pub use claims::Expected;
pub use clients::{Client, ClientFault, Clients, Limits};
pub use fetch::{Source, SourceFault};

use crate::caller::{Caller, Digest, Peer};
use crate::permission::Permissions;
use attempts::Attempts;
use cache::{Cache, Known};
use issuer::{Issuer, NoKey};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why somebody is not let in. No text holds a part of what was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing was shown.
    Nothing,
    /// What was shown is good for nothing.
    Bad(&'static str),
    /// It is known who it is, and it may not.
    NotAllowed(&'static str),
    /// It can't be checked, because the issuer's keys are not known.
    NoKeys,
    /// Too much was shown that is not known; how long to wait.
    TooOften(Duration),
}

/// Knows the clients.
pub struct Auth {
    clients: Clients,
    issuer: Option<(Arc<Issuer>, Expected)>,
    cache: Mutex<Cache>,
    attempts: Attempts,
}

impl Auth {
    /// These clients, and their tokens by this issuer. Where there is one, to be called within a runtime of tokio.
    pub fn new(clients: Clients, issuer: Option<(Source, Expected)>) -> Self {
        Self {
            clients,
            issuer: issuer.map(|(source, expected)| (Issuer::start(source), expected)),
            cache: Mutex::new(Cache::new()),
            attempts: Attempts::new(),
        }
    }

    /// Whether anybody is asked who it is.
    pub const fn asks(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether tokens are taken.
    pub const fn takes_tokens(&self) -> bool {
        self.issuer.is_some()
    }

    /// The clients.
    pub const fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Who of the clients asks. `shown` is what stands behind `Bearer`.
    pub(crate) async fn caller(&self, shown: Option<&str>, peer: &Peer) -> Result<Caller, Refusal> {
        let Some(shown) = shown else {
            let place = peer.certificate.and_then(|own| self.clients.of_certificate(&own));
            let place = place.ok_or(Refusal::Nothing)?;
            return Ok(self.clients.caller(place, Permissions::all()));
        };
        if shown.len() > claims::MAX_TOKEN_LEN {
            return Err(Refusal::Bad("it is too long"));
        }
        let digest = keys::sha256(shown.as_bytes());
        if let Some(place) = self.clients.of_api_key(&digest) {
            return self.admitted(place, Permissions::all(), None, peer);
        }
        let known = self.cache.lock().get(&digest, now_s());
        // A key that the issuer has withdrawn takes its tokens with it.
        let known = known
            .filter(|known| self.issuer.as_ref().is_some_and(|(issuer, _)| issuer.has(&known.key)));
        let known = match known {
            Some(known) => known,
            None => {
                self.attempts.take(peer.address).map_err(Refusal::TooOften)?;
                let known = self.check(shown).await?;
                self.cache.lock().put(digest, known);
                known
            }
        };
        self.admitted(known.place, known.granted, known.certificate, peer)
    }

    /// Checks a token that is not known.
    async fn check(&self, token: &str) -> Result<Known, Refusal> {
        let Some((issuer, expected)) = &self.issuer else {
            return Err(Refusal::Bad("it is no API key that is known"));
        };
        let signed = claims::signed_by(token).map_err(Refusal::Bad)?;
        let key = issuer.key(&signed.kid).await.map_err(|no_key| match no_key {
            NoKey::Unknown => Refusal::Bad("the issuer has no such key"),
            NoKey::NoKeys => Refusal::NoKeys,
        })?;
        let claims = claims::checked(token, &signed, &key, expected, now_s());
        let claims = claims.map_err(Refusal::Bad)?;
        let place = self.clients.of_id(&claims.client_id);
        Ok(Known {
            place: place.ok_or(Refusal::NotAllowed("the client is not one of this gateway's"))?,
            granted: Permissions::of_scope(&claims.scope),
            certificate: claims.certificate(),
            key: key.identity,
            until_s: claims.exp + claims::LEEWAY_S,
        })
    }

    /// The client at this place, where the connection's certificate is that of the client and the token.
    fn admitted(
        &self,
        place: usize,
        granted: Permissions,
        bound: Option<Digest>,
        peer: &Peer,
    ) -> Result<Caller, Refusal> {
        for needed in [bound, self.clients.at(place).certificate].into_iter().flatten() {
            if peer.certificate != Some(needed) {
                return Err(Refusal::Bad(
                    "it is bound to another certificate than the connection's",
                ));
            }
        }
        Ok(self.clients.caller(place, granted))
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("clients", &self.clients.all().len()).finish_non_exhaustive()
    }
}

/// Seconds since 1970. A clock before that lets nobody in whose token began after it.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
