//! The network: connections that keep order, between machines that may not reach each other.
//!
//! What is on its way when a line goes down arrives when it is up again, unless its connection was
//! given up: as with TCP. Two connections know nothing of each other, so what was sent on one may
//! arrive long after what was sent later on another.

use super::event::Event;
use super::frames::NodeFrame;
use super::world::Sim;
use std::collections::VecDeque;

/// Hosts 0 and 1 are the nodes, the clients follow.
pub(super) const NODES: usize = 2;

/// A usual message takes up to this long, nanoseconds.
pub(super) const USUAL_NS: u64 = 300_000;
/// One that takes longer than this is slow.
const SLOW_NS: u64 = 1_000_000;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A run of a node's process. A listener that has not taken the connection yet has none.
    Node {
        node: usize,
        incarnation: Option<u64>,
    },
    Client(usize),
}

impl End {
    fn host(self) -> usize {
        match self {
            Self::Node { node, .. } => node,
            Self::Client(client) => NODES + client,
        }
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    /// The connection is asked for.
    Open,
    /// Bytes of the client protocol.
    Bytes(Vec<u8>),
    /// A frame between nodes.
    Frame(NodeFrame),
    /// The other side is gone.
    Close,
}

#[derive(Debug)]
pub(super) struct Conn {
    /// Who dialed, who was dialed.
    pub ends: [End; 2],
    /// Whether each end still holds it.
    pub open: [bool; 2],
    /// On their way from each end.
    queues: [VecDeque<(u64, Payload)>; 2],
    last_ns: [u64; 2],
    stalled: [bool; 2],
}

/// All connections, and which hosts reach which.
#[derive(Debug)]
pub(super) struct Network {
    pub conns: Vec<Conn>,
    up: Vec<Vec<bool>>,
    /// Messages take from 20 µs up to this, nanoseconds.
    pub slowest_ns: u64,
    /// Of a thousand messages, those that must be sent again because they were lost.
    pub lost_permille: u64,
    /// Of a thousand blocks and acknowledgements, those that arrive twice.
    pub twice_permille: u64,
}

impl Network {
    pub fn new(clients: usize) -> Self {
        let hosts = NODES + clients;
        Self {
            conns: Vec::new(),
            up: vec![vec![true; hosts]; hosts],
            slowest_ns: USUAL_NS,
            lost_permille: 0,
            twice_permille: 0,
        }
    }

    /// Which end of a connection a run of a process is, if it holds it.
    pub fn end_of(&self, conn: usize, node: usize) -> usize {
        let me = |end: &End| matches!(end, End::Node { node: n, .. } if *n == node);
        self.conns[conn].ends.iter().position(me).expect("a node asks for its own connections only")
    }
}

impl Sim {
    /// The host at the other end of a node's connection.
    pub(super) fn other_end(&self, node: usize, conn: usize) -> usize {
        self.net.conns[conn].ends[1 - self.net.end_of(conn, node)].host()
    }

    /// Asks for a connection.
    pub(super) fn dial(&mut self, from: End, node: usize) -> usize {
        let to = End::Node { node, incarnation: None };
        let conn = self.net.conns.len();
        let queues = [VecDeque::new(), VecDeque::new()];
        self.net.conns.push(Conn {
            ends: [from, to],
            open: [true; 2],
            queues,
            last_ns: [0; 2],
            stalled: [false; 2],
        });
        self.send(conn, 0, Payload::Open);
        conn
    }

    /// Sends from one end; what is sent on a connection that this end has given up goes nowhere.
    pub(super) fn send(&mut self, conn: usize, from: usize, payload: Payload) {
        let Conn { open, .. } = &self.net.conns[conn];
        if !open[from] && !matches!(payload, Payload::Close) {
            return;
        }
        let mut delay_ns = self.rng.between(20_000, self.net.slowest_ns);
        if self.rng.permille(self.net.lost_permille) {
            delay_ns += self.rng.between(40, 250) * 1_000_000;
            self.checks.count("message lost");
        }
        let may_repeat =
            matches!(payload, Payload::Frame(NodeFrame::Block { .. } | NodeFrame::Ack { .. }));
        let twice =
            may_repeat && self.net.twice_permille > 0 && self.rng.permille(self.net.twice_permille);
        if twice {
            self.checks.count("message twice");
        }
        if delay_ns > SLOW_NS {
            self.checks.count("message slow");
        }
        for _ in 0..=u8::from(twice) {
            let entry = &mut self.net.conns[conn];
            let at = (self.now_ns + delay_ns).max(entry.last_ns[from] + 1);
            entry.last_ns[from] = at;
            entry.queues[from].push_back((at, payload.clone()));
            self.at(at, Event::Deliver { conn, from });
        }
    }

