//! When the connection is lost, or its node falls silent: what is unanswered waits for the next
//! connection, and that is looked for. What may not be sent again ends.

use super::{Exchange, Pieces, Unanswered};
use crate::client::connection::{Broken, Connection, time_left};
use crate::client::error::ClientError;
use crate::client::find::{find, is_final};
use crate::client::options::Wanted;
use crate::client::rules::{LOOK_EVERY, LOOK_TIME, SILENCE};
use crate::frame::{ErrorCode, FrameKind, Role};
use std::hash::BuildHasher;
use std::time::Instant;

impl Exchange {
    pub(super) fn lose(&mut self, broken: &Broken) {
        self.connection = None;
        if let Broken::Closing(error) = broken {
            self.turns_to_newer(error.code);
        }
        match broken {
            Broken::Elsewhere(error) if error.code == ErrorCode::NotPrimary => {
                self.route.standby(None);
            }
            _ => self.route.failed(broken.to_string()),
        }
        self.after_loss(broken.to_string());
    }

    pub(super) fn after_loss(&mut self, why: String) {
        self.failures += 1;
        self.last_failure = why;
        self.unsent.clear();
        self.carried = 0;
        self.renewal.forget_asked();
        let now = Instant::now();
        for (&correlation, entry) in &mut self.unanswered {
            if entry.sent && !entry.repeatable {
                entry.deadline = now;
                self.earliest_deadline = Some(now);
                // It went out on a connection that is gone: its end says nothing about the next
                // one.
                entry.sent = false;
                continue;
            }
            entry.sent = false;
            entry.pieces = Pieces::default();
            self.unsent.push_back(correlation);
        }
    }

    /// Connects again, going round the addresses with pauses, until `until` or the attempts are
    /// used up.
    pub(super) fn reconnect(&mut self, until: Instant) -> Result<(), ClientError> {
        let mut last = match self.route.no_primary() {
            Some(detail) => ClientError::NoPrimary { detail },
            None => ClientError::Connect {
                address: self.route.address().to_owned(),
                detail: if self.last_failure.is_empty() {
                    "no time left to connect".to_owned()
                } else {
                    self.last_failure.clone()
                },
            },
        };
        while self.failures <= self.options.reconnect_attempts {
            let pause = self.options.pause(self.failures, self.chance.hash_one(Instant::now()));
            if time_left(until).is_none_or(|left| left <= pause) {
                // No attempt fits into what is left; wait it out, so that whoever waits for `until`
                // does not spin.
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                return Err(last);
            }
            std::thread::sleep(pause);
            self.route.begin_round();
            match find(&mut self.route, &self.options, Some(until)) {
                Ok(connection) => {
                    self.welcome = connection.welcome;
                    self.connection = Some(connection);
                    return Ok(());
                }
                // It is shown at once.
                Err(error) if self.turns_after(&error) => self.failures = 0,
                Err(error) => {
                    self.failures += 1;
                    self.last_failure = error.to_string();
                    let stop = is_final(&error);
                    last = error;
                    if stop {
                        break;
                    }
                }
            }
        }
        // The next call may try anew, with one attempt's credit used.
        self.failures = self.failures.min(1);
        Err(last)
    }

    /// When the silence of the node in use becomes a reason to look elsewhere; `None` where there
    /// is nowhere else to look.
    pub(super) fn next_doubt(&self) -> Option<Instant> {
        let elsewhere =
            self.carried > 0 && self.options.role == Wanted::Primary && self.route.len() > 1;
        elsewhere.then(|| (self.quiet_since + SILENCE).max(self.next_look))
    }

    /// After UNCONFIRMED, and in silence: a primary that is cut off from its standby does not hear
    /// of that one's promotion, and one that hangs hears nothing, so the other addresses are asked,
    /// now and then. One that is a primary as well gets everything unanswered.
    pub(super) fn look_elsewhere(&mut self) {
        let now = Instant::now();
        if !self.doubtful
            || now < self.next_look
            || self.connection.is_none()
            || self.options.role != Wanted::Primary
        {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        // What changes a node, or asks what it is, is meant for the one that it was sent to.
        let stays = |entry: &Unanswered| {
            entry.sent && (!entry.repeatable || entry.answered_by == FrameKind::ClusterState)
        };
        if self.unanswered.values().any(stays) {
            return;
        }
        self.doubtful = false;
        for address in self.route.others() {
            // Whatever is wrong there, here is a node that answers.
            let Ok(connection) =
                Connection::open(&address, &self.options, Instant::now() + LOOK_TIME)
            else {
                continue;
            };
            // One of an earlier epoch is the one that was replaced.
            if connection.welcome.role == Role::Primary.to_wire()
                && connection.welcome.epoch >= self.welcome.epoch
            {
                self.after_loss(format!("{address} is the primary by now"));
                self.failures = 0;
                self.route.found_at(&address);
                self.welcome = connection.welcome;
                self.connection = Some(connection);
                return;
            }
        }
    }

    /// Lets everything unanswered end now.
    pub(super) fn give_up(&mut self, error: &ClientError) {
        self.last_failure = error.to_string();
        self.unsent.clear();
        let now = Instant::now();
        for entry in self.unanswered.values_mut() {
            entry.deadline = now;
        }
        self.earliest_deadline = Some(now);
    }
}
