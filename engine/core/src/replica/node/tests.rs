//! The node alone: what it says when the disk hangs, and in which order.

use super::*;
use crate::replica::Peer;
use catraca_wire::frame::Durability;
use catraca_wire::replication::RefuseReason;
use proptest::prelude::*;

const MS: u64 = 1_000_000;
const TIMING: Timing = Timing {
    heartbeat_every_ns: 500 * MS,
    heartbeat_timeout_ns: 3_000 * MS,
    call_timeout_ns: 30_000 * MS,
    call_pause_ns: 200 * MS,
    inquire_every_ns: 1_000 * MS,
    request_timeout_ns: 3_000 * MS,
};

/// A log of one stream.
struct OneStream(u64);

impl LogEnds for OneStream {
    fn streams(&self) -> u16 {
        1
    }

    fn durable_lsn(&self, _: u16) -> u64 {
        self.0
    }
}

/// A node, and all that it has said.
struct Told {
    node: Node,
    now_ns: u64,
    log: OneStream,
    effects: Vec<Effect>,
}

impl Told {
    fn of(state: ReplicaState, solo_after_ms: u64) -> Self {
        let setup = NodeSetup {
            shards: 1,
            solo_after_ns: solo_after_ms * MS,
            primary: None,
            own_address: "own:1".to_owned(),
            timing: TIMING,
        };
        Self {
            node: Node::new(setup, state, 0),
            now_ns: 0,
            log: OneStream(10),
            effects: Vec::new(),
        }
    }

    /// What it wants done about an event.
    fn about(&mut self, event: Event) -> Vec<Effect> {
        self.effects.clear();
        self.node.handle(self.now_ns, event, &self.log, &mut self.effects);
        self.effects.retain(|effect| !matches!(effect, Effect::Report(_)));
        self.effects.clone()
    }

    /// What it wants done while time passes, in steps as short as a mover's.
    fn after(&mut self, ms: u64) -> Vec<Effect> {
        let until_ns = self.now_ns + ms * MS;
        let mut said = Vec::new();
        while self.now_ns < until_ns {
            self.now_ns = until_ns.min(self.now_ns + 25 * MS);
            said.append(&mut self.about(Event::Tick));
        }
        said
    }

    /// The same, for a node that stood still meanwhile.
    fn after_a_pause(&mut self, ms: u64) -> Vec<Effect> {
        self.now_ns += ms * MS;
        self.about(Event::Tick)
    }

    /// A standby begins a session; its stream is at the end of the log.
    fn catches_up(&mut self, conn: u64, session: u64) -> Vec<Effect> {
        let said = self.about(called(conn, session, 2, 7, false));
        assert!(said.contains(&Effect::Welcome { conn: ConnId(conn) }), "{said:?}");
        self.about(Event::Acknowledged { session, stream: 0, lsn: 10 })
    }
}

fn peer(id: u8) -> Peer {
    Peer {
        node_id: [id; 16],
        replication_address: format!("node{id}:1"),
        client_address: String::new(),
    }
}

fn called(conn: u64, session: u64, id: u8, run: u8, in_sync: bool) -> Event {
    let caller = Caller {
        peer: peer(id),
        run: [run; 16],
        epoch: 1,
        shards: 1,
        role: Role::Standby,
        in_sync,
    };
    Event::Called { conn: ConnId(conn), caller, purpose: CallPurpose::Session { session } }
}

fn primary() -> Told {
    Told::of(ReplicaState::single(1, 1), 0)
}

/// A primary whose answers wait for node 2, which is connected by connection 1 in session 5.
fn pair(solo_after_ms: u64) -> Told {
    let mut told = Told::of(ReplicaState::single(1, 1), solo_after_ms);
    assert!(matches!(told.catches_up(1, 5)[..], [Effect::Persist(_)]));
    let durability = Durability::Sync;
    assert_eq!(told.about(Event::Persisted), [Effect::TellShards { durability, session: 5 }]);
    let grant = Effect::Send { conn: ConnId(1), message: NodeMessage::Grant { epoch: 1 } };
    assert_eq!(told.about(Event::Waiting { shard: 0, session: 5, answered: 10 }), [grant]);
    told.about(Event::Received { conn: ConnId(1), message: NodeMessage::Granted });
    assert!(told.node.is_in_sync());
    told
}

