//! What must hold, during a run and after it.

use super::broadcast::SentTimes;
use super::found::read_log;
use super::network::NODES;
use super::tally::Tally;
use super::world::Sim;
use catraca_wire::block::receipt;
use catraca_wire::frame::{AnswerFields, Durability, Role, TransactionFields, VERDICT_DUPLICATE};
use catraca_wire::record::{RecordHead, RecordKind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An answer may be this late on the node's own clock: two ticks, and a hop between two cores.
pub(super) const LATE_NS: u64 = 25_000_000;
/// How long two nodes that nothing disturbs may take to be in sync, with everything answered,
/// milliseconds.
const CONVERGE_MS: u64 = 30_000;

/// What clients and nodes were seen to do, and the first promise that was broken.
#[derive(Debug, Default)]
pub struct Checks {
    failure: Option<String>,
    answered: BTreeMap<(usize, u64), (TransactionFields, AnswerFields)>,
    /// What a node said of that it is decided and safe, although too late to say how.
    late: BTreeMap<(usize, u64), TransactionFields>,
    deciders: BTreeMap<u32, usize>,
    /// When what was sent and answered, by payer and id.
    pub(super) times: SentTimes,
    /// Decisions may be lost: somebody used force.
    pub forced: bool,
    /// How often what happened.
    pub tally: Tally,
    /// Verdicts that each node has sent.
    pub(super) verdicts: [u64; NODES],
    /// The highest record that each node has given a verdict of.
    pub(super) last_answered: [u64; NODES],
}

/// A record of a log.
struct Stored {
    record: RecordHead,
    epoch: u32,
    receipt: u64,
}

impl Checks {
    /// Something promised was not kept. The first word counts.
    pub fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// The first promise that was broken.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Something happened once more.
    pub(super) fn count(&mut self, what: &'static str) {
        self.tally.count(what);
    }

    /// How many transactions clients have answers to.
    pub fn answers(&self) -> usize {
        self.answered.len()
    }

    pub(super) fn answered(
        &mut self,
        which: (usize, u64),
        transaction: TransactionFields,
        answer: AnswerFields,
    ) {
        let plain = AnswerFields { flags: answer.flags & !VERDICT_DUPLICATE, ..answer };
        let (_, first) = self.answered.entry(which).or_insert((transaction, plain));
        if *first != plain && !self.forced {
            let what = format!(
                "client {} got two answers to {}: {first:?}, then {plain:?}",
                which.0, which.1
            );
            self.fail(what);
        }
    }

    pub(super) fn told_late(&mut self, which: (usize, u64), transaction: TransactionFields) {
        self.late.insert(which, transaction);
    }

    /// A node answers in an epoch.
    pub(super) fn acknowledges(&mut self, epoch: u32, node: usize, lsn: u64) {
        self.verdicts[node] += 1;
        self.last_answered[node] = self.last_answered[node].max(lsn);
        let first = *self.deciders.entry(epoch).or_insert(node);
        if first != node {
            self.fail(format!("nodes {first} and {node} both acknowledge in epoch {epoch}"));
        }
    }

    pub(super) fn bounded(&mut self, what: &str, len: usize, bound: usize) {
        if len > bound {
            self.fail(format!("{len} {what}, {bound} is the bound"));
        }
    }
}

impl Sim {
    /// The node that decides, and whether the other one is in sync with it.
    pub(super) fn converged(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let (Some(process), Some(other)) =
            (&self.nodes[leader].process, &self.nodes[1 - leader].process)
        else {
            return false;
        };
        process.state().durability == Durability::Sync
            && process.node.is_in_sync()
            && other.state().in_sync
            && process
                .cores
                .iter()
                .all(|core| !core.mover.is_writing() && !core.mover.shard.wants_write())
            && !self.policy_under_way(leader)
            && process.broadcast.iter().flatten().all(VecDeque::is_empty)
            && self.tails(leader) == self.tails(1 - leader)
            && self.clients.iter().all(|client| client.open() == 0)
    }

    /// The node whose disk says that it is the primary, of the highest epoch where both do.
    pub(super) fn leader(&self) -> Option<usize> {
        let primaries =
            (0..NODES).filter(|&node| self.nodes[node].disk.state.role == Role::Primary);
        primaries.max_by_key(|&node| self.nodes[node].disk.state.epoch)
    }

    /// Ends a run: everything is mended, the nodes come to agree, and all promises are looked at.
    pub fn finish(&mut self) {
        self.mend_everything();
        self.operator.helping = true;
        self.clients.iter_mut().for_each(|client| client.resting = true);
        let converged = self.run_until(CONVERGE_MS, Self::converged);
        if self.checks.failure.is_some() {
            return;
        }
        if !converged {
            let open: usize = self.clients.iter().map(super::client::Client::open).sum();
            let tails = [self.tails(0), self.tails(1)];
            return self
                .checks
                .fail(format!("nothing is broken, yet the nodes do not come to agree: {open} unanswered, tails {tails:?}"));
        }
        self.note(format_args!("the nodes agree"));
        if let Some(leader) = self.leader() {
            self.settle_candidate(leader);
        }
        if let Err(what) = self.compare_logs() {
            self.checks.fail(what);
        }
    }

    fn compare_logs(&self) -> Result<(), String> {
        let leader = self.leader().ok_or("nobody is primary")?;
        let log = self.log_of(leader)?;
        let other = self.log_of(1 - leader)?;
        if log.len() != other.len() {
            return Err(format!(
                "node {leader} holds {} records, the other {}",
                log.len(),
                other.len()
            ));
        }
        for (place, stored) in &log {
            let same = other
                .get(place)
                .is_some_and(|s| s.receipt == stored.receipt && s.record == stored.record);
            if !same {
                return Err(format!("the nodes differ at {place:?}"));
            }
        }
        let mut ids = BTreeSet::new();
        for (place, stored) in &log {
            let transaction = &stored.record.transaction;
            if stored.record.kind == RecordKind::Decision.to_wire()
                && !ids.insert((transaction.payer, transaction.id))
            {
                return Err(format!("two records for one transaction, the second at {place:?}"));
            }
        }
        self.compare_policies(leader)?;
        self.compare_candidate(leader)?;
        if self.checks.forced {
            return Ok(());
        }
        for ((client, number), transaction) in &self.checks.late {
            if !ids.contains(&(transaction.payer, transaction.id)) {
                return Err(format!(
                    "client {client}'s transaction {number} was said to be decided late, and is in no log"
                ));
            }
        }
        for ((client, number), (transaction, answer)) in &self.checks.answered {
            let place = (answer.shard.to_native(), answer.lsn.to_native());
            let who = || {
                format!(
                    "client {client}'s transaction {number}, answered as {place:?} of epoch {}",
                    answer.epoch
                )
            };
            let Some(stored) = log.get(&place) else { return Err(format!("{} is missing", who())) };
            let record = &stored.record;
            let same = record.transaction.id == transaction.id
                && record.transaction.payer == transaction.payer
                && record.transaction.amount_centavos == transaction.amount_centavos
                && record.verdict == answer.verdict
                && record.score == answer.score
                && record.matched_rules == answer.matched_rules
                && answer.epoch == stored.epoch
                && answer.receipt == stored.receipt;
            if !same {
                return Err(format!("{} is another one", who()));
            }
        }
        Ok(())
    }

    fn log_of(&self, node: usize) -> Result<BTreeMap<(u16, u64), Stored>, String> {
        let mut log = BTreeMap::new();
        read_log(&self.nodes[node].disk, |stream, block| {
            for (record, _) in block.records() {
                let (epoch, receipt) = (block.place.epoch, receipt(&block.place.chain));
                log.insert(
                    (stream, record.lsn.to_native()),
                    Stored { record: *record, epoch, receipt },
                );
            }
        })
        .map_err(|what| format!("node {node}: {what}"))?;
        Ok(log)
    }
}
