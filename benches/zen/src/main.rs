//! Nanoseconds a payment for the same rules: catraca's policies by column and one by one, and a decision
//! table of GoRules ZEN that collects all rows that match, precompiled. In alternation, medians of rounds.
//!
//! Both must find the same rules for each payment, or nothing is measured.

use bytemuck::Zeroable;
use catraca_core::blacklist::Listing;
use catraca_core::calendar::Zone;
use catraca_core::policy::language::compile;
use catraca_core::policy::{Batch, EVERY_DAY, EVERY_PAYER, Facts, Party, Policy, Rule, RuleEffect, Rules};
use catraca_wire::DocumentKey;
use catraca_wire::frame::TransactionFields;
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use zen_engine::Decision;
use zen_engine::model::GraphContent;

const ROUNDS: usize = 7;
const PAYMENTS: usize = 32;
/// 20:30 in São Paulo on a Tuesday.
const EVENT_NS: u64 = 1_795_563_000 * 1_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;
const DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A rule: as a condition, and as a row of a decision table.
fn rule(n: usize) -> (String, Value) {
    let (hour, centavos) = (n % 24, 1_000 + n * 7_000);
    match n % 4 {
        0 => (
            format!("tx.rail == 'pix' && payer.kind == 'cpf' && tx.amount > {centavos}"),
            json!({ "rail": "\"pix\"", "payer": "\"cpf\"", "amount": format!("> {centavos}") }),
        ),
        1 => (
            format!(
                "(tx.hour >= {hour} || tx.hour < 6) && tx.amount >= {centavos} && tx.amount <= {}",
                centavos + 50_000
            ),
            json!({
                "hour": format!("$ >= {hour} or $ < 6"),
                "amount": format!("[{centavos}..{}]", centavos + 50_000),
            }),
        ),
        2 => (
            format!("!has(tx.device) && tx.channel in ['app', 'web'] && tx.amount > {centavos}"),
            json!({ "device": "false", "channel": "\"app\", \"web\"", "amount": format!("> {centavos}") }),
        ),
        _ => (
            format!(
                "tx.weekday in ['saturday', 'sunday'] && tx.hour == {hour} && payee.kind == 'cnpj' && tx.rail != 'ted'"
            ),
            json!({
                "weekday": "\"saturday\", \"sunday\"",
                "hour": hour.to_string(),
                "payee": "\"cnpj\"",
                "rail": "$ != \"ted\"",
            }),
        ),
    }
}

const COLUMNS: [&str; 8] =
    ["rail", "payer", "amount", "hour", "device", "channel", "weekday", "payee"];

fn table(count: usize) -> Decision {
    let inputs: Vec<Value> =
        COLUMNS.iter().map(|name| json!({ "id": name, "name": name, "field": name })).collect();
    let rows: Vec<Value> = (0..count)
        .map(|n| {
            let (_, mut row) = rule(n);
            row["_id"] = json!(format!("r{n}"));
            row["out"] = json!(n.to_string());
            row
        })
        .collect();
    let graph = json!({
        "nodes": [
            { "id": "in", "name": "in", "type": "inputNode", "content": {} },
            { "id": "dt", "name": "dt", "type": "decisionTableNode", "content": {
                "hitPolicy": "collect",
                "inputs": inputs,
                "outputs": [{ "id": "out", "name": "rule", "field": "rule" }],
                "rules": rows,
            } },
            { "id": "out", "name": "out", "type": "outputNode", "content": {} },
        ],
        "edges": [
            { "id": "e1", "sourceId": "in", "targetId": "dt" },
            { "id": "e2", "sourceId": "dt", "targetId": "out" },
        ],
    });
    let content: GraphContent = serde_json::from_value(graph).expect("a decision graph");
    let mut decision = Decision::from(Arc::new(content));
    decision.compile();
    decision
}

fn policy(count: usize) -> Policy {
    let rules = (0..count).map(|n| Rule {
        id: n.to_string(),
        when: compile(&rule(n).0).expect("a sound condition"),
        effect: RuleEffect { score: 1, verdict: None, shadow: false },
        days: EVERY_DAY,
        share_permille: EVERY_PAYER,
    });
    let rules = Rules { rules: rules.collect(), ..Rules::default() };
    Policy::new(1, Zone::default(), rules)
}

