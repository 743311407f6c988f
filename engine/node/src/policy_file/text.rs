//! What a policy's file may hold, as TOML has it.

use serde::Deserialize;
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
