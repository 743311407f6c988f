//! The section of a validator's breaker that a person forces, or leaves to itself again. It stands in a record of
//! its own.
//!
//! ```text
//! kind u16 │ len u16 │ force u8 │ 0, 3 bytes │ forced_at_ns u64 │ validator, 64 │ author, 32 │ reason, 64 bytes
//! ```

use super::{SECTION_FORCED, section};
use crate::frame::{BreakerForce, layout};
use crate::list::{
    Author, ListName, ListReason, MAX_AUTHOR_LEN, MAX_LIST_NAME_LEN, MAX_LIST_REASON_LEN,
};
use crate::record::{RECORD_VERSION, RecordHead, RecordKind};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

layout! {
    /// What a person says of a breaker.
    ForcedSection as ForcedSectionFields, 176; {
        /// [`SECTION_FORCED`].
        kind: u16,
        /// Length of the section, bytes.
        len: u16,
        /// A [`BreakerForce`].
        force: u8,
        /// 0.
        reserved: [u8; 3],
        /// When, nanoseconds since 1970 UTC.
        forced_at_ns: u64,
        /// Id of the validator.
        validator: [u8; MAX_LIST_NAME_LEN],
        /// Who says so.
        author: [u8; MAX_AUTHOR_LEN],
        /// Why.
        reason: [u8; MAX_LIST_REASON_LEN],
    }
}

/// Length of the section, bytes.
pub const FORCED_SECTION_LEN: usize = size_of::<ForcedSectionFields>();

/// What a person says of the breaker of a validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForcedBreaker {
    /// Id of the validator.
    pub validator: ListName,
    /// What.
    pub force: BreakerForce,
    /// When, nanoseconds since 1970 UTC.
    pub forced_at_ns: u64,
    /// Who says so; never empty.
    pub author: Author,
    /// Why; never empty.
    pub reason: ListReason,
}

impl ForcedBreaker {
    /// The section.
    pub fn to_section(&self) -> [u8; FORCED_SECTION_LEN] {
        let fields = ForcedSectionFields::from(&ForcedSection {
            kind: SECTION_FORCED,
            len: FORCED_SECTION_LEN as u16,
            force: self.force.to_wire(),
            reserved: [0; 3],
            forced_at_ns: self.forced_at_ns,
            validator: self.validator.to_wire(),
            author: self.author.to_wire(),
            reason: self.reason.to_wire(),
        });
        bytemuck::cast(fields)
    }

    /// Out of an extension; `None` where it has no such section, or an unsound one.
    pub fn read(extension: &[u8]) -> Option<Self> {
        let fields: &ForcedSectionFields =
            bytemuck::try_from_bytes(section(extension, SECTION_FORCED)?).ok()?;
        (fields.reserved == [0; 3]).then_some(())?;
        Some(Self {
            validator: ListName::from_wire(&fields.validator)?,
            force: BreakerForce::from_wire(fields.force)?,
            forced_at_ns: fields.forced_at_ns.to_native(),
            author: Author::from_wire(&fields.author).filter(|author| !author.is_empty())?,
            reason: ListReason::from_wire(&fields.reason).filter(|reason| !reason.is_empty())?,
        })
    }

    /// The head of its record; the journal fills in the sequence number.
    pub fn to_record(&self) -> RecordHead {
        let mut head = RecordHead::zeroed();
        (head.kind, head.version) = (RecordKind::ValidatorForced.to_wire(), RECORD_VERSION);
        head.decided_at_ns = self.forced_at_ns.into();
        head
    }

    /// Out of a record; `None` if it is none, or an unsound one.
    pub fn from_record(head: &RecordHead, extension: &[u8]) -> Option<Self> {
        (head.kind == RecordKind::ValidatorForced.to_wire()).then_some(())?;
        Self::read(extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forced() -> ForcedBreaker {
        ForcedBreaker {
            validator: ListName::parse("cpf-status").expect("sound"),
            force: BreakerForce::Open,
            forced_at_ns: 1_801_450_800_000_000_000,
            author: Author::parse("ana").expect("sound"),
            reason: ListReason::parse("manutenção do birô").expect("sound"),
        }
    }

    #[test]
    fn what_is_forced_is_read_as_it_was_written() {
        let longest = "v".repeat(MAX_LIST_NAME_LEN);
        for (&force, id) in BreakerForce::ALL.iter().zip(["v", "cpf-status", &longest]) {
            let validator = ListName::parse(id).expect("sound");
            let forced = ForcedBreaker { validator, force, ..forced() };
            let section = forced.to_section();
            assert_eq!(ForcedBreaker::from_record(&forced.to_record(), &section), Some(forced));
            for len in 0..section.len() {
                assert_eq!(ForcedBreaker::read(&section[..len]), None, "{len}");
            }
        }
        let other = RecordHead { kind: 1, ..forced().to_record() };
        assert_eq!(ForcedBreaker::from_record(&other, &forced().to_section()), None);
    }

    #[test]
    fn no_changed_byte_reads_as_the_same() {
        let section = forced().to_section();
        for at in 0..section.len() {
            for value in [0, 1, 2, 7, 0x7f, 0xff] {
                let mut changed = section;
                changed[at] = value;
                let is_same = ForcedBreaker::read(&changed) == Some(forced());
                assert!(value == section[at] || !is_same, "{at}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        type Change = fn(&mut ForcedSectionFields);
        let with = |change: Change| {
            let mut fields: ForcedSectionFields = bytemuck::cast(forced().to_section());
            change(&mut fields);
            ForcedBreaker::read(bytemuck::bytes_of(&fields))
        };
        assert_eq!(with(|_| {}), Some(forced()));
        let bad: [(&str, Change); 9] = [
            ("no state", |fields| fields.force = 0),
            ("an unknown state", |fields| fields.force = 4),
            ("something reserved", |fields| fields.reserved[2] = 1),
            ("no author", |fields| fields.author.fill(0)),
            ("no reason", |fields| fields.reason.fill(0)),
            ("no UTF-8", |fields| fields.author[1] = 0xff),
            ("no id", |fields| fields.validator.fill(0)),
            ("no such letter in an id", |fields| fields.validator[0] = b'A'),
            ("something behind a text", |fields| fields.reason[63] = b'x'),
        ];
        for (what, change) in bad {
            assert_eq!(with(change), None, "{what}");
        }
    }
}
