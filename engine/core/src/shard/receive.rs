//! Bytes that come on a connection: whole frames are taken, half ones kept.

use super::Shard;
use super::checks::{Request, check_header};
use super::journal::BlockMemory;
use super::messages::{ConnectionId, Now};
use super::session::State;
use crate::limits::{self, FRAME_TIMEOUT};
use catraca_wire::frame::{
    self, ErrorCode, FixedFrame, HEADER_LEN, HeaderFields, MAX_REQUEST_LEN, MAX_TOKEN_LEN,
    TOKEN_PART_LEN,
};

impl<B: BlockMemory> Shard<B> {
    /// How many bytes may be read from a connection now; 0 means not to read, but to call
    /// [`Self::receive`] with none once output of it has been sent since the last call.
    pub fn read_allowance(&self, id: ConnectionId) -> usize {
        let Some(session) = self.sessions.get(id) else { return 0 };
        if !session.may_take() || session.held_back {
            return 0;
        }
        // Whole frames past the in-flight limit would have to be kept.
        let len = match session.state {
            State::Open => {
                (session.in_flight - session.unanswered) as usize * frame::SubmitFrame::LEN
            }
            // A whole token, so that it comes in one piece.
            State::Authenticating => MAX_TOKEN_LEN.div_ceil(TOKEN_PART_LEN) * MAX_REQUEST_LEN,
            State::Greeting | State::Free | State::Closing => frame::SubmitFrame::LEN,
        };
        len.saturating_sub(session.carry.len()).clamp(HEADER_LEN, limits::READ_BUFFER_LEN)
    }

    /// Takes the bytes that came on a connection at `received_ns`. Call it with none after a pause,
    /// for what was kept.
    pub fn receive(&mut self, id: ConnectionId, bytes: &[u8], received_ns: u64, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let mut carry = std::mem::take(&mut session.carry);
        let mut rest = bytes;
        if !carry.is_empty() {
            let kept = carry.len();
            let topped_up =
                rest.len().min(MAX_REQUEST_LEN.saturating_sub(kept.min(MAX_REQUEST_LEN)));
            carry.extend_from_slice(&rest[..topped_up]);
            let used = self.process(id, &carry, received_ns, now);
            if used >= kept {
                rest = &rest[used - kept..];
                carry.clear();
            } else {
                rest = &rest[topped_up..];
                carry.drain(..used);
            }
        }
        if carry.is_empty() {
            let used = self.process(id, rest, received_ns, now);
            rest = &rest[used..];
        }
        carry.extend_from_slice(rest);
        let Some(session) = self.sessions.get_mut(id) else { return };
        match session.state {
            State::Free | State::Closing => {}
            State::Greeting => session.carry = carry,
            State::Authenticating => {
                // Its handshake has a time-out of its own.
                session.held_back = !carry.is_empty() && !session.may_take();
                session.carry = carry;
            }
            State::Open => {
                // Half a frame must be completed in time; whole frames wait for their turn as long
                // as that takes.
                let half = !carry.is_empty() && session.may_take();
                session.patience_ends_ns = match (half, session.patience_ends_ns) {
                    (false, _) => u64::MAX,
                    (true, u64::MAX) => now.mono_ns + FRAME_TIMEOUT.as_nanos() as u64,
                    (true, _) if carry.len() < bytes.len() => {
                        now.mono_ns + FRAME_TIMEOUT.as_nanos() as u64
                    }
                    (true, ends) => ends,
                };
                session.held_back = !carry.is_empty() && !half;
                session.carry = carry;
            }
        }
    }

    /// Processes whole frames as long as the session takes them; gives how many bytes that were.
    fn process(&mut self, id: ConnectionId, bytes: &[u8], received_ns: u64, now: Now) -> usize {
        let mut at = 0;
        loop {
            while let Some(session) = self.sessions.get(id).filter(|session| session.may_take()) {
                let state = session.state;
                let Some(header) =
                    bytes.get(at..at + HEADER_LEN).and_then(frame::view::<HeaderFields>)
                else {
                    break;
                };
                let (kind, len) = match check_header(header, state) {
                    Ok(checked) => checked,
                    Err((code, detail)) => {
                        self.decide_staged(bytes, received_ns, now);
                        self.break_off(id, header.correlation.to_native(), code, detail);
                        return bytes.len();
                    }
                };
                let Some(whole) = bytes.get(at..at + len) else { break };
                match Request::of(kind, whole) {
                    Some(Request::Submit(submit)) => {
                        self.stage(id, submit, at, received_ns);
                        if self.staged.len() == limits::DECISION_BATCH {
                            self.decide_staged(bytes, received_ns, now);
                        }
                    }
                    Some(other) => {
                        // Answers of other kinds must not overtake what was asked before them.
                        self.decide_staged(bytes, received_ns, now);
                        self.take_request(id, header, &other, now);
                    }
                    None => {
                        self.decide_staged(bytes, received_ns, now);
                        self.break_off(
                            id,
                            header.correlation.to_native(),
                            ErrorCode::BadFrame,
                            "a reserved field is not 0",
                        );
                        return bytes.len();
                    }
                }
                at += len;
            }
            if self.staged.is_empty() {
                return at;
            }
            // What is answered at once makes room in flight for what follows it.
            self.decide_staged(bytes, received_ns, now);
        }
    }
}
