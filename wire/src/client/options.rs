//! How a client behaves: where to connect, who it is, and how long it waits.

use super::ClientError;
use super::rules::pause;
use super::secure::Secure;
use crate::address::host_and_port;
use crate::frame::{ErrorCode, MAX_CLIENT_NAME_LEN, MAX_TOKEN_LEN};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The most unanswered frames that a client keeps, whatever the server would allow: bounds what it
/// holds for sending again (about 20 MiB).
pub const MAX_IN_FLIGHT: u32 = 65_536;

/// Which node a client connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// The one that decides, wherever it is: the client leaves a standby for the primary, and
    /// follows when another node becomes it.
    #[default]
    Primary,
    /// The first that answers: enough to look up, to see figures, and to speak to one node in
    /// particular.
    Any,
}

/// Options of a [`super::Client`]; begin with [`ClientOptions::new`] and change what differs.
#[derive(Clone)]
pub struct ClientOptions {
    /// `host:port` of each node, in order of preference. With several the client goes on to the
    /// next when one fails.
    pub addresses: Vec<String>,
    /// Which of the nodes is wanted.
    pub role: Wanted,
    /// What makes connections secure; none where bytes go as they are.
    pub secure: Option<Arc<dyn Secure>>,
    /// Token that the operator gave, or access token of an issuer; empty where the server asks for none. At most
    /// [`MAX_TOKEN_LEN`] bytes. [`super::Client::renew`] takes a newer one.
    pub credential: String,
    /// Name of this program, for whoever reads the traffic: the server does not use it. At most [`MAX_CLIENT_NAME_LEN`] bytes.
    pub client_name: String,
    /// How many frames may be unanswered, at most [`MAX_IN_FLIGHT`]; 0 leaves it to the server,
    /// which may allow less anyway.
    pub in_flight: u32,
    /// Time for connecting to one address and its WELCOME, ms. Name resolution is outside it: the
    /// system's resolver has its own.
    pub connect_timeout_ms: u64,
    /// The longest wait for an answer, reconnects included, ms. A transaction's own budget and half
    /// a second is the limit where that is less.
    pub answer_timeout_ms: u64,
    /// Failures in a row (no connection, or one lost without an answer) after which the client
    /// gives up what is unanswered; 0 never connects again by itself.
    pub reconnect_attempts: u32,
    /// Pause before the second attempt to connect again (the first is at once), ms. It doubles with
    /// each, and is jittered.
    pub reconnect_base_ms: u64,
    /// The longest pause between two attempts, ms.
    pub reconnect_max_ms: u64,
}

impl ClientOptions {
    /// Options with the defaults for one address: the primary is wanted, no credential, connecting
    /// within 2 s, an answer within 2.5 s (the largest budget and half a second for the way), 10
    /// attempts to reconnect with pauses from 50 ms to 2 s.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            addresses: vec![address.into()],
            role: Wanted::Primary,
            secure: None,
            credential: String::new(),
            client_name: String::new(),
            in_flight: 0,
            connect_timeout_ms: 2_000,
            answer_timeout_ms: 2_500,
            reconnect_attempts: 10,
            reconnect_base_ms: 50,
            reconnect_max_ms: 2_000,
        }
    }

    /// # Errors
    /// [`ClientError::Argument`] for what could never work.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let wrong = |text: &str| Err(ClientError::Argument(text.to_owned()));
        if self.addresses.is_empty() {
            return wrong("give at least one address, as host:port");
        }
        for address in &self.addresses {
            if let Err(why) = host_and_port(address) {
                return wrong(&format!("{address:?} is no address: {why}"));
            }
        }
        if self.credential.len() > MAX_TOKEN_LEN {
            return wrong(&format!("a credential has at most {MAX_TOKEN_LEN} bytes"));
        }
        if self.client_name.len() > MAX_CLIENT_NAME_LEN {
            return wrong(&format!("a client's name has at most {MAX_CLIENT_NAME_LEN} bytes"));
        }
        if self.in_flight > MAX_IN_FLIGHT {
            return wrong(&format!("at most {MAX_IN_FLIGHT} frames may be unanswered"));
        }
        if self.connect_timeout_ms == 0 || self.answer_timeout_ms == 0 {
            return wrong("a time-out is at least 1 ms");
        }
        Ok(())
    }

    /// Whether a refusal means to ask another node, with so many addresses known. A node that is no
    /// primary may name the one that is, so one address is enough then.
    pub(super) fn goes_elsewhere(&self, code: ErrorCode, addresses: usize) -> bool {
        let elsewhere =
            code == ErrorCode::NotPrimary || code == ErrorCode::ShuttingDown && addresses > 1;
        elsewhere && self.role == Wanted::Primary && self.reconnect_attempts > 0
    }

    /// [`pause`] within the bounds of these options.
    pub(super) fn pause(&self, failures: u32, chance: u64) -> Duration {
        pause(self.reconnect_base_ms, self.reconnect_max_ms, failures, chance)
    }
}

/// Without the credential, so that no log gets it.
impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("addresses", &self.addresses)
            .field("role", &self.role)
            .field("secure", &self.secure.is_some())
            .field("client_name", &self.client_name)
            .field("in_flight", &self.in_flight)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("answer_timeout_ms", &self.answer_timeout_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_bounds() {
        let options = ClientOptions::new("a:1");
        for chance in [0, 1, u64::MAX] {
            assert_eq!(options.pause(0, chance), Duration::ZERO);
            assert_eq!(options.pause(1, chance), Duration::ZERO);
            for failures in 2..200 {
                let whole = (50u64 << (failures - 2).min(20)).min(2_000);
                let pause = options.pause(failures, chance).as_millis() as u64;
                assert!((whole / 2..=whole).contains(&pause), "{failures}: {pause}");
            }
        }
    }

    #[test]
    fn what_can_not_work_is_refused_and_the_credential_not_printed() {
        let good = ClientOptions { credential: "sesame".into(), ..ClientOptions::new("a:1") };
        good.check().expect("good");
        assert!(!format!("{good:?}").contains("sesame"));
        for bad in [
            ClientOptions { addresses: vec![], ..good.clone() },
            ClientOptions { credential: "x".repeat(MAX_TOKEN_LEN + 1), ..good.clone() },
            ClientOptions { client_name: "x".repeat(41), ..good.clone() },
            ClientOptions { in_flight: MAX_IN_FLIGHT + 1, ..good.clone() },
            ClientOptions { answer_timeout_ms: 0, ..good.clone() },
        ] {
            assert!(matches!(bad.check(), Err(ClientError::Argument(_))));
        }
    }
}
