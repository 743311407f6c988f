//! The lists of the running node: what is asked of them is checked, logged, and brought to every core.

use super::Control;
use super::answer::Asker;
use super::audit::States;
use super::changes::Changing;
use super::list_metrics::ListFigures;
use super::list_request::{ListRequest, Refused};
use crate::list_files;
use crate::wall_clock::wall_ns;
use bytemuck::Zeroable;
use catraca_core::blacklist::{Overlay, Snapshot, fitness};
use catraca_core::calendar::day_of;
use catraca_core::shard::messages::{ControlRecord, ToControl, ToShard};
use catraca_wire::frame::{BlacklistFrame, BlacklistStateFrame, ErrorCode};
use catraca_wire::record::{OverlayChange, OverlayOp, RECORD_VERSION, RecordHead, RecordKind};
use std::path::PathBuf;
use std::sync::Arc;

/// The lists of a node.
pub(super) struct Lists {
    snapshot: Option<Arc<Snapshot>>,
    overlay: Overlay,
}

/// A record without an extension.
fn boxed(head: RecordHead) -> Box<ControlRecord> {
    Box::new(head.into())
}

impl Lists {
    pub fn new(snapshot: Option<Arc<Snapshot>>, overlay: Overlay) -> Self {
        Self { snapshot, overlay }
    }

    /// Carries a request out; gives the frame that answers it.
    pub async fn request(
        &mut self,
        changing: &mut Changing,
        asker: Asker,
        frame: &BlacklistFrame,
    ) -> Result<Vec<u8>, Refused> {
        let changed = self.change(changing, asker, frame).await?;
        Ok(bytemuck::bytes_of(&self.state(asker.correlation, changed)).to_vec())
    }

    async fn change(
        &mut self,
        changing: &mut Changing,
        asker: Asker,
        frame: &BlacklistFrame,
    ) -> Result<bool, Refused> {
        let today = changing.control.zone.day_at(wall_ns()).number;
        match ListRequest::read(frame, today)? {
            ListRequest::Describe => Ok(false),
            ListRequest::Change { document, scope, op } => {
                self.list(
                    changing,
                    asker,
                    OverlayChange { document, scope, op, sequence: self.overlay.sequence() + 1 },
                )
                .await
            }
            ListRequest::Load { path, force } => self.load(changing, path, force).await,
        }
    }

    async fn list(
        &mut self,
        changing: &mut Changing,
        asker: Asker,
        change: OverlayChange,
    ) -> Result<bool, Refused> {
        let mut next = self.overlay.clone();
        next.apply(&change).map_err(|full| Refused(ErrorCode::Failed, full.to_string()))?;
        let states = States::of_numbers(
            &[self.snapshot_id(), self.overlay.sequence()],
            &[self.snapshot_id(), change.sequence],
        );
        changing.log(boxed(change.to_record(wall_ns())), states).await?;
        changing.control.tell_all(|| ToShard::ApplyOverlay(change)).await;
        for _ in 0..changing.control.shards() {
            changing.event(|event| matches!(event, ToControl::OverlayApplied(sequence) if *sequence == change.sequence)).await;
        }
        self.overlay = next;
        let figures = changing.control.list_figures.get();
        changing.control.list_figures.set(figures.with_overlay(&self.overlay));
        let OverlayChange { document, scope, op, sequence } = change;
        let until = match op {
            OverlayOp::Allow { until_day } => Some(day_of(until_day)),
            OverlayOp::List | OverlayOp::Unlist => None,
        };
        // Whose credential it was only the shard knows; the connection is that of its own log
        // lines.
        tracing::info!(
            %document, change = op.name(), %scope, until = until.map(tracing::field::display), sequence,
            shard = asker.shard, connection = asker.connection.slot, "blacklist changed"
        );
        Ok(true)
    }

