//! Moves the [`Exchange`]: one task that owns it, between the handlers' requests and the connections'
//! events. It decides nothing.

use super::connection::{Connection, Event, Identity, dial};
use super::exchange::{Effect, Exchange, Patience};
use super::many::{Many, Reply};
use super::request::{Outcome, Request};
use catraca_tls::Authorities;
use catraca_wire::client::rules::LOOK_TIME;
use catraca_wire::frame::{PrincipalFields, SubmitterFields};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Time for connecting to one address and its WELCOME: a quarter of the longest budget, so that a node
/// that hangs costs no payment its answer.
const DIAL_TIME: Duration = Duration::from_millis(500);
/// The same once that was too short for every node: what the blocking client waits.
const LONG_DIAL_TIME: Duration = Duration::from_secs(2);
/// Events that wait for the task. Each is a read of a socket; past it sockets are not read.
const MAX_EVENTS: usize = 256;
/// Requests and events that are taken in a row before anything is sent.
const MAX_IN_A_ROW: usize = 256;

/// How a link is made.
#[derive(Debug, Clone)]
pub struct Setup {
    /// `host:port` of each node, at least one.
    pub nodes: Vec<String>,
    /// Token that the operator gave; empty where the nodes ask for none.
    pub credential: String,
    /// By whom nodes are vouched for; none where they are spoken to in clear.
    pub authorities: Option<Authorities>,
    /// Connections, at least 1.
    pub connections: usize,
    /// Requests that wait for their answers at once, at least 1.
    pub max_in_flight: usize,
    /// Somebody for whom payments are asked, where that is known from the start: no node is ready before it lets this
    /// program speak for others.
    pub speaks_for: Option<SubmitterFields>,
    /// Seed of the jitter between attempts to connect.
    pub seed: u64,
}

struct Ask {
    request: Request,
    deadline_ns: u64,
    reply: Reply,
}

/// Asks the node that decides. Clones share the connections; when all are dropped, and what is
/// unanswered has ended, the connections close.
#[derive(Debug, Clone)]
pub struct Link {
    asks: mpsc::Sender<Ask>,
    trouble: watch::Receiver<Option<String>>,
    is_refused: Arc<AtomicBool>,
    began: Instant,
    max_in_flight: usize,
    /// Batches that share what may wait.
    batches: Arc<AtomicUsize>,
}

impl Link {
    /// Begins to connect. To be called within a runtime of tokio.
    ///
    /// # Panics
    /// Without a node, or outside of a runtime.
    pub fn start(setup: Setup) -> Self {
        let mut exchange =
            Exchange::new(&setup.nodes, setup.connections, setup.max_in_flight, setup.seed);
        if let Some(submitter) = setup.speaks_for {
            exchange = exchange.speaking_for(&PrincipalFields { submitter, ..Default::default() });
        }
        let is_refused = Arc::new(AtomicBool::new(false));
        let (asks, asked) = mpsc::channel(setup.max_in_flight);
        let (state, trouble) = watch::channel(Some(exchange.trouble().to_owned()));
        let began = Instant::now();
        let (to_driver, events) = mpsc::channel(MAX_EVENTS);
        let in_flight = u32::try_from(setup.max_in_flight).unwrap_or(u32::MAX);
        let driver = Driver {
            exchange,
            identity: Identity {
                credential: setup.credential,
                authorities: setup.authorities,
                in_flight,
            },
            connections: HashMap::new(),
            replies: HashMap::new(),
            to_driver,
            state,
            is_refused: Arc::clone(&is_refused),
            has_warned: false,
            began,
        };
        drop(tokio::spawn(driver.run(asked, events)));
        let (max_in_flight, batches) = (setup.max_in_flight, Arc::default());
        Self { asks, trouble, is_refused, began, max_in_flight, batches }
    }

    /// A time of the link's clock, nanoseconds.
    pub fn at(&self, time: Instant) -> u64 {
        nanos(time.saturating_duration_since(self.began))
    }

    /// The time that is this on the link's clock.
    pub fn time(&self, ns: u64) -> Instant {
        self.began + Duration::from_nanos(ns)
    }

    /// Asks, and waits for how it ends. Given up, it goes on: what was sent is decided.
    pub async fn ask(&self, request: Request, deadline: Instant) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        match self.begin(request, deadline, Reply::One(reply)) {
            Ok(()) => outcome.await.unwrap_or(Outcome::Closed),
            Err(outcome) => outcome,
        }
    }

    /// Asks for many at once: as many as their share lets wait.
    pub fn many(&self) -> Many {
        Many::of(self.clone(), &self.batches)
    }

    /// Asks, and has it told how it ends.
    pub(super) fn begin(
        &self,
        request: Request,
        deadline: Instant,
        reply: Reply,
    ) -> Result<(), Outcome> {
        let deadline_ns = self.at(deadline);
        self.asks.try_send(Ask { request, deadline_ns, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Outcome::Full,
            mpsc::error::TrySendError::Closed(_) => Outcome::Closed,
        })
    }

    /// Requests that wait for their answers at once.
    pub(super) const fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// Waits for a primary that answers, for so long; gives whether one does.
    pub async fn is_ready_within(&self, patience: Duration) -> bool {
        let mut trouble = self.trouble.clone();
        let ready = trouble.wait_for(Option::is_none);
        matches!(timeout(patience, ready).await, Ok(Ok(_)))
    }

    /// No node takes this program, or none lets it speak for others, and another attempt does not change that before
    /// the operator does.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// `None` where a primary answers; else why not, for a person.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }
}

