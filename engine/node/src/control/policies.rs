//! The policy of the running node: a text is read and checked, logged whole, and brought to every core
//! between two batches.

use super::answer::Asker;
use super::approval::{Approvals, Asked, Person};
use super::audit::{self, States};
use super::candidate::{self, Tried, Wanted};
use super::changes::{ChangeRequest, Changing, Work};
use super::list_request::Refused;
use super::named_lists::Named;
use super::named_request::NamedRequest;
use super::policy_metrics::PolicyFigures;
use super::policy_request::PolicyRequest;
use super::windows;
use crate::policy_file::{self, PolicyFile};
use crate::validators::spec::Service;
use crate::wall_clock::wall_ns;
use catraca_core::log::policies::{MAX_POLICY_LEN, PolicyId, PolicyInLog, PolicyText};
use catraca_core::named_lists::NamedLists;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::{Policy, Rule, Rules};
use catraca_core::shard::activation::{Activation, ActivationStep};
use catraca_core::shard::messages::{ControlRecord, ToControl, ToShard};
use catraca_wire::extension::ActivatedBy;
use catraca_wire::frame::{ErrorCode, PolicyFrame, PolicyStateFrame};
use catraca_wire::list::ListOp;
use catraca_wire::record::RecordKind;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often cores that have too much to do are asked again, before the change is given up.
const ATTEMPTS: u32 = 20;
/// Between two of these.
const RETRY: Duration = Duration::from_millis(50);

/// The policies of a node.
pub(super) struct Policies {
    in_force: Option<PolicyText>,
    /// What a rollback takes into use again.
    previous: Option<PolicyText>,
    rules: usize,
    /// The one in force, ready to decide.
    ready: Arc<Policy>,
    /// The windows of another one are being read from the log.
    is_preparing: bool,
    /// The policy that is tried.
    tried: Option<Tried>,
    approvals: Approvals,
}

/// What a policy is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To decide; who takes it into force, or takes back the one before it.
    Decide { by: ActivatedBy, is_rollback: bool },
    /// To be tried until a time, nanoseconds since 1970 UTC.
    Try { until_ns: u64 },
}

/// A policy whose windows were read from the log, or could not be.
pub(super) struct Prepared {
    text: Arc<[u8]>,
    file: PolicyFile,
    purpose: Purpose,
    windows: Result<windows::Read, Refused>,
}

impl Policies {
    pub fn new(
        changing: &Changing,
        logged: PolicyInLog,
        ready: Arc<Policy>,
        approvals: Approvals,
    ) -> Self {
        let in_force = logged.in_force().ok().flatten().cloned();
        let rules = ready.rules().rules.len();
        let previous = logged.previous().cloned();
        let policies =
            Self { in_force, previous, rules, ready, is_preparing: false, tried: None, approvals };
        policies.tell_figures(changing);
        policies
    }

    /// For `/metrics`.
    fn tell_figures(&self, changing: &Changing) {
        let in_force = self.in_force.as_ref();
        let figures = PolicyFigures {
            version: in_force.map_or(0, |policy| policy.version),
            rules: self.rules as u32,
            activated_at_ns: in_force.map_or(0, |policy| policy.activated_at_ns),
            ..changing.control.policy_figures.get()
        };
        changing.control.policy_figures.set(figures);
    }

    /// For `/metrics`: named lists have changed.
    pub fn tell_lists(&self, changing: &Changing, lists: &NamedLists) {
        let figures = PolicyFigures {
            named_lists: lists.lists().len() as u32,
            named_list_entries: (lists.entries() - lists.exemptions_len()) as u32,
            exemptions: lists.exemptions_len() as u32,
            ..changing.control.policy_figures.get()
        };
        changing.control.policy_figures.set(figures);
    }

    /// Whom the policy in force asks, and its version.
    pub fn services(&self) -> (u32, Vec<Service>) {
        let Some(in_force) = &self.in_force else { return (0, Vec::new()) };
        let Ok(file) = check(&in_force.text) else {
            unreachable!("the cores' policy was read from this text");
        };
        (in_force.version, file.services)
    }

    /// The rules in force.
    pub fn in_force_rules(&self) -> &Rules {
        self.ready.rules()
    }

    /// The rules of the policy that is tried.
    pub fn tried_rules(&self) -> Option<&Rules> {
        self.tried.as_ref().map(|tried| tried.policy.rules())
    }

    /// When what came of the policy that is tried is collected next.
    pub fn collect_at(&self) -> Option<Instant> {
        self.tried.as_ref().map(|tried| tried.collect_at)
    }

