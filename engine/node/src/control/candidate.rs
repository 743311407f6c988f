//! The policy that is tried beside the one in force, on a node that decides: handed to every core, its totals
//! collected from them. It is not logged: a start and a promotion try none.

use super::answer::Asker;
use super::candidate_metrics::{CandidateFigures, centavos};
use super::changes::Changing;
use super::list_request::Refused;
use super::windows::stopping;
use crate::wall_clock::wall_ns;
use catraca_core::log::policies::PolicyId;
use catraca_core::policy::Policy;
use catraca_core::policy::lists::InForce;
use catraca_core::shard::candidate::{Candidate, CandidateTotals};
use catraca_core::shard::messages::{ToControl, ToShard};
use catraca_wire::frame::{
    ComparisonCell, ComparisonCellFields, ComparisonHead, ComparisonHeadFields, ComparisonRule,
    ComparisonRuleFields, ErrorCode, FrameKind, Header, HeaderFields,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two collections of what came of it for `/metrics`: as often as it is scraped. For each a core adds
/// up one row of numbers for each rule, which takes microseconds.
const COLLECT_EVERY: Duration = Duration::from_secs(5);

/// The policy that is tried.
pub(super) struct Tried {
    id: PolicyId,
    pub policy: Arc<Policy>,
    since_ns: u64,
    until_ns: u64,
    /// When what came of it is collected next.
    pub collect_at: Instant,
}

/// A policy that is to be tried.
pub(super) struct Wanted {
    pub id: PolicyId,
    pub policy: Arc<Policy>,
    /// What it needs of the named lists.
    pub named: Arc<InForce>,
    /// Until when, nanoseconds since 1970 UTC.
    pub until_ns: u64,
}

/// Has every core try a policy, whose windows are level; or none any more.
pub(super) async fn set(changing: &mut Changing, wanted: Option<Wanted>) -> Option<Tried> {
    for shard in 0..changing.control.shards() {
        let candidate = wanted.as_ref().map(|Wanted { policy, named, until_ns, .. }| {
            Box::new(Candidate::new(Arc::clone(policy), Arc::clone(named), *until_ns))
        });
        changing.control.tell(shard, ToShard::SetCandidate(candidate)).await;
        let released = |event: &ToControl| matches!(event, ToControl::CandidateReleased(_));
        if let Some(ToControl::CandidateReleased(Some(before))) = changing.event(released).await {
            drop(tokio::task::spawn_blocking(move || drop(before)));
        }
    }
    changing.control.candidate_figures.set(None);
    let Wanted { id, policy, until_ns, .. } = wanted?;
    tracing::info!(%id, until_ns, "a policy is tried beside the one in force");
    let (since_ns, collect_at) = (wall_ns(), Instant::now() + COLLECT_EVERY);
    Some(Tried { id, policy, since_ns, until_ns, collect_at })
}

/// Collects what came of it for `/metrics`, so that a scrape waits for no core and for no change.
pub(super) async fn collect_for_scrapes(changing: &mut Changing, tried: &mut Tried) {
    tried.collect_at = Instant::now() + COLLECT_EVERY;
    // It fails when the node stops.
    let _ = collect(changing, tried).await;
}

/// Whether a time until which a policy is to be tried makes sense.
pub(super) fn check_until(until_ns: u64) -> Result<(), Refused> {
    if until_ns > wall_ns() {
        return Ok(());
    }
    Err(Refused(ErrorCode::BadField, "until_ns: must be in the future".to_owned()))
}

/// The frame that says what came of it.
pub(super) async fn compare(
    changing: &mut Changing,
    asker: Asker,
    tried: Option<&Tried>,
    changed: bool,
) -> Result<Vec<u8>, Refused> {
    let came = match tried {
        Some(tried) => collect(changing, tried).await?,
        None => Box::default(),
    };
    Ok(frame(asker.correlation, tried, &came, changed))
}

/// What came of it on all cores; `/metrics` has it from then on.
async fn collect(changing: &mut Changing, tried: &Tried) -> Result<Box<CandidateTotals>, Refused> {
    let mut came = Box::new(CandidateTotals::new(tried.policy.rules().rules.len()));
    // The same totals go round, so that no core takes memory for them.
    for shard in 0..changing.control.shards() {
        changing.control.tell(shard, ToShard::CollectCandidate(came)).await;
        let told = |event: &ToControl| matches!(event, ToControl::CandidateCame(_));
        let Some(ToControl::CandidateCame(joined)) = changing.event(told).await else {
            return Err(stopping());
        };
        came = joined;
    }
    let figures = CandidateFigures::new(tried.until_ns, &came);
    changing.control.candidate_figures.set(Some(figures));
    Ok(came)
}

fn frame(
    correlation: u64,
    tried: Option<&Tried>,
    came: &CandidateTotals,
    changed: bool,
) -> Vec<u8> {
    let rules = &came.totals.rules;
    let length = size_of::<ComparisonHeadFields>()
        + 9 * size_of::<ComparisonCellFields>()
        + rules.len() * size_of::<ComparisonRuleFields>();
    let head = ComparisonHead {
        header: Header::from(&HeaderFields::new(FrameKind::Comparison, length, 0, correlation)),
        policy_id: tried.map_or([0; 32], |tried| tried.id.0),
        since_ns: tried.map_or(0, |tried| tried.since_ns),
        until_ns: tried.map_or(0, |tried| tried.until_ns),
        left_out: came.left_out.count,
        left_out_centavos: centavos(&came.left_out),
        rules: rules.len() as u32,
        rules_len: (rules.len() * size_of::<ComparisonRuleFields>()) as u32,
        changed: changed.into(),
        reserved: [0; 39],
    };
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(bytemuck::bytes_of(&ComparisonHeadFields::from(&head)));
    for cell in came.totals.matrix.iter().flatten() {
        let cell = ComparisonCell { count: cell.count, centavos: centavos(cell) };
        bytes.extend_from_slice(bytemuck::bytes_of(&ComparisonCellFields::from(&cell)));
    }
    for rule in rules {
        let rule = ComparisonRule {
            matched: rule.matched.count,
            matched_centavos: centavos(&rule.matched),
            changed: rule.changed.count,
            changed_centavos: centavos(&rule.changed),
            settled: rule.settled,
            without_result: rule.without_result,
        };
        bytes.extend_from_slice(bytemuck::bytes_of(&ComparisonRuleFields::from(&rule)));
    }
    assert_eq!(bytes.len(), length, "the header says how long it is");
    bytes
}
