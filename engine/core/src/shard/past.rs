//! What a shard knows of payments before: the windows of the policy in force, and those of a coming one on
//! their way to the last payment.
//!
//! ```text
//! keep → payments are kept from here on      meanwhile: all before are read from the log into new windows
//! catch up → those kept are added, some at a time, until none is left: level from then on
//! swap → the policy and its windows at once
//! ```

use super::messages::{CaughtUp, ToControl};
use crate::policy::Policy;
use crate::policy::windows::{Event, Past};
use catraca_wire::DocumentKey;
use catraca_wire::extension::{MAX_WINDOW_VALUES, WindowValue};
use catraca_wire::frame::{TransactionFields, Verdict};
use std::collections::VecDeque;

/// Payments that are kept at most while the windows of a coming policy are behind: half a second of a core
/// with all that it can do. 14 MB.
pub const MAX_KEPT: usize = 1 << 16;
/// Payments that are added at once between two batches: 300 µs at most.
const ADDED_AT_ONCE: usize = 512;

/// A payment that coming windows lack.
#[derive(Debug, Clone, Copy)]
struct Kept {
    lsn: u64,
    payer: DocumentKey,
    payee: DocumentKey,
    transaction: TransactionFields,
    decided_at_ns: u64,
    verdict: Verdict,
}

/// Payments that coming windows lack, with room for [`MAX_KEPT`].
pub struct KeptPayments {
    payments: VecDeque<Kept>,
    /// One found no room: what is kept is of no use.
    lost: bool,
}

impl Default for KeptPayments {
    fn default() -> Self {
        Self { payments: VecDeque::with_capacity(MAX_KEPT), lost: false }
    }
}

/// The windows of a coming policy.
#[derive(Default)]
enum Coming {
    #[default]
    Nothing,
    /// They are read from the log.
    Kept(Box<KeptPayments>),
    /// They lack what is kept.
    Behind(Box<Past>, Box<KeptPayments>),
    /// They lack nothing.
    Level(Box<Past>),
}

/// What a shard knows of payments before.
pub(super) struct Payments {
    in_force: Option<Box<Past>>,
    coming: Coming,
    /// The payments that are judged together, by row.
    events: Vec<Event>,
    values: Box<[WindowValue; MAX_WINDOW_VALUES]>,
}

impl Payments {
    /// Of a policy that is in force.
    pub fn new(in_force: Option<Box<Past>>) -> Self {
        Self {
            in_force,
            coming: Coming::Nothing,
            events: Vec::with_capacity(crate::limits::DECISION_BATCH),
            values: Box::new([WindowValue::Evicted; MAX_WINDOW_VALUES]),
        }
    }

    /// The windows of the policy in force.
    pub fn in_force(&self) -> Option<&Past> {
        self.in_force.as_deref()
    }

    /// Other windows are in force: of a node that takes over. Gives those before.
    pub fn replace(&mut self, in_force: Option<Box<Past>>) -> Option<Box<Past>> {
        self.coming = Coming::Nothing;
        std::mem::replace(&mut self.in_force, in_force)
    }

    /// Begins a batch.
    pub fn begin(&mut self) {
        self.events.clear();
    }

    /// What windows say of the next transaction of the batch; `None` if it must wait until those before it
    /// in the batch are decided on and added.
    #[inline]
    pub fn read(
        &mut self,
        (payer, payee): (DocumentKey, DocumentKey),
        transaction: &TransactionFields,
        decided_at_ns: u64,
    ) -> Option<&[WindowValue]> {
        let Some(past) = &mut self.in_force else { return Some(&[]) };
        let event = past.event(payer, payee, transaction, decided_at_ns);
        let windows = past.windows();
        if !self.events.is_empty() && windows.must_wait(&event, &self.events) {
            return None;
        }
        let values = &mut self.values[..windows.asked().len()];
        windows.read(&event, values);
        self.events.push(event);
        Some(values)
    }

