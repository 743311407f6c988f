//! Which token is shown: one that a server took, until the newer one is taken, or the old one has ended.

use super::Exchange;
use crate::client::error::ClientError;
use crate::client::reply::Body;
use crate::client::rules::token_frames;
use crate::frame::ErrorCode;

/// What is known of newer tokens.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// One that no server has taken or refused.
    newer: Option<Token>,
    /// The AUTH that the connection in use has not answered, given up or not. A server takes no second one before that.
    asked: Option<(u64, Token)>,
}

/// Not shown: it is a secret.
#[derive(Clone, PartialEq, Eq)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Renewal {
    /// The frames of AUTH, where the connection owes no answer to another one.
    pub(super) fn begin(&mut self, correlation: u64, token: &str) -> Option<Vec<u8>> {
        if self.asked.is_some() {
            return None;
        }
        self.asked = Some((correlation, Token(token.to_owned())));
        Some(token_frames(token, correlation))
    }

    /// The connection that owed an answer is gone.
    pub(super) fn forget_asked(&mut self) {
        self.asked = None;
    }
}

impl Exchange {
    /// Connections come with this token once a server has taken it, or takes the one before no more. One that no
    /// server could check does not lock out who has a good one.
    pub(in crate::client) fn offer(&mut self, token: &str) {
        self.renewal.newer = Some(Token(token.to_owned()));
    }

    /// Takes an answer to AUTH; `false` where it is none. Where the server could not check the
    /// newer token, that may be good.
    pub(super) fn renewed(&mut self, correlation: u64, body: &Body) -> bool {
        let is_answer = matches!(body, Body::AuthState { .. } | Body::Error(_));
        let Some((_, token)) =
            self.renewal.asked.take_if(|(asked, _)| is_answer && *asked == correlation)
        else {
            return false;
        };
        let refuses = [ErrorCode::Unauthenticated, ErrorCode::Forbidden];
        if matches!(body, Body::Error(error) if !refuses.contains(&error.code)) {
            return true;
        }
        self.renewal.newer.take_if(|newer| *newer == token);
        if let Body::AuthState { expires_at_ns } = body {
            self.options.credential = token.0;
            if let Some(own) = &mut self.connection {
                own.expires_at_ns = *expires_at_ns;
            }
        }
        true
    }

    /// Whether the token that is shown has come to its end, by this refusal, and there is a newer one: that one is
    /// shown from now on.
    pub(super) fn turns_to_newer(&mut self, code: ErrorCode) -> bool {
        let newer = (code == ErrorCode::Unauthenticated).then(|| self.renewal.newer.take());
        let Some(newer) = newer.flatten() else { return false };
        self.options.credential = newer.0;
        true
    }

    /// The same of an attempt to connect.
    pub(super) fn turns_after(&mut self, error: &ClientError) -> bool {
        matches!(error, ClientError::Refused(refused) if self.turns_to_newer(refused.code))
    }
}
