//! The audit trail: who asked for what, and what came of it, in the log.
//!
//! What changes something has a record of its own, and that one says who asked for it. What changes nothing and is
//! told all the same (personal data given out, a request for what is so already) has a record of kind `audit`. Both are
//! durable before anything takes effect or is answered. Refusals give nobody anything: they are counted, and recorded
//! within a second or two.

use super::Control;
use super::answer::Asker;
use super::changes;
use super::list_request::Refused;
use crate::wall_clock::wall_ns;
use catraca_core::shard::messages::{Admission, ControlRecord, ControlRequest, Refusals};
use catraca_core::shard::refusals;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::extension::{AuditOutcome, AuditTarget, Audited};
use catraca_wire::frame::{
    BlacklistOp, ClusterOp, ErrorCode, FrameKind, PolicyOp, PrincipalFields, TRANSACTION_ID_LEN,
};
use catraca_wire::list::ListOp;
use std::rc::Rc;
use std::time::Duration;

/// How often refusals are recorded.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long a record is waited for where something was done already, or is to be done whatever becomes of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was asked for, as the audit trail names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Act {
    kind: FrameKind,
    op: u8,
    /// It is more than a look at figures: it changes something, or gives personal data out.
    is_audited: bool,
}

impl Act {
    /// Of a request.
    pub fn of(request: &ControlRequest) -> Self {
        let is_audited = match request {
            ControlRequest::Stats(_) => false,
            ControlRequest::Lookup(_)
            | ControlRequest::Label(_)
            | ControlRequest::Validator(_)
            | ControlRequest::Audit(_) => true,
            ControlRequest::Blacklist(frame) => frame.op != BlacklistOp::Describe.to_wire(),
            ControlRequest::Policy(frame) => {
                ![PolicyOp::Describe, PolicyOp::Compare].iter().any(|op| op.to_wire() == frame.op)
            }
            // Whether somebody is in a list is said of a person.
            ControlRequest::List(frame) => {
                frame.op != ListOp::Describe.to_wire() || frame.key.iter().any(|&byte| byte != 0)
            }
            ControlRequest::Cluster(frame) => frame.op != ClusterOp::Describe.to_wire(),
        };
        Self { kind: request.kind(), op: request.op(), is_audited }
    }

    /// Whether it is more than a look at figures.
    pub const fn is_audited(self) -> bool {
        self.is_audited
    }
}

/// What names the state of something, before and after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct States {
    pub before: [u8; 32],
    pub after: [u8; 32],
}

impl States {
    /// Of what numbers name.
    pub fn of_numbers(before: &[u64], after: &[u64]) -> Self {
        let name = |numbers: &[u64]| {
            let mut hasher = blake3::Hasher::new();
            for number in numbers {
                hasher.update(&number.to_le_bytes());
            }
            *hasher.finalize().as_bytes()
        };
        Self { before: name(before), after: name(after) }
    }
}

impl Asker {
    /// What the audit trail says of what came of it; `count` requests like this one.
    pub fn audited(&self, outcome: AuditOutcome, count: usize) -> Audited {
        Audited {
            act: Some(self.act.kind),
            op: self.act.op,
            outcome,
            code: None,
            count: u32::try_from(count).unwrap_or(u32::MAX).max(1),
            asked_at_ns: self.asked_at_ns,
            principal: self.actor.principal,
            via: self.actor.via,
            via_remote: self.actor.via_remote,
            target: AuditTarget::EMPTY,
            before: [0; 32],
            after: [0; 32],
        }
    }
}

