//! A session: a client's bytes, whatever they are and however they are cut, against a live shard.
//!
//! Beside the shard runs [`Model`], which knows of PROTOCOL.md what a client must know: where
//! frames begin and end, and which of them ends the connection. It says what must be answered, and
//! how often.

use super::input::Input;
use super::tokens::{self, TokenModel};
use catraca_core::limits::{
    HANDSHAKE_TIMEOUT, MAX_PENDING, MAX_UNREAD_ANSWERS_LEN, READ_BUFFER_LEN,
};
use catraca_core::shard::access::Access;
use catraca_core::shard::messages::{ToControl, ToShard};
use catraca_testkit::shard::{Client, Options, Reply, World, payer, submit, transaction};
use catraca_wire::frame::{
    AuditFrame, AuthStateFrame, BlacklistFrame, ClusterFrame, ErrorCode, ErrorFrame, FLAG_AUTH,
    FrameKind, HEADER_LEN, HeaderFields, HelloFrame, LabelFrame, ListFrame, LookupFrame,
    MAX_CLIENT_NAME_LEN, MAX_REQUEST_LEN, PROTOCOL_VERSION, PingFrame, PolicyFrame, PongFrame,
    StatsFrame, SubmitFrame, ValidatorFrame, VerdictFrame, WelcomeFrame, request_len, view,
};
use std::collections::HashMap;
use std::time::Duration;

/// Unanswered requests that the server allows: few, so that the bound is met.
const IN_FLIGHT: u32 = 6;
/// Steps of one input: bounds what it costs.
const MAX_STEPS: usize = 400;
/// Longer than any budget, shorter than any patience.
const LAST_WAIT: Duration = Duration::from_millis(2_500);

/// The first byte says whether the handshake was done, and whether tokens are taken; then come steps, each a byte
/// and what it needs.
pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let first = input.byte();
    let mut run = Run::new(!(first / 2).is_multiple_of(2));
    if first.is_multiple_of(2) {
        run.send(bytemuck::bytes_of(&hello()));
        run.world.deliver(run.client, usize::MAX);
    }
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
        run.check();
    }
    run.finish();
}

fn hello() -> HelloFrame {
    let mut hello = HelloFrame::empty(1);
    (hello.version_min, hello.version_max) = (1, 1);
    hello
}

struct Run {
    world: World,
    client: usize,
    model: Model,
    /// Bytes handed to the connection, read by the server or not.
    sent: usize,
    passed: Duration,
    next_correlation: u64,
    /// Replies that were looked at.
    seen: usize,
}

impl Run {
    fn new(takes_tokens: bool) -> Self {
        let access = if takes_tokens { tokens::access() } else { Access::open() };
        let options = Options { in_flight: IN_FLIGHT, buffers: 2, access, ..Options::default() };
        let mut world = World::with(options);
        let client = world.raw_client_at(0, &tokens::PEER);
        let token = TokenModel::new(takes_tokens);
        Self {
            world,
            client,
            model: Model { token, ..Model::default() },
            sent: 0,
            passed: Duration::ZERO,
            next_correlation: 100,
            seen: 0,
        }
    }

    fn client(&self) -> &Client {
        &self.world.clients[self.client]
    }

    fn send(&mut self, bytes: &[u8]) {
        self.model.take(bytes);
        self.sent += bytes.len();
        self.world.clients[self.client].outgoing.extend(bytes);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let step = input.byte();
        match step % 12 {
            0 => {
                let len = usize::from(input.byte());
                self.send(input.piece(len));
            }
            1..=3 => {
                let frame = self.payment(input);
                self.send(bytemuck::bytes_of(&frame));
            }
            4 => {
                // A sound frame with some bytes changed, or cut.
                let mut bytes = self.request(input);
                let at = input.below(bytes.len());
                bytes[at] ^= input.byte();
                bytes.truncate(bytes.len() - usize::from(step / 12) % 2 * at);
                self.send(&bytes);
            }
            5 => {
                let bytes = self.request(input);
                self.send(&bytes);
            }
            6 => {
                let most = 1 + usize::from(input.byte()) * 4;
                self.world.deliver(self.client, most);
            }
            7 => drop(self.world.begin_write(0)),
            8 => drop(self.world.finish_write(0)),
            9 => self.pass(Duration::from_millis(u64::from(input.byte()) * 20)),
            10 => {
                let deaf = (step / 12).is_multiple_of(2);
                self.listen(!deaf);
            }
            _ => self.answer_control(),
        }
    }

