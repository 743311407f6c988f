//! What the other streams of a log hold, in the order in which it was decided: for windows in which the payments
//! of all shards count. Each is read by a thread of its own, as far ahead as its queue has room.
//!
//! A shard saw what its siblings had decided when it came to a payment. A log does not say which of two payments
//! of about the same moment was first: here it is the one that was decided at an earlier time.

use crate::log_files::read::End;
use crate::log_files::{LogError, LogReader};
use catraca_core::log::start::LogStart;
use catraca_core::policy::replay::recorded_parties;
use catraca_core::policy::windows::DecidedPayment;
use catraca_wire::frame::Verdict;
use catraca_wire::record::{RecordHead, RecordKind};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Payments that are handed over together.
const CHUNK: usize = 4096;
/// Chunks that are read ahead: some megabytes for each stream.
const AHEAD: usize = 4;

/// The payments of the other streams.
pub(super) struct Siblings {
    streams: Vec<Stream>,
}

struct Stream {
    chunks: Receiver<Result<Vec<DecidedPayment>, String>>,
    chunk: std::iter::Peekable<std::vec::IntoIter<DecidedPayment>>,
    /// Why nothing more of it is read.
    failed: Option<String>,
}

impl Stream {
    fn next(&mut self) -> Option<&DecidedPayment> {
        while self.chunk.peek().is_none() {
            match self.chunks.recv().ok()? {
                Ok(chunk) => self.chunk = chunk.into_iter().peekable(),
                Err(why) => self.failed = Some(why),
            }
        }
        self.chunk.peek()
    }
}

impl Siblings {
    /// Begins to read all streams but one. Gives where each begins, too.
    ///
    /// # Errors
    /// Where one begins can't be read.
    pub fn of(log: &LogReader, stream: u16) -> Result<(Self, Vec<LogStart>), LogError> {
        let (mut streams, mut starts) = (Vec::new(), Vec::new());
        for &other in log.shards().iter().filter(|other| **other != stream) {
            let start = log.start(other)?;
            let (sender, chunks) = sync_channel(AHEAD);
            let (log, tail) = (log.clone(), start.tail);
            starts.push(start);
            std::thread::spawn(move || read(&log, other, tail, &sender));
            let chunk = Vec::new().into_iter().peekable();
            streams.push(Stream { chunks, chunk, failed: None });
        }
        Ok((Self { streams }, starts))
    }

    /// Why a stream was not read as far as it was wanted.
    pub fn failed(&self) -> Option<&str> {
        self.streams.iter().find_map(|stream| stream.failed.as_deref())
    }

    /// Gives all that were decided before a time, nanoseconds since 1970 UTC, and were not given yet.
    pub fn before(&mut self, decided_at_ns: u64, mut take: impl FnMut(&DecidedPayment)) {
        loop {
            let next = |stream: &mut Stream| stream.next().map(|payment| payment.decided_at_ns);
            let earliest = self
                .streams
                .iter_mut()
                .filter_map(|stream| Some((next(stream)?, stream)))
                .filter(|(at_ns, _)| *at_ns < decided_at_ns)
                .min_by_key(|(at_ns, _)| *at_ns);
            let Some(payment) = earliest.and_then(|(_, stream)| stream.chunk.next()) else {
                return;
            };
            take(&payment);
        }
    }
}

fn read(
    log: &LogReader,
    stream: u16,
    tail: catraca_core::log::Tail,
    chunks: &SyncSender<Result<Vec<DecidedPayment>, String>>,
) {
    let mut chunk = Vec::with_capacity(CHUNK);
    let read = log.blocks(stream, tail, |block| {
        for (head, _) in block.records() {
            chunk.extend(payment(stream, head));
            if chunk.len() == CHUNK
                && chunks
                    .send(Ok(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK))))
                    .is_err()
            {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    // Nobody may want it any more.
    let _ = chunks.send(Ok(chunk));
    let failed = match read {
        Ok(read) => match read.end {
            End::Damaged(damage) => Some(format!("stream {stream} is damaged: {damage}")),
            _ => None,
        },
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = failed {
        let _ = chunks.send(Err(why));
    }
}

/// A recorded decision, as windows count it; `None` of any other record, and of one that no node writes.
fn payment(stream: u16, head: &RecordHead) -> Option<DecidedPayment> {
    let (payer, payee) = recorded_parties(head)?;
    let verdict = Verdict::from_wire(head.verdict)?;
    let is_decision = head.kind == RecordKind::Decision.to_wire();
    (is_decision && head.transaction.amount_centavos.to_native() > 0).then(|| DecidedPayment {
        stream,
        lsn: head.lsn.to_native(),
        payer: payer.document,
        payee: payee.document,
        transaction: head.transaction,
        decided_at_ns: head.decided_at_ns.to_native(),
        verdict,
    })
}
