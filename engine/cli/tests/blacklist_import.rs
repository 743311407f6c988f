//! Lists as files: what is found in them, and what is said of those that can't be read.

use catraca_cli::import::{
    Doubts, ImportError, MAX_ROW_LEN, Options, Outcome, Reject, Tally, read_list,
};
use catraca_core::blacklist::{Draft, Hit, Snapshot};
use catraca_core::calendar::day_number;
use catraca_testkit::lists::key;
use catraca_wire::DocumentError;
use catraca_wire::frame::{ListSource, Scope};
use jiff::civil::{Date, date};
use proptest::prelude::*;
use std::io::Read;

const DAY: Date = date(2026, 11, 22);
const CEIS: &[u8] = include_bytes!("data/ceis.csv");
const SAMPLE: &[u8] = include_bytes!("../../../scripts/sample/ceis-sample.csv");

struct Found {
    tally: Tally,
    draft: Draft,
    rejects: Vec<Reject>,
}

fn read_on(list: impl Read, source: ListSource, as_of: Date) -> Result<Found, ImportError> {
    let (mut draft, mut rejects) = (Draft::default(), Vec::new());
    let options = Options { as_of, sanctions_scope: Scope::Root, ignore_columns: false };
    let tally = read_list(list, source, &options, &mut draft, |reject| {
        rejects.push(reject);
        Ok(())
    })?;
    Ok(Found { tally, draft, rejects })
}

fn read(list: impl AsRef<[u8]>, source: ListSource) -> Result<Found, ImportError> {
    read_on(list.as_ref(), source, DAY)
}

fn refusal(list: impl AsRef<[u8]>, source: ListSource) -> String {
    match read(list, source) {
        Ok(read) => panic!("accepted: {:?}", read.tally),
        Err(error) => error.to_string(),
    }
}

fn snapshot(read: Found) -> Snapshot {
    Snapshot::build(read.draft, DAY, 1).expect("built")
}

#[test]
fn the_published_layout_gives_the_expected_figures() {
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("data/ceis.expected.json")).expect("JSON");
    let read = read(CEIS, ListSource::Ceis).expect("a list");
    let tally = read.tally;
    assert_eq!(tally.rows, expected["rows"]);
    assert_eq!(tally.active, expected["active_rows"]);
    assert_eq!(tally.expired, expected["expired_rows"]);
    assert_eq!(tally.future, expected["future_rows"]);
    assert_eq!(tally.invalid_document(), expected["invalid_document_rows"]);
    assert_eq!(tally.masked_document, expected["masked_document_rows"]);
    assert_eq!(read.rejects.len() as u64, tally.rows - tally.active);
    let snapshot = snapshot(read);
    assert_eq!(snapshot.counts().documents, expected["distinct_active_documents"]);
    assert_eq!(snapshot.counts().alphanumeric, expected["alphanumeric_active_documents"]);
    for (name, hits) in [("must_hit", true), ("must_not_hit", false)] {
        let documents = expected[name].as_array().expect("an array");
        assert!(documents.len() >= 40);
        for text in documents {
            let document = key(text.as_str().expect("text"));
            assert_eq!(
                snapshot.lookup(document, day_number(DAY)).is_some(),
                hits,
                "{name}: {document}"
            );
        }
    }
}

#[test]
fn a_pipe_that_gives_little_at_a_time_gives_the_same_list() {
    let list = b"documento;escopo\r\n12.ABC.345/01DE-35;root\r\n04933228680;exact;more\r\n";
    let whole = read(list, ListSource::Plain).expect("a list");
    let (start, rest) = list.split_at(4);
    let in_two = read_on(start.chain(rest), ListSource::Plain, DAY).expect("the same list");
    assert_eq!(
        (in_two.tally, &in_two.draft.entries, &in_two.rejects),
        (whole.tally, &whole.draft.entries, &whole.rejects)
    );
    assert_eq!((whole.tally.active, whole.tally.doubtful_fields, whole.rejects[0].line), (2, 1, 3));
}

#[test]
fn the_sample_list_has_every_difficulty() {
    let tally = read(SAMPLE, ListSource::Ceis).expect("a list").tally;
    assert_eq!(tally.rows, 500);
    assert!(tally.active > 350, "{tally:?}");
    for count in [
        tally.expired,
        tally.future,
        tally.masked_document,
        tally.document_check_digit,
        tally.assumed_begun,
    ] {
        assert!(count > 0, "{tally:?}");
    }
    assert!(SAMPLE.contains(&0x96), "the dash that only cp1252 has");
}

#[test]
fn both_ends_of_the_dates_count() {
    let list = "document,valid_from,valid_until\n04933228680,2026-11-22,22/11/2026\n";
    for (day, outcome) in [(21, Outcome::Future), (22, Outcome::Active), (23, Outcome::Expired)] {
        let read =
            read_on(list.as_bytes(), ListSource::Plain, date(2026, 11, day)).expect("a list");
        assert_eq!(
            read.rejects.first().map_or(Outcome::Active, |reject| reject.outcome),
            outcome,
            "day {day}"
        );
    }
}

