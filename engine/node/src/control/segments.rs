//! Preparing segments ahead of use: zero-filling takes the disk's time, so a thread of its own does
//! it. How many, and whose next, is [`Needs`]'s decision.

use super::Control;
use crate::descriptors::Seldom;
use crate::log_files::LogError;
use crate::log_files::segment::{self, NewSegment};
use crate::wall_clock::wall_ns;
use catraca_core::log::ahead::{LOOK_EVERY, Needs};
use catraca_core::shard::messages::ToShard;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Pause after a segment could not be made: someone has to free space.
const RETRY: Duration = Duration::from_millis(500);

/// The way to the preparing thread.
pub(super) struct Handle(Sender<(u16, u32)>);

impl Handle {
    /// A shard has moved on to this segment. At most one message a segment, so the queue is bounded
    /// by the disk.
    pub fn taken(&self, shard: u16, segment: u32) {
        let _ = self.0.send((shard, segment));
    }
}

struct Preparer {
    channels: Arc<crate::channels::ShardChannels>,
    data_dir: std::path::PathBuf,
    cluster_id: [u8; 16],
    segment_len: u64,
    needs: Needs,
    looked: Instant,
}

pub(super) fn start(
    control: &Rc<Control>,
    segment_len: u64,
    ahead: u32,
    streams: &[(u32, u32)],
) -> Handle {
    let (sender, receiver) = channel();
    let mut preparer = Preparer {
        channels: Arc::clone(&control.channels),
        data_dir: control.data_dir.path().to_owned(),
        cluster_id: control.data_dir.cluster_id,
        segment_len,
        needs: Needs::new(streams, segment_len, ahead),
        looked: Instant::now(),
    };
    std::thread::Builder::new()
        .name("segments".to_owned())
        .spawn(move || preparer.run(&receiver))
        .expect("the process could start its other threads a moment ago");
    Handle(sender)
}

impl Preparer {
    fn run(&mut self, taken: &Receiver<(u16, u32)>) {
        let failed = Seldom::default();
        loop {
            self.look(taken);
            if let Some(shard) = self.needs.most_wanting() {
                if let Err(error) = self.prepare(shard, taken) {
                    if let Some(attempts) = failed.count() {
                        tracing::error!(
                            %error,
                            attempts,
                            "a log segment can't be prepared; transactions are refused once the prepared ones are full"
                        );
                    }
                    std::thread::sleep(RETRY);
                }
                continue;
            }
            match taken.recv_timeout(LOOK_EVERY) {
                Ok((shard, segment)) => self.needs.in_use(usize::from(shard), segment),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Learns which segments are in use, and measures how fast each log grows.
    fn look(&mut self, taken: &Receiver<(u16, u32)>) {
        while let Ok((shard, segment)) = taken.try_recv() {
            self.needs.in_use(usize::from(shard), segment);
        }
        let since = self.looked.elapsed();
        if since < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        for (shard, counters) in self.channels.counters.iter().enumerate() {
            self.needs.look(shard, counters.read().log_bytes, since);
        }
    }

    fn prepare(&mut self, shard: usize, taken: &Receiver<(u16, u32)>) -> Result<(), LogError> {
        let new = NewSegment {
            cluster_id: self.cluster_id,
            shard: shard as u16,
            index: self.needs.next(shard),
            segment_len: self.segment_len,
            created_at_ns: wall_ns(),
        };
        let pieces = self.segment_len.div_ceil(segment::FILL_LEN as u64) as u32;
        let data_dir = self.data_dir.clone();
        let mut took = Duration::ZERO;
        segment::create_paced(&data_dir, &new, |piece| {
            took += piece;
            self.look(taken);
            std::thread::sleep(pause(piece, self.needs.time_for(shard) / pieces));
        })?;
        // Without the pauses: they come from what is needed.
        let ready = self.needs.made(shard, took);
        self.channels.to_shard[shard].put(ToShard::SegmentsReady(ready));
        Ok(())
    }
}

/// How long the filling rests after a piece that took so long, so that the log's own writes find the
/// disk free: three times as long as the piece took, or as the time that there is for each allows.
fn pause(took: Duration, piece_time: Duration) -> Duration {
    (took * 3).min(piece_time.saturating_sub(took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filling_rests_as_long_as_there_is_time() {
        let us = Duration::from_micros;
        assert_eq!(pause(us(100), us(10_000)), us(300), "a quarter of the disk's time");
        assert_eq!(pause(us(100), us(150)), us(50));
        assert_eq!(pause(us(100), us(80)), Duration::ZERO, "the log is faster");
        assert_eq!(pause(us(100), Duration::ZERO), Duration::ZERO);
    }
}
