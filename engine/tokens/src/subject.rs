//! The person or program behind a client, as a token's `sub` names it and an audit trail tells it: text of a bounded
//! length, without documents.

use catraca_tls::sha256;
use catraca_wire::DocumentKey;
use catraca_wire::frame::MAX_SUBJECT_LEN;
use catraca_wire::short_text::ShortText;

/// Who is behind a client; empty where that is the client itself.
pub type Subject = ShortText<MAX_SUBJECT_LEN>;

/// Digits of a hash that tells subjects apart whose beginnings are the same, half as many bytes.
const HASH_DIGITS: usize = 16;
/// Bytes of the beginning that stands before it.
const BEGINNING_LEN: usize = MAX_SUBJECT_LEN - HASH_DIGITS - 1;

/// The subject of a token that was issued to this client.
pub(crate) fn subject(sub: &str, client_id: &str) -> Subject {
    if sub == client_id {
        return Subject::EMPTY;
    }
    let text = without_documents(sub);
    ShortText::parse(&text).unwrap_or_else(|| cut(&text, sub))
}

/// A text that is too long, or has characters that are not shown: its beginning, and what tells it from others.
fn cut(text: &str, sub: &str) -> Subject {
    let mut shown: String = text.chars().filter(|character| !character.is_control()).collect();
    while shown.len() > BEGINNING_LEN {
        shown.pop();
    }
    let hash = hex(&sha256(sub.as_bytes())[..HASH_DIGITS / 2]);
    let with_beginning = ShortText::parse(&format!("{}~{hash}", shown.trim_start()));
    // Characters that can't be seen are no control characters, and are not shown either.
    with_beginning.or_else(|| ShortText::parse(&hash)).unwrap_or(Subject::EMPTY)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text with each CPF and CNPJ masked that stands in it between separators.
fn without_documents(text: &str) -> String {
    // The whole may be a document with spaces in it.
    if let Ok(document) = DocumentKey::parse(text) {
        return document.to_string();
    }
    let is_part =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '/');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let len = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(len);
        shown += &without_document(word);
        let separators = behind.find(is_part).unwrap_or(behind.len());
        shown += &behind[..separators];
        rest = &behind[separators..];
    }
    shown
}

/// A word, masked where it is a document; else with the digits masked in it that are one.
fn without_document(word: &str) -> String {
    if let Ok(document) = DocumentKey::parse(word) {
        return document.to_string();
    }
    let mut shown = String::with_capacity(word.len());
    for piece in word.split_inclusive(|character: char| !character.is_ascii_digit()) {
        let digits = piece.trim_end_matches(|character: char| !character.is_ascii_digit());
        match DocumentKey::parse(digits) {
            Ok(document) => shown += &format!("{document}{}", &piece[digits.len()..]),
            Err(_) => shown += piece,
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_by_itself_has_no_subject_and_a_person_has() {
        assert!(subject("core-banking", "core-banking").is_empty());
        assert_eq!(subject("ana@example.com", "desk").as_str(), "ana@example.com");
        assert_eq!(subject("josé", "desk").as_str(), "josé");
    }

    #[test]
    fn documents_are_masked() {
        for (sub, shown) in [
            ("52998224725", "***.982.247-**"),
            ("529.982.247-25", "***.982.247-**"),
            ("cpf:529.982.247-25", "cpf:***.982.247-**"),
            ("user|52998224725", "user|***.982.247-**"),
            ("u52998224725x", "u***.982.247-**x"),
            ("12ABC34501DE35", "12.ABC.345/****-**"),
            ("52998224726", "52998224726"),
        ] {
            assert_eq!(subject(sub, "desk").as_str(), shown, "{sub}");
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_and_stays_apart_from_others() {
        let [one, two] = ["1", "2"].map(|end| subject(&format!("{}{end}", "ã".repeat(100)), "d"));
        assert_ne!(one, two);
        assert!(one.as_str().starts_with("ãã") && one.as_str().contains('~'), "{one}");
        let unseen = subject("a\nb", "d");
        assert!(unseen.as_str().starts_with("ab~"), "{unseen}");
        let hidden = subject("a\u{202e}b", "d");
        assert_eq!(hidden.as_str().len(), HASH_DIGITS, "{hidden}");
        assert!(!subject(" ", "d").is_empty());
    }
}
