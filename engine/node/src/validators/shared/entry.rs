//! What the shared cache holds: names and values that only who has the cluster's secret can make, so that whoever else
//! writes there, by mistake or on purpose, decides on no payment.
//!
//! ```text
//! name   catraca:1:‹32 hexadecimal digits: keyed hash of how the service is asked, and of the question›
//! value  version u8 = 1 │ answer i64 │ came, Unix ms, u64 │ good for ms u64 │ stale behind that for ms u64 │ keyed hash, 16 bytes
//! ```
//!
//! Numbers are little-endian. The hash of a value covers its name, so that a value can't be moved to another question.

use crate::validators::spec::Service;
use catraca_core::validate::SharedAnswer;

/// Of names and values. Another layout has another version, and finds nothing of this one.
const VERSION: u8 = 1;
const CONTENT_LEN: usize = 1 + 4 * 8;
const CHECK_LEN: usize = 16;
/// Length of a value, bytes.
pub(super) const VALUE_LEN: usize = CONTENT_LEN + CHECK_LEN;
/// What the key is derived for.
const KEY_CONTEXT: &str = "catraca 2026 validators, shared cache";
/// By how much another node's clock may be ahead of this one's. What came later than that is not believed.
const MAX_AHEAD_MS: u64 = 60_000;
const NS_PER_MS: u64 = 1_000_000;

/// What makes names and values.
#[derive(Clone)]
pub(super) struct Sealer([u8; blake3::KEY_LEN]);

/// How a service is asked, and what its answers mean: answers are shared by those that agree in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; blake3::OUT_LEN]);

impl Fingerprint {
    /// Of a service. Where it is called otherwise by another version of the program, nothing is found, no more.
    pub fn of(service: &Service) -> Self {
        let text = format!("{:?} {:?}", service.request, service.meaning);
        Self(*blake3::hash(text.as_bytes()).as_bytes())
    }
}

/// A value that this cluster has not made, or made for another question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it holds a value that no node of this cluster has put there")]
pub(super) struct Nonsense;

impl Sealer {
    pub fn new(secret: &[u8; blake3::KEY_LEN]) -> Self {
        Self(blake3::derive_key(KEY_CONTEXT, secret))
    }

    /// The name of what is known of a question.
    pub fn name(&self, fingerprint: &Fingerprint, key: u128) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&fingerprint.0).update(&key.to_le_bytes());
        let hash = hasher.finalize();
        format!("catraca:{VERSION}:{}", hex::encode(&hash.as_bytes()[..16]))
    }

    /// The value of an answer that has just come.
    pub fn seal(&self, name: &str, answer: &SharedAnswer, now_unix_ms: u64) -> [u8; VALUE_LEN] {
        let mut value = [0; VALUE_LEN];
        let numbers = [
            answer.answer.to_le_bytes(),
            now_unix_ms.saturating_sub(answer.age_ns / NS_PER_MS).to_le_bytes(),
            (answer.good_for_ns / NS_PER_MS).to_le_bytes(),
            (answer.stale_for_ns / NS_PER_MS).to_le_bytes(),
        ];
        value[0] = VERSION;
        for (place, number) in value[1..CONTENT_LEN].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number);
        }
        let check = self.check(name, &value[..CONTENT_LEN]);
        value[CONTENT_LEN..].copy_from_slice(&check);
        value
    }

    /// What a value says that is kept for so long yet; `None` where it says nothing that is of use now. Its age is what
    /// the clocks of two nodes say, or the cache's own where that is more: no clock that is wrong makes it younger.
    pub fn open(
        &self,
        name: &str,
        value: &[u8],
        kept_for_ms: u64,
        now_unix_ms: u64,
    ) -> Result<Option<SharedAnswer>, Nonsense> {
        if value.len() != VALUE_LEN || value[0] != VERSION {
            return Err(Nonsense);
        }
        let (content, check) = value.split_at(CONTENT_LEN);
        // Compared in constant time, as hashes of blake3 are.
        let right = blake3::Hash::from(padded(self.check(name, content)));
        if right != blake3::Hash::from(padded(check.try_into().map_err(|_| Nonsense)?)) {
            return Err(Nonsense);
        }
        let number = |at: usize| {
            let bytes = &content[1 + 8 * at..][..8];
            u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
        };
        let (came_ms, good_ms, stale_ms) = (number(1), number(2), number(3));
        if came_ms > now_unix_ms.saturating_add(MAX_AHEAD_MS) {
            return Ok(None);
        }
        let kept_ms = good_ms.saturating_add(stale_ms).saturating_sub(kept_for_ms);
        let age_ms = now_unix_ms.saturating_sub(came_ms).max(kept_ms);
        let good_for_ms = good_ms.saturating_sub(age_ms);
        let end_ms = good_ms.saturating_add(stale_ms).saturating_sub(age_ms);
        let ns = |ms: u64| ms.saturating_mul(NS_PER_MS);
        Ok((end_ms > 0).then(|| SharedAnswer {
            answer: number(0) as i64,
            age_ns: ns(age_ms),
            good_for_ns: ns(good_for_ms),
            stale_for_ns: ns(end_ms - good_for_ms),
        }))
    }

    fn check(&self, name: &str, content: &[u8]) -> [u8; CHECK_LEN] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(name.as_bytes()).update(content);
        let hash = hasher.finalize();
        hash.as_bytes()[..CHECK_LEN].try_into().expect("a hash is longer")
    }
}

