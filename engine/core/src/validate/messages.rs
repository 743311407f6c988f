//! What is said to an [`Asker`](super::Asker), and what it says.

/// A question about a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// A keyed hash of what is sent: questions with the same one share an answer.
    pub key: u128,
    /// Until when an answer is of use.
    pub deadline_ns: u64,
    /// Who asks: it is handed back as it is.
    pub token: u64,
}

/// An attempt, of which each has a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// A look into the cache that nodes share, of which each has a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookId(pub u64);

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// An answer.
    Found(SharedAnswer),
    /// There is none.
    Nothing,
    /// The cache could not be read, or what it holds makes no sense.
    Failed,
}

/// An answer that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The answer.
    pub answer: i64,
    /// How old it is.
    pub age_ns: u64,
    /// How long it is good yet; 0 where it is stale.
    pub good_for_ns: u64,
}

/// An answer in the cache that nodes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedAnswer {
    /// The answer.
    pub answer: i64,
    /// How old it is.
    pub age_ns: u64,
    /// How long it is good yet.
    pub good_for_ns: u64,
    /// How long behind that it may be taken where there is no other.
    pub stale_for_ns: u64,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, be it a negative one.
    Answer(i64),
    /// A failure that another attempt may not meet: no connection, 408, 429, 5xx.
    Retryable {
        /// The service's `Retry-After`, if it has sent one.
        retry_after_ns: Option<u64>,
    },
    /// A failure that another attempt would meet as well: other statuses that are no answers, a body that has none.
    /// For the breaker it is one like any other: what a payment needs, an answer, it has not got.
    Final,
}

