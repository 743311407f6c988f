//! Connections as the shard sees them: handshake state, what is unanswered, bytes half come, bytes
//! to go out.

use super::access::{Identity, Proof};
use super::auth::{Announced, Incoming};
use super::gather::Share;
use super::messages::{ConnectionId, Peer};
use crate::limits::{self, FRAME_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_UNREAD_ANSWERS_LEN};
use catraca_wire::frame::{
    ErrorCode, ErrorFrame, FixedFrame, PrincipalFields, SubmitFrame, SubmitterFields,
};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody's: the slot is free.
    Free,
    /// Before HELLO.
    Greeting,
    /// After a HELLO that announced a token, before WELCOME.
    Authenticating,
    /// After WELCOME.
    Open,
    /// To be closed once its output is sent; nothing more is read.
    Closing,
}

pub(super) struct Session {
    pub generation: u32,
    pub state: State,
    pub identity: Identity,
    /// What it has shown of who it is.
    pub proof: Proof,
    /// The HELLO that waits for its token.
    pub announced: Option<Box<Announced>>,
    /// A token that comes, or is being checked.
    pub incoming: Option<Box<Incoming>>,
    /// When its token is over, monotonic nanoseconds.
    pub token_ends_ns: u64,
    /// Its other end.
    pub peer: Peer,
    /// For whom what comes is asked: itself, until ON_BEHALF says otherwise.
    pub principal: PrincipalFields,
    /// Whether ON_BEHALF has said so.
    pub is_on_behalf: bool,
    /// Most unanswered requests.
    pub in_flight: u32,
    pub unanswered: u32,
    /// Of the crowd that a block is held for.
    pub share: Share,
    /// Bytes of requests not yet processed: half a frame, or what came past the in-flight limit.
    pub carry: Vec<u8>,
    /// Bytes were kept because no request could be taken: they come first once one can, before
    /// anything is read.
    pub held_back: bool,
    /// When the time-out of the handshake or of the half frame is over, monotonic nanoseconds.
    pub patience_ends_ns: u64,
    /// When a token of which a part has come must be whole, monotonic nanoseconds.
    pub token_due_ns: u64,
    pub out: Vec<u8>,
    pub dirty: bool,
    /// The ERROR to close with, kept until all that was asked before is answered.
    farewell: Option<Box<ErrorFrame>>,
}

impl Session {
    fn free() -> Self {
        Self {
            generation: 0,
            state: State::Free,
            identity: Identity::default(),
            proof: Proof::Credential(None),
            announced: None,
            incoming: None,
            token_ends_ns: u64::MAX,
            peer: Peer::default(),
            principal: PrincipalFields::default(),
            is_on_behalf: false,
            in_flight: 0,
            unanswered: 0,
            share: Share::default(),
            carry: Vec::new(),
            held_back: false,
            patience_ends_ns: u64::MAX,
            token_due_ns: u64::MAX,
            out: Vec::new(),
            dirty: false,
            farewell: None,
        }
    }

    /// Whose transactions come.
    #[inline]
    pub const fn submitter(&self) -> SubmitterFields {
        self.principal.submitter
    }

    #[inline]
    fn is_of(&self, id: ConnectionId) -> bool {
        self.generation == id.generation && self.state != State::Free
    }

    /// Queues bytes; `mark` is told where the connection is not marked for sending yet.
    #[inline(always)]
    fn send(&mut self, bytes: &[u8], mark: impl FnOnce()) {
        if self.is_closing() {
            return;
        }
        self.out.extend_from_slice(bytes);
        if !std::mem::replace(&mut self.dirty, true) {
            mark();
        }
    }

    /// Whether the connection is to be closed once its output is sent.
    pub fn is_closing(&self) -> bool {
        self.state == State::Closing && self.farewell.is_none()
    }

    /// Whether another request may be taken now.
    #[inline]
    pub fn may_take(&self) -> bool {
        match self.state {
            State::Greeting => true,
            State::Authenticating => self.unanswered == 0,
            State::Open => {
                self.unanswered < self.in_flight && self.out.len() < MAX_UNREAD_ANSWERS_LEN
            }
            State::Free | State::Closing => false,
        }
    }
}

/// The table of connections.
pub(super) struct Sessions {
    table: Vec<Session>,
    free: Vec<u32>,
    dirty: Vec<ConnectionId>,
    limit: usize,
    open: usize,
}

impl Sessions {
    pub fn new(limit: usize) -> Self {
        Self { table: Vec::new(), free: Vec::new(), dirty: Vec::new(), limit, open: 0 }
    }

    pub fn open_count(&self) -> usize {
        self.open
    }

