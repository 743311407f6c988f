//! A report to test with, and a reader of markup that is stricter than a browser.

use super::{Examples, Fact, Report, Rule, Was};
use catraca_core::policy::{Cell, Matrix, RuleTotals, Totals};
use catraca_node::log_files::lookup::StoredLabel;
use catraca_node::replay::{Changed, Labels, Truth};
use catraca_wire::extension::{Label, LabelSource};
use catraca_wire::frame::{LabelKind, Verdict};

/// 2026-11-23T12:00:00Z.
pub const NOON_NS: u64 = 1_795_435_200_000_000_000;
/// What would do harm where it is not escaped.
pub const HOSTILE: &str = "</title></style><script>alert('x')</script>\" onload=\"y";

/// 1040 payments, of which 40 change.
pub fn totals() -> Totals {
    let cell = |count, reais: i128| Cell { count, centavos: reais * 100 };
    let rule = |matched, changed| RuleTotals {
        matched: cell(matched, 10 * i128::from(matched)),
        changed: cell(changed, 10 * i128::from(changed)),
        settled: changed,
        without_result: 0,
    };
    Totals {
        matrix: [
            [cell(980, 9_800), cell(30, 300), cell(3, 30)],
            [cell(0, 0), cell(0, 0), cell(2, 5)],
            [cell(5, 100), cell(0, 0), cell(20, 200)],
        ],
        rules: vec![rule(50, 3), rule(1_040, 0), rule(33, 30)],
    }
}

/// Hands out a report whose texts are all hostile.
pub fn with_report(test: impl FnOnce(&mut Report<'_>)) {
    with_report_of(&totals().matrix, test);
}

/// The same, of another matrix.
pub fn with_report_of(matrix: &Matrix, test: impl FnOnce(&mut Report<'_>)) {
    let totals = Totals { matrix: *matrix, ..totals() };
    let examples = [Changed {
        transaction_id: format!("529.982.247-25 {HOSTILE}"),
        amount_centavos: 123_456,
        from: Verdict::Approve,
        to: Verdict::Deny,
        rules: vec![format!("few{HOSTILE}"), "many".to_owned()],
    }];
    let rule = |at: usize, id: &str| Rule {
        id: format!("{id}{HOSTILE}"),
        description: HOSTILE,
        effect: "score +5".to_owned(),
        totals: totals.rules[at],
    };
    let label = StoredLabel {
        label: Label {
            kind: LabelKind::Chargeback,
            known_at_ns: NOON_NS,
            source: LabelSource::parse("visa").expect("sound"),
            shard: 0,
            lsn: 1,
        },
        lsn: 1,
        logged_at_ns: NOON_NS,
        id: [b'a'; 32],
        payer: [b'1'; 14],
    };
    let labels = Labels { kept: vec![label], ..Labels::default() };
    let mut truth = Truth::new(&labels, None).expect("there is a label");
    truth.candidate.denied.true_positives = 2;
    truth.candidate.denied.false_positives = 1;
    truth.skipped.not_mature = 7;
    test(&mut Report {
        was: Was::Recorded,
        name: format!("new{HOSTILE}.toml"),
        facts: vec![("Log", Fact::Given(format!("/data/{HOSTILE}")))],
        totals: &totals,
        payers_affected: Some(31),
        rules: vec![rule(0, "few"), rule(1, "none"), rule(2, "most")],
        examples: Examples::First(&examples),
        truth: Some(&truth),
        remarks: vec![format!("Left out: {HOSTILE}")],
        made_at_ns: NOON_NS,
    });
}

/// Reads markup as XML: every element ends in its turn, every attribute is quoted and is there once, and
/// what stands between is escaped. Gives the names of the elements.
///
/// # Panics
/// It is not well-formed.
pub fn read(markup: &str) -> Vec<String> {
    let (mut open, mut names) = (Vec::new(), Vec::new());
    let mut rest = markup.strip_prefix("<!DOCTYPE html>").unwrap_or(markup);
    if let Some(behind) = rest.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>") {
        rest = behind;
    }
    while let Some((text, behind)) = rest.split_once('<') {
        sound_text(text);
        assert!(!open.is_empty() || text.trim().is_empty(), "text outside of the root: {text}");
        let (tag, after) = behind.split_once('>').expect("a tag ends");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "what is open ends");
            continue;
        }
        let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "a name: {name}");
        assert!(!(names.is_empty() && open.is_empty() && is_empty), "the root has content");
        assert!(names.is_empty() || !open.is_empty(), "one root");
        sound_attributes(attributes);
        names.push(name.to_owned());
        if !is_empty {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "still open: {open:?}, {rest}");
    names
}

fn sound_attributes(attributes: &str) {
    let (mut rest, mut seen) = (attributes.trim(), Vec::new());
    while let Some((name, behind)) = rest.split_once('=') {
        let behind = behind.strip_prefix('"').expect("a quoted value");
        let (value, after) = behind.split_once('"').expect("the value ends");
        assert!(!seen.contains(&name), "{name} twice");
        assert!(
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == ':'),
            "{name} in {attributes}"
        );
        assert!(!name.starts_with("on"), "a handler: {name}");
        assert!(after.is_empty() || after.starts_with([' ', '\n']), "{attributes}");
        sound_text(value);
        seen.push(name);
        rest = after.trim_start();
    }
    assert!(rest.is_empty(), "an attribute without a value: {attributes}");
}

fn sound_text(text: &str) {
    for entity in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        assert!(known.iter().any(|known| entity.starts_with(known)), "an entity: {entity}");
    }
    assert!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')), "{text:?}");
}

#[test]
fn the_reader_finds_what_is_not_well_formed() {
    assert_eq!(read("<a b=\"c\"><d/>e &amp; f</a>"), ["a", "d"]);
    for wrong in ["<a>", "<a></b>", "<a b=c></a>", "<a b></a>", "<a>&b</a>", "<a></a><b></b>"] {
        assert!(std::panic::catch_unwind(|| read(wrong)).is_err(), "{wrong}");
    }
}
