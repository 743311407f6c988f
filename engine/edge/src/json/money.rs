//! Money as a decimal string.

/// The most digits before the point: more would not fit 64 bits of centavos.
const MAX_DIGITS: usize = 16;

/// The text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an amount is a text as in \"123.45\": at most 16 digits, then a point and two, or nothing"
)]
pub struct MoneyError;

/// Centavos of a decimal string: `123.45`, or `123` for whole reais. No sign, no comma, no exponent, no
/// needless zero: what could be read in two ways is refused.
///
/// # Errors
/// [`MoneyError`] for any other text.
pub fn centavos(text: &str) -> Result<i64, MoneyError> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_sound = digits(whole)
        && digits(part)
        && part.len() == 2
        && whole.len() <= MAX_DIGITS
        && (whole == "0" || !whole.starts_with('0'));
    if !is_sound {
        return Err(MoneyError);
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| MoneyError);
    Ok(number(whole)? * 100 + number(part)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_mean_two_things_is_no_amount() {
        assert_eq!(centavos("123.45"), Ok(12_345));
        assert_eq!(centavos("0.01"), Ok(1));
        assert_eq!(centavos("7"), Ok(700));
        assert_eq!(centavos("9999999999999999.99"), Ok(999_999_999_999_999_999));
        for bad in [
            "",
            ".",
            ".5",
            "5.",
            "1.5",
            "1.234",
            "1,50",
            "1.234,50",
            "01.00",
            "00",
            "-1.00",
            "+1.00",
            " 1",
            "1e3",
            "1_0",
            "0x10",
            "１.00",
            "1.0０",
            "NaN",
            "10000000000000000.00",
        ] {
            assert_eq!(centavos(bad), Err(MoneyError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_reads_back(amount in 0..=999_999_999_999_999_999i64) {
            prop_assert_eq!(centavos(&format!("{}.{:02}", amount / 100, amount % 100)), Ok(amount));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = centavos(&text);
        }
    }
}
