//! Tokens that come in AUTH frames: gathered, looked up among the credentials, else checked by the control thread; then
//! the handshake goes on, or the connection counts by the new token.
//!
//! ```text
//! HELLO with the flag ─► Authenticating ─ AUTH… ─┬─ a client's credential ────────────────┬─► WELCOME, AUTH_STATE
//!        open connection ─────────────── AUTH… ─┴─ CheckToken … TokenChecked ─► Access ──┴─► AUTH_STATE
//! ```

use super::Shard;
use super::access::{Granted, Identity, Proof, credential_hash};
use super::checks::announces_token;
use super::journal::BlockMemory;
use super::messages::{ConnectionId, Now, Refusal, ToControl};
use super::session::{Session, State};
use crate::limits::{self, FRAME_TIMEOUT};
use catraca_wire::frame::{
    AuthFrame, AuthStateFrame, ErrorCode, ErrorFrame, FrameKind, HelloFrame, MAX_SUBJECT_LEN,
    PrincipalFields, text_of,
};
use catraca_wire::short_text::ShortText;

/// What is answered to a token that nobody has.
const UNKNOWN: Refusal = Refusal::new(ErrorCode::Unauthenticated, "the token is unknown");
/// To one whose client is none that is configured.
const NO_CLIENT: Refusal = Refusal::new(
    ErrorCode::Unauthenticated,
    "the token's client is none of this node's, or has another certificate than the connection's",
);
/// To one that came to its end while it was checked.
const OVER: Refusal = Refusal::new(ErrorCode::Unauthenticated, "the token has expired");
/// To one that comes after the end of the one before.
const TOO_LATE: Refusal =
    Refusal::new(ErrorCode::Unauthenticated, "the connection is being closed");
/// To one of somebody else.
const OTHER_CLIENT: Refusal =
    Refusal::new(ErrorCode::Forbidden, "the token is not of the connection's client");
/// To one that would make what follows somebody else's.
const NOT_BEHALF: Refusal = Refusal::new(
    ErrorCode::Forbidden,
    "the connection speaks on behalf of others, which the token does not allow",
);
/// To one where too many are being checked.
const TOO_MANY: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    limits::OVERLOADED_RETRY_MS,
    "too many tokens are being checked",
);

/// What of a HELLO is needed for its WELCOME.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    pub correlation: u64,
    /// Unanswered requests that the client would like to have; 0 leaves it to the server.
    pub in_flight: u32,
    /// What the client says of itself.
    pub subject: [u8; MAX_SUBJECT_LEN],
}

impl From<&HelloFrame> for Announced {
    fn from(hello: &HelloFrame) -> Self {
        let subject = ShortText::parse(text_of(&hello.client_name).trim());
        Self {
            correlation: hello.header.correlation.to_native(),
            in_flight: hello.in_flight.to_native(),
            subject: subject.unwrap_or(ShortText::EMPTY).to_wire(),
        }
    }
}

/// What one site has: an IPv4 address that is mapped into IPv6, or the first 64 bits of an IPv6 address.
pub(super) type Site = [u8; 16];

fn site(remote: &[u8; 16]) -> Site {
    let mut site = *remote;
    if !remote.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]) {
        site[8..].fill(0);
    }
    site
}

/// Whether no other token may be checked now that comes from there.
fn has_no_place_for(open: &[(ConnectionId, Site)], from: Site) -> bool {
    let of_site = open.iter().filter(|(_, site)| *site == from).count();
    open.len() >= limits::MAX_TOKEN_CHECKS || of_site >= limits::MAX_TOKEN_CHECKS_OF_ADDRESS
}

/// A token on its way.
#[derive(Default)]
pub(super) struct Incoming {
    /// What has come of it; nothing any more once all has.
    gathered: Vec<u8>,
    /// Its bytes, as its first part said.
    token_len: u16,
    /// Of its last part, while the control thread checks it.
    checked_for: Option<u64>,
}

/// What becomes of a token, and the request that it is the answer to.
struct Answer {
    connection: ConnectionId,
    /// Of the last part.
    correlation: u64,
    /// Whether the request counts as unanswered.
    is_counted: bool,
}

