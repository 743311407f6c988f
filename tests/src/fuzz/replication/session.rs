//! Two nodes and the words between them about the grant, in any order and with connections lost:
//! what the primary believes of the standby is never less than the standby may hold, and who is
//! promoted without force lacks nothing that was answered.

use super::super::input::Input;
use catraca_core::replica::{NewEpoch, NotPromotable, Peer, ReplicaState, Session, Step};
use catraca_wire::frame::{Durability, Role};
use std::collections::VecDeque;

const STREAMS: usize = 2;
const NODES: [[u8; 16]; 2] = [[1; 16], [2; 16]];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Grant,
    Revoke,
}

/// What a stream's primary knows, kept once more beside it.
#[derive(Clone, Copy, Default)]
struct Known {
    acknowledged: Option<u64>,
    durable: u64,
    target: Option<u64>,
}

struct Pair {
    primary: ReplicaState,
    standby: ReplicaState,
    /// Who is the primary: an index of [`NODES`].
    primary_index: usize,
    session: Session,
    waits: bool,
    held: bool,
    /// The primary went alone by an operator override: the standby will not be promoted, and that
    /// has not been told yet.
    overridden: bool,
    known: [Known; STREAMS],
    orders: VecDeque<Order>,
    words: VecDeque<Order>,
    /// REVOKEs that were sent in this session, less the answers that came.
    open: u32,
}

fn peer(node: usize) -> Peer {
    Peer {
        node_id: NODES[node],
        replication_address: format!("node-{node}:7401"),
        client_address: String::new(),
    }
}

/// A program is what happens to the two.
pub fn run(input: &mut Input<'_>) {
    let primary = ReplicaState::single(STREAMS as u16, 1);
    let standby = ReplicaState::joining(STREAMS as u16, 0, "node-0:7401".to_owned());
    let mut pair = Pair {
        session: Session::new(0, NODES[1], &[0; STREAMS], false),
        primary,
        standby,
        primary_index: 0,
        waits: false,
        held: false,
        overridden: false,
        known: [Known::default(); STREAMS],
        orders: VecDeque::new(),
        words: VecDeque::new(),
        open: 0,
    };
    pair.connect(input);
    while !input.is_empty() {
        let epochs = [pair.primary.epoch, pair.standby.epoch];
        match input.byte() % 13 {
            0 => pair.connect(input),
            1 | 2 => pair.progress(input),
            3 | 4 => pair.waits(input),
            5 => pair.hold(),
            6 => pair.go_alone(),
            7 => pair.standby_hears(),
            8 => pair.primary_hears(),
            9 => pair.unasked(input),
            10 => pair.unknown_nodes(input),
            11 => pair.go_alone_by_override(input),
            _ => pair.promote(input),
        }
        let now = [pair.primary.epoch, pair.standby.epoch];
        assert!(
            now[0] >= epochs[0] && now[1] >= epochs[1].min(epochs[0]),
            "epochs go back: {epochs:?}, {now:?}"
        );
        pair.overridden &= pair.standby.in_sync;
        pair.check();
    }
}

impl Pair {
    /// The connection is lost with all that was under way, and a session begins.
    fn connect(&mut self, input: &mut Input<'_>) {
        let (other, id) = (1 - self.primary_index, self.session.id + 1);
        self.primary
            .admits(&NODES[other], self.standby.epoch, STREAMS as u16)
            .expect("its own standby");
        let granted = self.standby.in_sync;
        let standby = self.standby.following(
            self.primary.epoch,
            peer(self.primary_index),
            self.primary.odd_epochs,
            false,
        );
        self.standby = standby.expect("no standby has seen a later epoch than its primary's");
        assert!(granted || !self.standby.in_sync, "a session begins with a grant that nobody gave");
        let durable = [0; STREAMS].map(|_| input.number());
        self.session = Session::new(id, NODES[other], &durable, granted);
        (self.waits, self.held, self.open) = (false, false, 0);
        self.known = durable.map(|durable| Known { durable, ..Known::default() });
        self.orders.clear();
        self.words.clear();
        if granted && self.primary.durability != Durability::Sync {
            self.revoke();
        }
    }

    fn revoke(&mut self) {
        self.session.revoke();
        self.open += 1;
        self.orders.push_back(Order::Revoke);
    }

    fn act(&mut self, step: Option<Step>) {
        match step {
            None => {}
            Some(Step::Wait) => {
                assert!(
                    !self.held && !self.waits,
                    "one waits in a session, none in one that is held"
                );
                self.waits = true;
                self.primary = self.primary.with_standby(peer(1 - self.primary_index));
            }
            Some(Step::Grant) => {
                assert!(self.waits && !self.held);
                for known in &self.known {
                    let holds = known
                        .acknowledged
                        .zip(known.target)
                        .is_some_and(|(held, answered)| held >= answered);
                    assert!(
                        holds,
                        "the grant comes before all that may have been answered is held"
                    );
                }
                self.orders.push_back(Order::Grant);
            }
            Some(Step::InSync) => assert!(self.session.is_in_sync()),
        }
    }

    fn progress(&mut self, input: &mut Input<'_>) {
        let stream = input.below(STREAMS);
        let durable = input.number();
        let acknowledged =
            if input.byte() & 1 == 0 { durable } else { durable.min(input.number()) };
        let known = &mut self.known[stream];
        known.acknowledged = known.acknowledged.max(Some(acknowledged));
        known.durable = known.durable.max(durable);
        let step = self.session.progress(stream, acknowledged, durable);
        self.act(step);
    }

    /// A shard answers only once it has been told to wait.
    fn waits(&mut self, input: &mut Input<'_>) {
        let (stream, answered) = (input.below(STREAMS), input.number());
        if self.waits {
            let known = &mut self.known[stream];
            known.target = known.target.max(Some(answered));
            let step = self.session.waits(stream, answered);
            self.act(step);
        }
    }

