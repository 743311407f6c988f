//! A standby's time with its primary, seen from the primary: from catching up to holding the grant.
//!
//! ```text
//! CatchingUp ──every stream near the end──→ wait for it (durable), tell all shards
//! Closing the gap ──every stream holds what its shard may have answered by then──→ GRANT
//! Granting ──GRANTED──→ InSync
//! ```
//!
//! The order is what makes the grant true: first no answer is given without the standby any more,
//! then it is shown to hold every answer given before, and only then it is told so.
//!
//! A standby that came with a grant may be promoted at any time, and is fed the first stream before
//! the others: changes of lists and policies are in it, and a primary that starts goes by those on its
//! own disk, whether the standby has them or not. So no decision reaches a standby that may decide
//! alone before the change that it was made by.

/// A stream this close to its end is worth waiting for, records: well under what a shard may have
/// pending.
pub const NEAR_RECORDS: u64 = 8_192;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make it durable that answers wait for this standby, have every shard do so, and report each
    /// with [`Session::waits`].
    Wait,
    /// Send GRANT.
    Grant,
    /// The standby holds the grant.
    InSync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    CatchingUp,
    ClosingGap,
    Granting,
    InSync,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    /// The last record that the standby holds; none before it follows.
    acknowledged: Option<u64>,
    /// The last durable record here.
    durable: u64,
    /// What the standby must hold before the grant.
    target: Option<u64>,
}

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its number, which each connection of it names.
    pub id: u64,
    /// The standby.
    pub node_id: [u8; 16],
    streams: Vec<Stream>,
    phase: Phase,
    held: bool,
    /// The standby may hold the grant whatever phase this is: it came with that of an earlier
    /// session, or this one's was held back after it had been sent.
    may_stay_in_sync: bool,
    /// REVOKEs without their REVOKED yet.
    revokes_open: u32,
    /// What the standby is to hold of the first stream before it is fed others, if it may be in sync.
    first_stream_target: u64,
    feeds_all: bool,
}

impl Session {
    /// Begins a session. `durable` is the last durable record of each stream; `granted` what the
    /// standby said of itself.
    pub fn new(id: u64, node_id: [u8; 16], durable: &[u64], granted: bool) -> Self {
        let streams =
            durable.iter().map(|&durable| Stream { durable, ..Stream::default() }).collect();
        Self {
            id,
            node_id,
            streams,
            phase: Phase::CatchingUp,
            held: false,
            may_stay_in_sync: granted,
            revokes_open: 0,
            first_stream_target: durable[0],
            feeds_all: false,
        }
    }

    /// Whether streams behind the first may be fed from now on; `true` once.
    pub fn begins_to_feed_all(&mut self) -> bool {
        let holds_first =
            self.streams[0].acknowledged.is_some_and(|lsn| lsn >= self.first_stream_target);
        // What every stream holds at a grant is all that this primary started with, at least.
        let is_granted = matches!(self.phase, Phase::Granting | Phase::InSync);
        let may = holds_first || is_granted || !self.may_be_in_sync();
        may && !std::mem::replace(&mut self.feeds_all, may)
    }

    /// The standby holds a stream up to a record; this node has it durable up to another.
    pub fn progress(&mut self, stream: usize, acknowledged: u64, durable: u64) -> Option<Step> {
        let entry = &mut self.streams[stream];
        entry.acknowledged = Some(entry.acknowledged.unwrap_or(0).max(acknowledged));
        entry.durable = entry.durable.max(durable);
        self.next()
    }

    /// A shard no longer answers without the standby; it may have answered everything up to a
    /// record by then.
    pub fn waits(&mut self, stream: usize, answered: u64) -> Option<Step> {
        let target = &mut self.streams[stream].target;
        *target = Some(target.unwrap_or(0).max(answered));
        self.next()
    }

    /// The standby has made the grant durable.
    pub fn granted(&mut self) -> Option<Step> {
        if self.phase != Phase::Granting {
            return None;
        }
        self.phase = Phase::InSync;
        Some(Step::InSync)
    }

    /// No grant is given in this session any more: the operator wants the node alone. One that was
    /// given is to be revoked.
    pub fn hold(&mut self) {
        self.held = true;
        self.may_stay_in_sync = self.may_be_in_sync();
        self.phase = Phase::CatchingUp;
    }

    /// Whether the standby holds the grant.
    pub fn is_in_sync(&self) -> bool {
        self.phase == Phase::InSync
    }

    /// Whether the standby may hold the grant: it was sent, or it came with it.
    pub fn may_be_in_sync(&self) -> bool {
        self.may_stay_in_sync || matches!(self.phase, Phase::Granting | Phase::InSync)
    }

    /// REVOKE is sent.
    pub fn revoke(&mut self) {
        self.revokes_open += 1;
    }

