//! Decisions of a log, recomputed from the log alone and held to what was recorded; and what another
//! policy would have done; both held to what became known of the payments.

mod history;
mod labels;
mod named;
mod siblings;
mod truth;
mod what_if;
mod windows;

pub use history::{History, ListsThen, LoggedPolicy};
pub use labels::{Decisions, Labelled, Labels, MAX_LABELS};
pub use named::looked_up;
pub use truth::{MATURE_AFTER_DAYS, Score, Scores, Skipped, Truth};
pub use what_if::{Changed, WhatIf, take_answers};
pub use windows::{MAX_WINDOW_SETS, windows_at};

use crate::log_files::LogReader;
use catraca_core::log::SoundBlock;
use catraca_core::log::start::LogStart;
use catraca_core::policy::language::{ROWS, RowSet};
use catraca_core::policy::replay::{
    self, Difference, differences, recorded_parties, recorded_values,
};
use catraca_core::policy::windows::{WindowsFault, WindowsKey};
use catraca_core::policy::{Batch, Judgement, Party, Policy};
use catraca_wire::extension::{
    MAX_RULE_WORDS, MAX_WINDOW_VALUES, RulesSeen, WindowValue, read_windows,
};
use catraca_wire::frame::text_of;
use catraca_wire::record::{RecordHead, RecordKind};
use named::NamedThen;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use truth::Standing;
use windows::{Agreement, Along};

/// Differing decisions that are kept to be shown.
pub const MAX_SHOWN: usize = 20;

/// A decision that is not what was recorded.
#[derive(Debug, Clone)]
pub struct Differing {
    /// Stream and sequence number of its record.
    pub shard: u16,
    /// Sequence number.
    pub lsn: u64,
    /// Id of its transaction.
    pub transaction_id: String,
    /// Version of the policy that decided.
    pub policy_version: u32,
    /// In what it differs.
    pub in_what: Vec<Difference>,
    /// The verdict that was recorded, as its code.
    pub recorded: u8,
    /// What came now.
    pub judged: Judgement,
}

/// What a replay found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Decisions recomputed.
    pub decisions: u64,
    /// Of these, decisions that are not what was recorded.
    pub differing: u64,
    /// The first of them.
    pub first: Vec<Differing>,
    /// By difference.
    pub by_difference: BTreeMap<Difference, u64>,
    /// Decisions of policies that the log does not hold, or that this build can't read; by version.
    pub without_policy: BTreeMap<u32, u64>,
    /// Decisions whose list is not there: what their records say of payer and payee was taken as it is.
    pub without_list: u64,
    /// The ids of these lists.
    pub missing_lists: BTreeSet<u64>,
    /// Decisions that looked things up in named lists of which the log does not say what they were then: likewise.
    pub without_named_lists: u64,
    /// Decisions whose records are from before they held the day of the lists: likewise.
    pub without_list_day: u64,
    /// Decisions whose records can't be read.
    pub unreadable: u64,
    /// Decisions whose windows were recomputed from the payments before them.
    pub windows_recomputed: u64,
    /// Decisions whose windows were taken as recorded: the log has records of several numbers of shards, or
    /// its policies read too many different windows.
    pub windows_as_recorded: u64,
    /// Decisions of [`Self::windows_recomputed`] that saw of payments decided by other shards at about the same
    /// moment others than the order of their times comes to.
    pub windows_concurrent: u64,
}

/// What neighbours that are judged together have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    policy_version: u32,
    snapshot_id: u64,
    overlay_sequence: u64,
    list_sequence: u64,
}

/// A decision that waits to be judged with its neighbours.
struct Row<'b> {
    head: &'b RecordHead,
    extension: &'b [u8],
    parties: (Party, Party),
    /// What it is to the truth; `None` where nothing became known of the log's decisions.
    standing: Option<Standing>,
    /// What was recorded of windows is what is recomputed.
    windows_agree: bool,
}

/// Of a record that says nothing of rules.
const NO_RULES_SEEN: RulesSeen = RulesSeen {
    offset_minutes: 0,
    settled_by: None,
    score_sum: 0,
    matched: [0; MAX_RULE_WORDS],
    failed: [0; MAX_RULE_WORDS],
    exempt: [0; MAX_RULE_WORDS],
};

