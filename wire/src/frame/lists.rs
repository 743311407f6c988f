//! The fields of LIST and LIST_STATE: named lists, and exemptions from rules.

use super::layouts::frame;
use super::{FixedFrame, FrameKind, Header, HeaderFields, layout};
use crate::list::{MAX_AUTHOR_LEN, MAX_LIST_KEY_LEN, MAX_LIST_NAME_LEN, MAX_LIST_REASON_LEN};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

frame! {
    /// Changes or describes a named list, or exempts a key from a rule.
    ListRequest as ListFrame, List, 256; {
        /// A [`ListOp`](crate::list::ListOp).
        op: u8,
        /// A [`ListKeyKind`](crate::list::ListKeyKind): of a list that is created, and of an exemption; else 0.
        key_kind: u8,
        /// 0.
        reserved_a: [u8; 6],
        /// Name of the list, or id of the rule.
        name: [u8; MAX_LIST_NAME_LEN],
        /// The key, as people write it; zeros behind it.
        key: [u8; MAX_LIST_KEY_LEN],
        /// The number of an entry that is set.
        value: i64,
        /// Until when the entry or the exemption counts, nanoseconds since 1970 UTC; 0 for ever.
        until_ns: u64,
        /// Who asks for it.
        author: [u8; MAX_AUTHOR_LEN],
        /// Why.
        reason: [u8; MAX_LIST_REASON_LEN],
        /// 0.
        reserved_b: [u8; 8],
    }
}

frame! {
    /// The list after a LIST.
    ListStateReply as ListStateFrame, ListState, 64; {
        /// 1 if the request changed anything.
        changed: u8,
        /// The [`ListKeyKind`](crate::list::ListKeyKind) of the list, or of the exemption; 0 where a rule
        /// was described.
        key_kind: u8,
        /// 1 if the key that was named is in the list now, or exempted.
        is_in: u8,
        /// 0.
        reserved_a: u8,
        /// Entries of the list, or exemptions from the rule.
        entries: u32,
        /// Entries of all lists and exemptions.
        all_entries: u32,
        /// Lists.
        lists: u32,
        /// Changes of lists so far: the version of all of them together.
        sequence: u64,
        /// 0.
        reserved_b: [u8; 24],
    }
}
