//! Lists fail closed: whatever can't be read of a row that names a document never makes the
//! document free.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A CNPJ that lost its first three zeros on the way is a valid CPF.
const SHORT_CNPJ: &str = "40188000100";
const CPF: &str = "04933228680";
const CNPJ: &str = "14112015000156";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Builds from one list as of 2026-11-25.
    fn build(&self, kind: &str, list: &[u8], more: &[&str]) -> Output {
        let (source, out) = (self.path("list.csv"), self.path("list.catraca"));
        std::fs::write(&source, list).expect("written");
        let _ = std::fs::remove_file(&out);
        let (source, out) = (format!("{kind}={}", source.display()), out.display().to_string());
        let as_of: &[&str] =
            if more.contains(&"--as-of") { &[] } else { &["--as-of", "2026-11-25"] };
        catraca(&[&["build", "--source", &source, "--out", &out, "--json"], as_of, more].concat())
    }

    fn is_listed(&self, document: &str) -> bool {
        let answer =
            catraca(&["check", &self.path("list.catraca").display().to_string(), document]);
        match answer.status.code() {
            Some(0) => false,
            Some(3) => true,
            _ => panic!("{answer:?}"),
        }
    }

    /// Builds, and gives what was counted.
    fn built(&self, kind: &str, list: &[u8], more: &[&str]) -> Value {
        let output = self.build(kind, list, more);
        assert!(output.status.success(), "{}: {output:?}", String::from_utf8_lossy(list));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Is refused, and gives the sentence.
    fn refused(&self, kind: &str, list: &[u8], more: &[&str]) -> String {
        let output = self.build(kind, list, more);
        assert_eq!(output.status.code(), Some(1), "{}: {output:?}", String::from_utf8_lossy(list));
        assert!(!self.path("list.catraca").exists(), "a refused list was written");
        let sentence = String::from_utf8(output.stderr).expect("text");
        assert!(!sentence.contains(CPF) && !sentence.contains(CNPJ), "{sentence}");
        sentence
    }
}

fn catraca(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_catraca"))
        .arg("blacklist")
        .args(arguments)
        .output()
        .expect("it starts")
}

fn ceis(start: &str, end: &str) -> String {
    format!(
        "\"CPF OU CNPJ DO SANCIONADO\";\"DATA INÍCIO SANÇÃO\";\"DATA FINAL SANÇÃO\"\r\n\"{CPF}\";\"{start}\";\"{end}\"\r\n"
    )
}

fn cp1252(text: &str) -> Vec<u8> {
    let (bytes, _, lossy) = encoding_rs::WINDOWS_1252.encode(text);
    assert!(!lossy);
    bytes.into_owned()
}

#[test]
fn a_sanction_without_information_on_its_end_has_none() {
    let folder = Folder::new();
    for word in ["Sem informação", "SEM INFORMAÇÃO", "sem informacao", ""] {
        let list = ceis("01/01/2020", word);
        for bytes in [list.clone().into_bytes(), cp1252(&list)] {
            let counted = folder.built("ceis", &bytes, &[]);
            assert_eq!(
                (&counted["active_rows"], &counted["doubtful_rows"]),
                (&1.into(), &0.into()),
                "{word}"
            );
            assert!(folder.is_listed(CPF), "{word}");
        }
    }
}

#[test]
fn an_end_date_is_read_or_is_none() {
    let folder = Folder::new();
    for until in [
        "31/12/2026 00:00",
        "2026-12-31T00:00:00",
        "1/2/2030",
        "-",
        "  /  /    ",
        "N/A",
        "indeterminado",
        "'31/12/2026",
    ] {
        let list = format!("document,valid_until\n{CPF},{until}\n");
        let counted = folder.built("plain", list.as_bytes(), &[]);
        assert_eq!(
            (&counted["active_rows"], &counted["assumed_open"]),
            (&1.into(), &0.into()),
            "{until}"
        );
        assert!(folder.is_listed(CPF), "{until}");
    }
    // Read, and not taken for none.
    for until in ["24/11/2026 23:59", "2026-11-24T23:59:59-03:00", "1/2/2020", "=\"24/11/2026\""] {
        let list = format!("document,valid_until\n{CPF},{until}\n{CNPJ},\n");
        assert_eq!(folder.built("plain", list.as_bytes(), &[])["expired_rows"], 1, "{until}");
        assert!(!folder.is_listed(CPF), "{until}");
    }
}