fn standby() -> Told {
    let mut told = Told::of(ReplicaState::joining(1, 0, "node1:1".to_owned()), 0);
    assert_eq!(told.after(1), [Effect::Call { attempt: 1, address: "node1:1".to_owned() }]);
    let said =
        told.about(Event::CallAnswered { attempt: 1, conn: ConnId(1), accepted: accepted(1) });
    assert!(matches!(said[..], [Effect::Persist(_)]), "{said:?}");
    let said = told.about(Event::Persisted);
    assert!(
        matches!(
            said[..],
            [Effect::PrimaryAt { .. }, Effect::OpenStreams { catching_up: true, .. }]
        ),
        "{said:?}"
    );
    told
}

fn accepted(epoch: u32) -> Accepted {
    Accepted {
        node_id: [1; 16],
        client_address: "node1:2".to_owned(),
        epoch,
        role: Role::Primary,
        odd_epochs: epoch % 2 == 1,
        may_leave: false,
        shards: 1,
        streams: 1,
        session: 9,
    }
}

fn solo(request: u64, standby_is_down: bool) -> Event {
    Event::Requested { request: RequestId(request), command: Command::Solo { standby_is_down } }
}

fn promote(request: u64, force: bool) -> Event {
    Event::Requested {
        request: RequestId(request),
        command: Command::Promote { force, tables: Tables::default() },
    }
}

#[test]
fn a_primary_leaves_its_standby_only_when_that_has_left_the_in_sync_set() {
    let mut told = pair(0);
    let revoke = Effect::Send { conn: ConnId(1), message: NodeMessage::Revoke { epoch: 1 } };
    assert_eq!(told.about(solo(1, false)), [revoke]);
    let said = told.about(Event::Received { conn: ConnId(1), message: NodeMessage::Revoked });
    assert!(
        matches!(&said[..], [Effect::Persist(state)] if state.durability == Durability::Solo),
        "{said:?}"
    );
    let said = told.about(Event::Persisted);
    let tell = Effect::TellShards { durability: Durability::Solo, session: 0 };
    assert_eq!(said, [tell, Effect::Answer { request: RequestId(1), outcome: Ok(()) }]);
}

#[test]
fn a_standby_that_does_not_answer_keeps_its_place_without_an_operator_override() {
    let mut told = pair(0);
    told.about(solo(1, false));
    told.after(2_999);
    let said = told.after(1);
    let refused =
        Effect::Answer { request: RequestId(1), outcome: Err(RequestRefused::NotConfirmed) };
    assert!(
        said.contains(&refused)
            && said.contains(&Effect::EndSession { session: 5, conn: ConnId(1) }),
        "{said:?}"
    );
    assert_eq!(told.node.state().durability, Durability::Sync);
    let said = told.about(solo(2, false));
    assert_eq!(
        said,
        [Effect::Answer { request: RequestId(2), outcome: Err(RequestRefused::NotThere) }]
    );
    assert!(matches!(told.about(solo(3, true))[..], [Effect::Persist(_)]));
}

#[test]
fn a_primary_leaves_by_itself_only_what_was_told_that_it_may() {
    let end = |told: &mut Told| {
        told.about(Event::SessionEnded { session: 5, why: "cut".to_owned() });
        told.after(999);
        told.after(1)
    };
    let leaves = |said: &[Effect]| said.iter().any(|effect| matches!(effect, Effect::Persist(_)));
    assert!(leaves(&end(&mut pair(1_000))));
    assert!(!leaves(&end(&mut pair(0))));
    // Its configuration was changed since: the standby does not know.
    let state = pair(0).node.state().clone();
    let mut told = Told::of(state, 1_000);
    assert!(!leaves(&told.after(10_000)));
}

#[test]
fn callers_are_judged() {
    let mut told = pair(0);
    let refusal = |said: Vec<Effect>| match &said[..] {
        [Effect::Refuse { reason, .. }, ..] => Some(*reason),
        _ => None,
    };
    assert_eq!(refusal(told.about(called(2, 6, 3, 7, false))), Some(RefuseReason::Taken));
    assert_eq!(refusal(told.about(called(3, 7, 2, 8, false))), Some(RefuseReason::Twin));
    let stream = |conn, session, stream| {
        let Event::Called { caller, .. } = called(conn, 0, 2, 7, false) else {
            unreachable!("made as that")
        };
        Event::Called {
            conn: ConnId(conn),
            caller,
            purpose: CallPurpose::Stream { stream, session },
        }
    };
    assert_eq!(told.about(stream(4, 5, 0)), [Effect::Welcome { conn: ConnId(4) }]);
    assert_eq!(refusal(told.about(stream(5, 6, 0))), Some(RefuseReason::Session));
    assert_eq!(refusal(told.about(stream(6, 5, 1))), Some(RefuseReason::Unknown));
    // The same run calls anew, or another one once two heartbeats are missing.
    assert_eq!(refusal(told.about(called(7, 8, 2, 7, true))), None);
    told.after(1_001);
    assert_eq!(refusal(told.about(called(8, 9, 2, 8, true))), None);
    assert_eq!(told.node.session(), Some(9));
}

