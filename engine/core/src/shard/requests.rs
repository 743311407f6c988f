//! Requests that decide nothing: HELLO and PING, answered here, and what goes to the control thread.

use super::Shard;
use super::access::{Access, Identity, Proof, credential_hash};
use super::answers::NOT_PRIMARY;
use super::auth::Announced;
use super::checks::{Request, check_hello};
use super::journal::BlockMemory;
use super::messages::{Actor, ConnectionId, ControlRequest, Now, Refusal, ToControl};
use super::session::State;
use crate::limits;
use catraca_wire::frame::{
    ClusterOp, ErrorCode, ErrorFrame, FrameKind, HeaderFields, HelloFrame, MAX_REQUEST_LEN,
    MAX_SUBJECT_LEN, OnBehalfFrame, PROTOCOL_VERSION, PongFrame, Role, WelcomeFrame,
};
use std::sync::Arc;

/// How many requests may be open for this one to be let through.
const fn most_open(request: &ControlRequest) -> usize {
    match request {
        ControlRequest::Cluster(_) => limits::MAX_CONTROL_REQUESTS_OF_CLUSTER,
        ControlRequest::Lookup(_) => limits::MAX_CONTROL_LOOKUPS,
        _ => limits::MAX_CONTROL_REQUESTS,
    }
}

impl<B: BlockMemory> Shard<B> {
    /// Ends a connection for what came over it.
    pub(super) fn break_off(
        &mut self,
        id: ConnectionId,
        correlation: u64,
        code: ErrorCode,
        detail: &str,
    ) {
        self.counters.bad_frames += u64::from(code == ErrorCode::BadFrame);
        self.sessions.close_with(id, correlation, code, detail);
    }

