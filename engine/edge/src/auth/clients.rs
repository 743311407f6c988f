//! The clients that a gateway knows, and how each shows who it is.

use crate::caller::{Caller, Digest, Peer};
use crate::permission::Permissions;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use catraca_tokens::Subject;
use catraca_wire::frame::SubmitterName;
use std::collections::HashMap;
use std::num::NonZeroU32;

/// How much a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Payments each second; a burst of one second's worth is taken at once.
    pub decisions_per_second: NonZeroU32,
    /// Look-ups each second.
    pub lookups_per_second: NonZeroU32,
    /// Everything else each second.
    pub administration_per_second: NonZeroU32,
    /// Requests that are answered at once.
    pub concurrent: NonZeroU32,
}

/// One client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// `client_id` of its tokens, which no other has.
    pub id: String,
    /// What it is called here, which no other is.
    pub name: SubmitterName,
    /// The institution that it acts for.
    pub institution: u16,
    /// SHA-256 of its API key.
    pub api_key: Option<Digest>,
    /// SHA-256 of its certificate in DER: over other connections it is refused, whatever it shows.
    pub certificate: Option<Digest>,
    /// The certificate is all that it needs to show.
    pub certificate_suffices: bool,
    /// The most that it may do; of a token, what its scope grants besides.
    pub permissions: Permissions,
    /// How much it may ask for.
    pub limits: Limits,
}

/// Why clients can't be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    /// Two have it.
    #[error("client {0:?}: another client has the same {1}")]
    Twice(String, &'static str),
    /// It could never come in, or would without a certificate.
    #[error("client {0:?}: {1}")]
    Wrong(String, &'static str),
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    clients: Vec<Client>,
    by_id: HashMap<String, usize>,
}

impl Clients {
    /// These clients. `has_tokens`: tokens of an issuer are taken.
    ///
    /// # Errors
    /// Two can't be told apart, or one could never come in.
    pub fn new(clients: Vec<Client>, has_tokens: bool) -> Result<Self, ClientFault> {
        let by_id = clients.iter().enumerate();
        let by_id = by_id.map(|(place, client)| (client.id.clone(), place)).collect();
        for (place, client) in clients.iter().enumerate() {
            let wrong = |why| Err(ClientFault::Wrong(client.id.clone(), why));
            if client.certificate_suffices && client.certificate.is_none() {
                return wrong("certificate_suffices, and there is no certificate_sha256");
            }
            if client.certificate_suffices && client.api_key.is_some() {
                return wrong("certificate_suffices, and there is an API key too");
            }
            if client.api_key.is_none() && !client.certificate_suffices && !has_tokens {
                return wrong(
                    "it has no API key, its certificate does not suffice, and there is no oauth_issuer",
                );
            }
            for other in &clients[..place] {
                let twice = |what| Err(ClientFault::Twice(client.id.clone(), what));
                if client.id == other.id {
                    return twice("id");
                }
                if client.name == other.name {
                    return twice("name");
                }
                if client.api_key.is_some() && client.api_key == other.api_key {
                    return twice("API key");
                }
                if client.certificate.is_some() && client.certificate == other.certificate {
                    return twice("certificate");
                }
            }
        }
        Ok(Self { clients, by_id })
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// All of them; a [`Caller`] knows its place.
    pub fn all(&self) -> &[Client] {
        &self.clients
    }

    /// The client at a place.
    pub(super) fn at(&self, place: usize) -> &Client {
        &self.clients[place]
    }

    /// The place of a token's client.
    pub(super) fn of_id(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The place of the client whose API key has this digest. It takes as long for any digest.
    pub(super) fn of_api_key(&self, digest: &Digest) -> Option<usize> {
        let mut found = None;
        for (place, client) in self.clients.iter().enumerate() {
            // Those without a key are compared with what no key's digest is known to be.
            let own = client.api_key.unwrap_or_default();
            let is_own = verify_slices_are_equal(&own, digest).is_ok();
            if is_own && client.api_key.is_some() {
                found = Some(place);
            }
        }
        found
    }

    /// The place of the client whose certificate is all that it needs.
    pub(super) fn of_certificate(&self, digest: &Digest) -> Option<usize> {
        let is_own =
            |client: &Client| client.certificate_suffices && client.certificate == Some(*digest);
        self.clients.iter().position(is_own)
    }

    /// Who the client at a place is, with no more than these permissions.
    pub(super) fn caller(&self, place: usize, granted: Permissions) -> Caller {
        let Client { institution, name, permissions, .. } = self.clients[place];
        let (permissions, peer) = (permissions.and(granted), Peer::default());
        let request_id = [0; 16];
        Caller {
            institution,
            name,
            subject: Subject::EMPTY,
            permissions,
            peer,
            request_id,
            place: Some(place),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::caller::client_name;

    /// A client by token of this id, with all permissions.
    pub(crate) fn client(id: &str) -> Client {
        let many = NonZeroU32::new(1_000).expect("not 0");
        Client {
            id: id.to_owned(),
            name: client_name(id).expect("a name"),
            institution: 7,
            api_key: None,
            certificate: None,
            certificate_suffices: false,
            permissions: Permissions::all(),
            limits: Limits {
                decisions_per_second: many,
                lookups_per_second: many,
                administration_per_second: many,
                concurrent: many,
            },
        }
    }

    #[test]
    fn clients_that_can_not_be_told_apart_or_never_come_in_are_refused() {
        let (key, certificate) = (Some([1; 32]), Some([2; 32]));
        let other = Client { api_key: key, certificate, ..client("a") };
        let name = client_name("a").expect("a name");
        for (second, has_tokens, expected) in [
            (Client { name: client_name("c").expect("a name"), ..client("a") }, true, "same id"),
            (Client { name, ..client("b") }, true, "same name"),
            (Client { api_key: key, ..client("b") }, true, "same API key"),
            (Client { certificate, ..client("b") }, true, "same certificate"),
            (client("b"), false, "no oauth_issuer"),
            (Client { certificate: Some([3; 32]), ..client("b") }, false, "no oauth_issuer"),
            (Client { certificate_suffices: true, ..client("b") }, true, "no certificate_sha256"),
        ] {
            let fault = Clients::new(vec![other.clone(), second], has_tokens).expect_err(expected);
            assert!(fault.to_string().contains(expected), "{fault}");
        }
        let clients = Clients::new(vec![other, client("b")], true).expect("sound");
        assert_eq!(clients.of_api_key(&[1; 32]), Some(0));
        assert_eq!(clients.of_api_key(&[0; 32]), None, "who has no key has not the key of zeros");
        assert_eq!(clients.of_certificate(&[2; 32]), None, "it has an API key to show");
        assert_eq!(clients.of_id("b"), Some(1));
    }
}
