//! Bytes as lower-case hexadecimal digits: one spelling for each value, so that what is written so
//! can be compared as text.

/// Lower-case hexadecimal.
pub fn encode(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// The bytes that [`encode`] makes this text of; `None` for any other text, capitals included.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    ::hex::decode(text).ok().filter(|bytes| encode(bytes) == text)
}

/// A field of a fixed number of bytes; `None` where the text is of another length, or no
/// hexadecimal.
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_value() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), Some(bytes));
        assert_eq!(decode_array("00ff"), Some([0, 255]));
        for bad in ["0", "0G", "AA", "0x", " 0", "+1", "é0"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode_array::<3>("00ff"), None);
    }
}
