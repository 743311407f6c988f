//! The section of who asked for something, and what came of it: in the record of what was done, or in a record of its
//! own where nothing else was recorded.

use super::{SECTION_AUDIT, section};
use crate::frame::{
    ErrorCode, FrameKind, MAX_SUBJECT_LEN, MAX_SUBMITTER_NAME_LEN, Principal, PrincipalFields,
    SubmitterName, layout, wire_codes,
};
use crate::record::{RECORD_VERSION, RecordHead, RecordKind};
use crate::short_text::ShortText;
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

wire_codes! {
    /// What came of what was asked for.
    AuditOutcome: u8 {
        /// It is done: the record tells what.
        Done = 1 => "done",
        /// It changes nothing that decides: it is so already, waits for somebody else's approval, or is only tried.
        Unchanged = 2 => "unchanged",
        /// Personal data were given out.
        Told = 3 => "told",
        /// It was refused, for the reason that `code` has.
        Refused = 4 => "refused",
    }
}

/// Longest target of an act, bytes.
pub const MAX_TARGET_LEN: usize = 64;

/// What an act is about, where the record's head does not say it: a list, a rule, a validator, a policy.
pub type AuditTarget = ShortText<MAX_TARGET_LEN>;

layout! {
    /// Who asked for something, and what came of it.
    AuditSection as AuditSectionFields, 336; {
        /// [`SECTION_AUDIT`].
        kind: u16,
        /// Length of the section, bytes.
        len: u16,
        /// [`FrameKind`] of the request; 0 for what was asked on the node's own machine, by a signal.
        act: u8,
        /// The request's field `op`; 0 where it has none.
        op: u8,
        /// An [`AuditOutcome`].
        outcome: u8,
        /// 0.
        reserved_a: u8,
        /// [`ErrorCode`] of a refusal, else 0.
        code: u16,
        /// 0.
        reserved_b: u16,
        /// How many requests this stands for: refusals of a second that are alike are counted.
        count: u32,
        /// When it was asked for, of several the first time, nanoseconds since 1970 UTC.
        asked_at_ns: u64,
        /// Who asked.
        principal: Principal,
        /// Name of the client that asked on behalf of that one; zeros where it asked for itself.
        via: [u8; MAX_SUBMITTER_NAME_LEN],
        /// Address of that client's connection; likewise.
        via_remote: [u8; 16],
        /// What it is about; zeros where the head says it.
        target: [u8; MAX_TARGET_LEN],
        /// What names the state before: zeros where nothing changes.
        before: [u8; 32],
        /// What names the state after.
        after: [u8; 32],
        /// 0.
        reserved_c: [u8; 6],
    }
}

/// Length of the section, bytes.
pub const AUDIT_SECTION_LEN: usize = size_of::<AuditSectionFields>();

/// Who asked for something, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audited {
    /// Kind of the request; `None` for what was asked on the node's own machine.
    pub act: Option<FrameKind>,
    /// The request's operation; 0 where its kind has none.
    pub op: u8,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// Why it was refused.
    pub code: Option<ErrorCode>,
    /// How many requests this stands for, at least 1.
    pub count: u32,
    /// When it was asked for, nanoseconds since 1970 UTC.
    pub asked_at_ns: u64,
    /// Who asked.
    pub principal: PrincipalFields,
    /// Name of the client that asked on behalf of that one; zeros where it asked for itself.
    pub via: [u8; MAX_SUBMITTER_NAME_LEN],
    /// Address of that client's connection; likewise.
    pub via_remote: [u8; 16],
    /// What it is about.
    pub target: AuditTarget,
    /// What names the state before.
    pub before: [u8; 32],
    /// What names the state after.
    pub after: [u8; 32],
}

impl Audited {
    /// The section.
    pub fn to_section(&self) -> [u8; AUDIT_SECTION_LEN] {
        let fields = AuditSectionFields::from(&AuditSection {
            kind: SECTION_AUDIT,
            len: AUDIT_SECTION_LEN as u16,
            act: self.act.map_or(0, FrameKind::to_wire),
            op: self.op,
            outcome: self.outcome.to_wire(),
            reserved_a: 0,
            code: self.code.map_or(0, ErrorCode::to_wire),
            reserved_b: 0,
            count: self.count,
            asked_at_ns: self.asked_at_ns,
            principal: Principal::from(&self.principal),
            via: self.via,
            via_remote: self.via_remote,
            target: self.target.to_wire(),
            before: self.before,
            after: self.after,
            reserved_c: [0; 6],
        });
        bytemuck::cast(fields)
    }

