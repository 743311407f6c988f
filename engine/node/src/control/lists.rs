//! Changes of the blacklist on the running node, one at a time: check, log, wait until it is
//! durable, then bring it to every core.
//!
//! Logged first and applied second, so that a crash between the two loses nothing: recovery applies
//! what the log holds.

use super::Control;
use super::answer::Asker;
use super::list_metrics::ListFigures;
use super::list_request::{ListRequest, Refused};
use crate::list_files;
use crate::replication::Promoted;
use crate::wall_clock::wall_ns;
use bytemuck::Zeroable;
use catraca_core::blacklist::{Overlay, Snapshot, fitness};
use catraca_core::calendar::day_of;
use catraca_core::shard::messages::{ToControl, ToShard};
use catraca_wire::frame::{BlacklistFrame, BlacklistStateFrame, ErrorCode, Role};
use catraca_wire::record::{OverlayChange, OverlayOp, RECORD_VERSION, RecordHead, RecordKind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Shard whose stream keeps changes of the blacklist.
pub const LISTS_SHARD: u16 = 0;

/// The way to the task that changes lists.
pub(super) struct Handle {
    requests: mpsc::UnboundedSender<(Asker, BlacklistFrame)>,
    events: mpsc::UnboundedSender<ToControl>,
}

impl Handle {
    /// A client's request. Bounded by what each shard lets through.
    pub fn request(&self, asker: Asker, change: BlacklistFrame) {
        let _ = self.requests.send((asker, change));
    }

    /// What a core reports of the change under way: a few messages a core.
    pub fn event(&self, event: ToControl) {
        let _ = self.events.send(event);
    }
}

struct Lists {
    control: Rc<Control>,
    snapshot: Option<Arc<Snapshot>>,
    overlay: Overlay,
    events: mpsc::UnboundedReceiver<ToControl>,
}

pub(super) fn start(
    control: &Rc<Control>,
    snapshot: Option<Arc<Snapshot>>,
    overlay: Overlay,
    list_logged: bool,
    mut promotions: mpsc::UnboundedReceiver<Promoted>,
) -> Handle {
    let (requests, mut waiting) = mpsc::unbounded_channel::<(Asker, BlacklistFrame)>();
    let (event_sender, events) = mpsc::unbounded_channel();
    let mut lists = Lists { control: Rc::clone(control), snapshot, overlay, events };
    let follows = control.replication.status().state.role == Role::Standby;
    tokio::task::spawn_local(async move {
        let mut list_logged = list_logged;
        if follows {
            // A standby's shards pass no change on. Once promoted they do at once, so what the
            // promotion gave must be here first.
            let Some(promoted) = promotions.recv().await else { return };
            (lists.snapshot, lists.overlay, list_logged) =
                (promoted.snapshot, promoted.overlay, promoted.list_logged);
        }
        lists.tell_figures();
        if !list_logged {
            lists.log_in_use().await;
        }
        while let Some((asker, change)) = waiting.recv().await {
            match lists.change(asker, &change).await {
                Ok(changed) => {
                    let state = lists.state(asker.correlation, changed);
                    asker.answer(&lists.control, bytemuck::bytes_of(&state).to_vec()).await;
                }
                Err(Refused(code, why)) => asker.refuse(&lists.control, code, &why).await,
            }
        }
    });
    Handle { requests, events: event_sender }
}

impl Lists {
    async fn change(&mut self, asker: Asker, frame: &BlacklistFrame) -> Result<bool, Refused> {
        let today = self.control.zone.day_at(wall_ns()).number;
        match ListRequest::read(frame, today)? {
            ListRequest::Describe => Ok(false),
            ListRequest::Change { document, scope, op } => {
                self.list(
                    asker,
                    OverlayChange { document, scope, op, sequence: self.overlay.sequence() + 1 },
                )
                .await
            }
            ListRequest::Load { path, force } => self.load(path, force).await,
        }
    }

    async fn list(&mut self, asker: Asker, change: OverlayChange) -> Result<bool, Refused> {
        let mut next = self.overlay.clone();
        next.apply(&change).map_err(|full| Refused(ErrorCode::Failed, full.to_string()))?;
        self.log(change.to_record(wall_ns())).await?;
        self.control.tell_all(|| ToShard::ApplyOverlay(change)).await;
        for _ in 0..self.control.shards() {
            self.event(|event| matches!(event, ToControl::OverlayApplied(sequence) if *sequence == change.sequence)).await;
        }
        self.overlay = next;
        let figures = self.control.list_figures.get();
        self.control.list_figures.set(figures.with_overlay(&self.overlay));
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

    async fn load(&mut self, path: PathBuf, force: bool) -> Result<bool, Refused> {
        let kept = self.control.data_dir.lists_dir();
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
            self.hold(&snapshot).await?;
        }
        self.log(self.loaded(Some(&snapshot))).await?;
        self.control.tell_all(|| ToShard::SwapSnapshot(Arc::clone(&snapshot))).await;
        for _ in 0..self.control.shards() {
            let released =
                self.event(|event| matches!(event, ToControl::SnapshotReleased(_))).await;
            // Unmapping takes its time: never on a data core, nor here.
            tokio::task::spawn_blocking(move || drop(released));
        }
        tracing::info!(
            id = format_args!("{:016x}", snapshot.id()),
            entries = snapshot.entries(),
            "blacklist loaded"
        );
        let old = self.snapshot.replace(snapshot);
        self.tell_figures();
        tokio::task::spawn_blocking(move || drop(old));
        Ok(true)
    }

    /// Refuses a list for a day that has not come, and one that names too few against the one in
    /// use, as both count today: entries that have ended or not begun list nobody.
    async fn hold(&self, new: &Arc<Snapshot>) -> Result<(), Refused> {
        let today = self.control.zone.day_at(wall_ns()).number;
        let (before, after) = (self.snapshot.clone(), Arc::clone(new));
        let most_percent = self.control.max_loss_percent;
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
    fn tell_figures(&self) {
        let figures = ListFigures::new(
            self.snapshot.as_deref(),
            &self.overlay,
            &self.control.zone,
            wall_ns(),
        );
        self.control.list_figures.set(figures);
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
    async fn log_in_use(&mut self) {
        let snapshot = self.snapshot.clone();
        if let Err(Refused(_, why)) = self.log(self.loaded(snapshot.as_deref())).await {
            tracing::warn!(
                why,
                "the list in use could not be put into the log; the next start tries again"
            );
        }
    }

    /// Has the record logged, and waits until it is committed.
    async fn log(&mut self, record: RecordHead) -> Result<(), Refused> {
        self.control.tell(usize::from(LISTS_SHARD), ToShard::AppendRecord(Box::new(record))).await;
        match self
            .event(|event| matches!(event, ToControl::RecordDurable | ToControl::RecordRefused))
            .await
        {
            Some(ToControl::RecordDurable) => Ok(()),
            _ => Err(Refused(
                ErrorCode::Overloaded,
                "too many records wait for the disk; nothing changed".to_owned(),
            )),
        }
    }

    async fn event(&mut self, wanted: impl Fn(&ToControl) -> bool) -> Option<ToControl> {
        loop {
            let event = self.events.recv().await?;
            if wanted(&event) {
                return Some(event);
            }
        }
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
