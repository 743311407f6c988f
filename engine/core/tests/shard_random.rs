//! Random interleavings of all that can happen to a node, against what must hold whatever the
//! order.

use catraca_core::shard::messages::Admission;
use catraca_testkit::shard::{Options, Reply, Tear, World, payer, submit, transaction};
use catraca_wire::frame::{
    AnswerFields, ErrorCode, SubmitFrame, TransactionFields, VERDICT_DUPLICATE,
};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Transactions and their variants are few, so that resends and reused ids are many.
const IDS: u64 = 24;
const CLIENTS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    /// A client sends so many transactions, from this id on, of which the server reads nothing yet.
    Send {
        client: usize,
        id: u64,
        count: u64,
        other_content: bool,
        budget_ms: u64,
    },
    /// The server reads so many bytes of a connection.
    Deliver {
        client: usize,
        most: usize,
    },
    /// A message moves between two shards.
    Carry {
        from: usize,
        to: usize,
    },
    BeginWrite {
        core: usize,
    },
    FinishWrite {
        core: usize,
    },
    Pass {
        ms: u64,
    },
    Tick,
    Disconnect {
        client: usize,
    },
    Deaf {
        client: usize,
        deaf: bool,
    },
    DiskFull {
        full: bool,
    },
    Crash {
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let core = 0..3usize;
    prop_oneof![
        6 => (client.clone(), 0..IDS, 1..8u64, prop::bool::weighted(0.1), prop_oneof![Just(0u64), 1..60u64])
            .prop_map(|(client, id, count, other_content, budget_ms)| Step::Send { client, id, count, other_content, budget_ms }),
        10 => (client.clone(), 1..700usize).prop_map(|(client, most)| Step::Deliver { client, most }),
        6 => (core.clone(), core.clone()).prop_map(|(from, to)| Step::Carry { from, to }),
        5 => core.clone().prop_map(|core| Step::BeginWrite { core }),
        5 => core.prop_map(|core| Step::FinishWrite { core }),
        2 => (0..40u64).prop_map(|ms| Step::Pass { ms }),
        3 => Just(Step::Tick),
        1 => client.clone().prop_map(|client| Step::Disconnect { client }),
        1 => (client, any::<bool>()).prop_map(|(client, deaf)| Step::Deaf { client, deaf }),
        1 => any::<bool>().prop_map(|full| Step::DiskFull { full }),
        1 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ]
}

/// What was sent under one correlation. Correlations are never used twice.
#[derive(Debug, Clone, Copy)]
struct Sent {
    client: usize,
    transaction: TransactionFields,
}

struct Run {
    world: World,
    /// Place of the client in the world, of each of the few that there are at a time.
    clients: [usize; CLIENTS],
    sent: HashMap<u64, Sent>,
    next_correlation: u64,
    /// Replies of each world's client that were judged.
    judged: HashMap<usize, usize>,
    /// The decision that stands for a transaction: what its first verdict said.
    decisions: HashMap<([u8; 32], [u8; 14]), (TransactionFields, AnswerFields)>,
    /// What was said to be decided and safe, but late.
    late: HashSet<([u8; 32], [u8; 14])>,
}

fn content(t: &TransactionFields) -> TransactionFields {
    TransactionFields { budget_us: 0.into(), trace_id: [0; 16], ..*t }
}

