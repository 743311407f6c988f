//! The windows of a coming policy, on a node that decides: read out of the log beside the cores, then brought
//! level with each core's last payment, before the policy comes into force.

use super::Control;
use super::changes::Changing;
use super::list_request::Refused;
use crate::available_memory;
use crate::log_files::past::{Pace, PastError, PastReading};
use crate::policy_windows::{self, by_stream, needs_one_shard};
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
    if let Some(why) = needs_one_shard(policy, shards) {
        return Err(refuse(why));
    }
    if let Some(why) = available_memory::lacks_memory(policy) {
        return Err(refuse(why));
    }
    let log = control.replication.own_log();
    let last_lsns = by_stream(control.replication.durable_lsns());
    let (policy, stop) = (Arc::clone(policy), Arc::clone(&control.stop_reading));
    aside(move || {
        let mut reading = PastReading::new(log, Pace::Beside, stop);
        let mut pasts = reading.empty(&policy, shards)?.expect("the policy reads windows");
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

/// Brings every core its windows. Where that fails, no core keeps any.
pub(super) async fn bring(changing: &mut Changing, read: Read) -> Result<(), Refused> {
    let Read { mut reading, pasts } = read;
    for (shard, past) in pasts.into_shards().into_iter().map(Box::new).enumerate() {
        match catch_up(changing, shard, past, reading).await {
            Ok(reads_on) => reading = reads_on,
            Err(refused) => {
                forget(changing).await;
                return Err(refused);
            }
        }
    }
    Ok(())
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

/// Brings the windows of one core level with its last payment.
async fn catch_up(
    changing: &mut Changing,
    shard: usize,
    past: Box<Past>,
    mut reading: PastReading,
) -> Result<PastReading, Refused> {
    reading.set_pace(Pace::Full);
    let mut catch_up = CatchUp::default();
    // With the core, or here; and the last record that they have.
    let (mut held, mut held_lsn) = (Some(past), 0);
    let mut step = catch_up.begin();
    loop {
        step = match step {
            CatchUpStep::Keep => {
                let room = Box::<KeptPayments>::default();
                changing.control.tell(shard, ToShard::KeepPayments(room)).await;
                let keeps = |event: &ToControl| matches!(event, ToControl::Keeps(..));
                match changing.event(keeps).await {
                    Some(ToControl::Keeps(lsn, released)) => {
                        free(released);
                        catch_up.keeps(lsn)
                    }
                    _ => return Err(stopping()),
                }
            }
            CatchUpStep::Read { up_to_lsn } => {
                let control = Rc::clone(&changing.control);
                // A write that takes too long ends the node.
                while control.channels.feeds[shard].durable_lsn() < up_to_lsn {
                    if control.stop_reading.load(Ordering::Relaxed) {
                        return Err(stopping());
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                let mut past = held.take().expect("it is read before it is handed over");
                (reading, held, held_lsn) = aside(move || {
                    let has_lsn = reading.up_to(shard as u16, up_to_lsn, &mut past, held_lsn)?;
                    Ok((reading, Some(past), has_lsn))
                })
                .await?;
                catch_up.has_read(held_lsn)
            }
            CatchUpStep::HandOver { .. } | CatchUpStep::GoOn => {
                let given = match step {
                    CatchUpStep::HandOver { has_lsn } => held.take().map(|past| (past, has_lsn)),
                    _ => None,
                };
                changing.control.tell(shard, ToShard::CatchUp(given)).await;
                let caught_up = |event: &ToControl| matches!(event, ToControl::CaughtUp(_));
                let Some(ToControl::CaughtUp(told)) = changing.event(caught_up).await else {
                    return Err(stopping());
                };
                let next = catch_up.told(&told);
                if let CaughtUp::TooFarBehind(past, has_lsn, _) = told {
                    (held, held_lsn) = (Some(past), has_lsn);
                }
                next
            }
            CatchUpStep::Done => {
                // Cores that follow have more to read.
                reading.set_pace(Pace::Beside);
                return Ok(reading);
            }
            CatchUpStep::GaveUp => {
                free(Released { pasts: [held, None], room: None });
                let why = "the node decides faster than its log is read for the policy's windows; nothing changed: try again with less load";
                return Err(Refused(ErrorCode::Failed, why.to_owned()));
            }
        };
    }
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