#[test]
fn a_standby_joins_the_in_sync_set_when_its_writes_are_single_and_that_is_durable() {
    let mut told = standby();
    let grant = Event::Received { conn: ConnId(1), message: NodeMessage::Grant { epoch: 1 } };
    assert_eq!(told.about(grant), [Effect::SingleWrites { attempt: 1 }]);
    // REVOKE waits for its turn.
    assert_eq!(
        told.about(Event::Received { conn: ConnId(1), message: NodeMessage::Revoke { epoch: 1 } }),
        []
    );
    let said = told.about(Event::SingleWrites { attempt: 1 });
    assert!(
        matches!(&said[..], [Effect::Persist(state)] if state.in_sync && state.in_sync_at == [10]),
        "{said:?}"
    );
    let said = told.about(Event::Persisted);
    let granted = Effect::Send { conn: ConnId(1), message: NodeMessage::Granted };
    assert_eq!(said[..2], [Effect::HasAll { attempt: 1 }, granted]);
    assert!(matches!(&said[2..], [Effect::Persist(state)] if !state.in_sync), "{said:?}");
    let revoked = Effect::Send { conn: ConnId(1), message: NodeMessage::Revoked };
    assert_eq!(told.about(Event::Persisted), [revoked, Effect::SeveralWrites { attempt: 1 }]);
}

#[test]
fn a_promotion_waits_for_writes_and_is_judged_again() {
    let mut told = standby();
    let refused =
        |why: NotPromotable| [Effect::Answer { request: RequestId(1), outcome: Err(why.into()) }];
    assert_eq!(told.about(promote(1, false)), refused(NotPromotable::NotInSync));
    assert_eq!(told.about(promote(2, true)), [Effect::EndFollowing { attempt: 1 }]);
    assert_eq!(told.after(10_000), [], "nobody is called meanwhile");
    let again = Effect::Answer {
        request: RequestId(3),
        outcome: Err(RequestRefused::UnderWay("a promotion")),
    };
    assert_eq!(told.about(promote(3, true)), [again]);
    let fault = Some("a list that can't be".to_owned());
    let tables = Tables { missing_list: None, fault };
    let said = told.about(Event::FollowingEnded { attempt: 1, committed: vec![9], tables });
    assert!(
        matches!(
            &said[..],
            [Effect::Answer { request: RequestId(2), outcome: Err(RequestRefused::Tables(_)) }]
        ),
        "{said:?}"
    );
    // It goes on following, and is promoted when the list has come.
    assert!(matches!(told.after(200)[..], [Effect::Call { attempt: 2, .. }]));
    told.about(promote(4, true));
    let said = told.about(Event::FollowingEnded {
        attempt: 2,
        committed: vec![9],
        tables: Tables::default(),
    });
    assert!(
        matches!(&said[..], [Effect::Persist(state)] if state.epoch == 2 && state.role == Role::Primary),
        "{said:?}"
    );
    let took_over = Effect::TakeOver {
        epoch: 2,
        durability: Durability::Solo,
        force: true,
        request: RequestId(4),
    };
    assert_eq!(told.about(Event::Persisted), [took_over]);
}

#[test]
fn a_standby_gives_its_membership_up_when_another_one_has_its_place() {
    let refused = |told: &mut Told, ms: u64, reason: RefuseReason| {
        let Some(&Effect::Call { attempt, .. }) = told.after(ms).first() else {
            panic!("it does not call")
        };
        let failure = CallFailure { refused: Some(reason), primary: None, why: reason.to_string() };
        let said = told.about(Event::CallFailed { attempt, failure });
        let gives_up =
            said.iter().any(|effect| matches!(effect, Effect::Persist(state) if !state.in_sync));
        told.about(Event::FollowingEnded {
            attempt,
            committed: Vec::new(),
            tables: Tables::default(),
        });
        gives_up
    };
    let member = || {
        let mut told = standby();
        told.about(Event::Received { conn: ConnId(1), message: NodeMessage::Grant { epoch: 1 } });
        told.about(Event::SingleWrites { attempt: 1 });
        told.about(Event::Persisted);
        told.about(Event::FollowingFailed { attempt: 1, why: "cut".to_owned() });
        told.about(Event::FollowingEnded {
            attempt: 1,
            committed: Vec::new(),
            tables: Tables::default(),
        });
        assert!(told.node.is_in_sync());
        told
    };
    assert!(refused(&mut member(), 200, RefuseReason::Taken));
    // The primary may not know yet that the connection of this node's run before is dead.
    let mut told = member();
    assert!(!refused(&mut told, 200, RefuseReason::Twin));
    assert!(!refused(&mut told, 2_999, RefuseReason::Twin));
    assert!(!refused(&mut told, 200, RefuseReason::Session), "that is another trouble");
    assert!(refused(&mut told, 200, RefuseReason::Twin));
}

