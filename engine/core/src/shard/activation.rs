//! Taking a policy into force on a running node: logged whole first, then brought to every core, so that a
//! crash in between loses nothing. Pure: whoever moves it does each step and says what came of it.

use super::messages::ControlRecord;
use crate::log::policies::PolicyText;
use crate::policy::Policy;
use catraca_wire::extension::ActivatedBy;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is to be done next.
#[derive(Debug, Clone)]
pub enum ActivationStep {
    /// Log this record, and say once it is committed ([`Activation::logged`]) or could not be appended
    /// ([`Activation::refused`]).
    Log(Box<ControlRecord>),
    /// Hand every shard this policy, and say of each that it has it ([`Activation::swapped`]).
    Swap(Arc<Policy>),
    /// Wait for more shards.
    Wait,
    /// The policy is in force.
    Done,
}

/// An activation under way.
#[derive(Debug)]
pub struct Activation {
    /// Records that are not committed, the one to be logged now first.
    records: VecDeque<ControlRecord>,
    policy: Arc<Policy>,
    /// Shards that decide by the policy before still.
    shards: usize,
}

impl Activation {
    /// Of a policy, ready to decide, that somebody takes into force on a node with so many shards.
    pub fn new(text: &PolicyText, by: &ActivatedBy, policy: Arc<Policy>, shards: usize) -> Self {
        assert_eq!(text.version, policy.version(), "decisions record the version that is logged");
        let records = text.records(by).into_iter();
        let records = records.map(|(head, extension)| ControlRecord { head, extension }).collect();
        Self { records, policy, shards }
    }

    /// What is to be done first.
    pub fn begin(&self) -> ActivationStep {
        self.next_record()
    }

    /// The record could not be appended: it is to be logged again, later.
    pub fn refused(&self) -> ActivationStep {
        self.next_record()
    }

    /// The record is committed.
    pub fn logged(&mut self) -> ActivationStep {
        assert!(self.records.pop_front().is_some(), "a record was being logged");
        self.next_record()
    }

    /// One more shard decides by the policy.
    pub fn swapped(&mut self) -> ActivationStep {
        assert!(self.records.is_empty() && self.shards > 0, "it was handed out");
        self.shards -= 1;
        if self.shards == 0 { ActivationStep::Done } else { ActivationStep::Wait }
    }

    fn next_record(&self) -> ActivationStep {
        match self.records.front() {
            Some(record) => ActivationStep::Log(Box::new(record.clone())),
            None => ActivationStep::Swap(Arc::clone(&self.policy)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Zone;
    use crate::log::policies::PolicyId;
    use crate::policy::Rules;
    use catraca_wire::record::RecordKind;

    #[test]
    fn it_is_logged_whole_before_any_shard_has_it() {
        let text = PolicyText {
            version: 3,
            activated_at_ns: 1,
            id: PolicyId::of(&[b'x'; 9_000]),
            text: [b'x'; 9_000][..].into(),
        };
        let policy = Policy::new(3, Zone::default(), Rules::default());
        let mut activation = Activation::new(&text, &ActivatedBy::default(), policy.into(), 2);
        let mut step = activation.begin();
        let mut kinds = Vec::new();
        let mut refuse_once = true;
        while let ActivationStep::Log(record) = step {
            let again = activation.refused();
            assert!(matches!(again, ActivationStep::Log(same) if same == record));
            if std::mem::take(&mut refuse_once) {
                step = activation.refused();
                continue;
            }
            kinds.push(RecordKind::from_wire(record.head.kind).expect("known"));
            step = activation.logged();
        }
        let (last, parts) = kinds.split_last().expect("some");
        assert_eq!((parts.len(), *last), (3, RecordKind::PolicyActivated));
        assert!(matches!(step, ActivationStep::Swap(policy) if policy.version() == 3));
        assert!(matches!(activation.swapped(), ActivationStep::Wait));
        assert!(matches!(activation.swapped(), ActivationStep::Done));
    }
}
