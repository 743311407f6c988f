//! A first transaction: `cargo run -p catraca-wire --features client --example first_transaction
//! [ADDRESS]`.

use catraca_wire::client::{Client, ClientOptions, now_ns};
use catraca_wire::frame::{Transaction, Verdict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let mut client = Client::connect(ClientOptions::new(address))?;
    // The id is yours: sent again with the same payer and content, it gets the same decision,
    // however often.
    let id = format!("first-{}", now_ns());
    let payment = Transaction::pix(&id, "049.332.286-80", "12.ABC.345/01DE-35", 12_34, now_ns())?;
    let decision = client.decide(&payment)?;
    let next = match decision.verdict {
        Verdict::Approve => "settle it",
        Verdict::Review => "have a person look at it",
        Verdict::Deny => "refuse it",
    };
    println!(
        "{id}: {} ({next}); record {} of stream {}",
        decision.verdict, decision.answer.lsn, decision.answer.shard
    );
    Ok(())
}
