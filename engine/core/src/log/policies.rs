//! Policies as the log keeps them: the whole text, in parts, and behind them the record that takes it into
//! use. So whoever has the log has every policy that decided in it, and a standby needs nothing else.

use catraca_wire::extension::{ActivatedBy, MAX_POLICY_PART_LEN, PolicyPart};
use catraca_wire::record::{RECORD_VERSION, RecordHead, RecordKind};
use std::fmt;
use std::sync::Arc;

/// Longest text of a policy, bytes: some hundred parts in the log.
pub const MAX_POLICY_LEN: usize = 256 * 1024;

/// What names a policy: BLAKE3 of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PolicyId(pub [u8; 32]);

impl PolicyId {
    /// Of a text.
    pub fn of(text: &[u8]) -> Self {
        Self(*blake3::hash(text).as_bytes())
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A policy that was taken into use.
#[derive(Clone, PartialEq, Eq)]
pub struct PolicyText {
    /// Version that its decisions record: counts how often a policy was taken into use.
    pub version: u32,
    /// When it was taken into use, nanoseconds since 1970 UTC.
    pub activated_at_ns: u64,
    /// What names it.
    pub id: PolicyId,
    /// Its text.
    pub text: Arc<[u8]>,
}

impl fmt::Debug for PolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, id, text, .. } = self;
        write!(f, "PolicyText(version {version}, {id}, {} bytes)", text.len())
    }
}

impl PolicyText {
    /// The records that put it into the log and take it into use, each with its extension; the last one says by
    /// whom.
    pub fn records(&self, by: &ActivatedBy) -> Vec<(RecordHead, Vec<u8>)> {
        assert!(self.text.len() <= MAX_POLICY_LEN, "a policy of {} bytes", self.text.len());
        let record = |kind: RecordKind, offset: usize, part: &[u8]| {
            let mut head: RecordHead = bytemuck::Zeroable::zeroed();
            (head.kind, head.version) = (kind.to_wire(), RECORD_VERSION);
            head.policy_version = self.version.into();
            head.decided_at_ns = self.activated_at_ns.into();
            let text_len = self.text.len() as u32;
            let part = PolicyPart { id: self.id.0, text_len, offset: offset as u32, part };
            (head, part.to_section())
        };
        let parts = self.text.chunks(MAX_POLICY_PART_LEN).enumerate();
        let mut records: Vec<_> = parts
            .map(|(n, part)| record(RecordKind::PolicyText, n * MAX_POLICY_PART_LEN, part))
            .collect();
        let (head, mut extension) = record(RecordKind::PolicyActivated, self.text.len(), &[]);
        extension.extend(by.to_section());
        records.push((head, extension));
        records
    }
}

/// A text of which not all parts have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComingPolicy {
    /// What names the whole text.
    pub id: PolicyId,
    /// Its beginning.
    pub text: Vec<u8>,
}

/// Which policy a log says is in force.
#[derive(Debug, Clone, Default)]
pub struct PolicyInLog {
    coming: Option<ComingPolicy>,
    in_force: Option<PolicyText>,
    /// What was in force before.
    previous: Option<PolicyText>,
    unreadable: bool,
}

/// The log takes a policy into use whose text it does not hold, or holds otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it takes a policy into use that this program can't read: use the program that wrote it, or a newer one"
)]
pub struct PolicyUnreadable;

impl PolicyInLog {
    /// Goes on where this policy is in force, this one was before, and this text is coming.
    pub fn begin(
        &mut self,
        in_force: Option<PolicyText>,
        previous: Option<PolicyText>,
        coming: Option<ComingPolicy>,
    ) {
        if in_force.is_some() {
            (self.in_force, self.previous) = (in_force, previous);
        }
        // Other streams, which hold none, begin while one is coming.
        if coming.is_some() {
            self.coming = coming;
        }
    }

    /// The text of which not all parts have come.
    pub fn coming(&self) -> Option<&ComingPolicy> {
        self.coming.as_ref()
    }

    /// Takes a record of its kinds.
    pub fn take(&mut self, kind: RecordKind, head: &RecordHead, extension: &[u8]) {
        match (kind, PolicyPart::read(extension)) {
            (RecordKind::PolicyText, Some(part)) => self.part(&part),
            (RecordKind::PolicyActivated, Some(part)) => self.activate(head, PolicyId(part.id)),
            // Without its text the record that takes it into use is unreadable, which comes behind it.
            (RecordKind::PolicyText, None) => self.coming = None,
            (RecordKind::PolicyActivated, None) => self.unreadable = true,
            _ => {}
        }
    }

    fn part(&mut self, part: &PolicyPart<'_>) {
        // One that a crash left unfinished gives way to the next, which begins anew.
        if part.offset == 0 {
            self.coming = Some(ComingPolicy { id: PolicyId(part.id), text: Vec::new() });
        }
        let fits = |coming: &&mut ComingPolicy| {
            coming.id.0 == part.id
                && coming.text.len() == part.offset as usize
                && coming.text.len() + part.part.len() <= MAX_POLICY_LEN
        };
        match self.coming.as_mut().filter(fits) {
            Some(coming) => coming.text.extend_from_slice(part.part),
            None => self.coming = None,
        }
    }

