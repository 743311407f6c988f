//! What nodes say to each other: the frames of `catraca_wire::replication` with the handshake's proofs left out, because the network
//! here carries nothing that a node did not send.

use super::event::Wake;
use super::network::{End, Payload};
use super::world::Sim;
use catraca_engine::replica::Peer;
use catraca_wire::block::Chain;
use catraca_wire::frame::Role;
use catraca_wire::replication::RefuseReason;
use std::rc::Rc;

/// Life signs go out this often.
pub(super) const BEAT_NS: u64 = 100_000_000;
/// A session whose other side was silent for this long is over.
pub(super) const SILENCE_NS: u64 = 400_000_000;
/// Between two attempts to reach the primary, or to learn who is primary.
pub(super) const DIAL_PAUSE_NS: u64 = 60_000_000;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Node,
    Stream { stream: usize, session: u64 },
    Inquiry,
}

/// JOIN.
#[derive(Debug, Clone, Copy)]
pub(super) struct Join {
    pub purpose: Purpose,
    pub node: usize,
    pub node_id: [u8; 16],
    pub epoch: u32,
    pub shards: u16,
    pub in_sync: bool,
}

/// ACCEPT.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accept {
    pub node: usize,
    pub node_id: [u8; 16],
    pub epoch: u32,
    pub role: Role,
    pub odd_epochs: bool,
    pub may_leave: bool,
    pub session: u64,
}

/// A frame.
#[derive(Debug, Clone)]
pub(super) enum Link {
    Join(Join),
    Accept(Accept),
    Refuse {
        reason: RefuseReason,
    },
    Probe {
        lsn: u64,
        chain: Chain,
    },
    Match {
        matches: bool,
        tail: u64,
    },
    Follow {
        lsn: u64,
        chain: Chain,
    },
    Block {
        epoch: u32,
        committed: u64,
        bytes: Rc<[u8]>,
    },
    Ack {
        lsn: u64,
        receipt: u64,
    },
    Grant {
        epoch: u32,
    },
    Granted,
    Revoke {
        epoch: u32,
    },
    Revoked,
    /// A life sign; whether the sender's disk is nearly full.
    Beat {
        full: bool,
    },
}

/// A node as its peer knows it.
pub(super) fn peer(node: usize, node_id: [u8; 16]) -> Peer {
    Peer { node_id, replication_address: address(node), client_address: String::new() }
}

/// Where a node takes connections of the other.
pub(super) fn address(node: usize) -> String {
    format!("node{node}:7401")
}

/// The node at an address.
pub(super) fn node_at(address: &str) -> usize {
    usize::from(address.as_bytes()[4] - b'0')
}

impl Sim {
    /// Something came for a running node.
    pub(super) fn node_receives(&mut self, node: usize, conn: usize, payload: Payload) {
        match payload {
            Payload::Open => {
                if let End::Client(_) = self.net.conns[conn].ends[0] {
                    self.accept_client(node, conn);
                }
            }
            Payload::Bytes(bytes) => self.client_bytes(node, conn, &bytes),
            Payload::Close => self.conn_closed(node, conn),
            Payload::Link(link) => {
                let dialed = matches!(self.net.conns[conn].ends[0], End::Node { node: from, .. } if from == node);
                if dialed { self.standby_receives(node, conn, link) } else { self.primary_receives(node, conn, link) }
            }
        }
    }

    /// Sends a frame to the other node, from whichever end is this one's.
    pub(super) fn send_link(&mut self, node: usize, conn: usize, link: Link) {
        let end = self.net.end_of(conn, node);
        self.send(conn, end, Payload::Link(link));
    }

    /// Gives a connection to the other node up.
    pub(super) fn drop_link(&mut self, node: usize, conn: usize) {
        let end = self.net.end_of(conn, node);
        self.hang_up(conn, end);
    }

    fn conn_closed(&mut self, node: usize, conn: usize) {
        if let End::Client(_) = self.net.conns[conn].ends[0] {
            return self.client_gone(node, conn);
        }
        let process = self.process(node);
        if process.primary.holds(conn) {
            self.end_session(node, "a connection of it is gone");
        } else if process.standby.holds(conn) {
            self.stop_following(node, "a connection is gone");
        } else if process.primary.inquiry == Some(conn) {
            process.primary.inquiry = None;
        }
    }

    /// Life signs, and what follows from their absence.
    pub(super) fn beat(&mut self, node: usize) {
        let now_ns = self.now_ns;
        let full = self.is_short_of_room(node);
        let process = self.process(node);
        let silent = |heard: u64| now_ns.saturating_sub(heard) > SILENCE_NS;
        if let Some(active) = &process.primary.active {
            let conn = active.conn;
            if silent(active.heard_ns) {
                self.end_session(node, "the standby is silent");
            } else {
                self.send_link(node, conn, Link::Beat { full });
            }
        } else if process.state.role == Role::Primary {
            self.leave_by_itself(node);
        } else if let Some(conn) = process.standby.conn {
            if silent(process.standby.heard_ns) {
                self.stop_following(node, "the primary is silent");
            } else {
                self.send_link(node, conn, Link::Beat { full });
            }
        }
        self.wake_in(node, BEAT_NS, Wake::Beat);
    }
}
