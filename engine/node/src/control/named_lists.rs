//! Named lists and exemptions of the running node: what is asked is checked, logged, and brought to every core.
//!
//! Changes of one list that wait together are one record of the log, and one swap on every core.

use super::answer::Asker;
use super::audit::{self, States};
use super::changes::Changing;
use super::list_request::Refused;
use super::named_request::NamedRequest;
use super::policies::Policies;
use crate::wall_clock::wall_ns;
use catraca_core::named_lists::NamedLists;
use catraca_core::policy::Rules;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::share::ShareKey;
use catraca_core::shard::messages::{ControlRecord, ToControl, ToShard};
use catraca_wire::extension::AuditOutcome;
use catraca_wire::extension::{ListChange, MAX_LIST_ENTRIES_AT_ONCE};
use catraca_wire::frame::{ErrorCode, ListFrame, ListStateFrame};
use catraca_wire::list::ListOp;
use std::sync::Arc;

/// Most requests that are carried out together.
pub(super) const MOST_TOGETHER: usize = MAX_LIST_ENTRIES_AT_ONCE;

/// The named lists of a node.
pub(super) struct Named {
    lists: NamedLists,
    share_key: ShareKey,
}

/// A request that is carried out with others.
struct Told {
    asker: Asker,
    request: NamedRequest,
    changed: bool,
}

impl Named {
    /// Of a cluster with this key of shares.
    pub fn new(lists: NamedLists, share_key: ShareKey) -> Self {
        Self { lists, share_key }
    }

    fn in_force(&self, rules: &Rules) -> Arc<InForce> {
        Arc::new(InForce::new(&self.lists, rules, self.share_key))
    }

    /// What a policy's rules need of them.
    ///
    /// # Errors
    /// There is no such list, or one of another kind.
    pub fn for_rules(&self, rules: &Rules) -> Result<Arc<InForce>, Refused> {
        for asked in &rules.lists {
            let (name, kind) = (asked.list, asked.key.kind());
            let found = self.lists.list(&name).map(|list| list.kind());
            let why = match found {
                Some(found) if found == kind => continue,
                Some(found) => {
                    format!("the list {name} has keys of kind {found}, and the policy needs {kind}")
                }
                None => format!(
                    "there is no list {name}: catraca policy lists create {name} --kind {kind}"
                ),
            };
            return Err(Refused(ErrorCode::Failed, why));
        }
        Ok(self.in_force(rules))
    }

    /// Carries requests out, in their order, and answers each.
    pub async fn requests(
        &mut self,
        changing: &mut Changing,
        policies: &Policies,
        frames: Vec<(Asker, ListFrame)>,
    ) {
        let mut together = Together::new(&self.lists);
        for (asker, frame) in frames {
            let now_ns = wall_ns();
            let read = NamedRequest::read(&frame, &together.lists, now_ns);
            let request = match read.and_then(|request| policies.has_rule_of(request)) {
                Ok(request) => request,
                Err(Refused(code, why)) => {
                    asker.refuse(&changing.control, code, &why).await;
                    continue;
                }
            };
            if !together.takes(&request) {
                self.finish(changing, policies, together).await;
                together = Together::new(&self.lists);
            }
            if let Err(Refused(code, why)) = together.take(asker, request, now_ns) {
                asker.refuse(&changing.control, code, &why).await;
            }
        }
        self.finish(changing, policies, together).await;
    }

    /// Logs what is changed, brings it to every core, and answers.
    async fn finish(&mut self, changing: &mut Changing, policies: &Policies, together: Together) {
        let Together { lists, change, told } = together;
        let asked = told.iter().filter(|told| told.asker.act.is_audited());
        // Of what changed something, where anything did: the record is of that.
        let first = asked.clone().find(|told| told.changed).or_else(|| asked.clone().next());
        let count = asked.count();
        if let Some(Told { asker, request, .. }) = first {
            let outcome = match (&change, request.op) {
                (Some(_), _) => AuditOutcome::Done,
                (None, ListOp::Describe) => AuditOutcome::Told,
                (None, _) => AuditOutcome::Unchanged,
            };
            changing.begin(asker.audited(outcome, count));
            changing.about(audit::target(request.name.as_str()));
        }
        let is_told = change.is_none() && count > 0;
        if is_told && let Err(Refused(code, why)) = changing.end().await {
            return refuse_all(changing, told, code, &why).await;
        }
        if let Some(change) = &change {
            let record = ControlRecord { head: change.to_record(), extension: change.to_section() };
            let states = States::of_numbers(&[self.lists.sequence()], &[change.sequence]);
            if let Err(Refused(code, why)) = changing.log(Box::new(record), states).await {
                return refuse_all(changing, told, code, &why).await;
            }
            self.lists = lists;
            self.swap(changing, policies).await;
            policies.tell_lists(changing, &self.lists);
            tracing::info!(
                name = %change.name, change = %change.op, entries = change.entries.len(),
                sequence = change.sequence, author = %change.author, "named list changed"
            );
        }
        for Told { asker, request, changed } in told {
            let state = self.state(asker.correlation, &request, changed);
            asker.answer(&changing.control, bytemuck::bytes_of(&state).to_vec()).await;
        }
    }

