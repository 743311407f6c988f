//! A standby's stream: whatever the primary sends, only the genuine next block of the session's
//! epoch is written, each boundary that is asked for is one that is held, and what is said to be
//! durable is.

use super::super::input::{Input, spoil};
use super::{OWN, SEGMENT_LEN, STREAMS};
use catraca_core::log::Tail;
use catraca_core::replica::{Boundaries, FollowFault, Follower, Next, Taken};
use catraca_testkit::log::{CLUSTER, KEY};
use catraca_wire::block::{BLOCK_HEAD_LEN, BlockHead, MAX_BLOCK_LEN, receipt};

/// Questions after which a search over so few boundaries is over: there and back by powers of two.
const MAX_PROBES: usize = 16;

/// A follower, and what must be true of it.
struct Model {
    follower: Follower,
    /// The boundaries held, the start included.
    held: Vec<Tail>,
    epoch: u32,
    committed: u64,
    following: bool,
}

/// A program drives one follower through sessions.
pub fn run(input: &mut Input<'_>) {
    let stream = &STREAMS[input.below(OWN)];
    let blocks = input.below(stream.blocks.len() + 1);
    let mut model = Model::new(stream.boundaries[..=blocks].to_vec(), 0, 0);
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => model.honest_search(input),
            1 => model.lied_to(input),
            2 => model.spurious_match(input),
            _ => model.block(input),
        }
        model.check();
    }
}

impl Model {
    fn new(held: Vec<Tail>, epoch: u32, committed: u64) -> Self {
        let mut boundaries = Boundaries::default();
        held[1..].iter().for_each(|&boundary| boundaries.push(boundary));
        let follower = Follower::new(0, CLUSTER, KEY, SEGMENT_LEN as u64, boundaries);
        Self { follower, held, epoch, committed, following: true }
    }

    fn check(&self) {
        assert_eq!(Some(&self.follower.tail()), self.held.last());
        assert_eq!(self.follower.committed(), self.committed);
    }

    fn begin(&mut self, input: &mut Input<'_>) -> Next {
        self.epoch += u32::from(input.byte() % 3);
        self.following = false;
        self.follower.begin(self.epoch)
    }

    /// The boundary that a follower names.
    fn place_of(&self, lsn: u64, chain: [u8; 32]) -> usize {
        let is = |boundary: &Tail| boundary.next_lsn == lsn + 1 && boundary.previous_chain == chain;
        self.held.iter().position(is).expect("it names only what it holds")
    }

    /// A primary that has the beginning of a stream, and says so.
    fn honest_search(&mut self, input: &mut Input<'_>) {
        let stream = &STREAMS[input.below(OWN)];
        let theirs = &stream.boundaries[..=input.below(stream.blocks.len() + 1)];
        let tail = theirs.last().map_or(0, |last| last.next_lsn - 1);
        // Behind a boundary that is not shared there is none that is: each holds the chain value of
        // the one before.
        let shared = (0..self.held.len())
            .rev()
            .find(|&place| theirs.contains(&self.held[place]))
            .expect("the start is");
        let mut next = self.begin(input);
        for _ in 0..MAX_PROBES {
            match next {
                Next::Probe { lsn, chain } => {
                    let place = self.place_of(lsn, chain);
                    let matches = theirs.contains(&self.held[place]);
                    next = match self.follower.matched(matches, tail) {
                        Ok(next) => next,
                        Err(fault) => {
                            assert_eq!(
                                fault,
                                FollowFault::LostCommitted { committed: self.committed }
                            );
                            assert!(
                                self.held[shared].next_lsn <= self.committed,
                                "nothing of it is to be cut"
                            );
                            return;
                        }
                    };
                }
                Next::Follow { lsn, chain } => {
                    assert_eq!(
                        (self.place_of(lsn, chain), shared),
                        (self.held.len() - 1, self.held.len() - 1)
                    );
                    self.following = true;
                    return;
                }
                Next::Cut { to } => {
                    assert!(
                        shared + 1 < self.held.len() && to == self.held[shared],
                        "it cuts where they part"
                    );
                    return self.cut(to);
                }
            }
        }
        panic!("the search does not end");
    }

