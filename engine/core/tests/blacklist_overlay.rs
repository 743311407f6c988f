//! Changes on the running node: how they compose with each other and with the snapshot, and that
//! nothing but their numbers matters.

use catraca_core::blacklist::synthetic::document;
use catraca_core::blacklist::{
    Entry, Hit, Listing, Lists, MAX_OVERLAY_ENTRIES, Overlay, OverlayFull, Snapshot,
};
use catraca_testkit::lists::key;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope};
use catraca_wire::record::{OverlayChange, OverlayOp};
use jiff::civil::date;
use proptest::prelude::*;
use std::sync::Arc;

const DAY: u16 = 20_782;
/// Two branches of a company.
const HEAD: &str = "ABCDEFGH000195";
const BRANCH: &str = "ABCDEFGH000276";
const CPF: &str = "04933228680";
const DOCUMENTS: [&str; 6] =
    [HEAD, BRANCH, "12ABC34501DE35", CPF, "00000000000191", "37635419000120"];

fn allow(until_day: u16) -> OverlayOp {
    OverlayOp::Allow { until_day }
}

/// A company by one list, a branch of it and a person by another.
fn snapshot() -> Snapshot {
    let entry =
        |text, source, scope| Entry::new(key(text), source, scope).expect("a source of lists");
    let entries = vec![
        entry(HEAD, ListSource::Ceis, Scope::Root),
        entry(BRANCH, ListSource::Plain, Scope::Exact),
        entry(CPF, ListSource::Plain, Scope::Exact),
    ];
    Snapshot::from_entries(entries, date(2026, 11, 25), 1).expect("built")
}

/// Lists with changes made one after the other.
struct Made(Lists, u64);

impl Made {
    fn new(snapshot: Option<Snapshot>) -> Self {
        Self(Lists::new(snapshot.map(Arc::new), Overlay::new()), 0)
    }

    fn then(mut self, op: OverlayOp, document: &str, scope: Scope) -> Self {
        self.1 += 1;
        self.0
            .apply(&OverlayChange { document: key(document), scope, op, sequence: self.1 })
            .expect("room");
        assert_eq!(self.0.overlay_sequence(), self.1);
        self
    }

    fn on(&self, document: &str, day: u16) -> Listing {
        self.0.lookup(key(document), day)
    }

    fn is_listed(&self, document: &str) -> bool {
        self.on(document, DAY).counts().is_some()
    }
}

#[test]
fn listing_a_company_and_taking_it_back_leaves_a_branch_that_was_listed_itself() {
    use OverlayOp::{List, Unlist};
    use Scope::{Exact, Root};
    let made = Made::new(None)
        .then(List, HEAD, Root)
        .then(Unlist, BRANCH, Exact)
        .then(List, BRANCH, Exact)
        .then(Unlist, HEAD, Root);
    assert!(made.is_listed(BRANCH) && !made.is_listed(HEAD));
    // Taken back for one branch, and listed again for all.
    let made = Made::new(None).then(List, HEAD, Root).then(Unlist, BRANCH, Exact);
    assert!(!made.is_listed(BRANCH) && made.is_listed(HEAD));
    let made = made.then(List, HEAD, Root);
    assert!(made.is_listed(BRANCH));
    assert_eq!(
        made.on(BRANCH, DAY),
        Listing::Listed(Hit { source: ListSource::Overlay, scope: Root })
    );
    // A document may be taken back that was listed itself, and its company stays.
    let made = Made::new(None)
        .then(List, HEAD, Root)
        .then(List, BRANCH, Exact)
        .then(Unlist, BRANCH, Exact);
    assert!(!made.is_listed(BRANCH) && made.is_listed(HEAD));
}

