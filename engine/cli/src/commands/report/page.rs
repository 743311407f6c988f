//! The page: one file of HTML that loads nothing and runs nothing, on a screen and on paper. It is written so
//! that it is XML as well.

use super::escape::{Escaped, Shown};
use super::words::{moment, summary};
use super::{Fact, Report, picture, tables};
use std::fmt::{self, Write};

/// Holds a browser to it, should anything ever come through unescaped.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'nonce-comparison'; base-uri 'none'; form-action 'none'";

/// Light and dark; paper is light, and neither a row nor a table that fits on a sheet is torn between two.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d232b;--dim:#59636e;--ground:#fff;--line:#cfd5dc;--stricter:#fbe6d9;--looser:#e0ecfb}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--dim:#a5b0bc;--ground:#14181d;--line:#3a434d;--stricter:#44220f;--looser:#112c4b}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;line-height:1.25;overflow-wrap:anywhere}h2{font-size:1.2rem;margin-top:2.2rem}
.summary{font-size:1.1rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}small,caption,footer{color:var(--dim)}
figure{margin:1rem 0}svg{max-width:100%;height:auto}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}caption{text-align:left;padding:.3rem 0}
th,td{border-bottom:1px solid var(--line);padding:.4rem .6rem;text-align:left;vertical-align:top}
small{font-weight:normal}th{overflow-wrap:anywhere;min-width:5rem}th[scope=row]{min-width:7rem}td.change{white-space:nowrap}th.number{text-align:right}td.number,td.stricter,td.looser{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.stricter{background:var(--stricter);outline:2px solid #a8430d;outline-offset:-3px}
td.looser{background:var(--looser);outline:2px dashed #1257a8;outline-offset:-3px}
@media print{:root{color-scheme:light}body{max-width:none;margin:0;font-size:10pt}.wide{overflow:visible}figure,tr,.wide{break-inside:avoid}h2{break-after:avoid}td.stricter,td.looser,svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
";

/// The page of a comparison.
pub fn page(report: &Report<'_>) -> String {
    let mut out = String::new();
    write(&mut out, report).expect("writing to a string can't fail");
    out
}

fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let title = format!("What {} would change", report.name);
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style nonce=\"comparison\">{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p class=\"summary\">{}</p>",
        Escaped(CONTENT_POLICY),
        Escaped(&summary(report)),
        title = Shown(&title),
    )?;
    facts(out, report)?;
    section(out, "Verdicts before and after")?;
    writeln!(out, "<figure>\n{}</figure>", picture::element(report))?;
    tables::matrix(out, report)?;
    out.write_str(
        "<p>Stricter is towards deny, looser towards approve. A share is of all payments compared.</p>\n</section>\n",
    )?;
    section(out, "By rule")?;
    tables::rules(out, report)?;
    out.write_str(
        "<p>A payment that several rules match is counted for each of them. A rule in shadow is counted and decides nothing.</p>\n</section>\n",
    )?;
    section(out, "Payments that would change")?;
    tables::examples(out, report)?;
    out.write_str("</section>\n")?;
    section(out, "Fraud found")?;
    match report.truth {
        Some(truth) => tables::truth(out, truth)?,
        None => {
            out.write_str("<p>Nothing is known of these payments here: there are no labels.</p>\n")?
        }
    }
    out.write_str("</section>\n")?;
    section(out, "What to keep in mind")?;
    out.write_str("<ul>\n")?;
    for remark in &report.remarks {
        writeln!(out, "<li>{}</li>", Shown(remark))?;
    }
    writeln!(
        out,
        "</ul>\n</section>\n</main>\n<footer><p>Made on {} by catraca {}. Documents of payers and payees are not on this page.</p></footer>\n</body>\n</html>",
        moment(report.made_at_ns),
        env!("CARGO_PKG_VERSION"),
    )
}

fn section(out: &mut String, heading: &str) -> fmt::Result {
    writeln!(out, "<section>\n<h2>{heading}</h2>")
}

fn facts(out: &mut String, report: &Report<'_>) -> fmt::Result {
    out.write_str("<dl>\n")?;
    for (name, value) in &report.facts {
        write!(out, "<dt>{}</dt>", Escaped(name))?;
        match value {
            Fact::Own(value) => writeln!(out, "<dd>{}</dd>", Escaped(value))?,
            Fact::Given(value) => writeln!(out, "<dd>{}</dd>", Shown(value))?,
        }
    }
    out.write_str("</dl>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::report::Examples;
    use crate::commands::report::testing::{NOON_NS, read, with_report};

    #[test]
    fn whatever_the_texts_are_the_page_is_well_formed_and_runs_nothing() {
        with_report(|report| {
            let page = page(report);
            let names = read(&page);
            for name in ["script", "link", "img", "iframe", "object", "form", "a", "use", "image"] {
                assert!(!names.iter().any(|found| found == name), "{name}");
            }
            let times = |name: &str| names.iter().filter(|found| *found == name).count();
            assert_eq!((times("svg"), times("table"), times("h1")), (1, 4, 1));
            for outside in ["url(http", "@import", "src=", "href="] {
                assert!(!page.contains(outside), "{outside}");
            }
            assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
            assert!(!page.contains("52998224725") && !page.contains("529.982"), "a document");
            assert!(page.contains("<code>***.982.247-** &lt;/title&gt;"));
        });
    }

    #[test]
    fn the_page_says_what_was_compared_and_what_came_of_it() {
        with_report(|report| {
            report.name = "stricter.toml".to_owned();
            report.facts = vec![("Policy", Fact::Own("stricter.toml, id abc".to_owned()))];
            let page = page(report);
            for told in [
                "<title>What stricter.toml would change</title>",
                "<h1>What stricter.toml would change</h1>",
                "<dt>Policy</dt><dd>stricter.toml, id abc</dd>",
                "Of 1\u{202f}040 payments (R$ 10.435,00) the policy would give another verdict to 40",
                "<td class=\"stricter\"><b>30</b> (2.88 %)<br/>R$ 300,00<br/><small>▲ stricter</small></td>",
                "<td class=\"looser\"><b>5</b> (0.48 %)<br/>R$ 100,00<br/><small>▼ looser</small></td>",
                "<td class=\"number\"><b>980</b> (94.23 %)<br/>R$ 9.800,00<br/><small>unchanged</small></td>",
                "The first 1 of 40 payments that would change",
                "<td class=\"number\">R$ 1.234,56</td><td class=\"change\">approve → deny<br/><small>▲ stricter</small></td>",
                "<th scope=\"row\">candidate: denied</th><td class=\"number\"><b>66.6 %</b></td>",
                "label counts; skipped: 7 not mature.",
                "<li>Left out: &lt;/title&gt;",
                "Made on 2026-11-23 12:00:00 UTC by catraca",
            ] {
                assert!(page.contains(told), "{told}\n{page}");
            }
            let row = |id: &str| page.find(&format!("<th scope=\"row\">{id}")).expect("a row");
            assert!(row("few") < row("none") && row("none") < row("most"));
        });
    }

    #[test]
    fn the_same_report_is_the_same_page_but_for_its_date() {
        with_report(|report| {
            let first = page(report);
            assert_eq!(first, page(report));
            report.made_at_ns = NOON_NS + 1_000_000_000;
            let later = page(report);
            let differing: Vec<_> =
                first.lines().zip(later.lines()).filter(|(a, b)| a != b).collect();
            assert!(
                matches!(differing[..], [(a, _)] if a.starts_with("<footer>")),
                "{differing:?}"
            );
        });
    }

    #[test]
    fn what_a_node_tells_makes_a_page_too() {
        with_report(|report| {
            report.was = crate::commands::report::Was::InForce;
            (report.truth, report.examples) = (None, Examples::NotKept);
            report.payers_affected = None;
            let page = page(report);
            read(&page);
            assert!(page.contains("Verdict in force") && page.contains("there are no labels"));
            assert!(!page.contains("31 payers") && page.contains("keeps none"));
            assert!(!page.contains("recorded verdict"));
        });
    }
}