    /// Says where a connection comes from, which was taken for the other end's own address until then. Before its HELLO
    /// only: what it has asked is recorded already.
    pub fn set_remote(&mut self, id: ConnectionId, remote: [u8; 16]) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.principal.remote = remote;
        session.peer.remote = remote;
    }

    /// A request that is no SUBMIT.
    pub(super) fn take_request(
        &mut self,
        id: ConnectionId,
        header: &HeaderFields,
        request: &Request<'_>,
        now: Now,
    ) {
        let correlation = header.correlation.to_native();
        let Some(session) = self.sessions.get(id) else { return };
        let permissions = session.identity.permissions;
        // On behalf of somebody, no more is reached than that one's own.
        let all_institutions = permissions.all_institutions && !session.is_on_behalf;
        let (via, via_remote) = match session.is_on_behalf {
            true => (session.identity.submitter.name, session.peer.remote),
            false => ([0; 16], [0; 16]),
        };
        let actor = Actor { principal: session.principal, via, via_remote, all_institutions };
        let (allowed, request) = match *request {
            Request::Hello(hello) => return self.greet(id, hello),
            Request::Auth(frame) => return self.take_token_part(id, frame, now),
            Request::OnBehalf(frame) => return self.speak_for(id, frame),
            Request::Ping => {
                let mut pong = PongFrame::empty(correlation);
                pong.server_time_ns = now.wall_ns.into();
                return self.sessions.send(id, bytemuck::bytes_of(&pong));
            }
            Request::Lookup(lookup) => (permissions.lookup, ControlRequest::Lookup(*lookup)),
            Request::Blacklist(change) => (permissions.admin, ControlRequest::Blacklist(*change)),
            Request::Stats(stats) => {
                (permissions.stats, ControlRequest::Stats(stats.shard.to_native()))
            }
            Request::Cluster(request) => {
                let describes = request.op == ClusterOp::Describe.to_wire();
                let allowed = permissions.admin || permissions.stats && describes;
                (allowed, ControlRequest::Cluster(*request))
            }
            Request::Policy(change) => (permissions.admin, ControlRequest::Policy(*change)),
            Request::Label(label) => (permissions.admin, ControlRequest::Label(*label)),
            Request::List(list) => (permissions.admin, ControlRequest::List(*list)),
            Request::Validator(force) => (permissions.admin, ControlRequest::Validator(*force)),
            // The trail is of all institutions: who asks on behalf of somebody reaches that one's own only.
            Request::Audit(audit) => {
                (permissions.audit && !session.is_on_behalf, ControlRequest::Audit(*audit))
            }
            Request::Submit(_) => unreachable!("a SUBMIT is staged"),
        };
        self.ask_control((id, actor), correlation, allowed, request, now);
    }

    fn greet(&mut self, id: ConnectionId, hello: &HelloFrame) {
        let correlation = hello.header.correlation.to_native();
        if let Err(detail) = check_hello(hello) {
            return self.break_off(id, correlation, ErrorCode::BadFrame, detail);
        }
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            let detail = format!("this server speaks protocol version {PROTOCOL_VERSION} only");
            return self.break_off(id, correlation, ErrorCode::UnsupportedVersion, &detail);
        }
        if self.await_token(id, hello) {
            return;
        }
        let credential = &hello.credential[..usize::from(hello.credential_len)];
        let credential = (!credential.is_empty()).then(|| credential_hash(credential));
        let shown = self.sessions.get(id).map_or([0; 32], |session| session.peer.certificate);
        let Some(identity) = self.settings.access.identify_hash(credential, &shown) else {
            if let Some(session) = self.sessions.get_mut(id) {
                // Nothing of what a stranger says: each word would be an entry of its own.
                self.refused.add(&session.principal, FrameKind::Hello, ErrorCode::Unauthenticated);
            }
            return self.break_off(
                id,
                correlation,
                ErrorCode::Unauthenticated,
                "the credential is missing or unknown",
            );
        };
        if let Some(refusal) = self.lacks_room_for(&identity) {
            self.counters.refused += 1;
            let Refusal { code, retry_after_ms, detail } = refusal;
            let error = ErrorFrame::new(correlation, code, retry_after_ms, true, detail);
            return self.sessions.close_behind(id, error);
        }
        self.welcome(id, &hello.into(), identity, Proof::Credential(credential));
    }

    /// Why a client gets no more connections.
    pub(super) fn lacks_room_for(&self, identity: &Identity) -> Option<Refusal> {
        let client = identity.client?;
        let most = self.settings.access.bounds(identity.client).connections?;
        let is_full = self.sessions.count_of(client) >= most.get() as usize;
        let detail = "this client has as many connections as it may";
        let refusal = Refusal::retry(ErrorCode::Overloaded, limits::OVERLOADED_RETRY_MS, detail);
        is_full.then_some(refusal)
    }

    /// The handshake is done.
    pub(super) fn welcome(
        &mut self,
        id: ConnectionId,
        hello: &Announced,
        identity: Identity,
        proof: Proof,
    ) {
        let most = self.settings.in_flight;
        let own = self.settings.access.bounds(identity.client).in_flight;
        let most = own.map_or(most, |own| own.get().min(most));
        let in_flight = match hello.in_flight {
            0 => most,
            wanted => wanted.min(most),
        };
        let mut welcome = WelcomeFrame::empty(hello.correlation);
        welcome.version = PROTOCOL_VERSION;
        welcome.role = self.role.to_wire();
        welcome.durability = self.commit.durability().to_wire();
        welcome.primary = self.primary;
        welcome.epoch = match self.role {
            Role::Primary => self.journal.identity().epoch.into(),
            Role::Standby => self.primary_epoch.max(self.journal.identity().epoch).into(),
        };
        welcome.node_id = self.settings.node_id;
        welcome.cluster_id = self.journal.identity().cluster_id;
        welcome.shards = self.settings.shards.into();
        welcome.max_frame = (MAX_REQUEST_LEN as u32).into();
        welcome.in_flight = in_flight.into();
        if let Some(session) = self.sessions.get_mut(id) {
            session.state = State::Open;
            session.count_by(identity, proof);
            if session.principal.subject == [0; MAX_SUBJECT_LEN] {
                // No token says who is behind it: what the client says of itself is as good as its credential.
                session.principal.subject = hello.subject;
            }
            session.in_flight = in_flight;
            session.patience_ends_ns = u64::MAX;
        }
        self.sessions.send(id, bytemuck::bytes_of(&welcome));
    }

    /// All that follows is for somebody else.
    fn speak_for(&mut self, id: ConnectionId, frame: &OnBehalfFrame) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let checked = if session.identity.permissions.behalf {
            frame.principal.check().map_err(|field| (ErrorCode::BadField, field))
        } else {
            Err((ErrorCode::Forbidden, "the credential does not allow ON_BEHALF"))
        };
        match checked {
            Ok(()) => {
                session.principal = frame.principal;
                session.is_on_behalf = true;
            }
            // What follows would be taken for the one before.
            Err((code, detail)) => {
                self.refused.add(&session.principal, FrameKind::OnBehalf, code);
                self.counters.refused += 1;
                self.break_off(id, frame.header.correlation.to_native(), code, detail);
            }
        }
    }

    /// Other clients are known from now on, or the same ones otherwise: whose credential is gone is let go.
    pub(super) fn set_access(&mut self, access: Arc<Access>, now: Now) {
        let earlier = std::mem::replace(&mut self.settings.access, access);
        let access = Arc::clone(&self.settings.access);
        self.rates.set(access.rates(&earlier), now.mono_ns);
        self.sessions.know_closing(|session| {
            access.recognise(&session.proof, &session.peer.certificate).unwrap_or_default()
        });
        for id in self.sessions.open_ids() {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            match access.recognise(&session.proof, &session.peer.certificate) {
                Some(identity) if identity.permissions.behalf || !session.is_on_behalf => {
                    session.identity = identity;
                    if !session.is_on_behalf {
                        session.principal.submitter = identity.submitter;
                    }
                }
                _ => {
                    let detail = "the credential is no longer known";
                    self.break_off(id, 0, ErrorCode::Unauthenticated, detail);
                }
            }
        }
    }

    /// Takes a token for a look-up or an operation; else gives when there is one again, milliseconds.
    fn take_request_of(&mut self, id: ConnectionId, now: Now) -> Result<(), u32> {
        let client = self.sessions.get(id).and_then(|session| session.identity.client);
        self.rates.take_request(client, now.mono_ns)
    }

    fn ask_control(
        &mut self,
        (id, actor): (ConnectionId, Actor),
        correlation: u64,
        allowed: bool,
        request: ControlRequest,
        now: Now,
    ) {
        let is_of_cluster = matches!(request, ControlRequest::Cluster(_));
        let refusal = if !allowed {
            self.refused.add(&actor.principal, request.kind(), ErrorCode::Forbidden);
            Refusal::new(ErrorCode::Forbidden, "the credential does not allow this operation")
        } else if !is_of_cluster && let Err(wait_ms) = self.take_request_of(id, now) {
            self.counters.rate_limited += 1;
            self.refused.add(&actor.principal, request.kind(), ErrorCode::RateLimited);
            let detail = "this client asks more than it may; nothing was done";
            Refusal::retry(ErrorCode::RateLimited, wait_ms, detail)
        } else if self.role != Role::Primary
            && matches!(
                request,
                // Whom personal data are given to is logged before, and a standby logs nothing.
                ControlRequest::Lookup(_)
                    | ControlRequest::Blacklist(_)
                    | ControlRequest::Policy(_)
                    | ControlRequest::Label(_)
                    | ControlRequest::List(_)
                    | ControlRequest::Validator(_)
                    | ControlRequest::Audit(_)
            )
        {
            NOT_PRIMARY
        } else if self.control_open >= most_open(&request) {
            Refusal::retry(
                ErrorCode::Overloaded,
                limits::OVERLOADED_RETRY_MS,
                "too many look-ups and operations at once",
            )
        } else {
            self.control_open += 1;
            if let Some(session) = self.sessions.get_mut(id) {
                session.unanswered += 1;
            }
            let shard = self.settings.shard;
            self.control_out.push(ToControl::Request {
                shard,
                connection: id,
                actor,
                correlation,
                request,
            });
            return;
        };
        self.counters.refused += 1;
        let error = refusal.frame(correlation);
        self.sessions.send(id, bytemuck::bytes_of(&error));
    }
}
