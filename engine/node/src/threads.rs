//! Where threads run, and how urgently.

/// The lowest real-time priority: above every ordinary thread, below whatever the operator made
/// more urgent.
const PRIORITY: i32 = 1;

/// Lets the calling thread run as soon as its disk is ready, ahead of ordinary threads on the same
/// processor. It sleeps whenever it waits, so it takes nobody's time. Without the right to do so
/// (`CAP_SYS_NICE`, `LimitRTPRIO=1`) everything works, with up to a scheduler tick (4 ms) more
/// latency where processors are shared.
pub fn prefer(shard: u16) {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the call reads the structure, which lives until it returns; 0 names the calling
    // thread.
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if outcome != 0 {
        let error = std::io::Error::last_os_error();
        tracing::info!(shard, %error, "the log's thread runs without real-time priority; give the process CAP_SYS_NICE for steadier latency");
    }
}

/// Keeps the calling thread on these processors; on all of them if the list is empty.
pub fn run_on(cpus: &[usize]) {
    if cpus.is_empty() {
        return;
    }
    let mut set = rustix::thread::CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(%error, ?cpus, "a thread could not be kept off the data cores");
    }
}
