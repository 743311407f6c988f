//! What tests of intakes have in common, whatever the broker is: what was put and answered, and that each payment is
//! decided once.

use crate::logs::decisions;
use crate::node::{LOOK_AGAIN, Process};
use crate::payments::payment;
use catraca_wire::frame::{Transaction, text_of};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for something that an intake comes to.
const PATIENCE: Duration = Duration::from_secs(120);
/// Fewest answers before each death, so that each has something to lose.
pub const LEAST_ANSWERS: usize = 100;
/// Payments that are put at once.
const BATCH: u64 = 20;
/// Payments that wait for their decisions at once, at most, so that a run ends soon after its last death.
const MOST_OPEN: usize = 1_000;

/// How often something is killed in a run: `CATRACA_INTAKE_ROUNDS`, or so often.
///
/// # Panics
/// When that is no number.
pub fn rounds(or: u64) -> u64 {
    std::env::var("CATRACA_INTAKE_ROUNDS")
        .map_or(or, |text| text.parse().expect("CATRACA_INTAKE_ROUNDS is a number"))
}

/// By the clock of the day, since 1970.
///
/// # Panics
/// Before that.
pub fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis()
}

/// What an answer says of the decision, however often it is asked for.
pub fn decision(answer: &Value) -> [Value; 6] {
    let fields = ["transaction_id", "verdict", "shard", "lsn", "epoch", "receipt"];
    fields.map(|field| answer[field].clone())
}

/// Asserts that each of these answers is in the log, and that nothing is there twice.
///
/// # Panics
/// When it is not so.
pub fn assert_recorded(data_dir: &Path, answers: &BTreeMap<String, Value>) {
    let log = decisions(data_dir);
    for answer in answers.values() {
        let number = |field: &str| answer[field].as_u64().expect("a number");
        let place = (number("shard") as u16, number("lsn"));
        let (record, receipt) =
            log.get(&place).unwrap_or_else(|| panic!("{answer} is not in the log"));
        assert_eq!(text_of(&record.transaction.id), answer["transaction_id"]);
        assert_eq!(format!("{receipt:016x}"), answer["receipt"]);
    }
    let mut places = HashMap::new();
    for (place, (record, _)) in &log {
        let key = (record.transaction.payer, record.transaction.id);
        assert_eq!(places.insert(key, place), None, "decided twice: {record:?}");
    }
}

/// What the producers and the consumer of a run share.
#[derive(Default)]
pub struct World {
    /// Every payment that the broker has confirmed, or may have, by its id.
    pub put: BTreeMap<String, Transaction>,
    /// Those that were told that it is too late, or that their decision came too late, and are to be put again.
    pub late: Vec<String>,
    /// The decision on each, by its id.
    pub decided: BTreeMap<String, Value>,
    /// Answers that came.
    pub answers: usize,
}

impl World {
    /// What is to be put next: again what was too late, and where there is to be `more`, some that are new.
    pub fn batch(&mut self, more: bool) -> Vec<Transaction> {
        let put = &self.put;
        let mut batch: Vec<Transaction> = self.late.drain(..).map(|id| put[&id]).collect();
        if more && self.put.len() <= self.decided.len() + MOST_OPEN {
            let next = self.put.len() as u64;
            for number in next..next + BATCH {
                let id = format!("n{number}");
                let payment = payment(&id, number);
                batch.push(payment);
                self.put.insert(id, payment);
            }
        }
        batch
    }

    /// Takes an answer.
    ///
    /// # Panics
    /// When nobody asked for it, it is an error, or there was another decision.
    pub fn hear(&mut self, answer: Value) {
        let id = answer["transaction_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        assert!(self.put.contains_key(&id), "nobody asked for {answer}");
        self.answers += 1;
        if ["DEADLINE", "LATE"].iter().any(|code| answer["code"] == **code) {
            if !self.decided.contains_key(&id) {
                self.late.push(id);
            }
            return;
        }
        assert_eq!(answer["code"], Value::Null, "{answer}");
        let first = self.decided.entry(id).or_insert_with(|| answer.clone());
        assert_eq!(decision(first), decision(&answer), "two decisions on one payment");
    }
}

/// Waits until something holds of the run.
///
/// # Panics
/// When it never does.
pub fn await_that(
    what: &str,
    world: &Mutex<World>,
    intake: &Process,
    holds: impl Fn(&World) -> bool,
) {
    let began = Instant::now();
    while !holds(&world.lock().expect("nobody panicked")) {
        if began.elapsed() > PATIENCE {
            let world = world.lock().expect("nobody panicked");
            let open = world.put.keys().filter(|id| !world.decided.contains_key(*id));
            let open: Vec<&String> = open.take(5).collect();
            let (put, decided) = (world.put.len(), world.decided.len());
            panic!("never {what}: {decided} of {put} decided, not {open:?}\n{}", intake.stderr());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Tells threads to stop when it goes.
pub struct Stopping<'a>(pub &'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
