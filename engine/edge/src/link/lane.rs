//! One connection of the link: whether there is one, where it leads, what it carries. Pure.

use catraca_wire::client::ServerError;
use catraca_wire::client::rules::Route;
use catraca_wire::frame::{OnBehalfFrame, PrincipalFields};
use std::collections::BTreeSet;

/// What becomes of a lane.
#[derive(Debug)]
pub(super) enum State {
    /// Waits before the next attempt.
    Pausing {
        /// Until then.
        until_ns: u64,
    },
    /// An attempt is on its way.
    Dialling {
        /// Its number.
        attempt: u64,
        /// Nodes that named another one as the primary, in a row.
        hops: usize,
    },
    /// Connected to a primary.
    Ready(Ready),
}

/// A connection to a primary.
#[derive(Debug)]
pub(super) struct Ready {
    /// The attempt that made it; names the connection.
    pub(super) attempt: u64,
    /// How many requests it may carry.
    pub(super) limit: usize,
    /// Epoch of the node.
    pub(super) epoch: u32,
    /// Requests that went out on it and have no answer.
    pub(super) carried: BTreeSet<u64>,
    /// When the node last said something, or began to owe an answer.
    pub(super) quiet_since_ns: u64,
    /// A PING that has no PONG: its correlation, and when it went out.
    pub(super) ping: Option<(u64, u64)>,
    /// For whom what goes out is asked: the gateway itself until it says otherwise.
    pub(super) behalf: Option<Box<PrincipalFields>>,
    /// Something that went out on it was answered.
    pub(super) has_answered: bool,
    /// It is not known whether the node lets this program speak for others: nothing is sent but that question.
    pub(super) is_on_trial: bool,
    /// Bytes to be written.
    pub(super) output: Vec<u8>,
}

impl Ready {
    /// Says for whom what follows is, where it is somebody else than before. Who speaks for others once can't go
    /// back to speaking for itself, and a gateway either knows its callers or does not.
    pub(super) fn speak_for(&mut self, behalf: Option<&PrincipalFields>) {
        let Some(behalf) = behalf else {
            assert!(self.behalf.is_none(), "for whom it is asked is said always or never");
            return;
        };
        if self.behalf.as_deref() != Some(behalf) {
            // Only an ERROR answers it, and that closes the connection, whatever its correlation.
            let frame = OnBehalfFrame { principal: *behalf, ..OnBehalfFrame::empty(0) };
            self.output.extend_from_slice(bytemuck::bytes_of(&frame));
            self.behalf = Some(Box::new(*behalf));
        }
    }
}

/// One connection of the link, which is made again whenever it is lost.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) route: Route,
    pub(super) state: State,
    /// Failures since the last answer.
    pub(super) failures: u32,
    /// Why there is no connection, for a person.
    pub(super) last_failure: String,
    /// The refusal of a handshake, or to let this program speak for others, that another attempt does not change.
    pub(super) refused: Option<ServerError>,
    /// For whom each connection asks to speak before it carries anything: where it is not known yet that a node lets
    /// this program do so, and after one did not.
    pub(super) trial: Option<Box<PrincipalFields>>,
    /// The node in use could not confirm something, or says nothing: it may have been replaced
    /// without knowing it.
    pub(super) doubtful: bool,
    /// It is not looked for another primary before.
    pub(super) next_look_ns: u64,
    /// Attempts that look for another primary, each with its address.
    pub(super) looks: Vec<(u64, String)>,
}

impl Lane {
    /// A lane that dials at once; the first lanes begin at different addresses only where nothing is
    /// known of the primary, so all begin at the first.
    pub(super) fn new(nodes: &[String]) -> Self {
        Self {
            route: Route::new(nodes),
            state: State::Pausing { until_ns: 0 },
            failures: 0,
            last_failure: "no connection was tried yet".to_owned(),
            refused: None,
            trial: None,
            doubtful: false,
            next_look_ns: 0,
            looks: Vec::new(),
        }
    }

    /// The connection, where there is one.
    pub(super) fn ready(&mut self) -> Option<&mut Ready> {
        match &mut self.state {
            State::Ready(ready) => Some(ready),
            State::Pausing { .. } | State::Dialling { .. } => None,
        }
    }

    /// The connection that this attempt made.
    pub(super) fn ready_by(&mut self, attempt: u64) -> Option<&mut Ready> {
        self.ready().filter(|ready| ready.attempt == attempt)
    }

    /// The connection, where there is one that carries requests.
    pub(super) fn in_use(&self) -> Option<&Ready> {
        match &self.state {
            State::Ready(ready) if !ready.is_on_trial => Some(ready),
            State::Ready(_) | State::Pausing { .. } | State::Dialling { .. } => None,
        }
    }

    /// How many requests it carries, where it may carry another one.
    pub(super) fn room(&self) -> Option<usize> {
        let carried = self.in_use().filter(|ready| ready.carried.len() < ready.limit)?;
        Some(carried.carried.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::view;

    fn ready() -> Ready {
        let ping = None;
        let (carried, behalf, output) = (BTreeSet::new(), None, Vec::new());
        let (has_answered, is_on_trial) = (false, false);
        Ready {
            attempt: 1,
            limit: 1,
            epoch: 1,
            carried,
            quiet_since_ns: 0,
            ping,
            behalf,
            has_answered,
            is_on_trial,
            output,
        }
    }

    fn principal(institution: u16) -> PrincipalFields {
        let mut principal = PrincipalFields::default();
        principal.submitter.institution = institution.into();
        principal
    }

    #[test]
    fn for_whom_it_is_asked_is_said_when_that_changes() {
        let mut ready = ready();
        for institution in [1, 1, 2, 1] {
            ready.speak_for(Some(&principal(institution)));
        }
        let said: Vec<u16> = ready
            .output
            .chunks(size_of::<OnBehalfFrame>())
            .map(|frame| view::<OnBehalfFrame>(frame).expect("whole"))
            .map(|frame| frame.principal.submitter.institution.to_native())
            .collect();
        assert_eq!(said, [1, 2, 1]);
    }

    #[test]
    fn a_gateway_that_knows_no_callers_says_nothing() {
        let mut ready = ready();
        ready.speak_for(None);
        assert!(ready.output.is_empty());
    }
}
