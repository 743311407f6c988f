//! Tokens that were checked: one that comes again costs a hash and a look-up.

use crate::caller::Digest;
use crate::permission::Permissions;
use catraca_tokens::Subject;
use lru::LruCache;
use std::num::NonZeroUsize;

/// Most tokens that are kept, some 300 bytes each; the ones longest unused go first.
const MAX_TOKENS: NonZeroUsize = NonZeroUsize::new(65_536).expect("not 0");

/// What is known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// Its client's place.
    pub(super) place: usize,
    /// Who is behind that client.
    pub(super) subject: Subject,
    /// What its scope grants.
    pub(super) granted: Permissions,
    /// The certificate that its bearer has to show.
    pub(super) certificate: Option<Digest>,
    /// The key that signed it.
    pub(super) key: Digest,
    /// Its `exp`, seconds since 1970.
    pub(super) until_s: u64,
}

/// Tokens by their digest.
#[derive(Debug)]
pub(super) struct Cache(LruCache<Digest, Known>);

impl Cache {
    pub(super) fn new() -> Self {
        // It takes memory as tokens come.
        let mut cache = LruCache::unbounded();
        cache.resize(MAX_TOKENS);
        Self(cache)
    }

    /// What is known of it, until its end.
    pub(super) fn get(&mut self, token: &Digest, now_s: u64) -> Option<Known> {
        let known = *self.0.get(token)?;
        if now_s >= known.until_s {
            self.0.pop(token);
            return None;
        }
        Some(known)
    }

    /// Keeps it.
    pub(super) fn put(&mut self, token: Digest, known: Known) {
        self.0.put(token, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_its_end_and_so_many_are() {
        let known = Known {
            subject: Subject::EMPTY,
            place: 0,
            granted: Permissions::all(),
            certificate: None,
            key: [0; 32],
            until_s: 100,
        };
        let mut cache = Cache::new();
        cache.put([1; 32], known);
        assert_eq!(cache.get(&[1; 32], 99), Some(known));
        assert_eq!(cache.get(&[1; 32], 100), None);
        assert_eq!(cache.get(&[1; 32], 99), None, "it is gone");
        for number in 0..MAX_TOKENS.get() as u64 + 10 {
            let mut token = [0; 32];
            token[..8].copy_from_slice(&number.to_le_bytes());
            cache.put(token, known);
        }
        assert_eq!(cache.0.len(), MAX_TOKENS.get());
    }
}