    /// Collects it, if it is time.
    pub async fn collect_if_due(&mut self, changing: &mut Changing) {
        if let Some(tried) = self.tried.as_mut().filter(|tried| tried.collect_at <= Instant::now())
        {
            candidate::collect_for_scrapes(changing, tried).await;
        }
    }

    /// A request, if it exempts from no rule but one in force.
    pub fn has_rule_of(&self, request: NamedRequest) -> Result<NamedRequest, Refused> {
        let is_known = |rule: &Rule| rule.id == request.name.as_str();
        if request.op != ListOp::Exempt || self.ready.rules().rules.iter().any(is_known) {
            return Ok(request);
        }
        let why = format!("the policy in force has no rule {}", request.name);
        Err(Refused(ErrorCode::Failed, why))
    }

    /// Carries a request out; gives the frame that answers it. `None`: what it needs is read from the log
    /// first, beside other changes, and comes back as [`Prepared`].
    pub async fn request(
        &mut self,
        changing: &mut Changing,
        named: &Named,
        asker: Asker,
        frame: &PolicyFrame,
    ) -> Result<Option<Vec<u8>>, Refused> {
        changing.about(audit::target(&hex::encode(frame.policy_id)));
        let ((text, file), purpose) = match PolicyRequest::read(frame)? {
            PolicyRequest::Describe => return Ok(Some(self.answer(asker, false))),
            PolicyRequest::Activate { path, id } => {
                self.refuse_while_preparing()?;
                let read = read(path, id).await?;
                named.for_rules(&read.1.rules)?;
                if self.in_force.as_ref().is_some_and(|policy| policy.id == id) {
                    self.approvals.withdraw();
                    return Ok(Some(self.answer(asker, false)));
                }
                match granted(self.approvals.ask(id, Person::of(&asker.actor)))? {
                    Some(by) => (read, Purpose::Decide { by, is_rollback: false }),
                    None => return Ok(Some(self.answer(asker, false))),
                }
            }
            PolicyRequest::Rollback { from } => {
                self.refuse_while_preparing()?;
                let before = self.before(from)?;
                match granted(self.approvals.ask_back(before.1.id, Person::of(&asker.actor)))? {
                    Some(by) => (before, Purpose::Decide { by, is_rollback: true }),
                    None => return Ok(Some(self.answer(asker, false))),
                }
            }
            PolicyRequest::Candidate { path, id, until_ns } => {
                candidate::check_until(until_ns)?;
                (read(path, id).await?, Purpose::Try { until_ns })
            }
            PolicyRequest::EndCandidate => {
                let changed = self.tried.is_some();
                changing.end().await?;
                self.tried = candidate::set(changing, None).await;
                self.broadcast_what_is_read(changing).await;
                return candidate::compare(changing, asker, None, changed).await.map(Some);
            }
            PolicyRequest::Compare => {
                return candidate::compare(changing, asker, self.tried.as_ref(), false)
                    .await
                    .map(Some);
            }
        };
        self.refuse_while_preparing()?;
        // Before its windows are read, which takes its time.
        named.for_rules(&file.rules)?;
        let decides = matches!(purpose, Purpose::Decide { .. });
        if let Some(service) = file.services.first().filter(|_| !decides) {
            // Its questions would cost the service as much as those of the policy in force.
            let why = format!(
                "it asks the validator {}, and a policy that is tried asks nobody: replay the log by it",
                service.id
            );
            return Err(Refused(ErrorCode::Failed, why));
        }
        if decides && self.in_force.as_ref().is_some_and(|policy| policy.id == file.id) {
            return Ok(Some(self.answer(asker, false)));
        }
        // Of whatever version.
        let policy: Arc<Policy> = Policy::new(1, file.zone.clone(), file.rules.clone()).into();
        // What is tried has windows of its own.
        if policy.window_values() == 0 || (decides && policy.reads_windows_of(&self.ready)) {
            return self.carry_out(changing, named, asker, text, file, purpose).await.map(Some);
        }
        self.is_preparing = true;
        let (control, requests) = (Rc::clone(&changing.control), changing.requests());
        tokio::task::spawn_local(async move {
            let windows = windows::read_all(&control, &policy).await;
            let prepared = Box::new(Prepared { text, file, purpose, windows });
            // Nobody takes it when the node stops.
            let _ = requests.send(Work::Change(asker, ChangeRequest::PolicyPrepared(prepared)));
        });
        Ok(None)
    }

    fn refuse_while_preparing(&self) -> Result<(), Refused> {
        let why =
            "the windows of another policy are being read from the log; nothing changed: try again";
        if self.is_preparing {
            return Err(Refused(ErrorCode::Failed, why.to_owned()));
        }
        Ok(())
    }

