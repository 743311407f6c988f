//! What came of a policy that is tried, as COMPARISON says it.

use crate::frame::{
    ComparisonCell, ComparisonCellFields, ComparisonHead, ComparisonHeadFields, ComparisonRule,
    ComparisonRuleFields, view,
};

/// What came of a policy that is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Which policy, since when, until when, and what was left out.
    pub head: ComparisonHead,
    /// Payments by verdict, from approve, review and deny of the policies in force to those of this one.
    pub matrix: [[ComparisonCell; 3]; 3],
    /// By rule, in the policy's order.
    pub rules: Vec<ComparisonRule>,
}

const HEAD_LEN: usize = size_of::<ComparisonHeadFields>();
const CELL_LEN: usize = size_of::<ComparisonCellFields>();
const RULE_LEN: usize = size_of::<ComparisonRuleFields>();

impl Comparison {
    /// Length of a frame of a policy without rules, bytes.
    pub(super) const LEN_WITHOUT_RULES: usize = HEAD_LEN + 9 * CELL_LEN;

    /// Out of a frame; `None` for one of another length.
    pub(super) fn read(frame: &[u8]) -> Option<Self> {
        let (head, cells) = frame.split_at_checked(HEAD_LEN)?;
        let head = ComparisonHead::from(view::<ComparisonHeadFields>(head)?);
        let (cells, rules) = cells.split_at_checked(9 * CELL_LEN)?;
        if rules.len() != RULE_LEN * head.rules as usize || rules.len() != head.rules_len as usize {
            return None;
        }
        let cell = |at: usize| view::<ComparisonCellFields>(&cells[at * CELL_LEN..][..CELL_LEN]);
        let mut matrix = [[ComparisonCell { count: 0, centavos: 0 }; 3]; 3];
        for (at, into) in matrix.iter_mut().flatten().enumerate() {
            *into = ComparisonCell::from(cell(at)?);
        }
        let rules = rules.chunks_exact(RULE_LEN);
        let rules = rules.map(|rule| view::<ComparisonRuleFields>(rule).map(ComparisonRule::from));
        Some(Self { head, matrix, rules: rules.collect::<Option<_>>()? })
    }
}