    /// A primary that answers anything: the search ends all the same, and never behind what it once
    /// called committed.
    fn lied_to(&mut self, input: &mut Input<'_>) {
        let mut next = self.begin(input);
        for _ in 0..MAX_PROBES {
            match next {
                Next::Probe { lsn, chain } => {
                    self.place_of(lsn, chain);
                    let answer = input.byte();
                    let tail =
                        if answer & 2 == 0 { input.number() } else { u64::MAX - u64::from(answer) };
                    match self.follower.matched(answer & 1 == 1, tail) {
                        Ok(then) => next = then,
                        Err(fault) => {
                            return assert_eq!(
                                fault,
                                FollowFault::LostCommitted { committed: self.committed }
                            );
                        }
                    }
                }
                Next::Follow { lsn, chain } => {
                    assert_eq!(self.place_of(lsn, chain), self.held.len() - 1);
                    self.following = true;
                    return;
                }
                Next::Cut { to } => return self.cut(to),
            }
        }
        panic!("the search does not end");
    }

    /// The node cuts, and starts anew with what is left.
    fn cut(&mut self, to: Tail) {
        let left =
            self.held.iter().position(|&boundary| boundary == to).expect("it cuts at a boundary")
                + 1;
        assert!(left < self.held.len() && to.next_lsn > self.committed);
        let block = &STREAMS[0].blocks[0];
        assert_eq!(
            self.follower.take(self.epoch, 0, block),
            Err(FollowFault::OutOfOrder),
            "nothing is taken meanwhile"
        );
        self.held.truncate(left);
        // What was called committed is known for the run of a process.
        *self = Self::new(std::mem::take(&mut self.held), 0, 0);
    }

    /// An answer that nobody asked for.
    fn spurious_match(&mut self, input: &mut Input<'_>) {
        if self.following {
            assert_eq!(
                self.follower.matched(input.byte() & 1 == 1, input.number()),
                Err(FollowFault::OutOfOrder)
            );
        }
    }

    /// A block: any of any stream, the next one more often than not, whole or spoilt, in any epoch.
    fn any_block(&self, held: usize, how: u8, input: &mut Input<'_>) -> (u32, Vec<u8>) {
        let stream = if how & 1 == 0 { input.below(OWN) } else { input.below(STREAMS.len()) };
        let blocks = &STREAMS[stream].blocks;
        let index =
            if how & 2 == 0 { (held - 1).min(blocks.len() - 1) } else { input.below(blocks.len()) };
        let mut bytes = blocks[index].clone();
        match how / 4 % 4 {
            0 => {
                let len = usize::from(input.byte());
                spoil(&mut bytes, &mut Input::new(input.piece(len)));
            }
            1 => forge(&mut bytes, input),
            _ => {}
        }
        let epoch = match how / 16 {
            0 => self.epoch.saturating_sub(1),
            1 => self.epoch + 1,
            _ => self.epoch,
        };
        (epoch, bytes)
    }