#[test]
fn the_snapshot_is_taken_back_by_the_same_rule_and_whatever_snapshot_comes() {
    use OverlayOp::{List, Unlist};
    use Scope::{Exact, Root};
    let made = Made::new(Some(snapshot())).then(Unlist, HEAD, Root);
    assert!(!made.is_listed(HEAD), "its root entry no longer counts");
    assert_eq!(
        made.on(BRANCH, DAY),
        Listing::Listed(Hit { source: ListSource::Plain, scope: Exact }),
        "narrower than the change"
    );
    let mut made = made.then(Unlist, BRANCH, Exact);
    assert!(!made.is_listed(BRANCH));
    let old = made.0.swap(Some(Arc::new(snapshot()))).expect("the one before");
    assert_eq!(old.entries(), 3);
    assert!(!made.is_listed(BRANCH) && !made.is_listed(HEAD), "it outlasts a new list");
    let made = made.then(List, BRANCH, Exact);
    assert!(made.is_listed(BRANCH) && !made.is_listed(HEAD));
    // Of a listed company one branch alone.
    let made = Made::new(Some(snapshot())).then(Unlist, BRANCH, Exact);
    assert!(!made.is_listed(BRANCH) && made.is_listed(HEAD));
    // A person has no branches.
    let made = Made::new(Some(snapshot())).then(Unlist, CPF, Root);
    assert!(!made.is_listed(CPF));
    let made = made.then(List, CPF, Root);
    assert_eq!(
        made.on(CPF, DAY),
        Listing::Listed(Hit { source: ListSource::Overlay, scope: Exact })
    );
}

#[test]
fn an_allowance_outranks_what_lists_through_its_last_day_and_not_beyond() {
    use Scope::{Exact, Root};
    let hit = Hit { source: ListSource::Ceis, scope: Root };
    let made = Made::new(Some(snapshot())).then(allow(DAY), HEAD, Exact);
    assert_eq!(made.on(HEAD, DAY), Listing::Allowed(hit));
    assert_eq!(made.on(HEAD, DAY + 1), Listing::Listed(hit), "it never outlives its day");
    assert!(made.is_listed(BRANCH), "another branch");
    assert_eq!(made.on("37635419000120", DAY), Listing::Free);
    // Of a company, also where a branch is listed itself.
    let made = Made::new(Some(snapshot())).then(OverlayOp::List, BRANCH, Exact).then(
        allow(DAY),
        HEAD,
        Root,
    );
    assert!(made.on(HEAD, DAY).is_allowed() && made.on(BRANCH, DAY).is_allowed());
    assert!(
        made.on(HEAD, DAY + 1).counts().is_some() && made.on(BRANCH, DAY + 1).counts().is_some()
    );
    // Over a list that comes later.
    let mut made = Made::new(None).then(allow(DAY), HEAD, Root);
    assert_eq!(made.on(BRANCH, DAY), Listing::Free, "nothing lists it");
    assert!(made.0.swap(Some(Arc::new(snapshot()))).is_none());
    assert!(made.on(BRANCH, DAY).is_allowed());
    // Listed again: that ends it, for whom it reaches.
    let made = made.then(OverlayOp::List, BRANCH, Exact);
    assert!(made.is_listed(BRANCH) && made.on(HEAD, DAY).is_allowed());
    let made = made.then(OverlayOp::List, BRANCH, Root);
    assert!(made.is_listed(HEAD));
    // A later allowance takes the place of an earlier one of its scope, shorter or longer.
    let made = Made::new(Some(snapshot())).then(allow(DAY + 9), HEAD, Exact).then(
        allow(DAY - 1),
        HEAD,
        Exact,
    );
    assert!(made.is_listed(HEAD));
    let made = made.then(allow(DAY), HEAD, Root).then(allow(DAY - 1), HEAD, Exact);
    assert!(made.on(HEAD, DAY).is_allowed(), "another scope stands for itself");
}

#[test]
fn an_allowance_does_not_take_back() {
    let made = Made::new(Some(snapshot()))
        .then(OverlayOp::List, HEAD, Scope::Root)
        .then(allow(DAY), HEAD, Scope::Root)
        .then(OverlayOp::Unlist, HEAD, Scope::Root);
    assert_eq!(made.on(HEAD, DAY + 1), Listing::Free, "taken back by the one after it");
    assert!(made.on(BRANCH, DAY).is_allowed() && made.on(BRANCH, DAY + 1).counts().is_some());
}

#[test]
fn the_overlay_is_bounded() {
    let mut overlay = Overlay::new();
    let change =
        |document, op, sequence| OverlayChange { document, scope: Scope::Exact, op, sequence };
    for number in 0..MAX_OVERLAY_ENTRIES as u64 {
        overlay.apply(&change(document(3, number), OverlayOp::List, number + 1)).expect("room");
    }
    let sequence = overlay.sequence();
    assert_eq!(
        overlay.apply(&change(document(4, 1), OverlayOp::List, sequence + 1)),
        Err(OverlayFull)
    );
    assert_eq!((overlay.len(), overlay.sequence()), (MAX_OVERLAY_ENTRIES, sequence));
    // What it holds may still be changed.
    assert_eq!(overlay.apply(&change(document(3, 7), OverlayOp::Unlist, sequence + 1)), Ok(()));
    assert_eq!(Lists::new(None, overlay).lookup(document(3, 7), DAY), Listing::Free);
}

