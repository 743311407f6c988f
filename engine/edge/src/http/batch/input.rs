//! The transactions of a batch, one after the other: lines of a body as it comes, or the items of an array.

use crate::http::body::{BODY_PATIENCE, ENDED_EARLY};
use crate::problem::{BAD_JSON, BAD_REQUEST, Problem, SLOW_BODY, TOO_LARGE};
use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use memchr::memchr;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use tokio::time::{Instant, timeout_at};

/// The longest line or item, bytes. A transaction has less than 2 KiB.
pub(super) const MAX_PIECE_LEN: usize = 8 * 1024;
/// The most transactions of an array, which is held as a whole; more go by lines.
pub(super) const MAX_ITEMS: usize = 1_000;
/// The longest array, bytes: that many transactions.
pub(super) const MAX_ARRAY_LEN: usize = 2 * 1024 * 1024;
/// How much of a line that is too long is looked through for its end, bytes; then the batch ends. What unpacks to an
/// endless line would keep the gateway busy.
const MAX_SKIPPED_LEN: usize = 1024 * 1024;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A transaction, or what should be one.
    Piece(Bytes),
    /// One that is too long.
    TooLong,
    /// Nothing until more is read.
    NotYet,
    /// Nothing more.
    End,
}

/// Where they come from.
#[derive(Debug)]
pub(super) enum Input {
    Lines(Lines),
    Items(VecDeque<Bytes>),
}

/// The lines of a body.
#[derive(Debug)]
pub(super) struct Lines {
    body: Body,
    /// What has come and is not taken.
    come: Bytes,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// Of a line that is too long the end is looked for.
    is_skipping: bool,
    /// How much of it there was, bytes.
    skipped_len: usize,
    is_over: bool,
    /// Since then a line is waited for.
    waits_since: Option<Instant>,
}

impl Input {
    pub(super) fn next(&mut self) -> Next {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Items(items) => match items.pop_front() {
                None => Next::End,
                Some(item) if item.len() > MAX_PIECE_LEN => Next::TooLong,
                Some(item) => Next::Piece(item),
            },
        }
    }

    /// Reads on. Given up, nothing is lost.
    pub(super) async fn read(&mut self) -> Result<(), Problem> {
        match self {
            Self::Lines(lines) => lines.read().await,
            Self::Items(_) => Ok(()),
        }
    }

    /// It was not read meanwhile: that is not the client's time.
    pub(super) fn pause(&mut self) {
        if let Self::Lines(lines) = self {
            lines.waits_since = None;
        }
    }
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            come: Bytes::new(),
            begun: Vec::new(),
            is_skipping: false,
            skipped_len: 0,
            is_over: false,
            waits_since: None,
        }
    }

    fn next(&mut self) -> Next {
        let line = match memchr(b'\n', &self.come) {
            Some(at) => {
                let mut line = self.come.split_to(at + 1);
                line.truncate(at);
                line
            }
            None if self.is_over => {
                if self.come.is_empty() && self.begun.is_empty() && !self.is_skipping {
                    return Next::End;
                }
                std::mem::take(&mut self.come)
            }
            None => {
                self.keep();
                return Next::NotYet;
            }
        };
        self.waits_since = None;
        self.skipped_len = 0;
        let is_too_long = self.begun.len() + line.len() > MAX_PIECE_LEN;
        if std::mem::take(&mut self.is_skipping) || is_too_long {
            self.begun.clear();
            return Next::TooLong;
        }
        if self.begun.is_empty() {
            return Next::Piece(line);
        }
        self.begun.extend_from_slice(&line);
        Next::Piece(Bytes::from(std::mem::take(&mut self.begun)))
    }

    /// What has come has no end of a line.
    fn keep(&mut self) {
        let come = std::mem::take(&mut self.come);
        if self.is_skipping || self.begun.len() + come.len() > MAX_PIECE_LEN {
            self.is_skipping = true;
            self.skipped_len += self.begun.len() + come.len();
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(&come);
        }
    }

    async fn read(&mut self) -> Result<(), Problem> {
        if self.skipped_len > MAX_SKIPPED_LEN {
            self.is_over = true;
            let detail = format!("a line has at most {MAX_PIECE_LEN} bytes, and this one no end");
            return Err(Problem::new(TOO_LARGE, detail));
        }
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        match timeout_at(since + BODY_PATIENCE, self.body.frame()).await {
            Ok(Some(Ok(frame))) => {
                // What is no data is the end of HTTP's own, and means nothing here.
                self.come = frame.into_data().unwrap_or_default();
                Ok(())
            }
            Ok(None) => {
                self.is_over = true;
                Ok(())
            }
            Ok(Some(Err(_))) => {
                self.is_over = true;
                Err(Problem::new(BAD_JSON, ENDED_EARLY))
            }
            Err(_) => Err(Problem::new(SLOW_BODY, "no whole line came in time")),
        }
    }
}

