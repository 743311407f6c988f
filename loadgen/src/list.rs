//! The list that the node uses, as far as a load generator must know it: which documents are surely
//! listed, and which may be.
//!
//! Reads the plain CSV (`document,scope,reason,valid_from,valid_until`; only the first column is
//! needed) or one document per line. The published sanction lists are not read here: `catraca
//! blacklist build` knows their layouts.

use crate::options::LoadError;
use catraca_wire::DocumentKey;
use jiff::ToSpan;
use jiff::civil::Date;
use std::path::Path;

/// Most rows of a list: 160 MB of keys.
pub const MAX_LIST_ROWS: usize = 20_000_000;

/// A list, read.
#[derive(Debug, Default)]
pub struct List {
    /// Documents listed today, sorted, each once.
    listed: Vec<DocumentKey>,
    /// CPFs of every row, in force or not, sorted.
    cpfs: Vec<DocumentKey>,
    /// CNPJ roots of every row, in force or not, whatever its scope, sorted.
    roots: Vec<u64>,
    /// Rows whose document can't be read.
    pub refused_rows: u64,
}

impl List {
    /// Reads a file. Entries that begin or end within a day of `today` count as neither listed nor
    /// unlisted: in which time zone the node looks at the calendar is not known here.
    pub fn read(path: &Path, today: Date) -> Result<Self, LoadError> {
        let refuse = |what: String| LoadError::File(format!("list {}: {what}", path.display()));
        let bytes = std::fs::read(path)
            .map_err(|e| refuse(format!("{e}; give a readable file with --list")))?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let first_line = text.split(|&b| b == b'\n').next().unwrap_or_default();
        let delimiter = if first_line.contains(&b';') { b';' } else { b',' };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(text);
        let mut columns: Option<Columns> = None;
        let mut list = Self::default();
        let mut row = csv::ByteRecord::new();
        let mut rows = 0;
        while reader.read_byte_record(&mut row).map_err(|e| refuse(e.to_string()))? {
            let place = match &columns {
                Some(place) => place,
                None => match Columns::of_header(&row) {
                    Some(place) => {
                        columns = Some(place);
                        continue;
                    }
                    None if document(row.get(0)).is_some() => columns.insert(Columns::default()),
                    None => {
                        return Err(refuse(
                            "no column is named `document`, and the first line is no document"
                                .to_owned(),
                        ));
                    }
                },
            };
            rows += 1;
            if rows > MAX_LIST_ROWS {
                return Err(refuse(format!("more than {MAX_LIST_ROWS} rows; give a part of it")));
            }
            match document(row.get(place.document)) {
                Some(key) => list.take(key, place.surely_in_force(&row, today)),
                None => list.refused_rows += 1,
            }
        }
        if list.listed.is_empty() {
            return Err(refuse(format!("none of its {rows} rows is a document in force")));
        }
        for keys in [&mut list.listed, &mut list.cpfs] {
            keys.sort_unstable();
            keys.dedup();
        }
        list.roots.sort_unstable();
        list.roots.dedup();
        Ok(list)
    }

    fn take(&mut self, key: DocumentKey, in_force: bool) {
        match key.cnpj_root() {
            Some(root) => self.roots.push(root),
            None => self.cpfs.push(key),
        }
        if in_force {
            self.listed.push(key);
        }
    }

    /// Documents listed today.
    pub fn listed(&self) -> &[DocumentKey] {
        &self.listed
    }

    /// Whether this document may hit the list, itself or through its company.
    pub fn may_hit(&self, key: DocumentKey) -> bool {
        match key.cnpj_root() {
            Some(root) => self.roots.binary_search(&root).is_ok(),
            None => self.cpfs.binary_search(&key).is_ok(),
        }
    }
}

/// Where the columns are.
#[derive(Debug, Default)]
struct Columns {
    document: usize,
    valid_from: Option<usize>,
    valid_until: Option<usize>,
}

impl Columns {
    fn of_header(row: &csv::ByteRecord) -> Option<Self> {
        let find = |name: &str| {
            row.iter().position(|field| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        };
        Some(Self {
            document: find("document")?,
            valid_from: find("valid_from"),
            valid_until: find("valid_until"),
        })
    }

    fn surely_in_force(&self, row: &csv::ByteRecord, today: Date) -> bool {
        let date = |column: Option<usize>| match column
            .and_then(|place| row.get(place))
            .map(<[u8]>::trim_ascii)
        {
            None | Some([]) => Ok(None),
            Some(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<Date>().ok())
                .map(Some)
                .ok_or(()),
        };
        let (Ok(from), Ok(until)) = (date(self.valid_from), date(self.valid_until)) else {
            return false;
        };
        let day = 1.day();
        from.is_none_or(|from| today.checked_sub(day).is_ok_and(|yesterday| from <= yesterday))
            && until
                .is_none_or(|until| today.checked_add(day).is_ok_and(|tomorrow| until >= tomorrow))
    }
}

fn document(field: Option<&[u8]>) -> Option<DocumentKey> {
    DocumentKey::parse(std::str::from_utf8(field?).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn read(text: &str) -> Result<List, LoadError> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("writable");
        List::read(file.path(), date(2026, 11, 22))
    }

    #[test]
    fn dates_decide_what_is_listed_and_roots_what_may_hit() {
        let list = read(
            "document,scope,reason,valid_from,valid_until\n\
             049.332.286-80,exact,fraud,,\n\
             12ABC34501DE35,root,fraud,2020-01-01,2030-01-01\n\
             00000000000191,root,over,,2026-11-21\n\
             ABCDEFGH000195,exact,today,2026-11-22,\n\
             nonsense,exact,,,\n",
        )
        .expect("a list");
        let canonical: Vec<String> = list.listed().iter().map(|key| key.to_canonical()).collect();
        assert_eq!(canonical.len(), 2, "{canonical:?}");
        assert_eq!(list.refused_rows, 1);
        for text in ["04933228680", "12ABC34501DE35", "00000000000191", "ABCDEFGH000276"] {
            assert!(list.may_hit(DocumentKey::parse(text).expect("valid")), "{text}");
        }
        assert!(!list.may_hit(DocumentKey::from_cpf_number(123_456_780).expect("valid")));
    }

    #[test]
    fn one_document_a_line_is_a_list_and_prose_is_not() {
        assert_eq!(read("04933228680\n12ABC34501DE35\n").expect("a list").listed().len(), 2);
        assert!(
            read("name;reason\na;b\n").expect_err("no column").to_string().contains("`document`")
        );
        assert!(read("document\n").expect_err("empty").to_string().contains("none of its 0 rows"));
        assert!(List::read(Path::new("/nowhere/list.csv"), date(2026, 1, 1)).is_err());
    }
}
