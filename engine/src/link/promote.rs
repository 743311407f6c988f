//! A standby becomes the primary: it stops following, makes the new epoch durable, and hands its tables to the data cores.

use super::standby::{Following, Handle};
use super::{DESCRIPTOR_PATIENCE, Link, locked};
use crate::blacklist::{Lists, Overlay, Snapshot};
use crate::descriptors::wait_for;
use crate::fatal::Failure;
use crate::log::segment;
use crate::policy::Policy;
use crate::replica::NotPromotable;
use crate::shard::journal::{JournalSetup, Start};
use crate::shard::messages::{ShardState, TakeOver, ToShard};
use catraca_wire::block::BlockIdentity;
use catraca_wire::frame::Role;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What a promotion gives the control thread.
pub struct Promoted {
    /// The new epoch.
    pub epoch: u32,
    /// List in use.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The log says so.
    pub list_logged: bool,
    /// Overlay in use.
    pub overlay: Overlay,
}

impl Link {
    /// Makes this standby the primary, on an operator's wish.
    ///
    /// # Errors
    /// Why not, in words; nothing has changed then.
    pub fn promote(self: &Arc<Self>, force: bool) -> Result<Promoted, String> {
        let handle = {
            let mut inner = locked(&self.inner);
            if inner.following.is_none() && inner.state.role == Role::Standby {
                return Err("a promotion is under way".to_owned());
            }
            let Some(handle) = &inner.following else {
                return Err(NotPromotable::Already(inner.state.epoch).to_string());
            };
            inner.state.promoted(force).map_err(|why| self.why_not(why, handle))?;
            without_list(&handle.following).filter(|_| !force).map_or(Ok(()), Err)?;
            inner.following.take()
        };
        let Handle { following, stop, course, thread } = handle.expect("looked at under the same lock");
        // First nothing more is taken and acknowledged, then the new epoch is durable, and only then does anybody decide.
        stop.store(true, Ordering::Relaxed);
        if let Some(course) = locked(&course).as_ref() {
            course.end();
        }
        thread.thread().unpark();
        if thread.join().is_err() {
            crate::fatal::end(&Failure::failed("the standby's thread panicked"));
        }
        // Held until every shard has been told: a session that began before would see streams that end where this run began, and its
        // requests to the shards would come before the new epoch does.
        let mut inner = locked(&self.inner);
        // The primary may have taken its word back in the meantime, or have loaded another list.
        let promoted = inner.state.promoted(force).map_err(|why| why.to_string());
        let promoted = promoted.and_then(|state| without_list(&following).filter(|_| !force).map_or(Ok(state), Err));
        let weighed = promoted.and_then(|state| Ok((state, following.builder.overlay().map_err(|error| error.to_string())?)));
        let (promoted, overlay) = match weighed {
            Ok(weighed) => weighed,
            Err(why) => {
                drop(inner);
                self.follow_with(following).map_err(|failure| failure.message)?;
                return Err(why);
            }
        };
        self.persist(&mut inner, promoted.clone());
        let following = Arc::into_inner(following).expect("the thread that shared it has ended");
        let snapshot = following.snapshot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let streams = following.streams.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let tails: Vec<_> = streams.iter().map(|stream| locked(stream).follower.tail()).collect();
        let list_logged = following.builder.snapshot_id() == snapshot.as_ref().map_or(0, |snapshot| snapshot.id());
        let shards = usize::from(self.setup.shards);
        *locked(&self.dormant) = tails.iter().skip(shards).map(|tail| tail.next_lsn - 1).collect();
        for (shard, dedupe) in following.builder.into_dedupes().into_iter().enumerate() {
            let tail = &tails[shard];
            let start = Start {
                next_lsn: tail.next_lsn,
                previous_chain: tail.previous_chain,
                segment: tail.segment,
                offset: tail.offset,
            };
            // The new epoch has begun: a node that can't go on ends, and finds itself the primary when it starts again.
            let began = Instant::now();
            let patient = || began.elapsed() < DESCRIPTOR_PATIENCE;
            let segments = wait_for("the log", patient, || segment::segments(&self.setup.data_dir, shard as u16))
                .unwrap_or_else(|error| crate::fatal::end(&Failure::new(error.status(), error.to_string())));
            let ready = segments.len() as u32;
            let identity = BlockIdentity { shard: shard as u16, epoch: promoted.epoch, cluster_id: self.setup.cluster_id };
            let journal =
                JournalSetup { identity, key: self.setup.key, start, segment_len: self.setup.segment_len, segments_ready: ready };
            let state =
                ShardState { dedupe, lists: Lists::new(snapshot.clone(), overlay.clone()), policy: Policy::blacklist_only() };
            self.links.feeds[shard].set_durable(tail.next_lsn - 1);
            self.tell(shard, ToShard::TakeOver(Box::new(TakeOver { state, journal, durability: promoted.durability })));
        }
        drop(inner);
        tracing::warn!(
            epoch = promoted.epoch,
            force,
            "this node is the PRIMARY now; it answers alone until a standby has caught up"
        );
        Ok(Promoted { epoch: promoted.epoch, snapshot, list_logged, overlay })
    }

    fn why_not(&self, why: NotPromotable, handle: &Handle) -> String {
        let behind = handle.behind();
        let behind = match (handle.is_connected(), behind) {
            (true, records) => format!("connected, {records} records behind"),
            (false, 0) => "not connected, how far behind is not known".to_owned(),
            (false, records) => format!("not connected, at least {records} records behind"),
        };
        match why {
            NotPromotable::NotInSync | NotPromotable::MayBeLeft => {
                format!("{why}; {behind}; --force may lose them")
            }
            NotPromotable::Already(_) | NotPromotable::Empty => why.to_string(),
        }
    }
}

/// Why this standby should not decide yet, where that is so: the list in use is not here.
fn without_list(following: &Following) -> Option<String> {
    let id = following.missing_list()?;
    Some(format!("the list {id:016x}, which the log says is in use, has not come yet; wait, or --force"))
}
