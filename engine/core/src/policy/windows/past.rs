//! The windows of a policy, with what makes a payment of theirs out of a transaction.

use super::{Event, Windows, WindowsFault, WindowsKey};
use crate::calendar::{LocalOffset, Zone};
use crate::policy::{Policy, WindowsAsked};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{TransactionFields, Verdict};
use catraca_wire::record::RecordHead;

/// What was paid before, as a policy looks at it.
pub struct Past {
    windows: Windows,
    wanted: WindowsAsked,
    key: WindowsKey,
    zone: Zone,
    offset: LocalOffset,
}

impl Past {
    /// Nothing was paid yet, on one of so many shards; `None` where the policy asks nothing of windows.
    ///
    /// # Errors
    /// What it asks can't be, or needs too much.
    pub fn new(
        policy: &Policy,
        shards: u16,
        key: WindowsKey,
    ) -> Result<Option<Self>, WindowsFault> {
        let wanted = policy.rules().windows.clone();
        let Some(windows) = wanted.empty(shards)? else { return Ok(None) };
        let zone = policy.zone().clone();
        Ok(Some(Self { windows, wanted, key, zone, offset: LocalOffset::default() }))
    }

    /// Whether another policy reads it as it is: it asks for the same values, and its days are the same.
    pub fn is_of(&self, policy: &Policy) -> bool {
        self.wanted == policy.rules().windows && self.zone == *policy.zone()
    }

    /// How far back it looks, nanoseconds.
    pub fn looks_back_ns(&self) -> u64 {
        self.wanted.looks_back_ns()
    }

    /// The windows.
    pub const fn windows(&self) -> &Windows {
        &self.windows
    }

    /// The windows, to be added to.
    pub const fn windows_mut(&mut self) -> &mut Windows {
        &mut self.windows
    }

    /// A transaction as its windows see it. It is validated: its amount is above 0.
    #[inline]
    pub fn event(
        &mut self,
        payer: DocumentKey,
        payee: DocumentKey,
        transaction: &TransactionFields,
        decided_at_ns: u64,
    ) -> Event {
        let event_time_ns = transaction.event_time_ns.to_native();
        if !self.offset.holds(event_time_ns) {
            self.offset = self.zone.offset_at(event_time_ns);
        }
        self.key.event(payer, payee, transaction, decided_at_ns, self.offset.minutes)
    }

    /// Adds a decision that was recorded. One whose record no node writes counts nowhere.
    pub fn add_recorded(&mut self, payer: DocumentKey, head: &RecordHead) {
        let transaction = &head.transaction;
        let (Ok(payee), Some(verdict)) =
            (DocumentKey::from_wire(&transaction.payee), Verdict::from_wire(head.verdict))
        else {
            return;
        };
        if transaction.amount_centavos.to_native() <= 0 {
            return;
        }
        let event = self.event(payer, payee, transaction, head.decided_at_ns.to_native());
        self.windows.add(&event, verdict);
    }
}
