//! The lines of a file of labels, and what they say.

use crate::commands::csv_lines::Columns;
use crate::commands::label::{kind, source};
use crate::commands::log::time;
use catraca_wire::DocumentKey;
use catraca_wire::frame::LabelRequest;

/// The columns.
const COLUMNS: [&str; 5] = ["id", "payer", "kind", "known_at", "source"];

/// Where the columns stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Header(Columns<5>);

impl Header {
    /// From the first line.
    ///
    /// # Errors
    /// When a column is missing, or there twice; a sentence.
    pub fn read(line: &str) -> Result<Self, String> {
        Columns::read(line, COLUMNS, COLUMNS.len()).map(Self)
    }

    /// What a line says.
    ///
    /// # Errors
    /// What is wrong with it, without its text: a document may stand anywhere.
    pub fn request(&self, line: &str) -> Result<LabelRequest, String> {
        let [id, payer, kind_name, known_at, who] = self.0.of(line)?;
        let payer = match payer.as_str() {
            "" => None,
            payer => Some(DocumentKey::parse(payer).map_err(|error| format!("payer: {error}"))?),
        };
        let kind = kind(&kind_name).map_err(|why| format!("kind: {why}"))?;
        let known_at_ns = time(&known_at).map_err(|why| format!("known_at: {why}"))?;
        let source = source(&who).map_err(|why| format!("source: {why}"))?;
        LabelRequest::new(&id, payer, kind, known_at_ns, &source)
            .map_err(|error| format!("id: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catraca_wire::frame::LabelKind;

    #[test]
    fn a_line_says_what_its_columns_say() {
        for header in ["id,payer,kind,known_at,source", "\u{feff}id,payer,kind,known_at,source"] {
            let header = Header::read(header).expect("sound");
            let request = header
                .request(
                    "order-1,049.332.286-80,chargeback,2027-02-01T00:00:00Z,\"visa, disputes\"",
                )
                .expect("sound");
            assert_eq!((request.label, request.source_len), (LabelKind::Chargeback.to_wire(), 14));
            assert_eq!(request.known_at_ns, 1_801_440_000_000_000_000);
            assert_eq!(&request.payer, b"04933228680\0\0\0");
        }
        let header = Header::read("note;source;known_at;kind;payer;id").expect("sound");
        let request = header.request("x;med;2027-02-01;MED-accepted;;E1");
        assert!(request.is_err_and(|why| why.starts_with("kind: ")));
        let request = header.request("x;med;2027-02-01; med-accepted;;E1").expect("sound");
        assert_eq!((request.payer, request.label), ([0; 14], 1));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_without_its_text() {
        let header = Header::read("id,payer,kind,known_at,source").expect("sound");
        for (line, what) in [
            ("a,b", "2 columns"),
            ("a,12345678901,chargeback,2027-02-01,visa", "payer: "),
            ("a,,52998224725,2027-02-01,visa", "kind: "),
            ("a,,chargeback,52998224725,visa", "known_at: "),
            ("a,,chargeback,2027-02-01,", "source: "),
            (",,chargeback,2027-02-01,visa", "id: "),
        ] {
            let why = header.request(line).expect_err(line);
            assert!(why.starts_with(what) && !why.contains("52998224725"), "{line}: {why}");
        }
        for header in ["id,payer,kind,known_at", "", "id,id,payer,kind,known_at,source"] {
            assert!(Header::read(header).is_err(), "{header}");
        }
    }
}
