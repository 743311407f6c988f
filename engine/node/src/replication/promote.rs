//! A standby becomes the primary: the node decides when, and this hands its tables to the data
//! cores.

use super::standby::Following;
use super::windows;
use super::{DESCRIPTOR_PATIENCE, Replication};
use crate::descriptors::wait_for;
use crate::fatal::Failure;
use crate::in_use::InUse;
use crate::log_files::segment;
use crate::policy_file;
use crate::policy_windows::{self, by_stream};
use catraca_core::blacklist::Lists;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::share::ShareKey;
use catraca_core::rebuild::Pasts;
use catraca_core::replica::node::{Command, RequestRefused};
use catraca_core::replica::{NewEpoch, NotPromotable};
use catraca_core::shard::journal::JournalSetup;
use catraca_core::shard::messages::{ShardState, TakeOver, ToShard};
use catraca_wire::block::BlockIdentity;
use catraca_wire::frame::Durability;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a promotion gives the control thread.
pub struct Promoted {
    /// The new epoch.
    pub epoch: u32,
    /// What decisions depend on.
    pub in_use: InUse,
}

/// How long whoever still looks at a standby's tables may keep them from a promotion.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at whether they are let go.
const LET_GO_RETRY: Duration = Duration::from_millis(1);

impl Replication {
    /// Makes this standby the primary, as an operator wants.
    ///
    /// # Errors
    /// Why not, in words; nothing has changed then.
    pub fn promote(&self, force: bool) -> Result<Promoted, String> {
        // Not under the lock, which health waits for.
        let following = self.following.lock().clone();
        let tables = following.map(|following| following.tables()).unwrap_or_default();
        match self.request(Command::Promote { force, epoch: NewEpoch::ByHand, tables }) {
            Ok(Some(promoted)) => Ok(promoted),
            Ok(None) => Err("the promotion was not carried out".to_owned()),
            Err(RequestRefused::NotPromotable(why)) => Err(self.why_not(why)),
            Err(why) => Err(why.to_string()),
        }
    }

    fn why_not(&self, why: NotPromotable) -> String {
        let status = self.status();
        let behind = match (status.connected, status.behind_records) {
            (true, records) => format!("connected, {records} records behind"),
            (false, 0) => "not connected, how far behind is not known".to_owned(),
            (false, records) => format!("not connected, at least {records} records behind"),
        };
        match why {
            NotPromotable::NotInSync | NotPromotable::MayBeLeft => {
                format!("{why}; {behind}; --force may lose them")
            }
            NotPromotable::Already(_)
            | NotPromotable::Empty
            | NotPromotable::EpochIsOver { .. }
            | NotPromotable::NoEpochLeft => why.to_string(),
        }
    }
}

/// Hands the tables of a standby, durably the primary of a new epoch, to its shards.
pub(super) fn take_over(
    replication: &Replication,
    epoch: u32,
    durability: Durability,
    force: bool,
) -> Promoted {
    let following =
        replication.following.lock().take().expect("a standby that is promoted has its tables");
    windows::stop(&following);
    let following = alone(following);
    let overlay = following.builder.overlay().unwrap_or_else(|error| unusable(error.to_string()));
    let named = following.builder.named().unwrap_or_else(|error| unusable(error.to_string()));
    let policies = following.builder.policies();
    let policy = policy_file::in_force_of(&policies).unwrap_or_else(|why| unusable(why));
    let named_in_force =
        Arc::new(InForce::new(&named, policy.rules(), ShareKey::of(&replication.setup.key)));
    let snapshot = following.snapshot.into_inner();
    let streams = following.streams.into_inner();
    let tails: Vec<_> = streams.iter().map(|stream| stream.lock().follower.tail()).collect();
    let list_logged =
        following.builder.snapshot_id() == snapshot.as_ref().map_or(0, |snapshot| snapshot.id());
    let shards = usize::from(replication.setup.shards);
    *replication.dormant.lock() = tails.iter().skip(shards).map(|tail| tail.next_lsn - 1).collect();
    let (dedupes, pasts) = following.builder.into_tables();
    let pasts = pasts.into_pasts_of(&policy).or_else(|| {
        let last_lsns = by_stream(tails.iter().map(|tail| tail.next_lsn - 1));
        let shards = replication.setup.shards;
        policy_windows::read(replication.own_log(), &policy, shards, &last_lsns)
            .unwrap_or_else(|error| unusable(error.to_string()))
    });
    let mut pasts = pasts.into_iter().flat_map(Pasts::into_shards);
    for (shard, dedupe) in dedupes.into_iter().enumerate() {
        let tail = &tails[shard];
        // The new epoch has begun: a node that can't go on ends, and finds itself the primary when
        // it starts again.
        let began = Instant::now();
        let patient = || began.elapsed() < DESCRIPTOR_PATIENCE;
        let segments = wait_for("the log", patient, || {
            segment::segments(&replication.setup.data_dir, shard as u16)
        })
        .unwrap_or_else(|error| {
            crate::fatal::end(&Failure::new(error.status(), error.to_string()))
        });
        let ready = segments.last().map_or(0, |last| last + 1);
        let identity =
            BlockIdentity { shard: shard as u16, epoch, cluster_id: replication.setup.cluster_id };
        let journal = JournalSetup {
            identity,
            key: replication.setup.key,
            start: *tail,
            segment_len: replication.setup.segment_len,
            segments_ready: ready,
        };
        let state = ShardState {
            dedupe,
            lists: Lists::new(snapshot.clone(), overlay.clone()),
            policy: Arc::clone(&policy),
            past: pasts.next(),
            named: Arc::clone(&named_in_force),
        };
        replication.channels.feeds[shard].set_durable(tail.next_lsn - 1);
        replication
            .tell(shard, ToShard::TakeOver(Box::new(TakeOver { state, journal, durability })));
    }
    tracing::warn!(
        epoch,
        force,
        "this node is the PRIMARY now; it answers alone until a standby has caught up"
    );
    Promoted { epoch, in_use: InUse { snapshot, list_logged, overlay, named, policies, policy } }
}

/// The promotion was granted, and can't be carried out.
fn unusable(why: String) -> ! {
    crate::fatal::end(&Failure::failed(why))
}

/// The tables, once nobody else looks at them: whoever does, for `/metrics` say, is done in a
/// moment.
fn alone(mut following: Arc<Following>) -> Following {
    let began = Instant::now();
    loop {
        following = match Arc::try_unwrap(following) {
            Ok(following) => return following,
            Err(shared) => shared,
        };
        if began.elapsed() > LET_GO_WITHIN {
            crate::fatal::end(&Failure::failed(
                "the standby's tables are held by a thread that does not end",
            ));
        }
        std::thread::sleep(LET_GO_RETRY);
    }
}
