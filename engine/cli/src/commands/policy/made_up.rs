//! A payment that somebody made up, to see what a policy does with it: for `explain` and `test`.

use super::made_up_lists::{self, MadeUpLists};
use catraca_core::calendar::Zone;
use catraca_core::policy::lists::InForce;
use catraca_core::policy::share::ShareKey;
use catraca_core::policy::validators::{AnswerState, Answered, Validator};
use catraca_core::policy::windows::{Past, WindowsKey};
use catraca_core::policy::{Batch, Facts, Judgement, Party, Policy, RuleWords, Rules};
use catraca_node::validators::http::Payment;
use catraca_wire::DocumentKey;
use catraca_wire::extension::WindowValue;
use catraca_wire::frame::{ListSource, TransactionFields, Verdict};
use catraca_wire::transaction::{Channel, Rail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is made up of a payment. Whatever is left out is what an ordinary one has, or missing where a
/// payment may lack it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MadeUp {
    amount_centavos: i64,
    rail: String,
    channel: String,
    /// Local time in the policy's zone (`2026-11-24T22:30:00`), or RFC 3339.
    time: String,
    /// Seconds from then to the decision.
    age_s: u32,
    payer: String,
    payee: String,
    payer_listed: Option<String>,
    payee_listed: Option<String>,
    payer_allowed: bool,
    payee_allowed: bool,
    payer_account: u64,
    payee_account: u64,
    device: u64,
    pix_key: u64,
    payer_ispb: String,
    payee_ispb: String,
    /// Address that it came from; none where it is empty.
    ip: String,
    /// What is in the lists that the policy looks things up in.
    lists: MadeUpLists,
    /// Rules that are not applied to it, by their ids.
    exempt: Vec<String>,
    /// What validators answer, by their ids: a word or a number.
    answers: BTreeMap<String, Answer>,
    /// What was paid before, in this order.
    before: Vec<Before>,
}

/// Payments before, for windows to see.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    #[serde(default)]
    payment: MadeUp,
    /// How it was decided on.
    #[serde(default)]
    verdict: VerdictBefore,
    /// How many of them.
    #[serde(default = "once")]
    times: u32,
    /// Seconds from one to the next.
    #[serde(default)]
    every_s: u32,
}

const fn once() -> u32 {
    1
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum VerdictBefore {
    #[default]
    Approve,
    Review,
    Deny,
}

/// What a validator answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Answer {
    Word(String),
    Number(i64),
}