    /// Adds a payment of the batch, whose decision is recorded.
    #[inline]
    pub fn add(
        &mut self,
        (row, lsn): (usize, u64),
        (payer, payee): (DocumentKey, DocumentKey),
        transaction: &TransactionFields,
        decided_at_ns: u64,
        verdict: Verdict,
    ) {
        if let Some(past) = &mut self.in_force {
            past.windows_mut().add(&self.events[row], verdict);
        }
        match &mut self.coming {
            Coming::Nothing => {}
            Coming::Level(past) => {
                let event = past.event(payer, payee, transaction, decided_at_ns);
                past.windows_mut().add(&event, verdict);
            }
            Coming::Kept(kept) | Coming::Behind(_, kept) => {
                if kept.payments.len() == MAX_KEPT {
                    kept.lost = true;
                } else {
                    let transaction = *transaction;
                    kept.payments.push_back(Kept {
                        lsn,
                        payer,
                        payee,
                        transaction,
                        decided_at_ns,
                        verdict,
                    });
                }
            }
        }
    }

    /// Keeps payments from here on. Gives the windows of a policy that no longer comes.
    pub fn keep(&mut self, room: Box<KeptPayments>) -> Option<Box<Past>> {
        assert!(room.payments.is_empty() && !room.lost, "room for payments has none");
        match std::mem::replace(&mut self.coming, Coming::Kept(room)) {
            Coming::Behind(past, _) | Coming::Level(past) => Some(past),
            Coming::Nothing | Coming::Kept(_) => None,
        }
    }

    /// Adds some of what was kept to the windows that have all before: those given, with the last record
    /// that they have, or those given before.
    pub fn catch_up(&mut self, given: Option<(Box<Past>, u64)>) -> CaughtUp {
        let (mut past, mut kept) = match (std::mem::take(&mut self.coming), given) {
            (Coming::Kept(mut kept), Some((past, has_lsn))) => {
                // A block that was read whole may have some of what was kept since.
                while kept.payments.front().is_some_and(|kept| kept.lsn <= has_lsn) {
                    kept.payments.pop_front();
                }
                (past, kept)
            }
            (Coming::Behind(past, kept), None) => (past, kept),
            (Coming::Level(past), None) => {
                self.coming = Coming::Level(past);
                return CaughtUp::Level;
            }
            (Coming::Nothing | Coming::Kept(_), None) | (_, Some(_)) => {
                unreachable!("windows come after payments are kept, once")
            }
        };
        if kept.lost {
            return CaughtUp::TooFarBehind(past);
        }
        for _ in 0..ADDED_AT_ONCE {
            let Some(Kept { payer, payee, transaction, decided_at_ns, verdict, .. }) =
                kept.payments.pop_front()
            else {
                self.coming = Coming::Level(past);
                return CaughtUp::Level;
            };
            let event = past.event(payer, payee, &transaction, decided_at_ns);
            past.windows_mut().add(&event, verdict);
        }
        self.coming = Coming::Behind(past, kept);
        CaughtUp::Behind
    }

    /// A policy comes into force: with the windows in force if they are its own, else with those that came.
    /// Gives those that are no longer used.
    pub fn swap(&mut self, policy: &Policy) -> [Option<Box<Past>>; 2] {
        let came = match std::mem::take(&mut self.coming) {
            Coming::Behind(past, _) => [None, Some(past)],
            Coming::Level(past) => [Some(past), None],
            Coming::Nothing | Coming::Kept(_) => [None, None],
        };
        if policy.window_values() == 0 || self.in_force.as_ref().is_some_and(|p| p.is_of(policy)) {
            let keeps = policy.window_values() > 0;
            let released = if keeps { None } else { self.in_force.take() };
            return [released, came.into_iter().flatten().next()];
        }
        let [level, behind] = came;
        let level = level.filter(|past| past.is_of(policy));
        let level = level.expect("a policy comes into force with its windows");
        [self.in_force.replace(level), behind]
    }
}

/// What a shard says of a coming policy's windows.
impl From<CaughtUp> for ToControl {
    fn from(caught_up: CaughtUp) -> Self {
        Self::CaughtUp(caught_up)
    }
}
