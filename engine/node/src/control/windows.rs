//! The windows of a coming policy, on a node that decides: read out of the log beside the cores, then brought
//! level with each core's last payment, before the policy comes into force.

use super::changes::Changing;
use super::list_request::Refused;
use crate::log_files::past::{Pace, PastError, PastReading};
use crate::policy_windows::{by_stream, needs_one_shard};
use catraca_core::policy::Policy;
use catraca_core::policy::windows::Past;
use catraca_core::rebuild::Pasts;
use catraca_core::shard::catch_up::{CatchUp, CatchUpStep};
use catraca_core::shard::messages::{CaughtUp, KeptPayments, ToControl, ToShard};
use catraca_wire::frame::ErrorCode;
use std::sync::Arc;
use std::time::Duration;

/// How often a stream is looked at for a record on its way to the disk.
const LOOK_EVERY: Duration = Duration::from_millis(1);

type Reading = PastReading<'static>;

/// Brings every core the windows of a policy, if it reads any.
pub(super) async fn bring(changing: &mut Changing, policy: &Arc<Policy>) -> Result<(), Refused> {
    let shards = changing.control.shards() as u16;
    if let Some(why) = needs_one_shard(policy, shards) {
        return Err(Refused(ErrorCode::Failed, why));
    }
    if policy.window_values() == 0 {
        return Ok(());
    }
    let (mut reading, pasts) = read_all(changing, policy, shards).await?;
    for (shard, past) in pasts.into_shards().into_iter().map(Box::new).enumerate() {
        reading = catch_up(changing, shard, past, reading).await?;
    }
    Ok(())
}

/// Reads all that there is.
async fn read_all(
    changing: &Changing,
    policy: &Arc<Policy>,
    shards: u16,
) -> Result<(Reading, Pasts), Refused> {
    let log = changing.control.replication.own_log();
    let last_lsns = by_stream(changing.control.replication.durable_lsns());
    let policy = Arc::clone(policy);
    aside(move || {
        let mut reading = PastReading::new(log, Pace::Beside, &|| true);
        let mut pasts = reading.empty(&policy, shards)?.expect("the policy reads windows");
        reading.on(&mut pasts, &last_lsns)?;
        tracing::info!(
            records = reading.records(),
            "the windows of the coming policy are read from the log"
        );
        Ok((reading, pasts))
    })
    .await
}

/// Brings the windows of one core level with its last payment.
async fn catch_up(
    changing: &mut Changing,
    shard: usize,
    past: Box<Past>,
    mut reading: Reading,
) -> Result<Reading, Refused> {
    let mut catch_up = CatchUp::default();
    // With the core, or here.
    let mut held = Some(past);
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
                let feed = &changing.control.channels.feeds[shard];
                while feed.durable_lsn() < up_to_lsn {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                let mut past = held.take().expect("it is read before it is handed over");
                let has_lsn;
                (reading, held, has_lsn) = aside(move || {
                    let has_lsn = reading.up_to(shard as u16, up_to_lsn, &mut past)?;
                    Ok((reading, Some(past), has_lsn))
                })
                .await?;
                catch_up.has_read(has_lsn)
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
                if let CaughtUp::TooFarBehind(past) = told {
                    held = Some(past);
                }
                next
            }
            CatchUpStep::Done => return Ok(reading),
            CatchUpStep::GaveUp => {
                free(held);
                let why = "the node decides faster than the policy's windows can be read from the log; nothing changed: try again with less load";
                return Err(Refused(ErrorCode::Failed, why.to_owned()));
            }
        };
    }
}

fn stopping() -> Refused {
    Refused(ErrorCode::ShuttingDown, "the node is stopping; nothing changed".to_owned())
}

/// Windows that are no longer used: unmapping them takes its time.
pub(super) fn free(past: Option<Box<Past>>) {
    if past.is_some() {
        drop(tokio::task::spawn_blocking(move || drop(past)));
    }
}

/// Does what takes long off this thread.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PastError> + Send + 'static,
) -> Result<T, Refused> {
    let failed = |why: String| Refused(ErrorCode::Failed, format!("{why}; nothing changed"));
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(format!("the windows could not be read: {error}"))),
    }
}