    /// A SUBMIT out of few ids and payers, so that some come again.
    fn payment(&mut self, input: &mut Input<'_>) -> SubmitFrame {
        let choice = input.byte();
        let mut t = transaction(&format!("id{}", choice % 8), payer(u64::from(choice / 8 % 4)));
        t.amount_centavos = (1_000 + i64::from(choice / 32 % 2)).into();
        t.budget_us = (u32::from(choice / 64) * 100_000).into();
        self.next_correlation += 1;
        submit(self.next_correlation, t)
    }

    /// A request of any kind.
    fn request(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        self.next_correlation += 1;
        let correlation = self.next_correlation;
        match input.byte() % 14 {
            0 => bytemuck::bytes_of(&PingFrame::empty(correlation)).to_vec(),
            1 => bytemuck::bytes_of(&LookupFrame::empty(correlation)).to_vec(),
            2 => bytemuck::bytes_of(&StatsFrame::empty(correlation)).to_vec(),
            3 => bytemuck::bytes_of(&BlacklistFrame::empty(correlation)).to_vec(),
            4 => bytemuck::bytes_of(&hello()).to_vec(),
            5 => bytemuck::bytes_of(&ClusterFrame::empty(correlation)).to_vec(),
            6 => bytemuck::bytes_of(&PolicyFrame::empty(correlation)).to_vec(),
            7 => bytemuck::bytes_of(&LabelFrame::empty(correlation)).to_vec(),
            8 => bytemuck::bytes_of(&ListFrame::empty(correlation)).to_vec(),
            10 => bytemuck::bytes_of(&AuditFrame::empty(correlation)).to_vec(),
            9 => bytemuck::bytes_of(&ValidatorFrame::empty(correlation)).to_vec(),
            11 => bytemuck::bytes_of(&tokens::announcing(hello())).to_vec(),
            12 => tokens::frames(input.byte(), correlation),
            _ => bytemuck::bytes_of(&self.payment(input)).to_vec(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.passed += time;
        self.world.pass(time);
        self.world.tick();
    }

    /// The client takes answers, or stops; what waited for it is bounded.
    fn listen(&mut self, listen: bool) {
        let (client, before) = (self.client, self.client().replies.len());
        self.world.set_deaf(client, !listen);
        let waited: usize = self.client().replies[before..].iter().map(len_of).sum();
        let most = MAX_UNREAD_ANSWERS_LEN + (IN_FLIGHT as usize + 2) * size_of::<ErrorFrame>();
        assert!(waited <= most, "{waited} bytes of answers waited for the client");
    }

    /// The control thread answers what it was asked.
    fn answer_control(&mut self) {
        for told in std::mem::take(&mut self.world.cores[0].told) {
            if let ToControl::CheckToken(_, connection, _, token) = told {
                let came = tokens::came(&token, self.world.now.wall_ns);
                self.world.control(0, ToShard::TokenChecked(connection, Box::new(came)));
            } else if let ToControl::Request { connection, correlation, .. } = told {
                let answer =
                    ErrorFrame::new(correlation, ErrorCode::BadField, 0, false, "nothing found");
                self.world.control(
                    0,
                    ToShard::Answer { connection, frames: bytemuck::bytes_of(&answer).to_vec() },
                );
            }
        }
    }

    /// What holds at all times.
    fn check(&mut self) {
        let client = &self.world.clients[self.client];
        assert!(client.is_between_frames(), "half a frame was sent");
        let shard = &self.world.cores[0].mover.shard;
        assert!(shard.read_allowance(client.id) <= READ_BUFFER_LEN);
        // Once a budget ran out its record still waits for the disk, and another request may come.
        let most = if self.passed.is_zero() { IN_FLIGHT as usize } else { MAX_PENDING };
        assert!(shard.counters().pending <= most as u64, "more is in flight than was allowed");
        for (at, reply) in client.replies.iter().enumerate().skip(self.seen) {
            if let Reply::Error { closing: true, .. } = reply {
                assert!(
                    at + 1 == client.replies.len() && client.closed,
                    "something follows the last word, or it stays open"
                );
                assert!(
                    self.model.broken
                        || self.model.token.may_end
                        || self.passed >= HANDSHAKE_TIMEOUT,
                    "closed without a reason: {reply:?}"
                );
                continue;
            }
            let left = self
                .model
                .owed
                .get_mut(&key_of(reply))
                .unwrap_or_else(|| panic!("nobody asked: {reply:?}"));
            assert!(*left > 0, "answered more than once: {reply:?}");
            *left -= 1;
        }
        self.seen = client.replies.len();
        // What the server took off the socket and did not answer is bounded: requests in flight,
        // and what it may have kept.
        if !client.deaf && !client.closed {
            let taken = self.sent - client.outgoing.len();
            let answered = client.replies.len() * MAX_REQUEST_LEN;
            let most = (2 * IN_FLIGHT as usize + 1) * MAX_REQUEST_LEN;
            assert!(
                // Of a token only the last part is answered.
                taken <= answered + most + self.model.token.taken,
                "{taken} bytes are taken, {} requests answered",
                client.replies.len()
            );
        }
    }

    /// Lets everything come to its end: then all that was asked is answered, and the log says the
    /// same.
    fn finish(mut self) {
        self.listen(true);
        for _ in 0..MAX_STEPS {
            self.world.settle();
            self.answer_control();
        }
        // What no segment had room for runs out of its budget.
        self.pass(LAST_WAIT);
        for _ in 0..MAX_STEPS {
            self.world.settle();
            self.pass(Duration::ZERO);
            self.answer_control();
        }
        self.check();
        let client = self.client();
        assert!(client.outgoing.is_empty() || client.closed, "what was sent is never read");
        if self.model.broken {
            assert!(client.closed, "a broken connection stays open");
        }
        // The end of the handshake's time is a reason that the model does not know.
        if self.passed < HANDSHAKE_TIMEOUT && !self.model.token.may_end {
            let open: Vec<_> = self.model.owed.iter().filter(|(_, left)| **left > 0).collect();
            assert!(open.is_empty(), "not answered: {open:?}");
            assert_eq!(client.closed, self.model.broken);
        }
        self.assert_recorded();
    }

    fn assert_recorded(&self) {
        let records: HashMap<u64, _> = self
            .world
            .records()
            .into_iter()
            .map(|record| (record.lsn.to_native(), record))
            .collect();
        let mut ids = HashMap::new();
        for record in records.values() {
            let twice = ids.insert((record.transaction.id, record.transaction.payer), record.lsn);
            assert_eq!(twice, None, "one transaction has two records");
        }
        for reply in &self.client().replies {
            if let Reply::Verdict { answer, .. } = reply {
                let record = records
                    .get(&answer.lsn.to_native())
                    .expect("a verdict that was given is in the log");
                assert_eq!(record.verdict, answer.verdict);
            }
        }
    }
}

/// What a reply answers.
fn key_of(reply: &Reply) -> (bool, u64) {
    match reply {
        Reply::Welcome(welcome) => (true, welcome.header.correlation.to_native()),
        other => (false, other.correlation()),
    }
}

fn len_of(reply: &Reply) -> usize {
    match reply {
        Reply::Welcome(_) => size_of::<WelcomeFrame>(),
        Reply::Verdict { .. } => size_of::<VerdictFrame>(),
        Reply::Error { .. } => size_of::<ErrorFrame>(),
        Reply::Authenticated { .. } => size_of::<AuthStateFrame>(),
        Reply::Other { .. } => size_of::<PongFrame>(),
    }
}

/// A client's stream of bytes as PROTOCOL.md has it.
#[derive(Debug, Default)]
struct Model {
    /// Bytes of a frame that is not whole yet.
    half: Vec<u8>,
    greeted: bool,
    /// A frame came that ends the connection; nothing behind it counts.
    broken: bool,
    /// Answers owed, by correlation; those to HELLO, which may be asked for once, apart.
    owed: HashMap<(bool, u64), u32>,
    token: TokenModel,
}

impl Model {
    fn take(&mut self, bytes: &[u8]) {
        self.half.extend_from_slice(bytes);
        let mut at = 0;
        while !self.broken {
            let Some(header) = self.half.get(at..at + HEADER_LEN).and_then(view::<HeaderFields>)
            else {
                break;
            };
            let kind = FrameKind::from_wire(header.kind);
            let len = header.length.to_native() as usize;
            let is_hello = kind == Some(FrameKind::Hello);
            self.broken = kind.and_then(request_len) != Some(len)
                || header.version != PROTOCOL_VERSION
                || header.flags != 0 && !(is_hello && header.flags == FLAG_AUTH)
                || is_hello == self.greeted
                || !self.token.lets_through(kind);
            if self.broken {
                break;
            }
            let Some(whole) = self.half.get(at..at + len) else { break };
            let correlation = header.correlation.to_native();
            let owed = match kind {
                Some(FrameKind::Auth) => self.token.take(whole, correlation),
                Some(FrameKind::Hello) if header.flags == FLAG_AUTH && is_sound(whole, kind) => {
                    self.token.announced = Some(correlation);
                    Some(Vec::new())
                }
                _ => is_sound(whole, kind).then(|| vec![(is_hello, correlation)]),
            };
            self.broken = owed.is_none();
            for owed in owed.unwrap_or_default() {
                *self.owed.entry(owed).or_default() += 1;
            }
            self.greeted |= !self.broken;
            at += len;
        }
        self.half.drain(..at);
    }
}

/// Whether a whole request keeps to the rules that hold for the connection: reserved bytes, and
/// HELLO's fields.
fn is_sound(whole: &[u8], kind: Option<FrameKind>) -> bool {
    match kind {
        Some(FrameKind::Hello) => view::<HelloFrame>(whole).is_some_and(|hello| {
            // Nobody has a credential here, so any is unknown.
            (hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION)
                && hello.credential_len == 0
                && usize::from(hello.client_name_len) <= MAX_CLIENT_NAME_LEN
        }),
        Some(FrameKind::Submit) => {
            view::<SubmitFrame>(whole).is_some_and(|frame| frame.reserved == 0)
        }
        Some(FrameKind::Lookup) => {
            view::<LookupFrame>(whole).is_some_and(|frame| frame.reserved == 0)
        }
        Some(FrameKind::Stats) => {
            view::<StatsFrame>(whole).is_some_and(|frame| frame.reserved == [0; 6])
        }
        Some(FrameKind::Ping) => view::<PingFrame>(whole).is_some_and(|frame| frame.reserved == 0),
        Some(FrameKind::Cluster) => {
            view::<ClusterFrame>(whole).is_some_and(|frame| frame.reserved == [0; 6])
        }
        Some(FrameKind::Label) => {
            view::<LabelFrame>(whole).is_some_and(|frame| frame.reserved == [0; 24])
        }
        Some(FrameKind::List) => view::<ListFrame>(whole)
            .is_some_and(|frame| frame.reserved_a == [0; 6] && frame.reserved_b == [0; 8]),
        Some(FrameKind::Validator) => view::<ValidatorFrame>(whole)
            .is_some_and(|frame| frame.reserved_a == [0; 7] && frame.reserved_b == [0; 8]),
        Some(FrameKind::Audit) => {
            view::<AuditFrame>(whole).is_some_and(|frame| frame.reserved == [0; 24])
        }
        Some(FrameKind::Policy) => view::<PolicyFrame>(whole)
            .is_some_and(|frame| frame.reserved_a == 0 && frame.reserved_b == [0; 4]),
        Some(FrameKind::Blacklist) => view::<BlacklistFrame>(whole)
            .is_some_and(|frame| frame.reserved_a == 0 && frame.reserved_b == [0; 26]),
        _ => false,
    }
}
