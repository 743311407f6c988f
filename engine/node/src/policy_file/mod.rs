//! A policy's file: TOML to checked rules. Everything that is wrong with it is told at once, each with its
//! line and column; a policy is taken whole or not at all.

mod place;
mod rule;
mod text;
mod validator;

pub use place::PolicyFault;
pub use validator::MAX_WAIT_MS;

use crate::time_zone;
use crate::validators::spec::Service;
use catraca_core::calendar::{DEFAULT_ZONE, Zone};
use catraca_core::log::policies::{
    MAX_POLICY_LEN, PolicyId, PolicyInLog, PolicyText as LoggedPolicy,
};
use catraca_core::policy::language::{self, Asking, DEFAULT_NIGHT, Field, Reach, Reaches};
use catraca_core::policy::windows::{MAX_KEYS, MIN_KEYS};
use catraca_core::policy::{
    DEFAULT_WINDOW_KEYS, EVERY_DAY, EVERY_PAYER, ListsDecide, MAX_RULES, MAX_SCORE, MAX_SEGMENTS,
    Policy, Rule, RuleVerdict, Rules, Segment, Thresholds, WindowsAsked,
};
use catraca_wire::transaction::Rail;
use place::File;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use text::{
    KindText, ListedText, PolicyText, RailText, RuleText, SegmentText, ThresholdsText, WindowsText,
};
use toml::Spanned;

/// Longest id of a rule, and longest code of a reason, characters.
pub const MAX_RULE_ID_LEN: usize = 64;
/// Faults that are told, at most: who made one mistake everywhere needs no more to see it.
pub const MAX_FAULTS: usize = 50;

/// A policy, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// What names it.
    pub id: PolicyId,
    /// Zone of its hours and days.
    pub zone: Zone,
    /// Its rules.
    pub rules: Rules,
    /// What people are to know of each rule, in their order.
    pub notes: Vec<RuleNotes>,
    /// How each validator is asked, in the order of the rules' validators.
    pub services: Vec<Service>,
}

/// What people are to know of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleNotes {
    /// Its condition, as it is written.
    pub when: String,
    /// What it is for.
    pub description: String,
    /// Rules that belong together.
    pub group: String,
    /// Whose it is.
    pub owner: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What is said to who asks why.
    pub reason: Option<ReasonNotes>,
}

/// What is said to who asks why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonNotes {
    /// A word for programs.
    pub code: String,
    /// In Portuguese.
    pub pt: String,
    /// In English.
    pub en: String,
}

/// The policy that a log says is in force.
///
/// # Errors
/// As [`in_force`], and where the log does not hold its text.
pub fn in_force_of(logged: &PolicyInLog) -> Result<Arc<Policy>, String> {
    in_force(logged.in_force().map_err(|error| format!("the log can't be used: {error}"))?)
}

/// The policy of a log: `None` is the one that every node has.
///
/// # Errors
/// As [`of_log`].
pub fn in_force(logged: Option<&LoggedPolicy>) -> Result<Arc<Policy>, String> {
    match logged {
        None => Ok(Policy::blacklist_only().into()),
        Some(logged) => of_log(logged).map(|(_, policy)| policy),
    }
}

/// A policy out of its text in a log: what it says, and ready to decide.
///
/// # Errors
/// What is wrong with its text: this build knows less than the one that took it into force, or more.
pub fn of_log(logged: &LoggedPolicy) -> Result<(PolicyFile, Arc<Policy>), String> {
    let LoggedPolicy { version, id, .. } = logged;
    let text = std::str::from_utf8(&logged.text).map_err(|error| error.to_string());
    let file = text.and_then(|text| {
        parse(text).map_err(|faults| match faults.first() {
            Some(fault) => format!("line {}: {}: {}", fault.line, fault.message, fault.help),
            None => "it can't be read".to_owned(),
        })
    });
    let file = file.map_err(|why| {
        format!("the policy of version {version} ({id}) can't be used: {why}; run the build that took it into force, or a newer one")
    })?;
    let policy = Policy::new(*version, file.zone.clone(), file.rules.clone());
    Ok((file, policy.into()))
}

