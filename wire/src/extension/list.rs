//! The section of a change of named lists, or of exemptions: one list or rule, and up to
//! [`MAX_LIST_ENTRIES_AT_ONCE`] of its entries. It stands in a record of its own.

use super::{SECTION_LIST, section};
use crate::frame::layout;
use crate::list::{
    Author, ListKey, ListKeyKind, ListName, ListOp, ListReason, MAX_AUTHOR_LEN, MAX_LIST_NAME_LEN,
    MAX_LIST_REASON_LEN,
};
use crate::record::{MAX_EXTENSION_LEN, RECORD_VERSION, RecordHead, RecordKind};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Most entries that one record changes.
pub const MAX_LIST_ENTRIES_AT_ONCE: usize = 64;

layout! {
    /// What is changed; `count` entries follow.
    ListSection as ListSectionHead, 192; {
        /// [`SECTION_LIST`].
        kind: u16,
        /// Length of the section, bytes.
        len: u16,
        /// A [`ListOp`], never [`ListOp::Describe`].
        op: u8,
        /// A [`ListKeyKind`].
        key_kind: u8,
        /// Entries, 0 to [`MAX_LIST_ENTRIES_AT_ONCE`].
        count: u16,
        /// Number of the last change that it holds; they run from 1 without gaps.
        sequence: u64,
        /// When it was changed, nanoseconds since 1970 UTC.
        changed_at_ns: u64,
        /// Name of the list, or id of the rule.
        name: [u8; MAX_LIST_NAME_LEN],
        /// Who changed it; zeros where nobody says.
        author: [u8; MAX_AUTHOR_LEN],
        /// Why; zeros where nobody says.
        reason: [u8; MAX_LIST_REASON_LEN],
        /// 0.
        reserved: [u8; 8],
    }
}

layout! {
    /// An entry.
    ListEntry as ListEntryFields, 40; {
        /// The bits of its [`ListKey`], the highest byte first.
        key: [u8; 16],
        /// Its number.
        value: i64,
        /// Until when it counts, nanoseconds since 1970 UTC; 0 for ever.
        until_ns: u64,
        /// Bits of a network's prefix; 0 for other keys.
        prefix_len: u8,
        /// 0.
        reserved: [u8; 7],
    }
}

/// Length of a change of one entry, bytes.
pub const LIST_CHANGE_LEN: usize = HEAD_LEN + ENTRY_LEN;
const HEAD_LEN: usize = size_of::<ListSectionHead>();
const ENTRY_LEN: usize = size_of::<ListEntryFields>();
const _: () =
    assert!(HEAD_LEN + MAX_LIST_ENTRIES_AT_ONCE * ENTRY_LEN <= MAX_EXTENSION_LEN, "it fits");

/// An entry of a list, as a change has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedEntry {
    /// What is listed.
    pub key: ListKey,
    /// Its number; 0 where it has none, and where it is taken out.
    pub value: i64,
    /// Until when it counts, nanoseconds since 1970 UTC; 0 for ever.
    pub until_ns: u64,
}

/// A change of one list, or of the exemptions from one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListChange {
    /// What is done.
    pub op: ListOp,
    /// What the keys are.
    pub key_kind: ListKeyKind,
    /// Of which list or rule.
    pub name: ListName,
    /// Number of the last change that it holds: of `n` entries the first has the number `sequence - n + 1`.
    pub sequence: u64,
    /// When, nanoseconds since 1970 UTC.
    pub changed_at_ns: u64,
    /// By whom.
    pub author: Author,
    /// Why.
    pub reason: ListReason,
    /// At most [`MAX_LIST_ENTRIES_AT_ONCE`]; none where a list is created.
    pub entries: Vec<ChangedEntry>,
}

impl ListChange {
    /// The section.
    ///
    /// # Panics
    /// For more entries than fit.
    pub fn to_section(&self) -> Vec<u8> {
        let count = self.entries.len();
        assert!(count <= MAX_LIST_ENTRIES_AT_ONCE, "{count} entries at once");
        let len = HEAD_LEN + count * ENTRY_LEN;
        let head = ListSectionHead::from(&ListSection {
            kind: SECTION_LIST,
            len: len as u16,
            op: self.op.to_wire(),
            key_kind: self.key_kind.to_wire(),
            count: count as u16,
            sequence: self.sequence,
            changed_at_ns: self.changed_at_ns,
            name: self.name.to_wire(),
            author: self.author.to_wire(),
            reason: self.reason.to_wire(),
            reserved: [0; 8],
        });
        let mut section = Vec::with_capacity(len);
        section.extend_from_slice(bytemuck::bytes_of(&head));
        for entry in &self.entries {
            let fields = ListEntryFields::from(&ListEntry {
                key: entry.key.bits.to_be_bytes(),
                value: entry.value,
                until_ns: entry.until_ns,
                prefix_len: entry.key.prefix_len,
                reserved: [0; 7],
            });
            section.extend_from_slice(bytemuck::bytes_of(&fields));
        }
        section
    }

