//! What was paid before: windows of time over payments, which rules may read. Pure: no I/O, no clock.
//!
//! ```text
//! read   payment → for each subject: key → entry → its windows → a value for each that is asked
//! add    payment, verdict → for each subject: key → entry, a new one if there is none → its windows
//! ```
//!
//! - **Order.** [`Windows::read`] changes nothing, and sees what was added before. A payment is added once,
//!   after its verdict; one that is sent again is the caller's to recognise. The same payments in the same
//!   order give the same state, bit for bit, on every machine.
//! - **Time.** A payment counts when it happened, by its own time, but not after it was decided: a time
//!   in the future is taken for the time of the decision, so that what is not yet pushes out nothing that
//!   is. One that comes late is counted where it belongs if that is still held, else nowhere; that raises
//!   [`Windows::late`].
//! - **Error.** A sliding window never covers less than its span, `(t - span, t]`, and less than one
//!   bucket more, before it. Where a later payment came first, it may also see what is later than
//!   itself and in the same bucket. Calendar windows are exact.
//! - **Memory.** Each subject has a table of bounded length ([`Windows::bytes_per_key`]). A full one lets
//!   go whoever was not added to for longest, about. What was let go is never silently a zero: where a
//!   window reaches back to it, values read [`Value::Evicted`], or [`Value::Saturated`] with what is still
//!   known.

mod checkpoint;
mod column;
mod key;
mod layout;
mod moment;
mod past;
mod series;
mod set;
mod spec;
mod table;

use self::layout::Layout;
use self::moment::Moment;
use self::series::Payment;
use self::table::{INDEX_LEN_PER_KEY, KeyTable};
use crate::memory::TableMemory;
use catraca_wire::frame::Verdict;

pub use catraca_wire::extension::WindowValue as Value;

pub use self::checkpoint::{CheckpointFault, Digest};
pub use self::key::WindowsKey;
pub use self::past::{DecidedPayment, Past};
pub use self::set::{ESTIMATED, SET_MAX};
pub use self::spec::{
    Asked, Filter, Function, Keys, MAX_ASKED, MAX_BUCKETS, MAX_ENTRY_LEN, MAX_KEYS, MAX_SPAN_S,
    MIN_BUCKETS, MIN_KEYS, MIN_SPAN_S, Member, Span, Subject, WindowSpec, WindowsFault,
};

/// A payment, as windows see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Its keys, which are also what distinct ones are told apart by.
    pub keys: Keys,
    /// Its amount, centavos; above 0.
    pub amount_centavos: i64,
    /// Its rail, as on the wire.
    pub rail: u8,
    /// When it happened, nanoseconds since 1970 UTC.
    pub event_time_ns: u64,
    /// When it is decided, nanoseconds since 1970 UTC.
    pub decided_at_ns: u64,
    /// What the clocks of the policy's zone were ahead of UTC when it happened, minutes.
    pub offset_minutes: i16,
}

/// Where a payment's keys stand in their tables, by subject; [`NO_SLOT`] where one has no entry yet.
type Slots = [u32; Subject::COUNT];

const NO_SLOT: u32 = u32::MAX;

/// Payments that are judged together, before any of them is added.
#[derive(Debug, Default)]
pub struct Together {
    events: Vec<Event>,
    slots: Vec<Slots>,
    /// Of each subject: keys that have no entry yet.
    new_keys: [usize; Subject::COUNT],
}

impl Together {
    /// Of at most so many.
    pub fn with_capacity(payments: usize) -> Self {
        Self {
            events: Vec::with_capacity(payments),
            slots: Vec::with_capacity(payments),
            ..Self::default()
        }
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.events.clear();
        self.slots.clear();
        self.new_keys = [0; Subject::COUNT];
    }

    /// How many were read.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The state of all windows.
pub struct Windows {
    /// Of each subject that is asked for.
    tables: Vec<(Layout, KeyTable)>,
    asked: Vec<Asked>,
    late: u64,
}

impl Windows {
    /// Empty windows, from which these values are asked. `keys` is how many keys each subject's table has,
    /// by the number of the subject: a power of two, [`MIN_KEYS`] to [`MAX_KEYS`]; of a subject that is not
    /// asked for it does not matter.
    ///
    /// # Errors
    /// What is asked can't be, or needs too much.
    pub fn new(asked: &[Asked], keys: [usize; Subject::COUNT]) -> Result<Self, WindowsFault> {
        if asked.len() > MAX_ASKED {
            return Err(WindowsFault::Asked);
        }
        asked.iter().try_for_each(Asked::check)?;
        let mut tables = Vec::new();
        for subject in Subject::ALL {
            if let Some(layout) = Layout::new(subject, asked)? {
                let table = KeyTable::new(&layout, keys[subject as usize])?;
                tables.push((layout, table));
            }
        }
        Ok(Self { tables, asked: asked.to_vec(), late: 0 })
    }

