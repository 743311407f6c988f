//! What came of a policy that is tried: the parts of COMPARISON.

use super::{Header, layout};
use bytemuck::{Pod, Zeroable};
use rkyv::{Archive, Deserialize, Serialize};

layout! {
    /// What came of the policy that is tried. Behind it nine cells of payments by verdicts, from approve,
    /// review, deny of the policies in force to approve, review, deny of this one; then six numbers for each
    /// of its rules.
    ComparisonHead as ComparisonHeadFields, 128; {
        /// Header of the frame.
        header: Header,
        /// BLAKE3 of its text; zeros where none is tried, and then everything is.
        policy_id: [u8; 32],
        /// Since when it is tried, nanoseconds since 1970 UTC.
        since_ns: u64,
        /// Until when, nanoseconds since 1970 UTC.
        until_ns: u64,
        /// Payments that were not looked at, because too many waited.
        left_out: u64,
        /// What these amount to, centavos.
        left_out_centavos: u64,
        /// Number of its rules.
        rules: u32,
        /// Bytes of what came of its rules: 48 for each.
        rules_len: u32,
        /// 1 if the request changed anything.
        changed: u8,
        /// 0.
        reserved: [u8; 39],
    }
}

layout! {
    /// Payments and what they amount to.
    ComparisonCell as ComparisonCellFields, 16; {
        /// Payments.
        count: u64,
        /// Centavos; the highest number stands for more.
        centavos: u64,
    }
}

layout! {
    /// What came of a rule of the policy that is tried.
    ComparisonRule as ComparisonRuleFields, 48; {
        /// Payments that it matches.
        matched: u64,
        /// What these amount to, centavos.
        matched_centavos: u64,
        /// Of these, payments that get another verdict.
        changed: u64,
        /// What these amount to, centavos.
        changed_centavos: u64,
        /// Payments whose verdict it settles.
        settled: u64,
        /// Payments of which its condition has no result.
        without_result: u64,
    }
}
