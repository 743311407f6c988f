//! A condition's text as tokens, at most [`MAX_TOKENS`].

use super::MAX_TOKENS;
use super::error::{Fault, Span};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number, without its sign.
    Number(u64),
    /// A text, its quotes included in the span.
    Text,
    /// A name.
    Name,
    /// An operator, a parenthesis, a comma, a dot.
    Sign(&'static str),
    /// Behind the last one.
    End,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub span: Span,
}

/// Longer ones first.
const SIGNS: [&str; 22] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "(", ")", "[", "]",
    ",", ".", "?", ":",
];

/// The tokens of a condition, with one behind the last.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start_matches([' ', '\t', '\n', '\r']).len();
        if tokens.len() > MAX_TOKENS {
            return Err(Fault::new(
                Span { start: at, end: text.len() },
                format!("the condition has more than {MAX_TOKENS} tokens"),
                "make several rules of it",
            ));
        }
        let Some(first) = text[at..].chars().next() else {
            tokens.push(Token { kind: Kind::End, span: Span { start: at, end: at } });
            return Ok(tokens);
        };
        let token = match first {
            '"' | '\'' => quoted(text, at, first)?,
            '0'..='9' => number(text, at)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let len = text[at..]
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(text.len() - at);
                Token { kind: Kind::Name, span: Span { start: at, end: at + len } }
            }
            _ => sign(text, at, first)?,
        };
        at = token.span.end;
        tokens.push(token);
    }
}

fn sign(text: &str, at: usize, first: char) -> Result<Token, Fault> {
    if let Some(sign) = SIGNS.iter().find(|sign| text[at..].starts_with(**sign)) {
        return Ok(Token {
            kind: Kind::Sign(sign),
            span: Span { start: at, end: at + sign.len() },
        });
    }
    let span = Span { start: at, end: at + first.len_utf8() };
    let help = match first {
        '=' => "write == to compare",
        '&' => "write && for and",
        '|' => "write || for or",
        '“' | '”' | '‘' | '’' | '«' | '»' => "write plain quotes: \" or '",
        _ => "remove it; words that are compared with stand in quotes",
    };
    let shown = if first.is_control() || !first.is_ascii() {
        format!("{first:?} (U+{:04X})", u32::from(first))
    } else {
        first.to_string()
    };
    Err(Fault::new(span, format!("{shown} means nothing here"), help))
}

fn quoted(text: &str, at: usize, quote: char) -> Result<Token, Fault> {
    let content = &text[at + 1..];
    let Some(len) = content.find(quote) else {
        return Err(Fault::new(
            Span { start: at, end: text.len() },
            "the text does not end",
            format!("close it with {quote}"),
        ));
    };
    if let Some(back) = content[..len].find('\\') {
        let start = at + 1 + back;
        return Err(Fault::new(
            Span { start, end: start + 1 },
            "texts have no escapes",
            "write the character itself; a text with one kind of quotes stands in the other",
        ));
    }
    if let Some(control) = content[..len].find(char::is_control) {
        let start = at + 1 + control;
        return Err(Fault::new(
            Span { start, end: start + 1 },
            "a control character stands in the text",
            "remove it",
        ));
    }
    Ok(Token { kind: Kind::Text, span: Span { start: at, end: at + len + 2 } })
}

fn number(text: &str, at: usize) -> Result<Token, Fault> {
    let rest = &text[at..];
    let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let span = Span { start: at, end: at + len };
    let behind = rest[len..].chars().next();
    if behind.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Fault::new(
            Span { start: at, end: at + len + 1 },
            "a number ends in letters",
            "numbers are whole and decimal: 1000; money is reais(10), a time minutes(5)",
        ));
    }
    let fraction =
        behind == Some('.') && rest[len + 1..].chars().next().is_some_and(|c| c.is_ascii_digit());
    if fraction {
        return Err(Fault::new(
            Span { start: at, end: at + len + 1 },
            "numbers are whole",
            "amounts are centavos: R$ 10,50 is 1050",
        ));
    }
    match rest[..len].parse::<u64>() {
        // One more than the largest number is the smallest one, behind a minus.
        Ok(number) if number <= 1 << 63 => Ok(Token { kind: Kind::Number(number), span }),
        _ => Err(Fault::new(
            span,
            "the number is too large",
            "numbers have 64 bits: at most 9223372036854775807",
        )),
    }
}