impl Answer {
    /// As conditions see it; `None` where the validator never says so.
    fn of(&self, validator: &Validator) -> Option<i64> {
        match self {
            Self::Number(number) => validator.words.is_empty().then_some(*number),
            Self::Word(word) => {
                validator.words.iter().position(|known| known == word).map(|place| place as i64)
            }
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) => write!(f, "{word:?}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Most payments before one.
const MAX_BEFORE: u32 = 10_000;

/// A payment that makes sense.
struct Made {
    transaction: TransactionFields,
    payer: Party,
    payee: Party,
    decided_at_ns: u64,
}

impl Default for MadeUp {
    fn default() -> Self {
        Self {
            amount_centavos: 10_000,
            rail: "pix".to_owned(),
            channel: "app".to_owned(),
            time: "2026-11-24T14:00:00".to_owned(),
            age_s: 0,
            payer: "52998224725".to_owned(),
            payee: "11144477735".to_owned(),
            payer_listed: None,
            payee_listed: None,
            payer_allowed: false,
            payee_allowed: false,
            payer_account: 1,
            payee_account: 2,
            device: 1,
            pix_key: 0,
            payer_ispb: "12345678".to_owned(),
            payee_ispb: "87654321".to_owned(),
            ip: String::new(),
            lists: MadeUpLists::new(),
            exempt: Vec::new(),
            answers: BTreeMap::new(),
            before: Vec::new(),
        }
    }
}

/// Nanoseconds in a second.
const NS_PER_S: u64 = 1_000_000_000;

impl MadeUp {
    /// What a policy makes of it, where lists of which it says nothing are as said: the batch that has it
    /// alone, and what was judged.
    ///
    /// # Errors
    /// What of it makes no sense.
    pub fn judge(
        &self,
        policy: &Policy,
        lists: &MadeUpLists,
    ) -> Result<(Batch, Judgement), String> {
        let made = self.make(policy.zone(), 0)?;
        let mut seen = self.windows(policy, &made)?;
        let named = made_up_lists::lists(policy.rules(), &self.lists, lists)?;
        let facts = Facts {
            transaction: &made.transaction,
            payer: made.payer,
            payee: made.payee,
            decided_at_ns: made.decided_at_ns,
            offset_minutes: policy
                .zone()
                .offset_at(made.transaction.event_time_ns.to_native())
                .minutes,
        };
        let windows = seen.len();
        seen.resize(policy.values(), WindowValue::Evicted);
        let answers = policy.rules().answers_from();
        InForce::new(&named, policy.rules(), ShareKey::unknown())
            .look_up(&facts, &mut seen[windows..answers]);
        policy.rules().ask_nobody(&mut seen);
        let mut batch = Batch::new();
        batch.push(&facts, policy.version() > 0, &seen);
        batch.exempt(&self.exempt(policy)?);
        self.answers(policy.rules(), &mut batch)?;
        policy.judge(&mut batch);
        let judged = *batch.judgement(0);
        Ok((batch, judged))
    }

    /// As validators are asked about it.
    ///
    /// # Errors
    /// What of it makes no sense.
    pub fn payment(&self, zone: &Zone) -> Result<Payment, String> {
        let Made { transaction, payer, payee, .. } = self.make(zone, 0)?;
        Ok(Payment { transaction, payer: payer.document, payee: payee.document })
    }

    /// What validators say of it; nothing in time where none is given.
    fn answers(&self, rules: &Rules, batch: &mut Batch) -> Result<(), String> {
        let is_one = |id: &String| rules.validators.iter().any(|validator| validator.id == *id);
        if let Some(unknown) = self.answers.keys().find(|id| !is_one(id)) {
            return Err(format!("answers: the policy has no validator {unknown}"));
        }
        for (number, validator) in rules.validators.iter().enumerate() {
            let given = self.answers.get(&validator.id);
            if batch.asks(validator) == 0 {
                if given.is_some() {
                    return Err(format!("answers: {} is not asked about it", validator.id));
                }
                continue;
            }
            let answered = match given {
                None => Answered::NONE,
                Some(given) => {
                    let answer = given.of(validator).ok_or_else(|| {
                        format!("answers: {} never answers {given}", validator.id)
                    })?;
                    Answered { state: AnswerState::Fresh, answer: Some(answer) }
                }
            };
            batch.answer(rules, 0, number, answered);
        }
        Ok(())
    }

    /// The rules that are not applied to it.
    fn exempt(&self, policy: &Policy) -> Result<RuleWords, String> {
        let mut words = RuleWords::default();
        for id in &self.exempt {
            let number = policy.rules().rules.iter().position(|rule| rule.id == *id);
            let number = number.ok_or_else(|| format!("exempt: the policy has no rule {id}"))?;
            words[number / 64] |= 1 << (number % 64);
        }
        Ok(words)
    }

    /// What windows say of it, after what was paid before.
    fn windows(&self, policy: &Policy, made: &Made) -> Result<Vec<WindowValue>, String> {
        let total: u64 = self.before.iter().map(|before| u64::from(before.times)).sum();
        if total > u64::from(MAX_BEFORE) {
            return Err(format!("before: {total} payments, at most {MAX_BEFORE} are taken"));
        }
        let key = WindowsKey::without_secret();
        let past = Past::new(policy, 1, key).map_err(|error| error.to_string())?;
        let Some(mut past) = past else { return Ok(Vec::new()) };
        let event = |past: &mut Past, made: &Made| {
            let Made { transaction, payer, payee, decided_at_ns } = made;
            past.event(payer.document, payee.document, transaction, *decided_at_ns)
        };
        for before in &self.before {
            if !before.payment.before.is_empty() {
                return Err(
                    "before: a payment before has none before it; put all into one list".to_owned()
                );
            }
            let verdict = match before.verdict {
                VerdictBefore::Approve => Verdict::Approve,
                VerdictBefore::Review => Verdict::Review,
                VerdictBefore::Deny => Verdict::Deny,
            };
            for number in 0..before.times {
                let later_s = u64::from(number) * u64::from(before.every_s);
                let made = before.payment.make(policy.zone(), later_s);
                let made = made.map_err(|why| format!("before: {why}"))?;
                let event = event(&mut past, &made);
                past.windows_mut().add(&event, verdict);
            }
        }
        let mut values = vec![WindowValue::Evicted; policy.window_values()];
        let event = event(&mut past, made);
        past.windows().read(&event, &mut values);
        Ok(values)
    }

    /// So many seconds later than it says.
    fn make(&self, zone: &Zone, later_s: u64) -> Result<Made, String> {
        let mut transaction: TransactionFields = bytemuck::Zeroable::zeroed();
        if self.amount_centavos < 1 {
            return Err("amount_centavos: at least 1".to_owned());
        }
        transaction.amount_centavos = self.amount_centavos.into();
        transaction.rail = code("rail", &self.rail, Rail::ALL, Rail::name)?.to_wire();
        transaction.channel =
            code("channel", &self.channel, Channel::ALL, Channel::name)?.to_wire();
        let too_late = || "it would be decided after the year 2554".to_owned();
        let later = |time_ns: u64, s: u64| time_ns.checked_add(s.saturating_mul(NS_PER_S));
        let event_time_ns = later(self.event_time_ns(zone)?, later_s).ok_or_else(too_late)?;
        transaction.event_time_ns = event_time_ns.into();
        transaction.payer_account = self.payer_account.into();
        transaction.payee_account = self.payee_account.into();
        transaction.device = self.device.into();
        transaction.pix_key[..8].copy_from_slice(&self.pix_key.to_le_bytes());
        transaction.payer_ispb = ispb("payer_ispb", &self.payer_ispb)?;
        transaction.payee_ispb = ispb("payee_ispb", &self.payee_ispb)?;
        transaction.ip = ip(&self.ip)?;
        let payer = party("payer", &self.payer, self.payer_listed.as_ref(), self.payer_allowed)?;
        let payee = party("payee", &self.payee, self.payee_listed.as_ref(), self.payee_allowed)?;
        let decided_at_ns = later(event_time_ns, self.age_s.into()).ok_or_else(too_late)?;
        Ok(Made { transaction, payer, payee, decided_at_ns })
    }

    fn event_time_ns(&self, zone: &Zone) -> Result<u64, String> {
        let wrong = || {
            "time: local in the policy's zone (2026-11-24T22:30:00), or RFC 3339, from 1970 to 2554"
                .to_owned()
        };
        if let Ok(timestamp) = self.time.parse::<jiff::Timestamp>() {
            return u64::try_from(timestamp.as_nanosecond()).map_err(|_| wrong());
        }
        let civil: jiff::civil::DateTime = self.time.parse().map_err(|_| wrong())?;
        zone.moment_of(civil).ok_or_else(wrong)
    }
}

fn code<T: Copy>(
    field: &str,
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, String> {
    all.iter().copied().find(|&code| name(code) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|&code| name(code)).collect();
        format!("{field}: {text:?} is none of {}", names.join(", "))
    })
}

fn ispb(field: &str, text: &str) -> Result<[u8; 8], String> {
    if text.is_empty() {
        return Ok([0; 8]);
    }
    text.as_bytes().try_into().map_err(|_| format!("{field}: 8 characters, or none"))
}

fn ip(text: &str) -> Result<[u8; 16], String> {
    if text.is_empty() {
        return Ok([0; 16]);
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => Ok(v4.to_ipv6_mapped().octets()),
        Ok(IpAddr::V6(v6)) => Ok(v6.octets()),
        Err(_) => Err(format!("ip: {text:?} is no IP address")),
    }
}

fn party(
    field: &str,
    document: &str,
    listed: Option<&String>,
    is_allowed: bool,
) -> Result<Party, String> {
    let document = DocumentKey::parse(document).map_err(|error| format!("{field}: {error}"))?;
    let source =
        |text: &String| code(&format!("{field}_listed"), text, ListSource::ALL, ListSource::name);
    let listed = listed.map(source).transpose()?;
    if listed.is_some() && is_allowed {
        return Err(format!("{field}: it is listed, or allowed, not both"));
    }
    Ok(Party { document, listed, is_allowed })
}
