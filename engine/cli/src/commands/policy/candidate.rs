//! `catraca policy candidate|compare`: a policy that is tried on a running node, beside the one in force.

use super::{file, warnings};
use crate::commands::Outcome;
use crate::commands::connect::Connect;
use crate::commands::log::{time, utc};
use crate::commands::output::{counted, json, print};
use crate::commands::report::{Examples, Fact, Files, Report, Rule, Was, count, moment};
use crate::commands::totals::{matrix_json, money, percent_changed, rules_json, tables};
use catraca_core::log::policies::PolicyId;
use catraca_core::policy::{Cell, RuleTotals, Totals};
use catraca_node::fatal::Failure;
use catraca_node::policy_file::PolicyFile;
use catraca_wire::client::{Comparison, now_ns};
use catraca_wire::frame::PolicyChange;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Until when a policy is tried where nothing is said: two weeks.
const DEFAULT_DAYS: u64 = 14;
const NS_PER_DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

pub const EXAMPLES: &str = "\
Examples:
  catraca policy candidate stricter.toml
  catraca policy candidate stricter.toml --until 2026-12-31
  catraca policy compare stricter.toml                  # what it would have done so far
  catraca policy candidate --end

The policy sees every payment that the node decides, after its answer is on its way, and decides nothing. Under a load that leaves the core
no time payments are left out, and counted. It is not logged: a node that starts, or is promoted, tries none. The credential
needs the permission `admin`.

Exit status: 0 it is tried, 1 nothing changed, 3 something is wrong with the file.";

pub const COMPARE_EXAMPLES: &str = "\
Examples:
  catraca policy compare --addr 127.0.0.1:7400
  catraca policy compare stricter.toml --json          # with the ids of its rules
  catraca policy compare stricter.toml --html comparison.html   # to be read by others

Exit status: 0 told, 1 no policy is tried, or FILE is another one.";

/// Arguments of `candidate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Policy (TOML); on the node's machine
    #[arg(required_unless_present = "end", conflicts_with = "end")]
    file: Option<PathBuf>,
    /// Until when: RFC 3339, or a date, which is its midnight, or date and time, in this machine's zone (TZ) [default: in 14 days]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "end")]
    until: Option<u64>,
    /// Try none any more; tells what came of it
    #[arg(long)]
    end: bool,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `compare`.
#[derive(clap::Args, Debug)]
pub struct CompareArgs {
    /// The policy that is tried (TOML), for the ids of its rules
    file: Option<PathBuf>,
    /// Write the comparison as a page, one file of HTML that needs nothing else
    #[arg(long, value_name = "PAGE")]
    html: Option<PathBuf>,
    /// Write the page's picture alone, as SVG
    #[arg(long, value_name = "PICTURE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `candidate`.
pub fn run(args: &Args) -> Outcome {
    let Some(path) = &args.file else {
        let mut client = args.connect.connect_patiently()?;
        // What came of it is lost behind the end.
        let came = ask(&mut client, &PolicyChange::compare())?;
        let ended = ask(&mut client, &PolicyChange::end_candidate())?;
        if ended.head.changed == 0 {
            return Err(Failure::failed("no policy is tried: nothing changed"));
        }
        return print(&shown(&came, None, args.json), ExitCode::SUCCESS);
    };
    let policy = file::sound(path)?;
    warnings::say(path, &policy);
    let until_ns = args.until.unwrap_or_else(|| now_ns() + DEFAULT_DAYS * NS_PER_DAY);
    // The node has another working directory.
    let path = std::path::absolute(path)
        .map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let path = path.to_str().ok_or_else(|| Failure::failed("the path must be UTF-8"))?;
    let change = PolicyChange::candidate(path, policy.id.0, until_ns)
        .map_err(|e| Failure::failed(e.to_string()))?;
    let came = ask(&mut args.connect.connect_patiently()?, &change)?;
    print(&shown(&came, Some(&policy), args.json), ExitCode::SUCCESS)
}

/// Runs `compare`.
pub fn compare(args: &CompareArgs) -> Outcome {
    let file = args.file.as_deref().map(file::sound).transpose()?;
    let (page, picture) = (args.html.as_deref(), args.svg.as_deref());
    let files = Files::begin(page, picture, args.file.as_deref())?;
    let came = ask(&mut args.connect.connect()?, &PolicyChange::compare())?;
    if came.head.policy_id == [0; 32] {
        return Err(Failure::failed(
            "no policy is tried; begin with `catraca policy candidate FILE`",
        ));
    }
    if file.as_ref().is_some_and(|file| file.id.0 != came.head.policy_id) {
        let why =
            format!("another policy is tried than this one: {}", PolicyId(came.head.policy_id));
        return Err(Failure::failed(why));
    }
    if !files.is_empty() {
        let name = args.file.as_deref().and_then(Path::file_name);
        let name = name.map(|name| name.to_string_lossy().into_owned());
        let totals = totals_of(&came);
        files.write(&report(&came, &totals, name, file.as_ref(), now_ns()))?;
    }
    print(&shown(&came, file.as_ref(), args.json), ExitCode::SUCCESS)
}

fn ask(
    client: &mut catraca_wire::client::Client,
    change: &PolicyChange,
) -> Result<Comparison, Failure> {
    client.candidate(change).map_err(|e| Failure::failed(format!("nothing changed: {e}")))
}

fn totals_of(came: &Comparison) -> Totals {
    let cell = |count, centavos: u64| Cell { count, centavos: centavos.into() };
    let rules = came.rules.iter().map(|rule| RuleTotals {
        matched: cell(rule.matched, rule.matched_centavos),
        changed: cell(rule.changed, rule.changed_centavos),
        settled: rule.settled,
        without_result: rule.without_result,
    });
    Totals {
        matrix: came.matrix.map(|row| row.map(|of| cell(of.count, of.centavos))),
        rules: rules.collect(),
    }
}

/// What the page is told; the same at any time, but for when it was made (nanoseconds since 1970 UTC).
fn report<'a>(
    came: &Comparison,
    totals: &'a Totals,
    name: Option<String>,
    file: Option<&'a PolicyFile>,
    made_at_ns: u64,
) -> Report<'a> {
    let (head, id) = (&came.head, PolicyId(came.head.policy_id));
    let mut facts = vec![
        ("Its id", Fact::Own(id.to_string())),
        (
            "Tried",
            Fact::Own(format!("since {}, until {}", moment(head.since_ns), moment(head.until_ns))),
        ),
        ("Payments", Fact::Own(count(totals.payments()))),
    ];
    if let Some(name) = &name {
        facts.insert(0, ("Policy", Fact::Given(name.clone())));
    }
    let left_out = match head.left_out {
        0 => "No payment was left out.".to_owned(),
        left_out => format!(
            "{}, {}, {} left out for want of time.",
            counted(left_out, "payment", "payments"),
            money(&Cell { count: left_out, centavos: head.left_out_centavos.into() }),
            if left_out == 1 { "was" } else { "were" },
        ),
    };
    Report {
        was: Was::InForce,
        name: name.unwrap_or_else(|| "the policy that is tried".to_owned()),
        facts,
        totals,
        payers_affected: None,
        rules: Rule::all(file, totals),
        examples: Examples::NotKept,
        truth: None,
        remarks: vec![
            left_out,
            "Its windows of time are its own, and see every payment with the verdict that was given."
                .to_owned(),
        ],
        made_at_ns,
    }
}

