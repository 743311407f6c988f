//! Who takes a policy into force: one client, or where two have to agree, one that asks and another one that asks
//! for the very same policy.
//!
//! Only who asked may ask for another one in its place: else the second one, whose file was exchanged under him,
//! would have asked for what he never saw. What waits for approval is not logged: a start and a promotion know of
//! none.

use catraca_core::log::policies::PolicyId;
use catraca_core::shard::messages::Actor;
use catraca_wire::extension::ActivatedBy;
use catraca_wire::frame::SubmitterFields;
use catraca_wire::list::Author;
use std::time::{Duration, Instant};

/// How long a policy waits for approval at most: who approves is to know what for.
const APPROVED_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Who may take a policy into force.
pub struct Approvals {
    two_persons: bool,
    waiting: Option<Waiting>,
    /// The policy in force came by an activation in this run: one alone may take it back.
    is_fresh: bool,
}

/// Somebody who is not somebody else: a client that has a name. What a client says of who is behind it makes nobody
/// another one: one alone could say so twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Person {
    submitter: SubmitterFields,
}

impl Person {
    /// Who asks; `None` for nobody in particular.
    pub fn of(actor: &Actor) -> Option<Self> {
        let submitter = actor.principal.submitter;
        (!submitter.name().is_empty()).then_some(Self { submitter })
    }

    /// The client's name, as the log keeps it.
    fn author(&self) -> Author {
        Author::parse(self.submitter.name().as_str()).unwrap_or(Author::EMPTY)
    }
}

struct Waiting {
    id: PolicyId,
    person: Person,
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
    /// Nothing waits.
    pub const fn new(two_persons: bool) -> Self {
        Self { two_persons, waiting: None, is_fresh: false }
    }

    /// A client asks for a policy.
    pub(super) fn ask(&mut self, id: PolicyId, person: Option<Person>) -> Asked {
        self.ask_at(id, person, Instant::now())
    }

    /// A client asks for the policy before the one in force, which `id` names. One alone takes back what was
    /// activated in this run, and nothing else: else one alone would bring back what another took back.
    pub(super) fn ask_back(&mut self, id: PolicyId, person: Option<Person>) -> Asked {
        if self.is_fresh { Asked::Granted(alone(person)) } else { self.ask(id, person) }
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

    fn ask_at(&mut self, id: PolicyId, person: Option<Person>, now: Instant) -> Asked {
        if !self.two_persons {
            return Asked::Granted(alone(person));
        }
        let Some(person) = person else { return Asked::Nameless };
        match self.fresh(now) {
            Some(waiting) if waiting.person != person && waiting.id == id => {
                let (author, approver) = (waiting.person.author(), person.author());
                return Asked::Granted(ActivatedBy { author, approver });
            }
            Some(waiting) if waiting.person != person => return Asked::OtherWaits(waiting.id),
            _ => {}
        }
        self.waiting = Some(Waiting { id, person, since: now });
        Asked::Waits
    }

    fn fresh(&self, now: Instant) -> Option<&Waiting> {
        self.waiting.as_ref().filter(|waiting| now - waiting.since < APPROVED_WITHIN)
    }
}

fn alone(person: Option<Person>) -> ActivatedBy {
    let author = person.map_or(Author::EMPTY, |person| person.author());
    ActivatedBy { author, approver: Author::EMPTY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::{PrincipalFields, SubmitterName};

    const NAMES: [&str; 3] = ["ana", "bruno", "carla"];

    fn person(number: usize) -> Option<Person> {
        let name = SubmitterName::parse(NAMES[number]).expect("a name");
        let submitter = SubmitterFields::new(0, name);
        let actor = Actor {
            principal: PrincipalFields { submitter, ..PrincipalFields::default() },
            ..Actor::default()
        };
        Person::of(&actor)
    }

    fn author(number: usize) -> Author {
        Author::parse(NAMES[number]).expect("a name")
    }

    #[test]
    fn nobody_becomes_another_one_by_saying_so() {
        let mut principal = PrincipalFields::default();
        assert_eq!(Person::of(&Actor { principal, ..Actor::default() }), None, "nobody has a name");
        principal.submitter = SubmitterFields::new(0, SubmitterName::parse("desk").expect("sound"));
        let of = |subject: u8| {
            let mut principal = principal;
            principal.subject[0] = subject;
            Person::of(&Actor { principal, ..Actor::default() })
        };
        assert_eq!(of(b'a'), of(b'b'));
    }

    #[test]
    fn two_clients_have_to_ask_for_the_very_same_policy_within_a_day() {
        let mut approvals = Approvals::new(true);
        let (one, other) = (PolicyId([1; 32]), PolicyId([2; 32]));
        let begun = Instant::now();
        let by = |author: usize, approver: usize| {
            Asked::Granted(ActivatedBy {
                author: self::author(author),
                approver: self::author(approver),
            })
        };
        assert_eq!(approvals.ask_at(one, None, begun), Asked::Nameless);
        assert_eq!(approvals.ask_at(one, person(0), begun), Asked::Waits);
        assert_eq!(approvals.ask_at(one, person(0), begun), Asked::Waits, "not by oneself");
        let exchanged = approvals.ask_at(other, person(1), begun);
        assert_eq!(exchanged, Asked::OtherWaits(one), "it is no asking for another one");
        assert_eq!(approvals.waits(), Some(one));
        assert_eq!(approvals.ask_at(one, person(2), begun), by(0, 2));
        assert_eq!(approvals.ask_at(one, person(2), begun), by(0, 2), "until it is in force");
        approvals.done(false);
        assert_eq!(approvals.waits(), None);
        assert_eq!(approvals.ask_at(one, person(1), begun), Asked::Waits, "each time anew");
        assert_eq!(approvals.ask_at(other, person(1), begun), Asked::Waits, "who asked may");
        let later = begun + APPROVED_WITHIN;
        assert_eq!(approvals.ask_at(one, person(0), later), Asked::Waits, "the other is over");
        assert_eq!(approvals.ask_at(one, person(1), later), by(0, 1));
        approvals.withdraw();
        assert_eq!(approvals.ask_at(one, person(1), later), Asked::Waits);
    }

    #[test]
    fn one_alone_takes_back_what_was_activated_and_not_what_was_taken_back() {
        let mut approvals = Approvals::new(true);
        let before = PolicyId([3; 32]);
        assert_eq!(approvals.ask_back(before, person(0)), Asked::Waits, "of an earlier run");
        approvals.done(false);
        let alone = ActivatedBy { author: author(1), approver: Author::EMPTY };
        assert_eq!(approvals.ask_back(before, person(1)), Asked::Granted(alone));
        approvals.done(true);
        assert_eq!(approvals.ask_back(before, person(0)), Asked::Waits);
        let both = ActivatedBy { author: author(0), approver: author(1) };
        assert_eq!(approvals.ask_back(before, person(1)), Asked::Granted(both));
    }

    #[test]
    fn where_one_is_enough_it_is_known_who() {
        let mut approvals = Approvals::new(false);
        let by = |author: Author| Asked::Granted(ActivatedBy { author, approver: Author::EMPTY });
        assert_eq!(approvals.ask(PolicyId([1; 32]), person(0)), by(author(0)));
        assert_eq!(approvals.ask(PolicyId([1; 32]), None), by(Author::EMPTY));
        assert_eq!(approvals.waits(), None);
    }
}
