//! What the run asks of the machine: its core, and enough descriptors.

use crate::options::{Core, LoadError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Descriptors beside the connections: standard streams, epoll, files written at the end.
const SPARE_DESCRIPTORS: u64 = 64;

/// Pins the calling thread; tells the core.
pub fn pin(core: Core) -> Result<Option<usize>, LoadError> {
    let allowed = sched_getaffinity(None).map_err(|e| {
        LoadError::Environment(format!("cannot ask which cores may be used: {e}; try --core none"))
    })?;
    let last = || (0..CpuSet::MAX_CPU).rev().find(|&number| allowed.is_set(number));
    let number = match core {
        Core::None => return Ok(None),
        Core::Last => last().ok_or_else(|| {
            LoadError::Environment("no core may be used; try --core none".to_owned())
        })?,
        Core::Number(number) if number < CpuSet::MAX_CPU && allowed.is_set(number) => number,
        Core::Number(number) => {
            let last = last().unwrap_or(0);
            return Err(LoadError::Options(format!(
                "--core is {number}: this process may use cores up to {last}"
            )));
        }
    };
    let mut only = CpuSet::new();
    only.set(number);
    sched_setaffinity(None, &only).map_err(|e| {
        LoadError::Environment(format!("cannot pin to core {number}: {e}; try --core none"))
    })?;
    Ok(Some(number))
}

/// Raises the soft limit of descriptors as far as the connections need and the hard limit allows.
pub fn allow_descriptors(connections: u32) -> Result<(), LoadError> {
    let needed = u64::from(connections) + SPARE_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < needed {
        return Err(LoadError::Environment(format!(
            "{connections} connections need {needed} descriptors and the hard limit is {most}: raise it (ulimit -Hn) or open fewer"
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum }).map_err(
        |e| {
            LoadError::Environment(format!(
                "cannot raise the limit of descriptors to {needed}: {e}"
            ))
        },
    )
}
