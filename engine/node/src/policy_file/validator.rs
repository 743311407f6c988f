//! A validator's section of a policy.

use super::text::{CacheText, SecretText, ValidatorText};
use super::{MAX_RULE_ID_LEN, Range, Reading, RuleNotes};
use crate::validators::spec::{
    BreakerSettings, Caching, Limits, Meaning, Request, Secret, Sent, Service, TlsFiles, UrlPart,
};
use catraca_core::policy::language::{self, Asking};
use catraca_core::policy::lists::KeyField;
use catraca_core::policy::validators::{MAX_VALIDATORS, MAX_WORDS, Validator};
use catraca_core::policy::{
    EVERY_DAY, EVERY_PAYER, MAX_RULES, MAX_SCORE, Rule, RuleEffect, RuleVerdict,
};
use std::collections::BTreeMap;
use toml::Spanned;

/// Longest time that a payment waits for a validator, milliseconds: what is left of its 2 seconds is the log's and
/// the standby's.
pub const MAX_WAIT_MS: u16 = 1_500;
/// Most attempts for a question.
const MAX_ATTEMPTS: i64 = 5;
/// Longest URL, with what stands for fields in it, bytes.
const MAX_URL_LEN: usize = 1024;
/// Most headers of each kind.
const MAX_HEADERS: usize = 16;
/// Headers that are set by what is sent, and by how it is.
const OWN_HEADERS: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-type",
    "accept-encoding",
    "expect",
    "upgrade",
];
/// Longest answer of words, bytes.
const MAX_WORD_LEN: usize = 64;
/// What is written behind a validator's name for the rule of its `no_answer`.
const NO_ANSWER_SUFFIX: &str = "-no-answer";
/// Longest time that an answer is good, seconds: 30 days.
const MAX_GOOD_S: i64 = 30 * 24 * 3600;

/// What all validators of a policy come to.
#[derive(Default)]
pub(super) struct Validators {
    pub deciding: Vec<Validator>,
    pub services: Vec<Service>,
    /// What no answer does: of each validator where it does something.
    fallbacks: Vec<(String, RuleEffect)>,
}

impl Validators {
    /// The rules of what no answer does.
    fn rules(&self, asking: &mut Asking) -> Vec<(Rule, RuleNotes)> {
        let rule = |(id, effect): &(String, RuleEffect)| {
            let when = format!("no_answer(validator(\"{id}\"))");
            let rule = Rule {
                id: format!("{id}{NO_ANSWER_SUFFIX}"),
                when: language::compile_into(&when, asking).expect("the validator was declared"),
                effect: *effect,
                days: EVERY_DAY,
                share_permille: EVERY_PAYER,
            };
            let description = format!("what no_answer of the validator {id} says");
            (rule, RuleNotes { when, description, ..RuleNotes::default() })
        };
        self.fallbacks.iter().map(rule).collect()
    }
}

