//! Clients: they keep what they want decided until they have an answer, and send it again to
//! whoever says it is primary.

use super::driver::frames;
use super::event::Event;
use super::network::{End, NODES, Payload};
use super::world::{MS, Sim};
use bytemuck::Zeroable;
use catraca_core::blacklist::synthetic::document;
use catraca_wire::frame::{
    AnswerFields, ErrorCode, ErrorFrame, FrameKind, HelloFrame, Role, SubmitFrame,
    TransactionFields, VERDICT_DUPLICATE, VerdictFrame, WelcomeFrame, transaction_id, view,
};
use std::collections::BTreeMap;

/// Seed of the invented documents.
pub(super) const DOCUMENTS_SEED: u64 = 11;
/// Payers of all clients.
pub(super) const PAYERS: u64 = 40;
/// What a client waits beyond a budget before it gives a connection up.
const GRACE_NS: u64 = 150 * MS;

/// Of a thousand answers that say nothing, those after which a client tries the other node.
const ELSEWHERE_PERMILLE: u64 = 60;

/// A transaction that a client wants decided.
#[derive(Debug, Clone)]
struct Wanted {
    transaction: TransactionFields,
    /// Under which correlation it was sent, and when it is given up.
    asked: Option<(u64, u64)>,
    try_at_ns: u64,
    answered: bool,
    /// The server will never decide on it: a field is wrong by the server's clock.
    refused: bool,
    /// The same id with another amount: to be refused.
    forged: bool,
    /// There is a forged one of it. A primary that nobody follows may have taken that, and refuse
    /// the first for it until it is demoted.
    copied: bool,
}

/// A client.
pub(super) struct Client {
    conn: Option<usize>,
    welcomed: bool,
    node: usize,
    wanted: BTreeMap<u64, Wanted>,
    by_correlation: BTreeMap<u64, u64>,
    next_number: u64,
    next_correlation: u64,
    dial_at_ns: u64,
    /// Chance of a new transaction each time that it looks, of a thousand.
    pub pace_permille: u64,
    /// No new ones any more.
    pub resting: bool,
}

impl Client {
    pub fn new(client: usize, pace_permille: u64) -> Self {
        Self {
            conn: None,
            welcomed: false,
            node: client % NODES,
            wanted: BTreeMap::new(),
            by_correlation: BTreeMap::new(),
            next_number: 1,
            next_correlation: 1,
            dial_at_ns: 0,
            pace_permille,
            resting: false,
        }
    }

    /// What has neither been answered nor refused.
    pub fn open(&self) -> usize {
        self.wanted.values().filter(|wanted| !wanted.answered && !wanted.refused).count()
    }

    fn lost_connection(&mut self, now_ns: u64) {
        self.conn = None;
        self.welcomed = false;
        self.node = 1 - self.node;
        self.dial_at_ns = now_ns + 20 * MS;
        self.by_correlation.clear();
        for wanted in self.wanted.values_mut() {
            wanted.asked = None;
        }
    }
}

impl Sim {
    /// A client looks around: dials, asks, asks again, gives up on a connection.
    pub(super) fn client_looks(&mut self, client: usize) {
        let pause = self.rng.between(4, 16) * MS;
        self.after(pause, Event::Client(client));
        let now_ns = self.now_ns;
        let me = &mut self.clients[client];
        let Some(conn) = me.conn else {
            if now_ns >= me.dial_at_ns {
                let node = me.node;
                let conn = self.dial(End::Client(client), node);
                let me = &mut self.clients[client];
                (me.conn, me.dial_at_ns) = (Some(conn), now_ns + 400 * MS);
                let mut hello = HelloFrame::empty(1);
                (hello.version_min, hello.version_max) = (1, 1);
                self.send(conn, 0, Payload::Bytes(bytemuck::bytes_of(&hello).to_vec()));
            }
            return;
        };
        let late = |wanted: &Wanted| wanted.asked.is_some_and(|(_, until)| until < now_ns);
        if !me.welcomed && now_ns >= me.dial_at_ns || me.wanted.values().any(late) {
            return self.leave(client, conn);
        }
        if !me.welcomed {
            return;
        }
        let due: Vec<u64> = me
            .wanted
            .iter()
            .filter(|(_, wanted)| {
                !wanted.answered
                    && !wanted.refused
                    && wanted.asked.is_none()
                    && wanted.try_at_ns <= now_ns
            })
            .map(|(number, _)| *number)
            .take(16)
            .collect();
        for number in due {
            self.ask(client, conn, number);
        }
        if self.clients[client].resting {
            return;
        }
        while self.rng.permille(self.clients[client].pace_permille)
            && self.clients[client].open() < 64
        {
            self.want(client);
            let number = self.clients[client].next_number - 1;
            self.ask(client, conn, number);
        }
        self.ask_again(client, conn);
    }

