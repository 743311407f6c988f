//! A primary's side of a session, and its own place: whether its answers wait, and whether it still reigns.

use super::connection::{self, Connection, LinkFailure, dial};
use super::{BEAT_EVERY, Inner, Link, SILENCE, WISH_TIMEOUT, locked, mode_text};
use crate::replica::{Peer, ReplicaState, Session, Step};
use crate::shard::messages::ToShard;
use catraca_wire::frame::{Durability, Role, text_of};
use catraca_wire::replication::{BeatFrame, GrantFrame, JoinFrame, LinkKind, Purpose, RevokeFrame, view};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a primary without a standby looks around.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// How often it asks the other node whether another reign has begun.
const INQUIRE_EVERY: Duration = Duration::from_secs(1);
/// How often an operator's wish looks whether the standby has answered.
const WISH_POLL: Duration = Duration::from_millis(5);

/// A session under way.
pub(super) struct Standing {
    pub session: Session,
    peer: Peer,
    /// The run of the standby's program.
    run: [u8; 16],
    /// The connection from node to node, for writing.
    node: TcpStream,
    /// The standby's disk is nearly full, by its last life sign.
    disk_full: bool,
    /// All connections of the session, to end them.
    sockets: Vec<TcpStream>,
}

impl Standing {
    /// Whether the caller has the identity of the standby that is connected, without being it come back: one that was not heard for so
    /// long may have lost the connection before this node knows.
    pub fn has_twin(&self, join: &JoinFrame, last_heard: Option<Instant>) -> bool {
        let alive = last_heard.is_some_and(|heard| heard.elapsed() < 2 * BEAT_EVERY);
        alive && self.session.node_id == join.node_id && self.run != join.run
    }

    /// Where the standby takes other nodes.
    pub fn address(&self) -> &str {
        &self.peer.replication_address
    }

    fn end(&self) {
        self.sockets.iter().for_each(connection::end);
        connection::end(&self.node);
    }
}

/// Serves the connection from node to node of a new session.
pub(super) fn serve(
    link: &Arc<Link>,
    mut connection: Connection,
    caller: Peer,
    id: u64,
    join: &JoinFrame,
) -> Result<(), LinkFailure> {
    let granted = join.in_sync == 1;
    let (mut node, writer) = (connection.handle()?, connection.handle()?);
    {
        let mut inner = locked(&link.inner);
        if inner.session.as_ref().is_some_and(|other| other.peer.node_id != caller.node_id) {
            return Err(LinkFailure::Fault("another standby is connected".to_owned()));
        }
        if inner.session.as_ref().is_some_and(|other| other.has_twin(join, inner.last_heard)) {
            return Err(LinkFailure::Fault("another node of the same identity is connected".to_owned()));
        }
        // Asked before WELCOME too; since then this node may have been deposed, or have come to wait for another standby.
        let admitted = inner.state.admits(&join.node_id, join.head.epoch.to_native(), join.shards.to_native());
        admitted.map_err(|reason| LinkFailure::Fault(reason.to_string()))?;
        if let Some(before) = inner.session.take() {
            before.end();
            link.set_current(0);
            inner.alone_since = Instant::now();
        }
        let epoch = inner.state.epoch;
        let durable: Vec<u64> = (0..link.streams()).map(|stream| link.durable_lsn(stream)).collect();
        let mut session = Session::new(id, caller.node_id, &durable, granted);
        if granted && inner.state.durability != Durability::Sync {
            // What it was promised has ended while it was away: it is told before anything else.
            session.revoke();
            node.write_all(bytemuck::bytes_of(&RevokeFrame::empty(0, epoch)))?;
        }
        inner.session =
            Some(Standing { session, peer: caller.clone(), run: join.run, node: writer, disk_full: false, sockets: Vec::new() });
        inner.last_heard = Some(Instant::now());
        link.set_current(id);
    }
    tracing::info!(standby = caller.replication_address, in_sync = granted, "a standby has connected");
    let outcome = talk(link, &mut connection, &mut node, id);
    end_session(link, id, &outcome.as_ref().err().map_or(String::new(), ToString::to_string));
    outcome
}

fn talk(link: &Link, connection: &mut Connection, node: &mut TcpStream, id: u64) -> Result<(), LinkFailure> {
    let mut heard = Instant::now();
    let mut said = Instant::now();
    while link.is_current(id) {
        if let Some((kind, frame)) = connection.next()? {
            heard = Instant::now();
            let mut inner = locked(&link.inner);
            inner.last_heard = Some(heard);
            let Some(standing) = inner.session.as_mut().filter(|standing| standing.session.id == id) else { break };
            match kind {
                LinkKind::Granted => {
                    let step = standing.session.granted();
                    link.act(&mut inner, step);
                }
                LinkKind::Revoked => standing.session.revoked(),
                LinkKind::Beat => {
                    let full = view::<BeatFrame>(frame).is_some_and(|beat| beat.disk_full == 1);
                    standing.disk_full = full;
                }
                other => return Err(LinkFailure::Unexpected(other)),
            }
        }
        if heard.elapsed() > SILENCE {
            return Err(LinkFailure::Silent(SILENCE.as_millis()));
        }
        if said.elapsed() > BEAT_EVERY {
            said = Instant::now();
            let epoch = locked(&link.inner).state.epoch;
            node.write_all(bytemuck::bytes_of(&link.beat(epoch)))?;
        }
    }
    Ok(())
}

