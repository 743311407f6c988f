//! The section of what a decision saw in windows of time.
//!
//! ```text
//! kind u16 | len u16 | values u16 | 0 u16 | tags, 4 bits for each value, in words of 64 bits | numbers
//! tag      state 2 bits, how many bytes the number has 2 bits: 0, 2, 4 or 8. State 0 with a number is an estimate
//! ```
//!
//! Numbers stand in the order of the values, little-endian, without those of 0 bytes; zeros up to a multiple
//! of 8 follow. A number has as few bytes as hold it.

use super::{SECTION_WINDOWS, section};
use crate::record::EXTENSION_ALIGN;

/// Most values of windows that a decision sees.
pub const MAX_WINDOW_VALUES: usize = 128;

const HEAD_LEN: usize = 8;
const TAG_BITS: usize = 4;
const TAGS_PER_WORD: usize = u64::BITS as usize / TAG_BITS;

/// Length of the longest section of windows, bytes.
pub const MAX_WINDOWS_SECTION_LEN: usize =
    HEAD_LEN + 8 * (MAX_WINDOW_VALUES / TAGS_PER_WORD) + 8 * MAX_WINDOW_VALUES;

/// What a window says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowValue {
    /// This, within the window's error.
    Present(i64),
    /// There is no such number: the payment lacks the subject, is outside the night, or nothing is in
    /// the window of which there could be a minimum, a maximum, an average or a time.
    Missing,
    /// At least this: a cell or a set is full, or a part of the window is no longer held.
    Saturated(i64),
    /// What would tell is no longer held.
    Evicted,
    /// About this, above 0: a number of distinct ones beyond those that are told apart.
    Estimated(i64),
}

impl WindowValue {
    const fn parts(self) -> (u64, i64) {
        match self {
            Self::Missing => (0, 0),
            Self::Present(number) => (1, number),
            Self::Saturated(number) => (2, number),
            Self::Evicted => (3, 0),
            // Nothing is missing and has a number, so that the state is free.
            Self::Estimated(number) => (0, number),
        }
    }
}

/// How many bytes a number has, and its code.
const fn width(number: i64) -> (usize, u64) {
    match number {
        0 => (0, 0),
        1..=0xffff => (2, 1),
        0x1_0000..=0xffff_ffff => (4, 2),
        _ => (8, 3),
    }
}

const WIDTHS: [usize; 4] = [0, 2, 4, 8];

/// Writes the section of these values. Gives its bytes.
///
/// # Panics
/// When there are more than [`MAX_WINDOW_VALUES`].
#[inline]
pub fn write_windows<'b>(
    values: &[WindowValue],
    into: &'b mut [u8; MAX_WINDOWS_SECTION_LEN],
) -> &'b [u8] {
    assert!(values.len() <= MAX_WINDOW_VALUES, "{} values of windows", values.len());
    let words = values.len().div_ceil(TAGS_PER_WORD);
    let mut end = HEAD_LEN + 8 * words;
    for (word, values) in values.chunks(TAGS_PER_WORD).enumerate() {
        let mut tags = 0;
        for (at, value) in values.iter().enumerate() {
            let (state, number) = value.parts();
            let (len, code) = width(number);
            tags |= (state | code << 2) << (at * TAG_BITS);
            // Eight bytes always: what is not of the number is written over by what follows.
            into[end..end + 8].copy_from_slice(&number.to_le_bytes());
            end += len;
        }
        into[HEAD_LEN + 8 * word..][..8].copy_from_slice(&tags.to_le_bytes());
    }
    let len = end.next_multiple_of(EXTENSION_ALIGN);
    into[end..len].fill(0);
    into[..2].copy_from_slice(&SECTION_WINDOWS.to_le_bytes());
    into[2..4].copy_from_slice(&(len as u16).to_le_bytes());
    into[4..6].copy_from_slice(&(values.len() as u16).to_le_bytes());
    into[6..HEAD_LEN].fill(0);
    &into[..len]
}