#[test]
fn what_is_committed_is_kept_for_the_epoch_that_was_followed() {
    let mut told = standby();
    told.about(Event::FollowingFailed { attempt: 1, why: "cut".to_owned() });
    let ended = |attempt, committed| Event::FollowingEnded {
        attempt,
        committed,
        tables: Tables::default(),
    };
    let said = told.about(ended(1, vec![8]));
    assert!(matches!(&said[..], [Effect::Persist(state)] if state.committed == [8]), "{said:?}");
    told.about(Event::Persisted);
    // An attempt whose streams were not opened says nothing of the new epoch.
    told.after(200);
    told.about(Event::CallAnswered { attempt: 2, conn: ConnId(2), accepted: accepted(3) });
    told.about(Event::FollowingFailed { attempt: 2, why: "cut".to_owned() });
    told.about(Event::Persisted);
    assert_eq!(told.about(ended(2, vec![8])), []);
    assert_eq!((told.node.state().epoch, &told.node.state().committed[..]), (3, &[][..]));
}

#[test]
fn requests_wait_for_the_change_under_way() {
    let mut told = primary();
    assert!(matches!(told.catches_up(1, 5)[..], [Effect::Persist(_)]));
    // Answers will wait for the standby in a moment: the request is not answered by what was
    // before.
    assert_eq!(told.about(solo(1, true)), []);
    let said = told.about(Event::Persisted);
    assert!(
        matches!(&said[..], [Effect::TellShards { .. }, Effect::Persist(state)] if state.durability == Durability::Solo),
        "{said:?}"
    );
    let said = told.about(Event::Persisted);
    assert!(said.contains(&Effect::Answer { request: RequestId(1), outcome: Ok(()) }), "{said:?}");
}

#[test]
fn a_disk_that_hangs_piles_nothing_up_and_a_higher_epoch_goes_first() {
    let mut told = pair(0);
    told.about(Event::SessionEnded { session: 5, why: "cut".to_owned() });
    assert!(matches!(told.about(solo(1, true))[..], [Effect::Persist(_)]));
    let of_epoch =
        |epoch| Event::InquiryEnded { answer: Some((accepted(epoch), "node2:1".to_owned())) };
    for round in 0..10_000_u64 {
        told.after(1_000);
        told.about(of_epoch(2));
        let (conn, session) = (10 + round, 10 + round);
        told.about(called(conn, session, 2, 7, false));
        told.about(Event::Acknowledged { session, stream: 0, lsn: 10 });
    }
    let said = told.about(Event::Persisted);
    assert!(
        !said.iter().any(|effect| matches!(effect, Effect::TellShards { .. })),
        "it answers nothing alone any more: {said:?}"
    );
    assert!(
        matches!(&said[..], [.., Effect::Persist(state)] if (state.epoch, state.role) == (2, Role::Standby)),
        "{said:?}"
    );
    assert_eq!(told.about(Event::Persisted), [Effect::Restart]);
    assert_eq!(told.after(10_000), [], "it is over");
}

/// A call like [`called`]'s, of a node that knows of a higher epoch.
fn called_from_epoch_2(conn: u64, session: u64, id: u8) -> Event {
    let Event::Called { conn, caller, purpose } = called(conn, session, id, 7, false) else {
        unreachable!("made as that")
    };
    Event::Called { conn, caller: Caller { epoch: 2, ..caller }, purpose }
}

