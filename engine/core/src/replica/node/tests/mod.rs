//! The node alone: what it says when the disk hangs, and in which order.

use super::*;
use crate::replica::{Peer, WaitsFor};
use catraca_wire::frame::Durability;
use catraca_wire::replication::RefuseReason;
use proptest::prelude::*;

mod primary;
mod standby;

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
    assert_eq!(
        told.about(Event::Persisted),
        [Effect::TellShards { durability, session: 5, waits_for: WaitsFor::FIRST }]
    );
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
        command: Command::Promote { force, epoch: NewEpoch::ByHand, tables: Tables::default() },
    }
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
    // What waited is read before the time is looked at, and then nothing comes any more.
    for mut told in [pair(0), standby()] {
        told.now_ns += 600_000 * MS;
        let message = NodeMessage::Heartbeat { disk_full: false };
        assert!(!ends(&told.about(Event::Received { conn: ConnId(1), message })));
        assert!(!ends(&told.after(2_900)));
        assert!(ends(&told.after(200)), "it was heard when it was heard");
    }
    // One that stands still each time learns of it all the same.
    for mut told in [pair(0), standby()] {
        assert!((0..10).any(|_| ends(&told.after_a_pause(1_000))));
    }
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
