//! A person has the breaker of a validator forced, or left to itself again. That is logged before it comes here.

use super::{Command, Desk, Handle};
use catraca_core::validate::{BreakerState, Forced};
use tokio::sync::oneshot;

/// What is wanted of a breaker.
pub(super) struct Force {
    validator: String,
    /// `None`: its own judgement again.
    forced: Option<Forced>,
    /// How it stood, and how it stands.
    done: oneshot::Sender<(BreakerState, BreakerState)>,
}

impl Handle {
    /// Forces the breaker of a validator of the policy in force, or leaves it to itself again. Gives how it stood,
    /// and how it stands; `None` where there is no such validator, or the node ends.
    pub async fn force(
        &self,
        validator: &str,
        forced: Option<Forced>,
    ) -> Option<(BreakerState, BreakerState)> {
        let (done, is_done) = oneshot::channel();
        let force = Force { validator: validator.to_owned(), forced, done };
        self.commands.send(Command::Force(force)).ok()?;
        is_done.await.ok()
    }
}

impl Desk {
    pub(super) fn force(&mut self, Force { validator, forced, done }: Force) {
        let Some(line) = self.lines.iter().position(|line| line.service.id == validator) else {
            return;
        };
        // What time has brought comes before.
        self.tick();
        let now_ns = self.now_ns();
        let before = self.lines[line].asker.status(now_ns).breaker;
        self.lines[line].asker.force(forced, now_ns, &mut self.effects);
        self.carry_out(line, now_ns);
        let now = self.lines[line].asker.status(now_ns).breaker;
        self.tell_figures();
        // Whoever waits for it may be gone.
        let _ = done.send((before, now));
    }
}