/// Ends a session, if it is still the one under way.
pub(super) fn end_session(link: &Link, id: u64, why: &str) {
    let mut inner = locked(&link.inner);
    if inner.session.as_ref().is_none_or(|standing| standing.session.id != id) {
        return;
    }
    link.set_current(0);
    if let Some(standing) = inner.session.take() {
        standing.end();
    }
    inner.alone_since = Instant::now();
    if !link.is_stopping() {
        tracing::warn!(why, mode = mode_text(inner.state.durability), "the standby is gone");
    }
}

impl Link {
    /// Before a primary decides anything: asks the other node, if there is one, whether it reigns now. If so, this does not return.
    pub fn check_reign(&self) {
        let state = locked(&self.inner).state.clone();
        if let (Role::Primary, Some(peer)) = (state.role, state.peer) {
            inquire(self, &peer);
        }
    }

    /// Answers wait for a standby that is not connected.
    pub fn waits_for_standby(&self) -> bool {
        let inner = locked(&self.inner);
        inner.state.role == Role::Primary && inner.state.durability == Durability::Sync && inner.session.is_none()
    }

    /// Answers wait for a standby whose disk is nearly full.
    pub fn standby_disk_full(&self) -> bool {
        let inner = locked(&self.inner);
        inner.state.durability == Durability::Sync && inner.session.as_ref().is_some_and(|standing| standing.disk_full)
    }

    /// A connection belongs to a session; `false` when that is over.
    pub(super) fn adopt(&self, id: u64, socket: TcpStream) -> bool {
        let mut inner = locked(&self.inner);
        match inner.session.as_mut().filter(|standing| standing.session.id == id) {
            Some(standing) => {
                standing.sockets.push(socket);
                true
            }
            None => false,
        }
    }

    /// The standby holds a stream up to a record.
    pub(super) fn progress(&self, id: u64, stream: u16, acknowledged: u64) {
        let durable = self.durable_lsn(stream);
        let mut inner = locked(&self.inner);
        inner.last_heard = Some(Instant::now());
        let Some(standing) = inner.session.as_mut().filter(|standing| standing.session.id == id) else { return };
        let step = standing.session.progress(usize::from(stream), acknowledged, durable);
        self.act(&mut inner, step);
    }

    /// A shard's answers wait for the standby from now on; it may have answered everything up to a record by then.
    pub fn gated(&self, shard: u16, session: u64, answered: u64) {
        let mut inner = locked(&self.inner);
        // Between an earlier session's request and this one's the shard may have answered alone.
        let Some(standing) = inner.session.as_mut().filter(|standing| standing.session.id == session) else { return };
        let step = standing.session.gated(usize::from(shard), answered);
        self.act(&mut inner, step);
    }

    fn act(&self, inner: &mut Inner, step: Option<Step>) {
        let Some(standing) = inner.session.as_mut() else { return };
        match step {
            None => {}
            Some(Step::Gate) => {
                // The standby has been told, durably, before it opened the streams whose word this is.
                let may_leave = !self.setup.solo_after.is_zero();
                let had = (0..self.streams()).map(|stream| self.durable_lsn(stream)).collect();
                let state = inner.state.with_standby(standing.peer.clone()).granted_to(had);
                let state = ReplicaState { primary_may_leave: may_leave, ..state };
                if state != inner.state {
                    self.persist(inner, state);
                }
                tracing::info!("the standby has caught up: answers wait for it from now on");
                let session = inner.session.as_ref().map_or(0, |standing| standing.session.id);
                for shard in 0..usize::from(self.setup.shards) {
                    self.tell(shard, ToShard::Durability { durability: Durability::Sync, session });
                }
                // No shard writes these any more: all of them was committed long ago.
                for stream in self.setup.shards..self.streams() {
                    let durable = self.durable_lsn(stream);
                    let next = inner.session.as_mut().and_then(|standing| standing.session.gated(usize::from(stream), durable));
                    self.act(inner, next);
                }
            }
            Some(Step::Grant) => {
                // A connection that is gone ends the session by itself.
                let _ = standing.node.write_all(bytemuck::bytes_of(&GrantFrame::empty(0, inner.state.epoch)));
            }
            Some(Step::InSync) => tracing::info!("the standby is in sync: it may be promoted without loss"),
        }
    }

