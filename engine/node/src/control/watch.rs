//! Watching: free disk space, and whether the cores still move.

use super::Control;
use crate::descriptors::Seldom;
use crate::fatal::{Failure, Status};
use catraca_core::limits::STUCK_AFTER;
use catraca_core::log::filling::{Filling, SAMPLE_EVERY};
use catraca_core::shard::messages::Admission;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often free space is looked at. At a core's full speed this is under 1 GiB of log, the
/// default reserve.
const DISK_EVERY: Duration = Duration::from_secs(1);
/// Free space that lasts for less at the present rate is told.
const FULL_SOON: Duration = Duration::from_secs(3 * 24 * 3600);
/// How often it is told again.
const TELL_EVERY: Duration = Duration::from_secs(6 * 3600);
/// How often the cores' ticks are looked at.
const CORES_EVERY: Duration = Duration::from_secs(1);

/// The filesystem of the data directory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DiskFigures {
    /// Its length, bytes.
    pub size_len: u64,
    /// Free bytes.
    pub free_len: u64,
    /// Time until only the reserve is free, at the present rate; `None` while it does not fill.
    pub lasts: Option<Duration>,
}

/// The filling of the disk, told when it is a matter of days.
#[derive(Default)]
struct Forecast {
    filling: Filling,
    sampled: Option<Instant>,
    told: Option<Instant>,
}

impl Forecast {
    fn look(&mut self, free_len: u64, reserve_len: u64) -> Option<Duration> {
        let is_due = |since: Option<Instant>, every| since.is_none_or(|at| at.elapsed() >= every);
        if is_due(self.sampled, SAMPLE_EVERY) {
            self.sampled = Some(Instant::now());
            self.filling.sample(free_len);
        }
        let lasts = self.filling.lasts(reserve_len);
        if let Some(soon) = lasts.filter(|&lasts| lasts < FULL_SOON)
            && is_due(self.told, TELL_EVERY)
        {
            self.told = Some(Instant::now());
            tracing::warn!(
                hours = soon.as_secs() / 3600,
                free_mib = free_len >> 20,
                "the disk will be full soon at the present rate; transactions are refused then: make room, or let retention_days cut off old log"
            );
        }
        lasts
    }
}

/// Ends admission while the disk is nearly full, here or at the standby that answers wait for, and
/// opens it again when there is room.
pub(super) async fn disk(control: Rc<Control>) {
    let failed = Seldom::default();
    let mut forecast = Forecast::default();
    loop {
        match rustix::fs::statvfs(control.data_dir.path()) {
            Ok(stat) => {
                let free_len = stat.f_bavail * stat.f_frsize;
                control.disk.set(DiskFigures {
                    size_len: stat.f_blocks * stat.f_frsize,
                    free_len,
                    lasts: forecast.look(free_len, control.disk_reserve_len),
                });
                let full_here = free_len < control.disk_reserve_len;
                control.replication.set_disk_full(full_here);
                let full_there = control.replication.standby_disk_full();
                let admission =
                    if full_here || full_there { Admission::DiskFull } else { Admission::Open };
                if admission != control.admission.get()
                    && control.admission.get() != Admission::Stopping
                {
                    tracing::warn!(
                        free_mib = free_len >> 20,
                        reserve_mib = control.disk_reserve_len >> 20,
                        full_at_the_standby = full_there,
                        ?admission,
                        "disk space"
                    );
                    control.admit(admission).await;
                }
            }
            Err(error) => {
                if let Some(attempts) = failed.count() {
                    tracing::error!(%error, attempts, "free disk space can't be read");
                }
            }
        }
        tokio::time::sleep(DISK_EVERY).await;
    }
}

/// Ends the node when a core has stopped moving.
pub(super) async fn cores(control: Rc<Control>) {
    let mut last: Vec<u64> = vec![0; control.shards()];
    let mut still: Vec<Duration> = vec![Duration::ZERO; control.shards()];
    loop {
        tokio::time::sleep(CORES_EVERY).await;
        for (shard, counters) in control.channels.counters.iter().enumerate() {
            let ticks = counters.read().ticks;
            still[shard] =
                if ticks == last[shard] { still[shard] + CORES_EVERY } else { Duration::ZERO };
            last[shard] = ticks;
            if still[shard] >= STUCK_AFTER {
                let message = format!(
                    "the core of shard {shard} has not moved for {} s; the node ends so that it can be restarted",
                    STUCK_AFTER.as_secs()
                );
                crate::fatal::end(&Failure::new(Status::Stuck, message));
            }
        }
        control.live.set(still.iter().all(|s| *s < STUCK_AFTER / 2));
    }
}
