//! What the program's own log says of a node's place in its cluster.

use super::mode_text;
use catraca_core::replica::node::Report;
use std::time::{Duration, Instant};

/// How often a session that ends for the same reason each time is told.
const WAITING_TOLD_EVERY: Duration = Duration::from_secs(5);

/// What was last said of waiting for the primary. One that is down is told once, and a session that
/// ends again and again for the same reason now and then.
#[derive(Default)]
pub(super) struct Told {
    why: String,
    at: Option<Instant>,
    followed: bool,
    /// Whom it followed last, and in which epoch.
    primary: (String, u32),
}

impl Told {
    /// Tells a person.
    pub fn report(&mut self, report: Report) {
        match report {
            Report::StandbyConnected { address, in_sync } => {
                tracing::info!(standby = address, in_sync, "a standby has connected")
            }
            Report::StandbyGone { why, durability } => {
                tracing::warn!(why, mode = mode_text(durability), "the standby is gone");
            }
            Report::Twin { connected, caller } => tracing::warn!(
                connected,
                caller,
                "two standbys of one identity: one data directory is a copy of the other; the second is refused"
            ),
            Report::CaughtUp => {
                tracing::info!("the standby has caught up: answers wait for it from now on")
            }
            Report::InSync => {
                tracing::info!("the standby is in sync: it may be promoted without loss")
            }
            Report::Alone { why } => {
                tracing::warn!(
                    why,
                    "this node answers ALONE: decisions are on its own disk only, until a standby has caught up"
                )
            }
            Report::Demoted { epoch } => tracing::warn!(
                epoch,
                "another node is the primary of a later epoch: this one becomes its standby and starts anew"
            ),
            Report::Following { address, epoch } => {
                if self.begins_to_follow(&address, epoch) {
                    tracing::info!(primary = address, epoch, "following");
                }
            }
            Report::NotFollowing { address, why } => {
                if self.waits(&why) {
                    tracing::warn!(primary = address, why, "waiting for the primary");
                }
            }
            Report::Membership { in_sync, epoch } => {
                tracing::info!(in_sync, epoch, "membership of the in-sync set")
            }
            Report::Replaced => {
                tracing::warn!("another standby has this node's place: it is not in sync any more")
            }
            Report::NotPromoted { why } => {
                tracing::warn!(%why, "this node is not promoted after all")
            }
        }
    }

    /// It waits: whether to say so.
    fn waits(&mut self, why: &str) -> bool {
        let lasts = self.at.is_none_or(|at| at.elapsed() >= WAITING_TOLD_EVERY);
        let is_news = self.why != why || (self.followed && lasts);
        if is_news {
            (self.why, self.at, self.followed) = (why.to_owned(), Some(Instant::now()), false);
        }
        is_news
    }

    /// It follows: whether to say so, which it is where waiting was said, or another is followed.
    fn begins_to_follow(&mut self, address: &str, epoch: u32) -> bool {
        let same = self.primary.0 == address && self.primary.1 == epoch;
        if !same {
            self.primary = (address.to_owned(), epoch);
        }
        !std::mem::replace(&mut self.followed, true) || !same
    }
}
