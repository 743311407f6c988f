//! The upkeep of the log, on a thread of its own: checkpoints are made, full segments packed, and the
//! oldest cut off. It runs on the processors that the data cores leave, behind everything else there.

use super::checkpoints::Checkpoints;
use super::packing::{Packing, PackingFigures};
use super::retention::{Retention, RetentionFigures, RetentionSettings};
use super::windows_checkpoints::WindowsCheckpoints;
use crate::descriptors::Seldom;
use crate::log_files::index_file::IndexFiles;
use crate::log_files::lookup::OwnLog;
use crate::log_files::{LogError, removal};
use crate::replication::Replication;
use crate::wall_clock::wall_ns;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How far behind other threads on its processor this one is, also behind look-ups.
const NICENESS: i32 = 15;
/// How often it is looked whether there is something to do, and how long it rests after the disk
/// refused something.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct UpkeepSettings {
    /// Full segments are packed.
    pub pack: bool,
    /// How long the log is kept.
    pub retention: RetentionSettings,
}

/// What `/metrics` shows of it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub packing: PackingFigures,
    pub retention: RetentionFigures,
}

/// Held for as long as the thread is to run.
pub(super) struct Handle {
    _running: Sender<()>,
    pub figures: Arc<Figures>,
}

/// Starts the thread, which inherits the processors of the calling one.
pub(super) fn start(
    log: OwnLog,
    replication: Arc<Replication>,
    settings: UpkeepSettings,
) -> Handle {
    let (running, stopped) = channel();
    let figures = Arc::new(Figures::default());
    let handle = Handle { _running: running, figures: Arc::clone(&figures) };
    std::thread::Builder::new()
        .name("upkeep".to_owned())
        .spawn(move || {
            // Of this thread alone. Where it is not allowed the thread is as urgent as others, and
            // everything works.
            let _ = rustix::process::nice(NICENESS);
            run(&IndexFiles::new(log), &replication, settings, &figures, &stopped);
        })
        .expect("the process could start its other threads a moment ago");
    handle
}

fn run(
    files: &IndexFiles,
    replication: &Replication,
    settings: UpkeepSettings,
    figures: &Figures,
    stopped: &Receiver<()>,
) {
    let failed = Seldom::default();
    let mut packing = Packing::new();
    let mut checkpoints = Checkpoints::default();
    let mut windows = WindowsCheckpoints::new(replication.setup().shards);
    let mut retention = Retention::new(settings.retention);
    let mut interrupted = true;
    let mut rest = LOOK_EVERY;
    loop {
        match stopped.recv_timeout(rest) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        // In the middle of a promotion nobody knows.
        let Some(ends) = replication.settled_ends() else {
            rest = LOOK_EVERY;
            continue;
        };
        let mut outcomes = Vec::new();
        if interrupted {
            // Nobody reads what lies before the beginning of a stream: it needs no turn.
            let streams = 0..ends.len() as u16;
            let finished: Result<Vec<u64>, LogError> =
                streams.map(|stream| removal::finish(&files.log.data_dir, stream)).collect();
            interrupted = finished.is_err();
            outcomes.push(finished.map(|_| false));
        }
        // Each whatever becomes of the others: an archive that is full must not end the packing.
        outcomes.push(checkpoints.work(files, &ends));
        outcomes.push(windows.work(files, &ends));
        if retention.is_wanted() {
            let figures = &figures.retention;
            outcomes.push(retention.work(files, replication, &ends, wall_ns(), figures));
        }
        if settings.pack {
            outcomes.push(packing.work(files, replication, &ends, &figures.packing));
        }
        let failures: Vec<&LogError> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
        if let [error, ..] = failures[..]
            && let Some(attempts) = failed.count()
        {
            tracing::error!(%error, attempts, "the log's upkeep failed");
        }
        let more = failures.is_empty() && outcomes.iter().any(|o| matches!(o, Ok(true)));
        rest = if more { Duration::ZERO } else { LOOK_EVERY };
    }
}
