//! When the primary is lost: finds the one that decides now, connects again, sends again what is
//! unanswered, and, where verdicts are verified, asks once more for the last ones that were
//! answered: they must stand.
//!
//! Nothing of this runs while the primary answers.

use super::Run;
use crate::connection::{Broken, Connection};
use crate::monitor::Monitor;
use crate::poller::Poller;
use crate::report::Ended;
use crate::slots::{Sent, Slots};
use catraca_wire::frame::{ErrorCode, ErrorFrame};
use std::time::Duration;

/// How long a connect, and each wait of a handshake, may take while a primary is looked for: a node
/// that is frozen takes connections.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after all nodes were tried in vain.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What to do about a transaction that was answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The error is its answer.
    Count,
    /// Send it again here: it is not known what became of it.
    Ask,
    /// Send it again, with everything else, where the primary is.
    Leave,
}

/// What an error asks for that answers `sent`, in a run that goes through failovers for so long.
pub(super) fn next(
    error: &ErrorFrame,
    sent: Option<&mut Sent>,
    now_ns: u64,
    failover_ns: u64,
) -> Next {
    let Some(sent) = sent.filter(|_| failover_ns > 0) else { return Next::Count };
    match ErrorCode::from_wire(error.code.to_native()) {
        Some(ErrorCode::NotPrimary | ErrorCode::ShuttingDown) => Next::Leave,
        Some(ErrorCode::Unconfirmed | ErrorCode::Late)
            if now_ns.saturating_sub(sent.sent_ns) < failover_ns =>
        {
            Next::Ask
        }
        _ => Next::Count,
    }
}

/// The sentence for a node that said so.
pub(super) fn left(error: &ErrorFrame) -> Broken {
    let code = ErrorCode::from_wire(error.code.to_native()).map_or("an error", ErrorCode::name);
    Broken::Lost(format!("the node does not decide any more ({code}: {})", error.detail_text()))
}

impl Run {
    /// Gets all connections anew, to the node that is the primary now.
    pub(super) fn fail_over(
        &mut self,
        lost: &Broken,
        connection: usize,
        monitor: &Monitor,
    ) -> Result<(), Ended> {
        let (unanswered, now_ns) = (self.unanswered(), self.now_ns());
        // The wait began with the last answer, or with the first send that has none.
        let began_ns =
            self.oldest_unanswered_ns().map_or(now_ns, |sent_ns| sent_ns.max(self.last_answer_ns));
        let deadline_ns = began_ns.saturating_add(self.shape.failover_ns);
        let count = self.connections.len();
        // The sockets close here, so that as many can be opened.
        let slots: Vec<Slots> =
            std::mem::take(&mut self.connections).into_iter().map(Connection::into_slots).collect();
        self.epoll = None;
        let give_up = |what: String| Ended::Broken {
            connection,
            what: format!("{}; {what}", lost.what()),
            unanswered,
        };
        if self.recorder.answered_ever == self.answered_at_failover {
            // The last one brought nothing: whoever takes connections and decides nothing is not
            // asked without pause.
            std::thread::sleep(LOOK_AGAIN);
        }
        let opened = loop {
            let error = match self.nodes.connect(count, self.asked_in_flight, LOOK_TIMEOUT) {
                Ok(opened) if self.now_ns() <= deadline_ns => break opened,
                Ok(_) => "nodes that say they decide gave no answer".to_owned(),
                Err(error) => error.to_string(),
            };
            if monitor.stopped() {
                return Err(give_up(format!("interrupted while looking for a primary: {error}")));
            }
            if self.now_ns() > deadline_ns {
                let seconds = self.shape.failover_ns as f64 / 1e9;
                return Err(give_up(format!(
                    "no primary answered within --failover-timeout {seconds}: {error}"
                )));
            }
            std::thread::sleep(LOOK_AGAIN);
        };
        self.resume(slots, opened).map_err(give_up)?;
        if self.recorder.answered_ever != self.answered_at_failover {
            self.failovers += 1;
            if let Some(answers) = &mut self.recorder.answers {
                answers.primary_was_lost();
            }
        }
        self.answered_at_failover = self.recorder.answered_ever;
        self.recorder.notice = None;
        if self.verify {
            self.rechecks = self.transactions.recent().to_vec();
        }
        self.recovering = true;
        Ok(())
    }

    fn resume(&mut self, slots: Vec<Slots>, opened: crate::nodes::Opened) -> Result<(), String> {
        for (slots, (stream, _)) in slots.into_iter().zip(opened) {
            let connection = Connection::new(stream, slots, &self.template);
            self.connections
                .push(connection.map_err(|e| format!("cannot make a socket non-blocking: {e}"))?);
        }
        if self.polled {
            let poller = Poller::new(&self.connections, self.wait)
                .map_err(|e| format!("cannot set up epoll: {e}"))?;
            self.epoll = Some(poller);
        }
        Ok(())
    }

    /// Sends again what is to be sent again, as far as the sockets take it, and asks again for
    /// answered ones where slots are free.
    #[cold]
    pub(super) fn send_again(&mut self, now_ns: u64) -> Result<(), (usize, Broken)> {
        let mut left = false;
        for index in 0..self.connections.len() {
            loop {
                while let Some(sent) = self.connections[index].gather_again(&self.transactions) {
                    self.recorder.sent_again += u64::from(sent.measured);
                }
                while self.connections[index].room() > 0
                    && !self.connections[index].has_again()
                    && let Some(transaction) = self.rechecks.pop()
                {
                    let parties = self.transactions.parties(&transaction);
                    let sent = Sent {
                        transaction,
                        intended_ns: now_ns,
                        sent_ns: now_ns,
                        measured: false,
                        again: true,
                    };
                    self.connections[index].gather(sent, &parties);
                    self.recorder.rechecked += 1;
                }
                if !self.connections[index].has_unwritten() {
                    break;
                }
                self.flush(index)?;
                if self.connections[index].has_unwritten() {
                    break;
                }
            }
            left |= self.connections[index].has_again();
        }
        self.recovering = left || !self.rechecks.is_empty();
        Ok(())
    }
}
