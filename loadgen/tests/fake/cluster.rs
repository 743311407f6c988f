//! Two fake nodes that share what they decided, one of them the primary, and what becomes of it in
//! the middle of a run.

use super::{Mode, State, answer};
use bytemuck::Zeroable;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::{
    ErrorCode, ErrorFrame, HelloFrame, Role, SubmitFrame, WelcomeFrame, fill,
};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens at the submission that the test names; the second node is the primary afterwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    /// The first node decides, and is gone with all its connections before it answers.
    Dies,
    /// The same, and nobody is the primary for so many HELLOs.
    DiesAlone { hellos: u64 },
    /// It answers NOT_PRIMARY from now on.
    Demoted,
    /// It answers SHUTTING_DOWN from now on, and says in WELCOME that it is the primary.
    Stops,
    /// It says nothing more, and takes connections.
    Freezes,
    /// It dies, and the second node lacks the last decisions, so many of them.
    Forgets { decisions: usize },
    /// Nothing but UNCONFIRMED for this one transaction, the first so many times; it stays the
    /// primary.
    Unconfirmed { times: u64 },
}

struct Shared {
    decided: State,
    order: Vec<[u8; 32]>,
    /// Which node decides.
    primary: Option<usize>,
    fate: Fate,
    at: u64,
    struck: bool,
    unanswered_hellos: u64,
    doubted: Option<([u8; 32], u64)>,
    addresses: [String; 2],
}

/// The two nodes.
pub struct FakeCluster {
    pub addresses: [String; 2],
    shared: Arc<Mutex<Shared>>,
}

impl FakeCluster {
    /// Listens on two free ports; the first node is the primary until the submission `at`, counted
    /// from 0.
    pub fn start(listed: &[[u8; DOCUMENT_LEN]], in_flight: u32, fate: Fate, at: u64) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let addresses = [0, 1].map(|node| listeners[node].local_addr().expect("bound").to_string());
        let listed: Arc<HashSet<[u8; DOCUMENT_LEN]>> = Arc::new(listed.iter().copied().collect());
        let shared = Arc::new(Mutex::new(Shared {
            decided: State::default(),
            order: Vec::new(),
            primary: Some(0),
            fate,
            at,
            struck: false,
            unanswered_hellos: 0,
            doubted: None,
            addresses: addresses.clone(),
        }));
        for (node, listener) in listeners.into_iter().enumerate() {
            let (shared, listed) = (Arc::clone(&shared), Arc::clone(&listed));
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (shared, listed) = (Arc::clone(&shared), Arc::clone(&listed));
                    thread::spawn(move || drop(serve(node, stream, &shared, &listed, in_flight)));
                }
            });
        }
        Self { addresses, shared }
    }

    /// Different transactions decided so far.
    pub fn decided(&self) -> usize {
        self.shared.lock().expect("no thread panics with it").decided.decided.len()
    }

    /// HELLOs that found nobody who decides.
    pub fn unanswered_hellos(&self) -> u64 {
        self.shared.lock().expect("no thread panics with it").unanswered_hellos
    }
}

impl Shared {
    /// Whether this node is as good as dead.
    fn is_gone(&self, node: usize) -> bool {
        self.struck
            && node == 0
            && matches!(self.fate, Fate::Dies | Fate::DiesAlone { .. } | Fate::Forgets { .. })
    }

    fn strike(&mut self) {
        self.struck = true;
        self.primary = match self.fate {
            Fate::DiesAlone { .. } => None,
            Fate::Unconfirmed { .. } => Some(0),
            _ => Some(1),
        };
        if let Fate::Forgets { decisions } = self.fate {
            for id in self.order.iter().rev().take(decisions) {
                self.decided.decided.remove(id);
            }
        }
    }
}

fn serve(
    node: usize,
    mut stream: TcpStream,
    shared: &Mutex<Shared>,
    listed: &HashSet<[u8; DOCUMENT_LEN]>,
    in_flight: u32,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut hello = HelloFrame::zeroed();
    stream.read_exact(bytemuck::bytes_of_mut(&mut hello))?;
    let mut welcome = WelcomeFrame::empty(0);
    {
        let mut shared = shared.lock().expect("no thread panics with it");
        if shared.is_gone(node) {
            return Ok(());
        }
        if let (Fate::DiesAlone { hellos }, None) = (shared.fate, shared.primary) {
            shared.unanswered_hellos += 1;
            if shared.unanswered_hellos == hellos {
                shared.primary = Some(1);
            }
        }
        let frozen = shared.struck && shared.fate == Fate::Freezes && node == 0;
        let decides = shared.primary == Some(node) || shared.fate == Fate::Stops && node == 0;
        welcome.version = 1;
        welcome.role = if decides { Role::Primary } else { Role::Standby }.to_wire();
        if let (false, Some(primary)) = (decides, shared.primary) {
            fill(&mut welcome.primary, &shared.addresses[primary]);
        }
        welcome.in_flight = in_flight.into();
        if frozen {
            drop(shared);
            // Until the client has gone.
            return stream.read_exact(&mut [0; 1]);
        }
    }
    stream.write_all(bytemuck::bytes_of(&welcome))?;
    let mut submit = SubmitFrame::zeroed();
    loop {
        stream.read_exact(bytemuck::bytes_of_mut(&mut submit))?;
        let Some(reply) =
            reply(node, &submit, &mut shared.lock().expect("no thread panics with it"), listed)
        else {
            return Ok(());
        };
        stream.write_all(&reply)?;
    }
}

/// The answer's bytes, none for silence; `None` to hang up.
fn reply(
    node: usize,
    submit: &SubmitFrame,
    shared: &mut Shared,
    listed: &HashSet<[u8; DOCUMENT_LEN]>,
) -> Option<Vec<u8>> {
    let error = |code, detail| {
        bytemuck::bytes_of(&ErrorFrame::new(
            submit.header.correlation.to_native(),
            code,
            0,
            false,
            detail,
        ))
        .to_vec()
    };
    if shared.is_gone(node) {
        return None;
    }
    let strikes = !shared.struck && shared.decided.submissions == shared.at;
    if strikes && shared.fate != Fate::Demoted && shared.fate != Fate::Stops {
        // Decided, so that it is a duplicate when it is sent again.
        decide(submit, shared, listed);
    }
    if strikes {
        shared.strike();
    }
    if strikes && matches!(shared.fate, Fate::Unconfirmed { .. }) {
        shared.doubted = Some((submit.transaction.id, 0));
    }
    match (shared.fate, &mut shared.doubted) {
        (Fate::Unconfirmed { times }, Some((id, seen)))
            if *id == submit.transaction.id && *seen < times =>
        {
            *seen += 1;
            return Some(error(ErrorCode::Unconfirmed, "not known to be safe"));
        }
        (Fate::Freezes, _) if shared.struck && node == 0 => return Some(Vec::new()),
        (Fate::Stops, _) if shared.struck && node == 0 => {
            return Some(error(ErrorCode::ShuttingDown, "the node is stopping"));
        }
        _ => {}
    }
    if shared.is_gone(node) {
        return None;
    }
    if shared.primary != Some(node) {
        return Some(error(ErrorCode::NotPrimary, "another node decides"));
    }
    Some(decide(submit, shared, listed))
}

fn decide(
    submit: &SubmitFrame,
    shared: &mut Shared,
    listed: &HashSet<[u8; DOCUMENT_LEN]>,
) -> Vec<u8> {
    if !shared.decided.decided.contains_key(&submit.transaction.id) {
        shared.order.push(submit.transaction.id);
    }
    answer(submit, &mut shared.decided, listed, Mode::Sound)
}
