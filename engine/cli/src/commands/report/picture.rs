//! The picture: verdicts before and after, and what goes from one to another, to scale. What is told by colour
//! is told by a pattern, a number and a text as well.

use super::Report;
use super::escape::{Escaped, Shown};
use super::words::{Change, Flow, changes, count, flows, payments, share, sum, summary};
use crate::commands::totals::{NAMES, money};
use catraca_core::policy::Cell;
use std::fmt::{self, Write};

// Lengths are units of the picture, as wide as pixels where it is not scaled.

const WIDTH: f64 = 860.0;
/// Where the bars stand, from the left; between them and the edges is room for the longest sum of reais.
const LEFT: f64 = 230.0;
const RIGHT: f64 = WIDTH - LEFT;
const BAR_WIDTH: f64 = 16.0;
/// Where the bars begin, below the headings.
const TOP: f64 = 56.0;
/// All payments.
const ALL_HEIGHT: f64 = 280.0;
/// Between two bars: the three lines beside a bar fit, though the bar is empty.
const GAP: f64 = 60.0;
const LINE_HEIGHT: f64 = 17.0;
/// Where there is any payment there is something to see.
const LEAST_HEIGHT: f64 = 1.5;
/// Of the number on a change.
const TAG_RADIUS: f64 = 9.0;
/// Of an entry of the list of changes.
const ENTRY_HEIGHT: f64 = 26.0;

/// Colours for light and dark; paper is light.
const STYLE: &str = "\
.cp{font:13px system-ui,sans-serif}.cp text{fill:#1d232b}.cp .head{font-weight:600}.cp .dim{fill:#59636e}\
.cp .ground{fill:#fff}.cp .bar{fill:#59636e}.cp .empty{stroke:#59636e;stroke-dasharray:2 2}\
.cp .unchanged{fill:#d7dce2;fill-opacity:.6}\
.cp .stricter{fill:url(#cp-stricter);stroke:#a8430d}.cp .looser{fill:url(#cp-looser);stroke:#1257a8;stroke-dasharray:5 2}\
.cp .s-ground{fill:#f4c9ae}.cp .s-line{stroke:#a8430d}.cp .l-ground{fill:#bcd6f5}.cp .l-dot{fill:#1257a8}\
.cp .tag{fill:#fff;stroke:#1d232b}.cp .number{font-size:12px;font-weight:600;text-anchor:middle}\
@media screen and (prefers-color-scheme:dark){.cp text{fill:#e6e9ed}.cp .dim{fill:#a5b0bc}.cp .ground{fill:#14181d}\
.cp .bar{fill:#a5b0bc}.cp .empty{stroke:#a5b0bc}.cp .unchanged{fill:#3a434d}\
.cp .stricter{stroke:#f0935a}.cp .looser{stroke:#74b0f5}.cp .s-ground{fill:#5a2a10}.cp .s-line{stroke:#f0935a}\
.cp .l-ground{fill:#12365f}.cp .l-dot{fill:#74b0f5}.cp .tag{fill:#14181d;stroke:#e6e9ed}}";

/// Stripes towards deny, dots towards approve.
const PATTERNS: &str = "\
<defs><pattern id=\"cp-stricter\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect class=\"s-ground\" width=\"7\" height=\"7\"/><line class=\"s-line\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"7\" stroke-width=\"3\"/></pattern>\
<pattern id=\"cp-looser\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">\
<rect class=\"l-ground\" width=\"8\" height=\"8\"/><circle class=\"l-dot\" cx=\"4\" cy=\"4\" r=\"1.8\"/></pattern></defs>\n";

/// The picture as a file of its own.
pub fn file(report: &Report<'_>) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", element(report))
}

/// The picture as an element of a page.
pub fn element(report: &Report<'_>) -> String {
    let mut svg = String::new();
    write(&mut svg, report).expect("writing to a string can't fail");
    svg
}

/// A flow with its place: the upper ends at both sides, and how thick it is.
struct Placed {
    flow: Flow,
    from_y: f64,
    to_y: f64,
    height: f64,
}

/// Bars of one side: where they begin, and how high they are.
type Bars = [(f64, f64); 3];