    /// Out of an extension; `None` where it has no such section, or an unsound one.
    pub fn read(extension: &[u8]) -> Option<Self> {
        let (head, entries) =
            section(extension, SECTION_LIST)?.split_at_checked(size_of::<ListSectionHead>())?;
        let head: &ListSectionHead = bytemuck::from_bytes(head);
        let (op, key_kind) = (ListOp::from_wire(head.op)?, ListKeyKind::from_wire(head.key_kind)?);
        let entries: &[ListEntryFields] = bytemuck::try_cast_slice(entries).ok()?;
        let is_sound = op != ListOp::Describe
            && entries.len() == usize::from(head.count.to_native())
            && entries.len() <= MAX_LIST_ENTRIES_AT_ONCE
            && entries.is_empty() == (op == ListOp::Create)
            && head.reserved == [0; 8];
        is_sound.then_some(())?;
        let entry = |fields: &ListEntryFields| {
            let bits = u128::from_be_bytes(fields.key);
            let key = ListKey { bits, prefix_len: fields.prefix_len };
            (key.is_of(key_kind) && fields.reserved == [0; 7]).then(|| ChangedEntry {
                key,
                value: fields.value.to_native(),
                until_ns: fields.until_ns.to_native(),
            })
        };
        Some(Self {
            op,
            key_kind,
            name: ListName::from_wire(&head.name)?,
            sequence: head.sequence.to_native(),
            changed_at_ns: head.changed_at_ns.to_native(),
            author: Author::from_wire(&head.author)?,
            reason: ListReason::from_wire(&head.reason)?,
            entries: entries.iter().map(entry).collect::<Option<_>>()?,
        })
    }

    /// The changes of sections that stand one behind the other; `None` where one is unsound.
    pub fn read_all(mut sections: &[u8]) -> Option<Vec<Self>> {
        let mut changes = Vec::new();
        while !sections.is_empty() {
            let len = u16::from_le_bytes([*sections.get(2)?, *sections.get(3)?]);
            let (section, behind) = sections.split_at_checked(usize::from(len).max(HEAD_LEN))?;
            changes.push(Self::read(section)?);
            sections = behind;
        }
        Some(changes)
    }

    /// The head of its record; the journal fills in the sequence number.
    pub fn to_record(&self) -> RecordHead {
        let mut head = RecordHead::zeroed();
        (head.kind, head.version) = (RecordKind::ListChange.to_wire(), RECORD_VERSION);
        head.decided_at_ns = self.changed_at_ns.into();
        head
    }

    /// Out of a record; `None` if it is none, or an unsound one.
    pub fn from_record(head: &RecordHead, extension: &[u8]) -> Option<Self> {
        (head.kind == RecordKind::ListChange.to_wire()).then_some(())?;
        Self::read(extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(op: ListOp, count: usize) -> ListChange {
        let entry = |n: usize| ChangedEntry {
            key: ListKey::of(n as u128 + 1),
            value: -(n as i64),
            until_ns: n as u64 * 7,
        };
        ListChange {
            op,
            key_kind: ListKeyKind::Account,
            name: ListName::parse("vip-accounts").expect("sound"),
            sequence: 70,
            changed_at_ns: 1_801_450_800_000_000_000,
            author: Author::parse("ana").expect("sound"),
            reason: ListReason::parse("conferido à mão").expect("sound"),
            entries: (0..count).map(entry).collect(),
        }
    }

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let cases = [
            (ListOp::Create, 0),
            (ListOp::Set, 1),
            (ListOp::Remove, MAX_LIST_ENTRIES_AT_ONCE),
            (ListOp::Exempt, 2),
        ];
        let mut all = Vec::new();
        for (op, count) in cases {
            let change = change(op, count);
            let section = change.to_section();
            assert_eq!(ListChange::from_record(&change.to_record(), &section), Some(change));
            for len in 0..section.len() {
                assert_eq!(ListChange::read(&section[..len]), None, "{len}");
            }
            all.extend_from_slice(&section);
        }
        let read = ListChange::read_all(&all).expect("sound");
        let written: Vec<_> = cases.into_iter().map(|(op, count)| change(op, count)).collect();
        assert_eq!(read, written);
        assert_eq!(ListChange::read_all(&all[..all.len() - 8]), None);
        assert_eq!(ListChange::read_all(&[0; 4]), None);
        assert_eq!(ListChange::read_all(&[]), Some(Vec::new()));
    }

    #[test]
    fn no_changed_byte_reads_as_the_same_change() {
        let section = change(ListOp::Set, 2).to_section();
        for at in 0..section.len() {
            for value in [0, 1, 7, 0x7f, 0xff] {
                let mut other = section.clone();
                other[at] = value;
                let is_same = ListChange::read(&other) == Some(change(ListOp::Set, 2));
                assert!(value == section[at] || !is_same, "{at}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        assert_eq!(ListChange::read(&change(ListOp::Create, 1).to_section()), None);
        assert_eq!(ListChange::read(&change(ListOp::Set, 0).to_section()), None);
        assert_eq!(ListChange::read(&change(ListOp::Describe, 0).to_section()), None);
        let mut foreign = change(ListOp::Set, 1);
        foreign.entries[0].key = ListKey { bits: 5, prefix_len: 3 };
        assert_eq!(ListChange::read(&foreign.to_section()), None);
    }
}