#[test]
fn a_plain_list_counts_each_reason() {
    let list = "\u{feff}reason,Document,SCOPE,valid_from,valid_until\r\n\
        a,12.ABC.345/01DE-35,root,,\r\n\
        \"b, with \"\"quotes\"\"\nand lines\",049.332.286-80,ROOT,,\r\n\
        c,04933228681,,,\r\n\
        d,***.332.286-**,,,\r\n\
        e,11111111111,,,\r\n\
        f,1234,,,\r\n\
        g,12\u{e7}BC34501DE35,,,\r\n\
        h,04933228680,everything,,\r\n\
        i,04933228680,exact,31/02/2026,\r\n\
        j,04933228680,exact\r\n\
        k,00000000000191,exact,,2026-11-21\r\n\
        l,00000000000191,exact,2026-11-23,\r\n\
        m,00000000000192,exact\r\n";
    let read = read(list, ListSource::Plain).expect("a list");
    let expected = Tally {
        rows: 13,
        active: 5,
        expired: 1,
        future: 1,
        masked_document: 1,
        document_length: 1,
        document_character: 1,
        document_check_digit: 1,
        document_repeated_digit: 1,
        document_wrong_kind: 0,
        wrong_fields: 1,
        doubtful: 4,
        assumed_open: 0,
        assumed_begun: 1,
        assumed_root: 1,
        doubtful_fields: 1,
        assumed_document: 1,
    };
    assert_eq!(read.tally, expected);
    let first = &read.rejects[0];
    let wrong = Reject {
        line: 5,
        outcome: Outcome::Document(DocumentError::CheckDigit),
        doubts: Doubts::default(),
        document: "***332286**".to_owned(),
    };
    assert_eq!(first, &wrong, "the line is counted with the newlines inside fields");
    let snapshot = snapshot(read);
    assert_eq!(
        snapshot.lookup(key("12ABC34501DE35"), day_number(DAY)),
        Some(Hit { source: ListSource::Plain, scope: Scope::Root })
    );
    assert_eq!(
        snapshot.lookup(key("04933228680"), day_number(DAY)),
        Some(Hit { source: ListSource::Plain, scope: Scope::Exact })
    );
    assert_eq!(snapshot.lookup(key("00000000000191"), day_number(DAY)), None);
}

#[test]
fn cepim_has_no_dates_and_cnep_one_column_more() {
    let cepim = "\"CNPJ ENTIDADE\";\"NOME ENTIDADE\";\"N\u{da}MERO CONV\u{ca}NIO\";\"\u{d3}RG\u{c3}O CONCEDENTE\";\"MOTIVO DO IMPEDIMENTO\"\r\n\
                 \"00.000.000/0001-91\";\"ENTIDADE INVENTADA\";\"1\";\"X\";\"Y\"\r\n";
    let (cp1252, _, lossy) = encoding_rs::WINDOWS_1252.encode(cepim);
    assert!(!lossy);
    assert_eq!(read(cp1252, ListSource::Cepim).expect("a list").tally.active, 1);
    let cnep = "CPF OU CNPJ DO SANCIONADO;VALOR DA MULTA;DATA INICIO SANCAO;DATA FINAL SANCAO\n00000000000191;1,00;01/01/2020;\n";
    let snapshot = snapshot(read(cnep, ListSource::Cnep).expect("a list"));
    assert_eq!(
        snapshot.lookup(key("00000000000191"), day_number(DAY)),
        Some(Hit { source: ListSource::Cnep, scope: Scope::Root })
    );
}

#[test]
fn an_entity_of_cepim_stands_in_it_once_for_each_agreement() {
    let row = |agreement: u32| {
        format!("\"00.000.000/0001-91\";\"ENTIDADE INVENTADA\";\"{agreement}\";\"X\";\"Y\"\r\n")
    };
    let header = "\"CNPJ ENTIDADE\";\"NOME ENTIDADE\";\"NUMERO CONVENIO\";\"ORGAO CONCEDENTE\";\"MOTIVO DO IMPEDIMENTO\"\r\n";
    let list = format!("{header}{}", (0..40).map(row).collect::<String>());
    let read = read(list, ListSource::Cepim).expect("a list");
    assert_eq!((read.tally.rows, read.tally.active, read.rejects.len()), (40, 40, 0));
    assert_eq!(snapshot(read).counts().documents, 1);
}

#[test]
fn a_spreadsheet_may_write_semicolons() {
    assert_eq!(
        read("documento;escopo\n04933228680;exact\n", ListSource::Plain)
            .expect("a list")
            .tally
            .active,
        1
    );
    assert_eq!(read("document\n04933228680", ListSource::Plain).expect("a list").tally.active, 1);
}

