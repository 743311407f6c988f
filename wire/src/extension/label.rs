//! The section of a label: what became known of a decision after it was made. It stands in a record of its
//! own, and never alters the decision.
//!
//! ```text
//! kind u16 │ len u16 │ label u8 │ source_len u8 │ shard u16 │ known_at_ns u64 │ lsn u64 │ source, 64 bytes
//! ```

use super::{SECTION_LABEL, section};
use crate::document::DOCUMENT_LEN;
use crate::frame::{LabelKind, MAX_LABEL_SOURCE_LEN, TRANSACTION_ID_LEN, layout};
use crate::record::{RECORD_VERSION, RecordHead, RecordKind};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};
use std::fmt;

layout! {
    /// A label: what it says, and of which decision.
    LabelSection as LabelSectionFields, 88; {
        /// [`SECTION_LABEL`].
        kind: u16,
        /// Length of the section, bytes.
        len: u16,
        /// A [`LabelKind`].
        label: u8,
        /// Bytes of `source` in use, 1 to [`MAX_LABEL_SOURCE_LEN`].
        source_len: u8,
        /// Stream of the decision.
        shard: u16,
        /// When it became known, nanoseconds since 1970 UTC.
        known_at_ns: u64,
        /// Sequence number of the decision.
        lsn: u64,
        /// Who says so: printable ASCII; zeros behind it.
        source: [u8; MAX_LABEL_SOURCE_LEN],
    }
}

/// Length of the section, bytes.
pub const LABEL_SECTION_LEN: usize = size_of::<LabelSectionFields>();

/// Who says what a label says: 1 to [`MAX_LABEL_SOURCE_LEN`] bytes of printable ASCII, without a space at
/// either end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSource {
    len: u8,
    /// Zeros behind `len`.
    bytes: [u8; MAX_LABEL_SOURCE_LEN],
}

impl LabelSource {
    /// From text; `None` where it can't be one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; MAX_LABEL_SOURCE_LEN];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Self::from_wire(&bytes, text.len() as u8)
    }

    /// From a field and how much of it is in use; `None` where it can't be one, and where what lies behind
    /// is not zeros.
    pub fn from_wire(field: &[u8; MAX_LABEL_SOURCE_LEN], len: u8) -> Option<Self> {
        let (text, behind) = field.split_at_checked(usize::from(len))?;
        let [first, .., last] = text else {
            let single = text.first().is_some_and(u8::is_ascii_graphic);
            return (single && behind.iter().all(|&byte| byte == 0))
                .then_some(Self { len, bytes: *field });
        };
        let is_sound = first.is_ascii_graphic()
            && last.is_ascii_graphic()
            && text.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic())
            && behind.iter().all(|&byte| byte == 0);
        is_sound.then_some(Self { len, bytes: *field })
    }

    /// The field, and how much of it is in use.
    pub const fn to_wire(self) -> ([u8; MAX_LABEL_SOURCE_LEN], u8) {
        (self.bytes, self.len)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("it is ASCII")
    }
}

impl fmt::Display for LabelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for LabelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What became known of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// What.
    pub kind: LabelKind,
    /// When, nanoseconds since 1970 UTC. Of several labels of a decision the one that was known last counts.
    pub known_at_ns: u64,
    /// Who says so.
    pub source: LabelSource,
    /// Stream of the decision.
    pub shard: u16,
    /// Sequence number of the decision.
    pub lsn: u64,
}

impl Label {
    /// The section.
    pub fn to_section(&self) -> [u8; LABEL_SECTION_LEN] {
        let (source, source_len) = self.source.to_wire();
        let fields = LabelSectionFields::from(&LabelSection {
            kind: SECTION_LABEL,
            len: LABEL_SECTION_LEN as u16,
            label: self.kind.to_wire(),
            source_len,
            shard: self.shard,
            known_at_ns: self.known_at_ns,
            lsn: self.lsn,
            source,
        });
        bytemuck::cast(fields)
    }

    /// Out of an extension; `None` where it has no such section, or an unsound one.
    pub fn read(extension: &[u8]) -> Option<Self> {
        let fields: &LabelSectionFields =
            bytemuck::try_from_bytes(section(extension, SECTION_LABEL)?).ok()?;
        Some(Self {
            kind: LabelKind::from_wire(fields.label)?,
            known_at_ns: fields.known_at_ns.to_native(),
            source: LabelSource::from_wire(&fields.source, fields.source_len)?,
            shard: fields.shard.to_native(),
            lsn: fields.lsn.to_native(),
        })
    }

    /// The head of its record, which names the transaction; the journal fills in the sequence number.
    pub fn to_record(
        &self,
        id: &[u8; TRANSACTION_ID_LEN],
        payer: &[u8; DOCUMENT_LEN],
        logged_at_ns: u64,
    ) -> RecordHead {
        let mut head = RecordHead::zeroed();
        (head.kind, head.version) = (RecordKind::Label.to_wire(), RECORD_VERSION);
        head.decided_at_ns = logged_at_ns.into();
        (head.transaction.id, head.transaction.payer) = (*id, *payer);
        head
    }

    /// Out of a record; `None` if it is none, or an unsound one.
    pub fn from_record(head: &RecordHead, extension: &[u8]) -> Option<Self> {
        (head.kind == RecordKind::Label.to_wire()).then_some(())?;
        Self::read(extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label {
            kind: LabelKind::Chargeback,
            known_at_ns: 1_801_450_800_000_000_000,
            source: LabelSource::parse("visa disputes").expect("sound"),
            shard: 3,
            lsn: 77,
        }
    }

    #[test]
    fn a_label_is_read_as_it_was_written() {
        let longest = "s".repeat(MAX_LABEL_SOURCE_LEN);
        for (&kind, source) in LabelKind::ALL.iter().zip(["a", "ab", "a b", "~!", &longest]) {
            let source = LabelSource::parse(source).expect("sound");
            let label = Label { kind, source, ..label() };
            let section = label.to_section();
            assert_eq!(Label::read(&section), Some(label));
            let head = label.to_record(&[b'i'; 32], &[b'1'; 14], 5);
            assert_eq!(Label::from_record(&head, &section), Some(label));
            for len in 0..section.len() {
                assert_eq!(Label::read(&section[..len]), None, "{len}");
            }
        }
        let other = RecordHead { kind: 1, ..label().to_record(&[0; 32], &[0; 14], 5) };
        assert_eq!(Label::from_record(&other, &label().to_section()), None);
    }

    #[test]
    fn no_changed_byte_reads_as_the_same_label() {
        let section = label().to_section();
        for at in 0..section.len() {
            for value in 0..=u8::MAX {
                let mut changed = section;
                changed[at] = value;
                assert!(value == section[at] || Label::read(&changed) != Some(label()), "{at}");
            }
        }
    }

    #[test]
    fn a_source_is_short_printable_text() {
        let too_long = "s".repeat(MAX_LABEL_SOURCE_LEN + 1);
        for bad in ["", " ", " a", "a ", "a\tb", "cartão", "a\0", &too_long] {
            assert_eq!(LabelSource::parse(bad), None, "{bad:?}");
        }
        let mut field = [0; MAX_LABEL_SOURCE_LEN];
        field[..2].copy_from_slice(b"ab");
        assert_eq!(LabelSource::from_wire(&field, 1), None, "something behind it");
        assert_eq!(LabelSource::from_wire(&field, 3), None, "a zero in it");
        assert_eq!(LabelSource::from_wire(&field, 65), None);
        assert_eq!(LabelSource::from_wire(&field, 2).map(|s| s.to_string()), Some("ab".into()));
    }
}