    /// Out of an extension; `None` where it has no such section, or an unsound one.
    pub fn read(extension: &[u8]) -> Option<Self> {
        let fields: &AuditSectionFields =
            bytemuck::try_from_bytes(section(extension, SECTION_AUDIT)?).ok()?;
        let reserved = (fields.reserved_a, fields.reserved_b.to_native(), fields.reserved_c);
        (reserved == (0, 0, [0; 6])).then_some(())?;
        fields.principal.check().ok()?;
        SubmitterName::from_wire(&fields.via)?;
        let outcome = AuditOutcome::from_wire(fields.outcome)?;
        let code = match fields.code.to_native() {
            0 => None,
            code => Some(ErrorCode::from_wire(code)?),
        };
        (code.is_some() == (outcome == AuditOutcome::Refused)).then_some(())?;
        Some(Self {
            act: match fields.act {
                0 => None,
                act => Some(FrameKind::from_wire(act)?),
            },
            op: fields.op,
            outcome,
            code,
            count: Some(fields.count.to_native()).filter(|&count| count > 0)?,
            asked_at_ns: fields.asked_at_ns.to_native(),
            principal: fields.principal,
            via: fields.via,
            via_remote: fields.via_remote,
            target: AuditTarget::from_wire(&fields.target)?,
            before: fields.before,
            after: fields.after,
        })
    }

    /// The head of a record of its own; the journal fills in the sequence number.
    pub fn to_record(&self, recorded_at_ns: u64) -> RecordHead {
        let mut head = RecordHead::zeroed();
        (head.kind, head.version) = (RecordKind::Audit.to_wire(), RECORD_VERSION);
        head.decided_at_ns = recorded_at_ns.into();
        head
    }
}

const _: () = assert!(MAX_SUBJECT_LEN == 64, "the layout of LOG.md");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::SubmitterFields;

    fn audited() -> Audited {
        let name = SubmitterName::parse("loja-do-mar").expect("a name");
        let mut principal =
            PrincipalFields { submitter: SubmitterFields::new(7, name), ..Default::default() };
        principal.subject[..3].copy_from_slice(b"ana");
        (principal.remote, principal.certificate) = ([1; 16], [2; 32]);
        Audited {
            act: Some(FrameKind::List),
            op: 3,
            outcome: AuditOutcome::Done,
            code: None,
            count: 1,
            asked_at_ns: 1_801_450_800_000_000_000,
            principal,
            via: *b"gateway\0\0\0\0\0\0\0\0\0",
            via_remote: [5; 16],
            target: AuditTarget::parse("vip").expect("short"),
            before: [3; 32],
            after: [4; 32],
        }
    }

    #[test]
    fn what_was_asked_is_read_as_it_was_written() {
        let refused = Audited {
            act: None,
            outcome: AuditOutcome::Refused,
            code: Some(ErrorCode::Forbidden),
            count: u32::MAX,
            target: AuditTarget::EMPTY,
            ..audited()
        };
        for audited in [audited(), refused] {
            let section = audited.to_section();
            assert_eq!(Audited::read(&section), Some(audited));
            for len in 0..section.len() {
                assert_eq!(Audited::read(&section[..len]), None, "{len}");
            }
            assert_eq!(audited.to_record(9).kind, RecordKind::Audit.to_wire());
        }
    }

    #[test]
    fn no_changed_byte_reads_as_the_same() {
        let section = audited().to_section();
        for at in 0..section.len() {
            for value in [0, 1, 2, 7, 0x7f, 0xff] {
                let mut changed = section;
                changed[at] = value;
                let is_same = Audited::read(&changed) == Some(audited());
                assert!(value == section[at] || !is_same, "{at}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        type Change = fn(&mut AuditSectionFields);
        let with = |change: Change| {
            let mut fields: AuditSectionFields = bytemuck::cast(audited().to_section());
            change(&mut fields);
            Audited::read(bytemuck::bytes_of(&fields))
        };
        assert_eq!(with(|_| {}), Some(audited()));
        let bad: [(&str, Change); 7] = [
            ("an unknown kind", |fields| fields.act = 200),
            ("an unknown outcome", |fields| fields.outcome = 5),
            ("a refusal without a code", |fields| fields.outcome = 4),
            ("a code without a refusal", |fields| fields.code = 6.into()),
            ("nothing asked for", |fields| fields.count = 0.into()),
            ("something reserved", |fields| fields.reserved_c[5] = 1),
            ("no text", |fields| fields.principal.subject[0] = 0xff),
        ];
        for (what, change) in bad {
            assert_eq!(with(change), None, "{what}");
        }
    }
}