impl Reading<'_> {
    /// Puts what no answer does behind the rules.
    pub(super) fn fallbacks(
        &mut self,
        validators: &Validators,
        asking: &mut Asking,
        rules: &mut Vec<Rule>,
        notes: &mut Vec<RuleNotes>,
    ) {
        // Where a validator could not be declared, that is told already.
        if !self.faults.is_empty() {
            return;
        }
        for (rule, note) in validators.rules(asking) {
            if rules.iter().any(|other| other.id == rule.id) {
                let message = format!("the rule {} is that of a validator's no_answer", rule.id);
                self.fault(0..0, message, "give the rule another id");
            }
            rules.push(rule);
            notes.push(note);
        }
        if rules.len() > MAX_RULES {
            let message = format!(
                "with those of no_answer the policy has {} rules, at most {MAX_RULES}",
                rules.len()
            );
            self.fault(0..0, message, "join rules by ||, or remove some");
        }
    }

    pub(super) fn validators(
        &mut self,
        texts: &[Spanned<ValidatorText>],
        asking: &mut Asking,
    ) -> Validators {
        if let Some(extra) = texts.get(MAX_VALIDATORS) {
            let message =
                format!("the policy has {} validators, at most {MAX_VALIDATORS}", texts.len());
            self.fault(extra.span(), message, "remove some");
        }
        let mut all = Validators::default();
        for spanned in texts.iter().take(MAX_VALIDATORS) {
            let text = spanned.get_ref();
            let id = text.id.get_ref();
            self.word(&text.id, "id of a validator", "cpf-status");
            if id.len() + NO_ANSWER_SUFFIX.len() > MAX_RULE_ID_LEN {
                let most = MAX_RULE_ID_LEN - NO_ANSWER_SUFFIX.len();
                let help =
                    format!("at most {most} characters, as {id}{NO_ANSWER_SUFFIX} names a rule");
                self.fault(text.id.span(), "the id of the validator is too long", help);
            }
            if all.services.iter().any(|other| other.id == *id) {
                let message = format!("the validator {id} stands there twice");
                self.fault(text.id.span(), message, "give each an id of its own");
            }
            let service = self.service(text, spanned.span());
            all.fallbacks.extend(self.fallback(text).map(|effect| (id.clone(), effect)));
            match language::compile_into(text.when.get_ref(), asking) {
                Ok(when) => {
                    let sent = service.request.sent();
                    let keys = sent.iter().filter_map(|sent| match sent {
                        Sent::Key(key) => Some(*key),
                        Sent::Amount => None,
                    });
                    all.deciding.push(Validator {
                        id: id.clone(),
                        when,
                        sends: keys.collect(),
                        sends_amount: sent.contains(&Sent::Amount),
                        words: service.meaning.words.clone().into(),
                        wait_ms: service.wait_ms,
                        degrades: text.degrades.unwrap_or(true),
                    });
                }
                Err(fault) => {
                    let span = self.file.within(&text.when, fault.span.range());
                    self.fault(span, fault.message, fault.help);
                }
            }
            all.services.push(service);
        }
        // Behind all conditions of validators: these read no others.
        for (service, text) in all.services.iter().zip(texts) {
            if !asking.declare(&service.id, &service.meaning.words) {
                let message =
                    "the policy asks for too many values of windows, lists and validators";
                self.fault(text.span(), message, "ask for fewer");
            }
        }
        all
    }

    fn service(&mut self, text: &ValidatorText, whole: Range) -> Service {
        let attempts = self.number("attempts", &text.attempts, 1..=MAX_ATTEMPTS, 2);
        let timeout_ms = self.number("timeout_ms", &text.timeout_ms, 1..=MAX_WAIT_MS.into(), 300);
        let wait_ms = self.number("wait_ms", &text.wait_ms, 1..=MAX_WAIT_MS.into(), 800);
        if timeout_ms > wait_ms {
            let message = format!(
                "an attempt may take {timeout_ms} ms, and nobody waits longer than {wait_ms} ms"
            );
            self.fault(whole.clone(), message, "timeout_ms is at most wait_ms");
        }
        let meaning = self.meaning(text, whole.clone());
        let request = self.request(text, whole);
        Service {
            id: text.id.get_ref().clone(),
            request,
            meaning,
            timeout_ms: timeout_ms as u16,
            attempts: attempts as u8,
            wait_ms: wait_ms as u16,
            cache: self.cache(&text.cache),
            limits: self.limits(text),
            breaker: self.breaker(text, timeout_ms),
        }
    }

    fn number(
        &mut self,
        name: &str,
        written: &Option<Spanned<i64>>,
        range: std::ops::RangeInclusive<i64>,
        otherwise: i64,
    ) -> i64 {
        let Some(written) = written else { return otherwise };
        let value = *written.get_ref();
        if range.contains(&value) {
            return value;
        }
        let help = format!("{name} is from {} to {}", range.start(), range.end());
        self.fault(written.span(), format!("{name} is {value}"), help);
        otherwise
    }

    fn meaning(&mut self, text: &ValidatorText, whole: Range) -> Meaning {
        let mut words: Vec<String> = Vec::new();
        for word in &text.answers {
            let is_sound = (1..=MAX_WORD_LEN).contains(&word.get_ref().len())
                && !word.get_ref().contains(['"', '\'', '\\'])
                && !word.get_ref().chars().any(char::is_control);
            if !is_sound {
                let message = format!("{:?} is no answer", word.get_ref());
                let help = format!("1 to {MAX_WORD_LEN} bytes without quotes and backslashes");
                self.fault(word.span(), message, help);
            } else if words.contains(word.get_ref()) {
                let message = format!("the answer {:?} stands there twice", word.get_ref());
                self.fault(word.span(), message, "remove one");
            }
            words.push(word.get_ref().clone());
        }
        if words.len() > MAX_WORDS {
            let message = format!("the validator has {} answers, at most {MAX_WORDS}", words.len());
            self.fault(whole.clone(), message, "answer by a number");
        }
        let answer = |reading: &mut Self, written: &Spanned<toml::Value>| {
            let found = match written.get_ref() {
                toml::Value::String(word) => {
                    words.iter().position(|known| known == word).map(|place| place as i64)
                }
                toml::Value::Integer(number) if words.is_empty() => Some(*number),
                _ => None,
            };
            if found.is_none() {
                let help = match words.is_empty() {
                    true => "it answers whole numbers".to_owned(),
                    false => format!("it answers {}", words.join(", ")),
                };
                let message = format!("{} is no answer of this validator", written.get_ref());
                reading.fault(written.span(), message, help);
            }
            found
        };
        let mut statuses = BTreeMap::new();
        for (status, written) in &text.status {
            match status.get_ref().parse() {
                Ok(number @ 200..=599) => {
                    statuses.extend(answer(self, written).map(|answer| (number, answer)));
                }
                _ => {
                    let message = format!("{:?} is no status of HTTP", status.get_ref());
                    self.fault(status.span(), message, "write 404 = \"unknown\"");
                }
            }
        }
        let negative = text.negative.iter().filter_map(|written| answer(self, written)).collect();
        let pointer = text.answer.as_ref().map(|pointer| {
            let is_pointer = pointer.get_ref().is_empty() || pointer.get_ref().starts_with('/');
            if !is_pointer {
                let message = format!("{:?} is no JSON pointer", pointer.get_ref());
                self.fault(pointer.span(), message, "write \"/status\", or \"/person/status\"");
            }
            pointer.get_ref().clone()
        });
        if pointer.is_none() && statuses.is_empty() {
            let help = "give it answer = \"/status\", or status = { 404 = \"unknown\" }";
            self.fault(whole, "nothing that the validator says is an answer", help);
        }
        Meaning { pointer, words, statuses, negative }
    }

    fn request(&mut self, text: &ValidatorText, whole: Range) -> Request {
        let url = self.url(&text.url);
        let mut body: Vec<Sent> = Vec::new();
        for field in &text.send {
            match Sent::named(field.get_ref()) {
                Some(sent) if !body.contains(&sent) => body.push(sent),
                Some(_) => self.fault(field.span(), "the field stands there twice", "remove one"),
                None => self.unknown_field(field.span(), field.get_ref()),
            }
        }
        let is_post = match text.method.as_ref().map(|method| (method.get_ref().as_str(), method)) {
            None => !body.is_empty(),
            Some(("GET", _)) => false,
            Some(("POST", _)) => true,
            Some((other, method)) => {
                let help = "write GET or POST: a validator is asked, and changes nothing";
                self.fault(method.span(), format!("{other:?} is no method here"), help);
                false
            }
        };
        if !is_post && !body.is_empty() {
            self.fault(whole.clone(), "a GET has no body", "write method = \"POST\"");
        }
        let headers = text.headers.iter().filter_map(|(name, value)| {
            let is_sound = value.get_ref().bytes().all(|byte| (0x20..0x7f).contains(&byte));
            if !is_sound {
                let message = format!("the value of the header {} is not ASCII", name.get_ref());
                self.fault(value.span(), message, "encode it");
            }
            self.header_name(name).map(|name| (name, value.get_ref().clone()))
        });
        let headers: Vec<_> = headers.collect();
        let secret_headers = text.secret_headers.iter().filter_map(|(name, secret)| {
            let found = match secret.get_ref() {
                SecretText { file: Some(file), env: None } => Some(Secret::File(file.clone())),
                SecretText { file: None, env: Some(name) } => Some(Secret::Env(name.clone())),
                _ => {
                    let help = "write { file = \"/etc/catraca/token\" } or { env = \"TOKEN\" }";
                    self.fault(secret.span(), "a secret is in a file or in a variable", help);
                    None
                }
            };
            self.header_name(name).zip(found)
        });
        let secret_headers: Vec<_> = secret_headers.collect();
        if headers.len().max(secret_headers.len()) > MAX_HEADERS {
            self.fault(whole.clone(), format!("more than {MAX_HEADERS} headers"), "remove some");
        }
        let identity = match (&text.tls.cert_file, &text.tls.key_file) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            _ => {
                self.fault(whole, "a certificate goes with its key", "give cert_file and key_file");
                None
            }
        };
        let documents_in_full = text.documents.is_some_and(|documents| documents.are_in_full());
        let tls = TlsFiles { ca: text.tls.ca_file.clone(), identity };
        Request { is_post, url, headers, secret_headers, body, documents_in_full, tls }
    }

    fn header_name(&mut self, name: &Spanned<String>) -> Option<String> {
        let lower = name.get_ref().to_ascii_lowercase();
        let is_token = !lower.is_empty()
            && lower.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let is_ours = OWN_HEADERS.contains(&lower.as_str());
        if is_token && !is_ours {
            return Some(lower);
        }
        let message = format!("{:?} is no header that can be set", name.get_ref());
        self.fault(name.span(), message, "host, lengths, types and encodings are set by the node");
        None
    }

    fn unknown_field(&mut self, span: Range, name: &str) {
        let known: Vec<_> = KeyField::ALL.iter().map(|field| field.name()).collect();
        let help = format!("these are: tx.amount, {}", known.join(", "));
        self.fault(span, format!("{name} is not sent to validators"), help);
    }

    /// `https://host/path/{payer.document}`: fields in the path and the query alone.
    fn url(&mut self, written: &Spanned<String>) -> Vec<UrlPart> {
        let text = written.get_ref().as_str();
        let help = "write \"https://host:port/path/{payer.document}\"";
        let behind = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = behind.map_or("", |behind| behind.split(['/', '?']).next().unwrap_or(""));
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        if host.is_empty()
            || host.contains(['{', '}', '@', '#'])
            || text.len() > MAX_URL_LEN
            || text.contains('#')
            || !text.bytes().all(is_plain)
        {
            self.fault(written.span(), format!("{text:?} is no URL for a validator"), help);
            return vec![UrlPart::Text(text.to_owned())];
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(begin) = rest.find(['{', '}']) {
            let (before, field) = rest.split_at(begin);
            let Some((name, behind)) =
                field[1..].split_once('}').filter(|_| field.starts_with('{'))
            else {
                self.fault(written.span(), "a brace has no partner", help);
                break;
            };
            parts.push(UrlPart::Text(before.to_owned()));
            match Sent::named(name) {
                Some(sent) => parts.push(UrlPart::Field(sent)),
                None => self.unknown_field(written.span(), name),
            }
            rest = behind;
        }
        parts.push(UrlPart::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, UrlPart::Text(text) if text.is_empty()));
        parts
    }

    /// What no answer does; `None` where the rules that read the answer are left out, and that is all.
    fn fallback(&mut self, text: &ValidatorText) -> Option<RuleEffect> {
        let written = &text.no_answer;
        let score = |table: &toml::Table| match table.get("score") {
            Some(toml::Value::Integer(score)) if table.len() == 1 => Some(*score),
            _ => None,
        };
        let (score, verdict) = match written.get_ref() {
            toml::Value::String(word) if word == "approve" || word == "skip" => return None,
            toml::Value::String(word) if word == "review" => (0, Some(RuleVerdict::Review)),
            toml::Value::String(word) if word == "deny" => (0, Some(RuleVerdict::Deny)),
            toml::Value::Table(table)
                if score(table).is_some_and(|score| (1..=MAX_SCORE).contains(&score)) =>
            {
                (score(table).unwrap_or(0), None)
            }
            other => {
                let help = "write \"review\", \"deny\", \"skip\", \"approve\", or { score = 200 }";
                self.fault(written.span(), format!("{other} is nothing to decide"), help);
                return None;
            }
        };
        Some(RuleEffect { score, verdict, shadow: false })
    }

    fn cache(&mut self, text: &CacheText) -> Caching {
        let number = |reading: &mut Self, name, written, most, otherwise| {
            reading.number(name, written, 0..=most, otherwise) as u32
        };
        Caching {
            good_s: number(self, "good_s", &text.good_s, MAX_GOOD_S, 300),
            negative_s: number(self, "negative_s", &text.negative_s, MAX_GOOD_S, 30),
            stale_s: number(self, "stale_s", &text.stale_s, MAX_GOOD_S, 0),
            error_ms: number(self, "error_ms", &text.error_ms, 60_000, 100),
        }
    }

    fn limits(&mut self, text: &ValidatorText) -> Limits {
        let text = &text.limits;
        let per_second = self.number("per_second", &text.per_second, 0..=1_000_000, 0);
        let burst = self.number("burst", &text.burst, 1..=1_000_000, per_second.max(1));
        Limits {
            in_flight: self.number("in_flight", &text.in_flight, 1..=4_096, 64) as u16,
            queue: self.number("queue", &text.queue, 0..=65_535, 4_096) as u16,
            per_second: per_second as u32,
            burst: burst as u32,
            negative_cost: self.number("negative_cost", &text.negative_cost, 1..=1_000, 1) as u32,
        }
    }

    fn breaker(&mut self, text: &ValidatorText, timeout_ms: i64) -> BreakerSettings {
        let text = &text.breaker;
        let percent = self.number("failures_percent", &text.failures_percent, 1..=100, 50);
        let least = self.number("least_attempts", &text.least_attempts, 1..=10_000, 5);
        let open_ms = self.number("open_ms", &text.open_ms, 10..=600_000, 1_000);
        let most_open = self.number(
            "most_open_ms",
            &text.most_open_ms,
            open_ms..=3_600_000,
            60_000.max(open_ms),
        );
        BreakerSettings {
            failures_percent: percent as u8,
            least_attempts: least as u16,
            window_s: self.number("window_s", &text.window_s, 1..=3_600, 30) as u16,
            slow_ms: self.number("slow_ms", &text.slow_ms, 1..=timeout_ms, timeout_ms) as u16,
            open_ms: open_ms as u32,
            most_open_ms: most_open as u32,
            probes: self.number("probes", &text.probes, 1..=3, 1) as u8,
        }
    }
}
