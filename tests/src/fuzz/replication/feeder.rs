//! A primary's stream to its standby: only the next block goes out, and an acknowledgement counts
//! for what was sent.

use super::super::input::Input;
use super::STREAMS;
use catraca_core::replica::{FeedFault, Feeder};
use catraca_wire::block::{BLOCK_HEAD_LEN, BlockHead, receipt};

/// A program sends blocks and acknowledges anything.
pub fn run(input: &mut Input<'_>) {
    let genuine = &STREAMS[0];
    let start = input.below(genuine.blocks.len());
    let boundary = genuine.boundaries[start];
    let mut feeder = Feeder::new(boundary.next_lsn - 1, boundary.previous_chain);
    // How many blocks of the stream were sent, and how many of them are acknowledged; each with the
    // boundary behind it.
    let (mut sent, mut acknowledged) = (start, start);
    while !input.is_empty() {
        let how = input.byte();
        if how & 1 == 0 {
            let stream = if how & 2 == 0 { genuine } else { &STREAMS[input.below(STREAMS.len())] };
            let index = if how & 4 == 0 {
                sent.min(stream.blocks.len() - 1)
            } else {
                input.below(stream.blocks.len())
            };
            let bytes = &stream.blocks[index];
            let head: &BlockHead = bytemuck::from_bytes(&bytes[..BLOCK_HEAD_LEN]);
            let tail = &genuine.boundaries[sent];
            let comes_next = (head.first_lsn.to_native(), head.previous_chain)
                == (tail.next_lsn, tail.previous_chain);
            // From where they part both streams have a block that could come next; the genuine one
            // is fed.
            if comes_next && genuine.blocks.get(sent) != Some(bytes) {
                continue;
            }
            assert_eq!(feeder.sent(head).is_ok(), comes_next, "block {index} after {sent}");
            sent += usize::from(comes_next);
        } else {
            let index = input.below(genuine.boundaries.len());
            let end = &genuine.boundaries[index];
            let shift = if how & 2 == 0 { 0 } else { input.number() };
            let lsn = (end.next_lsn - 1).wrapping_add(shift);
            let right = receipt(&end.previous_chain);
            let told = if how & 4 == 0 { right } else { input.number() };
            let before = genuine.boundaries[acknowledged].next_lsn - 1;
            let under_way = acknowledged + 1..=sent;
            let place = under_way
                .into_iter()
                .find(|&place| genuine.boundaries[place].next_lsn == lsn.wrapping_add(1));
            match feeder.acknowledge(lsn, told) {
                Ok(durable) if lsn <= before => {
                    assert_eq!(durable, before, "an old one tells nothing new")
                }
                Ok(durable) => {
                    let place = place.expect("an acknowledgement of what was not sent counts");
                    assert_eq!(
                        (durable, told),
                        (lsn, receipt(&genuine.boundaries[place].previous_chain))
                    );
                    acknowledged = place;
                }
                Err(FeedFault::UnknownAck(_)) => assert!(lsn > before && place.is_none()),
                Err(FeedFault::OtherBlock(_)) => {
                    let place = place.expect("it was sent");
                    assert_ne!(told, receipt(&genuine.boundaries[place].previous_chain));
                }
                Err(fault) => panic!("{fault}"),
            }
        }
        let [held, last] = [acknowledged, sent].map(|place| &genuine.boundaries[place]);
        assert_eq!(
            (feeder.acknowledged(), feeder.next_lsn(), feeder.chain()),
            (held.next_lsn - 1, last.next_lsn, &last.previous_chain)
        );
        assert!(feeder.acknowledged() < feeder.next_lsn() && feeder.has_room());
    }
}