impl Run {
    fn new(shards: u16) -> Self {
        let mut world =
            World::with(Options { shards, in_flight: 16, buffers: 3, ..Options::default() });
        let clients = std::array::from_fn(|n| world.client_of(n % usize::from(shards)));
        Self {
            world,
            clients,
            sent: HashMap::new(),
            next_correlation: 10,
            judged: HashMap::new(),
            decisions: HashMap::new(),
            late: HashSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        let cores = self.world.cores.len();
        let w = &mut self.world;
        match *step {
            Step::Send { client, id, count, other_content, budget_ms } => {
                let client = self.clients[client];
                for id in id..id + count {
                    let mut t = transaction(&format!("id{}", id % IDS), payer(id % IDS));
                    t.amount_centavos = (1_000 + i64::from(other_content)).into();
                    t.budget_us = (budget_ms as u32 * 1_000).into();
                    let correlation = self.next_correlation;
                    self.next_correlation += 1;
                    self.sent.insert(correlation, Sent { client, transaction: t });
                    let frame: SubmitFrame = submit(correlation, t);
                    if !w.clients[client].closed {
                        w.clients[client].outgoing.extend(bytemuck::bytes_of(&frame));
                    }
                }
            }
            Step::Deliver { client, most } => {
                w.deliver(self.clients[client], most);
            }
            Step::Carry { from, to } => {
                w.carry(from % cores, to % cores);
            }
            Step::BeginWrite { core } => {
                w.begin_write(core % cores);
            }
            Step::FinishWrite { core } => {
                w.finish_write(core % cores);
            }
            Step::Pass { ms } => w.pass(Duration::from_millis(ms)),
            Step::Tick => w.tick(),
            Step::Disconnect { client } => {
                w.disconnect(self.clients[client]);
                self.clients[client] = w.client_of(client % cores);
            }
            Step::Deaf { client, deaf } => w.set_deaf(self.clients[client], deaf),
            Step::DiskFull { full } => {
                w.admit(if full { Admission::DiskFull } else { Admission::Open })
            }
            Step::Crash { seed } => {
                w.crash(if seed % 3 == 0 { Tear::None } else { Tear::Random(seed) });
                self.clients = std::array::from_fn(|n| w.client_of(n % cores));
            }
        }
        self.judge();
    }

    /// Looks at every reply that came since the last time.
    fn judge(&mut self) {
        for (place, client) in self.world.clients.iter().enumerate() {
            let judged = self.judged.entry(place).or_default();
            for reply in &client.replies[*judged..] {
                if matches!(reply, Reply::Welcome(_)) {
                    continue;
                }
                let sent =
                    self.sent.get(&reply.correlation()).expect("only what was asked is answered");
                assert_eq!(sent.client, place, "answers go to who asked");
                let key = (sent.transaction.id, sent.transaction.payer);
                match reply {
                    Reply::Verdict { answer, .. } => {
                        let first =
                            AnswerFields { flags: answer.flags & !VERDICT_DUPLICATE, ..*answer };
                        assert_ne!(answer.receipt, 0);
                        let (of, decision) = self
                            .decisions
                            .entry(key)
                            .or_insert((content(&sent.transaction), first));
                        assert_eq!(
                            (*of, *decision),
                            (content(&sent.transaction), first),
                            "one decision for one transaction"
                        );
                    }
                    Reply::Error { code, closing, .. } => {
                        use ErrorCode::{
                            Deadline, DiskFull, IdReused, Late, Overloaded, Unconfirmed,
                        };
                        if *code == Late {
                            self.late.insert(key);
                        }
                        assert!(
                            !closing
                                && matches!(
                                    code,
                                    Deadline
                                        | DiskFull
                                        | IdReused
                                        | Late
                                        | Overloaded
                                        | Unconfirmed
                                ),
                            "{reply:?}"
                        );
                    }
                    other => panic!("{other:?}"),
                }
            }
            *judged = client.replies.len();
        }
    }

    /// Lets everything come to its end, and looks at the whole.
    fn finish(mut self) {
        self.world.admit(Admission::Open);
        for place in 0..self.world.clients.len() {
            if !self.world.clients[place].closed {
                self.world.set_deaf(place, false);
            }
        }
        self.world.settle();
        self.world.tick();
        self.judge();
        for (correlation, sent) in &self.sent {
            let client = &self.world.clients[sent.client];
            let answers = client.answers(*correlation).len();
            assert!(answers <= 1, "{correlation}: at most one answer");
            // What was cut off by the end of its connection was perhaps never whole.
            let was_read = client.closed || answers == 1;
            assert!(was_read, "{correlation} was not answered although its connection lives");
        }
        for core in &self.world.cores {
            assert_eq!(core.mover.shard.counters().pending, 0, "nothing waits for ever");
        }
        // The log: one record for each transaction, and each decision that was given.
        let records = self.world.records();
        let mut seen = HashMap::new();
        for record in &records {
            let key = (record.transaction.id, record.transaction.payer);
            assert!(seen.insert(key, *record).is_none(), "two records for one transaction");
        }
        for (key, (of, decision)) in &self.decisions {
            let record = seen.get(key).expect("a decision that was given is in the log");
            assert_eq!(content(&record.transaction), *of);
            assert_eq!((record.lsn, record.verdict), (decision.lsn, decision.verdict));
        }
        for key in &self.late {
            assert!(seen.contains_key(key), "what was said to be decided late is in the log");
        }
        // A record without a verdict was given UNCONFIRMED, or its asker or the power went before.
        // Sent again, it has its decision now; and after one more restart the same.
        for restarted in [false, true] {
            if restarted {
                self.world.crash(Tear::None);
            }
            let c = self.world.client();
            for (n, (key, record)) in seen.iter().enumerate() {
                let again = TransactionFields { budget_us: 0.into(), ..record.transaction };
                let answer = self.world.ask(c, n as u64, again).verdict();
                assert_eq!((answer.lsn, answer.flags), (record.lsn, VERDICT_DUPLICATE), "{key:?}");
            }
        }
        assert_eq!(self.world.records().len(), records.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_order_the_promises_hold(shards in 1..4u16, steps in prop::collection::vec(step(), 1..400)) {
        let mut run = Run::new(shards);
        for step in &steps {
            run.step(step);
        }
        run.finish();
    }
}
