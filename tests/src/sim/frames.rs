//! What nodes say to each other: the frames of `catraca_wire::replication` with the handshake's
//! proofs left out, because the network here carries nothing that a node did not send.

use super::network::{End, Payload};
use super::world::Sim;
use catraca_core::replica::Peer;
use catraca_core::replica::node::{Accepted, CallFailure, Caller, Event, NodeMessage};
use catraca_wire::block::Chain;
use catraca_wire::replication::RefuseReason;
use std::rc::Rc;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Node,
    Stream { stream: usize, session: u64 },
    Inquiry,
}

/// JOIN.
#[derive(Debug, Clone)]
pub(super) struct Join {
    pub purpose: Purpose,
    pub caller: Caller,
}

/// A frame.
#[derive(Debug, Clone)]
pub(super) enum NodeFrame {
    Join(Join),
    Accept(Accepted),
    /// PROOF, with nothing to prove: the caller still wants what it has joined for.
    Proof,
    Welcome,
    Refuse {
        reason: RefuseReason,
        primary: String,
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
    /// On a connection from node to node.
    Node(NodeMessage),
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
            Payload::Frame(frame) => {
                let dialed = matches!(self.net.conns[conn].ends[0], End::Node { node: from, .. } if from == node);
                if dialed {
                    self.standby_receives(node, conn, frame)
                } else {
                    self.primary_receives(node, conn, frame)
                }
            }
        }
    }

    /// Sends a frame to the other node, from whichever end is this one's.
    pub(super) fn send_frame(&mut self, node: usize, conn: usize, frame: NodeFrame) {
        let end = self.net.end_of(conn, node);
        self.send(conn, end, Payload::Frame(frame));
    }

    /// Gives a connection to the other node up.
    pub(super) fn drop_conn(&mut self, node: usize, conn: usize) {
        let end = self.net.end_of(conn, node);
        self.hang_up(conn, end);
    }

    fn conn_closed(&mut self, node: usize, conn: usize) {
        if let End::Client(_) = self.net.conns[conn].ends[0] {
            return self.client_gone(node, conn);
        }
        let process = self.process(node);
        process.primary.calls.remove(&conn);
        let why = "a connection of it is gone".to_owned();
        if let Some(session) = process.primary.session_with(conn) {
            self.node_event(node, Event::SessionEnded { session, why });
        } else if process.standby.holds(conn) {
            let attempt = process.standby.attempt;
            let failure = CallFailure { refused: None, primary: None, why: why.clone() };
            // What comes too late for one of them is nothing to the other.
            self.node_event(node, Event::CallFailed { attempt, failure });
            self.node_event(node, Event::FollowingFailed { attempt, why });
        } else if process.primary.inquiry == Some(conn) {
            process.primary.inquiry = None;
            self.node_event(node, Event::InquiryEnded { answer: None });
        }
    }
}
