//! A record as people and programs read it: names for codes, times in words, documents masked.

use super::asked;
use catraca_core::calendar::day_of;
use catraca_core::log::BlockLocation;
use catraca_node::log_files::lookup::StoredLabel;
use catraca_wire::DocumentKey;
use catraca_wire::block::receipt;
use catraca_wire::document::DOCUMENT_LEN;
use catraca_wire::extension::{ForcedBreaker, Label, MAX_RULE_WORDS, RulesSeen, read_asked};
use catraca_wire::frame::{
    ListSource, Scope, VERDICT_DEGRADED, VERDICT_SHADOW_DISAGREES, Verdict, text_of,
};
use catraca_wire::record::{
    OverlayChange, OverlayOp, Reason, RecordHead, RecordKind, blacklist_version,
};
use jiff::Timestamp;
use serde::Serialize;
use std::net::Ipv6Addr;

/// A record, flat: one line of an export, one object of `show --json`. Numbers that are sets of
/// bits or hashes are hexadecimal text, because many programs read a JSON number as a float.
#[derive(Debug, Serialize)]
pub struct RecordView {
    pub shard: u16,
    pub lsn: u64,
    pub epoch: u32,
    /// None where the record is known from a proof alone, which does not tell where its block lies.
    pub segment: Option<u32>,
    pub block_offset: Option<u64>,
    pub kind: &'static str,
    pub decided_at: String,
    pub decided_at_ns: u64,
    pub transaction_id: Option<String>,
    pub verdict: &'static str,
    pub flags: String,
    pub scope: Option<&'static str>,
    pub score: u16,
    pub reason: Option<&'static str>,
    pub payer: Option<String>,
    pub payer_source: Option<&'static str>,
    pub payee: Option<String>,
    pub payee_source: Option<&'static str>,
    pub amount_centavos: Option<i64>,
    pub event_time: Option<String>,
    pub budget_us: Option<u32>,
    pub rail: Option<&'static str>,
    pub channel: Option<&'static str>,
    pub transaction_flags: Option<u16>,
    pub policy_version: u32,
    pub matched_rules: String,
    /// Numbers of the policy's rules that matched, from 1 in its order, with spaces between them; none where
    /// no policy's rules were asked.
    pub rules_matched: Option<String>,
    /// Those whose condition had no result, from 1 likewise.
    pub rules_without_result: Option<String>,
    /// Those that matched and did nothing: by an exemption, or because the payer is outside of their share.
    pub rules_not_applied: Option<String>,
    /// The rule that settled the verdict, from 1 likewise.
    pub settled_by: Option<u16>,
    /// Sum of the scores, before it is brought to 0 to 1000.
    pub score_sum: Option<i32>,
    /// The validators that were asked, and what came of it.
    pub validators_asked: Option<String>,
    pub snapshot_id: String,
    pub overlay_sequence: u64,
    pub blacklist_version: String,
    /// The local day on which the lists were judged; none in records of before there was such a
    /// day.
    pub list_day: Option<String>,
    /// The last day of an allowance.
    pub allowed_until: Option<String>,
    pub payer_ispb: Option<String>,
    pub payee_ispb: Option<String>,
    pub payer_account: Option<String>,
    pub payee_account: Option<String>,
    pub device: Option<String>,
    pub pix_key: Option<String>,
    pub ip: Option<String>,
    pub trace_id: Option<String>,
    /// Number of the institution whose decision it is, and the client that sent it.
    pub institution: Option<u16>,
    pub submitter: Option<String>,
    /// What a label says.
    pub label: Option<&'static str>,
    /// Who says so.
    pub label_source: Option<String>,
    /// When it became known.
    pub known_at: Option<String>,
    /// Stream and sequence number of the decision that it is about.
    pub labelled_shard: Option<u16>,
    pub labelled_lsn: Option<u64>,
    /// The validator whose breaker a person forces.
    pub forced_validator: Option<String>,
    /// What of it: open, closed, or auto, its own judgement again.
    pub forced: Option<&'static str>,
    /// Who says so, and why.
    pub forced_by: Option<String>,
    pub forced_because: Option<String>,
    pub extension: Option<String>,
    pub chain: String,
    pub receipt: String,
}