/// A payment as each of the two takes it.
struct Payment {
    transaction: TransactionFields,
    payer: Party,
    payee: Party,
    context: Value,
}

fn payment(n: usize) -> Payment {
    let mut transaction = TransactionFields::zeroed();
    let amount = n as i64 * 37_777 % 400_000 + 1;
    transaction.amount_centavos = amount.into();
    transaction.event_time_ns = (EVENT_NS + n as u64 * 5 * HOUR_NS).into();
    transaction.rail = 1 + (n % 2) as u8;
    transaction.channel = 1 + (n % 3) as u8;
    transaction.device = (n as u64 % 3).into();
    let documents = ["52998224725", "11222333000181"];
    let party = |is_company: usize| {
        let document = DocumentKey::parse(documents[is_company]).expect("valid");
        Party::new(document, Listing::Free)
    };
    let (payer_is, payee_is) = (n / 2 % 2, n / 3 % 2);
    let kind = |is_company: usize| ["cpf", "cnpj"][is_company];
    let hours = 20 + 5 * n;
    let context = json!({
        "rail": (["pix", "ted"][n % 2]),
        "payer": kind(payer_is),
        "amount": amount,
        "hour": hours % 24,
        "device": n % 3 != 0,
        "channel": (["app", "web", "api"][n % 3]),
        "weekday": (DAYS[(1 + hours / 24) % 7]),
        "payee": kind(payee_is),
    });
    Payment { transaction, payer: party(payer_is), payee: party(payee_is), context }
}

fn judge(policy: &Policy, batch: &mut Batch, payments: &[Payment]) {
    batch.clear();
    for payment in payments {
        let facts = Facts {
            transaction: &payment.transaction,
            payer: payment.payer,
            payee: payment.payee,
            decided_at_ns: EVENT_NS,
            offset_minutes: -180,
        };
        batch.push(&facts, true, &[]);
    }
    policy.judge(batch);
}

/// Nanoseconds of each payment, where `run` does all of them.
fn time(mut run: impl FnMut()) -> f64 {
    let (mut passes, began) = (0, Instant::now());
    while began.elapsed().as_millis() < 300 {
        run();
        passes += 1;
    }
    began.elapsed().as_nanos() as f64 / (passes * PAYMENTS) as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let payments: Vec<Payment> = (0..PAYMENTS).map(payment).collect();
    println!(
        "{:>6} {:>14} {:>14} {:>14} {:>8} {:>8}",
        "rules", "by column", "one by one", "ZEN", "ratio", "ratio"
    );
    for count in [33, 256] {
        let (policy, table, mut batch) = (policy(count), table(count), Batch::new());
        let contexts: Vec<zen_engine::Variable> =
            payments.iter().map(|payment| payment.context.clone().into()).collect();
        judge(&policy, &mut batch, &payments);
        let mut found = 0;
        for (row, context) in contexts.iter().enumerate() {
            let response = runtime.block_on(table.evaluate(context.clone())).expect("evaluated");
            let result: Value = response.result.to_value();
            let theirs: Vec<usize> = result
                .as_array()
                .expect("rows")
                .iter()
                .map(|row| row["rule"].as_u64().expect("a number") as usize)
                .collect();
            let matched = batch.judgement(row).rules.matched;
            let ours: Vec<usize> =
                (0..count).filter(|n| matched[n / 64] >> (n % 64) & 1 == 1).collect();
            assert_eq!(ours, theirs, "payment {row}: {:?}", payments[row].context);
            found += ours.len();
        }
        assert!(found > PAYMENTS, "rules that hardly match compare little");
        let (mut together, mut single, mut zen) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            together.push(time(|| judge(black_box(&policy), &mut batch, &payments)));
            single.push(time(|| {
                for payment in &payments {
                    judge(black_box(&policy), &mut batch, std::slice::from_ref(payment));
                }
            }));
            zen.push(time(|| {
                for context in &contexts {
                    let response = runtime.block_on(table.evaluate(context.clone()));
                    black_box(response.expect("evaluated"));
                }
            }));
        }
        let (together, single, zen) = (median(together), median(single), median(zen));
        println!(
            "{count:>6} {together:>11.0} ns {single:>11.0} ns {zen:>11.0} ns {:>8.0} {:>8.1}",
            zen / together,
            zen / single,
        );
    }
}
