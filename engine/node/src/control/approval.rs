//! Who takes a policy into force: one client, or where two have to agree, one that asks and another one that asks
//! for the very same policy.
//!
//! Only who asked may ask for another one in its place: else the second one, whose file was exchanged under him,
//! would have asked for what he never saw. What waits for approval is not logged: a start and a promotion know of
//! none.

use catraca_core::log::policies::PolicyId;
use catraca_wire::extension::ActivatedBy;
use catraca_wire::list::Author;
use std::time::{Duration, Instant};

/// How long a policy waits for approval at most: who approves is to know what for.
const APPROVED_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Who may take a policy into force.
pub struct Approvals {
    clients: Vec<Author>,
    two_persons: bool,
    waiting: Option<Waiting>,
    /// The policy in force came by an activation in this run: one alone may take it back.
    is_fresh: bool,
}

struct Waiting {
    id: PolicyId,
    client: u16,
    since: Instant,
}

/// What came of asking for a policy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It may come into force.
    Granted(ActivatedBy),
    /// Another client has to ask for it, too.
    Waits,
    /// Another client has asked for another policy, which waits.
    OtherWaits(PolicyId),
    /// Who asks has no name, and two have to agree.
    Nameless,
}

impl Approvals {
    /// Of clients with these names, by their places in the configuration.
    pub const fn new(clients: Vec<Author>, two_persons: bool) -> Self {
        Self { clients, two_persons, waiting: None, is_fresh: false }
    }

    /// A client asks for a policy.
    pub(super) fn ask(&mut self, id: PolicyId, client: Option<u16>) -> Asked {
        self.ask_at(id, client, Instant::now())
    }

    /// A client asks for the policy before the one in force, which `id` names. One alone takes back what was
    /// activated in this run, and nothing else: else one alone would bring back what another took back.
    pub(super) fn ask_back(&mut self, id: PolicyId, client: Option<u16>) -> Asked {
        if self.is_fresh { Asked::Granted(self.alone(client)) } else { self.ask(id, client) }
    }

    /// What was granted is in force.
    pub(super) fn done(&mut self, is_rollback: bool) {
        self.waiting = None;
        self.is_fresh = !is_rollback;
    }

    /// The policy in force was asked for: nothing waits any more.
    pub(super) fn withdraw(&mut self) {
        self.waiting = None;
    }

    /// What waits for approval.
    pub(super) fn waits(&self) -> Option<PolicyId> {
        self.fresh(Instant::now()).map(|waiting| waiting.id)
    }

    fn ask_at(&mut self, id: PolicyId, client: Option<u16>, now: Instant) -> Asked {
        if !self.two_persons {
            return Asked::Granted(self.alone(client));
        }
        let Some(client) = client else { return Asked::Nameless };
        match self.fresh(now) {
            Some(waiting) if waiting.client != client && waiting.id == id => {
                let (author, approver) = (self.name(Some(waiting.client)), self.name(Some(client)));
                return Asked::Granted(ActivatedBy { author, approver });
            }
            Some(waiting) if waiting.client != client => return Asked::OtherWaits(waiting.id),
            _ => {}
        }
        self.waiting = Some(Waiting { id, client, since: now });
        Asked::Waits
    }

    fn fresh(&self, now: Instant) -> Option<&Waiting> {
        self.waiting.as_ref().filter(|waiting| now - waiting.since < APPROVED_WITHIN)
    }

    fn alone(&self, client: Option<u16>) -> ActivatedBy {
        ActivatedBy { author: self.name(client), approver: Author::EMPTY }
    }

    fn name(&self, client: Option<u16>) -> Author {
        client.map_or(Author::EMPTY, |client| self.clients[usize::from(client)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clients_have_to_ask_for_the_very_same_policy_within_a_day() {
        let names = ["ana", "bruno", "carla"].map(|name| Author::parse(name).expect("a name"));
        let mut approvals = Approvals::new(names.to_vec(), true);
        let (one, other) = (PolicyId([1; 32]), PolicyId([2; 32]));
        let begun = Instant::now();
        let by = |author: usize, approver: usize| {
            Asked::Granted(ActivatedBy { author: names[author], approver: names[approver] })
        };
        assert_eq!(approvals.ask_at(one, None, begun), Asked::Nameless);
        assert_eq!(approvals.ask_at(one, Some(0), begun), Asked::Waits);
        assert_eq!(approvals.ask_at(one, Some(0), begun), Asked::Waits, "not by oneself");
        let exchanged = approvals.ask_at(other, Some(1), begun);
        assert_eq!(exchanged, Asked::OtherWaits(one), "it is no asking for another one");
        assert_eq!(approvals.waits(), Some(one));
        assert_eq!(approvals.ask_at(one, Some(2), begun), by(0, 2));
        assert_eq!(approvals.ask_at(one, Some(2), begun), by(0, 2), "until it is in force");
        approvals.done(false);
        assert_eq!(approvals.waits(), None);
        assert_eq!(approvals.ask_at(one, Some(1), begun), Asked::Waits, "each time anew");
        assert_eq!(approvals.ask_at(other, Some(1), begun), Asked::Waits, "who asked may");
        let later = begun + APPROVED_WITHIN;
        assert_eq!(approvals.ask_at(one, Some(0), later), Asked::Waits, "the other is over");
        assert_eq!(approvals.ask_at(one, Some(1), later), by(0, 1));
        approvals.withdraw();
        assert_eq!(approvals.ask_at(one, Some(1), later), Asked::Waits);
    }

    #[test]
    fn one_alone_takes_back_what_was_activated_and_not_what_was_taken_back() {
        let names = ["ana", "bruno"].map(|name| Author::parse(name).expect("a name"));
        let mut approvals = Approvals::new(names.to_vec(), true);
        let before = PolicyId([3; 32]);
        assert_eq!(approvals.ask_back(before, Some(0)), Asked::Waits, "of an earlier run");
        approvals.done(false);
        let alone = ActivatedBy { author: names[1], approver: Author::EMPTY };
        assert_eq!(approvals.ask_back(before, Some(1)), Asked::Granted(alone));
        approvals.done(true);
        assert_eq!(approvals.ask_back(before, Some(0)), Asked::Waits);
        let both = ActivatedBy { author: names[0], approver: names[1] };
        assert_eq!(approvals.ask_back(before, Some(1)), Asked::Granted(both));
    }

    #[test]
    fn where_one_is_enough_it_is_known_who() {
        let ana = Author::parse("ana").expect("a name");
        let mut approvals = Approvals::new(vec![ana], false);
        let by = |author| Asked::Granted(ActivatedBy { author, approver: Author::EMPTY });
        assert_eq!(approvals.ask(PolicyId([1; 32]), Some(0)), by(ana));
        assert_eq!(approvals.ask(PolicyId([1; 32]), None), by(Author::EMPTY));
        assert_eq!(approvals.waits(), None);
    }
}