    /// Makes up a transaction.
    fn want(&mut self, client: usize) {
        let (payer, payee) = (self.rng.between(0, PAYERS - 1), self.rng.between(0, PAYERS - 1));
        let budget_us =
            if self.rng.permille(300) { 0 } else { self.rng.between(5, 2_000) as u32 * 1_000 };
        let amount = self.rng.between(1, 1_000_000) as i64;
        let me = &mut self.clients[client];
        let number = me.next_number;
        me.next_number += 1;
        let mut transaction = TransactionFields::zeroed();
        transaction.id =
            transaction_id(&format!("client{client}-{number}")).expect("short, and without spaces");
        transaction.payer = document(DOCUMENTS_SEED, payer).to_wire();
        transaction.payee = document(DOCUMENTS_SEED, payee).to_wire();
        transaction.amount_centavos = amount.into();
        transaction.event_time_ns = (super::clock::NOON_NS + self.now_ns).into();
        transaction.budget_us = budget_us.into();
        let wanted = Wanted {
            transaction,
            asked: None,
            try_at_ns: 0,
            answered: false,
            refused: false,
            forged: false,
            copied: false,
        };
        me.wanted.insert(number, wanted);
    }

    /// Sends so many new transactions at once, if there is a connection.
    pub fn burst(&mut self, client: usize, count: usize) {
        let Some(conn) = self.clients[client].conn else { return };
        for _ in 0..count {
            self.want(client);
            let number = self.clients[client].next_number - 1;
            self.ask(client, conn, number);
        }
    }

    /// Sends something answered once more, as it was or altered.
    fn ask_again(&mut self, client: usize, conn: usize) {
        if !self.rng.permille(60) {
            return;
        }
        let answered: Vec<u64> = self.clients[client]
            .wanted
            .iter()
            .filter(|(_, w)| w.answered)
            .map(|(number, _)| *number)
            .collect();
        if answered.is_empty() {
            return;
        }
        let number = answered[self.rng.index(answered.len())];
        if self.rng.permille(200) {
            let me = &mut self.clients[client];
            me.wanted.entry(number).and_modify(|wanted| wanted.copied = true);
            let mut forged = me.wanted[&number].clone();
            forged.transaction.amount_centavos = 2_000_000.into();
            (forged.forged, forged.answered, forged.asked) = (true, false, None);
            let number = me.next_number;
            me.next_number += 1;
            me.wanted.insert(number, forged);
            return self.ask(client, conn, number);
        }
        if self.clients[client].wanted[&number].asked.is_none() {
            self.ask(client, conn, number);
        }
    }

    fn ask(&mut self, client: usize, conn: usize, number: u64) {
        let me = &mut self.clients[client];
        let correlation = me.next_correlation;
        me.next_correlation += 1;
        let wanted = me.wanted.get_mut(&number).expect("it is wanted");
        let budget_us = match wanted.transaction.budget_us.to_native() {
            0 => 2_000_000,
            budget => budget,
        };
        wanted.asked = Some((correlation, self.now_ns + u64::from(budget_us) * 1_000 + GRACE_NS));
        let mut frame = SubmitFrame::empty(correlation);
        frame.transaction = wanted.transaction;
        self.checks.sent(&frame.transaction, self.now_ns);
        me.by_correlation.insert(correlation, number);
        self.send(conn, 0, Payload::Bytes(bytemuck::bytes_of(&frame).to_vec()));
    }

    fn leave(&mut self, client: usize, conn: usize) {
        self.hang_up(conn, 0);
        let now_ns = self.now_ns;
        self.clients[client].lost_connection(now_ns);
    }

