//! Holds code, golden vectors and PROTOCOL.md to each other: the committed vectors are what the
//! code gives, and decoding them by the tables of the page, as a client's author would, gives their
//! fields.

#[path = "support/vectors/mod.rs"]
mod vectors;

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use vectors::hex;

const PROTOCOL: &str = include_str!("../PROTOCOL.md");

fn committed(text: &str) -> Value {
    serde_json::from_str(text).expect("the committed vectors are JSON")
}

fn frames() -> Vec<Value> {
    committed(include_str!("../vectors/frames.json")).as_array().expect("an array").clone()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(char::is_ascii_hexdigit)
        .map(|c| c.to_digit(16).expect("a digit") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_committed_vectors_are_what_the_code_gives() {
    let hint = "run `cargo run -p catraca-wire --example vectors` if the change of format is meant";
    assert_eq!(committed(include_str!("../vectors/frames.json")), vectors::frames(), "{hint}");
    assert_eq!(committed(include_str!("../vectors/log.json")), vectors::log(), "{hint}");
}

/// One row of a layout table.
#[derive(Debug)]
struct Row {
    offset: usize,
    /// `None`: as long as a field before says.
    size: Option<usize>,
    size_text: String,
    kind: String,
    field: String,
}

/// The layout tables of the page by the first word of their headings.
fn tables() -> BTreeMap<String, Vec<Row>> {
    let mut tables: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    let mut heading = String::new();
    for line in PROTOCOL.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            heading = title.split_whitespace().next().expect("a title").to_owned();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", offset, size, kind, field, _, ""] = cells[..] else { continue };
        let Ok(offset) = offset.parse() else { continue };
        tables.entry(heading.clone()).or_default().push(Row {
            offset,
            size: size.parse().ok(),
            size_text: size.to_owned(),
            kind: kind.to_owned(),
            field: field.to_owned(),
        });
    }
    tables
}

/// Decodes by a table; `shift` is taken off its offsets. Asserts that the fields follow each other
/// without a gap, and use all bytes.
fn decode(
    tables: &BTreeMap<String, Vec<Row>>,
    name: &str,
    skip: &[&str],
    shift: usize,
    wire: &[u8],
) -> Value {
    let mut fields = Map::new();
    let mut expected = if shift == 0 && name != "Header" && name != "Record" { 16 } else { 0 };
    for row in tables.get(name).unwrap_or_else(|| panic!("no table {name}")) {
        if skip.contains(&row.field.as_str()) {
            continue;
        }
        let offset = row.offset - shift;
        assert_eq!(offset, expected, "{name}.{}: a gap or an overlap", row.field);
        let size = row.size.unwrap_or_else(|| {
            let named: &Value = &fields[&row.size_text];
            named.as_u64().expect("a length field") as usize
        });
        expected = offset + size;
        let bytes = &wire[offset..expected];
        let number = || bytes.iter().rev().fold(0u64, |number, &b| number << 8 | u64::from(b));
        let value = match (row.kind.as_str(), size) {
            ("u8", 1) | ("u16", 2) | ("u32", 4) => json!(number()),
            ("u64", 8) => json!(number().to_string()),
            ("i64", 8) => json!(number().cast_signed().to_string()),
            ("bytes", _) => json!(hex(bytes)),
            ("text", _) => {
                let len = bytes.iter().position(|&b| b == 0).unwrap_or(size);
                assert!(bytes[len..].iter().all(|&b| b == 0), "{name}.{}", row.field);
                json!(std::str::from_utf8(&bytes[..len]).expect("text"))
            }
            ("record", 256) => decode(tables, "Record", &[], 0, bytes),
            ("transaction", 172) => decode(tables, "SUBMIT", &["reserved"], 16, bytes),
            (kind, size) => panic!("{name}.{}: {kind} of {size} bytes", row.field),
        };
        fields.insert(row.field.clone(), value);
    }
    assert_eq!(expected, wire.len(), "{name}: bytes left over");
    Value::Object(fields)
}

#[test]
fn the_tables_of_the_page_decode_every_vector() {
    let tables = tables();
    for vector in frames() {
        let name = vector["name"].as_str().expect("a name");
        let wire = unhex(vector["hex"].as_str().expect("hex"));
        assert_eq!(decode(&tables, "Header", &[], 0, &wire[..16]), vector["header"], "{name}");
        let kind = vector["kind"].as_str().expect("a kind");
        assert_eq!(decode(&tables, kind, &[], 0, &wire), vector["fields"], "{name}");
    }
}

/// Tables of codes: (heading, code, name) of the page.
fn codes(heading: &str) -> Vec<(u32, String)> {
    let title = format!("## {heading}");
    let mut rows = Vec::new();
    let mut inside = false;
    for line in PROTOCOL.lines() {
        if line.starts_with("##") {
            inside = line.trim_start_matches('#') == title.trim_start_matches('#');
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if inside
            && cells.len() > 3
            && let Ok(code) = cells[1].parse()
        {
            rows.push((code, cells[2].to_owned()));
        }
    }
    rows
}

#[test]
fn the_code_tables_of_the_page_are_complete() {
    use catraca_wire::frame::{
        BlacklistOp, Breaker, BreakerForce, ClusterOp, Durability, ErrorCode, FrameKind, LabelKind,
        ListSource, PolicyOp, Role, Scope, Stage, Verdict,
    };
    use catraca_wire::list::{ListKeyKind, ListOp};
    use catraca_wire::record::Reason;
    use catraca_wire::transaction::{Channel, Rail};
    macro_rules! holds {
        ($($heading:literal: $name:ident),+ $(,)?) => { $(
            let expected: Vec<_> = $name::ALL.iter().map(|code| (u32::from(code.to_wire()), code.name().to_owned())).collect();
            assert_eq!(codes($heading), expected, $heading);
        )+ };
    }
    holds!(
        "Kinds": FrameKind, "Errors": ErrorCode, "Roles": Role, "Durability": Durability, "Verdicts": Verdict, "Rails": Rail,
        "Channels": Channel, "Reasons": Reason, "List sources": ListSource, "Blacklist operations": BlacklistOp, "Scopes": Scope,
        "Stages": Stage, "Cluster operations": ClusterOp, "Policy operations": PolicyOp, "Labels": LabelKind,
        "List operations": ListOp, "Keys of lists": ListKeyKind, "Forcing": BreakerForce, "Breakers": Breaker,
    );
}

#[test]
fn the_dumps_of_the_page_are_vectors() {
    let by_name: BTreeMap<String, Vec<u8>> = frames()
        .iter()
        .map(|v| {
            (v["name"].as_str().expect("a name").to_owned(), unhex(v["hex"].as_str().expect("hex")))
        })
        .collect();
    let mut seen = 0;
    for block in
        PROTOCOL.split("```text\n").skip(1).map(|rest| rest.split("```").next().expect("a block"))
    {
        let Some((Some(expected), lines)) =
            block.split_once('\n').map(|(name, lines)| (by_name.get(name), lines))
        else {
            continue;
        };
        let mut wire = Vec::new();
        for line in lines.lines() {
            assert_eq!(line[..4].parse(), Ok(wire.len()), "{line}");
            wire.extend(unhex(&line[6..53]));
        }
        assert_eq!(&wire, expected, "{block}");
        seen += 1;
    }
    assert_eq!(seen, 11, "a dump of the page is no vector");
}

#[test]
fn every_kind_of_frame_has_a_vector() {
    for kind in catraca_wire::frame::FrameKind::ALL {
        assert!(frames().iter().any(|vector| vector["kind"] == kind.name()), "{kind}");
    }
}
