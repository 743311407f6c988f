//! Taking the other node's calls: who calls, for what, and whether it may.

use super::connection::{self, Connection, LinkFailure, reachable, refusal};
use super::{Link, feed, lists, locked, primary};
use crate::descriptors::Seldom;
use crate::limits::MAX_CALLS;
use crate::replica::Peer;
use catraca_wire::block::FORMAT_VERSION;
use catraca_wire::frame::{Role, fill, text_of};
use catraca_wire::replication::{AcceptFrame, JoinFrame, Purpose, RefuseFrame, RefuseReason, WelcomeFrame};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Pause when no call can be taken: out of descriptors, say.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Takes calls until the process ends.
pub(super) fn take_calls(link: &Arc<Link>, listener: &TcpListener) {
    let calls = Arc::new(AtomicUsize::new(0));
    let (not_taken, too_many) = (Seldom::default(), Seldom::default());
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(attempts) = not_taken.count() {
                    tracing::warn!(%error, attempts, "a call of another node could not be taken; it waits");
                }
                std::thread::sleep(BACK_OFF);
                continue;
            }
        };
        if calls.load(Ordering::Relaxed) >= MAX_CALLS {
            if let Some(closed) = too_many.count() {
                tracing::warn!(closed, most = MAX_CALLS, "too many calls on the port for other nodes: these were closed");
            }
            continue;
        }
        calls.fetch_add(1, Ordering::Relaxed);
        let (caller, count) = (Arc::clone(link), Arc::clone(&calls));
        let spawned = link.spawn("call", move || {
            if let Err(failure) = take(&caller, stream) {
                tracing::debug!(%failure, "a call of another node ended");
            }
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(failure) = spawned {
            calls.fetch_sub(1, Ordering::Relaxed);
            if let Some(attempts) = not_taken.count() {
                tracing::warn!(%failure, attempts, "a call of another node could not be taken");
            }
        }
    }
}

fn take(link: &Arc<Link>, stream: TcpStream) -> Result<(), LinkFailure> {
    let (mut connection, join, accept) = connection::answer(stream, &link.setup.key, |join| accept(link, join))?;
    let from = connection.peer_address();
    let caller = Peer {
        node_id: join.node_id,
        replication_address: reachable(text_of(&join.replication_address), from),
        client_address: reachable(text_of(&join.client_address), from),
    };
    let purpose = Purpose::from_wire(join.purpose);
    let (epoch, theirs) = (accept.head.epoch.to_native(), join.head.epoch.to_native());
    let stream = join.head.stream.to_native();
    match admit(link, &join, purpose, stream) {
        Ok(()) => connection.send(&WelcomeFrame::empty(stream, epoch))?,
        Err((reason, text)) => {
            let state = locked(&link.inner).state.clone();
            let primary =
                state.peer.filter(|_| state.role == Role::Standby).map_or_else(String::new, |peer| peer.replication_address);
            let sent = connection.send(&refusal(epoch, reason, &text, &primary));
            if reason == RefuseReason::Epoch {
                // It has proved to be of this cluster, so it does know of a later reign.
                link.depose(theirs, Some(caller).filter(|_| join.role == Role::Primary.to_wire()));
            }
            sent?;
            return Err(LinkFailure::Fault(text));
        }
    }
    match purpose {
        Some(Purpose::Node) => primary::serve(link, connection, caller, accept.session.to_native(), &join),
        Some(Purpose::Stream) => serve_stream(link, connection, stream, join.session.to_native()),
        Some(Purpose::List) => lists::serve(link, connection, join.list_id.to_native()),
        Some(Purpose::Inquiry) | None => Ok(()),
    }
}

fn serve_stream(link: &Arc<Link>, connection: Connection, stream: u16, session: u64) -> Result<(), LinkFailure> {
    let outcome = feed::serve(link, connection, stream, session);
    primary::end_session(
        link,
        session,
        &format!("stream {stream}: {}", outcome.as_ref().err().map_or(String::new(), ToString::to_string)),
    );
    outcome
}