#[test]
fn what_stays_unreadable_is_listed_and_counted_if_it_may_be() {
    let folder = Folder::new();
    let cases = [
        ("valid_until", "31/02/2026", "assumed_open"),
        ("valid_until", "12/31/2020", "assumed_open"),
        ("valid_until", "20200101", "assumed_open"),
        // What databases and spreadsheets write where there is no date.
        ("valid_until", "31/12/0026", "assumed_open"),
        ("valid_until", "0001-01-01", "assumed_open"),
        ("valid_until", "01/01/0001 00:00:00", "assumed_open"),
        ("valid_until", "30/12/1899", "assumed_open"),
        ("valid_until", "01/01/1900", "assumed_open"),
        ("valid_until", "1970-01-01", "assumed_open"),
        ("valid_from", "2206-01-01", "assumed_begun"),
        ("valid_from", "9999-12-31", "assumed_begun"),
        ("valid_from", "31/02/2030", "assumed_begun"),
        ("valid_from", "46022", "assumed_begun"),
        ("scope", "everything", "assumed_root"),
    ];
    for (column, text, counted_as) in cases {
        let list = format!("document,{column}\n{CNPJ},{text}\n");
        let sentence = folder.refused("plain", list.as_bytes(), &[]);
        assert!(
            sentence.contains("--max-doubtful") && sentence.contains("1 rows"),
            "{text}: {sentence}"
        );
        let counted = folder.built("plain", list.as_bytes(), &["--max-doubtful", "1"]);
        assert_eq!(
            (&counted["doubtful_rows"], &counted[counted_as]),
            (&1.into(), &1.into()),
            "{text}"
        );
        assert!(folder.is_listed(CNPJ), "{text}");
        // Another branch of the same company.
        assert_eq!(folder.is_listed("14112015000237"), counted_as == "assumed_root", "{text}");
    }
    // Dates of which one must be wrong: as they stand the entry would never count.
    let list = format!("document,valid_from,valid_until\n{CPF},2026-12-01,2025-12-31\n");
    assert!(folder.refused("plain", list.as_bytes(), &[]).contains("--max-doubtful"));
    let counted = folder.built("plain", list.as_bytes(), &["--max-doubtful", "1"]);
    assert_eq!(
        (&counted["assumed_open"], &counted["assumed_begun"], &counted["active_rows"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert!(folder.is_listed(CPF));
    // A published list has some by itself; none of its rows is free.
    let counted = folder.built("ceis", ceis("31/02/2024", "Fevereiro").as_bytes(), &[]);
    assert_eq!(
        (&counted["assumed_begun"], &counted["assumed_open"], &counted["doubtful_rows"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert!(folder.is_listed(CPF));
    let many = ceis("31/02/2024", "") + &format!("\"{CNPJ}\";\"x\";\"\"\r\n");
    assert!(folder.refused("ceis", many.as_bytes(), &[]).contains("more than the 1 that may"));
}

#[test]
fn a_row_with_the_wrong_number_of_fields_lists_the_document_it_names() {
    let folder = Folder::new();
    let list = format!("document,scope,valid_until\n{CPF},exact\n{CNPJ},exact,01/01/2020,more\n");
    assert!(folder.refused("plain", list.as_bytes(), &[]).contains("--max-doubtful"));
    let counted = folder.built("plain", list.as_bytes(), &["--max-doubtful", "2"]);
    assert_eq!((&counted["active_rows"], &counted["doubtful_fields_rows"]), (&2.into(), &2.into()));
    assert!(folder.is_listed(CPF) && folder.is_listed(CNPJ));
}

#[test]
fn a_list_with_a_column_for_each_kind_of_document_lists_both() {
    let folder = Folder::new();
    let list = format!("cpf,cnpj\n{CPF},\n,{CNPJ}\n049.332.286-80,14.112.015/0001-56\n");
    let counted = folder.built("plain", list.as_bytes(), &[]);
    assert_eq!(
        (&counted["active_rows"], &counted["distinct_active_documents"]),
        (&3.into(), &2.into())
    );
    assert!(folder.is_listed(CPF) && folder.is_listed(CNPJ));
    // The document that can be read is listed although the other can't.
    let list = format!("cpf,cnpj\n{CPF},14112015000157\n");
    assert!(folder.refused("plain", list.as_bytes(), &[]).contains("--max-rejects"));
    folder.built("plain", list.as_bytes(), &["--max-rejects", "100"]);
    assert!(folder.is_listed(CPF));
}

#[test]
fn a_column_of_one_kind_takes_no_other() {
    let folder = Folder::new();
    for (column, document) in [("cnpj", SHORT_CNPJ), ("cpf", CNPJ)] {
        let list = format!("{column}\n{document}\n");
        assert!(folder.refused("plain", list.as_bytes(), &[]).contains("1 of 1 rows"), "{column}");
    }
    let list = format!("cnpj\n{SHORT_CNPJ}\n{CNPJ}\n");
    let counted = folder.built("plain", list.as_bytes(), &["--max-rejects", "50"]);
    assert_eq!(counted["invalid_document_rows_by_reason"]["wrong_kind"], 1);
    assert!(!folder.is_listed(SHORT_CNPJ), "somebody else's CPF was listed");
    let cepim = format!(
        "\"CNPJ ENTIDADE\";\"NOME ENTIDADE\"\r\n\"{SHORT_CNPJ}\";\"ENTIDADE INVENTADA\"\r\n"
    );
    assert!(folder.refused("cepim", cepim.as_bytes(), &[]).contains("1 of 1 rows"));
}

#[test]
fn unknown_columns_of_a_plain_list_are_refused_unless_they_are_ignored() {
    let folder = Folder::new();
    for column in ["valid_untill", "validade"] {
        let list = format!("document,{column}\n{CPF},01/01/2020\n");
        let sentence = folder.refused("plain", list.as_bytes(), &[]);
        assert!(
            sentence.contains("--ignore-columns") && sentence.contains(&column.replace('_', " ")),
            "{sentence}"
        );
        folder.built("plain", list.as_bytes(), &["--ignore-columns"]);
        assert!(folder.is_listed(CPF));
    }
}

#[test]
fn what_a_spreadsheet_did_to_a_document_is_read_or_stops_the_build() {
    let folder = Folder::new();
    for field in [
        format!("'{CNPJ}"),
        format!("=\"{CNPJ}\""),
        format!("\"=\"\"{CNPJ}\"\"\""),
        format!("\u{a0}{CNPJ} "),
    ] {
        let list = format!("document,scope\n{field},exact\n");
        folder.built("plain", list.as_bytes(), &[]);
        assert!(folder.is_listed(CNPJ), "{field}");
    }
    for field in [
        "\"1,4112E+13\"",
        "1.4112E+13",
        "14112015000156.0",
        "4933228680",
        "4112015000156",
        "4933228680.0",
    ] {
        let list = format!("document,scope\n{CPF},exact\n{field},exact\n");
        let sentence = folder.refused("plain", list.as_bytes(), &[]);
        assert!(
            sentence.contains("1 of 2 rows") && sentence.contains("--rejects"),
            "{field}: {sentence}"
        );
        folder.built("plain", list.as_bytes(), &["--max-rejects", "50"]);
        assert!(folder.is_listed(CPF));
    }
    // One in a hundred may be.
    let list = |rows: usize| format!("document\n{}1234\n", format!("{CPF}\n").repeat(rows - 1));
    assert!(folder.refused("plain", list(99).as_bytes(), &[]).contains("1 of 99"));
    folder.built("plain", list(100).as_bytes(), &[]);
}

#[test]
fn empty_rows_of_a_spreadsheet_name_nobody() {
    let folder = Folder::new();
    let counted = folder.built(
        "plain",
        format!("document;scope;reason\n{CPF};exact;\n;;\n\"\";  ;\n").as_bytes(),
        &[],
    );
    assert_eq!((&counted["rows"], &counted["active_rows"]), (&1.into(), &1.into()));
    // One with a reason has lost its document.
    assert!(
        folder
            .refused(
                "plain",
                format!("document;scope;reason\n{CPF};exact;\n;;fraud\n").as_bytes(),
                &[]
            )
            .contains("1 of 2")
    );
    assert!(folder.refused("plain", b"document;scope\n;\n", &[]).contains("no rows"));
}

#[test]
fn doubtful_rows_are_in_the_file_of_rejects_and_in_the_table() {
    let folder = Folder::new();
    let (rejects, out) = (folder.path("rejects.csv"), folder.path("out").display().to_string());
    let source = folder.path("own.csv");
    std::fs::write(&source, format!("document,scope,valid_until\n{CPF},all,soon\n{CNPJ},exact\n"))
        .expect("written");
    let source = format!("plain={}", source.display());
    let rejects_name = rejects.display().to_string();
    let build = |more: &[&str]| {
        catraca(
            &[&["build", "--source", &source, "--out", &out, "--rejects", &rejects_name], more]
                .concat(),
        )
    };
    // Also where the build fails: that is when somebody looks.
    for more in [&[][..], &["--max-doubtful", "2"]] {
        let output = build(more);
        assert_eq!(output.status.success(), !more.is_empty(), "{output:?}");
        let text = std::fs::read_to_string(&rejects).expect("written");
        assert_eq!(
            text,
            "source,line,reason,document\nplain,2,assumed_open+assumed_root,***332286**\nplain,3,wrong_fields,***120150*****\n"
        );
        if !more.is_empty() {
            let table = String::from_utf8(output.stdout).expect("text");
            for line in [
                "active, but doubtful",
                "taken as without end",
                "taken as the whole company",
                "America/Sao_Paulo",
            ] {
                assert!(table.contains(line), "{line}: {table}");
            }
        }
    }
}

#[test]
fn an_entry_carries_its_dates_and_its_reason() {
    let folder = Folder::new();
    let list = format!(
        "document,valid_from,valid_until,reason\n{CPF},,26/11/2026,a court order\n{CNPJ},2026-11-27,,fraud\n00000000000191,,2026-11-24,\n"
    );
    let counted = folder.built("plain", list.as_bytes(), &[]);
    for (name, count) in [
        ("active_rows", 1),
        ("future_rows", 1),
        ("expired_rows", 1),
        ("distinct_active_documents", 1),
    ] {
        assert_eq!(counted[name], count, "{name}");
    }
    assert_eq!(
        (&counted["snapshot"]["entries"], &counted["snapshot"]["future_documents"]),
        (&2.into(), &1.into())
    );
    let list = folder.path("list.catraca").display().to_string();
    for (on, expected) in [
        ("2026-11-25", [true, false]),
        ("2026-11-26", [true, false]),
        ("2026-11-27", [false, true]),
    ] {
        let answer = catraca(&["check", &list, CPF, CNPJ, "--on", on, "--json"]);
        let answer: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
        let listed = [0, 1].map(|n| answer["documents"][n]["listed"] == true);
        assert_eq!(
            (listed, &answer["on"], &answer["time_zone"]),
            (expected, &on.into(), &"America/Sao_Paulo".into()),
            "{on}"
        );
    }
    let answer = catraca(&["check", &list, CPF, CNPJ, "--on", "2026-11-26"]);
    let text = String::from_utf8(answer.stdout).expect("text");
    assert!(text.contains("listed by plain, exact, until 2026-11-26: a court order\n"), "{text}");
    assert!(
        text.contains("not listed; will be by plain, exact, from 2026-11-27: fraud\n"),
        "{text}"
    );
    assert_eq!(catraca(&["check", &list, CPF, CNPJ, "--on", "2027-01-01"]).status.code(), Some(3));
    assert_eq!(catraca(&["check", &list, CPF, "--on", "2027-01-01"]).status.code(), Some(0));
}

#[test]
fn a_list_that_is_yet_to_begin_lists_nobody_today() {
    let folder = Folder::new();
    let list = format!("document,valid_from\n{CPF},2026-11-26\n");
    assert!(folder.refused("plain", list.as_bytes(), &[]).contains("nobody would be listed"));
    let counted = folder.built("plain", list.as_bytes(), &["--force"]);
    assert_eq!(
        (&counted["active_rows"], &counted["snapshot"]["future_documents"]),
        (&0.into(), &1.into())
    );
}

#[test]
fn the_date_of_a_list_is_in_its_name_or_unknown() {
    let folder = Folder::new();
    let (out, list) = (folder.path("out").display().to_string(), ceis("01/01/2020", ""));
    let build = |names: &[&str]| -> Value {
        let sources: Vec<String> = names
            .iter()
            .flat_map(|name| {
                std::fs::write(folder.path(name), &list).expect("written");
                ["--source".to_owned(), format!("ceis={}", folder.path(name).display())]
            })
            .collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let output = catraca(&[&["build", "--out", &out, "--json"][..], &sources].concat());
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    for (names, date) in [
        (&["20261122_CEIS.csv"][..], Value::from("2026-11-22")),
        (&["20261122_CEIS.csv", "20261120_CEIS.csv"], Value::from("2026-11-20")),
        (&["20261122_CEIS.csv", "more.csv"], Value::Null),
        (&["20261322_CEIS.csv"], Value::Null),
    ] {
        assert_eq!(build(names)["snapshot"]["source_dates"]["ceis"], date, "{names:?}");
    }
}

#[test]
fn an_unknown_time_zone_is_refused() {
    let output =
        Folder::new().build("plain", b"document\n04933228680\n", &["--time-zone", "Brasilia"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no time zone"), "{output:?}");
}

#[test]
fn a_quote_that_would_swallow_rows_refuses_the_list() {
    let folder = Folder::new();
    let swallowing = [
        // Text behind a closing quote.
        (2, format!("document,reason\n{CPF},\"fraude\n11122233396,x\n22233344405,\"outra\"\n")),
        (3, format!("document,reason\n{CNPJ},x\n{CPF},\"TV 50\"\" roubada\n11122233396,\"x\"\n")),
        (2, format!("document,reason\n{CPF},\"TV 50\" roubada\"\n")),
        // Closed by a quote that stands at a line's end.
        (2, format!("document,reason\n{CPF},\"fraude\n{CNPJ},x\n22233344405,TV 50\"\n")),
        (2, format!("document,reason,scope\r\n{CPF},\"fraude\r\n{CNPJ}\",exact\r\n")),
        (2, format!("reason,document\n\"fraude,{CPF}\nx,{CNPJ}\ny\",{CPF}\n")),
        (1, format!("document,\"reason\n{CPF},x\n\",scope\n{CNPJ},,\n")),
        // Two rows in one line.
        (2, format!("document,reason\n{CPF},x,{CNPJ},y\n")),
    ];
    for (line, list) in swallowing {
        let more = ["--max-rejects", "100", "--max-doubtful", "9", "--ignore-columns"];
        let sentence = folder.refused("plain", list.as_bytes(), &more);
        assert!(
            sentence.contains(&format!("quote is missing or too many in the row of line {line},")),
            "{list}: {sentence}"
        );
    }
    let published = ceis("01/01/2020", "")
        + &format!("\"{CNPJ}\";\"01/01/2020\";\"\r\n\"{CPF}\";\"01/01/2020\";\"\"\r\n");
    assert!(folder.refused("ceis", published.as_bytes(), &[]).contains("row of line 3,"));
    // What a text may have.
    for reason in [
        "\"TV 50\"\" roubada\"",
        "TV 50\" roubada",
        "\"two\nlines, and more\"",
        "\"ends so\" ",
        "\"CPF\n12345678900, none\"",
    ] {
        let list = format!("\u{feff}\"document\",reason\n\"{CPF}\",{reason}\n{CNPJ},x,,\n");
        let counted = folder.built("plain", list.as_bytes(), &["--max-doubtful", "1"]);
        assert_eq!(counted["active_rows"], 2, "{reason}");
        assert!(folder.is_listed(CPF) && folder.is_listed(CNPJ), "{reason}");
    }
}

/// A list of CEIS with one row for each kind of person and number.
fn ceis_of_persons(rows: &[(&str, &str)]) -> Vec<u8> {
    let mut list = "\"TIPO DE PESSOA\";\"CPF OU CNPJ DO SANCIONADO\";\"DATA INÍCIO SANÇÃO\";\"DATA FINAL SANÇÃO\"\r\n".to_owned();
    for (person, number) in rows {
        list.push_str(&format!("\"{person}\";\"{number}\";\"01/01/2020\";\"\"\r\n"));
    }
    cp1252(&list)
}

#[test]
fn the_kind_of_person_of_a_published_list_decides_whose_a_number_is() {
    let folder = Folder::new();
    // Sound as a CPF, and with the zeros that a spreadsheet dropped as a CNPJ.
    let padded = format!("000{SHORT_CNPJ}");
    for (person, number, listed, free) in [
        ("J", SHORT_CNPJ, padded.as_str(), SHORT_CNPJ),
        ("F", SHORT_CNPJ, SHORT_CNPJ, padded.as_str()),
        ("F", padded.as_str(), SHORT_CNPJ, padded.as_str()),
        ("J", padded.as_str(), padded.as_str(), SHORT_CNPJ),
        // The kind is wrong: the document counts.
        ("F", CNPJ, CNPJ, SHORT_CNPJ),
    ] {
        let counted = folder.built("ceis", &ceis_of_persons(&[(person, number)]), &[]);
        let doubtful = i32::from(number.len() != if person == "F" { 11 } else { 14 });
        assert_eq!(
            (&counted["active_rows"], &counted["assumed_document"]),
            (&1.into(), &doubtful.into()),
            "{person} {number}"
        );
        assert!(folder.is_listed(listed) && !folder.is_listed(free), "{person} {number}");
    }
    // Nobody says whose it is: both.
    let counted =
        folder.built("plain", format!("document\n{padded}\n").as_bytes(), &["--max-doubtful", "1"]);
    assert_eq!(counted["assumed_document"], 1);
    assert!(folder.is_listed(&padded) && folder.is_listed(SHORT_CNPJ));
}

#[test]
fn a_published_list_that_a_spreadsheet_damaged_is_refused_though_as_many_masks_are_not() {
    let folder = Folder::new();
    let list = |damaged: usize, text: &'static str| {
        let rows: Vec<_> =
            (0..100).map(|n| if n < damaged { ("J", text) } else { ("F", CPF) }).collect();
        ceis_of_persons(&rows)
    };
    assert_eq!(folder.built("ceis", &list(20, "***.332.286-**"), &[])["masked_document_rows"], 20);
    assert_eq!(folder.built("ceis", &list(10, "1,4112E+13"), &[])["invalid_document_rows"], 10);
    let sentence = folder.refused("ceis", &list(11, "1,4112E+13"), &[]);
    assert!(
        sentence.contains("11 of 100 rows") && sentence.contains("--max-rejects"),
        "{sentence}"
    );
    folder.built("ceis", &list(11, "1,4112E+13"), &["--max-rejects", "11"]);
}

#[test]
fn a_list_of_one_source_less_is_refused_though_few_documents_are_lost() {
    let folder = Folder::new();
    let persons: Vec<_> = (0..9).map(|_| ("F", CPF)).collect();
    let (large, small) = (folder.path("large.csv"), folder.path("small.csv"));
    let own: String = (100_000_000..100_000_200).map(|n| format!("{}\n", cpf(n))).collect();
    std::fs::write(&large, format!("document\n{own}")).expect("written");
    std::fs::write(&small, ceis_of_persons(&persons)).expect("written");
    let (large, small) =
        (format!("plain={}", large.display()), format!("ceis={}", small.display()));
    let out = folder.path("both.catraca").display().to_string();
    let build = |sources: &[&str]| {
        let sources: Vec<_> = sources.iter().flat_map(|source| ["--source", source]).collect();
        catraca(&[&["build", "--out", &out], sources.as_slice()].concat())
    };
    assert!(build(&[&large, &small]).status.success());
    let refused = build(&[&large]);
    let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(1) && sentence.contains("0 entries of ceis instead of 1"),
        "{sentence}"
    );
}

/// A CPF with these first nine digits.
fn cpf(first: u32) -> String {
    let mut digits: Vec<u32> = first.to_string().chars().filter_map(|c| c.to_digit(10)).collect();
    for _ in 0..2 {
        let weighed: u32 = digits.iter().rev().zip(2..).map(|(digit, weight)| digit * weight).sum();
        digits.push(if weighed % 11 < 2 { 0 } else { 11 - weighed % 11 });
    }
    digits.iter().map(u32::to_string).collect()
}

#[test]
fn a_list_is_asked_for_no_day_before_its_own() {
    let folder = Folder::new();
    folder.built("plain", format!("document\n{CPF}\n").as_bytes(), &[]);
    let list = folder.path("list.catraca").display().to_string();
    for document in [CPF, CNPJ] {
        let answer = catraca(&["check", &list, document, "--on", "2026-11-24"]);
        let sentence = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(
            answer.status.code() == Some(1) && sentence.contains("built for 2026-11-25"),
            "{sentence}"
        );
    }
    assert_eq!(catraca(&["check", &list, CPF, "--on", "2026-11-25"]).status.code(), Some(3));
    let note = folder
        .build("plain", format!("document\n{CPF}\n").as_bytes(), &["--as-of", "2148-01-01"])
        .stderr;
    assert!(String::from_utf8_lossy(&note).contains("from that day on"), "{note:?}");
}

#[test]
fn a_plain_list_cut_inside_its_last_day_is_refused() {
    let folder = Folder::new();
    let cut = format!("document,valid_until\n{CNPJ},\n{CPF},2026-12-3");
    assert!(folder.refused("plain", cut.as_bytes(), &[]).contains("cut off"));
    folder.built("plain", format!("{cut}1").as_bytes(), &[]);
    folder.built("plain", format!("{cut}\n").as_bytes(), &[]);
}

#[test]
fn a_dash_in_the_column_that_a_row_does_not_fill_is_nothing() {
    let folder = Folder::new();
    let list = format!("cpf,cnpj\n{CPF},-\nN/A,{CNPJ}\n");
    assert_eq!(folder.built("plain", list.as_bytes(), &[])["active_rows"], 2);
    assert!(folder.is_listed(CPF) && folder.is_listed(CNPJ));
    assert!(folder.refused("plain", b"cpf,cnpj\n-,-\n", &[]).contains("1 of 1 rows"));
}

#[test]
fn no_file_that_is_written_takes_the_place_of_another() {
    let folder = Folder::new();
    let out = folder.path("list.catraca").display().to_string();
    let both =
        folder.refused("plain", format!("document\n{CPF}\n").as_bytes(), &["--rejects", &out]);
    assert!(both.contains("the list itself"), "{both}");
}

#[test]
fn the_rejects_of_a_build_that_fails_are_its_own() {
    let folder = Folder::new();
    let rejects = folder.path("rejects.csv");
    std::fs::write(&rejects, "of yesterday").expect("written");
    let shown = rejects.display().to_string();
    folder.refused(
        "plain",
        format!("document\n04933228681\n{CPF},\"").as_bytes(),
        &["--rejects", &shown],
    );
    let rejected = std::fs::read_to_string(&rejects).expect("written");
    assert!(
        rejected.contains("document_check_digit") && !rejected.contains("yesterday"),
        "{rejected}"
    );
}