/// Reads the values out of an extension. Gives how many there are; `None` where it has no such section, or
/// an unsound one.
pub fn read_windows(
    extension: &[u8],
    values: &mut [WindowValue; MAX_WINDOW_VALUES],
) -> Option<usize> {
    let section = section(extension, SECTION_WINDOWS)?;
    let count = usize::from(u16::from_le_bytes([*section.get(4)?, *section.get(5)?]));
    if count > MAX_WINDOW_VALUES || section[6..HEAD_LEN] != [0; 2] {
        return None;
    }
    let (tags, mut numbers) =
        section[HEAD_LEN..].split_at_checked(8 * count.div_ceil(TAGS_PER_WORD))?;
    for (at, value) in values[..count].iter_mut().enumerate() {
        let tag = tags[at / 2] >> (at % 2 * TAG_BITS);
        let len = WIDTHS[usize::from(tag >> 2 & 3)];
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(numbers.split_off(..len)?);
        let number = i64::from_le_bytes(bytes);
        *value = match tag & 3 {
            0 if len == 0 => WindowValue::Missing,
            0 => WindowValue::Estimated(number),
            1 => WindowValue::Present(number),
            2 => WindowValue::Saturated(number),
            _ => WindowValue::Evicted,
        };
        if matches!(value, WindowValue::Estimated(..=0)) {
            return None;
        }
        // One way to write each: what is read is written again as the same bytes.
        if WIDTHS[width(number).1 as usize] != len || value.parts().1 != number {
            return None;
        }
    }
    let unused_tags = tags[count.div_ceil(2)..].iter().copied();
    let half_used =
        tags.get(count / 2).filter(|_| !count.is_multiple_of(2)).map_or(0, |tag| tag >> TAG_BITS);
    let is_sound = numbers.len() < EXTENSION_ALIGN
        && unused_tags.chain([half_used]).chain(numbers.iter().copied()).all(|byte| byte == 0);
    is_sound.then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<WindowValue> {
        let numbers = [0, 1, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, i64::MAX, -1, i64::MIN];
        let value = |at: usize| match at % 5 {
            4 => WindowValue::Estimated([1, 0xffff, 0x1_0000, i64::MAX][at / 5 % 4]),
            0 => WindowValue::Missing,
            1 => WindowValue::Present(numbers[at / 5 % numbers.len()]),
            2 => WindowValue::Saturated(numbers[at / 3 % numbers.len()]),
            _ => WindowValue::Evicted,
        };
        (0..count).map(value).collect()
    }

    #[test]
    fn what_windows_said_is_read_as_it_was_written() {
        let mut bytes = [0xff; MAX_WINDOWS_SECTION_LEN];
        for count in [0, 1, 2, 15, 16, 17, 33, MAX_WINDOW_VALUES] {
            let values = values(count);
            let section = write_windows(&values, &mut bytes);
            let mut read = [WindowValue::Evicted; MAX_WINDOW_VALUES];
            assert_eq!(read_windows(section, &mut read), Some(count));
            assert_eq!(read[..count], values);
            for len in 0..section.len() {
                assert_eq!(read_windows(&section[..len], &mut read), None, "{len} of {count}");
            }
        }
        let most = vec![WindowValue::Present(i64::MIN); MAX_WINDOW_VALUES];
        assert_eq!(write_windows(&most, &mut bytes).len(), MAX_WINDOWS_SECTION_LEN);
    }

    #[test]
    fn every_change_of_a_byte_is_another_reading_or_none() {
        let mut bytes = [0; MAX_WINDOWS_SECTION_LEN];
        let values = values(20);
        let section = write_windows(&values, &mut bytes).to_vec();
        let mut read = [WindowValue::Evicted; MAX_WINDOW_VALUES];
        for at in 0..section.len() {
            for bit in 0..8 {
                let mut other = section.clone();
                other[at] ^= 1 << bit;
                if let Some(count) = read_windows(&other, &mut read) {
                    assert_ne!(read[..count], values, "byte {at}, bit {bit}");
                    let mut again = [0; MAX_WINDOWS_SECTION_LEN];
                    assert_eq!(write_windows(&read[..count], &mut again), other);
                }
            }
        }
    }
}