fn shown(came: &Comparison, file: Option<&PolicyFile>, as_json: bool) -> String {
    let totals = totals_of(came);
    let ids: Vec<String> = match file {
        Some(file) => file.rules.rules.iter().map(|rule| rule.id.clone()).collect(),
        None => (1..=totals.rules.len()).map(|number| format!("rule {number}")).collect(),
    };
    let ids = || ids.iter().map(String::as_str);
    let (head, id) = (&came.head, PolicyId(came.head.policy_id));
    if as_json {
        return json(&json!({
            "policy_id": id.to_string(),
            "since": utc(head.since_ns),
            "until": utc(head.until_ns),
            "payments": totals.payments(),
            "changed": totals.changed(),
            "changed_percent": percent_changed(&totals),
            "left_out": head.left_out,
            "left_out_centavos": head.left_out_centavos,
            "matrix": matrix_json(&totals.matrix),
            "rules": rules_json(ids(), &totals),
        }));
    }
    let left_out = match head.left_out {
        0 => String::new(),
        count => {
            format!(
                "; {} left out for want of time",
                counted(count, "payment was", "payments were")
            )
        }
    };
    if totals.payments() == 0 && head.left_out == 0 {
        let until = utc(head.until_ns);
        return format!(
            "tried {id}\n      since {}, until {until}; no payment so far\n",
            utc(head.since_ns)
        );
    }
    format!(
        "tried {id}\n      since {}, until {}\n{}{left_out}\n",
        utc(head.since_ns),
        utc(head.until_ns),
        tables("in force", ids(), &totals)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::{ComparisonCell, ComparisonHeadFields, ComparisonRule};

    #[test]
    fn a_comparison_is_written_as_a_page_with_or_without_the_policy() {
        let cell = ComparisonCell { count: 2, centavos: 500 };
        let fields: ComparisonHeadFields = bytemuck::Zeroable::zeroed();
        let mut came = Comparison {
            head: (&fields).into(),
            matrix: [[cell; 3]; 3],
            rules: vec![ComparisonRule {
                matched: 3,
                matched_centavos: 700,
                changed: 1,
                changed_centavos: 200,
                settled: 1,
                without_result: 0,
            }],
        };
        (came.head.policy_id, came.head.left_out, came.head.left_out_centavos) = ([7; 32], 4, 900);
        let text =
            "[[rule]]\nid = \"a\"\ndescription = \"<b>\"\nwhen = \"true\"\nverdict = \"deny\"\n";
        let policy = catraca_node::policy_file::parse(text).expect("sound");
        let dir = tempfile::tempdir().expect("a folder");
        let page = |name: Option<&str>, file| {
            let path = dir.path().join("a.html");
            let files = Files::begin(Some(&path), None, None).expect("writable");
            let totals = totals_of(&came);
            let report = report(&came, &totals, name.map(str::to_owned), file, 0);
            files.write(&report).expect("writable");
            std::fs::read_to_string(path).expect("written")
        };
        let named = page(Some("<new>.toml"), Some(&policy));
        for told in [
            "<h1>What &lt;new&gt;.toml would change</h1>",
            "<dt>Payments</dt><dd>18</dd>",
            "a<br/><small>&lt;b&gt;</small></th><td>score +0, deny</td>",
            "4 payments, R$ 9,00, were left out for want of time.",
            "Made on 1970-01-01 00:00:00 UTC",
        ] {
            assert!(named.contains(told), "{told}\n{named}");
        }
        let unnamed = page(None, None);
        assert!(
            unnamed.contains("<h1>What the policy that is tried would change</h1>"),
            "{unnamed}"
        );
        assert!(
            unnamed.contains("<th scope=\"row\">rule 1</th>") && !unnamed.contains("<dt>Policy")
        );
    }
}
