//! `catraca blacklist build` and the list that it makes: which lists are refused as a whole, for
//! which days the made one answers, and which files are written.

mod blacklist_support;

use blacklist_support::{CNPJ, CPF, Folder, catraca, ceis, ceis_of_persons};
use serde_json::Value;

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