fn padded(check: [u8; CHECK_LEN]) -> [u8; blake3::OUT_LEN] {
    let mut whole = [0; blake3::OUT_LEN];
    whole[..CHECK_LEN].copy_from_slice(&check);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FINGERPRINT: Fingerprint = Fingerprint([3; 32]);
    const S: u64 = 1_000 * NS_PER_MS;
    const NOW_MS: u64 = 1_790_000_000_000;
    const LIFE_MS: u64 = 660_000;

    fn sealer() -> Sealer {
        Sealer::new(&[7; 32])
    }

    fn fresh() -> SharedAnswer {
        SharedAnswer { answer: -5, age_ns: 0, good_for_ns: 60 * S, stale_for_ns: 600 * S }
    }

    #[test]
    fn names_say_nothing_of_the_question_and_differ_by_all_of_it() {
        let name = sealer().name(&FINGERPRINT, 1);
        assert_eq!((name.len(), &name[..10]), (42, "catraca:1:"));
        let others = [
            sealer().name(&FINGERPRINT, 2),
            sealer().name(&Fingerprint([4; 32]), 1),
            Sealer::new(&[8; 32]).name(&FINGERPRINT, 1),
        ];
        assert!(others.iter().all(|other| *other != name));
        assert_eq!(sealer().name(&FINGERPRINT, 1), name);
    }

    #[test]
    fn an_answer_ages_in_the_cache() {
        let sealer = sealer();
        let value = sealer.seal("name", &fresh(), NOW_MS);
        let after =
            |s: u64| sealer.open("name", &value, LIFE_MS - s * 1_000, NOW_MS + s * 1_000).unwrap();
        assert_eq!(after(0), Some(fresh()));
        let aged = SharedAnswer { age_ns: 50 * S, good_for_ns: 10 * S, ..fresh() };
        assert_eq!(after(50), Some(aged));
        let stale =
            SharedAnswer { age_ns: 70 * S, good_for_ns: 0, stale_for_ns: 590 * S, ..fresh() };
        assert_eq!(after(70), Some(stale));
        assert_eq!(after(660), None);
        // This node's clock is a little behind, or far: the cache's own tells how old it is.
        let behind = |ms: u64| sealer.open("name", &value, LIFE_MS - 50_000, NOW_MS + 50_000 - ms);
        assert_eq!(behind(59_000), Ok(Some(aged)));
        assert_eq!(behind(111_000), Ok(None));
        // It is ahead: it is older, rather.
        assert_eq!(sealer.open("name", &value, LIFE_MS, NOW_MS + 50_000), Ok(Some(aged)));
    }

    proptest! {
        #[test]
        fn nothing_that_was_not_sealed_for_this_question_is_believed(
            value in prop::collection::vec(any::<u8>(), 0..80),
            (at, bit) in (0..VALUE_LEN, 0..8u32),
        ) {
            let sealer = sealer();
            let open = |sealer: &Sealer, name, value: &[u8]| sealer.open(name, value, 1, NOW_MS);
            prop_assert_eq!(open(&sealer, "name", &value), Err(Nonsense));
            let mut sealed = sealer.seal("name", &fresh(), NOW_MS);
            prop_assert_eq!(open(&sealer, "other", &sealed), Err(Nonsense));
            prop_assert_eq!(open(&sealer, "name", &sealed[..at]), Err(Nonsense));
            let other = Sealer::new(&[8; 32]);
            prop_assert_eq!(open(&other, "name", &sealed), Err(Nonsense));
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(open(&sealer, "name", &sealed), Err(Nonsense));
        }

        #[test]
        fn what_is_sealed_is_opened(
            answer in any::<i64>(),
            (good_ms, stale_ms, later_ms) in (any::<u64>(), any::<u64>(), 0..1u64 << 40),
            kept_for_ms in any::<u64>(),
        ) {
            let (good_for_ns, stale_for_ns) = (good_ms, stale_ms);
            let of = SharedAnswer { answer, age_ns: 0, good_for_ns, stale_for_ns };
            let sealer = sealer();
            let value = sealer.seal("name", &of, NOW_MS);
            let opened = sealer.open("name", &value, kept_for_ms, NOW_MS + later_ms).unwrap();
            if let Some(opened) = opened {
                prop_assert_eq!(opened.answer, answer);
                prop_assert!(opened.age_ns >= later_ms * NS_PER_MS);
                prop_assert!(opened.good_for_ns <= good_for_ns);
                prop_assert!(opened.stale_for_ns <= stale_for_ns);
            }
        }
    }
}