/// Whether a change reaches a document.
fn reaches(change: &OverlayChange, document: DocumentKey) -> bool {
    let company = change.scope == Scope::Root && change.document.cnpj_root().is_some();
    if company {
        change.document.cnpj_root() == document.cnpj_root()
    } else {
        change.document == document
    }
}

/// The rule as PROTOCOL.md states it, for one document: listings as things that are made, taken
/// back and outranked.
fn replayed(
    changes: &[OverlayChange],
    snapshot: &[(Scope, ListSource)],
    document: DocumentKey,
    day: u16,
) -> Listing {
    let mut ours: Vec<Scope> = Vec::new();
    let mut theirs = snapshot.to_vec();
    let mut allowances: Vec<(Scope, u16)> = Vec::new();
    for change in changes.iter().filter(|change| reaches(change, document)) {
        let scope = if document.cnpj_root().is_none() { Scope::Exact } else { change.scope };
        let taken_back = |listing: Scope| scope == Scope::Exact || listing == Scope::Root;
        match change.op {
            OverlayOp::List => {
                ours.push(scope);
                allowances.clear();
            }
            OverlayOp::Unlist => {
                ours.retain(|&listing| !taken_back(listing));
                theirs.retain(|&(listing, _)| !taken_back(listing));
            }
            OverlayOp::Allow { until_day } => {
                allowances.retain(|&(other, _)| other != scope);
                allowances.push((scope, until_day));
            }
        }
    }
    ours.sort();
    theirs.sort();
    let ours = ours.first().map(|&scope| Hit { source: ListSource::Overlay, scope });
    let theirs = theirs.first().map(|&(scope, source)| Hit { source, scope });
    match ours.or(theirs) {
        None => Listing::Free,
        Some(hit) if allowances.iter().any(|&(_, until_day)| day <= until_day) => {
            Listing::Allowed(hit)
        }
        Some(hit) => Listing::Listed(hit),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn changes_compose_by_the_stated_rule_in_any_order_and_repeated(
        raws in proptest::collection::vec((0usize..6, any::<bool>(), 0u16..4, 0u16..4), 0..30),
        order in any::<u64>(),
    ) {
        let changes: Vec<_> = raws
            .iter()
            .enumerate()
            .map(|(n, &(at, root, op, days))| OverlayChange {
                document: key(DOCUMENTS[at]),
                scope: if root { Scope::Root } else { Scope::Exact },
                op: match op {
                    0 | 1 => OverlayOp::List,
                    2 => OverlayOp::Unlist,
                    _ => allow(DAY + days),
                },
                sequence: n as u64 + 1,
            })
            .collect();
        let overlay = |changes: &[OverlayChange]| {
            let mut overlay = Overlay::new();
            changes.iter().for_each(|change| overlay.apply(change).expect("room"));
            overlay
        };
        let mut shuffled: Vec<_> = changes.iter().chain(&changes).copied().collect();
        shuffled.sort_by_key(|change| change.sequence.wrapping_mul(order | 1));
        let straight = overlay(&changes);
        let role_config = straight.changes();
        let listed = Arc::new(snapshot());
        for made in [straight, overlay(&shuffled), overlay(&role_config)] {
            prop_assert_eq!(made.changes(), role_config.clone());
            prop_assert_eq!(made.sequence(), changes.len() as u64);
            let lists = Lists::new(Some(Arc::clone(&listed)), made);
            for text in DOCUMENTS {
                let document = key(text);
                let company = (Scope::Root, ListSource::Ceis);
                let beneath: &[_] = match text {
                    HEAD => &[company],
                    BRANCH => &[(Scope::Exact, ListSource::Plain), company],
                    CPF => &[(Scope::Exact, ListSource::Plain)],
                    _ => &[],
                };
                for day in DAY - 1..DAY + 5 {
                    let expected = replayed(&changes, beneath, document, day);
                    prop_assert_eq!(lists.lookup(document, day), expected, "{} on day {}", text, day);
                }
            }
        }
    }
}