    /// Something came for a client.
    pub(super) fn client_receives(&mut self, client: usize, conn: usize, payload: Payload) {
        if self.clients[client].conn != Some(conn) {
            return;
        }
        let bytes = match payload {
            Payload::Bytes(bytes) => bytes,
            Payload::Close => {
                let now_ns = self.now_ns;
                return self.clients[client].lost_connection(now_ns);
            }
            Payload::Open | Payload::Frame(_) => return,
        };
        for (header, whole) in frames(&bytes) {
            if self.clients[client].conn != Some(conn) {
                // It has left, and reads no more.
                return;
            }
            let correlation = header.correlation.to_native();
            match FrameKind::from_wire(header.kind) {
                Some(FrameKind::Welcome) => {
                    let primary = view::<WelcomeFrame>(whole)
                        .is_some_and(|welcome| welcome.role == Role::Primary.to_wire());
                    if !primary {
                        return self.leave(client, conn);
                    }
                    self.clients[client].welcomed = true;
                }
                Some(FrameKind::Verdict) => {
                    if let Some(verdict) = view::<VerdictFrame>(whole) {
                        self.decided(client, correlation, verdict.answer);
                    }
                }
                Some(FrameKind::Error) => {
                    let code = view::<ErrorFrame>(whole)
                        .and_then(|error| ErrorCode::from_wire(error.code.to_native()));
                    if code == Some(ErrorCode::NotPrimary) {
                        return self.leave(client, conn);
                    }
                    self.not_decided(client, correlation, code);
                }
                _ => {}
            }
        }
    }

    fn decided(&mut self, client: usize, correlation: u64, answer: AnswerFields) {
        let me = &mut self.clients[client];
        let Some(number) = me.by_correlation.remove(&correlation) else {
            return self
                .checks
                .fail(format!("client {client} got an answer to nothing: {correlation}"));
        };
        let Some(wanted) = me.wanted.get_mut(&number) else { return };
        wanted.asked = None;
        wanted.answered = true;
        if wanted.forged && !self.checks.forced {
            return self.checks.fail(format!(
                "client {client}: an id used again with other content was decided: {answer:?}"
            ));
        }
        let transaction = wanted.transaction;
        if answer.flags & VERDICT_DUPLICATE != 0 {
            self.checks.count("answers to resends");
        }
        self.checks.answered_at(&transaction, self.now_ns);
        self.checks.answered((client, number), transaction, answer);
    }

    fn not_decided(&mut self, client: usize, correlation: u64, code: Option<ErrorCode>) {
        let now_ns = self.now_ns;
        let pause = self.rng.between(2, 60) * MS;
        let mut elsewhere = false;
        let me = &mut self.clients[client];
        let Some(number) = me.by_correlation.remove(&correlation) else { return };
        let Some(wanted) = me.wanted.get_mut(&number) else { return };
        wanted.asked = None;
        wanted.try_at_ns = now_ns + pause;
        match code {
            Some(ErrorCode::IdReused) if wanted.forged => {
                wanted.refused = true;
                self.checks.count("other content refused");
            }
            // Where the first was lost, the forged one may have come in its place for good.
            Some(ErrorCode::IdReused) if wanted.copied => wanted.refused = self.checks.forced,
            Some(ErrorCode::BadField) => wanted.refused = !wanted.answered,
            Some(ErrorCode::Overloaded) => self.checks.count("overloaded"),
            Some(ErrorCode::DiskFull) => self.checks.count("refused for want of room"),
            Some(ErrorCode::Late) => {
                self.checks.count("late, but decided");
                let transaction = wanted.transaction;
                self.checks.told_late((client, number), transaction);
            }
            Some(ErrorCode::Unconfirmed | ErrorCode::Deadline | ErrorCode::ShuttingDown) => {
                self.checks.count("unconfirmed");
                elsewhere = self.rng.permille(ELSEWHERE_PERMILLE);
            }
            other => self.checks.fail(format!("client {client} got {other:?} to {number}")),
        }
        // A short budget may never be met: another attempt gets more time. It is no part of what
        // makes two the same.
        if let Some(wanted) = self.clients[client].wanted.get_mut(&number) {
            wanted.transaction.budget_us = 0.into();
        }
        if let Some(conn) = self.clients[client].conn.filter(|_| elsewhere) {
            self.leave(client, conn);
        }
    }
}