    /// One that comes while nothing is being written.
    fn block(&mut self, input: &mut Input<'_>) {
        let how = input.byte();
        let (epoch, bytes) = self.any_block(self.held.len(), how, input);
        let committed = if how & 128 == 0 { input.number() % 1_000 } else { 0 };
        let before = format!("{:?}", self.follower);
        match self.follower.take(epoch, committed, &bytes) {
            Ok(Taken::Write(placed)) => {
                assert!(self.following && epoch == self.epoch, "a block of another session");
                let next = genuine_next(self.held.last(), &bytes)
                    .expect("a block is written that does not come next, or that nobody sealed");
                let (segment, offset) = (placed.segment, placed.offset + placed.len as u64);
                assert_eq!((segment, offset, placed.len), (next.segment, next.offset, bytes.len()));
                assert_eq!(
                    self.follower.take(epoch, committed, &bytes),
                    Err(FollowFault::OutOfOrder),
                    "one at a time"
                );
                self.committed = self.committed.max(committed);
                self.write(next, bytes, input);
            }
            Ok(Taken::Known { lsn, receipt: told }) => {
                let is = |boundary: &&Tail| boundary.next_lsn == lsn + 1;
                let boundary =
                    self.held.iter().find(is).expect("only what is durable is acknowledged");
                assert_eq!(
                    told,
                    receipt(&boundary.previous_chain),
                    "with the receipt of what is held"
                );
            }
            Ok(Taken::Old) => assert!(genuine_next(self.held.last(), &bytes).is_none()),
            Err(fault) => {
                assert_eq!(
                    format!("{:?}", self.follower),
                    before,
                    "a fault changes nothing: {fault}"
                );
                assert_eq!(epoch < self.epoch, matches!(fault, FollowFault::Fenced(_)));
                let wanted = self.following
                    && epoch == self.epoch
                    && genuine_next(self.held.last(), &bytes).is_some();
                assert!(!wanted, "the next block is refused: {fault}");
            }
        }
    }

    /// What comes meanwhile joins the write, or leaves no trace; then all of it is durable, or
    /// none.
    fn write(&mut self, first: Tail, mut bytes: Vec<u8>, input: &mut Input<'_>) {
        let mut ends = vec![first];
        while input.byte() % 4 == 1 {
            let how = input.byte();
            let (epoch, block) = self.any_block(self.held.len() + ends.len(), how, input);
            let before = format!("{:?}", self.follower);
            let next = genuine_next(ends.last(), &block).filter(|next| {
                let last = ends.last().expect("the first");
                let lies_behind =
                    (next.segment, next.offset) == (last.segment, last.offset + block.len() as u64);
                epoch == self.epoch && lies_behind && bytes.len() + block.len() <= MAX_BLOCK_LEN
            });
            let joined = self.follower.join(epoch, 0, &block);
            assert_eq!(joined, next.map(|_| bytes.len() + block.len()));
            match next {
                Some(next) => {
                    ends.push(next);
                    bytes.extend_from_slice(&block);
                }
                None => assert_eq!(
                    format!("{:?}", self.follower),
                    before,
                    "what does not join changes nothing"
                ),
            }
        }
        if input.byte() % 8 == 1 {
            return self.follower.not_written();
        }
        let seen: Vec<Tail> =
            self.follower.blocks_of(&bytes).map(|block| Tail::after(&block)).collect();
        assert_eq!(seen, ends);
        let last = ends.last().expect("the first");
        assert_eq!(self.follower.written(), (last.next_lsn - 1, receipt(&last.previous_chain)));
        self.held.extend(ends);
    }
}

/// The boundary behind these bytes, if they are the block of a primary that comes next behind
/// `tail`.
fn genuine_next(tail: Option<&Tail>, bytes: &[u8]) -> Option<Tail> {
    let tail = tail.expect("the start");
    let of = |stream: &'static super::Stream| {
        let place = stream.boundaries[..stream.blocks.len()]
            .iter()
            .position(|boundary| boundary == tail)?;
        (stream.blocks[place] == bytes).then(|| stream.boundaries[place + 1])
    };
    STREAMS[..OWN].iter().find_map(of)
}

/// A head altered by somebody who makes its check sum right, and lacks the key.
fn forge(bytes: &mut [u8], input: &mut Input<'_>) {
    let len = usize::from(input.byte() % 16);
    let at = input.below(BLOCK_HEAD_LEN);
    for (to, from) in bytes[at..BLOCK_HEAD_LEN].iter_mut().zip(input.piece(len)) {
        *to ^= *from;
    }
    let head: &mut BlockHead = bytemuck::from_bytes_mut(&mut bytes[..BLOCK_HEAD_LEN]);
    head.header_crc = head.expected_header_crc().into();
}
