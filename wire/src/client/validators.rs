//! Forcing the breaker of a validator: the request, and the call that makes it.

use super::exchange::Outcome;
use super::reply::Body;
use super::{Client, ClientError, mismatch};
use crate::frame::{
    BreakerForce, FrameKind, ValidatorFrame, ValidatorRequest, ValidatorStateReply,
};
use crate::list::{Author, ListName, ListReason, MAX_AUTHOR_LEN, MAX_LIST_REASON_LEN};

impl ValidatorRequest {
    /// Forces the breaker of a validator, or leaves it to itself again; who asks for it, and why.
    ///
    /// # Errors
    /// [`ClientError::Argument`] where nobody asks for it, or for no reason.
    pub fn force(
        validator: ListName,
        force: BreakerForce,
        author: Author,
        reason: ListReason,
    ) -> Result<Self, ClientError> {
        if author.is_empty() || reason.is_empty() {
            let why = format!(
                "an author has 1 to {MAX_AUTHOR_LEN} bytes, and a reason 1 to {MAX_LIST_REASON_LEN}"
            );
            return Err(ClientError::Argument(why));
        }
        Ok(Self {
            force: force.to_wire(),
            validator: validator.to_wire(),
            author: author.to_wire(),
            reason: reason.to_wire(),
            ..Self::from(&ValidatorFrame::empty(0))
        })
    }
}

impl Client {
    /// Forces the breaker of a validator of the policy in force, or leaves it to itself again. Not sent twice by
    /// itself, and safe to send again: it is recorded twice then, and the breaker stands the same.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with FAILED where the policy in force has no such validator; else as
    /// [`Self::blacklist`].
    pub fn validator(
        &mut self,
        request: &ValidatorRequest,
    ) -> Result<ValidatorStateReply, ClientError> {
        let header = ValidatorFrame::empty(0).header;
        let frame = ValidatorFrame { header, ..ValidatorFrame::from(request) };
        match self.ask(bytemuck::bytes_of(&frame), FrameKind::ValidatorState, false)? {
            Outcome::Answer(Body::ValidatorState(state)) => Ok(state),
            other => Err(mismatch(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_forces_a_breaker_is_named_and_says_why() {
        let validator = ListName::parse("cpf-status").expect("sound");
        let (ana, why) = (Author::parse("ana"), ListReason::parse("maintenance"));
        let (ana, why) = (ana.expect("sound"), why.expect("sound"));
        let request = ValidatorRequest::force(validator, BreakerForce::Auto, ana, why);
        let request = request.expect("sound");
        assert_eq!((request.force, request.author), (3, ana.to_wire()));
        for (author, reason) in [(Author::EMPTY, why), (ana, ListReason::EMPTY)] {
            let request = ValidatorRequest::force(validator, BreakerForce::Open, author, reason);
            assert!(matches!(request, Err(ClientError::Argument(_))), "{request:?}");
        }
    }
}
