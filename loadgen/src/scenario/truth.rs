//! The truth as a file, for whoever compares it with a log: it names payments by id, and nobody.

use super::{Traffic, TrafficPlan};
use crate::whole_file;
use jiff::Timestamp;
use std::io;
use std::path::Path;

/// The file's first line.
pub const HEADER: &str = "id,event_time,scenario,is_fraud,is_hard";

/// Writes the truth of every payment of a plan. It generates them once more, so that no run holds
/// them.
///
/// # Errors
/// What the system says; what was under the name is there still.
pub fn write(plan: &TrafficPlan, path: &Path) -> io::Result<()> {
    whole_file::write_with(path, |file| {
        writeln!(file, "{HEADER}")?;
        for payment in Traffic::new(plan) {
            file.write_all(&payment.id)?;
            let event_time = Timestamp::from_nanosecond(i128::from(payment.event_time_ns))
                .map_err(io::Error::other)?;
            let label = payment.label;
            writeln!(
                file,
                ",{event_time},{},{},{}",
                label.scenario.name(),
                label.is_fraud(),
                label.is_hard
            )?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::{MIN_PAYMENTS, Scenarios};
    use super::*;

    #[test]
    fn each_payment_has_a_line_and_nobody_is_named() {
        let plan = TrafficPlan {
            seed: 3,
            payments: MIN_PAYMENTS,
            days: 1,
            end_ns: 1_795_705_445_000_000_000,
            scenarios: Scenarios::ALL,
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("truth.csv");
        write(&plan, &path).expect("writable");
        let text = std::fs::read_to_string(&path).expect("written");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(HEADER));
        let payments: Vec<_> = Traffic::new(&plan).collect();
        assert_eq!(lines.clone().count(), payments.len());
        for (line, payment) in lines.zip(&payments) {
            let columns: Vec<&str> = line.split(',').collect();
            let [id, event_time, scenario, is_fraud, is_hard] = columns[..] else {
                panic!("{line}");
            };
            assert_eq!(id.as_bytes(), payment.id);
            let time: Timestamp = event_time.parse().expect("a time");
            assert_eq!(time.as_nanosecond(), i128::from(payment.event_time_ns));
            assert_eq!(scenario, payment.label.scenario.name());
            assert_eq!(is_fraud, payment.label.is_fraud().to_string());
            assert_eq!(is_hard, payment.label.is_hard.to_string());
            let document = payment.payer.document;
            let document = std::str::from_utf8(&document).expect("ASCII").trim_end_matches('\0');
            assert!(!line.contains(document));
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "no rest");
        assert!(write(&plan, Path::new("/nowhere/truth.csv")).is_err());
    }
}
