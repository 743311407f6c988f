//! Preparing segments ahead of use: zero-filling takes the disk's time, so a thread of its own does it.

use super::Control;
use crate::log::LogError;
use crate::log::segment::{self, NewSegment};
use crate::shard::messages::ToShard;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

/// Pause after a segment could not be made: someone has to free space.
const RETRY: Duration = Duration::from_millis(500);

/// The way to the preparing thread.
pub(super) struct Handle(Sender<(u16, u32)>);

impl Handle {
    /// A shard has moved on to this segment. At most one message a segment, so the queue is bounded by the disk.
    pub fn taken(&self, shard: u16, segment: u32) {
        let _ = self.0.send((shard, segment));
    }
}

struct Preparer {
    links: Arc<crate::driver::Links>,
    data_dir: std::path::PathBuf,
    cluster_id: [u8; 16],
    segment_len: u64,
    ahead: u32,
    /// By shard: segments that exist, and the one in use.
    ready: Vec<u32>,
    in_use: Vec<u32>,
}

pub(super) fn start(control: &Rc<Control>, segment_len: u64, ahead: u32, ready: Vec<u32>) -> Handle {
    let (sender, receiver) = channel();
    let mut preparer = Preparer {
        links: Arc::clone(&control.links),
        data_dir: control.data_dir.path().to_owned(),
        cluster_id: control.data_dir.cluster_id,
        segment_len,
        ahead,
        in_use: ready.iter().map(|count| count.saturating_sub(1)).collect(),
        ready,
    };
    std::thread::Builder::new()
        .name("segments".to_owned())
        .spawn(move || preparer.run(&receiver))
        .expect("the process could start its other threads a moment ago");
    Handle(sender)
}

impl Preparer {
    fn run(&mut self, taken: &Receiver<(u16, u32)>) {
        loop {
            while let Some(shard) = self.most_wanting() {
                if let Err(error) = self.prepare(shard) {
                    tracing::error!(%error, "a log segment can't be prepared; transactions are refused once the prepared ones are full");
                    std::thread::sleep(RETRY);
                }
                while let Ok(news) = taken.try_recv() {
                    self.note(news);
                }
            }
            match taken.recv() {
                Ok(news) => self.note(news),
                Err(_) => return,
            }
        }
    }

    fn note(&mut self, (shard, segment): (u16, u32)) {
        self.in_use[usize::from(shard)] = segment;
    }

    /// The shard with the fewest segments left, if it has fewer than it should.
    fn most_wanting(&self) -> Option<usize> {
        let left = |shard: usize| self.ready[shard] - 1 - self.in_use[shard].min(self.ready[shard] - 1);
        (0..self.ready.len()).filter(|&shard| left(shard) < self.ahead).min_by_key(|&shard| left(shard))
    }

    fn prepare(&mut self, shard: usize) -> Result<(), LogError> {
        let created_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let new = NewSegment {
            cluster_id: self.cluster_id,
            shard: shard as u16,
            index: self.ready[shard],
            segment_len: self.segment_len,
            created_at_ns: created_at.as_nanos() as u64,
        };
        segment::create(&self.data_dir, &new)?;
        self.ready[shard] += 1;
        let mut message = ToShard::SegmentsReady(self.ready[shard]);
        while let Err(back) = self.links.to_shard[shard].push(message) {
            message = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.links.to_shard[shard].wake();
        Ok(())
    }
}