    fn activate(&mut self, head: &RecordHead, id: PolicyId) {
        let is_whole = |coming: &ComingPolicy| coming.id == id && PolicyId::of(&coming.text) == id;
        let Some(ComingPolicy { text, .. }) = self.coming.take().filter(is_whole) else {
            self.unreadable = true;
            return;
        };
        let before = self.in_force.replace(PolicyText {
            version: head.policy_version.to_native(),
            activated_at_ns: head.decided_at_ns.to_native(),
            id,
            text: text.into(),
        });
        self.previous = before;
    }

    /// The policy that was in force before, as far as this log goes back.
    pub fn previous(&self) -> Option<&PolicyText> {
        self.previous.as_ref()
    }

    /// The policy in force; `None` where none ever was.
    ///
    /// # Errors
    /// [`PolicyUnreadable`]: what the log says is in force is not known.
    pub fn in_force(&self) -> Result<Option<&PolicyText>, PolicyUnreadable> {
        if self.unreadable { Err(PolicyUnreadable) } else { Ok(self.in_force.as_ref()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(version: u32, len: usize) -> PolicyText {
        let text: Vec<u8> =
            (0..len).map(|at| b'a' + ((at + version as usize) % 26) as u8).collect();
        PolicyText { version, activated_at_ns: 5, id: PolicyId::of(&text), text: text.into() }
    }

    fn take(log: &mut PolicyInLog, records: &[(RecordHead, Vec<u8>)]) {
        for (head, extension) in records {
            let kind = RecordKind::from_wire(head.kind).expect("known");
            log.take(kind, head, extension);
        }
    }

    #[test]
    fn a_policy_comes_out_of_the_log_as_it_went_in() {
        let mut log = PolicyInLog::default();
        assert_eq!(log.in_force(), Ok(None));
        for (version, len) in [(1, 10), (2, MAX_POLICY_PART_LEN), (3, MAX_POLICY_LEN)] {
            let policy = policy(version, len);
            let records = policy.records(&ActivatedBy::default());
            let (last, parts) = records.split_last().expect("some");
            assert_eq!(parts.len(), len.div_ceil(MAX_POLICY_PART_LEN));
            take(&mut log, parts);
            assert_ne!(log.in_force(), Ok(Some(&policy)), "not before it is taken into use");
            take(&mut log, std::slice::from_ref(last));
            assert_eq!(log.in_force(), Ok(Some(&policy)));
            assert_eq!(
                log.previous().map(|before| before.version),
                (version > 1).then(|| version - 1)
            );
        }
    }

    #[test]
    fn one_that_goes_over_the_end_of_what_is_known_otherwise_comes_whole() {
        let policy = policy(1, 9_000);
        for cut in 0..=policy.records(&ActivatedBy::default()).len() {
            let (before, behind) = (
                &policy.records(&ActivatedBy::default())[..cut],
                &policy.records(&ActivatedBy::default())[cut..],
            );
            let mut first = PolicyInLog::default();
            take(&mut first, before);
            let mut log = PolicyInLog::default();
            let in_force = first.in_force().expect("readable").cloned();
            log.begin(in_force, None, first.coming().cloned());
            take(&mut log, behind);
            assert_eq!(log.in_force(), Ok(Some(&policy)), "{cut}");
        }
    }

    #[test]
    fn the_one_before_is_known_where_another_log_goes_on() {
        let (first, second, third) = (policy(1, 10), policy(2, 20), policy(3, 30));
        let mut log = PolicyInLog::default();
        log.begin(Some(second.clone()), Some(first.clone()), None);
        assert_eq!((log.in_force(), log.previous()), (Ok(Some(&second)), Some(&first)));
        // Other streams hold none.
        log.begin(None, None, None);
        assert_eq!(log.previous(), Some(&first));
        take(&mut log, &third.records(&ActivatedBy::default()));
        assert_eq!((log.in_force(), log.previous()), (Ok(Some(&third)), Some(&second)));
    }

    #[test]
    fn one_that_was_left_unfinished_does_no_harm() {
        let mut log = PolicyInLog::default();
        let (first, second) = (policy(1, 9_000), policy(1, 8_000));
        take(&mut log, &first.records(&ActivatedBy::default())[..2]);
        take(&mut log, &second.records(&ActivatedBy::default()));
        assert_eq!(log.in_force(), Ok(Some(&second)));
        take(&mut log, &first.records(&ActivatedBy::default())[..1]);
        assert_eq!(log.in_force(), Ok(Some(&second)));
    }

    #[test]
    fn what_is_taken_into_use_without_its_whole_text_is_unreadable() {
        let records = policy(1, 9_000).records(&ActivatedBy::default());
        let mut swapped = records.clone();
        swapped.swap(0, 1);
        let mut altered = records.clone();
        let last = altered[0].1.len() - 1;
        altered[0].1[last] ^= 1;
        for records in [&records[1..], &records[3..], &swapped, &altered] {
            let mut log = PolicyInLog::default();
            take(&mut log, records);
            assert_eq!(log.in_force(), Err(PolicyUnreadable));
        }
        let mut log = PolicyInLog::default();
        take(&mut log, &[(records[3].0, Vec::new())]);
        assert_eq!(log.in_force(), Err(PolicyUnreadable));
    }
}
