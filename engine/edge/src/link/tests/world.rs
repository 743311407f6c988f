//! A world of made-up nodes, and what an exchange has said in it so far.

use crate::caller::Caller;
use crate::link::{DialError, Effect, Exchange, Outcome, Patience, Request};
use bytemuck::Zeroable as _;
use catraca_wire::client::rules::Body;
use catraca_wire::client::{Decision, ServerError};
use catraca_wire::frame::{
    Answer, AnswerFields, ErrorCode, FrameKind, HEADER_LEN, HeaderFields, Role, SubmitFrame,
    Transaction, Verdict, Welcome, WelcomeFrame, fill, view,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const MS: u64 = 1_000_000;
/// What a payment's budget is, and when its answer is given up.
pub(super) const BUDGET_NS: u64 = 2_000 * MS;
pub(super) const DEADLINE_NS: u64 = 2_500 * MS;

pub(super) fn welcome(role: Role, epoch: u32, in_flight: u32, primary: &str) -> Welcome {
    let mut frame = WelcomeFrame::empty(0);
    (frame.role, frame.epoch, frame.in_flight) = (role.to_wire(), epoch.into(), in_flight.into());
    fill(&mut frame.primary, primary);
    Welcome::from(&frame)
}

pub(super) fn primary() -> Result<Welcome, DialError> {
    Ok(welcome(Role::Primary, 1, 1_000, ""))
}

pub(super) fn standby(names: &str) -> Result<Welcome, DialError> {
    Ok(welcome(Role::Standby, 1, 1_000, names))
}

pub(super) fn down() -> Result<Welcome, DialError> {
    Err(DialError::Failed("connection refused".to_owned()))
}

pub(super) fn submit(now_ns: u64, id: &str) -> Request {
    let transaction = Transaction::pix(id, "04933228680", "12ABC34501DE35", 1, 1).expect("sound");
    Request::submit(&Caller::anybody(), &transaction, now_ns + BUDGET_NS)
}

pub(super) fn decided() -> Body {
    let answer = Answer::from(&AnswerFields::zeroed());
    let verdict = Verdict::Approve;
    Body::Decision(Decision {
        verdict,
        duplicate: false,
        degraded: false,
        shadow_disagrees: false,
        reason: None,
        answer,
    })
}

pub(super) fn refusal(code: ErrorCode, closing: bool) -> ServerError {
    ServerError { code, retry_after_ms: 0, detail: "as made up".to_owned(), closing }
}

pub(super) fn refused(code: ErrorCode) -> Body {
    Body::Error(refusal(code, false))
}

/// The exchange, and what it has said so far.
pub(super) struct World {
    pub(super) exchange: Exchange,
    pub(super) now_ns: u64,
    pub(super) dials: Vec<(u64, String)>,
    /// Of the last one.
    pub(super) patience: Option<Patience>,
    pub(super) closed: BTreeSet<u64>,
    pub(super) ended: BTreeMap<u64, Outcome>,
    /// Correlation and budget of every SUBMIT and LOOKUP, by connection, in the order of their bytes.
    pub(super) sent: Vec<(u64, u64, u32)>,
    pub(super) pings: Vec<(u64, u64)>,
    /// The connections of every ON_BEHALF.
    pub(super) behalfs: Vec<u64>,
}

impl World {
    pub(super) fn new(nodes: &[&str], connections: usize, max_in_flight: usize) -> Self {
        let nodes: Vec<String> = nodes.iter().map(|&node| node.to_owned()).collect();
        Self::of(Exchange::new(&nodes, connections, max_in_flight, 7))
    }

    pub(super) fn of(exchange: Exchange) -> Self {
        let mut world = Self {
            exchange,
            now_ns: 0,
            dials: Vec::new(),
            patience: None,
            closed: BTreeSet::new(),
            ended: BTreeMap::new(),
            sent: Vec::new(),
            pings: Vec::new(),
            behalfs: Vec::new(),
        };
        world.tick();
        world
    }

    pub(super) fn tick(&mut self) {
        self.exchange.tick(self.now_ns);
        while let Some(effect) = self.exchange.next_effect() {
            match effect {
                Effect::Dial { attempt, address, patience } => {
                    self.patience = Some(patience);
                    self.dials.push((attempt, address));
                }
                Effect::Close { attempt } => drop(self.closed.insert(attempt)),
                Effect::Ended { ticket, outcome } => {
                    assert!(self.ended.insert(ticket, outcome).is_none(), "{ticket} ended twice");
                }
            }
        }
        let output: Vec<_> = self.exchange.take_output().collect();
        for (attempt, bytes) in output {
            assert!(!self.closed.contains(&attempt), "written to a closed connection");
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let header: &HeaderFields = view(&rest[..HEADER_LEN]).expect("a header");
                let (frame, behind) = rest.split_at(header.length.to_native() as usize);
                let correlation = header.correlation.to_native();
                match FrameKind::from_wire(header.kind) {
                    Some(FrameKind::Submit) => {
                        let frame: &SubmitFrame = view(frame).expect("whole");
                        let budget_us = frame.transaction.budget_us.to_native();
                        self.sent.push((attempt, correlation, budget_us));
                    }
                    Some(FrameKind::Lookup | FrameKind::List) => {
                        self.sent.push((attempt, correlation, 0))
                    }
                    Some(FrameKind::OnBehalf) => self.behalfs.push(attempt),
                    Some(FrameKind::Ping) => self.pings.push((attempt, correlation)),
                    other => panic!("{other:?}"),
                }
                rest = behind;
            }
        }
    }

    pub(super) fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.tick();
    }

    /// The attempt that was begun last, and where it leads.
    pub(super) fn dial(&self) -> (u64, &str) {
        self.dials.last().map(|(attempt, address)| (*attempt, address.as_str())).expect("a dial")
    }

    pub(super) fn answer_dial(&mut self, came: Result<Welcome, DialError>) -> u64 {
        let (attempt, _) = self.dial();
        self.exchange.dialled(attempt, came, self.now_ns);
        self.tick();
        attempt
    }

    pub(super) fn offer(&mut self, id: &str) -> u64 {
        let request = submit(self.now_ns, id);
        let ticket = self.exchange.offer(request, self.now_ns + DEADLINE_NS).expect("taken");
        self.tick();
        ticket
    }

    pub(super) fn receive(&mut self, attempt: u64, correlation: u64, body: Body) {
        self.exchange.received(attempt, correlation, body, self.now_ns);
        self.tick();
    }

    pub(super) fn sent_on(&self, attempt: u64) -> Vec<u64> {
        self.sent.iter().filter(|(on, ..)| *on == attempt).map(|(_, ticket, _)| *ticket).collect()
    }
}
