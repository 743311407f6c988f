//! Lines of the log that many messages call for: one now and then, with the number of those that it stands for.

use std::time::Duration;
use tokio::time::Instant;

/// One line in so long: enough to see that it goes on.
const EVERY: Duration = Duration::from_secs(1);

/// One kind of line.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    spoke_at: Option<Instant>,
    unsaid: u64,
}

impl Quiet {
    /// Whether the line may be written, and for how many it stands besides.
    pub(super) fn may_speak(&mut self, now: Instant) -> Option<u64> {
        if self.spoke_at.is_some_and(|at| now < at + EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.spoke_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_a_second_that_counts_the_rest() {
        let (mut quiet, began) = (Quiet::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(quiet.may_speak(at(0)), Some(0));
        assert_eq!([quiet.may_speak(at(1)), quiet.may_speak(at(999))], [None, None]);
        assert_eq!(quiet.may_speak(at(1_000)), Some(2));
        assert_eq!(quiet.may_speak(at(2_500)), Some(0));
    }
}
