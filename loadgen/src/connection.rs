//! One socket: frames gathered in a send buffer, replies taken out of a receive buffer, and what
//! lies unanswered between them.

use crate::link::Link;
use crate::scenario::{self, Payment};
use crate::slots::{Sent, Slots};
use crate::transactions::{self, Parties, Transactions};
use catraca_wire::DocumentKey;
use catraca_wire::frame::{
    ErrorFrame, FrameKind, HEADER_LEN, HeaderFields, SubmitFrame, VerdictFrame, view,
};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Most frames gathered for one write: 192 KiB, what a socket's buffer takes at once; more only
/// costs cache.
const MAX_GATHERED: usize = 1024;
/// The longest reply that a SUBMIT can get.
const MAX_SUBMIT_REPLY: usize = size_of::<ErrorFrame>();
/// Bytes of the receive buffer that all connections share: 2,048 verdicts and what was left of the
/// read before.
pub const RECEIVE_BUFFER_LEN: usize = 128 * 1024 + MAX_SUBMIT_REPLY;

/// Why a connection can't go on. For a person, without the connection's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The node is gone, or does not decide any more: another one may.
    Lost(String),
    /// The node breaks the protocol, or this machine refuses something: another node changes
    /// nothing.
    Final(String),
}

impl Broken {
    /// The sentence.
    pub fn what(&self) -> &str {
        let (Self::Lost(what) | Self::Final(what)) = self;
        what
    }
}

/// One reply to a SUBMIT, or to nothing in particular.
#[derive(Debug)]
pub enum Reply<'a> {
    /// A decision.
    Verdict(&'a VerdictFrame),
    /// A refusal.
    Error(&'a ErrorFrame),
}

/// A connection that has been welcomed.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    /// What is unanswered.
    pub slots: Slots,
    /// Templates; the first `gathered` are filled in.
    frames: Box<[SubmitFrame]>,
    gathered: usize,
    /// Bytes of the filled-in frames that the socket has taken.
    written: usize,
    /// The socket takes no more, because the node is gone. What it said before that is still there
    /// to be read, and reading ends the run.
    write_failed: bool,
    /// Correlations of what is to be sent again, the next one last.
    again: Vec<u64>,
    /// The start of a reply whose end has not arrived.
    stash: [u8; MAX_SUBMIT_REPLY],
    stashed: usize,
}

impl Connection {
    /// Takes over a welcomed socket, which becomes non-blocking. What is unanswered in the slots is
    /// to be sent again.
    pub fn new(link: Link, slots: Slots, template: &SubmitFrame) -> std::io::Result<Self> {
        link.socket().set_nonblocking(true)?;
        let mut again = slots.correlations();
        again.reverse();
        Ok(Self {
            link,
            frames: vec![*template; MAX_GATHERED.min(slots.free() + slots.unanswered())]
                .into_boxed_slice(),
            slots,
            gathered: 0,
            written: 0,
            write_failed: false,
            again,
            stash: [0; MAX_SUBMIT_REPLY],
            stashed: 0,
        })
    }

    /// The socket, to wait on.
    pub fn socket(&self) -> &TcpStream {
        self.link.socket()
    }

    /// How many transactions may be gathered now.
    #[inline]
    pub fn room(&self) -> usize {
        if self.write_failed {
            return 0;
        }
        self.slots.free().min(self.frames.len() - self.gathered)
    }

    /// Whether the socket has yet to take something.
    #[inline]
    pub fn has_unwritten(&self) -> bool {
        self.gathered > 0 || self.link.has_unwritten()
    }

    /// Gathers a transaction for the next [`Self::flush`]. Only where there is [`Self::room`].
    #[inline]
    pub fn gather(&mut self, sent: Sent, parties: &Parties) {
        let Some(correlation) = self.slots.occupy(sent) else {
            debug_assert!(false, "gathered without room");
            return;
        };
        transactions::write(
            &mut self.frames[self.gathered],
            &sent.transaction,
            parties,
            correlation,
        );
        self.gathered += 1;
    }

    /// The same of a payment of a scenario.
    pub fn gather_payment(&mut self, sent: Sent, payment: &Payment) {
        let Some(correlation) = self.slots.occupy(sent) else {
            debug_assert!(false, "gathered without room");
            return;
        };
        scenario::write(&mut self.frames[self.gathered], payment, correlation);
        self.gathered += 1;
    }

    /// What is unanswered; the socket is closed.
    pub fn into_slots(self) -> Slots {
        self.slots
    }

    /// Sends an unanswered transaction again with the next [`Self::gather_again`], although this
    /// connection is sound.
    pub fn send_again(&mut self, correlation: u64) {
        self.again.push(correlation);
    }

    /// Gathers the next transaction that is to be sent again, with the bytes that it had; `None`
    /// when there is none, or no room.
    pub fn gather_again(&mut self, source: &Transactions) -> Option<Sent> {
        if self.write_failed || self.gathered == self.frames.len() {
            return None;
        }
        while let Some(correlation) = self.again.pop() {
            let Some(sent) = self.slots.get_mut(correlation) else { continue };
            sent.again = true;
            transactions::write(
                &mut self.frames[self.gathered],
                &sent.transaction,
                &source.parties(&sent.transaction),
                correlation,
            );
            self.gathered += 1;
            return Some(*sent);
        }
        None
    }

