//! Who takes a policy into force: one client, or where two have to agree, one that asks and another one that asks
//! for the very same policy.
//!
//! What waits for approval is not logged: a start and a promotion know of none.

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
    /// Who asks has no name, and two have to agree.
    Nameless,
}

impl Approvals {
    /// Of clients with these names, by their places in the configuration.
    pub const fn new(clients: Vec<Author>, two_persons: bool) -> Self {
        Self { clients, two_persons, waiting: None }
    }

    /// A client asks for a policy.
    pub(super) fn ask(&mut self, id: PolicyId, client: Option<u16>) -> Asked {
        self.ask_at(id, client, Instant::now())
    }

    /// A client takes the policy before the one in force into force again: that was approved once.
    pub(super) fn roll_back(&mut self, client: Option<u16>) -> ActivatedBy {
        self.waiting = None;
        ActivatedBy { author: self.name(client), approver: Author::EMPTY }
    }

    /// What waits for approval.
    pub(super) fn waits(&self) -> Option<PolicyId> {
        self.fresh(Instant::now()).map(|waiting| waiting.id)
    }

    fn ask_at(&mut self, id: PolicyId, client: Option<u16>, now: Instant) -> Asked {
        if !self.two_persons {
            return Asked::Granted(self.roll_back(client));
        }
        let Some(client) = client else { return Asked::Nameless };
        let other = self.fresh(now).filter(|waiting| waiting.id == id && waiting.client != client);
        if let Some(&Waiting { client: author, .. }) = other {
            self.waiting = None;
            let (author, approver) = (self.name(Some(author)), self.name(Some(client)));
            return Asked::Granted(ActivatedBy { author, approver });
        }
        self.waiting = Some(Waiting { id, client, since: now });
        Asked::Waits
    }

    fn fresh(&self, now: Instant) -> Option<&Waiting> {
        self.waiting.as_ref().filter(|waiting| now - waiting.since < APPROVED_WITHIN)
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
        assert_eq!(approvals.ask_at(other, Some(1), begun), Asked::Waits, "another policy");
        assert_eq!(approvals.ask_at(one, Some(0), begun), Asked::Waits, "which took its place");
        assert_eq!(approvals.waits(), Some(one));
        assert_eq!(approvals.ask_at(one, Some(2), begun), by(0, 2));
        assert_eq!(approvals.waits(), None);
        assert_eq!(approvals.ask_at(one, Some(1), begun), Asked::Waits, "each time anew");
        assert_eq!(approvals.ask_at(one, Some(0), begun + APPROVED_WITHIN), Asked::Waits);
        assert_eq!(approvals.ask_at(one, Some(1), begun + APPROVED_WITHIN), by(0, 1));
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