    /// What is asked, in the order of the values that [`Self::read`] gives.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// Asks the processor for what [`Self::read`] touches first.
    #[inline]
    pub fn prefetch(&self, event: &Event) {
        self.prefetch_where(event, |_| true);
    }

    /// Asks the processor for what [`Self::add_of_sibling`] touches first.
    #[inline]
    pub fn prefetch_of_sibling(&self, event: &Event) {
        self.prefetch_where(event, |subject| !subject.is_of_payer());
    }

    #[inline]
    fn prefetch_where(&self, event: &Event, wanted: impl Fn(Subject) -> bool) {
        for (layout, table) in &self.tables {
            if wanted(layout.subject)
                && let Some(key) = event.keys[layout.subject as usize]
            {
                table.prefetch(key);
            }
        }
    }

    /// Asks the processor for what is touched then: what [`Self::prefetch`] asked for is there by now.
    #[inline]
    pub fn prefetch_entries(&self, event: &Event) {
        self.prefetch_entries_where(event, |_| true);
    }

    /// Likewise behind [`Self::prefetch_of_sibling`].
    #[inline]
    pub fn prefetch_entries_of_sibling(&self, event: &Event) {
        self.prefetch_entries_where(event, |subject| !subject.is_of_payer());
    }

    #[inline]
    fn prefetch_entries_where(&self, event: &Event, wanted: impl Fn(Subject) -> bool) {
        for (layout, table) in &self.tables {
            if wanted(layout.subject)
                && let Some(slot) =
                    event.keys[layout.subject as usize].and_then(|key| table.find(key))
            {
                table.prefetch_entry(slot);
            }
        }
    }

    /// Reads all values that are asked, as they are before this payment is added.
    pub fn read(&self, event: &Event, values: &mut [Value]) {
        assert_eq!(values.len(), self.asked.len(), "a value for each that is asked");
        let payment = Payment::new(event);
        for (layout, table) in &self.tables {
            let Some(key) = event.keys[layout.subject as usize] else {
                layout.read_missing(values);
                continue;
            };
            match table.find(key) {
                Some(slot) => layout.read(table.entry(slot), &payment, values),
                None => layout.read_nothing(table.horizon_s, &payment, values),
            }
        }
    }

    /// Adds a payment that was decided so, to every window that it belongs to.
    pub fn add(&mut self, event: &Event, verdict: Verdict) {
        self.add_where(event, verdict, |_| true);
    }

    /// Adds a payment that another shard decided: to windows of subjects whose payments several shards
    /// decide. What is of its payer stays with that shard.
    pub fn add_of_sibling(&mut self, event: &Event, verdict: Verdict) {
        self.add_where(event, verdict, |subject| !subject.is_of_payer());
    }

    #[inline]
    fn add_where(&mut self, event: &Event, verdict: Verdict, wanted: impl Fn(Subject) -> bool) {
        let payment = Payment::new(event);
        for (layout, table) in &mut self.tables {
            if wanted(layout.subject)
                && let Some(key) = event.keys[layout.subject as usize]
                && layout.takes(&payment, verdict)
            {
                let slot = table.take(key);
                self.late += layout.add(table.entry_mut(slot), &payment, verdict);
            }
        }
    }

    /// Has forgotten what happened up to this time, nanoseconds since 1970 UTC, but for what was added:
    /// windows that begin without the payments before them say so. Goes over all keys.
    pub fn forget_up_to(&mut self, event_time_ns: u64) {
        self.forget_where(event_time_ns, |_| true);
    }

    /// Likewise of payments that another shard decided.
    pub fn forget_of_sibling_up_to(&mut self, event_time_ns: u64) {
        self.forget_where(event_time_ns, |subject| !subject.is_of_payer());
    }