impl<B: BlockMemory> Shard<B> {
    /// A HELLO that is sound, whose token follows; `false` where it has its credential itself.
    pub(super) fn await_token(&mut self, id: ConnectionId, hello: &HelloFrame) -> bool {
        if !announces_token(hello) {
            return false;
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.announced = Some(Box::new(hello.into()));
            session.state = State::Authenticating;
        }
        true
    }

    /// A part of a token.
    pub(super) fn take_token_part(&mut self, id: ConnectionId, frame: &AuthFrame, now: Now) {
        let correlation = frame.header.correlation.to_native();
        let Some(session) = self.sessions.get_mut(id) else { return };
        let incoming = session.incoming.get_or_insert_default();
        if let Err(detail) = incoming.take(frame) {
            return self.break_off(id, correlation, ErrorCode::BadFrame, detail);
        }
        if incoming.gathered.len() < usize::from(incoming.token_len) {
            let due_ns = now.mono_ns.saturating_add(FRAME_TIMEOUT.as_nanos() as u64);
            session.token_due_ns = session.token_due_ns.min(due_ns);
            return;
        }
        session.token_due_ns = u64::MAX;
        let token = std::mem::take(&mut incoming.gathered);
        let hash = credential_hash(&token);
        let shown = session.peer.certificate;
        let remote = session.peer.remote;
        let answer = Answer { connection: id, correlation, is_counted: false };
        if let Err(wait_ms) = self.rates.take_request(session.identity.client, now.mono_ns) {
            session.incoming = None;
            self.counters.rate_limited += 1;
            let detail = "this client asks more than it may; the token was not looked at";
            return self
                .refuse_token(&answer, Refusal::retry(ErrorCode::RateLimited, wait_ms, detail));
        }
        let access = &self.settings.access;
        if let Some(identity) = access.identify_hash(Some(hash), &shown) {
            session.incoming = None;
            self.accept_token(&answer, identity, Proof::Credential(Some(hash)), now);
        } else if !access.takes_tokens() {
            session.incoming = None;
            self.refuse_token(&answer, UNKNOWN);
        } else if has_no_place_for(&self.tokens_open, site(&remote)) {
            session.incoming = None;
            self.refuse_token(&answer, TOO_MANY);
        } else {
            incoming.checked_for = Some(correlation);
            session.unanswered += 1;
            self.tokens_open.push((id, site(&remote)));
            let shard = self.settings.shard;
            self.control_out.push(ToControl::CheckToken(shard, id, remote, token));
        }
    }

    /// The control thread has checked a token.
    pub(super) fn token_checked(
        &mut self,
        id: ConnectionId,
        came: Result<Granted, Refusal>,
        now: Now,
    ) {
        let open = self.tokens_open.iter().position(|(asked, _)| *asked == id);
        self.tokens_open.swap_remove(open.expect("it was asked for"));
        let Some(session) = self.sessions.get_mut(id) else { return };
        let shown = session.peer.certificate;
        let Some(incoming) = session.incoming.take() else { return };
        let correlation = incoming.checked_for.expect("its parts wait for no other one");
        let answer = Answer { connection: id, correlation, is_counted: true };
        let identified = came.and_then(|granted| {
            if granted.expires_at_ns <= now.wall_ns {
                return Err(OVER);
            }
            let identity = self.settings.access.identify_token(&granted, &shown);
            identity.map(|identity| (identity, granted)).ok_or(NO_CLIENT)
        });
        match identified {
            Ok((identity, granted)) => {
                self.accept_token(&answer, identity, Proof::Token(granted), now);
            }
            Err(refusal) => self.refuse_token(&answer, refusal),
        }
    }