/// Recomputes one stream.
pub struct Replay<'h> {
    history: &'h History,
    lists: ListsThen,
    along: Along,
    named: NamedThen,
    /// What windows of the other policy say of the rows that wait, one behind the other.
    other_windows: Vec<WindowValue>,
    batch: Batch,
    times: Range<u64>,
    /// What it found.
    pub found: Found,
    /// What another policy would have done.
    pub what_if: Option<WhatIf>,
    truth: Option<Truth>,
}

impl<'h> Replay<'h> {
    /// Of decisions made at these times, nanoseconds since 1970 UTC, of a log of so many streams.
    pub fn new(
        history: &'h History,
        times: Range<u64>,
        what_if: Option<WhatIf>,
        (shards, key): (u16, WindowsKey),
    ) -> Self {
        let candidate = what_if.as_ref().map(WhatIf::policy);
        Self {
            history,
            lists: ListsThen::new(),
            named: NamedThen::default(),
            along: Along::new(history, candidate, shards, key),
            other_windows: Vec::new(),
            batch: Batch::new(),
            times,
            found: Found::default(),
            what_if,
            truth: None,
        }
    }

    /// Holds the verdicts to the log's labels, as of a time (nanoseconds since 1970 UTC) or of the newest.
    #[must_use]
    pub fn held_to_labels(self, as_of_ns: Option<u64>) -> Self {
        Self { truth: Truth::new(self.history.labels(), as_of_ns), ..self }
    }

    /// All streams are read: what it found, what another policy would have done, and how either was to what
    /// became known, if anything did.
    pub fn finish(mut self) -> (Found, Option<WhatIf>, Option<Truth>) {
        if let Some(truth) = &mut self.truth {
            truth.finish();
        }
        (self.found, self.what_if, self.truth)
    }

    /// The next stream: its lists and windows begin anew.
    ///
    /// # Errors
    /// There can be no such windows.
    pub fn next_stream(
        &mut self,
        log: &LogReader,
        stream: u16,
        start: &LogStart,
    ) -> Result<(), WindowsFault> {
        self.lists = ListsThen::new();
        self.along.begin(log, stream, start)
    }

    /// Takes the next block of the stream.
    pub fn block(&mut self, block: &SoundBlock<'_>) {
        let mut together: Vec<Row<'_>> = Vec::with_capacity(ROWS);
        let mut seen = None;
        for (head, extension) in block.records() {
            if head.kind != RecordKind::Decision.to_wire() {
                continue;
            }
            let parties = recorded_parties(head);
            if let Some((payer, payee)) = &parties {
                self.along.take(payer.document, payee.document, head);
            }
            let is_asked = self.times.contains(&head.decided_at_ns.to_native());
            let standing = self.truth.as_mut().map(|truth| truth.standing(block, head, is_asked));
            if !is_asked {
                continue;
            }
            let sees = Seen {
                policy_version: head.policy_version.to_native(),
                snapshot_id: head.snapshot_id.to_native(),
                overlay_sequence: head.overlay_sequence.to_native(),
                list_sequence: head.list_sequence.to_native(),
            };
            if together.len() == ROWS || seen.is_some_and(|seen| seen != sees) {
                self.judge(block.place.shard, &mut together);
            }
            seen = Some(sees);
            let Some(parties) = parties else {
                self.found.unreadable += 1;
                continue;
            };
            let parties = self.look_up(head, parties, &sees);
            let windows_agree = self.windows_agree(sees.policy_version, extension);
            self.other_windows.extend_from_slice(self.along.of_candidate());
            together.push(Row { head, extension, parties, standing, windows_agree });
        }
        self.judge(block.place.shard, &mut together);
    }

    /// Whether what was recorded of windows is what the payments before it come to.
    fn windows_agree(&mut self, version: u32, extension: &[u8]) -> bool {
        let reads = self.history.policy_of(version).is_some_and(|p| p.window_values() > 0);
        let mut values = [WindowValue::Evicted; MAX_WINDOW_VALUES];
        // What can't be read is told as such.
        let Some(count) = read_windows(extension, &mut values) else { return true };
        let Some(agreement) = self.along.agree(version, &values[..count]) else {
            self.found.windows_as_recorded += u64::from(reads);
            return true;
        };
        self.found.windows_recomputed += 1;
        self.found.windows_concurrent += u64::from(agreement == Agreement::ButForSiblings);
        agreement != Agreement::No
    }

