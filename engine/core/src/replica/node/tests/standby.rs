//! Membership, promotion and what is kept for a start.

use super::*;

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
fn an_arbiter_gives_the_epoch_and_an_old_one_is_refused() {
    let mut told = standby();
    let promote = |request, epoch| Event::Requested {
        request: RequestId(request),
        command: Command::Promote {
            force: true,
            epoch: NewEpoch::Given(epoch),
            tables: Tables::default(),
        },
    };
    let over = NotPromotable::EpochIsOver { given: 1, seen: 1 };
    let refused = Effect::Answer { request: RequestId(1), outcome: Err(over.into()) };
    assert_eq!(told.about(promote(1, 1)), [refused]);
    assert_eq!(told.about(promote(2, 7)), [Effect::EndFollowing { attempt: 1 }]);
    let ended =
        Event::FollowingEnded { attempt: 1, committed: Vec::new(), tables: Tables::default() };
    let said = told.about(ended);
    assert!(
        matches!(&said[..], [Effect::Persist(state)] if (state.epoch, state.role) == (7, Role::Primary)),
        "{said:?}"
    );
}
