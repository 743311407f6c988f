//! The extension of a record: what a decision saw and did beyond its head, in sections. LOG.md,
//! "Extension", gives every byte.
//!
//! ```text
//! kind u16 │ len u16 │ … up to len, a multiple of 8 │ next section …
//! ```
//!
//! A reader passes over sections of kinds that it does not know.

mod activation;
mod audit;
mod forced;
mod label;
mod list;
mod validators;
mod windows;

pub use activation::ActivatedBy;
pub use audit::{AUDIT_SECTION_LEN, AuditOutcome, AuditTarget, Audited, MAX_TARGET_LEN};
pub use forced::{FORCED_SECTION_LEN, ForcedBreaker};
pub use label::{LABEL_SECTION_LEN, Label, LabelSource};
pub use list::{ChangedEntry, LIST_CHANGE_LEN, ListChange, MAX_LIST_ENTRIES_AT_ONCE};
pub use validators::{
    AnswerSource, AskedValidator, BreakerState, MAX_ASKED_VALIDATORS, MAX_VALIDATORS_SECTION_LEN,
    NoAnswer, read_asked, write_asked,
};
pub use windows::{
    MAX_WINDOW_VALUES, MAX_WINDOWS_SECTION_LEN, WindowValue, read_windows, write_windows,
};

use crate::frame::layout;
use crate::record::EXTENSION_ALIGN;
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

/// Section of what a policy's rules came to.
pub const SECTION_RULES: u16 = 1;
/// Section of a policy's text, or a part of it.
pub const SECTION_POLICY: u16 = 2;
/// Section of what a decision saw in windows of time.
pub const SECTION_WINDOWS: u16 = 3;
/// Section of a label.
pub const SECTION_LABEL: u16 = 4;
/// Section of a change of named lists.
pub const SECTION_LIST: u16 = 5;
/// Section of who took a policy into force.
pub const SECTION_ACTIVATION: u16 = 6;
/// Section of the validators that were asked.
pub const SECTION_VALIDATORS: u16 = 7;
/// Section of a validator's breaker that a person forces.
pub const SECTION_FORCED: u16 = 8;
/// Section of who asked for something, and what came of it.
pub const SECTION_AUDIT: u16 = 9;

/// Most words of 64 bits in which a section has a bit for each rule.
pub const MAX_RULE_WORDS: usize = 4;

layout! {
    /// What a policy's rules came to: this head, `rule_words` words with a bit for each rule that
    /// matched, as many with a bit for each rule whose condition had no result, and, where there are any,
    /// as many with a bit for each rule that was not applied.
    RulesSection as RulesSectionHead, 16; {
        /// [`SECTION_RULES`].
        kind: u16,
        /// Length of the section, bytes.
        len: u16,
        /// What the clocks of the policy's zone were ahead of UTC when the transaction happened, minutes.
        offset_minutes: i16,
        /// The rule that settled the verdict, from 0 in the policy's order; 65535 none.
        settled_by: u16,
        /// Sum of the scores, before it is brought to 0 to 1000.
        score_sum: i32,
        /// Words of each set, 1 to 4.
        rule_words: u8,
        /// 1 where there is the set of rules that were not applied.
        has_exempt: u8,
        /// 0.
        reserved: [u8; 2],
    }
}

/// Length of the longest section of rules, bytes.
pub const MAX_RULES_SECTION_LEN: usize = size_of::<RulesSectionHead>() + 3 * 8 * MAX_RULE_WORDS;

/// What a policy's rules came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RulesSeen {
    /// What the clocks of the policy's zone were ahead of UTC, minutes.
    pub offset_minutes: i16,
    /// The rule that settled the verdict; `None` where none did.
    pub settled_by: Option<u16>,
    /// Sum of the scores.
    pub score_sum: i32,
    /// Rules that matched.
    pub matched: [u64; MAX_RULE_WORDS],
    /// Rules whose conditions had no result.
    pub failed: [u64; MAX_RULE_WORDS],
    /// Rules that are not applied to the payment: where they match they do nothing.
    pub exempt: [u64; MAX_RULE_WORDS],
}

const NO_RULE: u16 = u16::MAX;

