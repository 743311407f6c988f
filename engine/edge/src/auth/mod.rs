//! Who asks. By an access token of the issuer (RFC 9068, RFC 8705), by an API key, or by a certificate alone.
//!
//! ```text
//! Authorization: Bearer … ─┬─ API key?  clients.rs                     hash and compare
//!                          ├─ known?    cache.rs                       hash and look up
//!                          └─ else      catraca_tokens                 so often for each address
//! ```

mod cache;
pub(crate) mod clients;
#[cfg(test)]
mod tests;

pub use catraca_tokens::{Expected, Source, SourceFault, issuer};
pub use clients::{Client, ClientFault, Clients, Limits};

use crate::caller::{Caller, Digest, Peer};
use crate::permission::Permissions;
use cache::{Cache, Known};
use catraca_tls::sha256;
use catraca_tokens::{Attempts, Fault, MAX_TOKEN_LEN, Tokens, now_s};
use parking_lot::Mutex;
use std::time::Duration;

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
    tokens: Option<Tokens>,
    cache: Mutex<Cache>,
    attempts: Attempts,
}

impl Auth {
    /// These clients, and their tokens by this issuer. Where there is one, to be called within a runtime of tokio.
    pub fn new(clients: Clients, issuer: Option<(Source, Expected)>) -> Self {
        Self {
            clients,
            tokens: issuer.map(|(source, expected)| Tokens::start(source, expected)),
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
        self.tokens.is_some()
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
        if shown.len() > MAX_TOKEN_LEN {
            return Err(Refusal::Bad("it is too long"));
        }
        let digest = sha256(shown.as_bytes());
        if let Some(place) = self.clients.of_api_key(&digest) {
            return self.admitted(place, Permissions::all(), None, peer);
        }
        let known = self.cache.lock().get(&digest, now_s());
        // A key that the issuer has withdrawn takes its tokens with it.
        let known =
            known.filter(|known| self.tokens.as_ref().is_some_and(|tokens| tokens.has(&known.key)));
        let known = match known {
            Some(known) => known,
            None => {
                self.attempts.take(peer.address).map_err(Refusal::TooOften)?;
                let known = self.check(shown).await?;
                self.cache.lock().put(digest, known);
                known
            }
        };
        let caller = self.admitted(known.place, known.granted, known.certificate, peer)?;
        Ok(Caller { subject: known.subject, ..caller })
    }

    /// Checks a token that is not known.
    async fn check(&self, token: &str) -> Result<Known, Refusal> {
        let Some(tokens) = &self.tokens else {
            return Err(Refusal::Bad("it is no API key that is known"));
        };
        let checked = tokens.check(token).await.map_err(|fault| match fault {
            Fault::Bad(why) => Refusal::Bad(why),
            // Most who show such a one have made it up: over HTTP who was refused comes with another one.
            Fault::NotNow => Refusal::Bad("the issuer has no such key"),
            Fault::NoKeys => Refusal::NoKeys,
        })?;
        let place = self.clients.of_id(&checked.client_id);
        Ok(Known {
            place: place.ok_or(Refusal::NotAllowed("the client is not one of this gateway's"))?,
            subject: checked.subject,
            granted: Permissions::of_scope(&checked.scope),
            certificate: checked.certificate,
            key: checked.key,
            until_s: checked.until_s,
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
