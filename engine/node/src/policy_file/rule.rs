//! What a rule does where it matches, on which days, and to whom.

use super::Reading;
use super::text::{RuleText, VerdictText};
use catraca_core::calendar::day_number;
use catraca_core::policy::{EVERY_DAY, EVERY_PAYER, MAX_SCORE, RuleEffect, RuleVerdict};
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::value::Datetime;

impl Reading<'_> {
    pub(super) fn effect(&mut self, text: &RuleText) -> RuleEffect {
        let id = text.id.get_ref();
        if text.score.is_none() && text.verdict.is_none() {
            let message = format!("the rule {id} does nothing");
            self.fault(text.id.span(), message, "give it a score or a verdict");
        }
        if let Some(score) =
            text.score.as_ref().filter(|score| score.get_ref().unsigned_abs() > MAX_SCORE as u64)
        {
            let message = format!("a score of {}", score.get_ref());
            self.fault(
                score.span(),
                message,
                format!("scores are from -{MAX_SCORE} to {MAX_SCORE}"),
            );
        }
        let overrides = text.overrides.as_ref().is_some_and(|overrides| *overrides.get_ref());
        let verdict = text.verdict.as_ref().map(|verdict| match verdict.get_ref() {
            VerdictText::Allow => RuleVerdict::Allow { overrides },
            VerdictText::Review => RuleVerdict::Review,
            VerdictText::Deny => RuleVerdict::Deny,
        });
        if let Some(written) =
            text.overrides.as_ref().filter(|_| !matches!(verdict, Some(RuleVerdict::Allow { .. })))
        {
            let message = "only a rule that allows can override others";
            self.fault(
                written.span(),
                message,
                "write verdict = \"allow\", or leave overrides out",
            );
        }
        RuleEffect {
            score: text.score.as_ref().map_or(0, |score| *score.get_ref()),
            verdict,
            shadow: text.shadow,
        }
    }

    pub(super) fn share(&mut self, text: &RuleText) -> u16 {
        let Some(written) = &text.share else { return EVERY_PAYER };
        match u16::try_from(*written.get_ref()) {
            Ok(share @ 1..=EVERY_PAYER) => share,
            _ => {
                let message = format!("a share of {}", written.get_ref());
                let help =
                    format!("of a thousand payers, 1 to {EVERY_PAYER}; remove the rule for none");
                self.fault(written.span(), message, help);
                EVERY_PAYER
            }
        }
    }

    pub(super) fn days(&mut self, text: &RuleText) -> RangeInclusive<u16> {
        let mut day = |written: Option<&Spanned<Datetime>>, otherwise: u16| {
            let Some(written) = written else { return otherwise };
            let date = match *written.get_ref() {
                Datetime { date: Some(date), time: None, offset: None } => {
                    jiff::civil::Date::new(date.year as i16, date.month as i8, date.day as i8).ok()
                }
                _ => None,
            };
            match date {
                Some(date) => day_number(date),
                None => {
                    self.fault(
                        written.span(),
                        "a day belongs here",
                        "write it without a time: 2026-12-31",
                    );
                    otherwise
                }
            }
        };
        let days = day(text.valid_from.as_ref(), *EVERY_DAY.start())
            ..=day(text.valid_until.as_ref(), *EVERY_DAY.end());
        if days.is_empty() {
            let span = text.valid_until.as_ref().map_or(0..0, Spanned::span);
            self.fault(span, "the rule ends before it begins", "valid_until is its last day");
        }
        days
    }
}
