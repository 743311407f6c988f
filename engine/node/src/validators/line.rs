//! A validator of the policy in force, and what is known of it.

use super::http::{Client, ClientFault};
use super::shared::{Fingerprint, Puts};
use super::spec::Service;
use catraca_core::validate::{Asker, SharedSettings, Status};

/// What is known of a validator, for people and metrics.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Its name.
    pub id: String,
    /// Why it can't be asked at all on this node.
    pub fault: Option<String>,
    /// How it stands; `None` where it can't be asked.
    pub status: Option<Status>,
    /// The last attempt that came to nothing, for people.
    pub last_error: Option<String>,
    /// The last look into the shared cache that failed, for people.
    pub shared_error: Option<String>,
    /// Monotonic nanoseconds when this was so.
    pub at_ns: u64,
}

/// What is known of the cache that nodes share.
#[derive(Debug, Clone)]
pub struct SharedFigures {
    /// Where it is.
    pub place: String,
    /// Answers that were put.
    pub puts: Puts,
}

/// What is known of all that is asked.
#[derive(Debug, Clone, Default)]
pub struct AllFigures {
    /// The validators.
    pub validators: Vec<Figures>,
    /// The cache that nodes share, where there is one.
    pub shared: Option<SharedFigures>,
}

/// A validator, and what asks it.
pub(super) struct Line {
    /// Which one it is, of all that there ever were.
    pub number: u64,
    pub service: Service,
    pub client: Result<Client, ClientFault>,
    pub fingerprint: Fingerprint,
    pub asker: Asker,
    pub last_error: Option<String>,
    /// Likewise of looks into the shared cache.
    pub shared_error: Option<String>,
}

impl Line {
    pub fn new(
        service: &Service,
        hash_key: &[u8; blake3::KEY_LEN],
        shared: Option<SharedSettings>,
    ) -> Self {
        let [number, seed] =
            [crate::random::bytes(), crate::random::bytes()].map(u64::from_le_bytes);
        Self {
            number,
            client: Client::new(service, hash_key),
            fingerprint: Fingerprint::of(service),
            asker: Asker::new(service.settings(shared), seed),
            service: service.clone(),
            last_error: None,
            shared_error: None,
        }
    }
}
