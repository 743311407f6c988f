//! Who asks, once that is known.

use crate::permission::Permissions;
use catraca_tokens::Subject;
use catraca_wire::frame::{PrincipalFields, SubmitterFields, SubmitterName};
use std::net::{IpAddr, Ipv4Addr};

/// SHA-256 of an API key, a token, or a certificate in DER.
pub use catraca_tls::Digest;

/// A client's name, as records have it: 1 to 16 bytes of printable ASCII without a space at either end; `None` where the
/// text is no such name.
pub fn client_name(text: &str) -> Option<SubmitterName> {
    SubmitterName::parse(text).filter(|name| !name.is_empty() && text.is_ascii())
}

/// Who asks. Handlers find it among the extensions of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The institution that it acts for; 0 where that is not said.
    pub institution: u16,
    /// Its name in this gateway's configuration; empty where callers are not authenticated.
    pub name: SubmitterName,
    /// Who is behind it, as its token says; empty where that is the client itself, or nobody says.
    pub subject: Subject,
    /// What it may do.
    pub permissions: Permissions,
    /// The connection's other end.
    pub(crate) peer: Peer,
    /// The number of its request; zeros for none.
    pub(crate) request_id: [u8; 16],
    /// Its place among the clients; none where callers are not authenticated.
    pub(crate) place: Option<usize>,
}

impl Caller {
    /// Somebody who reached a gateway that asks nobody who they are.
    pub fn anybody() -> Self {
        Self {
            institution: 0,
            name: SubmitterName::EMPTY,
            subject: Subject::EMPTY,
            permissions: Permissions::all(),
            peer: Peer::default(),
            request_id: [0; 16],
            place: None,
        }
    }

    /// For whom a node is asked; none where callers are not authenticated, so that the gateway asks for itself.
    pub(crate) fn principal(&self) -> Option<PrincipalFields> {
        self.place?;
        let remote = match self.peer.address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        Some(PrincipalFields {
            submitter: SubmitterFields::new(self.institution, self.name),
            subject: self.subject.to_wire(),
            remote,
            request_id: self.request_id,
            certificate: self.peer.certificate.unwrap_or_default(),
        })
    }
}

/// The other end of a connection, as far as the connection itself tells, or a balancer that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address. Behind a proxy it is the proxy's, but for one whose PROXY header is believed: nothing that a request
    /// says of it is.
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
    fn a_node_is_told_who_asks_from_where_and_by_what_number() {
        let known = Caller { request_id: [7; 16], place: Some(0), ..Caller::anybody() };
        let told = known.principal().expect("it is known");
        assert_eq!((told.request_id, &told.remote[10..12]), ([7; 16], &[0xff, 0xff][..]));
        assert!(Caller::anybody().principal().is_none());
    }

    #[test]
    fn a_name_fits_a_record() {
        let name = client_name("core banking").expect("a name");
        assert_eq!(name.as_str(), "core banking");
        assert_eq!(&name.to_wire()[11..], b"g\0\0\0\0");
        assert_eq!(client_name("0123456789abcdef").expect("just fits").as_str().len(), 16);
        for bad in ["", " ", " a", "a ", "0123456789abcdefg", "ção", "a\n", "a\0b", "\u{7f}"] {
            assert_eq!(client_name(bad), None, "{bad:?}");
        }
    }
}