/// Reads a policy.
///
/// # Errors
/// All that is wrong with it, at most [`MAX_FAULTS`], in the order of the file.
pub fn parse(text: &str) -> Result<PolicyFile, Vec<PolicyFault>> {
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
    let mut reading = Reading { file, faults: Vec::new() };
    let zone = reading.zone(parsed.time_zone.as_ref());
    let thresholds = reading.top_thresholds(parsed.thresholds.as_ref());
    let segments = reading.segments(&parsed.segment, parsed.thresholds.as_ref());
    let (keys, mut asking) = reading.windows(parsed.windows.as_ref());
    let mut validators = reading.validators(&parsed.validator, &mut asking);
    let (mut rules, mut notes) = reading.rules(&parsed.rule, &mut asking);
    reading.fallbacks(&validators, &mut asking, &mut rules, &mut notes);
    let of_rules = rules.iter_mut().map(|rule| &mut rule.when);
    let of_validators = validators.deciding.iter_mut().map(|validator| &mut validator.when);
    for when in of_rules.chain(of_validators) {
        when.link(asking.asked().len(), asking.looked_up().len());
    }
    let windows = WindowsAsked { asked: asking.asked().into(), keys };
    reading.hold_to_memory(&windows);
    let listed = match parsed.listed {
        ListedText::Deny => ListsDecide::Deny,
        ListedText::Rules => ListsDecide::Rules,
    };
    if listed == ListsDecide::Rules {
        reading.hold_to_lists(&rules);
    }
    let mut faults = reading.faults;
    faults.truncate(MAX_FAULTS);
    match zone {
        Some(zone) if faults.is_empty() => Ok(PolicyFile {
            id: PolicyId::of(text.as_bytes()),
            zone,
            rules: Rules {
                rules: rules.into(),
                thresholds,
                segments: segments.into(),
                listed,
                windows,
                lists: asking.looked_up().into(),
                validators: validators.deciding.into(),
            },
            notes,
            services: validators.services,
        }),
        _ => Err(faults),
    }
}

struct Reading<'t> {
    file: File<'t>,
    faults: Vec<PolicyFault>,
}

type Range = std::ops::Range<usize>;