    /// The standby has given back, durably, what it held when a REVOKE reached it. Only the answer
    /// to the last one says that it holds nothing: between an earlier one and that, a GRANT may
    /// have reached it. A REVOKED that nobody asked for says nothing.
    pub fn revoked(&mut self) {
        if self.revokes_open == 1 {
            self.may_stay_in_sync = false;
        }
        self.revokes_open = self.revokes_open.saturating_sub(1);
    }

    /// Records that the standby is known to lack, with what each stream has durable by now.
    pub fn behind(&self, durable: impl Fn(usize) -> u64) -> u64 {
        let streams = self.streams.iter().enumerate();
        streams
            .map(|(stream, s)| {
                durable(stream).max(s.durable).saturating_sub(s.acknowledged.unwrap_or(0))
            })
            .sum()
    }

    fn next(&mut self) -> Option<Step> {
        let near = |s: &Stream| {
            s.acknowledged
                .is_some_and(|acknowledged| s.durable.saturating_sub(acknowledged) <= NEAR_RECORDS)
        };
        let holds = |s: &Stream| {
            s.acknowledged
                .zip(s.target)
                .is_some_and(|(acknowledged, target)| acknowledged >= target)
        };
        match self.phase {
            Phase::CatchingUp if !self.held && self.streams.iter().all(near) => {
                self.phase = Phase::ClosingGap;
                Some(Step::Wait)
            }
            Phase::ClosingGap if self.streams.iter().all(holds) => {
                self.phase = Phase::Granting;
                Some(Step::Grant)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grant_comes_after_the_gate_and_after_what_was_answered_before() {
        let mut session = Session::new(1, [2; 16], &[100_000, 5], false);
        assert_eq!(session.progress(0, 0, 100_000), None);
        assert_eq!(session.progress(1, 5, 5), None, "one stream is far behind");
        assert_eq!(session.behind(|_| 0), 100_000);
        assert_eq!(
            session.behind(|stream| [100_010, 5][stream]),
            100_010,
            "what came since nothing was acknowledged"
        );
        assert_eq!(session.progress(0, 95_000, 100_100), Some(Step::Wait));
        assert_eq!(session.granted(), None, "not before it was sent");
        assert_eq!(session.waits(0, 100_100), None);
        assert_eq!(session.waits(1, 5), None, "stream 0 lacks answers");
        assert_eq!(session.progress(0, 100_099, 100_200), None);
        assert!(!session.may_be_in_sync());
        assert_eq!(session.progress(0, 100_100, 100_300), Some(Step::Grant));
        assert!(session.may_be_in_sync() && !session.is_in_sync());
        assert_eq!(session.granted(), Some(Step::InSync));
        assert_eq!(session.granted(), None);
        assert!(session.is_in_sync());
    }

    #[test]
    fn a_standby_that_may_be_promoted_is_fed_the_first_stream_first() {
        assert!(Session::new(1, [2; 16], &[5, 9], false).begins_to_feed_all());
        let mut session = Session::new(1, [2; 16], &[5, 9], true);
        assert!(!session.begins_to_feed_all());
        session.progress(1, 9, 9);
        session.progress(0, 4, 7);
        assert!(!session.begins_to_feed_all(), "it lacks what this primary may go by");
        let mut revoked = session.clone();
        session.progress(0, 5, 7);
        assert!(session.begins_to_feed_all(), "what came since is committed before it is gone by");
        assert!(!session.begins_to_feed_all(), "once");
        revoked.revoke();
        assert!(!revoked.begins_to_feed_all());
        revoked.revoked();
        assert!(revoked.begins_to_feed_all(), "it is not promoted any more");
        let mut granted = Session::new(1, [2; 16], &[5, 9], true);
        granted.progress(0, 4, 5);
        assert_eq!(granted.progress(1, 9, 9), Some(Step::Wait));
        assert_eq!((granted.waits(0, 4), granted.waits(1, 9)), (None, Some(Step::Grant)));
        assert!(granted.begins_to_feed_all(), "nobody tells of acknowledgements any more");
    }

    #[test]
    fn a_held_session_gives_no_grant() {
        let mut session = Session::new(1, [2; 16], &[5], true);
        session.hold();
        assert_eq!(session.progress(0, 5, 5), None);
        assert_eq!(session.behind(|_| 5), 0);
        assert!(session.may_be_in_sync(), "it came with one");
        session.revoked();
        assert!(session.may_be_in_sync(), "nobody has asked for it yet");
        session.revoke();
        session.revoked();
        assert!(!session.may_be_in_sync());
    }

    #[test]
    fn the_answer_to_an_earlier_revoke_does_not_stand_for_a_later_grant() {
        let mut session = Session::new(1, [2; 16], &[5], true);
        session.revoke();
        assert_eq!(session.progress(0, 5, 5), Some(Step::Wait));
        assert_eq!(session.waits(0, 5), Some(Step::Grant));
        session.hold();
        session.revoke();
        session.revoked();
        assert!(session.may_be_in_sync(), "GRANT followed the REVOKE that this answers");
        assert_eq!(session.granted(), None, "nor does a late GRANTED end the holding");
        session.revoked();
        assert!(!session.may_be_in_sync());
    }
}
