//! Fields as text, whatever their encoding and whatever program they went through.

use encoding_rs::WINDOWS_1252;
use std::borrow::Cow;

/// Text of a field: UTF-8 if it is that, else cp1252, in which any byte means something.
pub(super) fn decoded(field: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(field) {
        Ok(text) => text.into(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(field).0,
    }
}

/// What is meant by a field, without the spaces around it and without what a spreadsheet is told
/// that it is text with: `'…` and `="…"`.
pub(super) fn meant(text: &str) -> &str {
    let text = text.trim();
    let quoted = text.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"'));
    quoted.or_else(|| text.strip_prefix('\'')).unwrap_or(text).trim()
}

/// Words without what differs between editions: capitals, accents, and one space for whatever
/// stands between them.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_uppercase) {
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