struct Driver {
    exchange: Exchange,
    identity: Identity,
    connections: HashMap<u64, Connection>,
    replies: HashMap<u64, Reply>,
    to_driver: mpsc::Sender<Event>,
    /// Why no primary answers; none where one does.
    state: watch::Sender<Option<String>>,
    is_refused: Arc<AtomicBool>,
    has_warned: bool,
    began: Instant,
}

impl Driver {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>, mut events: mpsc::Receiver<Event>) {
        let mut is_open = true;
        while is_open || self.exchange.unanswered() > 0 {
            self.tick();
            let wake = self.exchange.next_wake();
            let wake = self.began + Duration::from_nanos(wake.min(self.now_ns() + MOST_SLEEP_NS));
            tokio::select! {
                Some(event) = events.recv() => {
                    self.take(event);
                    for _ in 0..MAX_IN_A_ROW {
                        let Ok(event) = events.try_recv() else { break };
                        self.take(event);
                    }
                }
                ask = asks.recv(), if is_open => match ask {
                    None => is_open = false,
                    Some(ask) => {
                        self.offer(ask);
                        for _ in 0..MAX_IN_A_ROW {
                            let Ok(ask) = asks.try_recv() else { break };
                            self.offer(ask);
                        }
                    }
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn now_ns(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    fn offer(&mut self, ask: Ask) {
        match self.exchange.offer(ask.request, ask.deadline_ns) {
            Ok(ticket) => drop(self.replies.insert(ticket, ask.reply)),
            // Who has gone away is not told.
            Err(outcome) => ask.reply.tell(outcome),
        }
    }

    fn take(&mut self, event: Event) {
        let now_ns = self.now_ns();
        match event {
            Event::Dialled(attempt, came) => {
                let came = came.map(|(welcome, connection)| {
                    self.connections.insert(attempt, connection);
                    welcome
                });
                self.exchange.dialled(attempt, came, now_ns);
            }
            Event::Received(attempt, replies) => {
                for (correlation, body) in replies {
                    self.exchange.received(attempt, correlation, body, now_ns);
                }
            }
            Event::Lost(attempt, why) => self.exchange.lost(attempt, why, now_ns),
        }
    }

    fn tick(&mut self) {
        let now_ns = self.now_ns();
        self.exchange.tick(now_ns);
        while let Some(effect) = self.exchange.next_effect() {
            match effect {
                Effect::Dial { attempt, address, patience } => {
                    let patience = match patience {
                        Patience::Look => LOOK_TIME,
                        Patience::Short => DIAL_TIME,
                        Patience::Long => LONG_DIAL_TIME,
                    };
                    let (identity, events) = (self.identity.clone(), self.to_driver.clone());
                    drop(tokio::spawn(dial(attempt, address, identity, patience, events)));
                }
                Effect::Close { attempt } => drop(self.connections.remove(&attempt)),
                Effect::Ended { ticket, outcome } => {
                    if let Some(reply) = self.replies.remove(&ticket) {
                        // Who has gone away is not told.
                        reply.tell(outcome);
                    }
                }
            }
        }
        for (attempt, frames) in self.exchange.take_output() {
            if let Some(connection) = self.connections.get(&attempt) {
                // A writer that ended has said so, in an event that is on its way.
                let _ = connection.frames.send(frames);
            }
        }
        self.tell(now_ns);
    }

    /// Lets readers know whether a primary answers, and the log when that changes.
    fn tell(&mut self, now_ns: u64) {
        self.is_refused.store(self.exchange.refused().is_some(), Ordering::Relaxed);
        let is_ready = self.exchange.is_ready(now_ns);
        let trouble = (!is_ready).then(|| self.exchange.trouble().to_owned());
        if *self.state.borrow() == trouble {
            return;
        }
        match &trouble {
            None => tracing::info!("a primary answers"),
            Some(why) if !self.has_warned => tracing::warn!(why, "no primary answers"),
            // Told once: the next attempts fail for the same reasons, many times a second.
            Some(_) => {}
        }
        self.has_warned = !is_ready;
        self.state.send_replace(trouble);
    }
}

/// The longest sleep, so that it is seen in time that no primary answers any more.
const MOST_SLEEP_NS: u64 = 1_000_000_000;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