    /// Takes a connection; `None` when there are as many as there may be.
    pub fn connect(&mut self, peer: &Peer, now_ns: u64) -> Option<ConnectionId> {
        if self.open >= self.limit {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.table.push(Session::free());
            (self.table.len() - 1) as u32
        });
        self.open += 1;
        let session = &mut self.table[slot as usize];
        session.state = State::Greeting;
        session.principal.remote = peer.remote;
        session.principal.certificate = peer.certificate;
        session.peer = *peer;
        session.patience_ends_ns = now_ns + HANDSHAKE_TIMEOUT.as_nanos() as u64;
        Some(ConnectionId { slot, generation: session.generation })
    }

    /// Forgets a connection. Its memory is kept for the next one unless it grew.
    pub fn disconnect(&mut self, id: ConnectionId) {
        let Some(session) = self.get_mut(id) else { return };
        let generation = session.generation.wrapping_add(1);
        let (mut carry, mut out) =
            (std::mem::take(&mut session.carry), std::mem::take(&mut session.out));
        for buffer in [&mut carry, &mut out] {
            buffer.clear();
            buffer.shrink_to(SubmitFrame::LEN);
        }
        *session = Session { generation, carry, out, ..Session::free() };
        self.free.push(id.slot);
        self.open -= 1;
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.table.get_mut(id.slot as usize).filter(|session| session.is_of(id))
    }

    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&Session> {
        self.table.get(id.slot as usize).filter(|session| session.is_of(id))
    }

    /// Queues bytes for a connection, if it is still there. Behind an ERROR that closes it nothing
    /// follows.
    #[inline]
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Self { table, dirty, .. } = self;
        let session = table.get_mut(id.slot as usize).filter(|session| session.is_of(id));
        if let Some(session) = session {
            session.send(bytes, || dirty.push(id));
        }
    }

    /// Ends a request with these bytes. Inlined where their number is known, copying them is a few
    /// moves.
    #[inline(always)]
    pub fn answer(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Self { table, dirty, .. } = self;
        let session = table.get_mut(id.slot as usize).filter(|session| session.is_of(id));
        let Some(session) = session else { return };
        assert!(session.unanswered > 0, "an answer without a request");
        session.unanswered -= 1;
        session.send(bytes, || dirty.push(id));
        if session.unanswered == 0
            && let Some(error) = session.farewell.take()
        {
            // The connection is marked for sending already, by the answer before.
            session.out.extend_from_slice(bytemuck::bytes_of(&*error));
        }
    }

    /// Reads nothing more, answers what was asked before, sends an ERROR and closes the connection
    /// behind it.
    pub fn close_with(
        &mut self,
        id: ConnectionId,
        correlation: u64,
        code: ErrorCode,
        detail: &str,
    ) {
        self.close_behind(id, ErrorFrame::new(correlation, code, 0, true, detail));
    }

    /// The same with this ERROR, which has the closing flag.
    pub fn close_behind(&mut self, id: ConnectionId, error: ErrorFrame) {
        let Some(session) = self.get_mut(id) else { return };
        session.carry.clear();
        if session.unanswered > 0 {
            session.farewell = Some(Box::new(error));
            session.state = State::Closing;
            return;
        }
        self.send(id, bytemuck::bytes_of(&error));
        if let Some(session) = self.get_mut(id) {
            session.state = State::Closing;
        }
    }

    /// The next connection that has bytes to go out, or is to be closed.
    #[inline]
    pub fn next_dirty(&mut self) -> Option<ConnectionId> {
        loop {
            let id = self.dirty.pop()?;
            if let Some(session) = self.get_mut(id) {
                session.dirty = false;
                return Some(id);
            }
        }
    }

    /// The connections after their handshake.
    pub fn open_ids(&self) -> Vec<ConnectionId> {
        let ids = (0..).zip(&self.table).map(|(slot, session)| {
            let id = ConnectionId { slot, generation: session.generation };
            (session.state == State::Open).then_some(id)
        });
        ids.flatten().collect()
    }

    /// How many connections a client has, those among them that are to be closed: what they asked is under way. Looks at
    /// all connections: for handshakes of clients that may have so many only.
    pub fn count_of(&self, client: u16) -> usize {
        let is_own = |session: &&Session| {
            session.state != State::Free && session.identity.client == Some(client)
        };
        self.table.iter().filter(is_own).count()
    }

    /// Puts the clients of connections that are to be closed at their places in another configuration.
    pub fn know_closing(&mut self, identify: impl Fn(&Session) -> Identity) {
        for session in self.table.iter_mut().filter(|session| session.state == State::Closing) {
            session.identity = identify(session);
        }
    }

    /// Closes connections that let a handshake or half a frame wait for too long, and those whose token is over; how
    /// many did the former.
    pub fn expire(&mut self, now_ns: u64) -> u64 {
        let mut closed = 0;
        for slot in 0..self.table.len() {
            let session = &self.table[slot];
            let is_over = session.token_ends_ns <= now_ns;
            let is_late = session.patience_ends_ns.min(session.token_due_ns) <= now_ns;
            if !is_over && !is_late {
                continue;
            }
            let (code, detail) = match session.state {
                State::Free | State::Closing => continue,
                State::Open if is_over => (
                    ErrorCode::Unauthenticated,
                    "the token has come to its end: connect with a new one".to_owned(),
                ),
                State::Open => (
                    ErrorCode::BadFrame,
                    format!(
                        "a frame or a token was not completed within {} s",
                        FRAME_TIMEOUT.as_secs()
                    ),
                ),
                State::Greeting => (
                    ErrorCode::BadFrame,
                    format!("no HELLO within {} s", HANDSHAKE_TIMEOUT.as_secs()),
                ),
                State::Authenticating if session.unanswered > 0 => {
                    (ErrorCode::Overloaded, "the token could not be checked in time".to_owned())
                }
                State::Authenticating => (
                    ErrorCode::BadFrame,
                    format!("no token within {} s", HANDSHAKE_TIMEOUT.as_secs()),
                ),
            };
            let id = ConnectionId { slot: slot as u32, generation: session.generation };
            let is_handshake = session.state == State::Authenticating;
            closed += u64::from(code == ErrorCode::BadFrame);
            if is_handshake && let Some(session) = self.get_mut(id) {
                // What comes of its token finds nobody.
                session.unanswered = 0;
                session.incoming = None;
            }
            let retry_after_ms =
                if code == ErrorCode::Overloaded { limits::TOKEN_RETRY_MS } else { 0 };
            self.close_behind(id, ErrorFrame::new(0, code, retry_after_ms, true, &detail));
        }
        closed
    }

    /// Whether all output was handed out.
    pub fn is_flushed(&self) -> bool {
        self.dirty.is_empty()
    }
}
