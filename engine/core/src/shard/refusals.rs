//! Refusals that the audit trail is told of: counted where they are alike, so that a flood of them is one record a
//! second and takes no memory.

use catraca_wire::frame::{ErrorCode, FrameKind, PrincipalFields};

/// Kinds of refusals that are told apart in a second; those beyond are counted together.
const MAX_KINDS: usize = 32;
/// How often they are told.
const TELL_EVERY_NS: u64 = 1_000_000_000;

/// Requests of one client that were refused alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusals {
    /// Who asked; zeros for several.
    pub principal: PrincipalFields,
    /// What they asked for; `None` for several things.
    pub act: Option<FrameKind>,
    /// Why they did not get it.
    pub code: ErrorCode,
    /// How often, at least once.
    pub count: u32,
    /// When it was told, within a second of the first; nanoseconds since 1970 UTC.
    pub told_at_ns: u64,
}

/// What was refused since it was told last.
#[derive(Debug, Default)]
pub struct Refused {
    kinds: Vec<Refusals>,
    told_at_ns: u64,
}

impl Refused {
    /// One more.
    pub fn add(&mut self, principal: &PrincipalFields, act: FrameKind, code: ErrorCode) {
        // Each request has a number of its own: with it none would be like another.
        let principal = PrincipalFields { request_id: [0; 16], ..*principal };
        let alike = |kind: &&mut Refusals| {
            kind.principal == principal && kind.act == Some(act) && kind.code == code
        };
        if let Some(known) = self.kinds.iter_mut().find(alike) {
            known.count = known.count.saturating_add(1);
            return;
        }
        let act = Some(act);
        self.push(Refusals { principal, act, code, count: 1, told_at_ns: 0 });
    }

    /// Some of another kind than all others.
    fn push(&mut self, refusals: Refusals) {
        if self.kinds.len() < MAX_KINDS {
            self.kinds.push(refusals);
            return;
        }
        // Too many different ones: whoever they are, how many is known.
        let last = self.kinds.last_mut().expect("as many as there may be");
        if last.act.is_some() {
            *last = Refusals { principal: PrincipalFields::default(), act: None, ..*last };
        }
        last.count = last.count.saturating_add(refusals.count);
    }

    /// So many more at once, which were counted elsewhere.
    pub fn add_all(&mut self, refusals: &Refusals) {
        let Refusals { principal, act, code, count, .. } = *refusals;
        let alike =
            |kind: &&mut Refusals| (kind.principal, kind.act, kind.code) == (principal, act, code);
        match self.kinds.iter_mut().find(alike) {
            Some(known) => known.count = known.count.saturating_add(count),
            None => self.push(*refusals),
        }
    }

    /// Takes them, if it is time.
    pub fn take(&mut self, now_ns: u64, wall_ns: u64) -> Vec<Refusals> {
        if self.kinds.is_empty() || now_ns.saturating_sub(self.told_at_ns) < TELL_EVERY_NS {
            return Vec::new();
        }
        self.told_at_ns = now_ns;
        // What another one has told keeps its time.
        for kind in self.kinds.iter_mut().filter(|kind| kind.told_at_ns == 0) {
            kind.told_at_ns = wall_ns;
        }
        std::mem::take(&mut self.kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = TELL_EVERY_NS;

    fn principal(number: u8) -> PrincipalFields {
        PrincipalFields { remote: [number; 16], ..PrincipalFields::default() }
    }

    #[test]
    fn what_is_alike_is_counted_and_told_once_a_second() {
        let mut refused = Refused::default();
        assert!(refused.take(SECOND, 7).is_empty());
        for number in 0..1_000_u128 {
            let numbered = PrincipalFields { request_id: number.to_le_bytes(), ..principal(1) };
            refused.add(&numbered, FrameKind::Lookup, ErrorCode::Forbidden);
        }
        refused.add(&principal(1), FrameKind::Policy, ErrorCode::Forbidden);
        refused.add(&principal(2), FrameKind::Lookup, ErrorCode::Forbidden);
        let counts: Vec<_> = refused.take(SECOND, 7).iter().map(|kind| kind.count).collect();
        assert_eq!(counts, [1_000, 1, 1]);
        refused.add(&principal(1), FrameKind::Lookup, ErrorCode::Forbidden);
        assert!(refused.take(2 * SECOND - 1, 7).is_empty());
        assert_eq!(refused.take(2 * SECOND, 7).len(), 1);
    }

    #[test]
    fn a_flood_of_different_ones_is_counted_to_the_last() {
        let mut refused = Refused::default();
        for number in 0..=255 {
            refused.add(&principal(number), FrameKind::Hello, ErrorCode::Unauthenticated);
        }
        let kinds = refused.take(SECOND, 7);
        assert_eq!(kinds.len(), MAX_KINDS);
        assert_eq!(kinds.iter().map(|kind| kind.count).sum::<u32>(), 256);
        let Refusals { principal, act, .. } = kinds[MAX_KINDS - 1];
        assert_eq!(
            (principal, act),
            (PrincipalFields::default(), None),
            "nobody is blamed for others"
        );
    }
}
