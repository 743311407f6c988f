//! Taking the other node's calls: the handshake, then whatever the node has let the caller in for.

use super::connection::{self, Connection, ConnectionFailure, message_of, reachable, refusal};
use super::mover::Input;
use super::{Replication, feed, lists};
use crate::descriptors::Seldom;
use catraca_core::limits::MAX_CALLS;
use catraca_core::replica::Peer;
use catraca_core::replica::node::{CallPurpose, Caller, ConnId, Event};
use catraca_wire::block::FORMAT_VERSION;
use catraca_wire::frame::{Role, fill, text_of};
use catraca_wire::replication::{AcceptFrame, JoinFrame, Purpose, RefuseFrame, RefuseReason};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Pause when no call can be taken: out of descriptors, say.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Takes calls until the process ends.
pub(super) fn take_calls(replication: &Arc<Replication>, listener: &TcpListener) {
    let calls = Arc::new(AtomicUsize::new(0));
    let (not_taken, too_many) = (Seldom::default(), Seldom::default());
    let not_shaken = Arc::new(Seldom::default());
    loop {
        let (stream, from) = match listener.accept() {
            Ok(accepted) => accepted,
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
                tracing::warn!(
                    closed,
                    most = MAX_CALLS,
                    "too many calls on the port for other nodes: these were closed"
                );
            }
            continue;
        }
        calls.fetch_add(1, Ordering::Relaxed);
        let (caller, count) = (Arc::clone(replication), Arc::clone(&calls));
        let not_shaken = Arc::clone(&not_shaken);
        let spawned = replication.spawn("call", move || {
            match take(&caller, stream) {
                Err(failure) if failure.is_of_tls() => {
                    if let Some(refused) = not_shaken.count() {
                        tracing::warn!(%from, %failure, refused, "a call on the port for other nodes was refused");
                    }
                }
                Err(failure) => tracing::debug!(%failure, "a call of another node ended"),
                Ok(()) => {}
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

fn take(replication: &Arc<Replication>, stream: TcpStream) -> Result<(), ConnectionFailure> {
    let (connection, join, accept) =
        connection::answer(stream, &replication.setup.link_keys(), |join| {
            accept(replication, join)
        })?;
    let from = connection.peer_address();
    let (stream, session) = (join.head.stream.to_native(), join.session.to_native());
    let id = accept.session.to_native();
    let purpose = match Purpose::from_wire(join.purpose) {
        Some(Purpose::Node) => CallPurpose::Session { session: id },
        Some(Purpose::Stream) => CallPurpose::Stream { stream, session },
        Some(Purpose::List) => CallPurpose::List { session },
        Some(Purpose::Inquiry) => CallPurpose::Inquiry,
        None => {
            let text = "unknown purpose: run the same build on both nodes";
            connection.send(&refusal(replication.epoch(), RefuseReason::Version, text, ""))?;
            return Err(ConnectionFailure::Fault(text.to_owned()));
        }
    };
    let caller = Caller {
        peer: Peer {
            node_id: join.node_id,
            replication_address: reachable(text_of(&join.replication_address), from),
            client_address: reachable(text_of(&join.client_address), from),
        },
        run: join.run,
        epoch: join.head.epoch.to_native(),
        shards: join.shards.to_native(),
        role: Role::from_wire(join.role).unwrap_or(Role::Standby),
        in_sync: join.in_sync == 1,
    };
    let (conn, writer) = (replication.new_conn(), connection.writer());
    let (verdict, waits) = sync_channel(1);
    replication.input(Input::Called { conn, caller, purpose, writer, verdict });
    waits.recv().map_err(|_| ConnectionFailure::Closed)?.map_err(ConnectionFailure::Fault)?;
    match purpose {
        CallPurpose::Session { session } => serve_node(replication, connection, conn, session),
        CallPurpose::Stream { stream, session } => {
            serve_stream(replication, connection, stream, session)
        }
        CallPurpose::List { .. } => lists::serve(replication, connection, join.list_id.to_native()),
        CallPurpose::Inquiry => Ok(()),
    }
}

/// Hands the messages of a session's standby to the node, until the session ends.
fn serve_node(
    replication: &Arc<Replication>,
    mut connection: Connection,
    conn: ConnId,
    session: u64,
) -> Result<(), ConnectionFailure> {
    let outcome = loop {
        match connection.next() {
            Ok(None) if replication.is_current(session) => {}
            Ok(None) => break Ok(()),
            Ok(Some((kind, frame))) => {
                replication.heard();
                match message_of(kind, frame) {
                    Some(message) => replication.event(Event::Received { conn, message }),
                    None => break Err(ConnectionFailure::Unexpected(kind)),
                }
            }
            Err(failure) => break Err(failure),
        }
    };
    replication
        .session_failed(session, outcome.as_ref().err().map_or(String::new(), ToString::to_string));
    outcome
}

fn serve_stream(
    replication: &Arc<Replication>,
    connection: Connection,
    stream: u16,
    session: u64,
) -> Result<(), ConnectionFailure> {
    let outcome = feed::serve(replication, connection, stream, session);
    let why = outcome.as_ref().err().map_or(String::new(), ToString::to_string);
    replication.session_failed(session, format!("stream {stream}: {why}"));
    outcome
}

/// What can be said before the caller has proved anything.
fn accept(replication: &Replication, join: &JoinFrame) -> Result<AcceptFrame, Box<RefuseFrame>> {
    let setup = &replication.setup;
    let state = replication.status().state;
    let refuse = |reason, text: String| Err(Box::new(refusal(state.epoch, reason, &text, "")));
    if join.format_version.to_native() != FORMAT_VERSION {
        return refuse(
            RefuseReason::Version,
            format!(
                "the caller has log format {}, this node {FORMAT_VERSION}: run the same build on both",
                join.format_version
            ),
        );
    }
    if join.cluster_id != [0; 16] && join.cluster_id != setup.cluster_id {
        return refuse(
            RefuseReason::Cluster,
            "the caller belongs to another cluster: check the address, or its data directory"
                .to_owned(),
        );
    }
    if join.node_id == setup.node_id {
        return refuse(
            RefuseReason::Itself,
            "a node can't be its own standby: check the address".to_owned(),
        );
    }
    let mut accept = AcceptFrame::empty(join.head.stream.to_native(), state.epoch);
    accept.format_version = FORMAT_VERSION.into();
    accept.shards = setup.shards.into();
    accept.streams = replication.streams().into();
    accept.role = state.role.to_wire();
    accept.odd_epochs = u8::from(state.odd_epochs);
    accept.segment_len = setup.segment_len.into();
    accept.session = replication.sessions.fetch_add(1, Ordering::Relaxed).into();
    accept.solo_after_ms = (setup.solo_after.as_millis() as u64).into();
    accept.cluster_id = setup.cluster_id;
    accept.node_id = setup.node_id;
    accept.nonce = crate::random::bytes();
    fill(&mut accept.client_address, &setup.client_address);
    Ok(accept)
}