impl RecordView {
    /// Of a record; documents masked and the IP address left out unless `unmask`.
    pub fn new(head: &RecordHead, extension: &[u8], place: &BlockLocation, unmask: bool) -> Self {
        let kind = RecordKind::from_wire(head.kind);
        let transaction = &head.transaction;
        let is_decision = kind == Some(RecordKind::Decision);
        let change = OverlayChange::from_record(head);
        let until_day = change.and_then(|change| match change.op {
            OverlayOp::Allow { until_day } => Some(until_day),
            OverlayOp::List | OverlayOp::Unlist => None,
        });
        let rules = RulesSeen::read(extension).filter(|_| is_decision);
        let label = Label::from_record(head, extension);
        let forced = ForcedBreaker::from_record(head, extension);
        let snapshot_id = head.snapshot_id.to_native();
        let overlay_sequence = head.overlay_sequence.to_native();
        Self {
            shard: place.shard,
            lsn: head.lsn.to_native(),
            epoch: place.epoch,
            segment: Some(place.segment),
            block_offset: Some(place.block_offset),
            kind: kind.map_or("unknown", RecordKind::name),
            decided_at: utc(head.decided_at_ns.to_native()),
            decided_at_ns: head.decided_at_ns.to_native(),
            transaction_id: Some(text_of(&transaction.id).to_owned()).filter(|id| !id.is_empty()),
            verdict: match kind {
                Some(RecordKind::Decision) => {
                    Verdict::from_wire(head.verdict).map_or("unknown", Verdict::name)
                }
                Some(RecordKind::OverlayChange) => {
                    change.map_or("unknown", |change| change.op.name())
                }
                _ => "",
            },
            flags: if is_decision { flag_names(head.flags) } else { String::new() },
            scope: Scope::from_wire(head.flags).filter(|_| change.is_some()).map(Scope::name),
            score: head.score.to_native(),
            reason: Reason::from_wire(head.reason).filter(|_| is_decision).map(Reason::name),
            payer: document(&transaction.payer, unmask),
            payer_source: ListSource::from_wire(head.payer_source).map(ListSource::name),
            payee: document(&transaction.payee, unmask),
            payee_source: ListSource::from_wire(head.payee_source).map(ListSource::name),
            amount_centavos: is_decision.then(|| transaction.amount_centavos.to_native()),
            event_time: is_decision.then(|| utc(transaction.event_time_ns.to_native())),
            budget_us: is_decision.then(|| transaction.budget_us.to_native()),
            rail: is_decision.then(|| rail(transaction.rail)),
            channel: is_decision.then(|| channel(transaction.channel)),
            transaction_flags: is_decision.then(|| transaction.flags.to_native()),
            policy_version: head.policy_version.to_native(),
            matched_rules: format!("{:016x}", head.matched_rules.to_native()),
            rules_matched: rules.map(|rules| numbers(&rules.matched)),
            rules_without_result: rules.map(|rules| numbers(&rules.failed)),
            rules_not_applied: rules.map(|rules| numbers(&not_applied(&rules))),
            settled_by: rules.and_then(|rules| rules.settled_by).map(|number| number + 1),
            score_sum: rules.map(|rules| rules.score_sum),
            validators_asked: asked::flat(&read_asked(extension)).filter(|_| is_decision),
            snapshot_id: format!("{snapshot_id:016x}"),
            overlay_sequence,
            blacklist_version: format!("{:016x}", blacklist_version(snapshot_id, overlay_sequence)),
            list_day: (is_decision && head.list_day != 0)
                .then(|| day_of(head.list_day.to_native()).to_string()),
            allowed_until: until_day.map(|day| day_of(day).to_string()),
            payer_ispb: Some(text_of(&transaction.payer_ispb).to_owned())
                .filter(|text| !text.is_empty()),
            payee_ispb: Some(text_of(&transaction.payee_ispb).to_owned())
                .filter(|text| !text.is_empty()),
            payer_account: hash(transaction.payer_account.to_native()),
            payee_account: hash(transaction.payee_account.to_native()),
            device: hash(transaction.device.to_native()),
            pix_key: Some(hex::encode(transaction.pix_key))
                .filter(|_| transaction.pix_key != [0; 16]),
            ip: unmask.then(|| ip(&transaction.ip)).flatten(),
            trace_id: Some(hex::encode(transaction.trace_id))
                .filter(|_| transaction.trace_id != [0; 16]),
            institution: is_decision.then(|| head.submitter.institution.to_native()),
            submitter: Some(text_of(&head.submitter.name).to_owned())
                .filter(|name| !name.is_empty()),
            label: label.map(|label| label.kind.name()),
            label_source: label.map(|label| label.source.to_string()),
            known_at: label.map(|label| utc(label.known_at_ns)),
            labelled_shard: label.map(|label| label.shard),
            labelled_lsn: label.map(|label| label.lsn),
            forced_validator: forced.map(|forced| forced.validator.to_string()),
            forced: forced.map(|forced| forced.force.name()),
            forced_by: forced.map(|forced| forced.author.to_string()),
            forced_because: forced.map(|forced| forced.reason.to_string()),
            extension: Some(hex::encode(extension)).filter(|text| !text.is_empty()),
            chain: hex::encode(place.chain),
            receipt: format!("{:016x}", receipt(&place.chain)),
        }
    }
}

/// A label, as programs read it.
#[derive(Debug, Serialize)]
pub struct LabelView {
    pub label: &'static str,
    /// Whether it says that the payment was fraud.
    pub is_fraud: bool,
    pub source: String,
    pub known_at: String,
    pub known_at_ns: u64,
    pub transaction_id: String,
    pub payer: Option<String>,
    /// Stream and sequence number of the decision that it is about.
    pub decision_shard: u16,
    pub decision_lsn: u64,
    /// Sequence number of its own record, in stream 0.
    pub lsn: u64,
    pub logged_at: String,
    pub logged_at_ns: u64,
}

