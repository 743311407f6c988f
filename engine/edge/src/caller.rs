//! Who asks, once that is known.

use crate::permission::Permissions;
use catraca_wire::frame::PrincipalFields;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The longest name of a client, bytes: what a record has room for.
pub const MAX_NAME_LEN: usize = 16;

/// SHA-256 of an API key, a token, or a certificate in DER.
pub use catraca_tls::Digest;

/// A client's name: 1 to 16 printable ASCII characters, or none for a caller that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Name([u8; MAX_NAME_LEN]);

impl Name {
    /// A client's name; `None` where the text is no such name.
    pub fn new(text: &str) -> Option<Self> {
        let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let mut name = [0; MAX_NAME_LEN];
        if text.trim() != text || text.is_empty() || !printable {
            return None;
        }
        name.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(name))
    }

    /// Its bytes, with zeros behind it.
    pub const fn to_wire(self) -> [u8; MAX_NAME_LEN] {
        self.0
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME_LEN);
        std::str::from_utf8(&self.0[..len]).expect("it was made of ASCII")
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Who asks. Handlers find it among the extensions of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The institution that it acts for; 0 where that is not said.
    pub institution: u16,
    /// Its name in this gateway's configuration; empty where callers are not authenticated.
    pub name: Name,
    /// What it may do.
    pub permissions: Permissions,
    /// The connection's other end.
    pub(crate) peer: Peer,
    /// Its place among the clients; none where callers are not authenticated.
    pub(crate) place: Option<usize>,
}

impl Caller {
    /// Somebody who reached a gateway that asks nobody who they are.
    pub fn anybody() -> Self {
        Self {
            institution: 0,
            name: Name::default(),
            permissions: Permissions::all(),
            peer: Peer::default(),
            place: None,
        }
    }

    /// For whom a node is asked; none where callers are not authenticated, so that the gateway asks for itself.
    pub(crate) fn principal(&self) -> Option<PrincipalFields> {
        self.place?;
        let mut principal = PrincipalFields::default();
        principal.submitter.institution = self.institution.into();
        principal.submitter.name = self.name.to_wire();
        principal.remote = match self.peer.address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        principal.certificate = self.peer.certificate.unwrap_or_default();
        Some(principal)
    }
}

/// The other end of a connection, as far as the connection itself tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address. Behind a proxy it is the proxy's: nothing that a request says of it is believed.
    pub address: IpAddr,
    /// Its certificate, where it has shown one that the authorities of this gateway issued.
    pub certificate: Option<Digest>,
}

impl Default for Peer {
    fn default() -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), certificate: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_a_record() {
        let name = Name::new("core banking").expect("a name");
        assert_eq!(name.as_str(), "core banking");
        assert_eq!(&name.to_wire()[11..], b"g\0\0\0\0");
        assert_eq!(Name::new("0123456789abcdef").expect("just fits").as_str().len(), 16);
        for bad in ["", " ", " a", "a ", "0123456789abcdefg", "ção", "a\n", "a\0b", "\u{7f}"] {
            assert_eq!(Name::new(bad), None, "{bad:?}");
        }
    }
}
