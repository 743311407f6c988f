//! What a primary does about its standby, its operator and higher epochs.

use super::*;

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
    let tell =
        Effect::TellShards { durability: Durability::Solo, session: 0, waits_for: WaitsFor::FIRST };
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
    assert!(
        matches!(said[..], [Effect::FeedAllStreams { session: 6 }, Effect::Persist(_)]),
        "{said:?}"
    );
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
    assert_eq!(
        said,
        [Effect::TellShards {
            durability: Durability::Sync,
            session: 5,
            waits_for: WaitsFor::FIRST
        }]
    );
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
