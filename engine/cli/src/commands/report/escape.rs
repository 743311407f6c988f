//! Text in HTML and XML: escaped, and what somebody else wrote without documents.

use catraca_wire::document::{DOCUMENT_LEN, DocumentKey};
use std::fmt::{self, Write as _};

/// Stands for a character that may not be there.
const REPLACEMENT: char = '\u{fffd}';
/// Digits of a CPF.
const CPF_LEN: usize = 11;

/// Our own text, to be written between tags or within quotes.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'t>(pub &'t str);

/// Somebody's text, to be written between tags or within quotes. A document in it is masked. Sums and ids of
/// policies may look like a document, so our own text is not taken for somebody's.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'t>(pub &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| write_escaped(f, c))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut before) = (self.0, None);
        while let Some(c) = rest.chars().next() {
            let len = match document_at(before, rest) {
                Some((document, len)) => {
                    write!(f, "{document}")?;
                    len
                }
                None => {
                    write_escaped(f, c)?;
                    c.len_utf8()
                }
            };
            before = rest[..len].chars().next_back();
            rest = &rest[len..];
        }
        Ok(())
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '&' => f.write_str("&amp;"),
        '<' => f.write_str("&lt;"),
        '>' => f.write_str("&gt;"),
        '"' => f.write_str("&quot;"),
        '\'' => f.write_str("&#39;"),
        c if is_harmful(c) => f.write_char(REPLACEMENT),
        c => f.write_char(c),
    }
}

/// What XML can't hold, and what turns the direction of the text around it, so that it reads as what it is
/// not.
fn is_harmful(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// A document that a text begins with, with or without its mask, and its length in bytes. Longer numbers
/// hold none: ids of payments are such numbers.
fn document_at(before: Option<char>, text: &str) -> Option<(DocumentKey, usize)> {
    if before.is_some_and(|c| c.is_ascii_digit()) || !text.starts_with(alphanumeric) {
        return None;
    }
    let (mut characters, mut digits, mut is_separated) = (0, 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '.' | '-' | '/' | ' ' if !is_separated => {
                is_separated = true;
                continue;
            }
            c if alphanumeric(c) && characters < DOCUMENT_LEN => {}
            _ => return None,
        }
        is_separated = false;
        characters += 1;
        digits += usize::from(c.is_ascii_digit());
        let end = at + c.len_utf8();
        let behind = text[end..].chars().next();
        let is_whole = match characters {
            CPF_LEN => digits == CPF_LEN && !behind.is_some_and(|c| c.is_ascii_digit()),
            DOCUMENT_LEN => !before.is_some_and(alphanumeric) && !behind.is_some_and(alphanumeric),
            _ => false,
        };
        if is_whole && let Ok(document) = DocumentKey::parse(&text[..end]) {
            return Some((document, end));
        }
    }
    None
}

const fn alphanumeric(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        Shown(text).to_string()
    }

    #[test]
    fn markup_and_quotes_are_text() {
        assert_eq!(
            shown("<script>alert(\"x\" + 'y')</script> & &lt;"),
            "&lt;script&gt;alert(&quot;x&quot; + &#39;y&#39;)&lt;/script&gt; &amp; &amp;lt;"
        );
        assert_eq!(Escaped("<a b='c'>").to_string(), "&lt;a b=&#39;c&#39;&gt;");
        assert_eq!(shown("Pix à noite\tacima de R$ 1.000\n"), "Pix à noite\tacima de R$ 1.000\n");
        assert_eq!(shown("a\0b\u{1b}c\u{202e}d\r"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}");
    }

    #[test]
    fn a_document_is_masked_and_an_id_is_not() {
        for text in ["52998224725", "529.982.247-25", "529 982 247 25"] {
            assert_eq!(shown(text), "***.982.247-**", "{text}");
        }
        assert_eq!(shown("order-52998224725-001"), "order-***.982.247-**-001");
        assert_eq!(shown("cpf52998224725."), "cpf***.982.247-**.");
        assert_eq!(shown("12 529.982.247-25"), "12 ***.982.247-**");
        assert_eq!(shown("<12ABC34501DE35>"), "&lt;12.ABC.345/****-**&gt;");
        assert_eq!(shown("11.222.333/0001-81"), "11.222.333/****-**");
        for id in ["52998224726", "152998224725", "E0000000020261123120052998224725", "T00000007"] {
            assert_eq!(shown(id), id);
        }
        // A sum.
        assert_eq!(Escaped("R$ 52.998.224.725,00").to_string(), "R$ 52.998.224.725,00");
    }

    proptest! {
        #[test]
        fn nothing_that_is_shown_opens_or_closes_anything(text in any::<String>()) {
            let shown = shown(&text);
            prop_assert!(!shown.contains(['<', '>', '"', '\'']), "{shown}");
            for entity in shown.split('&').skip(1) {
                let is_known = ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|e| entity.starts_with(e));
                prop_assert!(is_known, "{shown}");
            }
        }

        #[test]
        fn no_cpf_is_shown(number in 0..1_000_000_000u32, before in "[a-z <-]{0,5}", behind in "[a-z >-]{0,5}") {
            if let Some(document) = DocumentKey::from_cpf_number(number) {
                let cpf = document.to_canonical();
                let shown = shown(&format!("{before}{cpf}{behind}"));
                prop_assert!(!shown.contains(&cpf), "{shown}");
            }
        }
    }
}
