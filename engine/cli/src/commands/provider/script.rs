//! What an invented provider answers, and when it misbehaves: a file of TOML.

use catraca_node::fatal::{Failure, Status};
use hyper::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Answers and phases.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Headers that a request must have with these values; any other is answered 401.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// Member of a request's JSON body that names the answer, instead of the last segment of the path.
    pub by: Option<String>,
    /// Answers by name.
    #[serde(default)]
    pub answer: BTreeMap<String, Answer>,
    /// What is answered to all other names.
    #[serde(default = "Answer::not_found")]
    pub otherwise: Answer,
    /// How it behaves from when on, in order; before the first it behaves well.
    #[serde(default)]
    pub phase: Vec<Phase>,
}

/// An answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// Status; 200 where it is left out.
    pub status: Option<u16>,
    /// Body, sent as JSON.
    pub body: serde_json::Value,
}

impl Answer {
    fn not_found() -> Self {
        Self { status: Some(StatusCode::NOT_FOUND.as_u16()), body: serde_json::Value::Null }
    }
}

/// How it behaves for a while.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phase {
    /// When it begins: milliseconds from the start.
    pub after_ms: u64,
    /// How long each answer is held back, milliseconds.
    pub delay_ms: u64,
    /// Status of all answers.
    pub status: Option<u16>,
    /// What goes wrong.
    pub fail: Option<Fail>,
    /// Seconds that answers say in Retry-After.
    pub retry_after_s: Option<u64>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fail {
    /// Nobody listens; connections are dropped.
    Refuse,
    /// Connections are taken and reset; those that are open are dropped.
    Reset,
    /// Connections are taken and answered with what is no HTTP; those that are open are dropped.
    NotHttp,
    /// No answer comes.
    Hang,
    /// The body comes a byte a second.
    Drip,
    /// The connection ends in the middle of the body.
    Truncate,
    /// The body is no JSON.
    Garbage,
    /// The body does not end.
    Huge,
    /// It is elsewhere, which is here.
    Redirect,
    /// The body is gzip, small, and large when it is unpacked.
    GzipBomb,
}

impl Fail {
    /// It is a connection that fails, whatever is asked.
    pub const fn is_of_connection(self) -> bool {
        matches!(self, Self::Refuse | Self::Reset | Self::NotHttp)
    }
}

impl Script {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong in it.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::new(Status::Usage, why);
        let script: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if !script.phase.is_sorted_by_key(|phase| phase.after_ms) {
            return Err(wrong("phase: put them in the order of after_ms".to_owned()));
        }
        let answers = script.answer.values().chain([&script.otherwise]);
        let statuses = answers.filter_map(|answer| answer.status);
        for status in statuses.chain(script.phase.iter().filter_map(|phase| phase.status)) {
            if !(200..=599).contains(&status) {
                return Err(wrong(format!("status: {status} is none; write 200 to 599")));
            }
        }
        Ok(script)
    }

    /// The phase at a time after the start; `None` before the first.
    pub fn at(&self, elapsed: Duration) -> Option<&Phase> {
        self.phase.iter().rev().find(|phase| Duration::from_millis(phase.after_ms) <= elapsed)
    }

    /// When the phase that is at a time ends; `None` of the last.
    pub fn next_change(&self, elapsed: Duration) -> Option<Duration> {
        let begins = self.phase.iter().map(|phase| Duration::from_millis(phase.after_ms));
        begins.into_iter().find(|&begins| begins > elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other() {
        let text = "[[phase]]\nafter_ms = 100\nfail = \"gzip-bomb\"\n\n[[phase]]\nafter_ms = 200\n";
        let script = Script::parse(text).expect("sound");
        let at = |ms| script.at(Duration::from_millis(ms)).map(|phase| phase.fail);
        assert_eq!((at(99), at(100), at(200)), (None, Some(Some(Fail::GzipBomb)), Some(None)));
        let next = |ms| script.next_change(Duration::from_millis(ms)).map(|at| at.as_millis());
        assert_eq!((next(0), next(100), next(200)), (Some(100), Some(200), None));
        assert_eq!(script.otherwise.status, Some(404));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, says) in [
            ("[[phase]]\nafter_ms = 2\n[[phase]]\nafter_ms = 1\n", "in the order"),
            ("[[phase]]\nfail = \"sulk\"\n", "unknown variant"),
            ("[answer.a]\nstatus = 42\n", "42 is none"),
            ("answers = 1\n", "unknown field"),
        ] {
            let fault = Script::parse(text).expect_err("refused").to_string();
            assert!(fault.contains(says), "{text}: {fault}");
        }
    }
}
