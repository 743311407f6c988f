//! What a policy's file may hold, as TOML has it.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Spanned;
use toml::value::Datetime;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyText {
    pub time_zone: Option<Spanned<String>>,
    #[serde(default)]
    pub listed: ListedText,
    pub thresholds: Option<Spanned<ThresholdsText>>,
    pub windows: Option<Spanned<WindowsText>>,
    #[serde(default)]
    pub segment: Vec<Spanned<SegmentText>>,
    #[serde(default)]
    pub rule: Vec<Spanned<RuleText>>,
    #[serde(default)]
    pub validator: Vec<Spanned<ValidatorText>>,
}

/// What conditions ask windows of time for, as far as it is the same for all of them.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowsText {
    pub keys: Option<i64>,
    pub night_from_hour: Option<i64>,
    pub night_to_hour: Option<i64>,
}

/// Who decides on listed parties.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ListedText {
    #[default]
    Deny,
    Rules,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThresholdsText {
    pub review: Option<i64>,
    pub deny: Option<i64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentText {
    pub rail: Option<RailText>,
    pub payer_kind: Option<KindText>,
    pub review: Option<i64>,
    pub deny: Option<i64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RailText {
    Other,
    Pix,
    Ted,
    Boleto,
    Card,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KindText {
    Cpf,
    Cnpj,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum VerdictText {
    Allow,
    Review,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    pub id: Spanned<String>,
    pub when: Spanned<String>,
    pub score: Option<Spanned<i64>>,
    pub verdict: Option<Spanned<VerdictText>>,
    #[serde(default)]
    pub overrides: Option<Spanned<bool>>,
    #[serde(default)]
    pub shadow: bool,
    pub share: Option<Spanned<i64>>,
    pub valid_from: Option<Spanned<Datetime>>,
    pub valid_until: Option<Spanned<Datetime>>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub group: String,
    #[serde(default)]
    pub owner: String,
    #[serde(default)]
    pub tags: Vec<String>,
    pub reason: Option<ReasonText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonText {
    pub code: Spanned<String>,
    #[serde(default)]
    pub pt: String,
    #[serde(default)]
    pub en: String,
}

/// A service outside that is asked about a payment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidatorText {
    pub id: Spanned<String>,
    pub url: Spanned<String>,
    pub when: Spanned<String>,
    pub method: Option<Spanned<String>>,
    #[serde(default)]
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    pub secret_headers: BTreeMap<Spanned<String>, Spanned<SecretText>>,
    #[serde(default)]
    pub send: Vec<Spanned<String>>,
    pub documents: Option<DocumentsText>,
    pub answer: Option<Spanned<String>>,
    #[serde(default)]
    pub answers: Vec<Spanned<String>>,
    #[serde(default)]
    pub status: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
    #[serde(default)]
    pub negative: Vec<Spanned<toml::Value>>,
    pub timeout_ms: Option<Spanned<i64>>,
    pub attempts: Option<Spanned<i64>>,
    pub wait_ms: Option<Spanned<i64>>,
    pub no_answer: Spanned<toml::Value>,
    pub degrades: Option<bool>,
    #[serde(default)]
    pub cache: CacheText,
    #[serde(default)]
    pub limits: LimitsText,
    #[serde(default)]
    pub breaker: BreakerText,
    #[serde(default)]
    pub tls: TlsText,
}

/// How documents are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DocumentsText {
    Hashed,
    Full,
}

impl DocumentsText {
    pub const fn are_in_full(self) -> bool {
        matches!(self, Self::Full)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretText {
    pub file: Option<PathBuf>,
    pub env: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheText {
    pub good_s: Option<Spanned<i64>>,
    pub negative_s: Option<Spanned<i64>>,
    pub stale_s: Option<Spanned<i64>>,
    pub error_ms: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsText {
    pub in_flight: Option<Spanned<i64>>,
    pub queue: Option<Spanned<i64>>,
    pub per_second: Option<Spanned<i64>>,
    pub burst: Option<Spanned<i64>>,
    pub negative_cost: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BreakerText {
    pub failures_percent: Option<Spanned<i64>>,
    pub least_attempts: Option<Spanned<i64>>,
    pub window_s: Option<Spanned<i64>>,
    pub slow_ms: Option<Spanned<i64>>,
    pub open_ms: Option<Spanned<i64>>,
    pub most_open_ms: Option<Spanned<i64>>,
    pub probes: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsText {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}
