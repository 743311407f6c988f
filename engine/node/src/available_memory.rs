//! Memory that this process may take, and what is held to it before it is promised.

use catraca_core::policy::Policy;
use procfs::Current;

/// Why the windows of a policy may not be had on so many shards; `None` where they may. Those in force stay until then.
pub fn lacks_memory(policy: &Policy, shards: u16) -> Option<String> {
    let (needed, _) = policy.rules().windows.bytes(shards);
    let available = len().filter(|&available| available < needed)?;
    Some(format!(
        "the policy's windows grow to {} MiB, and only {} MiB of memory are available: lower keys in [windows]",
        needed >> 20,
        available >> 20
    ))
}

/// Memory that this process may take, bytes: what the machine has left, and what its control group
/// of version 2 may have. `None` where the system does not say.
pub fn len() -> Option<u64> {
    let machine = procfs::Meminfo::current().ok().and_then(|memory| memory.mem_available);
    match (machine, control_group_memory()) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// The bound of the process's control group, bytes. What the group uses is not taken off: much of
/// that is files, which give way.
fn control_group_memory() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let bound = std::fs::read_to_string(format!("/sys/fs/cgroup/{path}/memory.max")).ok()?;
    // Without a bound the file says `max`, which is no number.
    bound.trim().parse().ok()
}
