//! What the machine must offer, checked before anything else, so that a lack is one sentence
//! instead of a panic somewhere below.

use crate::available_memory;
use crate::fatal::{Failure, Status};
use catraca_core::limits::{MAX_CALLS, MAX_HTTP_CONNECTIONS};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Lockable memory that each executor needs for its rings, bytes.
const LOCKABLE_PER_CORE: u64 = 512 * 1024;
/// Descriptors of each data core: its rings and events, its sockets to listen with, its segment,
/// and the files that are read beside it.
const DESCRIPTORS_PER_CORE: u64 = 24;
/// Descriptors of everything else but connections: the control thread, lists, look-ups.
const OTHER_DESCRIPTORS: u64 = 64;
/// Descriptors of a connection between nodes: it is read by one handle and written by another.
const DESCRIPTORS_PER_CALL: u64 = 2;

/// Checks io_uring, lockable memory, processors, descriptors, and that there is memory for the dedupe
/// tables once they are full, `tables_len` bytes of it: it is taken as they fill.
///
/// # Errors
/// One sentence that names the lack and the remedy, with [`Status::Environment`].
pub fn check(cpus: &[usize], connections: usize, tables_len: u64) -> Result<(), Failure> {
    let lack = |message: String| Err(Failure::new(Status::Environment, message));
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let online =
        glommio::CpuSet::online().map(|set| set.into_iter().map(|c| c.cpu).collect::<Vec<_>>());
    if let Ok(online) = online
        && let Some(missing) = cpus.iter().find(|cpu| !online.contains(cpu))
    {
        return lack(format!(
            "processor {missing} is not online (this machine has {available}): change --cores or --shards"
        ));
    }
    if let Err(error) = io_uring() {
        return lack(format!(
            "the kernel refuses io_uring ({error}): catraca needs Linux 5.8 or newer, /proc/sys/kernel/io_uring_disabled at 0, and a container \
             profile that allows io_uring_setup (Docker's default does not)"
        ));
    }
    let lockable = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
    let needed = LOCKABLE_PER_CORE;
    if lockable < needed {
        return lack(format!(
            "only {} KiB of memory may be locked, {} KiB are needed: raise it with `ulimit -l` or LimitMEMLOCK= in the unit",
            lockable / 1024,
            needed / 1024
        ));
    }
    if let Some(available) = available_memory::len().filter(|&available| available < tables_len) {
        return lack(format!(
            "the dedupe tables grow to {} MiB, and only {} MiB of memory are available: lower dedupe_entries, or give the machine (or its \
             control group) more",
            tables_len >> 20,
            available >> 20
        ));
    }
    descriptors(descriptors_needed(cpus.len(), connections))
}

/// So many that no port has to go without, whatever the others are asked to hold.
fn descriptors_needed(cores: usize, connections: usize) -> u64 {
    let calls = MAX_CALLS as u64 * DESCRIPTORS_PER_CALL;
    let own = cores as u64 * DESCRIPTORS_PER_CORE + OTHER_DESCRIPTORS;
    connections as u64 + calls + MAX_HTTP_CONNECTIONS as u64 + own
}

/// Raises the soft limit of descriptors to what is needed.
fn descriptors(needed: u64) -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        let message = format!(
            "only {} descriptors may be opened, {needed} are needed: raise `ulimit -Hn` (LimitNOFILE= in the unit) or lower max_connections",
            limit.maximum.unwrap_or(0)
        );
        return Err(Failure::new(Status::Environment, message));
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).map_err(|error| {
        Failure::new(
            Status::Environment,
            format!("the limit of descriptors can't be raised to {needed}: {error}"),
        )
    })
}

/// Asks the kernel for a ring, and gives it back.
fn io_uring() -> Result<(), std::io::Error> {
    /// Size of `struct io_uring_params`, bytes (linux/io_uring.h).
    const PARAMS_LEN: usize = 120;
    let mut params = [0u64; PARAMS_LEN / 8];
    // SAFETY: io_uring_setup reads and writes one `struct io_uring_params`, for which the zeroed,
    // 8-byte aligned array has the size.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2u32, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd as i32) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_say_how_many_descriptors_are_needed() {
        let default = crate::config::Config::default().max_connections;
        assert_eq!(descriptors_needed(1, default), 10_728);
        assert_eq!(descriptors_needed(0, 0), 704);
        assert_eq!(DESCRIPTORS_PER_CORE, 24);
        let sample = include_str!("../../../../scripts/deploy/catraca.toml");
        assert!(sample.contains("must be 704 above it, and 24 more for each shard"));
        for page in
            [include_str!("../../../CONFIGURATION.md"), include_str!("../../../OPERATING.md")]
        {
            assert!(page.contains("10,728 with one shard"));
        }
    }
}