    /// A token is this client's.
    fn accept_token(&mut self, answer: &Answer, identity: Identity, proof: Proof, now: Now) {
        let id = answer.connection;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let mut refusal = session.refuses(&identity);
        if session.state == State::Authenticating {
            refusal = self.lacks_room_for(&identity);
        }
        if let Some(refusal) = refusal {
            return self.refuse_token(answer, refusal);
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        let (expires_at_ns, ends_ns) = match proof {
            Proof::Credential(_) => (0, u64::MAX),
            Proof::Token(Granted { expires_at_ns, .. }) => {
                let left_ns = expires_at_ns.saturating_sub(now.wall_ns);
                (expires_at_ns, now.mono_ns.saturating_add(left_ns))
            }
        };
        session.token_ends_ns = ends_ns;
        match session.announced.take() {
            Some(announced) => self.welcome(id, &announced, identity, proof),
            None => session.count_by(identity, proof),
        }
        let mut state = AuthStateFrame::empty(answer.correlation);
        state.expires_at_ns = expires_at_ns.into();
        self.answer_token(answer, bytemuck::bytes_of(&state));
    }

    /// A token is not taken: the handshake ends, an open connection goes on as it was.
    fn refuse_token(&mut self, answer: &Answer, refusal: Refusal) {
        let Some(session) = self.sessions.get_mut(answer.connection) else { return };
        if ![ErrorCode::Overloaded, ErrorCode::RateLimited].contains(&refusal.code) {
            let principal = session.own_principal();
            self.refused.add(&principal, FrameKind::Auth, refusal.code);
        }
        self.counters.refused += 1;
        if session.state == State::Authenticating {
            session.unanswered = 0;
            let Refusal { code, retry_after_ms, detail } = refusal;
            let error = ErrorFrame::new(answer.correlation, code, retry_after_ms, true, detail);
            return self.sessions.close_behind(answer.connection, error);
        }
        self.answer_token(answer, bytemuck::bytes_of(&refusal.frame(answer.correlation)));
    }

    fn answer_token(&mut self, answer: &Answer, bytes: &[u8]) {
        if answer.is_counted {
            self.sessions.answer(answer.connection, bytes);
        } else {
            self.sessions.send(answer.connection, bytes);
        }
    }
}

impl Incoming {
    /// Takes the next part.
    fn take(&mut self, frame: &AuthFrame) -> Result<(), &'static str> {
        if self.checked_for.is_some() {
            return Err("AUTH: the token before is being checked");
        }
        let part = frame.part_behind(self.gathered.len())?;
        let token_len = frame.token_len.to_native();
        if self.gathered.is_empty() {
            self.token_len = token_len;
        } else if self.token_len != token_len {
            return Err("AUTH: token_len is another one than that of the part before");
        }
        // It takes memory as it comes, not as it says.
        self.gathered.extend_from_slice(part);
        Ok(())
    }
}

impl Session {
    /// Why this connection may not go on as this client.
    fn refuses(&self, identity: &Identity) -> Option<Refusal> {
        match self.state {
            State::Authenticating => None,
            State::Open if self.identity.client.is_none() => Some(OTHER_CLIENT),
            State::Open if self.identity.client != identity.client => Some(OTHER_CLIENT),
            State::Open if self.is_on_behalf && !identity.permissions.behalf => Some(NOT_BEHALF),
            State::Open => None,
            // Its farewell waits for this answer.
            State::Free | State::Greeting | State::Closing => Some(TOO_LATE),
        }
    }

    /// All that follows counts by this.
    pub(super) fn count_by(&mut self, identity: Identity, proof: Proof) {
        let nobody = [0; MAX_SUBJECT_LEN];
        let subject_of = |proof: &Proof| match proof {
            Proof::Token(granted) => granted.subject,
            Proof::Credential(_) => nobody,
        };
        let (before, now) = (subject_of(&self.proof), subject_of(&proof));
        self.identity = identity;
        self.proof = proof;
        if self.is_on_behalf {
            return;
        }
        self.principal.submitter = identity.submitter;
        // After one person's token comes the next one's: what is asked from now on is asked by the latter. What a client says
        // of itself stays where no token says more.
        if before != nobody || now != nobody {
            self.principal.subject = now;
        }
    }

    /// Who it is itself, for whomever it asks.
    fn own_principal(&self) -> PrincipalFields {
        if !self.is_on_behalf {
            return self.principal;
        }
        PrincipalFields {
            submitter: self.identity.submitter,
            remote: self.peer.remote,
            certificate: self.peer.certificate,
            ..PrincipalFields::default()
        }
    }
}
