//! A log whose segments run out, on a disk that is busy with other things.
//!
//! `CATRACA_SEGMENT_ROUNDS` is how often each load is put on; `scripts/segments-test.sh` does more.

use catraca_core::limits::MAX_PENDING;
use catraca_tests::binary;
use catraca_tests::load::{Load, Seen};
use catraca_tests::logs::{assert_all_recorded, assert_same_answers, assert_verified, decisions};
use catraca_tests::node::{LOOK_AGAIN, Node, Setup, folder};
use catraca_tests::payments::payment;
use catraca_tests::sandbox;
use catraca_wire::frame::ErrorCode;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a load lasts: several small segments are used up in a tenth of it.
const LOAD: Duration = Duration::from_secs(3);
/// Longest wait for what is due.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a shard may refuse for want of a segment, or of time.
const SHED: [ErrorCode; 4] =
    [ErrorCode::Overloaded, ErrorCode::Unconfirmed, ErrorCode::Late, ErrorCode::Deadline];

fn rounds() -> u64 {
    std::env::var("CATRACA_SEGMENT_ROUNDS")
        .ok()
        .map_or(1, |text| text.parse().expect("CATRACA_SEGMENT_ROUNDS is a number"))
}

/// A processor and the disk kept busy by somebody else.
struct Neighbours {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Neighbours {
    /// A loop that does nothing, and direct writes of 4 MiB, one behind the other, on the disk of
    /// this folder.
    fn start(folder: &Path) -> Self {
        /// Bytes of each write.
        const WRITE_LEN: usize = 4 << 20;
        /// Writes until the file begins anew: it takes 64 MiB.
        const WRITES: u64 = 16;
        let stop = Arc::new(AtomicBool::new(false));
        let [spins, writes] = [Arc::clone(&stop), Arc::clone(&stop)];
        let path = folder.join("neighbour");
        let spin = std::thread::spawn(move || {
            while !spins.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let write = std::thread::spawn(move || {
            let mut options = OpenOptions::new();
            let file: File = options
                .write(true)
                .create(true)
                .truncate(true)
                .custom_flags(libc::O_DIRECT)
                .open(path)
                .expect("a file on a disk");
            let buffer = vec![1u8; WRITE_LEN + 4096];
            let aligned = buffer.as_ptr().align_offset(4096);
            for number in (0..WRITES).cycle() {
                if writes.load(Ordering::Relaxed) {
                    return;
                }
                file.write_all_at(&buffer[aligned..aligned + WRITE_LEN], number * WRITE_LEN as u64)
                    .expect("there is room");
            }
        });
        Self { stop, threads: vec![spin, write] }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a neighbour"));
    }
}

/// Processor time so far of a node's threads whose names begin so: an executor, and the thread for
/// what would block it.
fn thread_time(node: &Node, name: &str) -> Duration {
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.process.pid().as_raw_nonzero()))
        .expect("it runs");
    let stats =
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let of_name: Vec<u64> = stats
        .filter(|stat| stat.contains(&format!("({name}")))
        .map(|stat| {
            // Behind the name: utime and stime are the 12th and the 13th field.
            let rest = stat.rsplit(')').next().expect("a name");
            rest.split_whitespace()
                .skip(11)
                .take(2)
                .map(|ticks| ticks.parse::<u64>().expect("a number"))
                .sum()
        })
        .collect();
    assert!(!of_name.is_empty(), "no thread is {name}");
    Duration::from_millis(of_name.iter().sum::<u64>() * 1_000 / ticks_per_second)
}

fn assert_shed_only(seen: &[Seen]) {
    for seen in seen {
        assert!(seen.refused.keys().all(|code| SHED.contains(code)), "{:?}", seen.refused);
    }
}

/// What a client gave up, because it waited in a socket of a busy machine for longer than its
/// budget: nobody was told anything, and sent again it gets its answer.
fn assert_answered_again(node: &Node, seen: &[Seen]) {
    const OF_EACH: usize = 20;
    let mut client = node.client();
    for unanswered in seen.iter().flat_map(|seen| seen.unanswered.iter().take(OF_EACH)) {
        let began = Instant::now();
        while let Err(error) = client.decide(unanswered) {
            assert!(began.elapsed() < PATIENCE, "{error}\n{}", node.process.stderr());
            client = node.client();
        }
    }
}

#[test]
fn a_shard_waits_asleep_for_a_segment_and_goes_on_at_once() {
    /// How long it is watched while it waits.
    const WATCH: Duration = Duration::from_secs(1);
    let dir = folder();
    let node = Setup::new(dir.path()).set("segment_mib", 2).set("segments_ahead", 1).start();
    let held = sandbox::hold_thread(node.process.pid(), "segments");
    let load = Load::start(&node, "load", 1_000);
    // The segments that there are fill up, and what is accepted waits until its time is over.
    node.wait_until("out of segments", |node| node.metric("catraca_deadlines_missed_total") > 0.0);
    assert!(node.metric("catraca_pending") <= MAX_PENDING as f64);
    let seen = load.stop();
    let blocks = node.metric("catraca_log_blocks_total");
    let (began, before) = (Instant::now(), thread_time(&node, "shard-0"));
    std::thread::sleep(WATCH);
    let (watched, used) = (began.elapsed(), thread_time(&node, "shard-0") - before);
    assert_eq!(
        node.metric("catraca_log_blocks_total"),
        blocks,
        "there is no segment to write into"
    );
    assert!(node.metric("catraca_pending") > 0.0, "records wait for a segment");
    assert!(used < watched / 2, "the core is awake for {used:?} of {watched:?} while it waits");
    // It is there for others meanwhile.
    node.client().ping().expect("alive");
    drop(held);
    node.wait_until("everything that waited is written", |node| {
        node.metric("catraca_pending") == 0.0
    });
    node.client().decide(&payment("after", 1)).expect("decided");
    assert_shed_only(std::slice::from_ref(&seen));
    assert_answered_again(&node, std::slice::from_ref(&seen));
    assert_same_answers(&mut node.client(), &seen.answered);
    assert_all_recorded(&decisions(dir.path()), &seen.answered);
    node.stop();
    assert_verified(dir.path(), true);
}

/// Puts a load of so many connections on a node with these segments, beside neighbours.
fn load_beside_neighbours(segment_mib: u64, ahead: u64, connections: usize) {
    const IN_FLIGHT: usize = 1_000;
    for round in 0..rounds() {
        let dir = tempfile::Builder::new()
            .prefix("segments-")
            .tempdir_in(binary::scratch_dir())
            .expect("a folder on the disk");
        let data = dir.path().join("data");
        let neighbours = Neighbours::start(dir.path());
        let node =
            Setup::new(&data).set("segment_mib", segment_mib).set("segments_ahead", ahead).start();
        let loads: Vec<Load> = (0..connections)
            .map(|c| Load::start(&node, &format!("{round}-{c}"), IN_FLIGHT))
            .collect();
        let began = Instant::now();
        while began.elapsed() < LOAD {
            assert!(
                node.metric("catraca_pending") <= MAX_PENDING as f64,
                "more is pending than may be"
            );
            std::thread::sleep(LOOK_AGAIN);
        }
        let seen: Vec<Seen> = loads.into_iter().map(Load::stop).collect();
        // At once: a new one is decided although the neighbours go on.
        let began = Instant::now();
        while let Err(error) = node.client().decide(&payment(&format!("after-{round}"), 1)) {
            assert!(began.elapsed() < PATIENCE, "{error}\n{}", node.process.stderr());
        }
        neighbours.stop();
        assert_shed_only(&seen);
        assert_answered_again(&node, &seen);
        let answered: Vec<_> = seen.into_iter().flat_map(|seen| seen.answered).collect();
        let segments = std::fs::read_dir(data.join("log/shard-0000")).expect("the log").count();
        println!(
            "{segment_mib} MiB x {ahead}, {connections} x {IN_FLIGHT}: {} answered, {segments} segments",
            answered.len()
        );
        assert!(!answered.is_empty());
        assert_all_recorded(&decisions(&data), &answered);
        node.stop();
        assert_verified(&data, true);
    }
}

#[test]
fn the_smallest_segments_under_the_widest_load_hold() {
    load_beside_neighbours(2, 1, 32);
}

#[test]
fn small_segments_under_a_deep_load_hold() {
    load_beside_neighbours(4, 1, 4);
}

#[test]
fn the_default_segments_hold_on_a_busy_disk() {
    load_beside_neighbours(128, 2, 4);
}
