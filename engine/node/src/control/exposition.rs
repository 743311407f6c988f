//! The two forms in which Prometheus and its kin read metrics: OpenMetrics 1.0, and the older text
//! format 0.0.4, which everything reads. Pure: header and text in, text out.
//!
//! Sources: the OpenMetrics specification 1.0.0; Prometheus, "Exposition formats"; RFC 9110,
//! section 12.5.1, for `Accept`.

const OPEN_METRICS: &str = "application/openmetrics-text";
const TEXT: &str = "text/plain";

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Text 0.0.4.
    Text,
}

impl Format {
    /// The one that a request's `Accept` fields ask for: OpenMetrics where it is named and nothing
    /// older is preferred.
    pub fn wanted<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let (mut open_metrics, mut text) = (0.0f32, 0.0f32);
        for range in accept.flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            // A version that does not exist yet is not ours to give.
            let (mut quality, mut ours) = (1.0f32, true);
            for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" if media == OPEN_METRICS => {
                        ours = matches!(value.trim(), "1.0.0" | "0.0.1")
                    }
                    _ => {}
                }
            }
            match media {
                OPEN_METRICS if ours => open_metrics = open_metrics.max(quality),
                TEXT => text = text.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Metrics in this form, out of OpenMetrics.
    pub fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text(&open_metrics),
        }
    }
}

/// The text format out of OpenMetrics, without exemplars: there a counter is described under its
/// sample's name, and neither units nor an end are told.
fn text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), rest) => {
                help = Some((name, rest.unwrap_or_default()))
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                    out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
                }
                out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            (Some("#"), ..) => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;\
                          q=0.5,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, wanted) in [
            (&[][..], Format::Text),
            (&["*/*"], Format::Text),
            (&["text/html, */*;q=0.1"], Format::Text),
            (&["text/plain"], Format::Text),
            (&["text/plain; version=0.0.4"], Format::Text),
            (&[prometheus], Format::OpenMetrics),
            (&["application/openmetrics-text"], Format::OpenMetrics),
            (&["application/openmetrics-text; version=1.0.0"], Format::OpenMetrics),
            (&["application/openmetrics-text; version=2.0.0"], Format::Text),
            (
                &[
                    "application/openmetrics-text; version=2.0.0",
                    "application/openmetrics-text; version=1.0.0;q=0.5",
                ],
                Format::OpenMetrics,
            ),
            (&["application/openmetrics-text;q=0.3, text/plain;q=0.5"], Format::Text),
            (&["application/openmetrics-text;q=0"], Format::Text),
            (&["application/openmetrics-text;q=nonsense"], Format::Text),
            (&[";;,,=,q="], Format::Text),
        ] {
            assert_eq!(Format::wanted(accept.iter().copied()), wanted, "{accept:?}");
        }
    }

    #[test]
    fn the_text_form_has_the_same_samples() {
        let open_metrics = "# HELP a_seconds Time, a # in it.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1.5\n\
                            # HELP b Help.\n# TYPE b gauge\nb{x=\"# TYPE\"} 2\n# HELP c H.\n# TYPE c histogram\nc_sum 1.0\nc_count 1\n\
                            c_bucket{le=\"2.0\"} 1\nc_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let wanted = "# HELP a_seconds_total Time, a # in it.\n# TYPE a_seconds_total counter\na_seconds_total 1.5\n\
                      # HELP b Help.\n# TYPE b gauge\nb{x=\"# TYPE\"} 2\n# HELP c H.\n# TYPE c histogram\nc_sum 1.0\nc_count 1\n\
                      c_bucket{le=\"2.0\"} 1\nc_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(Format::Text.of(open_metrics.to_owned()), wanted);
        assert_eq!(Format::OpenMetrics.of(open_metrics.to_owned()), open_metrics);
    }
}
