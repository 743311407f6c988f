//! The section of who took a policy into force. It stands behind the policy's own section in the record that
//! does so; records of before there was one have none.

use super::{SECTION_ACTIVATION, section};
use crate::frame::layout;
use crate::list::{Author, MAX_AUTHOR_LEN};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

layout! {
    /// Who took a policy into force.
    ActivationSection as ActivationSectionFields, 72; {
        /// [`SECTION_ACTIVATION`].
        kind: u16,
        /// Length of the section, bytes.
        len: u16,
        /// 0.
        reserved: [u8; 4],
        /// Name of the client that asked for it; zeros where clients have none.
        author: [u8; MAX_AUTHOR_LEN],
        /// Name of the other client that approved it; zeros where none has to.
        approver: [u8; MAX_AUTHOR_LEN],
    }
}

/// Who took a policy into force, by the names that the configuration gives to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivatedBy {
    /// Who asked for it; empty where clients have no names.
    pub author: Author,
    /// Who approved it; empty where nobody has to.
    pub approver: Author,
}

impl Default for ActivatedBy {
    /// Nobody known.
    fn default() -> Self {
        Self { author: Author::EMPTY, approver: Author::EMPTY }
    }
}

impl ActivatedBy {
    /// The section.
    pub fn to_section(self) -> Vec<u8> {
        let fields = ActivationSectionFields::from(&ActivationSection {
            kind: SECTION_ACTIVATION,
            len: size_of::<ActivationSectionFields>() as u16,
            reserved: [0; 4],
            author: self.author.to_wire(),
            approver: self.approver.to_wire(),
        });
        bytemuck::bytes_of(&fields).to_vec()
    }

    /// Out of an extension; `None` where it has no such section, or an unsound one.
    pub fn read(extension: &[u8]) -> Option<Self> {
        let fields: &ActivationSectionFields =
            bytemuck::try_from_bytes(section(extension, SECTION_ACTIVATION)?).ok()?;
        let author = Author::from_wire(&fields.author)?;
        let approver = Author::from_wire(&fields.approver)?;
        (fields.reserved == [0; 4]).then_some(Self { author, approver })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::PolicyPart;

    #[test]
    fn it_is_read_as_it_was_written_behind_the_policys_own_section() {
        let name = |text| Author::parse(text).expect("a name");
        let part = PolicyPart { id: [7; 32], text_len: 3, offset: 3, part: b"" };
        for by in [
            ActivatedBy::default(),
            ActivatedBy { author: name("ana"), approver: Author::EMPTY },
            ActivatedBy { author: name("ana"), approver: name("fraude-são-paulo") },
        ] {
            let extension = [part.to_section(), by.to_section()].concat();
            assert_eq!(ActivatedBy::read(&extension), Some(by));
            assert_eq!(PolicyPart::read(&extension), Some(part));
        }
        assert_eq!(ActivatedBy::read(&part.to_section()), None);
        let mut unsound = ActivatedBy::default().to_section();
        unsound[9] = b'x';
        assert_eq!(ActivatedBy::read(&unsound), None, "zeros before a text");
    }
}
