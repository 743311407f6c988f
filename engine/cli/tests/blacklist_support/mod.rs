//! A folder with lists, and the program that builds them and answers from them.

#![allow(dead_code, reason = "each test file uses its part")]

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A CNPJ that lost its first three zeros on the way is a valid CPF.
pub const SHORT_CNPJ: &str = "40188000100";
pub const CPF: &str = "04933228680";
pub const CNPJ: &str = "14112015000156";

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn name(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("written");
        self.name(name)
    }

    /// Builds from one list as of 2026-11-25.
    pub fn build(&self, kind: &str, list: &[u8], more: &[&str]) -> Output {
        let (source, out) = (self.path("list.csv"), self.path("list.catraca"));
        std::fs::write(&source, list).expect("written");
        let _ = std::fs::remove_file(&out);
        let (source, out) = (format!("{kind}={}", source.display()), out.display().to_string());
        let as_of: &[&str] =
            if more.contains(&"--as-of") { &[] } else { &["--as-of", "2026-11-25"] };
        catraca(&[&["build", "--source", &source, "--out", &out, "--json"], as_of, more].concat())
    }

    pub fn is_listed(&self, document: &str) -> bool {
        let answer =
            catraca(&["check", &self.path("list.catraca").display().to_string(), document]);
        match answer.status.code() {
            Some(0) => false,
            Some(3) => true,
            _ => panic!("{answer:?}"),
        }
    }

    /// Builds, and gives what was counted.
    pub fn built(&self, kind: &str, list: &[u8], more: &[&str]) -> Value {
        let output = self.build(kind, list, more);
        assert!(output.status.success(), "{}: {output:?}", String::from_utf8_lossy(list));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Is refused, and gives the sentence.
    pub fn refused(&self, kind: &str, list: &[u8], more: &[&str]) -> String {
        let output = self.build(kind, list, more);
        assert_eq!(output.status.code(), Some(1), "{}: {output:?}", String::from_utf8_lossy(list));
        assert!(!self.path("list.catraca").exists(), "a refused list was written");
        let sentence = String::from_utf8(output.stderr).expect("text");
        assert!(!sentence.contains(CPF) && !sentence.contains(CNPJ), "{sentence}");
        sentence
    }
}

/// `catraca blacklist` with these arguments.
pub fn catraca(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_catraca"))
        .arg("blacklist")
        .args(arguments)
        .output()
        .expect("it starts")
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A list of CEIS with one sanction of [`CPF`].
pub fn ceis(start: &str, end: &str) -> String {
    format!(
        "\"CPF OU CNPJ DO SANCIONADO\";\"DATA INÍCIO SANÇÃO\";\"DATA FINAL SANÇÃO\"\r\n\"{CPF}\";\"{start}\";\"{end}\"\r\n"
    )
}

/// A list of CEIS with one row for each kind of person and number.
pub fn ceis_of_persons(rows: &[(&str, &str)]) -> Vec<u8> {
    let mut list = "\"TIPO DE PESSOA\";\"CPF OU CNPJ DO SANCIONADO\";\"DATA INÍCIO SANÇÃO\";\"DATA FINAL SANÇÃO\"\r\n".to_owned();
    for (person, number) in rows {
        list.push_str(&format!("\"{person}\";\"{number}\";\"01/01/2020\";\"\"\r\n"));
    }
    cp1252(&list)
}

pub fn cp1252(text: &str) -> Vec<u8> {
    let (bytes, _, lossy) = encoding_rs::WINDOWS_1252.encode(text);
    assert!(!lossy);
    bytes.into_owned()
}
