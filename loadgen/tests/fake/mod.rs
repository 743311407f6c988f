//! A node's place-taker: one blocking thread a connection, its decisions a set look-up, and ways to
//! misbehave.

pub mod cluster;

use bytemuck::Zeroable;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::frame::{
    ErrorCode, ErrorFrame, FLAG_CLOSING, FixedFrame, HelloFrame, Role, SubmitFrame,
    VERDICT_DUPLICATE, Verdict, VerdictFrame, WelcomeFrame, is_transaction_id,
};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the fake does wrong; `at` counts the submissions over all connections, from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Mode {
    /// Nothing.
    #[default]
    Sound,
    /// Approves everybody.
    ApprovesAll,
    /// Leaves this one unanswered.
    Drops { at: u64 },
    /// Answers this one twice.
    Repeats { at: u64 },
    /// Answers this one under a correlation that nobody used.
    Invents { at: u64 },
    /// Refuses every third one as OVERLOADED.
    Overloaded,
    /// Says SHUTTING_DOWN at this one and closes.
    Closes { at: u64 },
    /// Refuses the HELLO.
    Refuses,
    /// Is a standby.
    Standby,
    /// Decides a repeated transaction anew.
    Forgets,
    /// Sends every answer in pieces of this many bytes.
    Dribbles { bytes: usize },
}

#[derive(Debug, Default)]
struct State {
    decided: HashMap<[u8; 32], (SubmitFrame, u64)>,
    submissions: u64,
    credentials: Vec<Vec<u8>>,
}

/// A listening fake.
#[derive(Debug)]
pub struct FakeNode {
    pub addr: String,
    state: Arc<Mutex<State>>,
}

impl FakeNode {
    /// Listens on a free port; connections live until the client closes them.
    pub fn start(listed: &[[u8; DOCUMENT_LEN]], in_flight: u32, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let listed: Arc<HashSet<[u8; DOCUMENT_LEN]>> = Arc::new(listed.iter().copied().collect());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, listed) = (Arc::clone(&shared), Arc::clone(&listed));
                // A client that goes away ends its thread with an error, as it should.
                thread::spawn(move || drop(serve(stream, &state, &listed, in_flight, mode)));
            }
        });
        Self { addr, state }
    }

    /// Different transactions decided so far.
    pub fn decided(&self) -> usize {
        self.state.lock().expect("no thread panics with it").decided.len()
    }

    /// The transactions decided so far, in the order in which they came.
    pub fn transactions(&self) -> Vec<SubmitFrame> {
        let state = self.state.lock().expect("no thread panics with it");
        let mut decided: Vec<_> = state.decided.values().copied().collect();
        decided.sort_by_key(|(_, lsn)| *lsn);
        decided.into_iter().map(|(frame, _)| frame).collect()
    }

    /// All of them.
    pub fn submissions(&self) -> u64 {
        self.state.lock().expect("no thread panics with it").submissions
    }

    /// The credentials of the HELLOs.
    pub fn credentials(&self) -> Vec<Vec<u8>> {
        self.state.lock().expect("no thread panics with it").credentials.clone()
    }
}

fn serve(
    mut stream: TcpStream,
    state: &Mutex<State>,
    listed: &HashSet<[u8; DOCUMENT_LEN]>,
    in_flight: u32,
    mode: Mode,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut hello = HelloFrame::zeroed();
    stream.read_exact(bytemuck::bytes_of_mut(&mut hello))?;
    let credential = hello.credential[..usize::from(hello.credential_len)].to_vec();
    state.lock().expect("no thread panics with it").credentials.push(credential);
    if mode == Mode::Refuses {
        let error = ErrorFrame::new(0, ErrorCode::Unauthenticated, 0, true, "unknown credential");
        return stream.write_all(bytemuck::bytes_of(&error));
    }
    let mut welcome = WelcomeFrame::empty(0);
    welcome.version = 1;
    welcome.role = if mode == Mode::Standby { Role::Standby } else { Role::Primary }.to_wire();
    welcome.primary[..14].copy_from_slice(b"10.0.0.1:7400\0");
    welcome.in_flight = in_flight.into();
    stream.write_all(bytemuck::bytes_of(&welcome))?;
    let mut submit = SubmitFrame::zeroed();
    loop {
        stream.read_exact(bytemuck::bytes_of_mut(&mut submit))?;
        let reply =
            answer(&submit, &mut state.lock().expect("no thread panics with it"), listed, mode);
        match mode {
            Mode::Dribbles { bytes } => {
                for piece in reply.chunks(bytes) {
                    stream.write_all(piece)?;
                    thread::yield_now();
                }
            }
            _ => stream.write_all(&reply)?,
        }
        let closing = reply.len() == ErrorFrame::LEN
            && u16::from_le_bytes([reply[6], reply[7]]) & FLAG_CLOSING != 0;
        if closing {
            return Ok(());
        }
    }
}

fn answer(
    submit: &SubmitFrame,
    state: &mut State,
    listed: &HashSet<[u8; DOCUMENT_LEN]>,
    mode: Mode,
) -> Vec<u8> {
    let place = state.submissions;
    state.submissions += 1;
    let transaction = &submit.transaction;
    let correlation = submit.header.correlation.to_native();
    let error = |code, closing, detail| {
        bytemuck::bytes_of(&ErrorFrame::new(correlation, code, 0, closing, detail)).to_vec()
    };
    let sound = is_transaction_id(&transaction.id)
        && transaction.amount_centavos.to_native() > 0
        && catraca_wire::DocumentKey::from_wire(&transaction.payer).is_ok()
        && catraca_wire::DocumentKey::from_wire(&transaction.payee).is_ok();
    if !sound {
        return error(ErrorCode::BadField, false, "not sound");
    }
    match mode {
        Mode::Drops { at } if at == place => return Vec::new(),
        Mode::Closes { at } if at == place => {
            return error(ErrorCode::ShuttingDown, true, "the node is stopping");
        }
        Mode::Overloaded if place % 3 == 2 => return error(ErrorCode::Overloaded, false, "full"),
        _ => {}
    }
    let hit = listed.contains(&transaction.payer) || listed.contains(&transaction.payee);
    let next = state.decided.len() as u64 + 1;
    let (before, mut lsn) = match state.decided.get(&transaction.id) {
        Some((first, lsn)) => {
            let same = bytemuck::bytes_of(&first.transaction) == bytemuck::bytes_of(transaction);
            if !same {
                return error(ErrorCode::IdReused, false, "other content");
            }
            (true, *lsn)
        }
        None => (false, next),
    };
    if !before {
        state.decided.insert(transaction.id, (*submit, next));
    }
    let mut verdict = VerdictFrame::empty(correlation);
    verdict.answer.verdict =
        if hit && mode != Mode::ApprovesAll { Verdict::Deny } else { Verdict::Approve }.to_wire();
    if before && mode == Mode::Forgets {
        lsn += 1_000_000;
    } else if before {
        verdict.answer.flags = VERDICT_DUPLICATE;
    }
    verdict.answer.lsn = lsn.into();
    let mut reply = bytemuck::bytes_of(&verdict).to_vec();
    match mode {
        Mode::Repeats { at } if at == place => reply.extend_from_within(..),
        Mode::Invents { at } if at == place => {
            let mut invented = verdict;
            invented.header.correlation = u64::MAX.into();
            reply.extend_from_slice(bytemuck::bytes_of(&invented));
        }
        _ => {}
    }
    reply
}