    /// The windows of a policy are read: brings them level with every core, and takes it into force.
    pub async fn prepared(
        &mut self,
        changing: &mut Changing,
        named: &Named,
        asker: Asker,
        prepared: Prepared,
    ) -> Result<Vec<u8>, Refused> {
        self.is_preparing = false;
        let Prepared { text, file, purpose, windows } = prepared;
        let answer = match windows::bring(changing, windows?).await {
            Ok(()) => self.carry_out(changing, named, asker, text, file, purpose).await,
            Err(refused) => Err(refused),
        };
        if answer.is_err() {
            windows::forget(changing).await;
            self.broadcast_what_is_read(changing).await;
        }
        answer
    }

    /// Has the cores tell each other of payments as long as a policy reads that.
    async fn broadcast_what_is_read(&self, changing: &mut Changing) {
        let tried = self.tried.as_ref().is_some_and(|tried| tried.policy.reads_siblings());
        // It fails when the node stops.
        let _ = windows::broadcast(changing, tried || self.ready.reads_siblings()).await;
    }

    /// Takes a policy into force, or has it tried; every core has its windows.
    async fn carry_out(
        &mut self,
        changing: &mut Changing,
        named: &Named,
        asker: Asker,
        text: Arc<[u8]>,
        file: PolicyFile,
        purpose: Purpose,
    ) -> Result<Vec<u8>, Refused> {
        changing.about(audit::target(&hex::encode(file.id.0)));
        let looked_up = named.for_rules(&file.rules)?;
        match purpose {
            Purpose::Decide { by, is_rollback } => {
                self.activate(changing, looked_up, (asker, by), text, file).await?;
                self.approvals.done(is_rollback);
                self.broadcast_what_is_read(changing).await;
                Ok(self.answer(asker, true))
            }
            Purpose::Try { until_ns } => {
                let policy = Policy::new(u32::MAX, file.zone, file.rules).into();
                let wanted = Wanted { id: file.id, policy, named: looked_up, until_ns };
                changing.end().await?;
                self.tried = candidate::set(changing, Some(wanted)).await;
                self.broadcast_what_is_read(changing).await;
                candidate::compare(changing, asker, self.tried.as_ref(), true).await
            }
        }
    }

    fn answer(&self, asker: Asker, changed: bool) -> Vec<u8> {
        bytemuck::bytes_of(&self.state(asker.correlation, changed)).to_vec()
    }

    /// The policy that was in force before the one that the caller thinks is.
    fn before(&self, from: PolicyId) -> Result<(Arc<[u8]>, PolicyFile), Refused> {
        let failed = |why: &str| Refused(ErrorCode::Failed, why.to_owned());
        let in_force =
            self.in_force.as_ref().ok_or_else(|| failed("no policy was ever in force"))?;
        if in_force.id != from {
            return Err(failed("another policy is in force than the one to be rolled back"));
        }
        let before = self.previous.as_ref().ok_or_else(|| {
            failed("this start knows none from before; `catraca policy history` has the texts: activate one")
        })?;
        Ok((Arc::clone(&before.text), check(&before.text)?))
    }

    /// Takes a policy into force whose windows every core has.
    async fn activate(
        &mut self,
        changing: &mut Changing,
        named: Arc<InForce>,
        (asker, by): (Asker, ActivatedBy),
        text: Arc<[u8]>,
        file: PolicyFile,
    ) -> Result<(), Refused> {
        let version = self.in_force.as_ref().map_or(0, |policy| policy.version);
        let next = PolicyText {
            version: version.checked_add(1).ok_or_else(|| {
                Refused(ErrorCode::Failed, "there are no versions left".to_owned())
            })?,
            activated_at_ns: wall_ns(),
            id: file.id,
            text,
        };
        let before = self.in_force.as_ref().map_or([0; 32], |policy| policy.id.0);
        let states = States { before, after: file.id.0 };
        let asked = changing.control.validators.prepare(&file.services);
        let mut asked = Some(asked.map_err(|(id, fault)| {
            let why = format!("the validator {id} can't be asked: {fault}");
            Refused(ErrorCode::Failed, why)
        })?);
        let rules = file.rules.rules.len();
        let policy: Arc<Policy> = Policy::new(next.version, file.zone, file.rules).into();
        let shards = changing.control.shards();
        let mut activation = Activation::new(&next, &by, Arc::clone(&policy), shards);
        let (mut step, mut attempts) = (activation.begin(), 1);
        loop {
            step = match step {
                ActivationStep::Log(record) => match log_step(changing, record, states).await {
                    Ok(()) => activation.logged(),
                    // A text that is left unfinished does no harm.
                    Err(refused) if attempts == ATTEMPTS => return Err(refused),
                    Err(_) => {
                        attempts += 1;
                        tokio::time::sleep(RETRY).await;
                        activation.refused()
                    }
                },
                ActivationStep::Swap(policy) => {
                    if let Some(asked) = asked.take() {
                        let validators = &changing.control.validators;
                        validators.use_prepared(policy.version(), asked).await;
                    }
                    let swap = || ToShard::SwapPolicy(Arc::clone(&policy), Arc::clone(&named));
                    changing.control.tell_all(swap).await;
                    ActivationStep::Wait
                }
                ActivationStep::Wait => {
                    // The policy before is freed here.
                    let released =
                        |event: &ToControl| matches!(event, ToControl::PolicyReleased(..));
                    if let Some(ToControl::PolicyReleased(_, _, released)) =
                        changing.event(released).await
                    {
                        windows::free(released);
                    }
                    activation.swapped()
                }
                ActivationStep::Done => break,
            };
        }
        tracing::info!(
            version = next.version, id = %next.id, rules,
            author = by.author.as_str(), approver = by.approver.as_str(),
            shard = asker.shard, connection = asker.connection.slot, "policy in force"
        );
        self.rules = rules;
        self.ready = policy;
        self.previous = self.in_force.replace(next);
        self.tell_figures(changing);
        Ok(())
    }

