//! `/v1/decisions:batch`: many payments in one request, each answered for itself, in their order.
//!
//! The answer is what drives it: while the client takes none, nothing more is read, and dropped with its
//! connection it ends. What was sent to a node is decided all the same.

mod input;
mod output;
#[cfg(test)]
mod tests;

use super::limits::BatchPlace;
use super::metrics::BatchRuns;
use super::{Door, body, decisions, guard};
use crate::caller::Caller;
use crate::json::{self, Members};
use crate::link::{Many, Outcome, Request};
use crate::permission::{Class, Permission};
use crate::problem::{BAD_REQUEST, Problem, STOPPING, TOO_LARGE};
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request as HttpRequest, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use catraca_wire::client::Decision;
use catraca_wire::client::rules::ANSWER_GRACE;
use futures::StreamExt as _;
use input::{Input, Lines, MAX_ARRAY_LEN, MAX_PIECE_LEN, Next};
use output::{Form, Id, Item, Output};
use std::collections::VecDeque;
use std::convert::Infallible;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What each transaction counts as.
const CLASS: Class = Permission::DecisionsWrite.class();
/// Transactions that are taken in a row before anything else is done.
const MAX_IN_A_ROW: usize = 64;

/// Decide on many payments: lines as many as you like, or an array of up to 1,000. Each is answered in its place by a
/// decision or a problem.
#[utoipa::path(
    post,
    path = "/v1/decisions:batch",
    operation_id = "decide_batch",
    security((), ("bearer" = ["decisions:write"])),
    request_body(content(
        (Vec<Members> = "application/json"),
        (Members = "application/x-ndjson"),
    )),
    responses((
        status = 200,
        description = "An answer for each, in their order",
        content((Vec<Item> = "application/json"), (Item = "application/x-ndjson")),
    )),
)]
pub(super) async fn decide(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    request: HttpRequest,
) -> Response {
    match Batch::begin(door, caller, request).await {
        Ok((batch, media)) => {
            let chunks = futures::stream::unfold(batch, async |mut batch| {
                let chunk = batch.chunk().await?;
                Some((Ok::<_, Infallible>(chunk), batch))
            });
            // Asked again behind the end it would panic, and whoever sends it on may ask.
            let chunks = chunks.fuse();
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(media)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (headers, Body::from_stream(chunks)).into_response()
        }
        Err(response) => response,
    }
}

/// A transaction that was taken, and not answered to the client.
#[derive(Debug)]
struct Slot {
    /// Where it could be read.
    id: Option<Id>,
    answer: Option<Result<Decision, Problem>>,
}

/// A batch that runs.
#[derive(Debug)]
struct Batch {
    door: Door,
    caller: Caller,
    trace_id: [u8; 16],
    _place: BatchPlace,
    runs: BatchRuns,
    input: Input,
    /// Taken out of the input before its time.
    held: Option<Next>,
    /// Until then the client's rate allows no more.
    waits_until: Option<Instant>,
    many: Many,
    /// Oldest first: the answers that come before their turn wait here, as do those that have not come.
    slots: VecDeque<Slot>,
    /// The number of the first of them; transactions count from 1.
    first: u64,
    output: Output,
    /// Why no more is read, where that is not the end of the input.
    ended_by: Option<Problem>,
    /// The input has no more.
    is_over: bool,
    /// The last answer is written.
    is_answered: bool,
}

impl Batch {
    async fn begin(
        door: Door,
        caller: Caller,
        request: HttpRequest,
    ) -> Result<(Self, &'static str), Response> {
        let (head, sent) = request.into_parts();
        let refused = |problem: Problem| problem.into_response();
        let media =
            body::check_type(&head.headers, &[body::NDJSON, body::JSON]).map_err(refused)?;
        if head.headers.contains_key(body::IDEMPOTENCY_KEY) {
            let detail = "Idempotency-Key: each transaction of a batch has an id of its own";
            return Err(refused(Problem::new(BAD_REQUEST, detail)));
        }
        let place = door.rates.begin_batch(&caller).map_err(guard::of_too_much)?;
        let (input, form) = if media == body::NDJSON {
            (Input::Lines(Lines::new(sent)), Form::Lines)
        } else {
            let whole = body::read(sent, MAX_ARRAY_LEN).await.map_err(refused)?;
            (Input::Items(input::items(&whole).map_err(refused)?), Form::Array)
        };
        let batch = Self {
            trace_id: decisions::trace_id(&head.headers),
            _place: place,
            runs: door.metrics.begin_batch(),
            input,
            held: None,
            waits_until: None,
            many: door.link.many(),
            slots: VecDeque::new(),
            first: 1,
            output: Output::new(form),
            ended_by: None,
            is_over: false,
            is_answered: false,
            door,
            caller,
        };
        Ok((batch, media))
    }

