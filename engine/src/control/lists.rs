//! Changes of the blacklist on the running node, one at a time: check, log, wait until it is durable, then bring it to every core.
//!
//! Logged first and applied second, so that a crash between the two loses nothing: recovery applies what the log holds.

use super::Control;
use super::answer::Asker;
use crate::blacklist::{MAX_OVERLAY_ENTRIES, Overlay, Snapshot};
use crate::link::Promoted;
use crate::shard::messages::{ToControl, ToShard};
use bytemuck::Zeroable;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{BlacklistFrame, BlacklistOp, BlacklistStateFrame, ErrorCode, Role, Scope};
use catraca_wire::record::{OverlayChange, RECORD_VERSION, RecordHead, RecordKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;
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

/// Why a change was not made.
struct Refused(ErrorCode, String);

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
    let follows = control.link.status().state.role == Role::Standby;
    tokio::task::spawn_local(async move {
        let mut list_logged = list_logged;
        if follows {
            // A standby's shards pass no change on. Once promoted they do at once, so what the promotion gave must be here first.
            let Some(promoted) = promotions.recv().await else { return };
            (lists.snapshot, lists.overlay, list_logged) = (promoted.snapshot, promoted.overlay, promoted.list_logged);
        }
        if !list_logged {
            lists.log_in_use().await;
        }
        while let Some((asker, change)) = waiting.recv().await {
            match lists.change(&change).await {
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
    async fn change(&mut self, frame: &BlacklistFrame) -> Result<bool, Refused> {
        let field = |what: &str| Refused(ErrorCode::BadField, what.to_owned());
        match BlacklistOp::from_wire(frame.op).ok_or_else(|| field("op: unknown code"))? {
            BlacklistOp::Describe => Ok(false),
            op @ (BlacklistOp::Add | BlacklistOp::Remove) => {
                let document = DocumentKey::from_wire(&frame.document).map_err(|_| {
                    Refused(ErrorCode::BadDocument, "document: not a valid CPF or CNPJ in canonical form".to_owned())
                })?;
                let scope = Scope::from_wire(frame.scope).ok_or_else(|| field("scope: 1 exact or 2 root"))?;
                self.list(document, scope, op == BlacklistOp::Add).await
            }
            BlacklistOp::Load => {
                let path =
                    frame.path.get(..usize::from(frame.path_len.to_native())).ok_or_else(|| field("path_len: at most 256"))?;
                let path = std::str::from_utf8(path).map_err(|_| field("path: must be UTF-8"))?;
                self.load(PathBuf::from(path), frame.force == 1).await
            }
        }
    }

    async fn list(&mut self, document: DocumentKey, scope: Scope, listed: bool) -> Result<bool, Refused> {
        let change = OverlayChange { document, scope, listed, sequence: self.overlay.sequence() + 1 };
        let mut next = self.overlay.clone();
        if next.apply(&change).is_err() {
            let why = format!("the overlay holds {MAX_OVERLAY_ENTRIES} documents, its most: build a list and load it");
            return Err(Refused(ErrorCode::Failed, why));
        }
        self.log(change.to_record(wall_ns())).await?;
        self.control.tell_all(|| ToShard::ApplyOverlay(change)).await;
        for _ in 0..self.control.shards() {
            self.event(|event| matches!(event, ToControl::OverlayApplied(sequence) if *sequence == change.sequence)).await;
        }
        self.overlay = next;
        tracing::info!(%document, listed, %scope, sequence = change.sequence, "blacklist changed");
        Ok(true)
    }

    async fn load(&mut self, path: PathBuf, force: bool) -> Result<bool, Refused> {
        let kept = self.control.data_dir.lists_dir();
        let opened = tokio::task::spawn_blocking(move || take_in(&path, &kept)).await;
        let snapshot = match opened {
            Ok(Ok(snapshot)) => Arc::new(snapshot),
            Ok(Err(why)) => return Err(Refused(ErrorCode::Failed, why)),
            Err(error) => return Err(Refused(ErrorCode::Failed, format!("the list could not be read: {error}"))),
        };
        if let Some(old) = &self.snapshot {
            if old.id() == snapshot.id() {
                return Ok(false);
            }
            let most = self.control.max_loss_percent;
            if !force && u128::from(snapshot.entries()) * 100 < u128::from(old.entries()) * u128::from(100 - most) {
                let why = format!(
                    "{} entries instead of {}: more than {most} % lost; force it if that is right",
                    snapshot.entries(),
                    old.entries()
                );
                return Err(Refused(ErrorCode::Failed, why));
            }
        }
        self.log(self.loaded(Some(&snapshot))).await?;
        self.control.tell_all(|| ToShard::SwapSnapshot(Arc::clone(&snapshot))).await;
        for _ in 0..self.control.shards() {
            let released = self.event(|event| matches!(event, ToControl::SnapshotReleased(_))).await;
            // Unmapping takes its time: never on a data core, nor here.
            tokio::task::spawn_blocking(move || drop(released));
        }
        tracing::info!(id = format_args!("{:016x}", snapshot.id()), entries = snapshot.entries(), "blacklist loaded");
        let old = self.snapshot.replace(snapshot);
        tokio::task::spawn_blocking(move || drop(old));
        Ok(true)
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

    /// Puts the list in use into the log, which says another one, so that a standby and the next start have it too.
    async fn log_in_use(&mut self) {
        let snapshot = self.snapshot.clone();
        if let Err(Refused(_, why)) = self.log(self.loaded(snapshot.as_deref())).await {
            tracing::warn!(why, "the list in use could not be put into the log; the next start tries again");
        }
    }

    /// Has the record logged, and waits until it is committed.
    async fn log(&mut self, record: RecordHead) -> Result<(), Refused> {
        self.control.tell(usize::from(LISTS_SHARD), ToShard::AppendRecord(Box::new(record))).await;
        match self.event(|event| matches!(event, ToControl::RecordDurable | ToControl::RecordRefused)).await {
            Some(ToControl::RecordDurable) => Ok(()),
            _ => Err(Refused(ErrorCode::Overloaded, "too many records wait for the disk; nothing changed".to_owned())),
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

fn wall_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// Where a snapshot in use is kept.
pub fn kept_path(lists_dir: &Path, id: u64) -> PathBuf {
    lists_dir.join(format!("{id:016x}.snap"))
}

/// Checks a snapshot file and keeps a copy in the data directory, so that a restart finds it whatever became of the original.
pub fn take_in(path: &Path, lists_dir: &Path) -> Result<Snapshot, String> {
    let original = Snapshot::open(path).map_err(|e| e.to_string())?;
    let kept = kept_path(lists_dir, original.id());
    if !kept.exists() {
        original.save(&kept).map_err(|e| format!("a copy can't be kept at {}: {e}", kept.display()))?;
    }
    // What is used is the copy: the original may be overwritten in place.
    Snapshot::open(&kept).map_err(|e| e.to_string())
}
