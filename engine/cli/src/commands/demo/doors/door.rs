//! The client's side of a door: asks for a decision, and asks again as whoever integrates it would.

use crate::commands::demo::stage::Interrupt;
use catraca_edge::json::DecisionView;
use catraca_node::fatal::Failure;
use catraca_wire::client::{Client, ClientOptions};
use catraca_wire::frame::{Transaction, text_of};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Longest wait of one attempt: a budget, the wait for its answer, and a broker.
pub const ATTEMPT: Duration = Duration::from_secs(5);
/// After so long without a decision the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// A way to have a payment decided.
pub trait Door: Send {
    /// Its name, for a person.
    fn name(&self) -> &'static str;

    /// Asks once: the answer, which is a decision or a problem; or why there is none.
    fn ask(&mut self, payment: &Transaction) -> Result<Value, String>;
}

/// What a door said of a payment in the end.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The door's name.
    pub door: &'static str,
    /// The decision.
    pub decision: Value,
    /// How often it was asked.
    pub attempts: u32,
    /// Why it was asked again: the last reason.
    pub trouble: Option<String>,
    /// From the first attempt to the decision.
    pub took_ms: u64,
}

impl Answer {
    /// What is the same however often a decision is asked for.
    pub fn place(&self) -> [&Value; 5] {
        ["verdict", "shard", "lsn", "epoch", "receipt"].map(|name| &self.decision[name])
    }

    /// Whether the decision had been made before.
    pub fn is_duplicate(&self) -> bool {
        self.decision["duplicate"] == true
    }
}

/// Asks until there is a decision.
pub fn insist(
    door: &mut dyn Door,
    payment: &Transaction,
    interrupt: &Interrupt,
) -> Result<Answer, Failure> {
    let began = Instant::now();
    let (mut attempts, mut trouble) = (0, None);
    loop {
        interrupt.check()?;
        attempts += 1;
        trouble = match door.ask(payment) {
            Ok(decision) if decision["verdict"].is_string() => {
                let took_ms = began.elapsed().as_millis() as u64;
                return Ok(Answer { door: door.name(), decision, attempts, trouble, took_ms });
            }
            Ok(problem) => problem["code"].as_str().map(str::to_owned),
            Err(why) => Some(why),
        };
        if began.elapsed() > PATIENCE {
            let (name, seconds) = (door.name(), PATIENCE.as_secs());
            let why = trouble.unwrap_or_default();
            return Err(Failure::failed(format!("{name}: no decision within {seconds} s: {why}")));
        }
        std::thread::sleep(PAUSE);
    }
}

/// A payment as the doors that speak JSON take it.
pub fn body(payment: &Transaction) -> Value {
    json!({
        "transaction_id": text_of(&payment.id),
        "payer": text_of(&payment.payer),
        "payee": text_of(&payment.payee),
        "amount_centavos": payment.amount_centavos,
        "event_time_ns": payment.event_time_ns,
        "rail": "pix",
    })
}

/// The binary protocol.
pub struct Binary {
    nodes: Vec<String>,
    client: Option<Client>,
}

impl Binary {
    /// Through these nodes.
    pub fn new(nodes: Vec<String>) -> Self {
        Self { nodes, client: None }
    }

    fn connect(&self) -> Result<Client, String> {
        let mut options = ClientOptions::new(self.nodes[0].clone());
        options.addresses.clone_from(&self.nodes);
        options.client_name = "catraca demo".to_owned();
        Client::connect(options).map_err(|e| e.to_string())
    }
}

impl Door for Binary {
    fn name(&self) -> &'static str {
        "binary"
    }

    fn ask(&mut self, payment: &Transaction) -> Result<Value, String> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => self.connect()?,
        };
        // A client that failed connects anew the next time.
        let decision = client.decide(payment).map_err(|e| e.to_string())?;
        self.client = Some(client);
        serde_json::to_value(DecisionView::new(&payment.id, &decision)).map_err(|e| e.to_string())
    }
}