    /// The next part of the answer; none behind the last one.
    async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            while let Some((number, outcome)) = self.many.ended() {
                self.settle(number, outcome);
            }
            self.write();
            if self.output.is_full() {
                return self.output.take();
            }
            if self.take_in() {
                continue;
            }
            if let Some(chunk) = self.output.take() {
                return Some(chunk);
            }
            if self.is_answered {
                return None;
            }
            if self.is_over && self.slots.is_empty() {
                self.end();
                continue;
            }
            self.wait().await;
        }
    }

    /// Waits until something has come.
    async fn wait(&mut self) {
        let wants_more = !self.is_over && self.held.is_none() && self.has_room();
        if !wants_more {
            self.input.pause();
        }
        let has_ended = self.ended_by.is_some();
        let until = self.waits_until.unwrap_or_else(Instant::now);
        // One of them is possible: a slot that is not answered, the input, or the rate.
        tokio::select! {
            Some((number, outcome)) = self.many.next(), if !self.slots.is_empty() => {
                self.settle(number, outcome);
            }
            read = self.input.read(), if wants_more => {
                if let Err(problem) = read {
                    self.ended_by.get_or_insert(problem);
                }
            }
            () = sleep_until(until), if self.waits_until.is_some() => self.waits_until = None,
            true = stops(&mut self.door.stopping), if !has_ended => {
                let problem = Problem::new(STOPPING, "the gateway is stopping");
                self.ended_by = Some(problem);
                self.waits_until = None;
            }
            else => self.is_over = true,
        }
    }

    fn has_room(&self) -> bool {
        self.slots.len() < self.many.share()
    }

    /// Takes transactions, as far as there are any and there is room; whether there were.
    fn take_in(&mut self) -> bool {
        let before = self.slots.len();
        while self.slots.len() < before + MAX_IN_A_ROW && self.has_room() && !self.is_over {
            if let (Some(_), Input::Lines(_)) = (&self.ended_by, &self.input) {
                self.is_over = true;
                break;
            }
            let next = self.held.take().unwrap_or_else(|| self.input.next());
            match &next {
                Next::NotYet => break,
                Next::End => {
                    self.is_over = true;
                    break;
                }
                Next::Piece(_) | Next::TooLong if self.ended_by.is_none() => {
                    if self.waits_until.is_none()
                        && let Err(wait) = self.door.rates.take_one(&self.caller, CLASS)
                    {
                        self.waits_until = Some(Instant::now() + wait);
                    }
                    if self.waits_until.is_some() {
                        self.held = Some(next);
                        break;
                    }
                }
                Next::Piece(_) | Next::TooLong => {}
            }
            let slot = self.take(next);
            self.slots.push_back(slot);
        }
        self.slots.len() > before
    }

    /// Asks for one transaction.
    fn take(&mut self, next: Next) -> Slot {
        let refused = |id, problem| Slot { id, answer: Some(Err(problem)) };
        // Of an array the rest is answered, because it has come.
        if let Some(problem) = &self.ended_by {
            return refused(None, problem.clone());
        }
        let Next::Piece(piece) = next else {
            let detail = format!("a transaction has at most {MAX_PIECE_LEN} bytes");
            return refused(None, Problem::new(TOO_LARGE, detail));
        };
        let mut transaction = match json::read(&piece, None) {
            Ok(transaction) => transaction,
            Err(mistake) => return refused(None, Problem::of_mistake(&mistake)),
        };
        transaction.trace_id = self.trace_id;
        let budget_end = self.door.begin_budget(&mut transaction);
        let budget_end_ns = self.door.link.at(budget_end);
        let request = Request::submit(&self.caller, &transaction, budget_end_ns);
        let number = self.first + self.slots.len() as u64;
        match self.many.ask(number, request, budget_end + ANSWER_GRACE) {
            Ok(()) => Slot { id: Some(transaction.id), answer: None },
            Err(outcome) => refused(Some(transaction.id), Problem::of_outcome(outcome)),
        }
    }

    fn settle(&mut self, number: u64, outcome: Outcome) {
        let slot = usize::try_from(number - self.first).ok().and_then(|at| self.slots.get_mut(at));
        if let Some(slot) = slot {
            slot.answer = Some(match outcome {
                Outcome::Decided(decision) => Ok(decision),
                other => Err(Problem::of_outcome(other)),
            });
        }
    }

    /// Writes the answers whose turn it is.
    fn write(&mut self) {
        while let Some(Slot { id, answer: Some(answer) }) = self.slots.front() {
            match (answer, id) {
                (Ok(decision), Some(id)) => self.output.decision(id, decision),
                (Ok(_), None) => {}
                (Err(problem), id) => self.output.problem(self.first, id.as_ref(), problem),
            }
            self.runs.answered(answer.as_ref().err());
            self.slots.pop_front();
            self.first += 1;
            if self.output.is_full() {
                return;
            }
        }
    }

    /// Everything that was taken is answered. Where there is more, the last line says so.
    fn end(&mut self) {
        if let (Some(problem), Input::Lines(_)) = (&self.ended_by, &self.input) {
            self.output.problem(self.first, None, problem);
        }
        self.output.end();
        self.is_answered = true;
    }
}

/// Resolves once the gateway stops; with `false` where nobody can say so any more.
async fn stops(stopping: &mut watch::Receiver<bool>) -> bool {
    stopping.wait_for(|stops| *stops).await.is_ok()
}
