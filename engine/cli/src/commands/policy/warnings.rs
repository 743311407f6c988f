//! What of a sound policy does nothing, though somebody wrote it to do something.

use crate::commands::output::note;
use catraca_core::policy::Thresholds;
use catraca_node::policy_file::PolicyFile;
use std::path::Path;

/// All of it, a sentence each.
pub(super) fn of(policy: &PolicyFile) -> Vec<String> {
    let rules = &policy.rules.rules;
    // Rules in shadow count: they are to have an effect one day.
    let reachable: i64 = rules.iter().map(|rule| rule.effect.score.max(0)).sum();
    let has_scores = rules.iter().any(|rule| rule.effect.score != 0);
    let segments = policy.rules.segments.iter().map(|segment| segment.thresholds);
    let thresholds = segments.chain([policy.rules.thresholds]);
    let lowest = thresholds
        .filter(|of| *of != Thresholds::NEVER)
        .map(|of| i64::from(of.review.min(of.deny)))
        .min();
    let warning = match lowest {
        None if has_scores => {
            "rules have scores, and no threshold makes a verdict of a score: write thresholds = { review = …, deny = … }"
                .to_owned()
        }
        Some(_) if reachable == 0 => {
            "there are thresholds, and no rule adds to the score: no score decides anything".to_owned()
        }
        Some(lowest) if reachable < lowest => format!(
            "all scores together come to {reachable}, and the lowest threshold is {lowest}: no score decides anything"
        ),
        _ => return Vec::new(),
    };
    vec![warning]
}

/// Says them beside what a command prints.
pub(in crate::commands) fn say(path: &Path, policy: &PolicyFile) {
    for warning in of(policy) {
        note(&format!("{}: warning: {warning}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_node::policy_file::parse;

    #[test]
    fn scores_that_decide_nothing_are_told() {
        let rule = |id: &str, effect: &str| {
            format!("[[rule]]\nid = '{id}'\nwhen = 'tx.hour > {}'\n{effect}\n", id.len())
        };
        let (score, less) = (rule("a", "score = 300"), rule("bb", "score = -200"));
        let verdict = rule("ccc", "verdict = 'review'");
        let shadow = rule("dddd", "score = 150\nshadow = true");
        let review = |at: u16| format!("thresholds = {{ review = {at} }}\n");
        let segment = "segment = [{ rail = 'pix', deny = 350 }]\n".to_owned();
        for (parts, told) in [
            (vec![verdict.clone()], None),
            (vec![score.clone()], Some("no threshold makes a verdict")),
            (vec![less.clone()], Some("no threshold makes a verdict")),
            (vec![review(300), score.clone(), less.clone()], None),
            (vec![review(301), score.clone(), less.clone()], Some("come to 300, and the lowest")),
            (vec![review(301), score.clone(), shadow.clone()], None),
            (vec![review(300), verdict.clone(), less.clone()], Some("no rule adds to the score")),
            (vec![segment.clone(), score.clone()], Some("the lowest threshold is 350")),
            (vec![review(300), segment, score.clone()], None),
        ] {
            let text = parts.concat();
            let policy = parse(&text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
            let warnings = of(&policy);
            assert_eq!(warnings.len(), usize::from(told.is_some()), "{text}: {warnings:?}");
            let said = warnings.first().map_or("", String::as_str);
            assert!(said.contains(told.unwrap_or_default()), "{text}: {said}");
        }
    }
}