    async fn load(
        &mut self,
        changing: &mut Changing,
        path: PathBuf,
        force: bool,
    ) -> Result<bool, Refused> {
        let kept = changing.control.data_dir.lists_dir();
        let opened = tokio::task::spawn_blocking(move || list_files::take_in(&path, &kept)).await;
        let snapshot = match opened {
            Ok(Ok(snapshot)) => Arc::new(snapshot),
            Ok(Err(why)) => return Err(Refused(ErrorCode::Failed, why)),
            Err(error) => {
                return Err(Refused(
                    ErrorCode::Failed,
                    format!("the list could not be read: {error}"),
                ));
            }
        };
        if self.snapshot.as_ref().is_some_and(|old| old.id() == snapshot.id()) {
            return Ok(false);
        }
        if !force {
            self.hold(&changing.control, &snapshot).await?;
        }
        let sequence = self.overlay.sequence();
        let states =
            States::of_numbers(&[self.snapshot_id(), sequence], &[snapshot.id(), sequence]);
        changing.log(boxed(self.loaded(Some(&snapshot))), states).await?;
        changing.control.tell_all(|| ToShard::SwapSnapshot(Arc::clone(&snapshot))).await;
        for _ in 0..changing.control.shards() {
            let released =
                changing.event(|event| matches!(event, ToControl::SnapshotReleased(_))).await;
            // Unmapping takes its time: never on a data core, nor here.
            tokio::task::spawn_blocking(move || drop(released));
        }
        tracing::info!(
            id = format_args!("{:016x}", snapshot.id()),
            entries = snapshot.entries(),
            "blacklist loaded"
        );
        let old = self.snapshot.replace(snapshot);
        self.tell_figures(&changing.control);
        tokio::task::spawn_blocking(move || drop(old));
        Ok(true)
    }

    /// Refuses a list for a day that has not come, and one that names too few against the one in
    /// use, as both count today: entries that have ended or not begun list nobody.
    async fn hold(&self, control: &Control, new: &Arc<Snapshot>) -> Result<(), Refused> {
        let today = control.zone.day_at(wall_ns()).number;
        let (before, after) = (self.snapshot.clone(), Arc::clone(new));
        let most_percent = control.max_loss_percent;
        let hold = move || match &before {
            Some(before) => fitness::hold(before, &after, today, most_percent),
            None => fitness::hold_to_day(&after, today),
        };
        let held = tokio::task::spawn_blocking(hold).await;
        let held = held.map_err(|error| {
            Refused(ErrorCode::Failed, format!("the list could not be counted: {error}"))
        })?;
        held.map_err(|unfit| {
            Refused(ErrorCode::Failed, format!("{unfit}; force it if that is right"))
        })
    }

    /// For `/metrics`: the list was just taken into use.
    pub fn tell_figures(&self, control: &Control) {
        let figures =
            ListFigures::new(self.snapshot.as_deref(), &self.overlay, &control.zone, wall_ns());
        control.list_figures.set(figures);
    }

    /// That a list is in use from now on, or none.
    fn loaded(&self, snapshot: Option<&Snapshot>) -> RecordHead {
        let mut record = RecordHead::zeroed();
        record.kind = RecordKind::SnapshotLoaded.to_wire();
        record.version = RECORD_VERSION;
        record.decided_at_ns = wall_ns().into();
        record.snapshot_id = snapshot.map_or(0, Snapshot::id).into();
        record.overlay_sequence = self.overlay.sequence().into();
        record
    }

    /// Puts the list in use into the log, which says another one, so that a standby and the next
    /// start have it too.
    pub async fn log_in_use(&mut self, changing: &mut Changing) {
        let snapshot = self.snapshot.clone();
        let record = boxed(self.loaded(snapshot.as_deref()));
        if let Err(Refused(_, why)) = changing.append(record).await {
            tracing::warn!(
                why,
                "the list in use could not be put into the log; the next start tries again"
            );
        }
    }

    fn snapshot_id(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.id())
    }

    fn state(&self, correlation: u64, changed: bool) -> BlacklistStateFrame {
        let mut state = BlacklistStateFrame::empty(correlation);
        if let Some(snapshot) = &self.snapshot {
            state.snapshot_id = snapshot.id().into();
            state.snapshot_entries = snapshot.entries().into();
            state.snapshot_built_ns = snapshot.built_at_ns().into();
        }
        state.overlay_sequence = self.overlay.sequence().into();
        state.overlay_entries = (self.overlay.len() as u32).into();
        state.changed = u8::from(changed);
        state
    }
}
