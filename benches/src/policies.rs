//! Policies to measure: the default one, and rules like its in any number.

use catraca_core::policy::Policy;
use catraca_node::policy_file::{self, PolicyFile};
use std::fmt::Write as _;
use std::sync::Arc;

fn policy(text: &str) -> Arc<Policy> {
    let PolicyFile { zone, rules, .. } = policy_file::parse(text).expect("a sound policy");
    Policy::new(1, zone, rules).into()
}

/// The policy for Pix that `catraca policy init` writes.
pub fn pix() -> Arc<Policy> {
    policy(include_str!("../../engine/cli/src/commands/policy/pix.toml"))
}

/// So many rules, each of three to five comparisons, no two the same; one in eight matches.
pub fn rules(count: usize) -> Arc<Policy> {
    policy(&text_of(count))
}

/// Values of windows, each read by a rule of its own.
const WINDOWS: [&str; 8] = [
    "payer.count('10m') >= 5",
    "payer.sum('today', 'approved', 'incl') > reais(5000)",
    "payer.distinct_payees('1h') >= 5",
    "has(payer.max('30d', 'approved')) && tx.amount > 3 * payer.max('30d', 'approved')",
    "payer.count('1d', 'denied') >= 3",
    "payer_to_payee.count('90d', 'approved') == 0 && tx.amount > reais(1000)",
    "payee.distinct_payers('1d') >= 20",
    "has(tx.device) && device.distinct_payers('1d') >= 4",
];

/// So many rules, as [`rules`], the first of which read eight windows instead.
pub fn rules_with_windows(count: usize) -> Arc<Policy> {
    assert!(count >= WINDOWS.len(), "a rule for each window");
    let mut text = text_of(count - WINDOWS.len());
    for (n, when) in WINDOWS.iter().enumerate() {
        writeln!(text, "[[rule]]\nid = \"window-{n}\"\nwhen = \"{when}\"\nscore = 50")
            .expect("writing to a string can't fail");
    }
    policy(&text)
}

/// So many rules, as [`rules`], beside a validator that is asked by the payer about payments of this condition, and the
/// two rules that come with it.
pub fn rules_with_validator(count: usize, when: &str) -> Arc<Policy> {
    let text = text_of(count);
    policy(&format!(
        r#"{text}
[[validator]]
id = "status"
url = "http://127.0.0.1:9/people/{{payer.document}}"
when = "{when}"
answer = "/status"
answers = ["regular", "suspended"]
no_answer = "review"

[[rule]]
id = "suspended"
when = 'has(validator("status")) && validator("status") == "suspended"'
verdict = "deny"
"#
    ))
}

fn text_of(count: usize) -> String {
    let mut text = "thresholds = { review = 500, deny = 900 }\n".to_owned();
    for n in 0..count {
        let (hour, reais) = (n % 24, 10 + n * 70);
        let when = match n % 4 {
            0 => format!("tx.rail == 'pix' && payer.kind == 'cpf' && tx.amount > reais({reais})"),
            1 => format!(
                "(tx.hour >= {hour} || tx.hour < 6) && tx.amount >= reais({reais}) && tx.amount <= reais({})",
                reais + 50
            ),
            2 => format!(
                "!has(tx.device) && tx.channel in ['app', 'web'] && tx.amount > reais({reais})"
            ),
            _ => format!(
                "tx.weekday in ['saturday', 'sunday'] && tx.hour == {hour} && payee.kind == 'cnpj' && tx.amount > reais({reais})"
            ),
        };
        writeln!(text, "[[rule]]\nid = \"rule-{n}\"\nwhen = \"{when}\"\nscore = {}", n % 90 + 1)
            .expect("writing to a string can't fail");
    }
    text
}
