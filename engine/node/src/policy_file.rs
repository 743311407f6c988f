//! A policy's file: TOML to checked rules. Everything that is wrong with it is told at once, each with its
//! line and column; a policy is taken whole or not at all.

use catraca_core::policy::language::{self, Program};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// Longest file, bytes.
pub const MAX_POLICY_LEN: usize = 1024 * 1024;
/// Most rules of a policy: the matched ones are bits of a record.
pub const MAX_RULES: usize = 256;
/// Longest id of a rule, characters.
pub const MAX_RULE_ID_LEN: usize = 64;
/// Highest score of a rule, and lowest below zero.
pub const MAX_SCORE: i64 = 1000;
/// Faults that are told, at most: who made one mistake everywhere needs no more to see it.
pub const MAX_FAULTS: usize = 50;

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// How many characters it is about, 1 at least.
    pub width: usize,
    /// The line itself.
    pub text: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// A rule, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub description: String,
    /// When it matches.
    pub when: Program,
    /// What it adds to the score.
    pub score: i64,
    /// What it decides.
    pub verdict: Option<RuleVerdict>,
}

/// What a rule may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleVerdict {
    /// Let it through.
    Allow,
    /// Have a person look at it.
    Review,
    /// Refuse it.
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    #[serde(default)]
    rule: Vec<Spanned<RuleText>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    id: Spanned<String>,
    when: Spanned<String>,
    #[serde(default)]
    description: String,
    score: Option<Spanned<i64>>,
    verdict: Option<RuleVerdict>,
}

/// Reads a policy.
///
/// # Errors
/// All that is wrong with it, at most [`MAX_FAULTS`], in the order of the file.
pub fn parse(text: &str) -> Result<Vec<Rule>, Vec<PolicyFault>> {
    let file = File { text };
    if text.len() > MAX_POLICY_LEN {
        let message =
            format!("the file has {} bytes, at most {MAX_POLICY_LEN} are taken", text.len());
        return Err(vec![file.fault(0..0, message, "split the policy")]);
    }
    let parsed: PolicyText = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        vec![file.fault(span, error.message(), "see POLICY.md for what a policy holds")]
    })?;
    let mut faults = Vec::new();
    if parsed.rule.is_empty() {
        faults.push(file.fault(0..0, "the policy has no rule", "begin one with [[rule]]"));
    }
    if let Some(extra) = parsed.rule.get(MAX_RULES) {
        let message = format!("the policy has {} rules, at most {MAX_RULES}", parsed.rule.len());
        faults.push(file.fault(extra.span(), message, "join rules by ||, or remove some"));
    }
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rules = Vec::new();
    for spanned in &parsed.rule {
        let rule = spanned.get_ref();
        let id = rule.id.get_ref();
        let is_id = (1..=MAX_RULE_ID_LEN).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_id {
            let message = format!("{id:?} is no id of a rule");
            let help = format!("1 to {MAX_RULE_ID_LEN} of a to z, 0 to 9 and -: night-high-amount");
            faults.push(file.fault(rule.id.span(), message, help));
        }
        let (line, ..) = file.place(rule.id.span().start);
        if let Some(first) = ids.insert(id, line) {
            let message = format!("the id {id} stands in line {first}, too");
            faults.push(file.fault(rule.id.span(), message, "give each rule an id of its own"));
        }
        if rule.score.is_none() && rule.verdict.is_none() {
            let message = format!("the rule {id} does nothing");
            faults.push(file.fault(rule.id.span(), message, "give it a score or a verdict"));
        }
        if let Some(score) = rule.score.as_ref().filter(|s| s.get_ref().abs() > MAX_SCORE) {
            let message = format!("a score of {}", score.get_ref());
            let help = format!("scores are from -{MAX_SCORE} to {MAX_SCORE}");
            faults.push(file.fault(score.span(), message, help));
        }
        match language::compile(rule.when.get_ref()) {
            Ok(when) => rules.push(Rule {
                id: id.clone(),
                description: rule.description.clone(),
                when,
                score: rule.score.as_ref().map_or(0, |score| *score.get_ref()),
                verdict: rule.verdict,
            }),
            Err(fault) => {
                let span = file.within(&rule.when, fault.span.range());
                faults.push(file.fault(span, fault.message, fault.help));
            }
        }
    }
    faults.truncate(MAX_FAULTS);
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