#[test]
fn what_is_no_list_is_told_apart() {
    for (file, says) in [
        (&b""[..], "empty"),
        (b" \r\n\n", "empty"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xff\xfed\0o\0c\0", "UTF-16"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"{\"error\": 1}", "JSON"),
        (b"%PDF-1.7", "PDF"),
        (b"document\n\0\0\0", "binary"),
        (b"\x7fELF\x02\0\0", "binary"),
        (b"name,city\nA,B\n", "no column \"document\" among the 2"),
        (b"04933228680\n", "no column"),
        (b"document,scope\n", "no rows"),
    ] {
        let message = refusal(file, ListSource::Plain);
        assert!(message.contains(says), "{says}: {message}");
        assert!(!message.contains("0493"), "{message}");
    }
    let header_only = &CEIS[..CEIS.iter().position(|&b| b == b'\n').expect("a line") + 1];
    assert!(refusal(header_only, ListSource::Ceis).contains("no rows"));
    assert!(refusal(CEIS, ListSource::Cepim).contains("CNPJ ENTIDADE"));
    assert!(refusal(CEIS, ListSource::Plain).contains("document"));
}

#[test]
fn a_file_cut_anywhere_inside_a_row_is_refused() {
    // The last rows of a small list: each cut either falls between two rows or is refused.
    let lines: Vec<&[u8]> = CEIS.split_inclusive(|&byte| byte == b'\n').take(12).collect();
    let list = lines.concat();
    let whole = read(&list, ListSource::Ceis).expect("a list").tally;
    let header = lines[0].len();
    let (mut accepted, mut refused) = (0, 0);
    for len in header + 1..list.len() {
        match read(&list[..len], ListSource::Ceis) {
            Err(error) => {
                let message = error.to_string();
                assert!(
                    message.contains("cut off") || message.contains("no rows"),
                    "{len}: {message}"
                );
                refused += 1;
            }
            // A row that lacks nothing but its line end, or the second byte of it.
            Ok(read) => {
                assert!(
                    list[..len].ends_with(b"\"")
                        || list[..len].ends_with(b"\r")
                        || list[..len].ends_with(b"\n"),
                    "{len}"
                );
                assert!(read.tally.wrong_fields == 0 && read.tally.rows <= whole.rows);
                accepted += 1;
            }
        }
    }
    assert!(accepted < 40 && refused > 2_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn an_unclosed_quote_is_bounded_and_named() {
    let mut list = b"document,reason\n04933228680,a\n04933228680,\"never closed\n".to_vec();
    assert!(refusal(&list, ListSource::Plain).contains("inside the row of line 3"));
    list.resize(list.len() + 3 * MAX_ROW_LEN as usize, b'x');
    let message = refusal(&list, ListSource::Plain);
    assert!(message.contains("line 3") && message.contains("longer"), "{message}");
    // Without end, and without memory for it.
    let endless = b"document\n\"".chain(std::io::repeat(b'x'));
    assert!(matches!(
        read_on(endless, ListSource::Plain, DAY),
        Err(ImportError::RowTooLong { line: 2 })
    ));
}

#[test]
fn a_row_like_the_end_marker_is_a_row() {
    let list = "document,scope\ncatraca: end of list\n04933228680,exact\n";
    let tally = read(list, ListSource::Plain).expect("a list").tally;
    assert_eq!((tally.rows, tally.wrong_fields, tally.active), (2, 1, 1));
}

#[test]
fn errors_of_reading_and_of_the_rejects_are_passed_on() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is on fire"))
        }
    }
    let list = b"document\n04933228680\n".chain(Failing);
    let error =
        read_on(list, ListSource::Plain, DAY).map(|read| read.tally).expect_err("a failing disk");
    assert!(error.to_string().contains("on fire"), "{error}");
    let options = Options { as_of: DAY, sanctions_scope: Scope::Root, ignore_columns: false };
    let full = |_| Err(std::io::Error::other("no space"));
    let error =
        read_list(&b"document\n1\n"[..], ListSource::Plain, &options, &mut Draft::default(), full)
            .expect_err("full");
    assert!(matches!(error, ImportError::Rejects(_)), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), published in any::<bool>()) {
        let header: &[u8] = if published { b"CNPJ ENTIDADE;X\n" } else { b"document,scope\n" };
        let source = if published { ListSource::Cepim } else { ListSource::Plain };
        if let Ok(read) = read([header, &bytes].concat(), source) {
            prop_assert_eq!(read.tally.active, read.draft.entries.len() as u64);
            prop_assert_eq!(read.tally.rows - read.tally.active + read.tally.doubtful, read.rejects.len() as u64);
        }
        let _ = read(&bytes, source);
    }
}
