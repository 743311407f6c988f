//! What is held of somebody, as it is found record by record.

use crate::commands::log::{RecordView, ip};
use catraca_core::log::BlockLocation;
use catraca_wire::DocumentKey;
use catraca_wire::extension::{Label, ListChange};
use catraca_wire::frame::Verdict;
use catraca_wire::list::{ListKey, ListKeyKind};
use catraca_wire::record::{RecordHead, RecordKind};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// Why a record is of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Pays.
    Payer,
    /// Is paid.
    Payee,
    /// Pays himself.
    Both,
    /// Was put on a list, taken off it, allowed or exempted.
    Listed,
    /// A decision on one of his payments was labelled.
    Labelled,
}

impl Role {
    /// For a person.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payer => "decisions as payer",
            Self::Payee => "decisions as payee",
            Self::Both => "decisions as payer and payee",
            Self::Listed => "changes of lists and exemptions",
            Self::Labelled => "labels of decisions",
        }
    }
}

/// A record of somebody.
#[derive(Debug, Serialize)]
pub struct Held {
    /// Why.
    pub role: Role,
    /// Where it was, of several data.
    pub place: String,
    /// The record, with all documents masked: the other party is somebody else.
    #[serde(flatten)]
    pub record: RecordView,
}

/// What records of one role come to.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// How many.
    pub records: u64,
    /// Decided at, of the first and the last one, nanoseconds since 1970 UTC.
    pub first_ns: u64,
    pub last_ns: u64,
    /// Of decisions, by verdict.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Of decisions, all amounts.
    pub amount_centavos: i128,
}

/// Who is asked for, and what was found of that one.
#[derive(Debug)]
pub struct Search {
    subject: DocumentKey,
    text: [u8; 14],
    key: Option<ListKey>,
    /// The places of decisions: labels name them.
    decisions: HashSet<(u16, u64)>,
    /// What was found.
    pub tallies: BTreeMap<Role, Tally>,
}

impl Search {
    /// For somebody.
    pub fn new(subject: DocumentKey) -> Self {
        let key = ListKey::parse(ListKeyKind::Document, &subject.to_canonical()).ok();
        let (decisions, tallies) = (HashSet::new(), BTreeMap::new());
        Self { subject, text: subject.to_wire(), key, decisions, tallies }
    }

    /// Who it is.
    pub const fn subject(&self) -> DocumentKey {
        self.subject
    }

    /// Whether labels have to be looked for.
    pub fn has_decisions(&self) -> bool {
        !self.decisions.is_empty()
    }

    /// A record, of whatever kind; labels come in a second reading, when all decisions are known.
    pub fn record(
        &mut self,
        head: &RecordHead,
        extension: &[u8],
        place: &BlockLocation,
        from: &str,
    ) -> Option<Held> {
        let parties = (head.transaction.payer == self.text, head.transaction.payee == self.text);
        let is_decision = head.kind == RecordKind::Decision.to_wire();
        let role = match parties {
            _ if !is_decision => self.is_listed(head, extension).then_some(Role::Listed)?,
            (true, true) => Role::Both,
            (true, false) => Role::Payer,
            (false, true) => Role::Payee,
            (false, false) => return None,
        };
        let mut view = RecordView::new(head, extension, place, false);
        if is_decision {
            self.decisions.insert((place.shard, head.lsn.to_native()));
            // Where a payment was made from is the payer's, and nobody else's.
            if parties.0 {
                view.ip = ip(&head.transaction.ip);
            }
        }
        self.count(role, head);
        Some(Held { role, place: from.to_owned(), record: view })
    }

    /// A record in the second reading: a label of one of the decisions.
    pub fn label(
        &mut self,
        head: &RecordHead,
        extension: &[u8],
        place: &BlockLocation,
        from: &str,
    ) -> Option<Held> {
        let label = Label::from_record(head, extension)?;
        self.decisions.contains(&(label.shard, label.lsn)).then_some(())?;
        self.count(Role::Labelled, head);
        let record = RecordView::new(head, extension, place, false);
        Some(Held { role: Role::Labelled, place: from.to_owned(), record })
    }

    fn is_listed(&self, head: &RecordHead, extension: &[u8]) -> bool {
        if head.kind == RecordKind::OverlayChange.to_wire() {
            return head.transaction.payer == self.text;
        }
        ListChange::from_record(head, extension).is_some_and(|change| {
            change.key_kind == ListKeyKind::Document
                && change.entries.iter().any(|entry| Some(entry.key) == self.key)
        })
    }

    fn count(&mut self, role: Role, head: &RecordHead) {
        let at_ns = head.decided_at_ns.to_native();
        let tally = self.tallies.entry(role).or_default();
        tally.records += 1;
        tally.first_ns = if tally.records == 1 { at_ns } else { tally.first_ns.min(at_ns) };
        tally.last_ns = tally.last_ns.max(at_ns);
        if head.kind == RecordKind::Decision.to_wire() {
            let verdict = Verdict::from_wire(head.verdict).map_or("unknown", Verdict::name);
            *tally.verdicts.entry(verdict).or_default() += 1;
            tally.amount_centavos += i128::from(head.transaction.amount_centavos.to_native());
        }
    }
}
