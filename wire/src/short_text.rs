//! Short texts that people write, in fields of a fixed length: UTF-8 without control characters, no space at
//! either end, zeros behind it.

use std::fmt;

/// A text of at most `N` bytes, which may be empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortText<const N: usize> {
    /// Zeros behind the text.
    bytes: [u8; N],
}

impl<const N: usize> ShortText<N> {
    /// No text.
    pub const EMPTY: Self = Self { bytes: [0; N] };

    /// From text; `None` where it can't be one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Self::from_wire(&bytes)
    }

    /// From a field; `None` where it can't be one.
    pub fn from_wire(field: &[u8; N]) -> Option<Self> {
        let len = field.iter().position(|&byte| byte == 0).unwrap_or(N);
        let (text, behind) = field.split_at(len);
        let text = std::str::from_utf8(text).ok()?;
        let is_sound = behind.iter().all(|&byte| byte == 0)
            && text.trim() == text
            && !text.chars().any(is_unseen);
        is_sound.then_some(Self { bytes: *field })
    }

    /// The field.
    pub const fn to_wire(self) -> [u8; N] {
        self.bytes
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let len = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(N);
        std::str::from_utf8(&self.bytes[..len]).expect("it was UTF-8 when it was read")
    }

    /// Whether there is no text.
    pub const fn is_empty(&self) -> bool {
        self.bytes[0] == 0
    }
}

/// Control characters, and those that change how what stands around them is shown: Unicode's bidirectional
/// controls and zero-width characters.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

impl<const N: usize> fmt::Display for ShortText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for ShortText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_short_and_all_of_it_is_seen() {
        for text in ["", "a", "cartão", "a b", "12345678"] {
            let short = ShortText::<8>::parse(text).expect("sound");
            assert_eq!((short.as_str(), short.is_empty()), (text, text.is_empty()));
            assert_eq!(ShortText::from_wire(&short.to_wire()), Some(short));
        }
        let bad =
            ["123456789", " a", "a ", "a\tb", "a\0b", "\u{7f}", "\u{202e}", "\u{200b}x", "çãoçã"];
        for bad in bad {
            assert_eq!(ShortText::<8>::parse(bad), None, "{bad:?}");
        }
        assert_eq!(ShortText::<2>::from_wire(&[0xff, 0]), None, "no UTF-8");
        assert_eq!(ShortText::<3>::from_wire(b"a\0b"), None, "something behind it");
    }
}
