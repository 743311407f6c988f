//! Look-ups in the log's files, on a thread of their own: one at a time, which answers all that wait
//! when it begins. Between them the thread reads the log behind the cores and keeps its indexes.
//!
//! Reading must take nothing from decisions: the thread runs on the processors that the data cores
//! leave, behind everything else there, and rests between two slices.

use crate::descriptors::Seldom;
use crate::log_files::LogError;
use crate::log_files::dedupe_file::DedupeFiles;
use crate::log_files::lookup::{Found, MAX_FOUND, OwnLog, Query, StoredRecord};
use crate::log_files::search::LogIndex;
use crate::log_files::trail::{TrailPage, TrailQuery, TrailReading};
use crate::replication::Replication;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How far behind other threads on its processor this one is: +10 of the 19 that there are leaves
/// it a tenth of a busy processor.
const NICENESS: i32 = 10;

/// Rest after a slice of work when there is more to do, as a multiple of the time that it took: a
/// quarter of a processor at most.
const REST: u32 = 3;
/// How often it is looked whether the log has grown, and how long the indexes are left alone after
/// the log could not be read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two looks whether a promotion is over; it takes milliseconds.
const PROMOTION_PAUSE: Duration = Duration::from_millis(10);

/// A found record, or why the log could not be read.
pub(super) type Answer = Result<Option<StoredRecord>, Arc<LogError>>;

/// All decisions on a query with their labels, or why the log could not be read.
pub(super) type AllAnswer = Result<Found, Arc<LogError>>;

/// A piece of the audit trail, or why the log could not be read.
pub(super) type TrailAnswer = Result<TrailPage, Arc<LogError>>;

enum Asked {
    /// For the newest decision.
    Newest(Query, oneshot::Sender<Answer>),
    /// For all of them, with their labels.
    All(Query, oneshot::Sender<AllAnswer>),
    /// For a piece of the audit trail.
    Trail(TrailQuery, oneshot::Sender<TrailAnswer>),
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Handle(Sender<Asked>);

impl Handle {
    /// The newest decision that fits. At most as many wait as the shards let through.
    pub async fn find(&self, query: Query) -> Option<Answer> {
        let (reply, answered) = oneshot::channel();
        self.0.send(Asked::Newest(query, reply)).ok()?;
        answered.await.ok()
    }

    /// A piece of the audit trail.
    pub async fn trail(&self, query: TrailQuery) -> Option<TrailAnswer> {
        let (reply, answered) = oneshot::channel();
        self.0.send(Asked::Trail(query, reply)).ok()?;
        answered.await.ok()
    }

    /// All decisions that fit, at most [`MAX_FOUND`], and their labels.
    pub async fn find_all(&self, query: Query) -> Option<AllAnswer> {
        let (reply, answered) = oneshot::channel();
        self.0.send(Asked::All(query, reply)).ok()?;
        answered.await.ok()
    }
}

/// Starts the thread, which inherits the processors of the calling one. It keeps dedupe files for
/// tables of so many entries, one for each shard.
pub(super) fn start(
    log: OwnLog,
    shards: u16,
    dedupe_entries: u64,
    replication: Arc<Replication>,
) -> Handle {
    let (sender, asked) = channel();
    std::thread::Builder::new()
        .name("look-ups".to_owned())
        .spawn(move || {
            // Of this thread alone. Where it is not allowed the thread is as urgent as others, and
            // everything works.
            let _ = rustix::process::nice(NICENESS);
            let dedupe = DedupeFiles::new(log.clone(), shards, dedupe_entries);
            run(LogIndex::new(log).keeping(dedupe), &replication, &asked);
        })
        .expect("the process could start its other threads a moment ago");
    Handle(sender)
}

fn run(mut index: LogIndex, replication: &Replication, asked: &Receiver<Asked>) {
    let failed = Seldom::default();
    let tell = |error: &LogError| {
        if let Some(readings) = failed.count() {
            tracing::error!(%error, readings, "look-ups failed");
        }
    };
    let mut rest = Duration::ZERO;
    // Pieces of the trail that are asked for; the first is being read, a slice whenever nobody looks something up.
    let mut pieces: VecDeque<(TrailReading, oneshot::Sender<TrailAnswer>)> = VecDeque::new();
    loop {
        if let Some((mut reading, reply)) = pieces.pop_front() {
            match index.trail(&mut reading) {
                Ok(None) => pieces.push_front((reading, reply)),
                // Who asked may be gone.
                Ok(Some(page)) => drop(reply.send(Ok(page))),
                Err(error) => {
                    tell(&error);
                    drop(reply.send(Err(Arc::new(error))));
                }
            }
        }
        let patience = if pieces.is_empty() { rest } else { Duration::ZERO };
        let first = match asked.recv_timeout(patience) {
            Ok(first) => first,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) if !pieces.is_empty() => continue,
            Err(RecvTimeoutError::Timeout) => {
                let began = Instant::now();
                let work = replication.durable_ends().map(|ends| index.work(&ends));
                rest = match work {
                    Some(Ok(true)) => began.elapsed() * REST,
                    Some(Ok(false)) | None => LOOK_EVERY,
                    Some(Err(error)) => {
                        tell(&error);
                        LOOK_EVERY
                    }
                };
                continue;
            }
        };
        let mut batch = vec![first];
        batch.extend(asked.try_iter());
        let newest = |asked: &Asked| match asked {
            Asked::Newest(query, _) => Some(*query),
            Asked::All(..) | Asked::Trail(..) => None,
        };
        let queries: Vec<Query> = batch.iter().filter_map(newest).collect();
        let ends = loop {
            match replication.durable_ends() {
                Some(ends) => break ends,
                // What was followed is being taken over: nobody may be told that it is not there.
                None => std::thread::sleep(PROMOTION_PAUSE),
            }
        };
        let found = index.find_newest(&ends, &queries).map_err(Arc::new);
        if let Err(error) = &found {
            tell(error);
        }
        let mut found = found.map(Vec::into_iter);
        for asked in batch {
            // Who asked may be gone.
            match asked {
                Asked::Newest(_, reply) => {
                    let answer = match &mut found {
                        Ok(records) => Ok(records.next().flatten()),
                        Err(error) => Err(Arc::clone(error)),
                    };
                    let _ = reply.send(answer);
                }
                Asked::All(query, reply) => {
                    let all = index.find_all(&ends, &query, MAX_FOUND).map_err(Arc::new);
                    if let Err(error) = &all {
                        tell(error);
                    }
                    let _ = reply.send(all);
                }
                Asked::Trail(query, reply) => pieces.push_back((TrailReading::new(query), reply)),
            }
        }
    }
}