    /// Has this primary answer alone, on an operator's wish.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn go_solo(&self, standby_is_down: bool) -> Result<(), String> {
        let mut inner = locked(&self.inner);
        match (inner.state.role, inner.state.durability) {
            (Role::Standby, _) => return Err("this node is a standby: it answers nothing".to_owned()),
            (Role::Primary, Durability::Solo) => return Ok(()),
            (Role::Primary, Durability::Single) => {
                return Err("this node has no standby: it decides alone already".to_owned());
            }
            (Role::Primary, Durability::Sync) => {}
        }
        let told = match hold_session(&mut inner) {
            Some(id) => {
                drop(inner);
                self.wait_for_revoked(id);
                inner = locked(&self.inner);
                // Meanwhile that session may have ended, and another one have begun that was never held back.
                session_of(&inner, id).is_some_and(|session| !session.may_hold_grant())
            }
            None => inner.session.is_some(),
        };
        if !told && !standby_is_down {
            // A session that is held back would never again come in sync: the standby calls anew.
            if let Some(standing) = &inner.session {
                standing.end();
                return Err("the standby did not confirm that it knows: look after it, or --standby-is-down".to_owned());
            }
            return Err("the standby can't be told: --standby-is-down is your word that it will not be promoted".to_owned());
        }
        self.leave_standby(&mut inner, "an operator's command");
        Ok(())
    }

    /// Waits until the standby of a session has given back what it held, the session is over, or the time is.
    fn wait_for_revoked(&self, id: u64) {
        let until = Instant::now() + WISH_TIMEOUT;
        while Instant::now() < until && session_of(&locked(&self.inner), id).is_some_and(Session::may_hold_grant) {
            std::thread::sleep(WISH_POLL);
        }
    }

    /// Records that answers wait for nobody, then has the shards do so.
    fn leave_standby(&self, inner: &mut Inner, why: &str) {
        if inner.state.role != Role::Primary || inner.state.durability != Durability::Sync {
            return;
        }
        // Whatever session there is by now: it must not come to grant what ends here.
        if let Some(standing) = inner.session.as_mut() {
            standing.session.hold();
            if standing.session.may_hold_grant() {
                // It came during the wait for another session's word: it calls anew, and is told that it is left behind.
                standing.end();
            }
        }
        let state = inner.state.alone();
        self.persist(inner, state);
        tracing::warn!(why, "this node answers ALONE: decisions are on its own disk only, until a standby has caught up");
        for shard in 0..usize::from(self.setup.shards) {
            self.tell(shard, ToShard::Durability { durability: Durability::Solo, session: 0 });
        }
    }
}

fn session_of(inner: &Inner, id: u64) -> Option<&Session> {
    inner.session.as_ref().map(|standing| &standing.session).filter(|session| session.id == id)
}

/// Has the session, if there is one, give no grant any more, and takes back what its standby may hold; the session whose REVOKED is to be
/// waited for.
fn hold_session(inner: &mut Inner) -> Option<u64> {
    let epoch = inner.state.epoch;
    let standing = inner.session.as_mut()?;
    standing.session.hold();
    if !standing.session.may_hold_grant() {
        return None;
    }
    standing.session.revoke();
    // A connection that is gone ends the session by itself.
    let _ = standing.node.write_all(bytemuck::bytes_of(&RevokeFrame::empty(0, epoch)));
    Some(standing.session.id)
}

/// Looks after a primary that has no standby: goes alone after the configured time.
pub(super) fn watch(link: &Arc<Link>) {
    loop {
        std::thread::sleep(WATCH_EVERY);
        let mut inner = locked(&link.inner);
        if !is_without_standby(link, &inner) {
            continue;
        }
        // Not before the standby knows that this may happen: it would be promoted without a word.
        let may_leave = inner.state.primary_may_leave && !link.setup.solo_after.is_zero();
        if may_leave && inner.alone_since.elapsed() >= link.setup.solo_after {
            link.leave_standby(&mut inner, "solo_after_ms is over");
        }
    }
}

/// While a primary has no standby, asks the other node whether a later reign has begun. In a thread of its own, because a node that hangs
/// lets it wait.
pub(super) fn inquire_again(link: &Arc<Link>) {
    loop {
        std::thread::sleep(INQUIRE_EVERY);
        let peer = {
            let inner = locked(&link.inner);
            if is_without_standby(link, &inner) { inner.state.peer.clone() } else { None }
        };
        if let Some(peer) = peer {
            inquire(link, &peer);
        }
    }
}

fn is_without_standby(link: &Link, inner: &Inner) -> bool {
    inner.state.role == Role::Primary && inner.session.is_none() && !link.is_stopping()
}

/// Asks the other node whether it reigns now; if so, this one does not return.
fn inquire(link: &Link, peer: &Peer) {
    let join = link.join_frame(Purpose::Inquiry, 0, 0);
    match dial(&peer.replication_address, &join, &link.setup.key) {
        Ok((connection, accept)) if accept.role == Role::Primary.to_wire() => {
            let client_address = connection::reachable(text_of(&accept.client_address), connection.peer_address());
            let by = Peer { node_id: accept.node_id, client_address, ..peer.clone() };
            link.depose(accept.head.epoch.to_native(), Some(by));
        }
        Ok(_) => {}
        Err(failure) => tracing::debug!(%failure, "the other node does not answer"),
    }
}