impl LabelView {
    /// Of a label; the payer masked unless `unmask`.
    pub fn new(stored: &StoredLabel, unmask: bool) -> Self {
        let label = &stored.label;
        Self {
            label: label.kind.name(),
            is_fraud: label.kind.is_fraud(),
            source: label.source.to_string(),
            known_at: utc(label.known_at_ns),
            known_at_ns: label.known_at_ns,
            transaction_id: text_of(&stored.id).to_owned(),
            payer: document(&stored.payer, unmask),
            decision_shard: label.shard,
            decision_lsn: label.lsn,
            lsn: stored.lsn,
            logged_at: utc(stored.logged_at_ns),
            logged_at_ns: stored.logged_at_ns,
        }
    }
}

/// Logs of before name rules that did not match, too.
fn not_applied(rules: &RulesSeen) -> [u64; MAX_RULE_WORDS] {
    std::array::from_fn(|word| rules.matched[word] & rules.exempt[word])
}

/// The numbers of the bits that are set, the first being 1: people count so, and a record's bits from 0.
fn numbers(words: &[u64]) -> String {
    let set = |&number: &usize| words[number / 64] >> (number % 64) & 1 == 1;
    let numbers: Vec<_> =
        (0..words.len() * 64).filter(set).map(|number| (number + 1).to_string()).collect();
    numbers.join(" ")
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
pub fn utc(ns: u64) -> String {
    timestamp(ns).to_string()
}

/// Nanoseconds since 1970 in the machine's zone, then in UTC.
pub fn local_and_utc(ns: u64) -> String {
    let timestamp = timestamp(ns);
    let local = timestamp.to_zoned(jiff::tz::TimeZone::system());
    format!("{} local, {timestamp} UTC", local.strftime("%Y-%m-%d %H:%M:%S%.f %:z"))
}

fn timestamp(ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns))
        .expect("64 bits of nanoseconds end in 2554, far inside the calendar")
}

/// Centavos as people write them: `R$ 1.234,56`.
pub fn reais(centavos: i64) -> String {
    let whole = (centavos / 100).unsigned_abs().to_string();
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push('.');
        }
        grouped.push(digit);
    }
    let sign = if centavos < 0 { "-" } else { "" };
    format!("R$ {sign}{grouped},{:02}", (centavos % 100).unsigned_abs())
}

/// A document of a record; `None` where there is none.
pub fn document(bytes: &[u8; DOCUMENT_LEN], unmask: bool) -> Option<String> {
    if bytes == &[0; DOCUMENT_LEN] {
        return None;
    }
    Some(match DocumentKey::from_wire(bytes) {
        Ok(key) if unmask => key.to_canonical(),
        Ok(key) => key.to_string(),
        Err(_) => "invalid".to_owned(),
    })
}

fn hash(value: u64) -> Option<String> {
    (value != 0).then(|| format!("{value:016x}"))
}

/// An address of a record; `None` where there is none.
pub fn ip(octets: &[u8; 16]) -> Option<String> {
    let address = Ipv6Addr::from(*octets);
    (!address.is_unspecified()).then(|| address.to_canonical().to_string())
}

fn flag_names(flags: u8) -> String {
    let names = [(VERDICT_DEGRADED, "degraded"), (VERDICT_SHADOW_DISAGREES, "shadow_disagrees")];
    let set: Vec<&str> =
        names.iter().filter(|(bit, _)| flags & bit != 0).map(|&(_, name)| name).collect();
    set.join("|")
}

fn rail(code: u8) -> &'static str {
    match code {
        0 => "other",
        1 => "pix",
        2 => "ted",
        3 => "boleto",
        4 => "card",
        _ => "unknown",
    }
}

fn channel(code: u8) -> &'static str {
    match code {
        0 => "other",
        1 => "app",
        2 => "web",
        3 => "api",
        4 => "branch",
        5 => "atm",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_numbered_from_1() {
        assert_eq!(numbers(&[0b101, 1, 0, 1 << 63]), "1 3 65 256");
        assert_eq!(numbers(&[0; 4]), "");
    }

    #[test]
    fn money_and_time_read_well() {
        assert_eq!(reais(1), "R$ 0,01");
        assert_eq!(reais(123_456_789), "R$ 1.234.567,89");
        assert_eq!(reais(100_000), "R$ 1.000,00");
        assert_eq!(reais(-5), "R$ -0,05");
        assert_eq!(reais(i64::MIN), "R$ -92.233.720.368.547.758,08");
        assert_eq!(utc(1_795_435_200_000_000_000), "2026-11-23T12:00:00Z");
        assert!(utc(u64::MAX).starts_with("2554-"));
    }
}