#[test]
fn a_primary_hears_of_a_higher_epoch_whoever_calls_and_whatever_for() {
    // Node 3 would be refused as another standby, node 2's other run as a twin.
    for (id, run) in [(3, 7), (2, 8)] {
        for inquires in [false, true] {
            let mut told = pair(0);
            let Event::Called { conn, caller, purpose } = called_from_epoch_2(2, 6, id) else {
                unreachable!("made as that")
            };
            let caller = Caller { run: [run; 16], ..caller };
            let purpose = if inquires { CallPurpose::Inquiry } else { purpose };
            let said = told.about(Event::Called { conn, caller, purpose });
            assert!(
                matches!(
                    &said[..],
                    [Effect::Refuse { reason: RefuseReason::Epoch, .. }, Effect::Persist(state)]
                        if (state.epoch, state.role) == (2, Role::Standby)
                ),
                "{said:?}"
            );
        }
    }
}

#[test]
fn a_standby_that_is_being_registered_is_not_replaced_by_another() {
    let mut told = primary();
    assert!(matches!(told.catches_up(1, 5)[..], [Effect::Persist(_)]));
    told.about(Event::SessionEnded { session: 5, why: "cut".to_owned() });
    let said = told.about(called(2, 6, 3, 7, false));
    assert!(matches!(&said[..], [Effect::Refuse { reason: RefuseReason::Taken, .. }]), "{said:?}");
}

#[test]
fn a_primary_leaves_by_itself_nobody_who_has_come_back() {
    let mut told = pair(1_000);
    // It goes, and comes back behind a longer log: a write is under way when it goes again.
    told.about(Event::SessionEnded { session: 5, why: "cut".to_owned() });
    told.log = OneStream(11);
    told.about(called(2, 6, 2, 7, true));
    let said = told.about(Event::Acknowledged { session: 6, stream: 0, lsn: 11 });
    assert!(matches!(said[..], [Effect::Persist(_)]), "{said:?}");
    told.about(Event::SessionEnded { session: 6, why: "cut".to_owned() });
    told.after(1_000);
    assert!(told.node.is_going_alone(), "that waits for the write");
    told.about(called(3, 7, 2, 7, true));
    let said = told.about(Event::Persisted);
    assert_eq!(told.node.state().durability, Durability::Sync);
    assert!(
        !said.iter().any(|effect| matches!(
            effect,
            Effect::EndSession { .. } | Effect::TellShards { durability: Durability::Solo, .. }
        )),
        "{said:?}"
    );
    assert_eq!(told.node.session(), Some(7));
}

#[test]
fn a_log_that_is_promoted_is_not_cut() {
    let mut told = standby();
    assert_eq!(told.about(promote(1, true)), [Effect::EndFollowing { attempt: 1 }]);
    let said = told.about(Event::Cutting { stream: 0, last_lsn: 5 });
    assert_eq!(said, [Effect::KeepLog { stream: 0 }]);
    let ended =
        Event::FollowingEnded { attempt: 1, committed: Vec::new(), tables: Tables::default() };
    assert!(matches!(told.about(ended)[..], [Effect::Persist(_)]));
    assert!(matches!(
        told.about(Event::Persisted)[..],
        [Effect::TakeOver { request: RequestId(1), .. }]
    ));
}

#[test]
fn a_node_that_stood_still_takes_nobody_for_gone() {
    let ends = |said: &[Effect]| {
        said.iter()
            .any(|effect| matches!(effect, Effect::EndSession { .. } | Effect::EndFollowing { .. }))
    };
    for mut told in [pair(0), standby()] {
        // Stopped for a minute; what was said meanwhile waits to be read.
        assert!(!ends(&told.after_a_pause(60_000)));
        assert!(!ends(&told.after(2_900)));
        assert!(ends(&told.after(200)), "silence counts while it listens");
    }
}

#[test]
fn a_request_that_waits_for_a_disk_that_hangs_is_answered() {
    let mut told = primary();
    assert!(matches!(told.catches_up(1, 5)[..], [Effect::Persist(_)]));
    assert_eq!(told.about(solo(1, true)), []);
    let refused = Effect::Answer {
        request: RequestId(1),
        outcome: Err(RequestRefused::UnderWay("a write of this node's state")),
    };
    assert!(!told.after(2_999).contains(&refused));
    assert!(told.after(1).contains(&refused));
    assert!(!told.node.is_going_alone());
    // What it was refused for happens no more.
    let said = told.about(Event::Persisted);
    assert_eq!(said, [Effect::TellShards { durability: Durability::Sync, session: 5 }]);
}

