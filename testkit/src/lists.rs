//! Documents, and entries of lists, for tests that know them to be valid.

use catraca_core::blacklist::Entry;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, Scope};

pub fn key(text: &str) -> DocumentKey {
    DocumentKey::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub fn entry(document: DocumentKey, source: ListSource, scope: Scope) -> Entry {
    Entry::new(document, source, scope).expect("a source of lists")
}
