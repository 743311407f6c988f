//! The windows of a policy, with what makes a payment of theirs out of a transaction.

use super::{CheckpointFault, Event, Windows, WindowsFault, WindowsKey};
use crate::calendar::{LocalOffset, Zone};
use crate::policy::{Policy, WindowsAsked};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{TransactionFields, Verdict};
use catraca_wire::record::RecordHead;

/// A payment that a shard has decided on and recorded.
#[derive(Debug, Clone, Copy)]
pub struct DecidedPayment {
    /// The shard, and its stream.
    pub stream: u16,
    /// Its record in that stream.
    pub lsn: u64,
    /// Who pays.
    pub payer: DocumentKey,
    /// Who is paid.
    pub payee: DocumentKey,
    /// All of it. It is validated: its amount is above 0.
    pub transaction: TransactionFields,
    /// When it was decided, nanoseconds since 1970 UTC.
    pub decided_at_ns: u64,
    /// What was decided.
    pub verdict: Verdict,
}

/// What was paid before, as a policy looks at it: on one shard, or in all of a log.
///
/// A shard has windows of its own payers, and of whatever else is asked for (payees, devices, accounts) it
/// has those of all shards' payments, as each of its siblings has.
pub struct Past {
    windows: Windows,
    wanted: WindowsAsked,
    key: WindowsKey,
    zone: Zone,
    offset: LocalOffset,
    /// `None`: payments of all payers are its own.
    shard: Option<u16>,
    is_shared: bool,
    /// By stream: the last record that it was given; shorter where there was none.
    last_lsns: Vec<u64>,
}

impl Past {
    /// Nothing was paid yet, on a node with so many shards; `None` where the policy asks nothing of windows.
    /// Payments of all payers are its own, unless it becomes [`Self::of_shard`].
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
        Ok(Some(Self {
            windows,
            is_shared: wanted.across_shards().is_some(),
            wanted,
            key,
            zone,
            offset: LocalOffset::default(),
            shard: None,
            last_lsns: Vec::new(),
        }))
    }

    /// Only the payments of this shard's payers are its own.
    #[must_use]
    pub fn of_shard(self, shard: u16) -> Self {
        Self { shard: Some(shard), ..self }
    }

    /// It goes on from a checkpoint of its windows, which have these records of each stream: see
    /// [`Windows::write`].
    ///
    /// # Errors
    /// The bytes are not of such windows.
    pub fn restore(
        &mut self,
        shards: u16,
        bytes: &[u8],
        last_lsns: &[u64],
    ) -> Result<(), CheckpointFault> {
        self.windows = self.wanted.restored(shards, bytes)?;
        self.last_lsns = last_lsns.to_vec();
        Ok(())
    }

    /// Whether another policy reads it as it is: it asks for the same values, and its days are the same.
    pub fn is_of(&self, policy: &Policy) -> bool {
        self.wanted == policy.rules().windows && self.zone == *policy.zone()
    }

    /// Whether payments of other shards' payers are in it too.
    pub const fn is_shared(&self) -> bool {
        self.is_shared
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

    /// The last record of a stream that it was given; 0 for none.
    pub fn last_lsn(&self, stream: u16) -> u64 {
        self.last_lsns.get(usize::from(stream)).copied().unwrap_or(0)
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

    /// Takes what a shard has decided: nothing where it was given that before.
    #[inline]
    pub fn take(&mut self, payment: &DecidedPayment) {
        let &DecidedPayment { stream, lsn, payer, payee, decided_at_ns, verdict, .. } = payment;
        if self.is_next(stream, lsn) && self.wants(stream) {
            let event = self.event(payer, payee, &payment.transaction, decided_at_ns);
            self.add(stream, &event, verdict);
        }
    }

    /// Takes what siblings have decided, as [`Self::take`] does one by one. `events` is room for as many.
    pub fn take_of_siblings(&mut self, payments: &[DecidedPayment], events: &mut Vec<Event>) {
        if !self.is_shared {
            return;
        }
        events.clear();
        for payment in payments {
            let &DecidedPayment { payer, payee, decided_at_ns, .. } = payment;
            let event = self.event(payer, payee, &payment.transaction, decided_at_ns);
            self.windows.prefetch_of_sibling(&event);
            events.push(event);
        }
        events.iter().for_each(|event| self.windows.prefetch_entries_of_sibling(event));
        for (payment, event) in payments.iter().zip(&*events) {
            if self.is_next(payment.stream, payment.lsn) {
                self.add(payment.stream, event, payment.verdict);
            }
        }
    }

    /// Takes a recorded decision on a payer whom this shard owns now: nothing where it was given that before.
    /// One whose record no node writes counts nowhere.
    pub fn take_recorded(
        &mut self,
        (stream, owner): (u16, u16),
        payer: DocumentKey,
        head: &RecordHead,
    ) {
        if !self.is_next(stream, head.lsn.to_native()) || !self.wants(owner) {
            return;
        }
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
        self.add(owner, &event, verdict);
    }

    /// What happened up to this time to payers of some shards is not known, nanoseconds since 1970 UTC.
    pub fn forget_up_to(&mut self, owners: &std::ops::RangeInclusive<u16>, event_time_ns: u64) {
        if self.shard.is_none_or(|shard| owners.contains(&shard)) {
            self.windows.forget_up_to(event_time_ns);
        } else {
            self.windows.forget_of_sibling_up_to(event_time_ns);
        }
    }

    fn owns(&self, owner: u16) -> bool {
        self.shard.is_none_or(|shard| shard == owner)
    }

    fn wants(&self, owner: u16) -> bool {
        self.is_shared || self.owns(owner)
    }

    fn add(&mut self, owner: u16, event: &Event, verdict: Verdict) {
        if self.owns(owner) {
            self.windows.add(event, verdict);
        } else {
            self.windows.add_of_sibling(event, verdict);
        }
    }

    /// Whether a record of a stream is behind all that were given.
    fn is_next(&mut self, stream: u16, lsn: u64) -> bool {
        let stream = usize::from(stream);
        if self.last_lsns.len() <= stream {
            self.last_lsns.resize(stream + 1, 0);
        }
        let is_next = self.last_lsns[stream] < lsn;
        if is_next {
            self.last_lsns[stream] = lsn;
        }
        is_next
    }
}