impl RulesSeen {
    /// Writes the section, with so many words of each set. Gives its bytes.
    ///
    /// # Panics
    /// When there are no words, or more than [`MAX_RULE_WORDS`].
    #[inline]
    pub fn write<'b>(&self, words: usize, into: &'b mut [u8; MAX_RULES_SECTION_LEN]) -> &'b [u8] {
        assert!((1..=MAX_RULE_WORDS).contains(&words), "{words} words of rules");
        let (head, sets) = into.split_at_mut(size_of::<RulesSectionHead>());
        let has_exempt = self.exempt != [0; MAX_RULE_WORDS];
        let exempt = if has_exempt { words } else { 0 };
        let len = head.len() + 8 * (2 * words + exempt);
        let section: &mut RulesSectionHead = bytemuck::from_bytes_mut(head);
        *section = RulesSectionHead::from(&RulesSection {
            kind: SECTION_RULES,
            len: len as u16,
            offset_minutes: self.offset_minutes,
            settled_by: self.settled_by.unwrap_or(NO_RULE),
            score_sum: self.score_sum,
            rule_words: words as u8,
            has_exempt: has_exempt.into(),
            reserved: [0; 2],
        });
        let all = self.matched[..words].iter().chain(&self.failed[..words]);
        let all = all.chain(&self.exempt[..exempt]);
        for (bytes, word) in sets.chunks_exact_mut(8).zip(all) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        &into[..len]
    }

    /// Out of an extension; `None` where it has no such section, or an unsound one.
    #[inline]
    pub fn read(extension: &[u8]) -> Option<Self> {
        let section = section(extension, SECTION_RULES)?;
        let (head, sets) = section.split_at_checked(size_of::<RulesSectionHead>())?;
        let head: &RulesSectionHead = bytemuck::from_bytes(head);
        let words = usize::from(head.rule_words);
        let exempt_words = words * usize::from(head.has_exempt);
        if !(1..=MAX_RULE_WORDS).contains(&words)
            || head.has_exempt > 1
            || sets.len() != 8 * (2 * words + exempt_words)
        {
            return None;
        }
        let [mut matched, mut failed, mut exempt] = [[0; MAX_RULE_WORDS]; 3];
        let all = matched[..words].iter_mut().chain(&mut failed[..words]);
        let all = all.chain(&mut exempt[..exempt_words]);
        for (word, bytes) in all.zip(sets.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("a chunk has 8"));
        }
        let settled_by = head.settled_by.to_native();
        Some(Self {
            offset_minutes: head.offset_minutes.to_native(),
            settled_by: (settled_by != NO_RULE).then_some(settled_by),
            score_sum: head.score_sum.to_native(),
            matched,
            failed,
            exempt,
        })
    }
}

/// Length of the longest extension of a decision, bytes.
const MAX_DECISION_LEN: usize =
    MAX_RULES_SECTION_LEN + MAX_WINDOWS_SECTION_LEN + MAX_VALIDATORS_SECTION_LEN;

/// The extension of a decision: what its rules came to, what windows said, and who was asked.
#[derive(Debug, Clone)]
pub struct DecisionExtension {
    bytes: Box<[u8; MAX_DECISION_LEN]>,
}

impl Default for DecisionExtension {
    fn default() -> Self {
        Self { bytes: Box::new([0; MAX_DECISION_LEN]) }
    }
}

const _: () =
    assert!(MAX_DECISION_LEN <= crate::record::MAX_EXTENSION_LEN, "a decision's extension fits");

impl DecisionExtension {
    /// Writes what rules came to, with so many words of each set, what windows said, and who was asked. Gives the
    /// bytes: none where there are no rules, and no section of windows or validators where there are none.
    ///
    /// # Panics
    /// As [`RulesSeen::write`] and [`write_windows`].
    #[inline]
    pub fn fill(
        &mut self,
        words: usize,
        rules: &RulesSeen,
        seen: &[WindowValue],
        asked: &[AskedValidator],
    ) -> &[u8] {
        if words == 0 {
            return &[];
        }
        let room = "there is room for all sections";
        let mut len = rules.write(words, self.bytes.first_chunk_mut().expect(room)).len();
        if !seen.is_empty() {
            len += write_windows(seen, self.bytes[len..].first_chunk_mut().expect(room)).len();
        }
        if !asked.is_empty() {
            len += write_asked(asked, self.bytes[len..].first_chunk_mut().expect(room)).len();
        }
        &self.bytes[..len]
    }
}

layout! {
    /// A part of a policy's text: this head, and behind it the part, zeros up to a multiple of 8.
    PolicySection as PolicySectionHead, 48; {
        /// [`SECTION_POLICY`].
        kind: u16,
        /// Length of the section, bytes.
        len: u16,
        /// Length of the whole text, bytes.
        text_len: u32,
        /// BLAKE3 of the whole text: what names a policy.
        id: [u8; 32],
        /// Where this part begins in the text, bytes.
        offset: u32,
        /// Length of this part, bytes.
        part_len: u16,
        /// 0.
        reserved: [u8; 2],
    }
}

/// A part of a policy's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyPart<'t> {
    /// BLAKE3 of the whole text.
    pub id: [u8; 32],
    /// Length of the whole text, bytes.
    pub text_len: u32,
    /// Where the part begins in it, bytes.
    pub offset: u32,
    /// The part. Parts end anywhere, also between the bytes of a character.
    pub part: &'t [u8],
}

/// Most bytes of a text in one part.
pub const MAX_POLICY_PART_LEN: usize =
    crate::record::MAX_EXTENSION_LEN - size_of::<PolicySectionHead>();

