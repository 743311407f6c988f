//! The named lists as they were, for decisions in the order in which they were made.

use super::History;
use catraca_core::named_lists::NamedLists;
use catraca_core::policy::lists::{Asked, InForce};
use catraca_core::policy::replay::{facts, recorded_parties};
use catraca_core::policy::{EVERY_PAYER, Party, Policy, RuleWords};
use catraca_wire::extension::{MAX_RULE_WORDS, MAX_WINDOW_VALUES, RulesSeen, WindowValue};
use catraca_wire::list::ListName;
use catraca_wire::record::RecordHead;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What one policy needed of them.
#[derive(Default)]
pub(super) struct NamedThen {
    /// As they were at the decision asked for last; `None` before the first.
    lists: Option<NamedLists>,
    /// Changes of the history that they have.
    taken: usize,
    /// Of the policy and of the number of the last change.
    in_force: Option<(Arc<Policy>, u64, Arc<InForce>)>,
    /// Lists that the policy names, and that were not there then, or had keys of another kind.
    lacking: Vec<ListName>,
}

impl NamedThen {
    /// What a policy needed of them when so many changes had been made; `None` where the log does not say.
    pub fn at(
        &mut self,
        history: &History,
        policy: &Arc<Policy>,
        sequence: u64,
    ) -> Option<Arc<InForce>> {
        if let Some((of, at, in_force)) = &self.in_force
            && *at == sequence
            && Arc::ptr_eq(of, policy)
        {
            return Some(Arc::clone(in_force));
        }
        let begin = || history.named_before().clone();
        let lists = self.lists.get_or_insert_with(begin);
        if lists.sequence() > sequence {
            (*lists, self.taken) = (begin(), 0);
        }
        while let Some(change) =
            history.named_changes().get(self.taken).filter(|change| change.sequence <= sequence)
        {
            lists.apply(change).ok()?;
            self.taken += 1;
        }
        if lists.sequence() != sequence {
            return None;
        }
        let there = |asked: &&Asked| {
            lists.list(&asked.list).is_some_and(|list| list.kind() == asked.key.kind())
        };
        self.lacking = names(policy.rules().lists.iter().filter(|asked| !there(asked)));
        let in_force = Arc::new(InForce::new(lists, policy.rules(), history.share_key()));
        self.in_force = Some((Arc::clone(policy), sequence, Arc::clone(&in_force)));
        Some(in_force)
    }

    /// What a policy looks up for a decision, and which of its rules are not applied to it. Where the log does
    /// not say what the lists were, the values are not known, and every rule is applied; `false` then.
    pub fn see(
        &mut self,
        history: &History,
        policy: &Arc<Policy>,
        head: &RecordHead,
        parties: (Party, Party),
        values: &mut [WindowValue],
    ) -> (RuleWords, bool) {
        let Some(in_force) = self.at(history, policy, head.list_sequence.to_native()) else {
            values.fill(WindowValue::Evicted);
            (self.in_force, self.lacking) = (None, names(policy.rules().lists.iter()));
            return ([0; MAX_RULE_WORDS], false);
        };
        let facts = facts(head, 0, parties);
        in_force.look_up(&facts, values);
        (in_force.exempt(&facts).unwrap_or([0; MAX_RULE_WORDS]), true)
    }

    /// Lists that the policy names which was asked for last, and that were not there then: what its rules look up
    /// in them is not known.
    pub fn lacking(&self) -> &[ListName] {
        &self.lacking
    }

    /// Whether what was recorded of the lists, behind the values of windows, and of rules that matched and were not
    /// applied is what they come to; `None` where the log does not say what the lists were. Without the key of
    /// shares it is not known whom rules with a share are applied to.
    pub fn agrees(
        &mut self,
        history: &History,
        policy: &Arc<Policy>,
        head: &RecordHead,
        parties: (Party, Party),
        (recorded, seen): (&[WindowValue], &RulesSeen),
    ) -> Option<bool> {
        let mut values = [WindowValue::Evicted; MAX_WINDOW_VALUES];
        let looked_up = &recorded[policy.window_values()..policy.rules().answers_from()];
        let values = &mut values[..looked_up.len()];
        let (now_exempt, is_known) = self.see(history, policy, head, parties, values);
        let share = |number: usize| policy.rules().rules[number].share_permille;
        let has_key = history.share_key().is_known();
        let is_same = (0..policy.rules().rules.len()).all(|number| {
            let is_in = |words: &RuleWords| words[number / 64] >> (number % 64) & 1 == 1;
            !is_in(&seen.matched)
                || is_in(&now_exempt) == is_in(&seen.exempt)
                || (!has_key && share(number) < EVERY_PAYER)
        });
        is_known.then(|| values == looked_up && is_same)
    }
}

/// The names of lists, each once.
fn names<'a>(asked: impl Iterator<Item = &'a Asked>) -> Vec<ListName> {
    let names: BTreeSet<_> = asked.map(|asked| asked.list).collect();
    names.into_iter().collect()
}

/// What a policy would have looked up for a stored decision, and which of its rules would not have been applied.
pub fn looked_up(
    history: &History,
    policy: &Arc<Policy>,
    head: &RecordHead,
) -> (Vec<WindowValue>, RuleWords) {
    let mut values = vec![WindowValue::Evicted; policy.rules().lists.len()];
    let Some(parties) = recorded_parties(head) else { return (values, [0; MAX_RULE_WORDS]) };
    let (exempt, _) = NamedThen::default().see(history, policy, head, parties, &mut values);
    (values, exempt)
}