fn write(svg: &mut String, report: &Report<'_>) -> fmt::Result {
    let changes = changes(&report.totals.matrix);
    let list_top = TOP + ALL_HEIGHT + 2.0 * GAP + 66.0;
    let height = list_top + ENTRY_HEIGHT * changes.len().max(1) as f64 + 24.0;
    writeln!(
        svg,
        "<svg class=\"cp\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"cp-title cp-desc\">"
    )?;
    let name = format!("Verdicts before and after: {}", report.name);
    writeln!(svg, "<title id=\"cp-title\">{}</title>", Shown(&name))?;
    let told: Vec<_> = flows(&report.totals.matrix).iter().map(|flow| told(flow, report)).collect();
    let description = format!("{} {}", summary(report), told.join("; "));
    writeln!(svg, "<desc id=\"cp-desc\">{}</desc>", Escaped(description.trim()))?;
    writeln!(svg, "<style nonce=\"comparison\">{STYLE}</style>")?;
    svg.write_str(PATTERNS)?;
    writeln!(svg, "<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>")?;
    let (placed, before, after) = place(report);
    let is_changed = |placed: &&Placed| placed.flow.change() != Change::None;
    for placed in placed.iter().filter(|placed| !is_changed(placed)) {
        ribbon(svg, placed, report)?;
    }
    for placed in placed.iter().filter(is_changed) {
        ribbon(svg, placed, report)?;
    }
    side(svg, report, true, &before)?;
    side(svg, report, false, &after)?;
    for (number, change) in changes.iter().enumerate() {
        let is_it =
            |placed: &&Placed| placed.flow.from == change.from && placed.flow.to == change.to;
        if let Some(placed) = placed.iter().find(is_it) {
            let (x, y) = middle(placed, number);
            tag(svg, x, y, number)?;
        }
    }
    list(svg, report, &changes, list_top)?;
    svg.write_str("</svg>\n")
}

/// What a flow is, in words.
fn told(flow: &Flow, report: &Report<'_>) -> String {
    format!(
        "{}, {}: {} ({}), {}",
        flow.name(),
        flow.change().name(),
        payments(flow.cell.count),
        share(flow.cell.count, report.totals.payments()),
        money(&flow.cell),
    )
}

fn place(report: &Report<'_>) -> (Vec<Placed>, Bars, Bars) {
    let all = report.totals.payments().max(1) as f64;
    let height = |cell: &Cell| match cell.count {
        0 => 0.0,
        count => (count as f64 / all * ALL_HEIGHT).max(LEAST_HEIGHT),
    };
    let heights = report.totals.matrix.map(|row| row.map(|cell| height(&cell)));
    let bars = |height_of: &dyn Fn(usize) -> f64| {
        let mut top = TOP;
        [0, 1, 2].map(|at| {
            let bar = (top, height_of(at));
            top += bar.1 + GAP;
            bar
        })
    };
    let before = bars(&|from| heights[from].iter().sum());
    let after = bars(&|to| heights.iter().map(|row| row[to]).sum());
    let placed = flows(&report.totals.matrix).into_iter().map(|flow| Placed {
        from_y: before[flow.from].0 + heights[flow.from][..flow.to].iter().sum::<f64>(),
        to_y: after[flow.to].0 + heights[..flow.from].iter().map(|row| row[flow.to]).sum::<f64>(),
        height: heights[flow.from][flow.to],
        flow,
    });
    (placed.collect(), before, after)
}

fn ribbon(svg: &mut String, placed: &Placed, report: &Report<'_>) -> fmt::Result {
    let Placed { flow, from_y, to_y, height } = placed;
    let (left, right) = (LEFT + BAR_WIDTH, RIGHT - BAR_WIDTH);
    let bend = f64::midpoint(left, right);
    writeln!(
        svg,
        "<path class=\"{}\" d=\"M{left:.1} {from_y:.1}C{bend:.1} {from_y:.1} {bend:.1} {to_y:.1} {right:.1} {to_y:.1}V{:.1}C{bend:.1} {:.1} {bend:.1} {:.1} {left:.1} {:.1}Z\"><title>{}</title></path>",
        flow.change().name(),
        to_y + height,
        to_y + height,
        from_y + height,
        from_y + height,
        Escaped(&told(flow, report)),
    )
}

/// A place on a change; each number has its own distance from the left, so that no two meet.
fn middle(placed: &Placed, number: usize) -> (f64, f64) {
    let (left, right) = (LEFT + BAR_WIDTH, RIGHT - BAR_WIDTH);
    // A Bézier curve whose inner points are halfway.
    let t = 0.2 + 0.12 * number as f64;
    let x = left + (right - left) * (1.5 * t * (1.0 - t) + t.powi(3));
    let y = placed.from_y + (placed.to_y - placed.from_y) * t * t * (3.0 - 2.0 * t);
    (x, y + placed.height / 2.0)
}

fn tag(svg: &mut String, x: f64, y: f64, number: usize) -> fmt::Result {
    writeln!(
        svg,
        "<circle class=\"tag\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{TAG_RADIUS}\"/><text class=\"number\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
        y + 4.0,
        number + 1,
    )
}

