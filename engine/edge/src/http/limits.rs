//! How much each client may ask for: so often by kind of request, and so much at once.

use crate::auth::{Clients, Limits};
use crate::caller::Caller;
use crate::permission::Class;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Headers of draft-ietf-httpapi-ratelimit-headers-10: the quota, and what is left of it.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
/// The window that a quota is told for, seconds.
const WINDOW_S: u32 = 1;
/// Batches at once: each may hold what an array has, 2 MiB, and takes its share of what may wait.
const MAX_BATCHES: usize = 64;
/// The same of one client, so that one leaves room for others.
const MAX_BATCHES_OF_CLIENT: usize = 16;

type Limiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

struct Rate {
    limiter: Limiter,
    per_second: NonZeroU32,
}

struct OfClient {
    rates: [Rate; Class::ALL.len()],
    places: Arc<Semaphore>,
    batches: Arc<Semaphore>,
}

/// What is left of a quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) class: Class,
    per_second: NonZeroU32,
    left: u32,
}

/// Why a client has to wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum TooMuch {
    /// It asks too often: the quota, and how long until the next one is taken.
    Often(Left, Duration),
    /// It asks for too much at once.
    AtOnce,
    /// As many batches run as may, of all clients.
    Batches,
}

/// The rates of all clients, and the places of their batches.
pub struct Rates {
    clients: Vec<OfClient>,
    batches: Arc<Semaphore>,
}

/// The places of a batch; dropped they are free.
#[derive(Debug)]
pub(super) struct BatchPlace {
    _all: OwnedSemaphorePermit,
    /// Among what the client asks for at once, and among its batches.
    _own: Option<[OwnedSemaphorePermit; 2]>,
}

impl Rates {
    /// As the clients have them.
    pub fn new(clients: &Clients) -> Self {
        let rate = |per_second| Rate {
            limiter: RateLimiter::direct(Quota::per_second(per_second))
                .with_middleware::<StateInformationMiddleware>(),
            per_second,
        };
        let of_client = |limits: &Limits| OfClient {
            rates: Class::ALL.map(|class| {
                rate(match class {
                    Class::Decisions => limits.decisions_per_second,
                    Class::LookUps => limits.lookups_per_second,
                    Class::Administration => limits.administration_per_second,
                })
            }),
            places: Arc::new(Semaphore::new(limits.concurrent.get() as usize)),
            batches: Arc::new(Semaphore::new(MAX_BATCHES_OF_CLIENT)),
        };
        let clients = clients.all().iter().map(|client| of_client(&client.limits)).collect();
        Self { clients, batches: Arc::new(Semaphore::new(MAX_BATCHES)) }
    }

    /// Lets a batch begin, whose transactions are counted one by one.
    pub(super) fn begin_batch(&self, caller: &Caller) -> Result<BatchPlace, TooMuch> {
        let take = |places: &Arc<Semaphore>| {
            Arc::clone(places).try_acquire_owned().map_err(|_| TooMuch::AtOnce)
        };
        let own = match self.of(caller) {
            Some(own) => Some([take(&own.places)?, take(&own.batches)?]),
            None => None,
        };
        let all = Arc::clone(&self.batches).try_acquire_owned().map_err(|_| TooMuch::Batches)?;
        Ok(BatchPlace { _all: all, _own: own })
    }

    /// Counts one of a batch, or gives how long until it may be counted.
    pub(super) fn take_one(&self, caller: &Caller, class: Class) -> Result<(), Duration> {
        let Some(own) = self.of(caller) else { return Ok(()) };
        let until = own.rates[class as usize].limiter.check().map(|_| ());
        until.map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }

    fn of(&self, caller: &Caller) -> Option<&OfClient> {
        caller.place.and_then(|place| self.clients.get(place))
    }

    /// Counts a request; the place is to be kept until it is answered. Callers that nobody knows have no limits.
    pub(super) fn take(
        &self,
        caller: &Caller,
        class: Class,
    ) -> Result<Option<(Left, OwnedSemaphorePermit)>, TooMuch> {
        let Some(own) = self.of(caller) else { return Ok(None) };
        let Ok(place) = Arc::clone(&own.places).try_acquire_owned() else {
            return Err(TooMuch::AtOnce);
        };
        let Rate { limiter, per_second } = &own.rates[class as usize];
        let left = Left { class, per_second: *per_second, left: 0 };
        match limiter.check() {
            Ok(state) => Ok(Some((Left { left: state.remaining_burst_capacity(), ..left }, place))),
            Err(until) => {
                Err(TooMuch::Often(left, until.wait_time_from(DefaultClock::default().now())))
            }
        }
    }
}

impl Left {
    /// Tells the client.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Self { class, per_second, left } = self;
        let name = class.name();
        for (header, text) in [
            (POLICY, format!("\"{name}\";q={per_second};w={WINDOW_S}")),
            (LEFT, format!("\"{name}\";r={left};t={WINDOW_S}")),
        ] {
            // Names and numbers are ASCII.
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(header, value);
            }
        }
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rates").field(&self.clients.len()).finish()
    }
}
