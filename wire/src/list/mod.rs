//! Named lists: what they are called, what their keys are, and what changes them.

mod key;

pub use key::{ListKey, ListKeyError, MAX_LIST_KEY_LEN};

use crate::frame::wire_codes;
use crate::short_text::ShortText;
use std::fmt;

/// Longest name of a list, of a rule that is exempted from, and of a validator that is forced, bytes.
pub const MAX_LIST_NAME_LEN: usize = 64;
/// Longest name of who changes a list, or forces a breaker, bytes.
pub const MAX_AUTHOR_LEN: usize = 32;
/// Longest reason of a change, bytes.
pub const MAX_LIST_REASON_LEN: usize = 64;

/// Who changes a list.
pub type Author = ShortText<MAX_AUTHOR_LEN>;
/// Why a list is changed.
pub type ListReason = ShortText<MAX_LIST_REASON_LEN>;

wire_codes! {
    /// What the keys of a list are.
    ListKeyKind: u8 {
        /// CPF and CNPJ.
        Document = 1 => "document",
        /// Companies: the first eight characters of a CNPJ.
        Company = 2 => "company",
        /// Keyed hashes of accounts.
        Account = 3 => "account",
        /// Keyed hashes of devices.
        Device = 4 => "device",
        /// Keyed hashes of Pix keys.
        PixKey = 5 => "pix_key",
        /// ISPB of institutions.
        Institution = 6 => "institution",
        /// Networks of IP addresses: what is looked up is in the narrowest that has it.
        Network = 7 => "network",
    }
}

wire_codes! {
    /// What is done to a list.
    ListOp: u8 {
        /// Only tell the state.
        Describe = 1 => "describe",
        /// There is such a list from now on.
        Create = 2 => "create",
        /// An entry is put in, or changed.
        Set = 3 => "set",
        /// An entry is taken out.
        Remove = 4 => "remove",
        /// A rule is not applied for a key.
        Exempt = 5 => "exempt",
        /// An exemption is taken back.
        Unexempt = 6 => "unexempt",
    }
}

impl ListOp {
    /// Whether it is about exemptions from a rule, which the name is of; else it is about a list.
    pub const fn is_of_rule(self) -> bool {
        matches!(self, Self::Exempt | Self::Unexempt)
    }
}

/// Name of a list, or id of a rule or of a validator: 1 to [`MAX_LIST_NAME_LEN`] of `a` to `z`, `0` to `9` and `-`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListName(ShortText<MAX_LIST_NAME_LEN>);

impl ListName {
    /// From text; `None` where it can't be one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(ShortText::parse(text)?)
    }

    /// From a field; `None` where it can't be one.
    pub fn from_wire(field: &[u8; MAX_LIST_NAME_LEN]) -> Option<Self> {
        Self::of(ShortText::from_wire(field)?)
    }

    fn of(text: ShortText<MAX_LIST_NAME_LEN>) -> Option<Self> {
        let is_of_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_name = !text.is_empty() && text.as_str().bytes().all(is_of_name);
        is_name.then_some(Self(text))
    }

    /// The field.
    pub const fn to_wire(self) -> [u8; MAX_LIST_NAME_LEN] {
        self.0.to_wire()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for ListName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ListName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_small_letters_digits_and_hyphens() {
        let longest = "n".repeat(MAX_LIST_NAME_LEN);
        for name in ["a", "vip-2", &longest] {
            let read = ListName::parse(name).expect("sound");
            assert_eq!((read.as_str(), ListName::from_wire(&read.to_wire())), (name, Some(read)));
        }
        for bad in ["", "A", "a b", "a_b", "ã", &format!("{longest}n")] {
            assert_eq!(ListName::parse(bad), None, "{bad:?}");
        }
    }
}
