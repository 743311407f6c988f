//! Which column holds what, found by its name in the header: published lists have moved columns before.

use super::ImportError;
use catraca_wire::frame::ListSource;
use csv::ByteRecord;
use encoding_rs::WINDOWS_1252;

/// Where the fields of a row are that matter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Columns of the header; a row has as many.
    pub(super) width: usize,
    /// The CPF or CNPJ.
    pub(super) document: usize,
    /// `exact` or `root`, in plain lists.
    pub(super) scope: Option<usize>,
    /// First day that the entry counts.
    pub(super) from: Option<usize>,
    /// Last day that it counts.
    pub(super) until: Option<usize>,
}

impl Columns {
    /// Out of a header row.
    pub(super) fn find(header: &ByteRecord, kind: ListSource) -> Result<Self, ImportError> {
        let names: Vec<String> = header.iter().map(|name| normalized(&decoded(name))).collect();
        let column =
            |wanted: &[&'static str]| names.iter().position(|name| wanted.iter().any(|wanted| normalized(wanted) == *name));
        let required = |wanted: &[&'static str]| {
            // The names found are not repeated: without a header they would be somebody's data.
            column(wanted).ok_or(ImportError::NoColumn { wanted: wanted[0], found: names.len(), kind })
        };
        let width = names.len();
        Ok(match kind {
            ListSource::Ceis | ListSource::Cnep => Self {
                width,
                document: required(&["CPF OU CNPJ DO SANCIONADO", "CPF/CNPJ DO SANCIONADO", "CPF CNPJ SANCIONADO"])?,
                scope: None,
                // Without these columns every sanction that ever was would count.
                from: Some(required(&["DATA INÍCIO SANÇÃO", "DATA INÍCIO DA SANÇÃO"])?),
                until: Some(required(&["DATA FINAL SANÇÃO", "DATA FINAL DA SANÇÃO", "DATA FIM SANÇÃO"])?),
            },
            // CEPIM has no dates: who is in the file is barred.
            ListSource::Cepim => {
                Self { width, document: required(&["CNPJ ENTIDADE", "CNPJ DA ENTIDADE"])?, scope: None, from: None, until: None }
            }
            ListSource::Plain | ListSource::Overlay => Self {
                width,
                document: required(&["document", "documento", "cpf_cnpj", "cpf ou cnpj", "cnpj", "cpf"])?,
                scope: column(&["scope", "escopo"]),
                from: column(&["valid_from"]),
                until: column(&["valid_until"]),
            },
        })
    }
}

/// Text of a field: UTF-8 if it is that, else cp1252, in which any byte means something.
fn decoded(field: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(field) {
        Ok(text) => text.into(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(field).0,
    }
}

/// A name without what differs between editions: capitals, accents, and one space for whatever stands between words.
fn normalized(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for letter in name.chars().flat_map(char::to_uppercase) {
        let base = match letter {
            'Á' | 'À' | 'Â' | 'Ã' | 'Ä' => 'A',
            'É' | 'È' | 'Ê' | 'Ë' => 'E',
            'Í' | 'Ì' | 'Î' | 'Ï' => 'I',
            'Ó' | 'Ò' | 'Ô' | 'Õ' | 'Ö' => 'O',
            'Ú' | 'Ù' | 'Û' | 'Ü' => 'U',
            'Ç' => 'C',
            other => other,
        };
        if base.is_ascii_alphanumeric() {
            plain.push(base);
        } else if !plain.is_empty() && !plain.ends_with(' ') {
            plain.push(' ');
        }
    }
    plain.truncate(plain.trim_end().len());
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&[u8]]) -> ByteRecord {
        names.iter().copied().collect()
    }

    #[test]
    fn names_match_whatever_their_accents_case_and_encoding() {
        let cp1252 = header(&[b"data final san\xc7\xc3o", b"x", b"CPF / CNPJ do Sancionado ", b"Data_In\xedcio_San\xe7\xe3o"]);
        let found = Columns::find(&cp1252, ListSource::Ceis).expect("all there");
        assert_eq!(found, Columns { width: 4, document: 2, scope: None, from: Some(3), until: Some(0) });
        let utf8 = header(&["\u{feff}Documento".as_bytes(), b"VALID_UNTIL"]);
        let found = Columns::find(&utf8, ListSource::Plain).expect("all there");
        assert_eq!(found, Columns { width: 2, document: 0, scope: None, from: None, until: Some(1) });
    }

    #[test]
    fn a_missing_column_is_named_and_nothing_of_the_line_repeated() {
        let error = Columns::find(&header(&[b"04933228680", b"Fulano"]), ListSource::Ceis).expect_err("no header");
        let text = error.to_string();
        assert!(text.contains("CPF OU CNPJ DO SANCIONADO") && !text.contains("0493"), "{text}");
        let error = Columns::find(&header(&[b"CPF OU CNPJ DO SANCIONADO"]), ListSource::Cnep).expect_err("no dates");
        assert!(error.to_string().contains("DATA INÍCIO SANÇÃO"), "{error}");
    }
}
