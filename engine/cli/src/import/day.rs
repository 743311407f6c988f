//! The dates of a row: what people and their programs write where a day belongs.

use super::text::plain;
use jiff::civil::Date;

/// Words that stand where there is no date, as [`plain`] gives them. An end that is none is no end;
/// a start that is none has passed.
const NO_DATE: [&str; 30] = [
    "N A",
    "NA",
    "N D",
    "ND",
    "NAO INFORMADO",
    "NAO INFORMADA",
    "SEM INFORMACAO",
    "SEM INFORMACOES",
    "NAO SE APLICA",
    "NAO APLICAVEL",
    "INDETERMINADO",
    "INDETERMINADA",
    "PRAZO INDETERMINADO",
    "TEMPO INDETERMINADO",
    "INDEFINIDO",
    "INDEFINIDA",
    "SEM DATA",
    "SEM PRAZO",
    "SEM FIM",
    "SEM TERMO",
    "PERMANENTE",
    "NENHUM",
    "NENHUMA",
    "NUNCA",
    "NONE",
    "NULL",
    "NIL",
    "NEVER",
    "INDEFINITE",
    "NO END",
];
/// Words that may stand in a time of day.
const TIME_WORDS: [&str; 9] = ["AM", "PM", "Z", "UTC", "GMT", "BRT", "H", "MIN", "S"];

/// The hour with which a day ends.
const LAST_HOUR: u8 = 24;

/// What stands where a day belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Day {
    /// No date: nothing, or a word for it.
    None,
    /// This day.
    On(Date),
    /// Something else.
    Unreadable,
}

impl Day {
    /// Reads a day: as published (`dd/MM/yyyy`) or as ISO has it (`yyyy-MM-dd`), days and months of
    /// one digit too. A time behind it is not used: the day counts as it is written.
    pub(super) fn read(text: &str) -> Self {
        let text = text.trim();
        let end =
            text.find(|c: char| !c.is_ascii_digit() && c != '/' && c != '-').unwrap_or(text.len());
        let (day, behind) = text.split_at(end);
        match date(day).filter(|_| is_time(behind)) {
            Some(day) => Self::On(day),
            None if is_none(text) => Self::None,
            None => Self::Unreadable,
        }
    }
}

/// Whether the text is a day that reads as another one if its last digit is lost.
pub(super) fn may_be_cut(text: &str) -> bool {
    let last = text.rsplit_once('-').map_or("", |(_, last)| last);
    last.len() == 1 && matches!(Day::read(text), Day::On(_))
}

/// Whether there is no date. Also what is left of a form or of a database without a value: "  /  /
/// ", "00/00/0000".
pub(super) fn is_none(text: &str) -> bool {
    let words = plain(text);
    words.chars().all(|c| c == '0' || c == ' ') || NO_DATE.contains(&words.as_str())
}

/// Whether what follows a date is a time of day, or nothing.
fn is_time(text: &str) -> bool {
    let time = text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, 'T' | 't'));
    if text.is_empty() {
        return true;
    }
    let (hour, minutes) = time.split_at(time.bytes().take_while(u8::is_ascii_digit).count());
    // Not the day of another date: "20/11/2026 31".
    let is_hour = matches!(hour.len(), 1 | 2)
        && hour.parse().is_ok_and(|hour: u8| hour <= LAST_HOUR)
        && !minutes.is_empty();
    let sound = time.chars().all(|c| c.is_ascii_alphanumeric() || ":.,+- ".contains(c));
    let mut words = time.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    // "31/12/202600:00" is no date with a time.
    text.len() > time.len()
        && is_hour
        && sound
        && words.all(|word| TIME_WORDS.contains(&word.to_ascii_uppercase().as_str()))
}

fn date(text: &str) -> Option<Date> {
    let (parts, day_first) =
        if text.contains('/') { (text.split('/'), true) } else { (text.split('-'), false) };
    let parts: [&str; 3] = parts.collect::<Vec<_>>().try_into().ok()?;
    let [year, month, day] = if day_first { [parts[2], parts[1], parts[0]] } else { parts };
    if year.len() != 4 || !matches!(month.len(), 1 | 2) || !matches!(day.len(), 1 | 2) {
        return None;
    }
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_day_is_read_as_it_is_written() {
        for (text, day) in [
            ("29/02/2024", date(2024, 2, 29)),
            ("2026-11-22", date(2026, 11, 22)),
            ("31/12/9999", date(9999, 12, 31)),
            ("1/2/2030", date(2030, 2, 1)),
            ("2030-2-1", date(2030, 2, 1)),
            ("31/12/2026 00:00", date(2026, 12, 31)),
            (" 31/12/2026  23:59:59 ", date(2026, 12, 31)),
            ("31/12/2026 12:00 AM", date(2026, 12, 31)),
            ("31/12/2026 00h00", date(2026, 12, 31)),
            ("2026-12-31T00:00:00", date(2026, 12, 31)),
            ("2026-12-31T00:00:00.000-03:00", date(2026, 12, 31)),
            ("2026-12-31 00:00:00Z", date(2026, 12, 31)),
            ("2026-12-31 00:00:00 UTC", date(2026, 12, 31)),
        ] {
            assert_eq!(Day::read(text), Day::On(day), "{text}");
        }
    }

    #[test]
    fn a_day_may_be_cut_off_behind_its_first_digit() {
        assert!(["2026-12-3", " 2026-1-1"].into_iter().all(may_be_cut));
        assert!(
            !["2026-12-31", "1/2/2030", "3", "", "2026-12-3 00:00"].into_iter().any(may_be_cut)
        );
    }

    #[test]
    fn words_for_none_mean_none() {
        for text in [
            "",
            "-",
            "--",
            "  /  /    ",
            "00/00/0000",
            "0000-00-00 00:00:00",
            "N/A",
            "n/a",
            "indeterminado",
            "Prazo Indeterminado",
            "Sem informa\u{e7}\u{e3}o",
            "SEM INFORMA\u{c7}\u{c3}O",
            "N\u{e3}o se aplica",
            "NULL",
        ] {
            assert_eq!(Day::read(text), Day::None, "{text}");
        }
    }

    #[test]
    fn what_could_be_another_day_is_not_read() {
        for text in [
            "29/02/2023",
            "31/02/2024",
            "12/31/2026",
            "2024/01/01",
            "00/01/2024",
            "aa/bb/cccc",
            "2026-13-01",
            "22-11-2026",
            "22/11/26",
            "+1/01/2024",
            "31/12/202600:00",
            "31/12/2026 until further notice",
            "31/12/2026T",
            "20/11/2026 31",
            "20/11/2026 12",
            "20/11/2026 31:00",
            "31/12/2026 (prorrogado)",
            "dezembro de 2026",
            "46022",
            "20261231",
            "\u{661}/\u{661}/2026",
        ] {
            assert_eq!(Day::read(text), Day::Unreadable, "{text}");
        }
    }
}