impl<'t> PolicyPart<'t> {
    /// The section.
    ///
    /// # Panics
    /// For a part of more than [`MAX_POLICY_PART_LEN`].
    pub fn to_section(&self) -> Vec<u8> {
        assert!(self.part.len() <= MAX_POLICY_PART_LEN, "a part of {} bytes", self.part.len());
        let len =
            (size_of::<PolicySectionHead>() + self.part.len()).next_multiple_of(EXTENSION_ALIGN);
        let head = PolicySectionHead::from(&PolicySection {
            kind: SECTION_POLICY,
            len: len as u16,
            text_len: self.text_len,
            id: self.id,
            offset: self.offset,
            part_len: self.part.len() as u16,
            reserved: [0; 2],
        });
        let mut section = [bytemuck::bytes_of(&head), self.part].concat();
        section.resize(len, 0);
        section
    }

    /// Out of an extension; `None` where it has no such section, or an unsound one.
    pub fn read(extension: &'t [u8]) -> Option<Self> {
        let section = section(extension, SECTION_POLICY)?;
        let (head, behind) = section.split_at_checked(size_of::<PolicySectionHead>())?;
        let head: &PolicySectionHead = bytemuck::from_bytes(head);
        let part = behind.get(..usize::from(head.part_len.to_native()))?;
        let is_sound = behind.len() - part.len() < EXTENSION_ALIGN
            && behind[part.len()..].iter().all(|&byte| byte == 0);
        is_sound.then_some(Self {
            id: head.id,
            text_len: head.text_len.to_native(),
            offset: head.offset.to_native(),
            part,
        })
    }
}

/// The bytes of the first section of a kind; `None` where there is none, or where the sections do not fill
/// the extension.
fn section(extension: &[u8], kind: u16) -> Option<&[u8]> {
    let number =
        |bytes: &[u8], at: usize| Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let mut rest = extension;
    while !rest.is_empty() {
        let (of, len) = (number(rest, 0)?, usize::from(number(rest, 2)?));
        if len < EXTENSION_ALIGN || !len.is_multiple_of(EXTENSION_ALIGN) || len > rest.len() {
            return None;
        }
        let (section, behind) = rest.split_at(len);
        if of == kind {
            return Some(section);
        }
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> RulesSeen {
        RulesSeen {
            offset_minutes: -180,
            settled_by: Some(70),
            score_sum: -1_200,
            matched: [5, 1 << 6, 0, 0],
            failed: [0, 2, 0, 0],
            exempt: [0; 4],
        }
    }

    #[test]
    fn what_rules_came_to_is_read_as_it_was_written() {
        let mut bytes = [0xff; MAX_RULES_SECTION_LEN];
        for (words, matched) in [(1, 1), (2, 2), (4, 2)] {
            let keep =
                |set: [u64; 4]| std::array::from_fn(|at| if at < matched { set[at] } else { 0 });
            let seen =
                RulesSeen { matched: keep(seen().matched), failed: keep(seen().failed), ..seen() };
            let section = seen.write(words, &mut bytes);
            assert_eq!(section.len(), 16 + 16 * words);
            assert_eq!(RulesSeen::read(section), Some(seen));
            for len in 0..section.len() {
                assert_eq!(RulesSeen::read(&section[..len]), None, "{len}");
            }
        }
        let none = RulesSeen { settled_by: None, ..seen() };
        assert_eq!(RulesSeen::read(none.write(4, &mut bytes)), Some(none));
        let exempt = RulesSeen { exempt: [3, 0, 0, 1], ..seen() };
        let section = exempt.write(4, &mut bytes).to_vec();
        assert_eq!((section.len(), RulesSeen::read(&section)), (16 + 24 * 4, Some(exempt)));
        for len in 0..section.len() {
            assert_eq!(RulesSeen::read(&section[..len]), None, "{len}");
        }
    }

    #[test]
    fn sections_of_other_kinds_are_passed_over() {
        let mut bytes = [0; MAX_RULES_SECTION_LEN];
        let rules = seen().write(2, &mut bytes).to_vec();
        let unknown = [9, 0, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let part = PolicyPart { id: [7; 32], text_len: 3, offset: 0, part: b"abc" };
        let extension = [&unknown[..], &part.to_section(), &rules].concat();
        assert_eq!(RulesSeen::read(&extension), Some(seen()));
        assert_eq!(PolicyPart::read(&extension), Some(part));
        assert_eq!(RulesSeen::read(&[9, 0, 0, 0, 0, 0, 0, 0]), None, "a length that goes nowhere");
        assert_eq!(RulesSeen::read(&[9, 0, 24, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_part_of_a_text_is_read_as_it_was_written() {
        for len in [0, 1, 7, 8, 100, MAX_POLICY_PART_LEN] {
            let text = vec![b'x'; len];
            let part = PolicyPart { id: [3; 32], text_len: 9_000, offset: 4_048, part: &text };
            let section = part.to_section();
            assert!(section.len() <= crate::record::MAX_EXTENSION_LEN);
            assert_eq!(PolicyPart::read(&section), Some(part));
        }
    }
}