    /// Whether something is left for [`Self::gather_again`].
    pub fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Hands what was gathered to the socket; what it does not take stays for the next call.
    pub fn flush(&mut self) {
        if self.gathered == 0 {
            // What TLS has sealed.
            self.write_failed |=
                self.link.flush().is_err_and(|e| e.kind() != ErrorKind::WouldBlock);
        }
        while self.gathered > 0 {
            let bytes: &[u8] = bytemuck::cast_slice(&self.frames[..self.gathered]);
            match self.link.write(&bytes[self.written..]) {
                Ok(written) if written > 0 => self.written += written,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => {
                    self.write_failed = true;
                    self.gathered = 0;
                    self.written = 0;
                    return;
                }
            }
            if self.written == bytes.len() {
                self.gathered = 0;
                self.written = 0;
            }
        }
    }

    /// Reads what has arrived behind what was left of the last read; gives the bytes to parse, or 0
    /// when nothing new came.
    pub fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], Broken> {
        buffer[..self.stashed].copy_from_slice(&self.stash[..self.stashed]);
        loop {
            match self.link.read(&mut buffer[self.stashed..]) {
                Ok(0) => return Err(Broken::Lost("the node closed it".to_owned())),
                Ok(len) => return Ok(&buffer[..self.stashed + len]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(&[]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Broken::Lost(format!("it failed ({e})"))),
            }
        }
    }

    /// Keeps the start of a reply for the next read.
    pub fn stash(&mut self, rest: &[u8]) {
        // `next_reply` leaves less than one reply, and refuses longer ones before they are whole.
        self.stash[..rest.len()].copy_from_slice(rest);
        self.stashed = rest.len();
    }
}

/// Takes the next reply off the front of `bytes`; `None` when its end is missing.
#[inline]
pub fn next_reply<'b>(bytes: &mut &'b [u8]) -> Result<Option<Reply<'b>>, Broken> {
    let Some(header) = bytes.get(..HEADER_LEN).and_then(view::<HeaderFields>) else {
        return Ok(None);
    };
    let len = header.length.to_native() as usize;
    let kind = header.kind;
    if kind == FrameKind::Verdict.to_wire() && len == size_of::<VerdictFrame>() {
        let Some((frame, rest)) = bytes.split_at_checked(len) else { return Ok(None) };
        *bytes = rest;
        return Ok(view(frame).map(Reply::Verdict));
    }
    if kind == FrameKind::Error.to_wire() && len == size_of::<ErrorFrame>() {
        let Some((frame, rest)) = bytes.split_at_checked(len) else { return Ok(None) };
        *bytes = rest;
        return Ok(view(frame).map(Reply::Error));
    }
    let name =
        FrameKind::from_wire(kind).map_or_else(|| format!("kind {kind}"), |kind| kind.to_string());
    Err(Broken::Final(format!("the node sent a {name} of {len} bytes, which answers no SUBMIT")))
}

/// The masked payer and payee of a gathered transaction, for a message; of a payment of a scenario
/// the scenario.
pub fn masked_parties(source: &Transactions, sent: &Sent) -> String {
    if let Some(label) = sent.transaction.label {
        return format!("of {}", label.scenario.name());
    }
    let name = |index: u32| {
        let key = DocumentKey::from_wire(source.documents().get(index));
        let masked = key.map_or_else(|error| error.to_string(), |key| key.to_string());
        let listed = if source.documents().is_listed(index) { "listed" } else { "unlisted" };
        format!("{listed} {masked}")
    };
    format!("payer {}, payee {}", name(sent.transaction.payer), name(sent.transaction.payee))
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::ErrorCode;

    #[test]
    fn replies_come_off_one_by_one_and_wait_for_their_end() {
        let verdict = VerdictFrame::empty(7);
        let error = ErrorFrame::new(8, ErrorCode::Overloaded, 5, false, "full");
        let stream = [bytemuck::bytes_of(&verdict), bytemuck::bytes_of(&error)].concat();
        for end in 0..stream.len() {
            let mut bytes = &stream[..end];
            let mut replies = 0;
            while next_reply(&mut bytes).expect("well formed").is_some() {
                replies += 1;
            }
            assert_eq!(replies, usize::from(end >= 64));
            assert!(bytes.len() < MAX_SUBMIT_REPLY);
        }
        let mut bytes = &stream[..];
        assert!(
            matches!(next_reply(&mut bytes), Ok(Some(Reply::Verdict(frame))) if frame.header.correlation == 7)
        );
        assert!(matches!(next_reply(&mut bytes), Ok(Some(Reply::Error(frame))) if frame.code == 8));
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_answers_no_submit_is_refused_before_it_is_whole() {
        let mut header = HeaderFields::new(FrameKind::Pong, 24, 0, 1);
        assert!(
            next_reply(&mut bytemuck::bytes_of(&header))
                .expect_err("a PONG")
                .what()
                .contains("PONG of 24 bytes")
        );
        header.kind = 99;
        header.length = u32::MAX.into();
        assert!(
            next_reply(&mut bytemuck::bytes_of(&header))
                .expect_err("nonsense")
                .what()
                .contains("kind 99")
        );
    }
}