    fn forget_where(&mut self, event_time_ns: u64, wanted: impl Fn(Subject) -> bool) {
        let time_s = Moment::new(event_time_ns, u64::MAX, 0).time_s;
        for (layout, table) in &mut self.tables {
            if wanted(layout.subject) {
                table.forget_up_to(time_s);
            }
        }
    }

    /// Reads all values of a payment that is judged together with others before it; `false`, and nothing is
    /// read, if it must wait until those have been added: they have a key in common, or one of them takes
    /// the last room of a table, so that a key goes.
    pub fn read_together(
        &self,
        event: &Event,
        together: &mut Together,
        values: &mut [Value],
    ) -> bool {
        for (layout, table) in &self.tables {
            let subject = layout.subject as usize;
            let Some(key) = event.keys[subject] else { continue };
            if together.new_keys[subject] > table.room()
                || together.events.iter().any(|other| other.keys[subject] == Some(key))
            {
                return false;
            }
        }
        assert_eq!(values.len(), self.asked.len(), "a value for each that is asked");
        let payment = Payment::new(event);
        let mut slots = [NO_SLOT; Subject::COUNT];
        for (layout, table) in &self.tables {
            let subject = layout.subject as usize;
            match event.keys[subject].map(|key| table.find(key)) {
                None => layout.read_missing(values),
                Some(Some(slot)) => {
                    slots[subject] = slot as u32;
                    layout.read(table.entry(slot), &payment, values);
                }
                Some(None) => {
                    together.new_keys[subject] += 1;
                    layout.read_nothing(table.horizon_s, &payment, values);
                }
            }
        }
        together.events.push(*event);
        together.slots.push(slots);
        true
    }

    /// Adds a payment that was read together with others, as [`Self::add`] does: where its keys stand is
    /// known from there, for no key goes until all of them are added.
    pub fn add_together(&mut self, together: &Together, place: usize, verdict: Verdict) {
        let (event, slots) = (&together.events[place], &together.slots[place]);
        let payment = Payment::new(event);
        for (layout, table) in &mut self.tables {
            let subject = layout.subject as usize;
            if let Some(key) = event.keys[subject]
                && layout.takes(&payment, verdict)
            {
                let slot = match slots[subject] {
                    NO_SLOT => table.take(key),
                    slot => table.again(key, slot as usize),
                };
                self.late += layout.add(table.entry_mut(slot), &payment, verdict);
            }
        }
    }

    /// How often a payment came too late for a window: once for each window.
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Keys held of a subject, and how many were let go.
    pub fn keys(&self, subject: Subject) -> (usize, u64) {
        self.table(subject).map_or((0, 0), |(_, table)| (table.len(), table.evicted))
    }

    /// Payments of a subject up to this time may be forgotten, seconds since 1970 UTC; 0: none is.
    pub fn horizon_s(&self, subject: Subject) -> u32 {
        self.table(subject).map_or(0, |(_, table)| table.horizon_s)
    }

    /// Memory of each key of a subject, bytes: its entry, and its share of the index. 0 where nothing is
    /// asked of it. Another bit says whether it was used.
    pub fn bytes_per_key(&self, subject: Subject) -> usize {
        let entry = |(layout, _): &(Layout, _)| layout.words() * size_of::<u64>();
        self.table(subject).map_or(0, |table| entry(table) + INDEX_LEN_PER_KEY)
    }

    /// The memory of the tables' indexes, which is touched at random: another thread may take it ahead.
    /// Entries are touched in the order in which keys come.
    pub fn index_memory(&self) -> impl Iterator<Item = TableMemory> {
        self.tables.iter().map(|(_, table)| table.index_memory())
    }

    fn table(&self, subject: Subject) -> Option<&(Layout, KeyTable)> {
        self.tables.iter().find(|(layout, _)| layout.subject == subject)
    }
}

impl Payment {
    fn new(event: &Event) -> Self {
        assert!(event.amount_centavos > 0, "an amount is above 0");
        let &Event { event_time_ns, decided_at_ns, offset_minutes, .. } = event;
        Self {
            moment: Moment::new(event_time_ns, decided_at_ns, offset_minutes),
            amount_centavos: event.amount_centavos,
            rail: event.rail,
            members: Member::ALL.map(|member| member.hash(&event.keys)),
        }
    }
}

#[cfg(test)]
mod tests;
