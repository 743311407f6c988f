//! Lists fail closed: whatever can't be read of a row that names a document never makes the
//! document free. What becomes of a list as a whole is in `blacklist_build.rs`.

mod blacklist_support;

use blacklist_support::{CNPJ, CPF, Folder, SHORT_CNPJ, catraca, ceis, ceis_of_persons, cp1252};

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
fn a_dash_in_the_column_that_a_row_does_not_fill_is_nothing() {
    let folder = Folder::new();
    let list = format!("cpf,cnpj\n{CPF},-\nN/A,{CNPJ}\n");
    assert_eq!(folder.built("plain", list.as_bytes(), &[])["active_rows"], 2);
    assert!(folder.is_listed(CPF) && folder.is_listed(CNPJ));
    assert!(folder.refused("plain", b"cpf,cnpj\n-,-\n", &[]).contains("1 of 1 rows"));
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
