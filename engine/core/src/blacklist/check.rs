//! What is checked of a snapshot whose hashes are right: that somebody who looks a document up
//! finds what the file says, and only that. So a file with sound hashes that another program made
//! wrongly is refused, too.

use super::ROOT_TAG;
use super::bucket::{DATED, REASON_SHIFT, SOURCES, Table};
use super::entry::MAX_REASON_LEN;
use super::format::{Content, REASON_HEAD_LEN, SNAPSHOT_SOURCES};
use super::span::Span;
use catraca_wire::DocumentKey;
use catraca_wire::frame::ListSource;

/// 36^8: one past the largest CNPJ root.
const CNPJ_ROOTS: u64 = 36u64.pow(8);
/// The bit of [`ListSource::Plain`] in a slot's byte: the only list whose reasons are kept there.
const PLAIN: u8 = 1 << (SNAPSHOT_SOURCES - 1);
const _: () = assert!(PLAIN == 1 << (ListSource::Plain as u8 - 1));

/// Reads the reasons.
pub(super) fn reasons(bytes: &[u8], content: &Content) -> Result<Vec<Box<str>>, &'static str> {
    let mut texts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (head, behind) =
            rest.split_first_chunk::<REASON_HEAD_LEN>().ok_or("a reason that is cut off")?;
        let len = usize::from(u16::from_le_bytes(*head));
        if len == 0 || len > MAX_REASON_LEN {
            return Err("a reason of a length that none has");
        }
        let (text, behind) = behind.split_at_checked(len).ok_or("a reason that is cut off")?;
        let text = std::str::from_utf8(text).map_err(|_| "a reason that is no text")?;
        if text.chars().any(char::is_control) {
            return Err("a reason that is no text");
        }
        texts.push(text.into());
        rest = behind;
    }
    if texts.len() == content.reasons.to_native() as usize {
        Ok(texts)
    } else {
        Err("its header counts other reasons than there are")
    }
}

/// Checks that each slot is free or holds a document with a source in a bucket where it is looked
/// for, that the spans are those of such documents, and that the header counted them right.
pub(super) fn tables(
    exact: Table<'_>,
    roots: Table<'_>,
    spans: &[Span],
    content: &Content,
) -> Result<(), &'static str> {
    let is_root = |key: u64| key & ROOT_TAG == ROOT_TAG && key & !ROOT_TAG < CNPJ_ROOTS;
    let reasons = content.reasons.to_native();
    let exact_slots = slots(exact, |key| DocumentKey::from_raw(key).is_some(), reasons)?;
    let root_slots = slots(roots, is_root, reasons)?;
    if exact_slots.keys != content.exact_entries.to_native()
        || root_slots.keys != content.root_entries.to_native()
    {
        return Err("its header counts other entries than there are");
    }
    if !spans.is_sorted_by(|a, b| a.order() < b.order()) {
        return Err("dated lines out of their order");
    }
    let mut dated_keys = 0;
    for lines in spans.chunk_by(|a, b| a.key == b.key) {
        let key = lines[0].key.to_native();
        let byte = if is_root(key) { roots.find(key) } else { exact.find(key) };
        let byte = byte.ok_or("a dated line of a document that is not there")?;
        let mut dated = false;
        for line in lines {
            let known = (1..=SNAPSHOT_SOURCES as u8).contains(&line.source);
            if !known || line.reserved != 0 || u32::from(line.reason.to_native()) > reasons {
                return Err("a dated line without a known source or reason");
            }
            dated |= line.is_dated();
            // What is undated stands in the bucket; a span of it is there for its reason.
            if !line.is_dated() && (line.reason.to_native() == 0 || byte & line.source_bit() == 0) {
                return Err("a dated line without dates");
            }
        }
        if dated != (byte & DATED != 0) {
            return Err("a document that does not say that it has dates");
        }
        dated_keys += u64::from(dated);
    }
    if dated_keys != exact_slots.dated + root_slots.dated {
        return Err("a document with dates that are not there");
    }
    Ok(())
}

/// Slots in use.
struct Slots {
    keys: u64,
    /// Of the keys, those with dated lines.
    dated: u64,
}

/// Counts the keys of a table; refuses what no builder writes.
fn slots(
    table: Table<'_>,
    is_key: impl Fn(u64) -> bool,
    reasons: u32,
) -> Result<Slots, &'static str> {
    let mut found = Slots { keys: 0, dated: 0 };
    for bucket in table.buckets {
        for (key, &byte) in bucket.keys.iter().map(|key| key.to_native()).zip(&bucket.sources) {
            if key == 0 {
                if byte != 0 {
                    return Err("a source without a document");
                }
                continue;
            }
            if !is_key(key) {
                return Err("a key that no document has");
            }
            if byte & (SOURCES | DATED) == 0 {
                return Err("a document without a known source");
            }
            let reason = u32::from(byte >> REASON_SHIFT);
            if reason > reasons || (reason != 0 && byte & PLAIN == 0) {
                return Err("a document with a reason that is not there");
            }
            // As a look-up finds it: in one of its two places, in the second one only where the
            // first says so, and once.
            if table.find(key) != Some(byte) {
                return Err("a document where nobody looks for it");
            }
            found.keys += 1;
            found.dated += u64::from(byte & DATED != 0);
        }
    }
    Ok(found)
}
