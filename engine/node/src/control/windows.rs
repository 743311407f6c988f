//! The windows of a coming policy, on a node that decides: read out of the log beside the cores, then brought
//! level with each core's last payment, before the policy comes into force.

use super::Control;
use super::changes::Changing;
use super::list_request::Refused;
use crate::available_memory;
use crate::log_files::past::{Pace, PastError, PastReading};
use crate::policy_windows::{self, by_stream};
use catraca_core::policy::Policy;
use catraca_core::policy::windows::Past;
use catraca_core::rebuild::Pasts;
use catraca_core::shard::catch_up::{CatchUp, CatchUpStep};
use catraca_core::shard::messages::{CaughtUp, KeptPayments, Released, ToControl, ToShard};
use catraca_wire::frame::ErrorCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a stream is looked at for a record on its way to the disk.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Windows that have all that there was when they were read, and what reads on.
pub(super) struct Read {
    pub reading: PastReading,
    pub pasts: Pasts,
}

/// Reads all that there is for a policy that reads windows.
pub(super) async fn read_all(control: &Rc<Control>, policy: &Arc<Policy>) -> Result<Read, Refused> {
    let shards = control.shards() as u16;
    let refuse = |why: String| Refused(ErrorCode::Failed, why);
    if let Some(why) = available_memory::lacks_memory(policy, shards) {
        return Err(refuse(why));
    }
    let log = control.replication.own_log();
    let last_lsns = by_stream(control.replication.durable_lsns());
    let (policy, stop) = (Arc::clone(policy), Arc::clone(&control.stop_reading));
    aside(move || {
        let mut reading = PastReading::new(log, Pace::Beside, stop);
        let mut pasts = reading.begun(&policy, shards)?.expect("the policy reads windows");
        policy_windows::take_ahead(&pasts);
        reading.on(&mut pasts, &last_lsns)?;
        tracing::info!(
            records = reading.records(),
            "the windows of the coming policy are read from the log"
        );
        Ok(Read { reading, pasts })
    })
    .await
}

/// Brings every core its windows. Where that fails, [`forget`] follows.
pub(super) async fn bring(changing: &mut Changing, read: Read) -> Result<(), Refused> {
    let Read { mut reading, mut pasts } = read;
    for shard in 0..pasts.shards() {
        (reading, pasts) = catch_up(changing, shard, reading, pasts).await?;
    }
    Ok(())
}

/// Has every core tell its siblings what it decides, or no more. Gives behind which record of its stream each
/// does.
pub(super) async fn broadcast(
    changing: &mut Changing,
    is_on: bool,
) -> Result<Vec<(u16, u64)>, Refused> {
    changing.control.tell_all(|| ToShard::Broadcast(is_on)).await;
    let mut behind = Vec::new();
    for _ in 0..changing.control.shards() {
        let broadcasts = |event: &ToControl| matches!(event, ToControl::Broadcasts(..));
        let Some(ToControl::Broadcasts(shard, lsn)) = changing.event(broadcasts).await else {
            return Err(stopping());
        };
        behind.push((shard, lsn));
    }
    Ok(behind)
}

/// No core keeps windows of a coming policy any more.
pub(super) async fn forget(changing: &mut Changing) {
    for shard in 0..changing.control.shards() {
        changing.control.tell(shard, ToShard::ForgetComing).await;
        let forgotten = |event: &ToControl| matches!(event, ToControl::ComingForgotten(_));
        if let Some(ToControl::ComingForgotten(released)) = changing.event(forgotten).await {
            free(released);
        }
    }
}

