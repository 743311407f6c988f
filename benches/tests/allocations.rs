//! Once warm, deciding allocates nothing: counted, not measured.

use catraca_benches::{
    Frames, Machine, Setup, list, pix, rules, rules_with_validator, rules_with_windows,
};
use catraca_core::policy::Policy;
use catraca_core::policy::validators::AnswerState;
use catraca_core::shard::dedupe;
use catraca_core::shard::messages::ToShard;
use catraca_core::shard::parked::Came;
use catraca_wire::extension::{AnswerSource, NoAnswer};
use catraca_wire::frame::{FixedFrame, SubmitFrame, VerdictFrame};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

/// The system's allocator, counted.
struct Counting;

thread_local! {
    /// Of this thread: the test's harness has one of its own, which says so when a test takes a minute. Without
    /// a destructor or a late beginning, so that the allocator may use it at any time.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of the
// caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from the system's allocator, with this layout.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_shard_allocates_nothing_for_a_decision() {
    let policies = [Policy::blacklist_only().into(), pix(), rules(256), rules_with_windows(33)];
    for policy in policies {
        allocates_nothing(policy);
    }
}

fn allocates_nothing(policy: Arc<Policy>) {
    let entries = 10_000;
    let setup = Setup {
        list: list(entries),
        dedupe_entries: dedupe::MIN_ENTRIES,
        cluster_id: [1; 16],
        policy,
    };
    let (mut machine, mut frames) = (Machine::new(&setup), Frames::new(entries));
    let mut bytes = vec![0; 512 * SubmitFrame::LEN];
    let mut round = |machine: &mut Machine, batches: usize, count: usize| {
        let mut allocations = 0;
        for _ in 0..batches {
            machine.pass(1_000_000);
            frames.fill(&mut bytes, machine.wall_ns());
            let before = ALLOCATIONS.get();
            for piece in bytes.chunks(count * SubmitFrame::LEN) {
                assert_eq!(machine.decide(piece).len(), count * VerdictFrame::LEN);
            }
            // Half a frame now, the rest later; and all of it again: duplicates.
            let cut = 100;
            assert!(machine.decide(&bytes[..cut]).is_empty());
            assert_eq!(machine.decide(&bytes[cut..]).len(), 512 * VerdictFrame::LEN);
            allocations += ALLOCATIONS.get() - before;
        }
        allocations
    };
    // Until the dedupe table forgets, and every buffer has the size that it needs.
    round(&mut machine, 300, 512);
    round(&mut machine, 2, 1);
    assert_eq!(round(&mut machine, 100, 512), 0, "in batches of 512");
    assert_eq!(round(&mut machine, 10, 1), 0, "one by one");
}

#[test]
fn a_warm_shard_allocates_nothing_for_a_payment_that_waits_for_a_validator() {
    let entries = 10_000;
    let setup = Setup {
        list: list(entries),
        dedupe_entries: dedupe::MIN_ENTRIES,
        cluster_id: [1; 16],
        policy: rules_with_validator(33, "tx.amount > reais(50)"),
    };
    let (mut machine, mut frames) = (Machine::new(&setup), Frames::new(entries));
    let mut bytes = vec![0; 512 * SubmitFrame::LEN];
    let mut asks = Vec::new();
    let came = Came {
        state: AnswerState::Fresh,
        source: AnswerSource::Asked,
        ..Came::nothing(NoAnswer::Answered, 1_000)
    };
    let mut round = |machine: &mut Machine, batches: usize| {
        let (mut allocations, mut waited) = (0, 0);
        for batch in 0..batches {
            machine.pass(1_000_000);
            frames.fill(&mut bytes, machine.wall_ns());
            let before = ALLOCATIONS.get();
            // Twice: the second joins the first. Those whose answer is in the core's cache are decided.
            let mut decided = machine.decide(&bytes).len() + machine.decide(&bytes).len();
            machine.take_asks(&mut asks);
            if batch % 2 == 0 {
                let good_until_ns = machine.mono_ns() + 3_000_000;
                machine.take(asks.iter().map(|ask| ToShard::Cache {
                    policy_version: ask.policy_version,
                    validator: ask.validator,
                    key: ask.key,
                    answer: 0,
                    given_ns: 0,
                    good_until_ns,
                }));
            }
            waited += asks.len();
            let answered = asks.drain(..).map(|ask| ToShard::Answered {
                payment: ask.payment.expect("a payment waits"),
                validator: ask.validator,
                came,
            });
            decided += machine.take(answered).len();
            allocations += ALLOCATIONS.get() - before;
            assert_eq!(decided, 2 * 512 * VerdictFrame::LEN);
        }
        (allocations, waited)
    };
    round(&mut machine, 300);
    let (allocations, waited) = round(&mut machine, 100);
    assert!(waited > 25_000, "most payments wait: {waited}");
    assert_eq!(allocations, 0);
}