/// The bars of one side, with their heading and what they are beside them.
fn side(svg: &mut String, report: &Report<'_>, is_before: bool, bars: &Bars) -> fmt::Result {
    let (bar_x, text_x, anchor, heading) = if is_before {
        (LEFT, LEFT - 12.0, "end", report.was.heading())
    } else {
        (RIGHT - BAR_WIDTH, RIGHT + 12.0, "start", "With this policy")
    };
    writeln!(
        svg,
        "<text class=\"head\" x=\"{text_x}\" y=\"24\" text-anchor=\"{anchor}\">{heading}</text>"
    )?;
    let matrix = &report.totals.matrix;
    for (at, &(top, height)) in bars.iter().enumerate() {
        let cell = sum(matrix, |from, to| at == if is_before { from } else { to });
        if cell.count == 0 {
            let end = bar_x + BAR_WIDTH;
            writeln!(
                svg,
                "<line class=\"empty\" x1=\"{bar_x}\" y1=\"{top:.1}\" x2=\"{end}\" y2=\"{top:.1}\"/>"
            )?;
        } else {
            writeln!(
                svg,
                "<rect class=\"bar\" x=\"{bar_x}\" y=\"{top:.1}\" width=\"{BAR_WIDTH}\" height=\"{height:.1}\"/>"
            )?;
        }
        let of_all = share(cell.count, report.totals.payments());
        let lines = [
            ("head", NAMES[at].to_owned()),
            ("", format!("{}  ({of_all})", count(cell.count))),
            ("dim", money(&cell)),
        ];
        let mut y = top + height / 2.0 - LINE_HEIGHT + 5.0;
        for (class, line) in lines {
            writeln!(
                svg,
                "<text class=\"{class}\" x=\"{text_x}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
                Escaped(&line)
            )?;
            y += LINE_HEIGHT;
        }
    }
    Ok(())
}

fn list(svg: &mut String, report: &Report<'_>, changes: &[Flow], top: f64) -> fmt::Result {
    let text = |svg: &mut String, x: f64, y: f64, class: &str, text: &str| {
        writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", Escaped(text))
    };
    if changes.is_empty() {
        return text(svg, 24.0, top, "", "No verdict would change.");
    }
    for (number, change) in changes.iter().enumerate() {
        let y = top + ENTRY_HEIGHT * number as f64;
        tag(svg, 33.0, y - 4.0, number)?;
        writeln!(
            svg,
            "<rect class=\"{}\" x=\"54\" y=\"{}\" width=\"34\" height=\"14\"/>",
            change.change().name(),
            y - 11.0
        )?;
        text(svg, 100.0, y, "", &told(change, report))?;
    }
    let y = top + ENTRY_HEIGHT * changes.len() as f64;
    text(
        svg,
        24.0,
        y,
        "dim",
        "Heights are numbers of payments; what is too thin to be seen is drawn thicker.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::report::testing::{read, with_report, with_report_of};
    use catraca_core::policy::Matrix;

    #[test]
    fn the_picture_is_well_formed_and_says_everything_in_words() {
        with_report(|report| {
            let svg = file(report);
            let names = read(&svg);
            assert_eq!(names[..3], ["svg", "title", "desc"]);
            let times = |name: &str| names.iter().filter(|found| *found == name).count();
            assert_eq!((times("path"), times("script")), (6, 0), "two unchanged, four changes");
            assert_eq!(times("rect"), 2 + 1 + 6 + 4, "patterns, ground, bars, list");
            assert_eq!(svg.matches("class=\"tag\"").count(), 8, "on the changes, and in the list");
            for told in [
                "approve → review, stricter: 30 payments (2.88 %), R$ 300,00",
                "deny → approve, looser: 5 payments (0.48 %), R$ 100,00",
            ] {
                // In the description, on the ribbon, in the list.
                assert_eq!(svg.matches(told).count(), 3, "{told}");
            }
            assert!(svg.contains("Recorded verdict</text>"), "{svg}");
            assert_eq!(svg, file(report), "the same again");
        });
    }

    #[test]
    fn every_matrix_has_a_picture() {
        let cell = Cell { count: u64::MAX / 9, centavos: i128::MAX / 9 };
        let one = Cell { count: 1, centavos: 1 };
        let mut single = Matrix::default();
        single[2][0] = one;
        for matrix in [Matrix::default(), [[cell; 3]; 3], [[one; 3]; 3], single] {
            with_report_of(&matrix, |report| {
                let svg = file(report);
                read(&svg);
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            });
        }
    }

    #[test]
    fn flows_fill_their_bars_to_scale() {
        with_report(|report| {
            let (placed, before, after) = place(report);
            for (at, (top, height)) in before.into_iter().enumerate() {
                let of_bar = placed.iter().filter(|placed| placed.flow.from == at);
                let filled: f64 = of_bar.map(|placed| placed.height).sum();
                assert!((filled - height).abs() < 1e-9 && top >= TOP);
            }
            let ends = placed.iter().map(|placed| placed.to_y + placed.height);
            assert!(ends.fold(0.0, f64::max) <= after[2].0 + after[2].1 + 1e-9);
            let approved = placed[0].height / ALL_HEIGHT;
            assert!((approved - 980.0 / 1040.0).abs() < 1e-9, "{approved}");
        });
    }
}
