//! For whom a request is made: ON_BEHALF, and the submitter that a record names.

use super::layouts::frame;
use super::{FixedFrame, FrameKind, Header, HeaderFields, IntoWire, layout};
use crate::short_text::ShortText;
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Longest name of a submitter, bytes: what a record has room for.
pub const MAX_SUBMITTER_NAME_LEN: usize = 16;
/// Longest subject of a [`Principal`], bytes.
pub const MAX_SUBJECT_LEN: usize = 64;

/// Name of a submitter; empty for nobody in particular.
pub type SubmitterName = ShortText<MAX_SUBMITTER_NAME_LEN>;

layout! {
    /// Whose transaction it is: the institution, within which ids are told apart, and the client
    /// that sent it.
    Submitter as SubmitterFields, 18; {
        /// Number that the operator gave the institution; 0 where there is one only.
        institution: u16,
        /// Name of the client, UTF-8 with zeros behind it; zeros where clients have no names.
        name: [u8; MAX_SUBMITTER_NAME_LEN],
    }
}

impl IntoWire for Submitter {
    type Wire = SubmitterFields;
    fn into_wire(self) -> SubmitterFields {
        SubmitterFields::from(&self)
    }
    fn from_wire(wire: SubmitterFields) -> Self {
        Self::from(&wire)
    }
}

impl Default for SubmitterFields {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl SubmitterFields {
    /// A client of an institution.
    pub fn new(institution: u16, name: SubmitterName) -> Self {
        Self { institution: institution.into(), name: name.to_wire() }
    }

    /// The name; empty where it is none that a client can have.
    pub fn name(&self) -> SubmitterName {
        SubmitterName::from_wire(&self.name).unwrap_or(SubmitterName::EMPTY)
    }
}

layout! {
    /// Who asks for something, as far as the one who passes it on knows.
    Principal as PrincipalFields, 146; {
        /// The institution and the client.
        submitter: Submitter,
        /// The person or program behind the client: `sub` of a token, or the user of an operating
        /// system. UTF-8 with zeros behind it; zeros where nobody is known.
        subject: [u8; MAX_SUBJECT_LEN],
        /// Where it came from: IPv6 address, or IPv4 mapped into it; zeros unknown.
        remote: [u8; 16],
        /// SHA-256 of the certificate that was shown; zeros without one.
        certificate: [u8; 32],
        /// The number under which the one who passes it on knows the request; zeros none.
        request_id: [u8; 16],
    }
}

impl IntoWire for Principal {
    type Wire = PrincipalFields;
    fn into_wire(self) -> PrincipalFields {
        PrincipalFields::from(&self)
    }
    fn from_wire(wire: PrincipalFields) -> Self {
        Self::from(&wire)
    }
}

impl Default for PrincipalFields {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl PrincipalFields {
    /// Whether its texts are texts; else the name of the field that is none.
    ///
    /// # Errors
    /// The field's name.
    pub fn check(&self) -> Result<(), &'static str> {
        SubmitterName::from_wire(&self.submitter.name).ok_or("name")?;
        ShortText::from_wire(&self.subject).ok_or("subject")?;
        Ok(())
    }

    /// The person or program behind the client; empty where nobody is known.
    pub fn subject(&self) -> ShortText<MAX_SUBJECT_LEN> {
        ShortText::from_wire(&self.subject).unwrap_or(ShortText::EMPTY)
    }
}

frame! {
    /// Says for whom everything is that follows on the connection, until the next one.
    OnBehalf as OnBehalfFrame, OnBehalf, 192; {
        /// For whom.
        principal: Principal,
        /// 0.
        reserved: [u8; 30],
    }
}
