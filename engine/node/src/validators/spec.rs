//! How a validator is asked: what its section of a policy says beyond what deciding needs
//! ([`Validator`](catraca_core::policy::validators::Validator)).

use catraca_core::policy::lists::KeyField;
use catraca_core::validate::{Settings, SharedSettings};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use catraca_core::validate::{BreakerSettings, Caching, Limits};

/// How a validator is asked, and what comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub id: String,
    /// What is sent.
    pub request: Request,
    /// What an answer is.
    pub meaning: Meaning,
    /// How long one attempt may take, milliseconds.
    pub timeout_ms: u16,
    /// Attempts for one question, the first included.
    pub attempts: u8,
    /// How long a payment waits for the answer at most, milliseconds.
    pub wait_ms: u16,
    /// How long answers are good.
    pub cache: Caching,
    /// How much it is asked at most.
    pub limits: Limits,
    /// When it is left alone.
    pub breaker: BreakerSettings,
}

impl Service {
    /// What the machine that asks it needs of it, and of the cache that nodes share.
    pub fn settings(&self, shared: Option<SharedSettings>) -> Settings {
        Settings {
            timeout_ms: self.timeout_ms,
            attempts: self.attempts,
            wait_ms: self.wait_ms,
            negative: self.meaning.negative.clone(),
            cache: self.cache,
            limits: self.limits,
            breaker: self.breaker,
            shared,
        }
    }
}

/// What is sent to a validator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `true` POST, with a body; `false` GET.
    pub is_post: bool,
    /// Where to: an http or https URL in parts.
    pub url: Vec<UrlPart>,
    /// Headers as they stand in the policy: small letters, value.
    pub headers: Vec<(String, String)>,
    /// Headers whose values are secrets.
    pub secret_headers: Vec<(String, Secret)>,
    /// Members of the body, a JSON object, by the fields' names; none for GET.
    pub body: Vec<Sent>,
    /// Documents are sent in full: 11 or 14 characters, a company's 8. Otherwise as their keyed hash, 32 hexadecimal digits.
    pub documents_in_full: bool,
    /// Files for TLS.
    pub tls: TlsFiles,
}

impl Request {
    /// All that it sends of a payment, in the order of the URL and then of the body, each once.
    pub fn sent(&self) -> Vec<Sent> {
        let of_url = self.url.iter().filter_map(|part| match part {
            UrlPart::Field(sent) => Some(*sent),
            UrlPart::Text(_) => None,
        });
        let mut sent: Vec<Sent> = Vec::new();
        for one in of_url.chain(self.body.iter().copied()) {
            if !sent.contains(&one) {
                sent.push(one);
            }
        }
        sent
    }
}

/// A part of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlPart {
    /// As it stands.
    Text(String),
    /// A field of the payment, percent-encoded.
    Field(Sent),
}

/// What of a payment is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// A document, an account and so on: payments that are the same in it share an answer.
    Key(KeyField),
    /// The amount, centavos.
    Amount,
}

impl Sent {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key(key) => key.name(),
            Self::Amount => "tx.amount",
        }
    }

    /// The field of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "tx.amount" => Some(Self::Amount),
            _ => KeyField::named(name).map(Self::Key),
        }
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file, without its last line break; read anew when the file changes.
    File(PathBuf),
    /// In a variable of the node's environment.
    Env(String),
}

/// Files for TLS, all PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// Certificates of authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// The node's own certificate with its chain, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// Where the answer is in the body of a 200, as a JSON pointer (RFC 6901); `None` where statuses alone answer.
    pub pointer: Option<String>,
    /// The words that may stand there, which are answers by their places; none where a whole number stands there.
    pub words: Vec<String>,
    /// Answers by status, whatever the body is.
    pub statuses: BTreeMap<u16, i64>,
    /// Answers that are *negative*: they are kept for a time of their own, and cost the service more.
    pub negative: Vec<i64>,
}