/// Brings the windows of one core level with its last payment, and its siblings' where they count. Those of the
/// cores behind it are read on with them.
async fn catch_up(
    changing: &mut Changing,
    shard: u16,
    mut reading: PastReading,
    mut pasts: Pasts,
) -> Result<(PastReading, Pasts), Refused> {
    reading.set_pace(Pace::Full);
    let is_shared = pasts.shard(shard).is_some_and(Past::is_shared);
    let mut catch_up = CatchUp::new(shard, pasts.shards(), is_shared);
    let mut step = catch_up.begin();
    loop {
        step = match step {
            CatchUpStep::Keep => {
                let room = Box::new(KeptPayments::of(pasts.shards(), is_shared));
                changing.control.tell(shard.into(), ToShard::KeepPayments(room)).await;
                let keeps = |event: &ToControl| matches!(event, ToControl::Keeps(..));
                match changing.event(keeps).await {
                    Some(ToControl::Keeps(lsn, released)) => {
                        free(released);
                        catch_up.keeps(lsn)
                    }
                    _ => return Err(stopping()),
                }
            }
            CatchUpStep::Broadcast => {
                let behind = broadcast(changing, true).await?;
                let mut steps = behind.into_iter().map(|(of, lsn)| catch_up.broadcasts(of, lsn));
                steps.find_map(|step| step).expect("every core has said so")
            }
            CatchUpStep::Read { up_to_lsns } => {
                wait_until_durable(&changing.control, &up_to_lsns).await?;
                (reading, pasts) = aside(move || {
                    reading.up_to(&mut pasts, &up_to_lsns)?;
                    Ok((reading, pasts))
                })
                .await?;
                catch_up.has_read()
            }
            CatchUpStep::HandOver | CatchUpStep::GoOn => {
                let is_given = step == CatchUpStep::HandOver;
                let given = is_given.then(|| pasts.take_out(shard)).flatten();
                changing.control.tell(shard.into(), ToShard::CatchUp(given)).await;
                let caught_up = |event: &ToControl| matches!(event, ToControl::CaughtUp(_));
                let Some(ToControl::CaughtUp(told)) = changing.event(caught_up).await else {
                    return Err(stopping());
                };
                let next = catch_up.told(&told);
                match told {
                    CaughtUp::TooFarBehind(past, room) => {
                        pasts.put_back(shard, past);
                        free(Released { room: Some(room), ..Released::default() });
                    }
                    CaughtUp::Level(Some(room)) => {
                        free(Released { room: Some(room), ..Released::default() });
                    }
                    CaughtUp::Level(None) | CaughtUp::Behind => {}
                }
                next
            }
            CatchUpStep::Done => {
                // Cores that follow have more to read.
                reading.set_pace(Pace::Beside);
                return Ok((reading, pasts));
            }
            CatchUpStep::GaveUp => {
                drop(tokio::task::spawn_blocking(move || drop(pasts)));
                let why = "the node decides faster than its log is read for the policy's windows; nothing changed: try again with less load";
                return Err(Refused(ErrorCode::Failed, why.to_owned()));
            }
        };
    }
}

/// Waits until these records are on the disk, by stream. A write that takes too long ends the node.
async fn wait_until_durable(control: &Control, lsns: &[u64]) -> Result<(), Refused> {
    for (feed, &lsn) in control.channels.feeds.iter().zip(lsns) {
        while feed.durable_lsn() < lsn {
            if control.stop_reading.load(Ordering::Relaxed) {
                return Err(stopping());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

pub(super) fn stopping() -> Refused {
    Refused(ErrorCode::ShuttingDown, "the node is stopping; nothing changed".to_owned())
}

/// What is no longer used of windows: unmapping it takes its time.
pub(super) fn free(released: Released) {
    drop(tokio::task::spawn_blocking(move || drop(released)));
}

/// Does what takes long off this thread.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PastError> + Send + 'static,
) -> Result<T, Refused> {
    let failed = |why: String| Refused(ErrorCode::Failed, format!("{why}; nothing changed"));
    match tokio::task::spawn_blocking(work).await {
        Ok(Err(PastError::GivenUp)) => Err(stopping()),
        Ok(done) => done.map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(format!("the windows could not be read: {error}"))),
    }
}