/// A target out of whatever text; what is too long is cut.
pub(super) fn target(text: &str) -> AuditTarget {
    let end = (0..=text.len().min(64)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    AuditTarget::parse(text[..end].trim()).unwrap_or(AuditTarget::EMPTY)
}

/// A record of its own, about the transaction with this id and the person with this document, where they are not zeros.
pub(super) fn record(
    audited: &Audited,
    id: [u8; TRANSACTION_ID_LEN],
    document: [u8; DOCUMENT_LEN],
) -> Box<ControlRecord> {
    let mut head = audited.to_record(wall_ns());
    (head.transaction.id, head.transaction.payer) = (id, document);
    Box::new(ControlRecord { head, extension: audited.to_section().to_vec() })
}

/// Records something for whom it is too late to be refused: it is done, or is to be done all the same.
/// Gives whether that came to an end.
pub(super) async fn record_anyway(changes: &changes::Handle, audited: &Audited) -> bool {
    let logged =
        tokio::time::timeout(PATIENCE, changes.log_anyway(record(audited, [0; 32], [0; 14])));
    let why = match logged.await {
        Ok(Ok(())) => return true,
        Ok(Err(Refused(code, why))) => format!("{code}: {why}"),
        Err(_) => "it is not known to be safe".to_owned(),
    };
    let act = audited.act.map_or("reload", FrameKind::name);
    tracing::error!(why, act, op = audited.op, "something was done that the audit trail lacks");
    false
}

/// Takes note of a refusal.
pub(super) fn refused(control: &Control, asker: &Asker, code: ErrorCode) {
    if asker.act.is_audited {
        control.refused.borrow_mut().add(&asker.actor.principal, asker.act.kind, code);
    }
}

/// What one of several refusals that are alike says.
pub(super) fn of_refusals(refusals: &Refusals) -> Audited {
    let Refusals { principal, act, code, count, told_at_ns } = *refusals;
    Audited {
        act,
        op: 0,
        outcome: AuditOutcome::Refused,
        code: Some(code),
        count,
        asked_at_ns: told_at_ns,
        principal,
        via: [0; 16],
        via_remote: [0; 16],
        target: AuditTarget::EMPTY,
        before: [0; 32],
        after: [0; 32],
    }
}

/// What was asked for on the node's own machine.
pub(super) fn of_machine(what: &str, states: States) -> Audited {
    let mut principal = PrincipalFields::default();
    principal.subject[..6].copy_from_slice(b"SIGHUP");
    Audited {
        act: None,
        op: 0,
        outcome: AuditOutcome::Done,
        code: None,
        count: 1,
        asked_at_ns: wall_ns(),
        principal,
        via: [0; 16],
        via_remote: [0; 16],
        target: target(what),
        before: states.before,
        after: states.after,
    }
}

/// Records refusals, the cores' and those of the control thread, for as long as the node runs. A standby logs nothing:
/// its own are told in the program's log.
pub(super) async fn tell_refusals(control: Rc<Control>, changes: changes::Handle) {
    let began = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        let now_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let alike = control.refused.borrow_mut().take(now_ns, wall_ns());
        // What is left of a disk that is nearly full is for what was accepted.
        let mut records = control.decides() && control.admission.get() != Admission::DiskFull;
        for refusals in alike {
            if records {
                // While nothing can be recorded the others are not waited for, one after the other.
                records = record_anyway(&changes, &of_refusals(&refusals)).await;
                continue;
            }
            let Refusals { act, code, count, .. } = refusals;
            let act = act.map_or("several", FrameKind::name);
            tracing::warn!(act, %code, count, "refused, and not recorded: a standby records nothing, nor does a full disk");
        }
    }
}

/// The refusals of the control thread and the cores.
pub(super) type RefusedHere = std::cell::RefCell<refusals::Refused>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_cut_at_a_character() {
        assert_eq!(target("vip").as_str(), "vip");
        assert_eq!(target(&"ã".repeat(40)).as_str(), "ã".repeat(32));
        assert_eq!(target("a\nb").as_str(), "", "what can't be shown is not told");
        assert_eq!(target(&format!("{}  b", "a".repeat(63))).as_str(), "a".repeat(63));
    }

    #[test]
    fn numbers_name_states() {
        let states = States::of_numbers(&[1, 2], &[1, 3]);
        assert_ne!(states.before, states.after);
        assert_eq!(states, States::of_numbers(&[1, 2], &[1, 3]));
    }
}