/// The items of an array, unread.
pub(super) fn items(body: &Bytes) -> Result<VecDeque<Bytes>, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = json.deserialize_seq(Items(body));
    match read.and_then(|items| json.end().map(|()| items)) {
        Ok(Some(items)) => Ok(items),
        Ok(None) => {
            let detail = format!("an array has at most {MAX_ITEMS} transactions");
            Err(Problem::new(BAD_REQUEST, detail))
        }
        Err(error) if error.is_data() => {
            Err(Problem::new(BAD_REQUEST, "the body is to be an array of transactions"))
        }
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let detail = format!("the body is no JSON: see line {line}, column {column}");
            Err(Problem::new(BAD_JSON, detail))
        }
    }
}

/// Reads an array as the places of its items; none where they are too many.
struct Items<'a>(&'a Bytes);

impl<'de> Visitor<'de> for Items<'de> {
    type Value = Option<VecDeque<Bytes>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = VecDeque::new();
        let mut are_too_many = false;
        while let Some(item) = items.next_element::<&RawValue>()? {
            let item = item.get().as_bytes();
            are_too_many |= all.len() == MAX_ITEMS;
            if !are_too_many {
                all.push_back(self.0.slice_ref(item));
            }
        }
        if all.is_empty() {
            return Err(A::Error::custom("an empty array"));
        }
        Ok((!are_too_many).then_some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    /// All lines of a body that comes in these pieces.
    fn lines(pieces: &[&str]) -> Vec<Next> {
        let owned: Vec<_> =
            pieces.iter().map(|p| Ok::<_, std::io::Error>(Bytes::from(p.to_string()))).collect();
        let mut lines = Lines::new(Body::from_stream(futures::stream::iter(owned)));
        let mut all = Vec::new();
        block_on(async {
            loop {
                match lines.next() {
                    Next::End => break,
                    Next::NotYet => lines.read().await.expect("it is whole"),
                    line => all.push(line),
                }
            }
        });
        all
    }

    fn piece(text: &str) -> Next {
        Next::Piece(Bytes::from(text.to_owned()))
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let expected = [piece("one"), piece(""), piece("two\r"), piece("end")];
        let whole = "one\n\ntwo\r\nend";
        assert_eq!(lines(&[whole]), expected);
        let bytes: Vec<&str> = whole.split_inclusive(|_| true).collect();
        assert_eq!(lines(&bytes), expected);
        assert_eq!(lines(&[whole, "\n"]), expected);
        assert_eq!(lines(&["", "\n"]), [piece("")]);
        assert_eq!(lines(&[]), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_not_kept() {
        let long = "x".repeat(MAX_PIECE_LEN + 1);
        let just = "y".repeat(MAX_PIECE_LEN);
        assert_eq!(lines(&[&long, "\n", &just]), [Next::TooLong, piece(&just)]);
        let pieces: Vec<&str> = std::iter::repeat_n(long.as_str(), 100).chain(["\nz"]).collect();
        assert_eq!(lines(&pieces), [Next::TooLong, piece("z")]);
        assert_eq!(lines(&[&just, "y"]), [Next::TooLong]);
    }

    #[test]
    fn a_line_without_an_end_ends_the_batch() {
        let endless = futures::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 8 * 1024]))
        });
        let mut lines = Lines::new(Body::from_stream(endless));
        let (problem, reads) = block_on(async {
            let mut reads = 0;
            loop {
                assert_eq!(lines.next(), Next::NotYet);
                reads += 1;
                if let Err(problem) = lines.read().await {
                    break (problem, reads);
                }
            }
        });
        assert_eq!(problem.row().code, TOO_LARGE);
        assert!(reads * 8 * 1024 < 2 * MAX_SKIPPED_LEN, "{reads}");
    }

    #[test]
    fn an_array_is_read_as_a_whole_or_refused() {
        let of = |text: &str| items(&Bytes::from(text.to_owned()));
        let found = of(" [ {\"a\": [1]} , 2,\"x\" ] ").expect("an array");
        assert_eq!(found, ["{\"a\": [1]}", "2", "\"x\""].map(Bytes::from));
        let code = |text: &str| of(text).expect_err("no array").row().code;
        for bad in ["[", "[1,", "[1] 2", "", "[1,]", "nonsense"] {
            assert_eq!(code(bad), BAD_JSON, "{bad}");
        }
        for bad in ["{}", "1", "\"x\"", "[]"] {
            assert_eq!(code(bad), BAD_REQUEST, "{bad}");
        }
        let many = |count| format!("[{}]", vec!["1"; count].join(","));
        assert!(of(&many(MAX_ITEMS)).is_ok());
        assert_eq!(code(&many(MAX_ITEMS + 1)), BAD_REQUEST);
        assert_eq!(code(&"[".repeat(100_000)), BAD_JSON);
    }
}