/// What can be said before the caller has proved anything.
fn accept(link: &Link, join: &JoinFrame) -> Result<AcceptFrame, Box<RefuseFrame>> {
    let setup = &link.setup;
    let state = locked(&link.inner).state.clone();
    let refuse = |reason, text: String| Err(Box::new(refusal(state.epoch, reason, &text, "")));
    if join.format_version.to_native() != FORMAT_VERSION {
        return refuse(
            RefuseReason::Version,
            format!("the caller has log format {}, this node {FORMAT_VERSION}: run the same build on both", join.format_version),
        );
    }
    if join.cluster_id != [0; 16] && join.cluster_id != setup.cluster_id {
        return refuse(
            RefuseReason::Cluster,
            "the caller belongs to another cluster: check the address, or its data directory".to_owned(),
        );
    }
    if join.node_id == setup.node_id {
        return refuse(RefuseReason::Itself, "a node can't be its own standby: check the address".to_owned());
    }
    let mut accept = AcceptFrame::empty(join.head.stream.to_native(), state.epoch);
    accept.format_version = FORMAT_VERSION.into();
    accept.shards = setup.shards.into();
    accept.streams = link.streams().into();
    accept.role = state.role.to_wire();
    accept.odd_epochs = u8::from(state.odd_epochs);
    accept.segment_len = setup.segment_len.into();
    accept.session = link.sessions.fetch_add(1, Ordering::Relaxed).into();
    accept.solo_after_ms = (setup.solo_after.as_millis() as u64).into();
    accept.cluster_id = setup.cluster_id;
    accept.node_id = setup.node_id;
    accept.nonce = crate::random::bytes();
    fill(&mut accept.client_address, &setup.client_address);
    Ok(accept)
}

/// Whether a caller that has proved who it is may have what it wants.
fn admit(link: &Link, join: &JoinFrame, purpose: Option<Purpose>, stream: u16) -> Result<(), (RefuseReason, String)> {
    let inner = locked(&link.inner);
    let in_session = |id: u64| inner.session.as_ref().is_some_and(|session| session.session.id == id);
    match purpose {
        Some(Purpose::Inquiry) => Ok(()),
        Some(Purpose::Node) if inner.session.as_ref().is_some_and(|session| session.session.node_id != join.node_id) => {
            Err((RefuseReason::Taken, "another standby is connected: stop it first".to_owned()))
        }
        Some(Purpose::Node) if inner.session.as_ref().is_some_and(|standing| standing.has_twin(join, inner.last_heard)) => {
            let there = inner.session.as_ref().map_or("", |standing| standing.address());
            tracing::warn!(
                connected = there,
                caller = text_of(&join.replication_address),
                "two standbys of one identity: one data directory is a copy of the other; the second is refused"
            );
            let text =
                format!("a standby of the same identity is connected from {there}: is one data directory a copy of the other?");
            Err((RefuseReason::Twin, text))
        }
        Some(Purpose::Node) => {
            let shards = join.shards.to_native();
            inner.state.admits(&join.node_id, join.head.epoch.to_native(), shards).map_err(|reason| {
                let text = match reason {
                    RefuseReason::Shards => {
                        format!("the primary has {} shards and the standby {shards}: they must be equal", inner.state.shards)
                    }
                    RefuseReason::Taken => {
                        "another standby's acknowledgements count: `catraca solo --standby-is-down` on the primary gives its place away".to_owned()
                    }
                    RefuseReason::Epoch => "the caller has seen a later epoch than this node's".to_owned(),
                    other => other.to_string(),
                };
                (reason, text)
            })
        }
        Some(Purpose::Stream) if !in_session(join.session.to_native()) => {
            Err((RefuseReason::Session, "the session is over: begin another".to_owned()))
        }
        Some(Purpose::Stream) if stream >= link.streams() => Err((RefuseReason::Unknown, format!("there is no stream {stream}"))),
        Some(Purpose::List) if !in_session(join.session.to_native()) => {
            Err((RefuseReason::Session, "the session is over: begin another".to_owned()))
        }
        Some(Purpose::Stream | Purpose::List) => Ok(()),
        None => Err((RefuseReason::Version, "unknown purpose: run the same build on both nodes".to_owned())),
    }
}