    /// What the lists know of payer and payee, looked up again where that can be.
    fn look_up(
        &mut self,
        head: &RecordHead,
        recorded: (Party, Party),
        seen: &Seen,
    ) -> (Party, Party) {
        // Records of before there was such a day can't be looked up.
        let day = head.list_day.to_native();
        let lists = self.lists.at(self.history, seen.snapshot_id, seen.overlay_sequence);
        let lists = match lists {
            Some(lists) if day != 0 => lists,
            Some(_) => {
                self.found.without_list_day += 1;
                return recorded;
            }
            None => {
                self.found.without_list += 1;
                self.found.missing_lists.insert(seen.snapshot_id);
                return recorded;
            }
        };
        let again = |party: Party| Party::new(party.document, lists.lookup(party.document, day));
        (again(recorded.0), again(recorded.1))
    }

    fn judge(&mut self, shard: u16, together: &mut Vec<Row<'_>>) {
        let Some(first) = together.first() else { return };
        let version = first.head.policy_version.to_native();
        match self.history.policy_of(version).cloned() {
            Some(policy) => self.compare(shard, &policy, together),
            None => {
                *self.found.without_policy.entry(version).or_default() += together.len() as u64;
            }
        }
        if let Some(what_if) = &mut self.what_if {
            what_if.judge(&mut self.batch, together, &self.other_windows, self.history);
            if let Some(truth) = &mut self.truth {
                for (row, Row { standing, .. }) in together.iter().enumerate() {
                    if let Some(Standing::Mature(label)) = *standing {
                        truth.candidate.add(self.batch.judgement(row).decision.verdict, label);
                    }
                }
            }
        }
        self.other_windows.clear();
        together.clear();
    }

    fn compare(&mut self, shard: u16, policy: &Arc<Policy>, together: &[Row<'_>]) {
        self.batch.clear();
        let mut values = [WindowValue::Evicted; MAX_WINDOW_VALUES];
        let mut lists_agree: RowSet = 0;
        for Row { head, extension, parties, .. } in together {
            // What the clocks said then is recorded: the table of zones may have changed since.
            let rules = RulesSeen::read(extension).unwrap_or(NO_RULES_SEEN);
            let seen = recorded_values(policy, extension, &mut values);
            let said = (seen, &rules);
            let agrees = self.named.agrees(self.history, policy, head, *parties, said);
            let looks_up = !policy.rules().lists.is_empty();
            self.found.without_named_lists += u64::from(agrees.is_none() && looks_up);
            lists_agree |= u32::from(agrees != Some(false)) << self.batch.len();
            let RulesSeen { offset_minutes, exempt, .. } = rules;
            replay::push(&mut self.batch, policy, head, offset_minutes, *parties, seen, &exempt);
        }
        policy.judge(&mut self.batch);
        let asked_agree = self.batch.asked_as_told(policy.rules());
        self.found.decisions += together.len() as u64;
        for (row, Row { head, extension, windows_agree, .. }) in together.iter().enumerate() {
            let judged = self.batch.judgement(row);
            let mut in_what = differences(policy, judged, head, extension);
            in_what.extend((!windows_agree).then_some(Difference::WindowValues));
            in_what.extend((lists_agree >> row & 1 == 0).then_some(Difference::ListValues));
            in_what.extend((asked_agree >> row & 1 == 0).then_some(Difference::Asked));
            if in_what.is_empty() {
                continue;
            }
            self.found.differing += 1;
            for difference in &in_what {
                *self.found.by_difference.entry(*difference).or_default() += 1;
            }
            if self.found.first.len() < MAX_SHOWN {
                self.found.first.push(Differing {
                    shard,
                    lsn: head.lsn.to_native(),
                    transaction_id: text_of(&head.transaction.id).to_owned(),
                    policy_version: policy.version(),
                    in_what,
                    recorded: head.verdict,
                    judged: *judged,
                });
            }
        }
    }
}
