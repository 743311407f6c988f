//! Which column holds what, found by its name in the header: published lists have moved columns
//! before.

use super::ImportError;
use super::text::{decoded, plain};
use catraca_wire::DocumentKind;
use catraca_wire::frame::ListSource;
use csv::ByteRecord;

/// Most columns named in an error, and most characters shown of each: a header, not a page.
const SHOWN_COLUMNS: usize = 5;
const SHOWN_NAME_LEN: usize = 30;
/// A column's name with more digits than this is somebody's data, and is not shown.
const NAME_DIGITS: usize = 4;

/// Names of the columns of a plain list that hold documents, and what kind each takes. All that are
/// there are read.
const DOCUMENTS: [(&str, Option<DocumentKind>); 6] = [
    ("document", None),
    ("documento", None),
    ("cpf_cnpj", None),
    ("cpf ou cnpj", None),
    ("cnpj", Some(DocumentKind::Cnpj)),
    ("cpf", Some(DocumentKind::Cpf)),
];

/// A column with documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DocumentColumn {
    /// Where it is.
    pub(super) at: usize,
    /// The only kind that it may hold, where its name says so: a CNPJ that lost zeros can be a
    /// valid CPF.
    pub(super) kind: Option<DocumentKind>,
}

/// Where the fields of a row are that matter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Columns of the header; a row has as many.
    pub(super) width: usize,
    /// The CPFs and CNPJs; one column at least.
    pub(super) documents: Vec<DocumentColumn>,
    /// What kind of person each row names, in CEIS and CNEP.
    pub(super) person: Option<usize>,
    /// `exact` or `root`, in plain lists.
    pub(super) scope: Option<usize>,
    /// Why, in plain lists.
    pub(super) reason: Option<usize>,
    /// First day that the entry counts.
    pub(super) from: Option<usize>,
    /// Last day that it counts.
    pub(super) until: Option<usize>,
}

impl Columns {
    /// Out of a header row. A plain list's unknown columns are refused unless `ignore_unknown`: one
    /// of them may be the end date, misspelt.
    pub(super) fn find(
        header: &ByteRecord,
        kind: ListSource,
        ignore_unknown: bool,
    ) -> Result<Self, ImportError> {
        let header =
            Header { names: header.iter().map(|name| plain(&decoded(name))).collect(), kind };
        let width = header.names.len();
        Ok(match kind {
            ListSource::Ceis | ListSource::Cnep => Self {
                width,
                documents: header.document(
                    &["CPF OU CNPJ DO SANCIONADO", "CPF/CNPJ DO SANCIONADO", "CPF CNPJ SANCIONADO"],
                    None,
                )?,
                person: header.at_most_one(&["TIPO DE PESSOA"])?,
                scope: None,
                reason: None,
                // Without these columns every sanction that ever was would count.
                from: Some(header.required(&["DATA INÍCIO SANÇÃO", "DATA INÍCIO DA SANÇÃO"])?),
                until: Some(header.required(&[
                    "DATA FINAL SANÇÃO",
                    "DATA FINAL DA SANÇÃO",
                    "DATA FIM SANÇÃO",
                ])?),
            },
            // CEPIM has no dates: who is in the file is barred.
            ListSource::Cepim => Self {
                width,
                documents: header
                    .document(&["CNPJ ENTIDADE", "CNPJ DA ENTIDADE"], Some(DocumentKind::Cnpj))?,
                person: None,
                scope: None,
                reason: None,
                from: None,
                until: None,
            },
            ListSource::Plain | ListSource::Overlay => {
                let documents: Vec<_> = (0..width)
                    .filter_map(|at| {
                        let known =
                            DOCUMENTS.iter().find(|(name, _)| plain(name) == header.names[at]);
                        known.map(|&(_, kind)| DocumentColumn { at, kind })
                    })
                    .collect();
                if documents.is_empty() {
                    return Err(header.missing(DOCUMENTS[0].0));
                }
                let columns = Self {
                    width,
                    documents,
                    person: None,
                    scope: header.at_most_one(&["scope", "escopo"])?,
                    reason: header.at_most_one(&["reason", "motivo"])?,
                    from: header.at_most_one(&["valid_from"])?,
                    until: header.at_most_one(&["valid_until"])?,
                };
                let known = |at: usize| {
                    columns.documents.iter().any(|document| document.at == at)
                        || [columns.scope, columns.reason, columns.from, columns.until]
                            .contains(&Some(at))
                };
                let unknown: Vec<_> = (0..width).filter(|&at| !known(at)).collect();
                if !unknown.is_empty() && !ignore_unknown {
                    return Err(ImportError::UnknownColumns { names: header.shown(&unknown) });
                }
                columns
            }
        })
    }
}

/// The names of the columns, as [`plain`] gives them.
struct Header {
    names: Vec<String>,
    kind: ListSource,
}

