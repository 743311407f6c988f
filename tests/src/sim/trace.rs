//! What happened in a run, as lines for people: the last of them are kept, all of them are hashed.

use std::collections::VecDeque;
use std::fmt::{Arguments, Write as _};

/// Lines kept of a run.
const KEPT_LINES: usize = 600;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    echo: bool,
}

impl Trace {
    /// An empty one; `echo` prints each line as it comes.
    pub fn new(echo: bool) -> Self {
        Self { lines: VecDeque::with_capacity(KEPT_LINES), hash: FNV_OFFSET, echo }
    }

    /// Adds a line, which happened so many nanoseconds after the run's start.
    pub fn note(&mut self, at_ns: u64, line: Arguments<'_>) {
        let mut text = if self.lines.len() == KEPT_LINES {
            self.lines.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        text.clear();
        // Writing to a string can't fail.
        let _ =
            write!(text, "{:>4}.{:06} {line}", at_ns / 1_000_000_000, at_ns / 1_000 % 1_000_000);
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        if self.echo {
            println!("{text}");
        }
        self.lines.push_back(text);
    }

    /// A number that stands for all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
