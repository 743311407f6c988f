//! Load on a node from a thread of its own, with every answer kept.

use crate::node::Node;
use crate::payments;
use catraca_wire::client::{Client, ClientError, ClientOptions, Decision};
use catraca_wire::frame::{ErrorCode, Transaction};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A transaction and the decision that the client was told.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// What was asked.
    pub transaction: Transaction,
    /// What was answered.
    pub decision: Decision,
}

/// What a load thread saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every answered decision, in the order of the answers.
    pub answered: Vec<Answered>,
    /// Errors of the server, by code.
    pub refused: HashMap<ErrorCode, u64>,
    /// Transactions that were sent and never answered.
    pub unanswered: Vec<Transaction>,
    /// Transactions sent again because their outcome was unknown.
    pub resent: u64,
    /// Longest time without an answer.
    pub longest_gap: Duration,
}

/// A running load thread.
pub struct Load {
    stop: Arc<AtomicBool>,
    abandoned: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Seen>,
}

impl Load {
    /// Begins to submit payments whose ids begin with `prefix`, `in_flight` at a time, until told
    /// to stop or the connection ends.
    pub fn start(node: &Node, prefix: &str, in_flight: usize) -> Self {
        Self::by(node.client(), prefix, in_flight)
    }

    /// The same by this client.
    pub fn by(client: Client, prefix: &str, in_flight: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let prefix = prefix.to_owned();
        let (told, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || drive(client, &prefix, in_flight, &told, &count));
        Self { stop, abandoned: Arc::default(), answered, thread }
    }

    /// Begins to submit payments to whichever of these nodes decides, and sends again what has no
    /// answer, until told to stop: nothing stays unanswered but what the end cuts off.
    pub fn through_failover(addresses: Vec<String>, prefix: &str, in_flight: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let prefix = prefix.to_owned();
        let abandoned = Arc::new(AtomicBool::new(false));
        let flags = [Arc::clone(&stop), Arc::clone(&abandoned)];
        let count = Arc::clone(&answered);
        let thread =
            std::thread::spawn(move || persist(&addresses, &prefix, in_flight, &flags, &count));
        Self { stop, abandoned, answered, thread }
    }

    /// Answered decisions so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for so many answered decisions.
    ///
    /// # Panics
    /// When the load ends before.
    pub fn wait_for(&self, count: u64) {
        while self.answered() < count {
            assert!(!self.thread.is_finished(), "the load ended after {} answers", self.answered());
            std::thread::sleep(crate::node::LOOK_AGAIN);
        }
    }

    /// Stops sending, receives what is due, and gives what was seen.
    ///
    /// # Panics
    /// When the thread did.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Stops at once, whatever is unanswered: for a node that will answer no more.
    ///
    /// # Panics
    /// When the thread did.
    pub fn abandon(self) -> Seen {
        self.abandoned.store(true, Ordering::Relaxed);
        self.stop()
    }

    /// Waits for the end of the connection, and gives what was seen.
    ///
    /// # Panics
    /// When the thread did.
    pub fn join(self) -> Seen {
        self.thread.join().expect("the load thread")
    }
}

fn drive(
    mut client: Client,
    prefix: &str,
    in_flight: usize,
    stop: &AtomicBool,
    count: &AtomicU64,
) -> Seen {
    let mut seen = Seen::default();
    let mut open = HashMap::new();
    let mut number = 0;
    let mut ended = false;
    loop {
        while !ended && !stop.load(Ordering::Relaxed) && client.owed() < in_flight {
            let transaction = payments::payment(&format!("{prefix}-{number}"), number);
            match client.queue(&transaction) {
                Ok(correlation) => drop(open.insert(correlation, transaction)),
                Err(_) => ended = true,
            }
            number += 1;
        }
        let Ok(reply) = client.receive() else { return seen };
        let transaction =
            open.remove(&reply.correlation).expect("each reply belongs to one submission");
        match reply.result {
            Ok(decision) => {
                seen.answered.push(Answered { transaction, decision });
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(ClientError::Refused(error)) => {
                ended |= error.code == ErrorCode::ShuttingDown;
                *seen.refused.entry(error.code).or_default() += 1;
            }
            Err(ClientError::NoAnswer { .. }) => {
                ended = true;
                seen.unanswered.push(transaction);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// A client for a pair of nodes.
pub fn pair_options(addresses: &[String]) -> ClientOptions {
    ClientOptions {
        addresses: addresses.to_vec(),
        reconnect_attempts: 1_000,
        reconnect_max_ms: 50,
        connect_timeout_ms: 500,
        ..ClientOptions::new(addresses[0].clone())
    }
}

fn persist(
    addresses: &[String],
    prefix: &str,
    in_flight: usize,
    [stop, abandoned]: &[Arc<AtomicBool>; 2],
    count: &AtomicU64,
) -> Seen {
    let mut seen = Seen::default();
    let mut open: HashMap<u64, Transaction> = HashMap::new();
    let mut again: Vec<Transaction> = Vec::new();
    let mut number = 0;
    let mut last_answer = Instant::now();
    let mut client: Option<Client> = None;
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && (abandoned.load(Ordering::Relaxed) || (open.is_empty() && again.is_empty()))
        {
            seen.unanswered.extend(again);
            return seen;
        }
        let Some(connected) = &mut client else {
            again.extend(open.drain().map(|(_, transaction)| transaction));
            client = Client::connect(pair_options(addresses)).ok();
            std::thread::sleep(crate::node::LOOK_AGAIN);
            continue;
        };
        while connected.owed() < in_flight {
            let transaction = match again.pop() {
                Some(transaction) => {
                    seen.resent += 1;
                    transaction
                }
                None if stopping => break,
                None => {
                    number += 1;
                    payments::payment(&format!("{prefix}-{number}"), number)
                }
            };
            match connected.queue(&transaction) {
                Ok(correlation) => drop(open.insert(correlation, transaction)),
                Err(_) => {
                    again.push(transaction);
                    break;
                }
            }
        }
        let Ok(reply) = connected.receive() else {
            client = None;
            continue;
        };
        let transaction =
            open.remove(&reply.correlation).expect("each reply belongs to one submission");
        match reply.result {
            Ok(decision) => {
                seen.longest_gap = seen.longest_gap.max(last_answer.elapsed());
                last_answer = Instant::now();
                seen.answered.push(Answered { transaction, decision });
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                if let ClientError::Refused(error) = &error {
                    assert!(RETRIED.contains(&error.code), "{error}");
                    *seen.refused.entry(error.code).or_default() += 1;
                }
                again.push(transaction);
            }
        }
    }
}

/// What a client in a failover may be told without anything being wrong.
const RETRIED: [ErrorCode; 6] = [
    ErrorCode::Unconfirmed,
    ErrorCode::Late,
    ErrorCode::Overloaded,
    ErrorCode::Deadline,
    ErrorCode::NotPrimary,
    ErrorCode::ShuttingDown,
];