impl Header {
    fn all<'a>(&'a self, wanted: &'a [&'static str]) -> impl Iterator<Item = usize> + 'a {
        (0..self.names.len())
            .filter(|&at| wanted.iter().any(|wanted| plain(wanted) == self.names[at]))
    }

    fn required(&self, wanted: &[&'static str]) -> Result<usize, ImportError> {
        self.at_most_one(wanted)?.ok_or_else(|| self.missing(wanted[0]))
    }

    fn document(
        &self,
        wanted: &[&'static str],
        kind: Option<DocumentKind>,
    ) -> Result<Vec<DocumentColumn>, ImportError> {
        Ok(vec![DocumentColumn { at: self.required(wanted)?, kind }])
    }

    /// Where two columns are there for one thing, neither is the right one.
    fn at_most_one(&self, wanted: &[&'static str]) -> Result<Option<usize>, ImportError> {
        let mut found = self.all(wanted);
        let first = found.next();
        if found.next().is_some() {
            Err(ImportError::SameColumn { name: wanted[0] })
        } else {
            Ok(first)
        }
    }

    /// The names found are not repeated: without a header they would be somebody's data.
    fn missing(&self, wanted: &'static str) -> ImportError {
        ImportError::NoColumn { wanted, found: self.names.len(), kind: self.kind }
    }

    /// The names of some columns, fit to be shown.
    fn shown(&self, columns: &[usize]) -> String {
        let name = |&at: &usize| {
            let name = &self.names[at];
            if name.is_empty() || name.bytes().filter(u8::is_ascii_digit).count() > NAME_DIGITS {
                format!("the {}th", at + 1)
            } else {
                format!(
                    "\"{}\"",
                    name.chars().take(SHOWN_NAME_LEN).collect::<String>().to_lowercase()
                )
            }
        };
        let mut shown = columns.iter().take(SHOWN_COLUMNS).map(name).collect::<Vec<_>>().join(", ");
        if columns.len() > SHOWN_COLUMNS {
            shown.push_str(&format!(" and {} more", columns.len() - SHOWN_COLUMNS));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&[u8]]) -> ByteRecord {
        names.iter().copied().collect()
    }

    fn document(at: usize) -> Vec<DocumentColumn> {
        vec![DocumentColumn { at, kind: None }]
    }

    #[test]
    fn names_match_whatever_their_accents_case_and_encoding() {
        let cp1252 = header(&[
            b"data final san\xc7\xc3o",
            b"x",
            b"CPF / CNPJ do Sancionado ",
            b"Data_In\xedcio_San\xe7\xe3o",
        ]);
        let found = Columns::find(&cp1252, ListSource::Ceis, false).expect("all there");
        assert_eq!(
            found,
            Columns {
                width: 4,
                documents: document(2),
                person: None,
                scope: None,
                reason: None,
                from: Some(3),
                until: Some(0)
            }
        );
        let utf8 = header(&["\u{feff}Documento".as_bytes(), b"VALID_UNTIL"]);
        let found = Columns::find(&utf8, ListSource::Plain, false).expect("all there");
        assert_eq!(
            found,
            Columns {
                width: 2,
                documents: document(0),
                person: None,
                scope: None,
                reason: None,
                from: None,
                until: Some(1)
            }
        );
    }

    #[test]
    fn every_column_with_documents_is_read_as_what_its_name_says() {
        let found = Columns::find(&header(&[b"CNPJ", b"reason", b"cpf"]), ListSource::Plain, false)
            .expect("all there");
        let [cnpj, cpf] = [(0, DocumentKind::Cnpj), (2, DocumentKind::Cpf)]
            .map(|(at, kind)| DocumentColumn { at, kind: Some(kind) });
        assert_eq!(found.documents, [cnpj, cpf]);
    }

    #[test]
    fn a_missing_column_is_named_and_nothing_of_the_line_repeated() {
        let error = Columns::find(&header(&[b"04933228680", b"Fulano"]), ListSource::Ceis, false)
            .expect_err("no header");
        let text = error.to_string();
        assert!(text.contains("CPF OU CNPJ DO SANCIONADO") && !text.contains("0493"), "{text}");
        let error =
            Columns::find(&header(&[b"CPF OU CNPJ DO SANCIONADO"]), ListSource::Cnep, false)
                .expect_err("no dates");
        assert!(error.to_string().contains("DATA INÍCIO SANÇÃO"), "{error}");
    }

    #[test]
    fn unknown_columns_of_a_plain_list_are_named_unless_they_are_to_be_ignored() {
        let names: [&[u8]; 9] = [
            b"document",
            b"valid_untill",
            b"Validade",
            b"",
            b"04933228680",
            b"a",
            b"b",
            b"c",
            b"scope",
        ];
        let error = Columns::find(&header(&names), ListSource::Plain, false)
            .expect_err("a typing error")
            .to_string();
        for shown in [
            "\"valid untill\"",
            "\"validade\"",
            "the 4th",
            "the 5th",
            "and 2 more",
            "--ignore-columns",
        ] {
            assert!(error.contains(shown), "{shown}: {error}");
        }
        assert!(!error.contains("0493"), "{error}");
        let found = Columns::find(&header(&names), ListSource::Plain, true).expect("ignored");
        assert_eq!((found.until, found.scope), (None, Some(8)));
    }

    #[test]
    fn one_name_twice_is_refused() {
        let names: [&[u8]; 3] = [b"document", b"valid_until", b"Valid-Until"];
        let error =
            Columns::find(&header(&names), ListSource::Plain, true).expect_err("twice").to_string();
        assert!(error.contains("\"valid_until\""), "{error}");
        let ceis: [&[u8]; 4] = [
            b"CPF OU CNPJ DO SANCIONADO",
            b"DATA INICIO SANCAO",
            b"DATA FINAL SANCAO",
            b"DATA FIM SANCAO",
        ];
        let error = Columns::find(&header(&ceis), ListSource::Ceis, false)
            .expect_err("two ends")
            .to_string();
        assert!(error.contains("DATA FINAL SANÇÃO"), "{error}");
    }
}