    /// One end gives the connection up; the other learns of it when that gets through.
    pub(super) fn hang_up(&mut self, conn: usize, end: usize) {
        if std::mem::take(&mut self.net.conns[conn].open[end]) {
            self.send(conn, end, Payload::Close);
        }
    }

    /// One end is gone without a word: the power was cut.
    pub(super) fn vanish(&mut self, conn: usize, end: usize) {
        self.net.conns[conn].open[end] = false;
    }

    /// A message is due.
    pub(super) fn deliver(&mut self, conn: usize, from: usize) {
        let entry = &mut self.net.conns[conn];
        let (sender, receiver) = (entry.ends[from], entry.ends[1 - from]);
        if !self.net.up[sender.host()][receiver.host()] {
            self.net.conns[conn].stalled[from] = true;
            self.checks.count("message held up");
            return;
        }
        if let End::Node { node, incarnation } = receiver {
            let current = incarnation.is_none_or(|run| run == self.nodes[node].incarnation);
            if current && self.nodes[node].paused {
                self.nodes[node].deferred.push_back(Event::Deliver { conn, from });
                return;
            }
        }
        let entry = &mut self.net.conns[conn];
        let Some((_, payload)) = entry.queues[from].pop_front() else { return };
        let here = match receiver {
            End::Client(_) => true,
            End::Node { node, incarnation } => {
                let host = &self.nodes[node];
                host.process.is_some() && incarnation.is_none_or(|run| run == host.incarnation)
            }
        };
        if !entry.open[1 - from] || !here {
            let silent = matches!(receiver, End::Node { node, .. } if !self.nodes[node].powered);
            if entry.open[from] && !matches!(payload, Payload::Close) && !silent {
                self.net.conns[conn].open[1 - from] = false;
                self.send(conn, 1 - from, Payload::Close);
            }
            return;
        }
        if matches!(payload, Payload::Close) {
            entry.open[1 - from] = false;
        }
        match receiver {
            End::Client(client) => self.client_receives(client, conn, payload),
            End::Node { node, .. } => {
                if matches!(payload, Payload::Open) {
                    let incarnation = Some(self.nodes[node].incarnation);
                    self.net.conns[conn].ends[1 - from] = End::Node { node, incarnation };
                }
                self.node_receives(node, conn, payload);
            }
        }
    }

    /// Takes a line down in one direction, or brings it up: what was held up on the way arrives.
    pub(super) fn set_line(&mut self, from: usize, to: usize, up: bool) {
        if std::mem::replace(&mut self.net.up[from][to], up) == up {
            return;
        }
        self.note(format_args!(
            "line from {} to {} is {}",
            host_name(from),
            host_name(to),
            if up { "up" } else { "down" }
        ));
        if !up {
            return;
        }
        for conn in 0..self.net.conns.len() {
            for dir in 0..2 {
                let entry = &mut self.net.conns[conn];
                if entry.ends[dir].host() != from || entry.ends[1 - dir].host() != to {
                    continue;
                }
                if std::mem::take(&mut entry.stalled[dir]) {
                    let late = entry.queues[dir].len();
                    let at = self.now_ns + self.rng.between(20_000, 50_000_000);
                    for _ in 0..late {
                        self.at(at, Event::Deliver { conn, from: dir });
                    }
                }
            }
        }
    }

    /// All lines are up.
    pub(super) fn mend_lines(&mut self) {
        let hosts = self.net.up.len();
        for (from, to) in (0..hosts).flat_map(|from| (0..hosts).map(move |to| (from, to))) {
            self.set_line(from, to, true);
        }
    }

    /// Breaks one open connection between the nodes, or of a client, if there is any.
    pub(super) fn reset_some(&mut self, of_clients: bool) {
        let of_client = |conn: &Conn| conn.ends.iter().any(|end| end.host() >= NODES);
        let fits = |conn: &Conn| conn.open == [true; 2] && of_client(conn) == of_clients;
        let open: Vec<usize> =
            (0..self.net.conns.len()).filter(|&conn| fits(&self.net.conns[conn])).collect();
        if open.is_empty() {
            return;
        }
        let conn = open[self.rng.index(open.len())];
        self.checks.count(if of_clients { "client reset" } else { "reset" });
        self.note(format_args!("connection {conn} is reset"));
        for from in 0..2 {
            self.net.conns[conn].queues[from].clear();
            self.send(conn, from, Payload::Close);
        }
    }
}

/// A host in print.
pub(super) fn host_name(host: usize) -> String {
    if host < NODES { format!("node {host}") } else { format!("client {}", host - NODES) }
}