macro_rules! named {
    ($(#[$all_doc:meta])* $all:ident { $($(#[$doc:meta])* $variant:ident: $name:literal;)+ }) => {
        $(#[$all_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $all {
            $($(#[$doc])* $variant,)+
        }

        impl $all {
            /// All of them, in the order of counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// For people, and as a label of metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

named! {
    /// Where an answer comes from, or a refusal.
    Source {
        /// An attempt that was started for this question.
        Asked: "asked";
        /// An attempt that was started for another question of the same key.
        Joined: "joined";
        /// What is kept: a good answer, or that there was none a moment ago.
        Cache: "cache";
        /// An answer that is no longer good, as there was no other.
        Stale: "stale";
        /// The cache that nodes share.
        Shared: "shared";
    }
}

named! {
    /// Why there is no answer.
    Why {
        /// The last attempt was over its time.
        Timeout: "timeout";
        /// The last attempt failed.
        Failed: "failed";
        /// The validator is left alone for a while.
        BreakerOpen: "breaker_open";
        /// There was no token for an attempt in time.
        RateLimited: "rate_limited";
        /// Too many questions wait.
        QueueFull: "queue_full";
        /// The question's own time was over, or an attempt did not fit into what was left.
        Deadline: "deadline";
        /// A person has said that it is left alone.
        ForcedOpen: "forced_open";
        /// Nothing is asked any more.
        Stopped: "stopped";
    }
}

named! {
    /// How a breaker stands.
    BreakerState {
        /// The validator is asked.
        Closed: "closed";
        /// It is left alone.
        Open: "open";
        /// A few questions probe whether it is well again; the others get no answer.
        HalfOpen: "half_open";
        /// It is left alone, as a person has said.
        ForcedOpen: "forced_open";
        /// It is asked whatever happens, as a person has said.
        ForcedClosed: "forced_closed";
    }
}

/// What a person may say of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forced {
    /// Ask nothing.
    Open,
    /// Ask whatever happens.
    Closed,
}

/// A change of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerChange {
    /// How it stood.
    pub before: BreakerState,
    /// How it stands.
    pub now: BreakerState,
    /// Which change it is: the first one is 1.
    pub generation: u64,
    /// How long it stays open; 0 where it is not.
    pub open_ns: u64,
}

/// What comes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Who asked.
    pub token: u64,
    /// The answer, or why there is none.
    pub answer: Result<i64, Why>,
    /// Where it comes from.
    pub source: Source,
    /// Attempts that were under way while the question waited.
    pub attempts: u8,
    /// How long it has waited, microseconds.
    pub waited_us: u32,
    /// How old the answer is, milliseconds; 0 where it has just come.
    pub age_ms: u32,
    /// For how long the answer may be kept as a good one; 0 for this payment alone.
    pub good_for_ns: u64,
    /// How the breaker stood.
    pub breaker: BreakerState,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Ask the validator. What it comes to is told by [`Asker::came`](super::Asker::came), once.
    Attempt {
        /// Which one it is.
        attempt: AttemptId,
        /// What it is about.
        key: u128,
        /// Whose question's data is sent. Its reply may be the next effect: the data is taken at once.
        token: u64,
        /// How long it may take. Past that it is cancelled.
        timeout_ns: u64,
    },
    /// Give an attempt up. What it comes to is not told.
    Cancel {
        /// Which one.
        attempt: AttemptId,
    },
    /// Answer a question.
    Reply(Reply),
    /// Keep an answer that has just come, wherever answers are kept.
    Fill {
        /// What it is about.
        key: u128,
        /// The answer.
        answer: i64,
        /// How long it is good.
        good_for_ns: u64,
        /// How long behind that it may be taken where there is no other.
        stale_for_ns: u64,
        /// It is to be put into the cache that nodes share.
        is_shared: bool,
    },
    /// Tell of a change of the breaker.
    Told(BreakerChange),
    /// Look into the cache that nodes share. What it comes to is told by [`Asker::looked`](super::Asker::looked), once;
    /// too late, it is not listened to.
    Look {
        /// Which look it is.
        look: LookId,
        /// What it is about.
        key: u128,
        /// How long it may take.
        timeout_ns: u64,
    },
    /// Tell of a change of the breaker of the cache that nodes share.
    ToldShared(BreakerChange),
}

/// How it stands with a validator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How the breaker stands.
    pub breaker: BreakerState,
    /// How often it has changed.
    pub generation: u64,
    /// Until when it is open.
    pub open_until_ns: Option<u64>,
    /// Tokens for attempts, below zero after negative answers; `None` without bound.
    pub tokens: Option<i64>,
    /// Attempts under way.
    pub in_flight: usize,
    /// Keys that wait for a place among those, or for a token.
    pub queued: usize,
    /// Keys that wait to be tried again.
    pub retrying: usize,
    /// Questions that wait.
    pub waiting: usize,
    /// Answers that are kept.
    pub cached: usize,
    /// Keys of which it is kept that there was no answer.
    pub errors: usize,
    /// About how long all but the slowest answers take; 0 while that is not known.
    pub most_take_ns: u64,
    /// What has happened so far.
    pub counters: Counters,
    /// The last attempt that failed: why, and when.
    pub last_error: Option<(Why, u64)>,
    /// The cache that nodes share, where there is one.
    pub shared: Option<SharedStatus>,
}

/// How it stands with the cache that nodes share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedStatus {
    /// How its breaker stands.
    pub breaker: BreakerState,
    /// Looks under way.
    pub looking: usize,
    /// What has happened so far.
    pub counters: SharedCounters,
}

/// What has happened so far with the cache that nodes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SharedCounters {
    /// Looks into it.
    pub looks: u64,
    /// Looks that found an answer, be it a stale one.
    pub found: u64,
    /// Looks that failed.
    pub failures: u64,
    /// Looks that were over their time.
    pub timeouts: u64,
    /// Times that its breaker has opened.
    pub opened: u64,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Questions.
    pub questions: u64,
    /// Answers, by their [`Source`].
    pub answered: [u64; Source::ALL.len()],
    /// Questions without an answer, by [`Why`].
    pub unanswered: [u64; Why::ALL.len()],
    /// Attempts.
    pub attempts: u64,
    /// Attempts that were retries.
    pub retries: u64,
    /// Attempts that nobody waited for, to have a good answer ready.
    pub refreshes: u64,
    /// Attempts that came to an answer.
    pub answers: u64,
    /// Of those, negative ones.
    pub negatives: u64,
    /// Of those, ones that nobody waited for: late ones, and refreshes.
    pub late: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Attempts that were over their time.
    pub timeouts: u64,
    /// Retries that the budget did not allow.
    pub unaffordable: u64,
    /// Times that the breaker has opened.
    pub opened: u64,
}
