//! The percentile plot: latency over the share of transactions that were faster, on an axis where
//! each nine has the same width.

use crate::options::LoadError;
use crate::report::Report;
use crate::table::{duration, grouped};
use crate::whole_file;
use hdrhistogram::Histogram;
use plotters::prelude::*;
use std::path::Path;

/// Size of the picture, pixels.
const SIZE: (u32, u32) = (960, 540);
const LATENCY: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
const SERVICE: RGBColor = RGBColor(0xd9, 0x7a, 0x1e);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
/// Points for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 20;
/// From this ratio of the longest to the median the y axis is logarithmic: on a linear one the body
/// would lie flat on the axis.
const LOG_RATIO: f64 = 12.0;
/// The most nines that the x axis shows.
const MAX_NINES: u32 = 9;

/// A line of the plot: number of nines (2 is 99 %) and microseconds.
type Line = Vec<(f64, f64)>;

/// Draws the report into an SVG file.
///
/// # Errors
/// [`LoadError::File`] with the file and the reason.
pub fn draw(report: &Report, path: &Path) -> Result<(), LoadError> {
    let svg = render(report).map_err(|e| LoadError::File(format!("cannot draw the plot: {e}")))?;
    whole_file::write(path, &svg).map_err(|e| {
        LoadError::File(format!(
            "cannot write {}: {e}; give another file with --plot",
            path.display()
        ))
    })
}

/// The SVG document.
fn render(report: &Report) -> Result<String, String> {
    let mut svg = String::new();
    let latency = line(&report.latency);
    let service = if report.rate.is_some() { line(&report.service) } else { Line::new() };
    let values = || latency.iter().chain(&service).map(|&(_, us)| us);
    let most = values().fold(1.0, f64::max) * 1.08;
    let nines = f64::from(nines(report.latency.len()));
    let logarithmic = report.latency_us.max > report.latency_us.p50 * LOG_RATIO;
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|e| e.to_string())?;
        let area = titled(report, &area)?;
        let mut builder = ChartBuilder::on(&area);
        builder.margin(12).margin_right(32).x_label_area_size(46).y_label_area_size(78);
        if logarithmic {
            let least = values().filter(|&us| us > 0.0).fold(most, f64::min) * 0.8;
            let chart = builder
                .build_cartesian_2d(0.0..nines, (least..most).log_scale())
                .map_err(|e| e.to_string())?;
            fill_chart(chart, report, nines, latency, service)?;
        } else {
            let chart =
                builder.build_cartesian_2d(0.0..nines, 0.0..most).map_err(|e| e.to_string())?;
            fill_chart(chart, report, nines, latency, service)?;
        }
        area.present().map_err(|e| e.to_string())?;
    }
    Ok(svg)
}

/// Writes the heading; gives what lies below it.
fn titled<'a>(
    report: &Report,
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
) -> Result<DrawingArea<SVGBackend<'a>, plotters::coord::Shift>, String> {
    let title = format!("Decisions at {}", report.target);
    let details = format!(
        "{}; {} decisions/s over {:.1} s; p50 {}, p99 {}, p99.9 {}",
        report.shape_text(),
        grouped(report.throughput_per_s.round() as u64),
        report.seconds,
        duration(report.latency_us.p50),
        duration(report.latency_us.p99),
        duration(report.latency_us.p99_9),
    );
    let (heading, rest) = area.split_vertically(64);
    heading
        .draw(&Text::new(title, (20, 14), ("sans-serif", 20).into_font().color(&INK)))
        .map_err(|e| e.to_string())?;
    heading
        .draw(&Text::new(details, (20, 41), ("sans-serif", 13).into_font().color(&INK)))
        .map_err(|e| e.to_string())?;
    Ok(rest)
}

fn fill_chart<'a, Y>(
    mut chart: ChartContext<
        'a,
        SVGBackend<'a>,
        Cartesian2d<plotters::coord::types::RangedCoordf64, Y>,
    >,
    report: &Report,
    nines: f64,
    latency: Line,
    service: Line,
) -> Result<(), String>
where
    Y: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_labels(nines as usize + 1)
        .y_labels(9)
        .x_label_formatter(&|&nines| percent(nines))
        .y_label_formatter(&|&us| duration(us))
        .x_desc("share of transactions answered faster")
        .y_desc(if report.rate.is_some() { "time to the verdict" } else { "latency" })
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(|e| e.to_string())?;
    let lines = [
        (latency, LATENCY, "latency, from the intended send"),
        (service, SERVICE, "service, from the actual send"),
    ];
    for (line, colour, name) in lines.into_iter().filter(|(line, ..)| !line.is_empty()) {
        let name = if report.rate.is_some() { name } else { "latency" };
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))
            .map_err(|e| e.to_string())?
            .label(name)
            .legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 22, y)], colour.stroke_width(3))
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .margin(14)
        .legend_area_size(30)
        .background_style(WHITE.mix(0.9))
        .border_style(GRID)
        .label_font(("sans-serif", 13).into_font().color(&INK))
        .draw()
        .map_err(|e| e.to_string())
}

/// Percentiles of a histogram up to the last that it has the values for.
fn line(histogram: &Histogram<u64>) -> Line {
    let most = f64::from(nines(histogram.len()));
    let mut line = Line::new();
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        let nines = -(1.0 - step.quantile_iterated_to()).log10();
        line.push((nines.min(most), step.value_iterated_to() as f64 / 1e3));
        if nines >= most {
            break;
        }
    }
    line
}

/// How many nines this many values tell something about: a percentile that only one value lies
/// above is the last.
fn nines(values: u64) -> u32 {
    values.max(1).ilog10().clamp(1, MAX_NINES)
}

/// The label of a whole number of nines: `0%`, `90%`, `99%`, `99.9%`.
fn percent(nines: f64) -> String {
    match nines.round() as usize {
        0 => "0%".to_owned(),
        1 => "90%".to_owned(),
        2 => "99%".to_owned(),
        more => format!("99.{}%", "9".repeat(more - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_counts_nines() {
        assert_eq!(
            [0.0, 1.0, 2.0, 3.0, 5.0].map(percent),
            ["0%", "90%", "99%", "99.9%", "99.999%"]
        );
        assert_eq!([0, 1, 99, 100, 1_000_000].map(nines), [1, 1, 1, 2, 6]);
        let mut histogram = Histogram::<u64>::new(3).expect("in range");
        for value in 1..=10_000u64 {
            histogram.record(value * 1_000).expect("resizes");
        }
        let line = line(&histogram);
        assert!(line.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        assert_eq!(line.last().expect("points").0, 4.0);
    }
}
