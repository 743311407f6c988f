//! What one node believes of another: the frames between them, the blocks that a standby takes, the
//! acknowledgements that a primary takes, and the words about the grant.

mod feeder;
mod follower;
mod frames;
mod session;

use super::input::Input;
use catraca_core::log::Tail;
use catraca_core::log::recovery::Recovery;
use catraca_testkit::log::{CLUSTER, KEY, TestLog};
use catraca_wire::block::{BlockIdentity, ChainKey};
use std::ops::ControlFlow;
use std::sync::LazyLock;

const SEGMENT_LEN: usize = 64 * 1024;
/// Where the fork parts from the genuine stream, blocks.
const SHARED: usize = 4;

/// A stream, block by block.
struct Stream {
    blocks: Vec<Vec<u8>>,
    /// Before the first block, and behind each; of streams that the follower may hold only.
    boundaries: Vec<Tail>,
}

/// The genuine stream, one that parts from it (written with the same key, as by a primary that was
/// never acknowledged), and those of another cluster, another shard and another key. The fork's
/// first block ends with the same record as the genuine one. Sizes from one record to many, over
/// several segments and epochs.
static STREAMS: LazyLock<[Stream; 5]> = LazyLock::new(|| {
    let genuine = BlockIdentity { shard: 0, epoch: 1, cluster_id: CLUSTER };
    let counts = [1, 30, 100, 15, 80, 60, 3, 90, 14, 50, 2, 40];
    let written = |identity: BlockIdentity, key: ChainKey, counts: &[usize], later: u32| {
        let mut log = TestLog::of(SEGMENT_LEN, identity);
        log.key = key;
        for (index, &count) in counts.iter().enumerate() {
            log.identity.epoch = if index < SHARED { 1 } else { later };
            log.plain(count);
        }
        Stream::of(&log)
    };
    [
        written(genuine, KEY, &counts, 3),
        written(genuine, KEY, &[&counts[..SHARED], &[80, 61, 33]].concat(), 2),
        written(BlockIdentity { cluster_id: [9; 16], ..genuine }, KEY, &counts, 3),
        written(BlockIdentity { shard: 1, ..genuine }, KEY, &counts, 3),
        written(genuine, [9; 32], &counts, 3),
    ]
});
/// The first ones: those that a standby of this cluster can hold.
const OWN: usize = 2;

impl Stream {
    fn of(log: &TestLog) -> Self {
        let blocks = log.blocks.iter().map(|block| log.bytes_of(block).to_vec()).collect();
        let mut boundaries = vec![Tail::START];
        let mut recovery = Recovery::new(Some(CLUSTER), 0, Some(&KEY));
        for (index, bytes) in log.segments.iter().enumerate() {
            let fed = recovery.feed(index as u32, bytes, &mut |block| {
                boundaries.push(Tail::after(block));
                ControlFlow::Continue(())
            });
            if fed.is_err() {
                break;
            }
        }
        Self { blocks, boundaries }
    }
}

/// The first byte picks what is fuzzed; the rest is its program.
pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => frames::run(&mut input),
        1 => follower::run(&mut input),
        2 => feeder::run(&mut input),
        _ => session::run(&mut input),
    }
}
