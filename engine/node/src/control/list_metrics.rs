//! What `/metrics` shows of the lists: how many they name, from when they are, and since when they
//! are in use.

use catraca_core::blacklist::{Overlay, Snapshot};
use catraca_core::calendar::{Zone, day_of};
use catraca_wire::frame::ListSource;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// The lists in use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct ListFigures {
    snapshot: Option<SnapshotFigures>,
    /// Documents and companies that the overlay speaks of.
    overlay: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct SnapshotFigures {
    /// In order of the codes: documents listed on the day that it was built for.
    documents: [u64; 4],
    /// When each source's own day began, nanoseconds since 1970 UTC; `None` where it is not known.
    source_ns: [Option<u64>; 4],
    built_ns: u64,
    taken_ns: u64,
}

impl ListFigures {
    /// Of a snapshot that was taken into use at `taken_ns`, and of an overlay.
    pub fn new(snapshot: Option<&Snapshot>, overlay: &Overlay, zone: &Zone, taken_ns: u64) -> Self {
        let snapshot = snapshot.map(|snapshot| SnapshotFigures {
            documents: snapshot.counts().by_source,
            source_ns: snapshot
                .source_days()
                .map(|day| (day != 0).then(|| zone.begin_of(day_of(day)))),
            built_ns: snapshot.built_at_ns(),
            taken_ns,
        });
        Self { snapshot, overlay: overlay.len() as u64 }
    }

    /// The same with another overlay.
    pub fn with_overlay(self, overlay: &Overlay) -> Self {
        Self { overlay: overlay.len() as u64, ..self }
    }
}

/// The figures at one moment.
#[derive(Debug)]
pub(super) struct Shown {
    pub figures: ListFigures,
    /// Nanoseconds since 1970 UTC.
    pub wall_ns: u64,
}

/// A sample: the source that it is of, where it is of one, and its value.
type Sample = (Option<ListSource>, f64);

impl Shown {
    /// Name, help text and samples of each gauge.
    fn gauges(&self) -> Vec<(&'static str, &'static str, Vec<Sample>)> {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let sources = || ListSource::ALL.iter().copied();
        let mut entries = vec![(Some(ListSource::Overlay), self.figures.overlay as f64)];
        let (mut built, mut taken, mut published, mut age) = (vec![], vec![], vec![], vec![]);
        if let Some(snapshot) = self.figures.snapshot {
            entries.extend(
                sources()
                    .zip(snapshot.documents)
                    .map(|(source, count)| (Some(source), count as f64)),
            );
            built.push((None, seconds(snapshot.built_ns)));
            taken.push((None, seconds(snapshot.taken_ns)));
            for ((source, count), own_ns) in
                sources().zip(snapshot.documents).zip(snapshot.source_ns)
            {
                published.extend(own_ns.map(|ns| (Some(source), seconds(ns))));
                // Of a list that does not say of which day it is, only when it was read is known.
                let since = own_ns.or((count > 0).then_some(snapshot.built_ns));
                age.extend(
                    since.map(|since| (Some(source), seconds(self.wall_ns.saturating_sub(since)))),
                );
            }
        }
        let in_use = f64::from(u8::from(self.figures.snapshot.is_some()));
        vec![
            ("catraca_list_in_use", "1 if a list snapshot is in use.", vec![(None, in_use)]),
            (
                "catraca_list_entries",
                "Documents listed on the day that the list was built for, by source; of the overlay documents and companies changed.",
                entries,
            ),
            ("catraca_list_built_timestamp_seconds", "When the list in use was built.", built),
            (
                "catraca_list_loaded_timestamp_seconds",
                "Since when this process uses the list.",
                taken,
            ),
            (
                "catraca_list_source_timestamp_seconds",
                "Beginning of the day of which a source's list is, where its file's name says so.",
                published,
            ),
            (
                "catraca_list_age_seconds",
                "Time since the beginning of the day of which a source's list is, or else since it was built.",
                age,
            ),
        ]
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, samples) in self.gauges() {
            if samples.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            if let [(None, value)] = samples[..] {
                ConstGauge::new(value).encode(metric)?;
                continue;
            }
            for (source, value) in samples {
                let labels = [("source", source.map_or("", ListSource::name))];
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_core::blacklist::{Draft, Entry};
    use catraca_wire::DocumentKey;
    use catraca_wire::frame::Scope;
    use jiff::civil::date;

    fn text(figures: ListFigures, wall_ns: u64) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Shown { figures, wall_ns }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string");
        text
    }

    #[test]
    fn a_list_is_as_old_as_its_source_says_or_else_as_it_was_built() {
        let document = DocumentKey::parse("04933228680").expect("valid");
        let entry = |source| Entry::new(document, source, Scope::Exact).expect("a source of lists");
        let mut draft = Draft::from(vec![entry(ListSource::Ceis), entry(ListSource::Plain)]);
        let zone = Zone::default();
        draft.source_days[0] = catraca_core::calendar::day_number(date(2026, 11, 22));
        let published = zone.begin_of(date(2026, 11, 22));
        let hour = 3_600_000_000_000;
        let snapshot =
            Snapshot::build(draft, date(2026, 11, 22), published + 10 * hour).expect("built");
        let figures =
            ListFigures::new(Some(&snapshot), &Overlay::new(), &zone, published + 11 * hour);
        let text = text(figures, published + 12 * hour);
        for line in [
            "catraca_list_in_use 1.0",
            "catraca_list_entries{source=\"ceis\"} 1.0",
            "catraca_list_entries{source=\"cnep\"} 0.0",
            "catraca_list_entries{source=\"overlay\"} 0.0",
            "catraca_list_built_timestamp_seconds 1795352400.0",
            "catraca_list_loaded_timestamp_seconds 1795356000.0",
            "catraca_list_source_timestamp_seconds{source=\"ceis\"} 1795316400.0",
            "catraca_list_age_seconds{source=\"ceis\"} 43200.0",
            "catraca_list_age_seconds{source=\"plain\"} 7200.0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        assert!(
            !text.contains("catraca_list_age_seconds{source=\"cnep\"}"),
            "nothing is known of it: {text}"
        );
    }

    #[test]
    fn without_a_list_there_is_nothing_to_tell_but_that() {
        let text = text(ListFigures::new(None, &Overlay::new(), &Zone::default(), 1), 2);
        assert!(
            text.contains("catraca_list_in_use 0.0\n") && !text.contains("catraca_list_built"),
            "{text}"
        );
    }
}
