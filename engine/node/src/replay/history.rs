//! What decisions depended on over the life of a log: policies by version, changes of the blacklist by
//! sequence number, list files by id; and what became known of them.

use super::Labels;
use crate::list_files::{self, LISTS_DIR};
use crate::log_files::{LogError, LogReader};
use crate::policy_file::{self, PolicyFile};
use catraca_core::blacklist::{Lists, Overlay, Snapshot};
use catraca_core::log::policies::{PolicyInLog, PolicyText};
use catraca_core::named_lists::{ListFault, NamedLists};
use catraca_core::policy::Policy;
use catraca_core::policy::share::ShareKey;
use catraca_wire::extension::{ActivatedBy, ListChange};
use catraca_wire::record::{OverlayChange, RecordHead, RecordKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A policy of the log.
#[derive(Debug, Clone)]
pub struct LoggedPolicy {
    /// Its text, and when it came into force.
    pub text: PolicyText,
    /// Who took it into force; `None` where the log does not say.
    pub by: Option<ActivatedBy>,
    /// What it holds, ready to decide; else why this build can't read it.
    pub read: Result<(PolicyFile, Arc<Policy>), String>,
}

/// What decisions depended on.
pub struct History {
    /// By version.
    policies: BTreeMap<u32, LoggedPolicy>,
    blacklist_only: Arc<Policy>,
    /// Ordered by sequence number.
    changes: Vec<OverlayChange>,
    /// Named lists before the first of their changes, and these.
    named: (NamedLists, Vec<ListChange>),
    labels: Labels,
    lists_dir: PathBuf,
    /// By which it is known whom rules with a share were applied to.
    share_key: ShareKey,
    /// The log takes a policy into force whose text it lacks.
    unreadable: bool,
}

impl History {
    /// Reads all that is no decision: it is in the first stream.
    ///
    /// # Errors
    /// [`LogError`]; what lies behind damage is not known.
    pub fn read(log: &LogReader, data_dir: &Path) -> Result<Self, LogError> {
        let mut history = Self {
            policies: BTreeMap::new(),
            blacklist_only: Policy::blacklist_only().into(),
            changes: Vec::new(),
            named: (NamedLists::default(), Vec::new()),
            labels: Labels::default(),
            lists_dir: data_dir.join(LISTS_DIR),
            share_key: log.key().map_or(ShareKey::unknown(), ShareKey::of),
            unreadable: false,
        };
        let mut in_log = PolicyInLog::default();
        for &shard in log.shards() {
            let start = log.start(shard)?;
            history.changes.extend(&start.changes);
            // Those of other streams have none.
            if start.named.sequence() > 0 {
                history.named.0 = start.named.clone();
            }
            in_log.begin(
                start.policy.clone(),
                start.previous_policy.clone(),
                start.coming_policy.clone(),
            );
            start
                .previous_policy
                .into_iter()
                .chain(start.policy)
                .for_each(|policy| history.policy(policy, None));
            log.records(shard, |head, extension, _| {
                history.take(head, extension, &mut in_log);
                ControlFlow::Continue(())
            })?;
        }
        history.unreadable = in_log.in_force().is_err();
        history.changes.sort_by_key(|change| change.sequence);
        Ok(history)
    }

    fn take(&mut self, head: &RecordHead, extension: &[u8], in_log: &mut PolicyInLog) {
        match RecordKind::from_wire(head.kind) {
            Some(RecordKind::OverlayChange) => {
                self.changes.extend(OverlayChange::from_record(head))
            }
            Some(kind @ (RecordKind::PolicyText | RecordKind::PolicyActivated)) => {
                in_log.take(kind, head, extension);
                if kind == RecordKind::PolicyActivated
                    && let Ok(Some(policy)) = in_log.in_force()
                {
                    self.policy(policy.clone(), ActivatedBy::read(extension));
                }
            }
            Some(RecordKind::ListChange) => {
                self.named.1.extend(ListChange::from_record(head, extension));
            }
            Some(RecordKind::Label) => self.labels.take(head, extension, |_| true),
            _ => {}
        }
    }

    /// The labels of the log.
    pub const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// By which it is known whom rules with a share were applied to; unknown without the log's key.
    pub const fn share_key(&self) -> ShareKey {
        self.share_key
    }

    /// Named lists and exemptions where the log begins.
    pub const fn named_before(&self) -> &NamedLists {
        &self.named.0
    }

    /// Their changes, in order.
    pub fn named_changes(&self) -> &[ListChange] {
        &self.named.1
    }

    /// Named lists and exemptions at the log's end.
    ///
    /// # Errors
    /// A change makes no sense.
    pub fn named(&self) -> Result<NamedLists, ListFault> {
        let (mut named, changes) = self.named.clone();
        changes.iter().try_for_each(|change| named.apply(change))?;
        Ok(named)
    }

    fn policy(&mut self, text: PolicyText, by: Option<ActivatedBy>) {
        let read = policy_file::of_log(&text);
        self.policies.insert(text.version, LoggedPolicy { text, by, read });
    }

    /// Whether the log takes a policy into force whose text it does not hold.
    pub const fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// The policies of the log, by version.
    pub fn policies(&self) -> impl Iterator<Item = &LoggedPolicy> {
        self.policies.values()
    }

    /// The policy of a version; `None` where the log does not hold it, or this build can't read it.
    pub fn policy_of(&self, version: u32) -> Option<&Arc<Policy>> {
        if version == 0 {
            return Some(&self.blacklist_only);
        }
        self.policies.get(&version)?.read.as_ref().ok().map(|(_, policy)| policy)
    }

    /// What people are to know of the policy of a version.
    pub fn file_of(&self, version: u32) -> Option<&PolicyFile> {
        self.policies.get(&version)?.read.as_ref().ok().map(|(file, _)| file)
    }
}

/// The lists as they were, for decisions in the order in which they were made.
pub struct ListsThen {
    lists: Lists,
    /// Changes of the history that the overlay has.
    taken: usize,
    snapshots: BTreeMap<u64, Arc<Snapshot>>,
    /// Lists whose files are not there.
    missing: BTreeSet<u64>,
}

impl ListsThen {
    /// Before the first decision.
    pub fn new() -> Self {
        Self {
            lists: Lists::default(),
            taken: 0,
            snapshots: BTreeMap::new(),
            missing: BTreeSet::new(),
        }
    }

    /// The lists that a decision saw; `None` where the file of its list is not there.
    pub fn at(&mut self, history: &History, snapshot_id: u64, sequence: u64) -> Option<&Lists> {
        if self.lists.overlay_sequence() > sequence {
            let snapshot = self.lists.snapshot().cloned();
            (self.lists, self.taken) = (Lists::new(snapshot, Overlay::new()), 0);
        }
        while let Some(change) =
            history.changes.get(self.taken).filter(|change| change.sequence <= sequence)
        {
            // The node that made it had room for it.
            let _ = self.lists.apply(change);
            self.taken += 1;
        }
        if self.lists.snapshot_id() != snapshot_id {
            let snapshot = match snapshot_id {
                0 => None,
                id => Some(self.snapshot(history, id)?),
            };
            drop(self.lists.swap(snapshot));
        }
        Some(&self.lists)
    }

    fn snapshot(&mut self, history: &History, id: u64) -> Option<Arc<Snapshot>> {
        if let Some(known) = self.snapshots.get(&id) {
            return Some(Arc::clone(known));
        }
        if self.missing.contains(&id) {
            return None;
        }
        match list_files::open(&list_files::kept_path(&history.lists_dir, id)) {
            Ok(snapshot) if snapshot.id() == id => {
                let snapshot = Arc::new(snapshot);
                self.snapshots.insert(id, Arc::clone(&snapshot));
                Some(snapshot)
            }
            _ => {
                self.missing.insert(id);
                None
            }
        }
    }
}

impl Default for ListsThen {
    fn default() -> Self {
        Self::new()
    }
}
