//! What a node's log holds, against what clients were told.

use crate::command;
use crate::load::Answered;
use catraca_node::log_files::{LogReader, key};
use catraca_wire::client::Client;
use catraca_wire::frame::Transaction;
use catraca_wire::record::{Record, RecordKind};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

/// The decisions in a log, by stream and sequence number, each with the receipt of its block.
pub type Decisions = HashMap<(u16, u64), (Record, u64)>;

/// Reads all decisions of a data directory, of a running node too.
///
/// # Panics
/// When the log can't be read.
pub fn decisions(data_dir: &Path) -> Decisions {
    let chain_key = key::load(&data_dir.join(key::KEY_FILE)).expect("the node made its key");
    let log = LogReader::open(data_dir, Some(chain_key)).expect("a log");
    let mut found = HashMap::new();
    for &shard in log.shards() {
        let read = log.records(shard, |head, _, place| {
            if head.kind == RecordKind::Decision.to_wire() {
                let receipt =
                    u64::from_le_bytes(place.chain[..8].try_into().expect("8 of 32 bytes"));
                found.insert((shard, head.lsn.to_native()), (Record::from(head), receipt));
            }
            ControlFlow::Continue(())
        });
        read.expect("a readable stream");
    }
    found
}

/// Asserts that each answered decision is in the log as it was told, and that none is there twice.
///
/// # Panics
/// When one is missing, different, or double.
pub fn assert_all_recorded<'a>(
    decisions: &Decisions,
    answered: impl IntoIterator<Item = &'a Answered>,
) {
    for Answered { transaction, decision } in answered {
        let answer = &decision.answer;
        let (record, receipt) = decisions.get(&(answer.shard, answer.lsn)).unwrap_or_else(|| {
            panic!(
                "{} was answered as record {} of stream {}, which is not in the log",
                id(transaction),
                answer.lsn,
                answer.shard
            )
        });
        let recorded = Transaction { budget_us: transaction.budget_us, ..record.transaction };
        assert_eq!(&recorded, transaction, "another transaction is there");
        assert_eq!(record.verdict, answer.verdict, "{}", id(transaction));
        assert_eq!(
            *receipt,
            answer.receipt,
            "{}: its block has another chain value",
            id(transaction)
        );
    }
    let mut seen = HashMap::with_capacity(decisions.len());
    for (place, (record, _)) in decisions {
        let twice = seen.insert((record.transaction.payer, record.transaction.id), place);
        assert_eq!(
            twice,
            None,
            "{} was decided twice, again at {place:?}",
            id(&record.transaction)
        );
    }
}

fn id(transaction: &Transaction) -> &str {
    catraca_wire::frame::text_of(&transaction.id)
}

/// Of many answers, in their order, those that a node of [`Setup::new`](crate::node::Setup::new) surely still
/// remembers: half of what its dedupe table holds, for the table has more than what was answered. A run on a slow
/// machine may come to more.
pub fn remembered(answered: &[Answered]) -> &[Answered] {
    const MOST: usize = 262_144 / 2;
    &answered[answered.len().saturating_sub(MOST)..]
}

/// Asserts that sending again gives the same answers, marked as duplicates.
///
/// # Panics
/// When one differs.
pub fn assert_same_answers<'a>(
    client: &mut Client,
    answered: impl IntoIterator<Item = &'a Answered>,
) {
    /// Unanswered at a time: enough that a block serves many, few enough for any connection.
    const WINDOW: usize = 256;
    let mut open = HashMap::new();
    let mut rest = answered.into_iter();
    loop {
        while client.owed() < WINDOW
            && let Some(again) = rest.next()
        {
            open.insert(client.queue(&again.transaction).expect("the node takes it"), again);
        }
        let Ok(reply) = client.receive() else { break };
        let first = open.remove(&reply.correlation).expect("each reply belongs to one submission");
        let now =
            reply.result.unwrap_or_else(|error| panic!("{}: {error}", id(&first.transaction)));
        assert!(now.duplicate, "{} was decided anew", id(&first.transaction));
        let flags = first.decision.answer.flags;
        let (now, then) =
            (catraca_wire::frame::Answer { flags, ..now.answer }, first.decision.answer);
        assert_eq!(now, then, "{}", id(&first.transaction));
    }
    assert!(open.is_empty() && rest.next().is_none(), "not all were answered");
}

/// Asserts that `catraca log verify` finds the log sound, and complete at its end if `clean`.
///
/// # Panics
/// When it does not.
pub fn assert_verified(data_dir: &Path, clean: bool) {
    let args = ["log".as_ref(), "verify".as_ref(), data_dir.as_os_str(), "--json".as_ref()];
    let report = command::json(args);
    assert_eq!(report["sound"], true, "{report:#}");
    assert_eq!(report["chain_values_checked"], true, "{report:#}");
    if clean {
        for stream in report["streams"].as_array().expect("a list of streams") {
            assert_eq!(stream["state"], "clean", "{report:#}");
        }
    }
}
