//! Tokens that are renewed on a connection that lives.

use super::exchange::{Outcome, Request};
use super::reply::Body;
use super::{Client, ClientError, answer_of, mismatch};
use crate::frame::{FrameKind, MAX_TOKEN_LEN};

impl Client {
    /// Until when the token of the connection in use counts, nanoseconds since 1970 UTC: then the server closes the
    /// connection, unless [`Self::renew`] was called before. `None` for a credential without an end.
    pub fn token_expires_at_ns(&self) -> Option<u64> {
        self.exchange.expires_at_ns()
    }

    /// Goes on with a newer token of the same client, on the connection in use and on all that come. Whatever is
    /// unanswered stays so. Gives until when the token counts; `None` for no end.
    ///
    /// # Errors
    /// [`ClientError::Argument`] for a token of no or more than [`MAX_TOKEN_LEN`] bytes; [`ClientError::Refused`] with
    /// UNAUTHENTICATED, FORBIDDEN (of another client) or OVERLOADED (it can't be checked now): the one before counts
    /// until its end. So it does after [`ClientError::Connect`] and [`ClientError::NoAnswer`], when the server can't be
    /// asked: connections come with it until a server has taken the newer one, or takes the old one no more.
    pub fn renew(&mut self, token: &str) -> Result<Option<u64>, ClientError> {
        if !(1..=MAX_TOKEN_LEN).contains(&token.len()) {
            return Err(ClientError::Argument(format!("a token has 1 to {MAX_TOKEN_LEN} bytes")));
        }
        self.exchange.offer(token);
        let asked = self.send(Request::Auth(token.to_owned()), FrameKind::AuthState, true)?;
        match answer_of(self.wait_for(asked))? {
            Outcome::Answer(Body::AuthState { expires_at_ns }) => {
                Ok(Some(expires_at_ns).filter(|&ends| ends > 0))
            }
            other => Err(mismatch(&other)),
        }
    }
}