#[test]
fn a_demotion_behind_a_write_that_hangs_hurries_it() {
    let mut told = primary();
    assert!(matches!(told.catches_up(1, 5)[..], [Effect::Persist(_)]));
    let of_epoch =
        |epoch| Event::InquiryEnded { answer: Some((accepted(epoch), "node2:1".to_owned())) };
    assert_eq!(told.about(of_epoch(2)), [Effect::Hurry]);
    // Whatever epochs come, one demotion waits.
    (3..1_000).for_each(|epoch| drop(told.about(of_epoch(epoch))));
    let said = told.about(Event::Persisted);
    assert!(
        matches!(&said[..], [Effect::Persist(state)] if (state.epoch, state.role) == (999, Role::Standby)),
        "{said:?}"
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let (conn, session) = (1..4_u64, 1..4_u64);
    let why = || "x".to_owned();
    prop_oneof![
        4 => Just(Event::Tick),
        4 => Just(Event::Persisted),
        2 => (conn.clone(), session.clone(), 2..4_u8, any::<bool>()).prop_map(|(c, s, id, in_sync)| called(c, s, id, id, in_sync)),
        2 => (conn.clone(), 0..5_u8).prop_map(|(c, kind)| {
            let message = match kind {
                0 => NodeMessage::Granted,
                1 => NodeMessage::Revoked,
                2 => NodeMessage::Grant { epoch: 1 },
                3 => NodeMessage::Revoke { epoch: 1 },
                _ => NodeMessage::Heartbeat { disk_full: false },
            };
            Event::Received { conn: ConnId(c), message }
        }),
        1 => session.clone().prop_map(move |session| Event::SessionEnded { session, why: why() }),
        1 => session.clone().prop_map(move |attempt| Event::FollowingFailed { attempt, why: "x".to_owned() }),
        2 => session.clone().prop_map(|session| Event::Acknowledged { session, stream: 0, lsn: 10 }),
        2 => session.clone().prop_map(|session| Event::Waiting { shard: 0, session, answered: 10 }),
        2 => (session.clone(), conn, 1..4_u32).prop_map(|(attempt, c, epoch)| {
            Event::CallAnswered { attempt, conn: ConnId(c), accepted: accepted(epoch) }
        }),
        2 => session.clone().prop_map(|attempt| Event::SingleWrites { attempt }),
        2 => session.prop_map(|attempt| Event::FollowingEnded { attempt, committed: vec![5], tables: Tables::default() }),
        1 => (1..4_u32).prop_map(|epoch| Event::InquiryEnded { answer: Some((accepted(epoch), "n:1".to_owned())) }),
        1 => (1..9_u64, any::<bool>()).prop_map(|(request, down)| solo(request, down)),
        1 => (1..9_u64, any::<bool>()).prop_map(|(request, force)| promote(request, force)),
    ]
}

/// Whether an effect rests on a change of the durable state.
fn rests_on_a_change(effect: &Effect) -> bool {
    match effect {
        Effect::Send { message, .. } => {
            matches!(message, NodeMessage::Granted | NodeMessage::Revoked)
        }
        Effect::TellShards { .. }
        | Effect::OpenStreams { .. }
        | Effect::PrimaryAt { .. }
        | Effect::TakeOver { .. }
        | Effect::Cut { .. }
        | Effect::Restart => true,
        _ => false,
    }
}

proptest! {
    /// Whatever comes in whatever order: one write at a time, nothing that rests on it before it is
    /// durable, an epoch that never falls.
    #[test]
    fn nothing_that_rests_on_a_state_is_said_before_it_is_durable(
        events in proptest::collection::vec((any_event(), 0..400_u64), 1..200), follows in any::<bool>()
    ) {
        let state = if follows { ReplicaState::joining(1, 0, "node1:1".to_owned()) } else { ReplicaState::single(1, 1) };
        let mut told = Told::of(state, 1_000);
        let mut writing: Option<ReplicaState> = None;
        for (event, ms) in events {
            told.now_ns += ms * MS;
            let is_persisted = event == Event::Persisted;
            if is_persisted && writing.is_none() {
                continue;
            }
            let before = told.node.state().clone();
            let said = told.about(event);
            if is_persisted {
                let written = writing.take();
                prop_assert_eq!(Some(told.node.state()), written.as_ref());
            } else if writing.is_some() {
                prop_assert_eq!(told.node.state(), &before);
            }
            prop_assert!(told.node.state().epoch >= before.epoch);
            for effect in said {
                prop_assert!(writing.is_none() || !rests_on_a_change(&effect), "{effect:?} while {writing:?} is written");
                if let Effect::Persist(state) = effect {
                    prop_assert!(writing.replace(state).is_none(), "two writes at once");
                }
            }
        }
    }
}