    /// Hands every core what it needs of them now.
    async fn swap(&self, changing: &mut Changing, policies: &Policies) {
        let in_force = self.in_force(policies.in_force_rules());
        let candidate = policies.tried_rules().map(|rules| self.in_force(rules));
        changing
            .control
            .tell_all(|| ToShard::SwapNamed(Arc::clone(&in_force), candidate.clone()))
            .await;
        for _ in 0..changing.control.shards() {
            // What was used before is freed here.
            let released = |event: &ToControl| matches!(event, ToControl::NamedReleased(_));
            drop(changing.event(released).await);
        }
    }

    fn state(&self, correlation: u64, request: &NamedRequest, changed: bool) -> ListStateFrame {
        let list = self.lists.list(&request.name).filter(|_| !request.op.is_of_rule());
        let entries = list.map_or(self.lists.exemptions_len(), |list| list.len());
        let mut state = ListStateFrame::empty(correlation);
        state.changed = changed.into();
        state.key_kind = request.kind.to_wire();
        state.is_in = request.is_in(&self.lists, wall_ns()).into();
        state.entries = (entries as u32).into();
        state.all_entries = (self.lists.entries() as u32).into();
        state.lists = (self.lists.lists().len() as u32).into();
        state.sequence = self.lists.sequence().into();
        state
    }
}

/// Requests that are carried out together: one record at most.
async fn refuse_all(changing: &Changing, told: Vec<Told>, code: ErrorCode, why: &str) {
    for Told { asker, .. } in told {
        asker.refuse(&changing.control, code, why).await;
    }
}

struct Together {
    /// As they are once the record is logged.
    lists: NamedLists,
    change: Option<ListChange>,
    told: Vec<Told>,
}

impl Together {
    fn new(lists: &NamedLists) -> Self {
        Self { lists: lists.clone(), change: None, told: Vec::new() }
    }

    /// Whether a request may be carried out with those before it.
    fn takes(&self, request: &NamedRequest) -> bool {
        self.change.is_none()
            || self
                .told
                .iter()
                .rev()
                .find(|told| told.changed)
                .is_none_or(|told| request.is_so(&self.lists) || told.request.goes_with(request))
    }

    fn take(&mut self, asker: Asker, request: NamedRequest, now_ns: u64) -> Result<(), Refused> {
        // A list that is created anew must be of the same kind.
        let known = self.lists.list(&request.name).filter(|_| request.op == ListOp::Create);
        let is_so = match known {
            Some(list) if list.kind() != request.kind => {
                let why = format!(
                    "the list {} is there, with keys of kind {}",
                    request.name,
                    list.kind()
                );
                return Err(Refused(ErrorCode::Failed, why));
            }
            Some(_) => true,
            None => request.is_so(&self.lists),
        };
        if is_so {
            self.told.push(Told { asker, request, changed: false });
            return Ok(());
        }
        let single = ListChange {
            op: request.op,
            key_kind: request.kind,
            name: request.name,
            sequence: self.lists.sequence() + 1,
            changed_at_ns: self.change.as_ref().map_or(now_ns, |change| change.changed_at_ns),
            author: request.author,
            reason: request.reason,
            entries: request.entry.into_iter().collect(),
        };
        let mut next = self.lists.clone();
        next.apply(&single).map_err(|fault| Refused(ErrorCode::Failed, fault.to_string()))?;
        self.lists = next;
        match &mut self.change {
            Some(change) => {
                change.sequence = single.sequence;
                change.entries.extend(single.entries);
            }
            None => self.change = Some(single),
        }
        self.told.push(Told { asker, request, changed: true });
        Ok(())
    }
}