struct File<'t> {
    text: &'t str,
}

impl File<'_> {
    /// Where a part of a string's content stands in the file. A string with escapes is told as a whole.
    fn within(
        &self,
        string: &Spanned<String>,
        part: std::ops::Range<usize>,
    ) -> std::ops::Range<usize> {
        let (whole, content) = (string.span(), string.get_ref().as_str());
        let written = &self.text[whole.clone()];
        match written.find(content) {
            Some(at) if !content.is_empty() => {
                let start = whole.start + at;
                start + part.start..start + part.end
            }
            _ => whole,
        }
    }

    /// Line and column of a place, and where its line begins and ends.
    fn place(&self, at: usize) -> (usize, usize, &str) {
        let before = &self.text[..at.min(self.text.len())];
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[begin..].split('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, before[begin..].chars().count() + 1, line)
    }

    fn fault(
        &self,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> PolicyFault {
        let (line, column, text) = self.place(span.start);
        let about = self.text.get(span).unwrap_or_default();
        let width = about.split('\n').next().unwrap_or_default().chars().count().max(1);
        PolicyFault {
            line,
            column,
            width,
            text: text.trim_end().to_owned(),
            message: message.into(),
            help: help.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
[[rule]]
id = "night-high-amount"
description = "Pix à noite acima de R$ 1.000"
when = 'tx.rail == "pix" && (tx.hour >= 20 || tx.hour < 6) && tx.amount > reais(1000)'
score = 300

[[rule]]
id = "listed"
when = "payer.listed || payee.listed"
verdict = "deny"
"#;

    #[test]
    fn a_policy_is_read() {
        let rules = parse(SOUND).expect("sound");
        assert_eq!(rules.len(), 2);
        assert_eq!((rules[0].score, rules[0].verdict), (300, None));
        assert_eq!((rules[1].score, rules[1].verdict), (0, Some(RuleVerdict::Deny)));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_its_place() {
        let text = r#"[[rule]]
id = "Ação"
when = "payer.lised"
[[rule]]
id = "twice"
when = '''
  tx.amount > 1 && 'ç' == tx.rail
'''
score = 2000
[[rule]]
id = "twice"
when = "true"
"#;
        let faults = parse(text).expect_err("wrong");
        let told: Vec<_> =
            faults.iter().map(|f| (f.line, f.column, f.width, f.message.as_str())).collect();
        assert_eq!(
            told,
            [
                (2, 6, 6, "\"Ação\" is no id of a rule"),
                (2, 6, 6, "the rule Ação does nothing"),
                (3, 9, 11, "there is no field payer.lised"),
                (9, 9, 4, "a score of 2000"),
                (7, 20, 3, "\"ç\" never stands there"),
                (11, 6, 7, "the id twice stands in line 5, too"),
                (11, 6, 7, "the rule twice does nothing"),
            ]
        );
        assert_eq!(faults[2].help, "did you mean payer.listed?");
        assert_eq!(faults[4].text, "  tx.amount > 1 && 'ç' == tx.rail");
    }

    #[test]
    fn what_is_no_policy_is_told() {
        for (text, line, message) in [
            ("", 1, "the policy has no rule"),
            ("\n[[rule]\n", 2, "unclosed"),
            ("[[rule]]\nid = \"a\"\nwhen = \"true\"\nscor = 1\n", 4, "unknown field `scor`"),
            ("[[rule]]\nid = \"a\"\nscore = 1\n", 1, "missing field `when`"),
            ("[[rule]]\nid = \"a\"\nwhen = \"true\"\nverdict = \"block\"\n", 4, "unknown variant"),
            ("[[rule]]\nid = \"a\"\nwhen = true\n", 3, "invalid type"),
        ] {
            let faults = parse(text).expect_err("wrong");
            assert_eq!(faults[0].line, line, "{text:?}: {faults:?}");
            assert!(faults[0].message.contains(message), "{text:?}: {faults:?}");
        }
        let many = "[[rule]]\nid = \"X\"\nwhen = \"tx\"\n".repeat(300);
        assert_eq!(parse(&many).expect_err("wrong").len(), MAX_FAULTS);
        assert!(
            parse(&" ".repeat(MAX_POLICY_LEN + 1)).expect_err("too long")[0]
                .message
                .contains("bytes")
        );
    }
}
