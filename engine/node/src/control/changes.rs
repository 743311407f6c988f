//! Changes of what decisions depend on, on the running node, one at a time: check, log, wait until it is
//! durable, then bring it to every core.
//!
//! Logged first and applied second, so that a crash between the two loses nothing: recovery applies
//! what the log holds.

use super::answer::Asker;
use super::approval::Approvals;
use super::audit::{self, States};
use super::list_request::Refused;
use super::lists::Lists;
use super::named_lists::{MOST_TOGETHER, Named};
use super::policies::{Policies, Prepared};
use super::{Control, forcing};
use crate::in_use::InUse;
use catraca_core::limits;
use catraca_core::policy::share::ShareKey;
use catraca_core::shard::messages::{ControlRecord, ToControl, ToShard};
use catraca_wire::DocumentKey;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::extension::{AuditOutcome, AuditTarget, Audited};
use catraca_wire::frame::{
    BlacklistFrame, ErrorCode, ListFrame, PolicyFrame, Role, ValidatorFrame, text_of,
};
use catraca_wire::list::ListOp;
use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

/// Shard whose stream keeps changes.
const CHANGES_SHARD: usize = 0;

/// Records that wait to be logged beside changes: what all cores let through of look-ups, and some of the node's own.
const MAX_TO_LOG: usize = 2 * limits::MAX_CONTROL_REQUESTS * limits::MAX_SHARDS;

/// What a client asks for.
pub(super) enum ChangeRequest {
    Blacklist(BlacklistFrame),
    List(ListFrame),
    Policy(PolicyFrame),
    Validator(ValidatorFrame),
    /// The windows of a policy that was asked for are read from the log, or can't be.
    PolicyPrepared(Box<Prepared>),
}

/// What the task that changes things is to do.
#[allow(clippy::large_enum_variant, reason = "rare, and moved twice")]
pub(super) enum Work {
    /// What a client asks for, or has asked for.
    Change(Asker, ChangeRequest),
    /// Only have a record logged; not where nobody waits for it any more, unless it is wanted anyway.
    Log { record: Box<ControlRecord>, anyway: bool, reply: oneshot::Sender<Result<(), Refused>> },
}

/// The way to the task that changes things.
#[derive(Clone)]
pub(super) struct Handle {
    requests: mpsc::UnboundedSender<Work>,
    events: mpsc::UnboundedSender<ToControl>,
    /// Records that wait to be logged.
    to_log: Rc<Cell<usize>>,
}

impl Handle {
    /// A client's request. Bounded by what each shard lets through.
    pub fn request(&self, asker: Asker, request: ChangeRequest) {
        let _ = self.requests.send(Work::Change(asker, request));
    }

    /// Has a record logged that changes nothing, between two changes, and waits until it is committed.
    /// Where that is given up the record is not logged any more, if that has not begun.
    pub async fn log(&self, record: Box<ControlRecord>) -> Result<(), Refused> {
        self.queue(record, false).await
    }

    /// The same for what has to be logged, whether somebody waits for that or not.
    pub async fn log_anyway(&self, record: Box<ControlRecord>) -> Result<(), Refused> {
        self.queue(record, true).await
    }

    async fn queue(&self, record: Box<ControlRecord>, anyway: bool) -> Result<(), Refused> {
        // Nothing is logged while a primary can't confirm: what waits for that is bounded.
        if self.to_log.get() >= MAX_TO_LOG {
            let why = "too many records wait to be logged";
            return Err(Refused(ErrorCode::Overloaded, why.to_owned()));
        }
        let (reply, logged) = oneshot::channel();
        let stopping = || Refused(ErrorCode::ShuttingDown, "the node is stopping".to_owned());
        self.requests.send(Work::Log { record, anyway, reply }).map_err(|_| stopping())?;
        self.to_log.set(self.to_log.get() + 1);
        logged.await.map_err(|_| stopping())?
    }

    /// What a core reports of the change under way: a few messages a core.
    pub fn event(&self, event: ToControl) {
        let _ = self.events.send(event);
    }
}

/// The log and the cores, as a change uses them.
pub(super) struct Changing {
    pub control: Rc<Control>,
    /// For whom something is being done, and whether a record says so.
    acting: Option<(Audited, bool)>,
    /// The person whom it is about, where its record would not say so; else zeros.
    document: [u8; DOCUMENT_LEN],
    requests: mpsc::UnboundedSender<Work>,
    events: mpsc::UnboundedReceiver<ToControl>,
}

