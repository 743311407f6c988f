//! Payments that other cores decided, and those that this one did: from and to the queues between them.

use super::core::Core;
use crate::block_file::DirectBlock;
use catraca_core::limits::DECISION_BATCH;
use catraca_core::shard::Shard;

/// Takes what siblings have decided so far: behind bytes or a message that came, and before the shard has them. Gives
/// whether there was anything.
#[inline]
pub(super) fn take(core: &Core, shard: &mut Shard<DirectBlock>) -> bool {
    if !shard.takes_broadcasts() {
        return false;
    }
    let mut is_any = false;
    for queue in &core.channels.broadcast[core.shard_index] {
        // The usual case is a look at memory that nobody writes.
        if queue.is_empty() {
            continue;
        }
        is_any = true;
        let mut taken = core.taken.borrow_mut();
        loop {
            taken.clear();
            taken.extend(std::iter::from_fn(|| queue.pop()).take(DECISION_BATCH));
            shard.siblings_decided(&taken);
            if taken.len() < DECISION_BATCH {
                break;
            }
        }
    }
    is_any
}

/// Puts what the shard has decided into its siblings' queues, as far as there is room.
#[inline]
pub(super) fn deliver(core: &Core, shard: &mut Shard<DirectBlock>) {
    if !shard.has_broadcasts() {
        return;
    }
    let siblings = core.channels.broadcast.iter().enumerate();
    for (to, queues) in siblings.filter(|(to, _)| *to != core.shard_index) {
        let queue = &queues[core.shard_index];
        while let Some(payment) = shard.next_broadcast(to as u16) {
            if queue.push(*payment).is_err() {
                break;
            }
            shard.broadcast_sent(to as u16);
        }
        // A sibling that works takes them by itself; only one that sleeps while they pile up is woken.
        if queue.is_half_full() {
            queue.wake();
        }
    }
}
