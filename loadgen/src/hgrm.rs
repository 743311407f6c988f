//! The percentile distribution as text, in the format that the HdrHistogram tools and plotters read
//! (`.hgrm`).
//!
//! Source: `AbstractHistogram.outputPercentileDistribution` of HdrHistogram for Java, whose column
//! widths and footer this keeps.

use crate::options::LoadError;
use crate::record::SIGNIFICANT_DIGITS;
use crate::report::Report;
use crate::whole_file;
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Lines for each halving of the distance to 100 %, as the Java tools write them.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
/// Nanoseconds of the histogram to microseconds of the file.
const NS_PER_UNIT: f64 = 1e3;

/// The distribution in microseconds.
pub fn render(histogram: &Histogram<u64>) -> String {
    let digits = usize::from(SIGNIFICANT_DIGITS);
    let mut text = String::new();
    // Writing to a String does not fail: results are dropped throughout.
    let _ = writeln!(
        text,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NS_PER_UNIT;
        let quantile = step.quantile_iterated_to();
        let _ = if quantile < 1.0 {
            writeln!(
                text,
                "{value:12.digits$} {quantile:2.12} {total:>10} {:14.2}",
                1.0 / (1.0 - quantile)
            )
        } else {
            writeln!(text, "{value:12.digits$} {quantile:2.12} {total:>10}")
        };
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_UNIT, histogram.stdev() / NS_PER_UNIT);
    let _ =
        writeln!(text, "#[Mean    = {mean:12.digits$}, StdDeviation   = {deviation:12.digits$}]");
    let max = histogram.max() as f64 / NS_PER_UNIT;
    let _ =
        writeln!(text, "#[Max     = {max:12.digits$}, Total count    = {:>12}]", histogram.len());
    let (buckets, sub_buckets) = buckets(histogram.high());
    let _ = writeln!(text, "#[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]");
    text
}

/// Buckets and sub-buckets of a histogram: what the format's footer tells. A sub-bucket for each
/// value that the digits must keep apart, twice over and rounded up to a power of two; a bucket for
/// each doubling from there to the highest value.
fn buckets(high: u64) -> (u32, u64) {
    let sub_buckets = (2 * 10u64.pow(u32::from(SIGNIFICANT_DIGITS))).next_power_of_two();
    let mut trackable = sub_buckets;
    let mut count = 1;
    while trackable <= high {
        trackable = trackable.saturating_mul(2);
        count += 1;
    }
    (count, sub_buckets)
}

/// Writes the latency to `path` and, for an open loop, the service time to a second file beside it;
/// gives the files.
///
/// # Errors
/// [`LoadError::File`] with the file and the reason.
pub fn write(report: &Report, path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = vec![(path.to_owned(), &report.latency)];
    if report.rate.is_some() {
        files.push((service_path(path), &report.service));
    }
    for (path, histogram) in &files {
        whole_file::write(path, &render(histogram)).map_err(|e| {
            LoadError::File(format!(
                "cannot write {}: {e}; give another file with --hgrm",
                path.display()
            ))
        })?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// `out.hgrm` becomes `out.service.hgrm`.
fn service_path(path: &Path) -> PathBuf {
    let extension =
        path.extension().map_or_else(|| "hgrm".into(), |extension| extension.to_string_lossy());
    path.with_extension(format!("service.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_has_the_format_of_other_tools() {
        let mut histogram =
            Histogram::<u64>::new_with_bounds(1, 120_000_000_000, SIGNIFICANT_DIGITS)
                .expect("in range");
        for value in 1..=1_000u64 {
            histogram.record(value * 1_000).expect("in range");
        }
        let text = render(&histogram);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        let columns = |line: &str| {
            line.split_whitespace().map(|n| n.parse::<f64>().expect("a number")).collect::<Vec<_>>()
        };
        let data: Vec<Vec<f64>> = lines[2..]
            .iter()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| columns(line))
            .collect();
        assert!(data.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]));
        let half = data.iter().find(|row| row[1] == 0.5).expect("the median has a line");
        assert!((499.0..=502.0).contains(&half[0]) && half[3] == 2.0, "{half:?}");
        let last = data.last().expect("lines");
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1_000.0));
        let footer: Vec<&&str> = lines.iter().filter(|line| line.starts_with("#[")).collect();
        assert_eq!(footer.len(), 3);
        assert!(footer[1].starts_with("#[Max     =     1000"), "{}", footer[1]);
        assert!(footer[1].ends_with("Total count    =         1000]"));
        assert!(footer[2].ends_with("SubBuckets     =         2048]"));
    }

    #[test]
    fn an_empty_distribution_is_written_too() {
        let histogram = Histogram::<u64>::new_with_bounds(1, 120_000_000_000, SIGNIFICANT_DIGITS)
            .expect("in range");
        assert!(render(&histogram).contains("Total count    =            0]"));
        assert_eq!(service_path(Path::new("/a/out.hgrm")), Path::new("/a/out.service.hgrm"));
    }
}