pub(super) fn start(
    control: &Rc<Control>,
    in_use: InUse,
    approvals: Approvals,
    mut promotions: mpsc::UnboundedReceiver<InUse>,
) -> Handle {
    let (requests, mut waiting) = mpsc::unbounded_channel();
    let (event_sender, events) = mpsc::unbounded_channel();
    let to_log = Rc::new(Cell::new(0_usize));
    let waiting_to_log = Rc::clone(&to_log);
    let mut changing = Changing {
        control: Rc::clone(control),
        acting: None,
        document: [0; DOCUMENT_LEN],
        requests: requests.clone(),
        events,
    };
    let follows = control.replication.status().state.role == Role::Standby;
    tokio::task::spawn_local(async move {
        let mut in_use = in_use;
        if follows {
            // A standby's shards pass no change on. Once promoted they do at once, so what the
            // promotion gave must be here first.
            let Some(promoted) = promotions.recv().await else { return };
            in_use = promoted;
        }
        let InUse { snapshot, overlay, list_logged, named, policies, policy } = in_use;
        let mut lists = Lists::new(snapshot, overlay);
        let mut policies = Policies::new(&changing, policies, policy, approvals);
        policies.tell_lists(&changing, &named);
        let (version, services) = policies.services();
        changing.control.validators.use_found(version, &services).await;
        let share_key = ShareKey::of(&changing.control.replication.own_log().key);
        let mut named = Named::new(named, share_key);
        lists.tell_figures(&changing.control);
        if !list_logged {
            lists.log_in_use(&mut changing).await;
        }
        let mut next = None;
        loop {
            // Between two changes, also where there is always another one.
            policies.collect_if_due(&mut changing).await;
            let work = match (next.take(), policies.collect_at()) {
                (Some(work), _) => Some(work),
                (None, None) => waiting.recv().await,
                (None, Some(at)) => match timeout_at(at, waiting.recv()).await {
                    Ok(work) => work,
                    Err(_) => continue,
                },
            };
            let Some(work) = work else { return };
            let (asker, request) = match work {
                Work::Change(asker, request) => (asker, request),
                Work::Log { record, anyway, reply } => {
                    waiting_to_log.set(waiting_to_log.get() - 1);
                    if anyway || !reply.is_closed() {
                        // Who asked may be gone.
                        let _ = reply.send(changing.append(record).await);
                    }
                    continue;
                }
            };
            (changing.acting, changing.document) = (None, [0; DOCUMENT_LEN]);
            if asker.act.is_audited() {
                changing.begin(asker.audited(AuditOutcome::Done, 1));
            }
            let answer = match request {
                ChangeRequest::Blacklist(frame) => {
                    lists.request(&mut changing, asker, &frame).await.map(Some)
                }
                ChangeRequest::List(frame) => {
                    // Who is in a list is said of a person, and so told of each by itself.
                    let is_look = |frame: &ListFrame| frame.op == ListOp::Describe.to_wire();
                    let most = if is_look(&frame) { 1 } else { MOST_TOGETHER };
                    changing.document = document(&frame);
                    let mut together = vec![(asker, frame)];
                    while together.len() < most && next.is_none() {
                        match waiting.try_recv() {
                            // A record is of one who asked.
                            Ok(Work::Change(other, ChangeRequest::List(frame)))
                                if other.actor == asker.actor && !is_look(&frame) =>
                            {
                                together.push((other, frame));
                            }
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    named.requests(&mut changing, &policies, together).await;
                    continue;
                }
                ChangeRequest::Policy(frame) => {
                    policies.request(&mut changing, &named, asker, &frame).await
                }
                ChangeRequest::Validator(frame) => {
                    forcing::request(&mut changing, &policies, asker, &frame).await.map(Some)
                }
                ChangeRequest::PolicyPrepared(prepared) => {
                    policies.prepared(&mut changing, &named, asker, *prepared).await.map(Some)
                }
            };
            match answer {
                Ok(None) => {}
                Ok(Some(frame)) => match changing.end().await {
                    Ok(()) => asker.answer(&changing.control, frame).await,
                    Err(Refused(code, why)) => asker.refuse(&changing.control, code, &why).await,
                },
                Err(Refused(code, why)) => asker.refuse(&changing.control, code, &why).await,
            }
        }
    });
    Handle { requests, events: event_sender, to_log }
}

/// The document that a request about a list asks for, where its key is one.
fn document(frame: &ListFrame) -> [u8; DOCUMENT_LEN] {
    DocumentKey::parse(text_of(&frame.key)).map_or([0; DOCUMENT_LEN], DocumentKey::to_wire)
}

impl Changing {
    /// The way back to here, for what is done beside the changes.
    pub fn requests(&self) -> mpsc::UnboundedSender<Work> {
        self.requests.clone()
    }

    /// From now on something is done for somebody.
    pub fn begin(&mut self, audited: Audited) {
        self.acting = Some((audited, false));
    }

    /// What it is about, where the record's head does not say it.
    pub fn about(&mut self, target: AuditTarget) {
        if let Some((audited, _)) = &mut self.acting {
            audited.target = target;
        }
    }

    /// It is done: where no record says for whom, because nothing changed, one of its own does.
    pub async fn end(&mut self) -> Result<(), Refused> {
        match self.acting.take() {
            Some((audited, false)) => {
                let outcome = match audited.outcome {
                    AuditOutcome::Done => AuditOutcome::Unchanged,
                    outcome => outcome,
                };
                let audited = Audited { outcome, ..audited };
                self.append(audit::record(&audited, [0; 32], self.document)).await
            }
            _ => Ok(()),
        }
    }

    /// Has the record of a change logged, with who asked for it, and waits until it is committed.
    pub async fn log(
        &mut self,
        mut record: Box<ControlRecord>,
        states: States,
    ) -> Result<(), Refused> {
        if let Some((audited, is_recorded)) = &mut self.acting {
            let States { before, after } = states;
            let audited = Audited { before, after, ..*audited };
            record.extension.extend_from_slice(&audited.to_section());
            *is_recorded = true;
        }
        self.append(record).await
    }

    /// Has a record logged as it is, and waits until it is committed.
    pub async fn append(&mut self, record: Box<ControlRecord>) -> Result<(), Refused> {
        self.control.tell(CHANGES_SHARD, ToShard::AppendRecord(record)).await;
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

    /// The next event of a kind.
    pub async fn event(&mut self, wanted: impl Fn(&ToControl) -> bool) -> Option<ToControl> {
        loop {
            let event = self.events.recv().await?;
            if wanted(&event) {
                return Some(event);
            }
        }
    }
}
