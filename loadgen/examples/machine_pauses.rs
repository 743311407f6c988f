//! How long the machine itself makes anybody wait: a thread on each processor sleeps a millisecond
//! at a time and notes how late it wakes; another writes 4 KiB durably now and then and notes how
//! long that takes. `scripts/soak.sh` runs it beside the load.
//!
//! ```text
//! machine_pauses FOLDER      until SIGTERM or SIGINT, then one line of JSON: the longest pause of each kind, milliseconds
//! ```

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::OpenOptions;
use std::io::Result;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long each thread sleeps at a time.
const NAP: Duration = Duration::from_millis(1);
/// Time between two writes: often enough to meet a pause of a quarter second, seldom enough not to
/// be the load.
const WRITE_EVERY: Duration = Duration::from_millis(20);
const BLOCK: usize = 4096;
/// Blocks of the probe's file, written in turn.
const BLOCKS: u64 = 256;
/// `O_DSYNC` of Linux on every architecture that it supports but two that nobody has: rustix gives
/// the number.
const O_DSYNC: i32 = rustix::fs::OFlags::DSYNC.bits() as i32;

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let allowed = sched_getaffinity(None)?;
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    let longest: Vec<AtomicU64> = processors.iter().map(|_| AtomicU64::new(0)).collect();
    let mut write_ns = 0;
    std::thread::scope(|scope| {
        for (&cpu, longest) in processors.iter().zip(&longest) {
            let stop = &stop;
            scope.spawn(move || {
                let mut only = CpuSet::new();
                only.set(cpu);
                let _ = sched_setaffinity(None, &only);
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    std::thread::sleep(NAP);
                    longest.fetch_max(
                        began.elapsed().saturating_sub(NAP).as_nanos() as u64,
                        Ordering::Relaxed,
                    );
                }
            });
        }
        let longest_write = longest_write(Path::new(&folder), &stop);
        stop.store(true, Ordering::Relaxed);
        longest_write.map(|ns| write_ns = ns)
    })?;
    let ms = |ns: u64| ns as f64 / 1e6;
    let wake: Vec<f64> = longest.iter().map(|ns| ms(ns.load(Ordering::Relaxed))).collect();
    println!("{}", serde_json::json!({ "wake_ms": wake, "durable_write_ms": ms(write_ns) }));
    Ok(())
}

fn longest_write(folder: &Path, stop: &AtomicBool) -> Result<u64> {
    let path = folder.join("machine-pauses");
    std::fs::write(&path, vec![0; BLOCK * BLOCKS as usize])?;
    let file = OpenOptions::new().write(true).custom_flags(O_DSYNC).open(&path)?;
    file.sync_all()?;
    let (mut longest_ns, mut turn) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        file.write_all_at(&[turn as u8; BLOCK], (turn % BLOCKS) * BLOCK as u64)?;
        longest_ns = longest_ns.max(began.elapsed().as_nanos() as u64);
        turn += 1;
        std::thread::sleep(WRITE_EVERY);
    }
    std::fs::remove_file(&path)?;
    Ok(longest_ns)
}