    fn state(&self, correlation: u64, changed: bool) -> PolicyStateFrame {
        let mut state = PolicyStateFrame::empty(correlation);
        if let Some(policy) = &self.in_force {
            state.version = policy.version.into();
            state.policy_id = policy.id.0;
            state.activated_at_ns = policy.activated_at_ns.into();
            state.rules = (self.rules as u32).into();
            state.text_len = (policy.text.len() as u32).into();
        }
        if let Some(policy) = &self.previous {
            state.previous_version = policy.version.into();
            state.previous_policy_id = policy.id.0;
        }
        if let Some(waiting) = self.approvals.waits() {
            state.waits_for_approval = 1;
            let (begin, _) = waiting.0.split_at(state.waiting_policy.len());
            state.waiting_policy.copy_from_slice(begin);
        }
        state.changed = u8::from(changed);
        state
    }
}

/// Logs a part of a policy's text, or that it comes into force: that says for whom.
async fn log_step(
    changing: &mut Changing,
    record: Box<ControlRecord>,
    states: States,
) -> Result<(), Refused> {
    if record.head.kind == RecordKind::PolicyActivated.to_wire() {
        changing.log(record, states).await
    } else {
        changing.append(record).await
    }
}

/// Who takes a policy into force; `None` where another client has to ask for it, too.
fn granted(asked: Asked) -> Result<Option<ActivatedBy>, Refused> {
    match asked {
        Asked::Granted(by) => Ok(Some(by)),
        Asked::Waits => Ok(None),
        Asked::OtherWaits(waiting) => {
            let why = format!(
                "another policy waits for approval, {waiting}: compare your file; activate the one in force to withdraw"
            );
            Err(Refused(ErrorCode::Failed, why))
        }
        Asked::Nameless => {
            let why =
                "two clients have to agree on a policy, and this connection has no credential";
            Err(Refused(ErrorCode::Forbidden, why.to_owned()))
        }
    }
}

/// Reads a policy's file, off this thread, and holds it to the name that the caller gave it.
async fn read(path: PathBuf, id: PolicyId) -> Result<(Arc<[u8]>, PolicyFile), Refused> {
    let failed = |why: String| Refused(ErrorCode::Failed, why);
    let reading = tokio::task::spawn_blocking(move || {
        let text =
            read_text(&path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
        if PolicyId::of(&text) != id {
            let why = "the file there is not the one that was checked; check it again";
            return Err(failed(format!("{}: {why}", path.display())));
        }
        let file = check(&text)?;
        Ok((text, file))
    });
    reading.await.map_err(|error| failed(format!("the policy could not be read: {error}")))?
}

fn read_text(path: &Path) -> std::io::Result<Arc<[u8]>> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_POLICY_LEN as u64 + 1).read_to_end(&mut text)?;
    Ok(text.into())
}

/// What is first wrong with a text.
fn check(text: &[u8]) -> Result<PolicyFile, Refused> {
    let failed = |why: String| Refused(ErrorCode::Failed, why);
    let text =
        std::str::from_utf8(text).map_err(|_| failed("the policy is no UTF-8".to_owned()))?;
    policy_file::parse(text).map_err(|faults| {
        let first = faults
            .first()
            .map_or_else(String::new, |fault| format!("line {}: {}", fault.line, fault.message));
        failed(format!("the policy is refused, {} faults; {first}", faults.len()))
    })
}
