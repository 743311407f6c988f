//! What is sent, and when: a closed loop fills its slots, an open loop follows its plan.

use super::{Run, wall_clock_ns};
use crate::connection::Broken;
use crate::options::Until;
use crate::plan::Plan;
use crate::slots::Sent;
use crate::transactions::Planned;

impl Run {
    pub(super) fn refill_all(&mut self) -> Result<(), (usize, Broken)> {
        for index in 0..self.connections.len() {
            self.refill(index, self.now_ns())?;
        }
        Ok(())
    }

    /// Closed loop: sends one for each free slot of a connection, unless something else comes
    /// first.
    #[inline]
    pub(super) fn refill(&mut self, index: usize, now_ns: u64) -> Result<(), (usize, Broken)> {
        if !self.sending || self.recovering {
            return Ok(());
        }
        let left = self.sends_left(now_ns);
        let connection = &mut self.connections[index];
        let measured = now_ns >= self.shape.warmup_ns;
        if let Some(traffic) = &mut self.traffic {
            for payment in traffic.take(connection.room()) {
                let transaction = Planned::of_scenario(&payment);
                let sent = Sent {
                    transaction,
                    intended_ns: now_ns,
                    sent_ns: now_ns,
                    measured,
                    again: false,
                };
                self.recorder.sent(&sent);
                connection.gather_payment(sent, &payment);
            }
            return self.flush(index);
        }
        for _ in 0..(connection.room() as u64).min(left) {
            let (transaction, parties) = self.transactions.draw(self.event_time_ns);
            let sent =
                Sent { transaction, intended_ns: now_ns, sent_ns: now_ns, measured, again: false };
            self.recorder.sent(&sent);
            connection.gather(sent, &parties);
        }
        self.flush(index)
    }

    /// Open loop, when the time is over: sends what was due before and has not gone out, as far as
    /// there is room. What remains then was held back by the node's limit, not by this thread.
    pub(super) fn send_rest(&mut self, now_ns: u64) -> Result<(), (usize, Broken)> {
        loop {
            let before = self.plan.as_ref().map(Plan::planned);
            self.send_due(now_ns)?;
            if self.plan.as_ref().map(Plan::planned) == before {
                return Ok(());
            }
        }
    }

    /// Open loop: sends what is due, in turn over the connections that have room. What finds none
    /// stays due, and is late.
    pub(super) fn send_due(&mut self, now_ns: u64) -> Result<(), (usize, Broken)> {
        let Some(plan) = &mut self.plan else { return Ok(()) };
        if plan.next_ns() > now_ns {
            return Ok(());
        }
        self.event_time_ns = wall_clock_ns();
        let count = self.connections.len();
        let end_ns = match self.shape.until {
            Until::ElapsedNs(measured_ns) => self.shape.warmup_ns + measured_ns,
            Until::Transactions(_) => u64::MAX,
        };
        while plan.next_ns() <= now_ns && plan.next_ns() < end_ns {
            let roomy = (0..count)
                .map(|i| (self.next_connection + i) % count)
                .find(|&i| self.connections[i].room() > 0);
            let Some(index) = roomy else { break };
            let intended_ns = plan.next_ns();
            let measured = intended_ns >= self.shape.warmup_ns;
            if let Until::Transactions(limit) = self.shape.until
                && self.recorder.sent >= limit
            {
                break;
            }
            let (transaction, parties) = self.transactions.draw(self.event_time_ns);
            let sent = Sent { transaction, intended_ns, sent_ns: now_ns, measured, again: false };
            self.recorder.sent(&sent);
            self.connections[index].gather(sent, &parties);
            self.next_connection = if index + 1 == count { 0 } else { index + 1 };
            plan.advance();
        }
        for index in 0..count {
            if self.connections[index].has_unwritten() {
                self.flush(index)?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, index: usize) -> Result<(), (usize, Broken)> {
        let connection = &mut self.connections[index];
        connection.flush();
        match &mut self.epoll {
            Some(poller) => poller
                .want_write(index, connection)
                .map_err(|e| (index, Broken::Final(format!("epoll refuses its socket ({e})")))),
            None => Ok(()),
        }
    }

    /// Sends no more; counts what was planned for the time gone by and never sent.
    pub(super) fn stop_sending(&mut self, now_ns: u64) {
        self.sending = false;
        let end_ns = match self.shape.until {
            Until::ElapsedNs(measured_ns) => now_ns.min(self.shape.warmup_ns + measured_ns),
            Until::Transactions(_) => now_ns,
        };
        self.sending_ended_ns = end_ns;
        if let (Some(plan), Until::ElapsedNs(_)) = (&mut self.plan, self.shape.until) {
            while plan.next_ns() < end_ns {
                self.unsent += u64::from(plan.next_ns() >= self.shape.warmup_ns);
                plan.advance();
            }
        }
    }

    /// How many more may be sent, as far as the number of transactions limits it.
    #[inline]
    fn sends_left(&self, now_ns: u64) -> u64 {
        match self.shape.until {
            Until::Transactions(count) if now_ns >= self.shape.warmup_ns => {
                count - self.recorder.sent.min(count)
            }
            _ => u64::MAX,
        }
    }
}