    fn hold(&mut self) {
        self.session.hold();
        self.held = true;
        if self.session.may_be_in_sync() {
            self.revoke();
        }
    }

    /// As an operator may have it without an override: once the standby is known to hold nothing.
    fn go_alone(&mut self) {
        if self.held && !self.session.may_be_in_sync() {
            self.session.hold();
            self.primary = self.primary.alone();
        }
    }

    /// As an operator may have it where the standby can't be told; it calls anew when it is back.
    fn go_alone_by_override(&mut self, input: &mut Input<'_>) {
        self.primary = self.primary.alone();
        self.overridden = true;
        self.connect(input);
    }

    fn standby_hears(&mut self) {
        if let Some(order) = self.orders.pop_front() {
            let standby = self.standby.with_membership(self.primary.epoch, order == Order::Grant);
            self.standby = standby.expect("of its primary's epoch");
            self.overridden = false;
            self.words.push_back(order);
        }
    }

    fn primary_hears(&mut self) {
        match self.words.pop_front() {
            None => {}
            Some(Order::Grant) => {
                let step = self.session.granted();
                self.act(step);
            }
            Some(Order::Revoke) => {
                self.open -= 1;
                self.session.revoked();
            }
        }
    }

    /// Words that nobody asked for; an answer that comes while a REVOKE is open can't be told from
    /// the right one.
    fn unasked(&mut self, input: &mut Input<'_>) {
        if input.byte() & 1 == 0 {
            let step = self.session.granted();
            self.act(step);
        } else if self.open == 0 {
            let before = self.session.may_be_in_sync();
            self.session.revoked();
            assert_eq!(
                self.session.may_be_in_sync(),
                before,
                "an answer without a question says nothing"
            );
        }
    }

    /// What comes from epochs that are over, and who has no place here.
    fn unknown_nodes(&self, input: &mut Input<'_>) {
        let past = input.below(self.standby.epoch as usize) as u32;
        assert!(self.standby.following(past, peer(self.primary_index), true, false).is_err());
        assert!(
            self.standby.fence(past).is_err() && self.standby.with_membership(past, true).is_err()
        );
        let later = self
            .standby
            .following(self.primary.epoch + 1, peer(self.primary_index), true, false)
            .expect("a later epoch");
        assert!(!later.in_sync, "a new epoch ends the grant of the one before");
        assert_eq!(self.primary.demoted(past, None), None);
        assert_eq!(self.primary.demoted(self.primary.epoch, None), None);
        let unknown_node = self.primary.admits(&[7; 16], past, STREAMS as u16);
        assert_eq!(
            unknown_node.is_err(),
            self.primary.durability == Durability::Sync,
            "a granted standby's place is its own"
        );
        assert!(
            self.primary
                .admits(&NODES[1 - self.primary_index], self.primary.epoch + 1, STREAMS as u16)
                .is_err()
        );
        assert!(
            self.primary.admits(&NODES[1 - self.primary_index], past, STREAMS as u16 + 1).is_err()
        );
        assert_eq!(
            self.primary.promoted(true, NewEpoch::ByHand),
            Err(NotPromotable::Already(self.primary.epoch))
        );
    }

    /// An operator promotes the standby; the primary learns of it, and comes back as its standby.
    fn promote(&mut self, input: &mut Input<'_>) {
        let forced = input.byte() & 7 == 0;
        if self.overridden && !forced {
            return;
        }
        let new = match self.standby.promoted(forced, NewEpoch::ByHand) {
            Ok(new) => new,
            Err(error) => {
                assert!(!forced && !self.standby.in_sync, "{error}");
                return;
            }
        };
        if !forced {
            assert!(self.standby.in_sync && self.session.may_be_in_sync());
            assert_eq!(
                self.primary.durability,
                Durability::Sync,
                "the old primary may still answer alone"
            );
        }
        assert!(
            new.epoch > self.primary.epoch && new.epoch > self.standby.epoch,
            "a promotion begins an epoch"
        );
        assert_eq!(
            (new.epoch % 2 == 1, new.role, new.durability),
            (new.odd_epochs, Role::Primary, Durability::Solo)
        );
        assert_ne!(new.odd_epochs, self.primary.odd_epochs, "both could decide in the same epoch");
        let old = self
            .primary
            .demoted(new.epoch, Some(peer(1 - self.primary_index)))
            .expect("a later epoch");
        assert!(
            !old.in_sync && old.promoted(false, NewEpoch::ByHand).is_err(),
            "who was demoted holds no grant"
        );
        self.primary_index = 1 - self.primary_index;
        (self.primary, self.standby) = (new, old);
        self.connect(input);
    }

    fn may_hold(&self) -> bool {
        self.standby.in_sync || self.orders.contains(&Order::Grant)
    }

    fn check(&self) {
        let may_hold = self.may_hold();
        assert!(
            !may_hold || self.session.may_be_in_sync(),
            "the standby may hold a grant, and the primary takes it for free"
        );
        assert!(!self.session.is_in_sync() || self.session.may_be_in_sync());
        assert!(
            self.overridden || !may_hold || self.primary.durability == Durability::Sync,
            "a grant while answers wait for nobody"
        );
        let behind = self
            .known
            .iter()
            .map(|known| known.durable.saturating_sub(known.acknowledged.unwrap_or(0)))
            .sum::<u64>();
        assert_eq!(self.session.behind(|stream| self.known[stream].durable), behind);
        assert_eq!((self.primary.role, self.standby.role), (Role::Primary, Role::Standby));
        assert_ne!(self.primary.odd_epochs, self.standby.odd_epochs);
        assert!(self.standby.epoch <= self.primary.epoch);
    }
}