impl Reading<'_> {
    fn fault(&mut self, span: Range, message: impl Into<String>, help: impl Into<String>) {
        let fault = self.file.fault(span, message, help);
        self.faults.push(fault);
    }

    fn zone(&mut self, name: Option<&Spanned<String>>) -> Option<Zone> {
        let named = name.map_or(DEFAULT_ZONE, |name| name.get_ref());
        match time_zone::named(named) {
            Ok(zone) => Some(zone),
            Err(unknown) => {
                let span = name.map_or(0..0, Spanned::span);
                self.fault(
                    span,
                    unknown.to_string(),
                    format!("write {DEFAULT_ZONE:?}, or leave it out"),
                );
                None
            }
        }
    }

    /// Scores of 1 to 1000; one that is left out decides nothing.
    fn thresholds(&mut self, span: Range, texts: ThresholdsText) -> Thresholds {
        let mut threshold = |name: &str, written: Option<i64>, never: u16| match written {
            None => never,
            Some(score) if (1..=MAX_SCORE).contains(&score) => score as u16,
            Some(score) => {
                let help = format!("thresholds are from 1 to {MAX_SCORE}");
                self.fault(span.clone(), format!("{name} from a score of {score}"), help);
                never
            }
        };
        let never = Thresholds::NEVER;
        let thresholds = Thresholds {
            review: threshold("review", texts.review, never.review),
            deny: threshold("deny", texts.deny, never.deny),
        };
        if texts.review.is_some() && thresholds.deny <= thresholds.review {
            self.fault(
                span,
                "nothing is ever reviewed: deny begins there already",
                "deny is above review",
            );
        }
        thresholds
    }

    fn top_thresholds(&mut self, texts: Option<&Spanned<ThresholdsText>>) -> Thresholds {
        texts.map_or(Thresholds::NEVER, |texts| self.thresholds(texts.span(), *texts.get_ref()))
    }

    /// A threshold that a segment leaves out is that of the policy.
    fn segments(
        &mut self,
        texts: &[Spanned<SegmentText>],
        top: Option<&Spanned<ThresholdsText>>,
    ) -> Vec<Segment> {
        let top = top.map(|top| *top.get_ref());
        if let Some(extra) = texts.get(MAX_SEGMENTS) {
            let message =
                format!("the policy has {} segments, at most {MAX_SEGMENTS}", texts.len());
            self.fault(extra.span(), message, "join segments, or remove some");
        }
        let mut segments: Vec<Segment> = Vec::new();
        for spanned in texts {
            let SegmentText { rail, payer_kind, review, deny } = *spanned.get_ref();
            let rail = rail.map(|rail| match rail {
                RailText::Other => Rail::Other,
                RailText::Pix => Rail::Pix,
                RailText::Ted => Rail::Ted,
                RailText::Boleto => Rail::Boleto,
                RailText::Card => Rail::Card,
            });
            let payer_is_cnpj = payer_kind.map(|kind| kind == KindText::Cnpj);
            let has = |of: &Segment| {
                (of.rail.is_none() || of.rail == rail)
                    && (of.payer_is_cnpj.is_none() || of.payer_is_cnpj == payer_is_cnpj)
            };
            if segments.iter().any(has) {
                let message = "an earlier segment has all payments of this one";
                self.fault(spanned.span(), message, "put it before that one, or remove it");
            }
            if rail.is_none() && payer_is_cnpj.is_none() {
                self.fault(
                    spanned.span(),
                    "the segment has every payment",
                    "give it a rail or a payer_kind",
                );
            }
            if review.is_none() && deny.is_none() {
                self.fault(
                    spanned.span(),
                    "the segment has no threshold",
                    "give it review or deny",
                );
            }
            let texts = ThresholdsText {
                review: review.or(top.and_then(|top| top.review)),
                deny: deny.or(top.and_then(|top| top.deny)),
            };
            let thresholds = self.thresholds(spanned.span(), texts);
            segments.push(Segment { rail, payer_is_cnpj, thresholds });
        }
        segments
    }

    /// How many keys windows have, and what nights are, with nothing asked yet.
    fn windows(&mut self, texts: Option<&Spanned<WindowsText>>) -> (u32, Asking) {
        let Some(texts) = texts else { return (DEFAULT_WINDOW_KEYS, Asking::default()) };
        let WindowsText { keys, night_from_hour, night_to_hour } = *texts.get_ref();
        let mut number =
            |name: &str, written: Option<i64>, range: RangeInclusive<i64>, otherwise| {
                let value = written.unwrap_or(otherwise);
                if !range.contains(&value) {
                    let help = format!("{name} is from {} to {}", range.start(), range.end());
                    self.fault(texts.span(), format!("{name} is {value}"), help);
                    return otherwise;
                }
                value
            };
        let most_keys = MAX_KEYS as i64;
        let keys = number("keys", keys, MIN_KEYS as i64..=most_keys, DEFAULT_WINDOW_KEYS.into());
        let (from, to) = DEFAULT_NIGHT;
        let from = number("night_from_hour", night_from_hour, 0..=23, from.into());
        let to = number("night_to_hour", night_to_hour, 0..=24, to.into());
        if from == to {
            let message = "the night ends with the hour in which it begins";
            self.fault(texts.span(), message, "give it another night_to_hour");
            return (keys as u32, Asking::default());
        }
        (keys as u32, Asking::new((from as u8, to as u8)))
    }

    /// The windows of one subject may need no more than an entry has.
    fn hold_to_memory(&mut self, windows: &WindowsAsked) {
        if let Err(fault) = windows.check() {
            self.fault(0..0, fault.to_string(), "ask for fewer values, or for fewer buckets");
        }
    }

    fn rules(
        &mut self,
        texts: &[Spanned<RuleText>],
        asking: &mut Asking,
    ) -> (Vec<Rule>, Vec<RuleNotes>) {
        if texts.is_empty() {
            self.fault(0..0, "the policy has no rule", "begin one with [[rule]]");
        }
        if let Some(extra) = texts.get(MAX_RULES) {
            let message = format!("the policy has {} rules, at most {MAX_RULES}", texts.len());
            self.fault(extra.span(), message, "join rules by ||, or remove some");
        }
        let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut reaches, mut earlier) = (Reaches::default(), Vec::new());
        let (mut rules, mut notes) = (Vec::new(), Vec::new());
        for spanned in texts {
            let text = spanned.get_ref();
            let id = text.id.get_ref();
            self.word(&text.id, "id of a rule", "night-high-amount");
            let (line, ..) = self.file.place(text.id.span().start);
            if let Some(first) = lines.insert(id, line) {
                let message = format!("the id {id} stands in line {first}, too");
                self.fault(text.id.span(), message, "give each rule an id of its own");
            }
            let effect = self.effect(text);
            let days = self.days(text);
            let share_permille = self.share(text);
            if let Some(reason) = &text.reason {
                self.word(&reason.code, "code of a reason", "night-limit");
            }
            match language::compile_into(text.when.get_ref(), asking) {
                Ok(when) => {
                    let rule = Rule { id: id.clone(), when, effect, days, share_permille };
                    let reach = reaches.of(&rule.when);
                    self.hold_to_earlier(rules.iter().zip(&earlier), (&rule, &reach), &text.when);
                    rules.push(rule);
                    earlier.push(reach);
                }
                Err(fault) => {
                    let span = self.file.within(&text.when, fault.span.range());
                    self.fault(span, fault.message, fault.help);
                }
            }
            notes.push(notes_of(text));
        }
        (rules, notes)
    }

    /// A rule that matches only where an earlier one does, and does no more there, settles nothing.
    fn hold_to_earlier<'a>(
        &mut self,
        mut earlier: impl Iterator<Item = (&'a Rule, &'a Reach)> + Clone,
        (rule, reach): (&Rule, &Reach),
        when: &Spanned<String>,
    ) {
        let is_same = |(other, _): &(&Rule, &Reach)| {
            other.when == rule.when
                && other.days == rule.days
                && other.effect.shadow == rule.effect.shadow
                && other.share_permille == rule.share_permille
        };
        let is_shadowed = |(other, reach_of_other): &(&Rule, &Reach)| {
            rule.is_nothing_beside(other) && reach.lies_within(reach_of_other)
        };
        if let Some((other, _)) = earlier.clone().find(is_same) {
            let message = format!("the rule {} has this very condition", other.id);
            let help = "make one rule of both: a score and a verdict can stand together";
            self.fault(when.span(), message, help);
        } else if let Some((other, _)) = earlier.find(is_shadowed) {
            let message = format!(
                "the rule {} matches wherever this one does, and decides as much",
                other.id
            );
            let help = format!(
                "narrow {}, put this rule before it, or give this one a score or a stricter verdict",
                other.id
            );
            self.fault(when.span(), message, help);
        }
    }

    /// Of small letters, digits and hyphens.
    fn word(&mut self, word: &Spanned<String>, what: &str, example: &str) {
        let text = word.get_ref();
        let is_word = (1..=MAX_RULE_ID_LEN).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_word {
            let help = format!("1 to {MAX_RULE_ID_LEN} of a to z, 0 to 9 and -: {example}");
            self.fault(word.span(), format!("{text:?} is no {what}"), help);
        }
    }

    /// Where the lists leave listed parties to the rules, some rule must stop every one of them.
    fn hold_to_lists(&mut self, rules: &[Rule]) {
        for (party, listed) in [("payer", Field::PayerListed), ("payee", Field::PayeeListed)] {
            let stops = |rule: &Rule| {
                matches!(rule.effect.verdict, Some(RuleVerdict::Review | RuleVerdict::Deny))
                    && !rule.effect.shadow
                    && rule.days == EVERY_DAY
                    && rule.share_permille == EVERY_PAYER
                    && rule.when.holds_where(listed)
            };
            if !rules.iter().any(stops) {
                let message =
                    format!("listed = \"rules\", and no rule stops every {party} that is listed");
                let help = format!(
                    "add a rule of {party}.listed that reviews or denies on every day, or leave listed out: then the lists deny"
                );
                self.fault(0..0, message, help);
            }
        }
    }
}

fn notes_of(text: &RuleText) -> RuleNotes {
    let reason = text.reason.as_ref().map(|reason| ReasonNotes {
        code: reason.code.get_ref().clone(),
        pt: reason.pt.clone(),
        en: reason.en.clone(),
    });
    RuleNotes {
        when: text.when.get_ref().trim().to_owned(),
        description: text.description.clone(),
        group: text.group.clone(),
        owner: text.owner.clone(),
        tags: text.tags.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests;
