//! Days: the number that stands for one in records and list files, and the zone that says which day
//! it is at a moment.
//!
//! The moment is handed in, and so are the rules of a zone where the system's table has them.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::fmt;
use std::sync::Arc;

/// Day 0 of [`day_number`].
const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// The number of a day: days since 1970-01-01, from 1 to 65,535 (2149-06-06); days outside are
/// taken as the nearest of these. 0 stands for no day.
pub fn day_number(date: Date) -> u16 {
    // The whole calendar is less than 8 million days.
    let days = EPOCH.until(date).map_or(0, |span| span.get_days());
    days.clamp(1, i32::from(u16::MAX)) as u16
}

/// The day of a number; 0 gives 1970-01-01, which no day has.
pub fn day_of(number: u16) -> Date {
    EPOCH.saturating_add(jiff::Span::new().days(number))
}

/// A day in a zone: its number, and when it begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalDay {
    /// [`day_number`] of its date.
    pub number: u16,
    /// Its first moment, nanoseconds since 1970 UTC.
    pub begins_ns: u64,
    /// The first moment behind it.
    pub ends_ns: u64,
}

impl LocalDay {
    /// Whether a moment is in it.
    #[inline]
    pub const fn holds(&self, wall_ns: u64) -> bool {
        self.begins_ns <= wall_ns && wall_ns < self.ends_ns
    }
}

/// What the clocks of a zone are ahead of UTC, and from when to when they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalOffset {
    /// Minutes; below zero west of Greenwich.
    pub minutes: i16,
    /// The first moment, nanoseconds since 1970 UTC.
    pub begins_ns: u64,
    /// The first moment behind it.
    pub ends_ns: u64,
}

impl LocalOffset {
    /// Whether it holds at a moment.
    #[inline]
    pub const fn holds(&self, wall_ns: u64) -> bool {
        self.begins_ns <= wall_ns && wall_ns < self.ends_ns
    }
}

/// The zone whose days count where nobody names another: Brasília time.
pub const DEFAULT_ZONE: &str = "America/Sao_Paulo";

/// There is no such time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no time zone: a name of the IANA table belongs there, such as {DEFAULT_ZONE}")]
pub struct UnknownZone {
    /// The name.
    pub name: String,
}

/// A time zone, which says what day it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: Arc<str>,
    rules: TimeZone,
}

impl Zone {
    /// The zone of this name with the rules of the system's table, or else of the program's own: a
    /// container may have none.
    ///
    /// # Errors
    /// [`UnknownZone`].
    pub fn named(name: &str, system: Option<TimeZone>) -> Result<Self, UnknownZone> {
        let rules = system.or_else(|| TimeZoneDatabase::bundled().get(name).ok());
        let known = rules.filter(|rules| !rules.is_unknown());
        let rules = known.ok_or_else(|| UnknownZone { name: name.to_owned() })?;
        Ok(Self { name: name.into(), rules })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The date at a moment, nanoseconds since 1970 UTC.
    pub fn date_at(&self, wall_ns: u64) -> Date {
        self.rules.to_datetime(moment(wall_ns)).date()
    }

    /// What its clocks are ahead of UTC at a moment. Costs what looking for two changes of them does:
    /// kept for as long as it holds.
    #[cold]
    pub fn offset_at(&self, wall_ns: u64) -> LocalOffset {
        let at = moment(wall_ns);
        // A change at this very moment is one before what follows it.
        let begins = self.rules.preceding(moment(wall_ns.saturating_add(1))).next();
        let ends = self.rules.following(at).next();
        let ns = |timestamp: Timestamp| {
            u64::try_from(timestamp.as_nanosecond().max(0)).unwrap_or(u64::MAX)
        };
        LocalOffset {
            // Less than a day and a bit, and whole minutes since zones have names.
            minutes: (self.rules.to_offset(at).seconds() / 60) as i16,
            begins_ns: begins.map_or(0, |change| ns(change.timestamp())),
            ends_ns: ends.map_or(u64::MAX, |change| ns(change.timestamp())),
        }
    }

    /// The day at a moment. Allocates nothing, and costs some hundred nanoseconds: kept for as long
    /// as it holds.
    #[cold]
    pub fn day_at(&self, wall_ns: u64) -> LocalDay {
        let date = self.date_at(wall_ns);
        let number = day_number(date);
        let day = date.tomorrow().ok().map(|tomorrow| LocalDay {
            number,
            begins_ns: self.begin_of(date),
            ends_ns: self.begin_of(tomorrow),
        });
        // Where clocks are put back over midnight a date has two pieces: then it is asked for anew
        // each time.
        day.filter(|day| day.holds(wall_ns)).unwrap_or(LocalDay {
            number,
            begins_ns: wall_ns,
            ends_ns: wall_ns.saturating_add(1),
        })
    }

    /// The moment of a date and time on its clocks, nanoseconds since 1970 UTC: the earlier one where they
    /// show it twice, the one behind where they pass over it; `None` before 1970 and after 2554.
    pub fn moment_of(&self, civil: jiff::civil::DateTime) -> Option<u64> {
        let zoned = civil.to_zoned(self.rules.clone()).ok()?;
        u64::try_from(zoned.timestamp().as_nanosecond()).ok()
    }

    /// The first moment of a date, nanoseconds since 1970 UTC; 0 before, and the last that can be
    /// told after the year 2554.
    pub fn begin_of(&self, date: Date) -> u64 {
        let begins = date
            .to_zoned(self.rules.clone())
            .map_or(i128::MAX, |begins| begins.timestamp().as_nanosecond());
        u64::try_from(begins.max(0)).unwrap_or(u64::MAX)
    }
}

/// A moment, nanoseconds since 1970 UTC: a u64 of them ends in the year 2554, which a time stamp holds.
fn moment(wall_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or(Timestamp::MAX)
}

impl Default for Zone {
    fn default() -> Self {
        Self::named(DEFAULT_ZONE, None).expect("the program's own table has it")
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.name).finish()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn an_offset_holds_from_one_change_of_the_clocks_to_the_next() {
        let zone = Zone::named(DEFAULT_ZONE, None).expect("in the program's table");
        let ns = |text: &str| text.parse::<Timestamp>().expect("a moment").as_nanosecond() as u64;
        // The last summer time of Brazil.
        let (begins, ends) = (ns("2018-11-04T03:00:00Z"), ns("2019-02-17T02:00:00Z"));
        for (at, minutes) in [(begins - 1, -180), (begins, -120), (ends - 1, -120), (ends, -180)] {
            let offset = zone.offset_at(at);
            assert_eq!(offset.minutes, minutes, "{at}");
            assert!(offset.holds(at));
        }
        let summer = zone.offset_at(begins + 5);
        assert_eq!((summer.begins_ns, summer.ends_ns), (begins, ends));
        assert_eq!(zone.offset_at(ends).ends_ns, u64::MAX);
        let utc = Zone::named("UTC", None).expect("a zone").offset_at(u64::MAX - 1);
        assert_eq!(utc, LocalOffset { minutes: 0, begins_ns: 0, ends_ns: u64::MAX });
    }

    #[test]
    fn the_day_is_that_of_the_zone_and_not_of_utc() {
        let zone = Zone::named(DEFAULT_ZONE, None).expect("in the program's table");
        // 2026-11-26 01:30 UTC is the evening before in São Paulo.
        let moment =
            Timestamp::from_second(1_795_656_600).expect("a moment").as_nanosecond() as u64;
        assert_eq!(zone.date_at(moment), date(2026, 11, 25));
        assert_eq!(Zone::named("UTC", None).expect("a zone").date_at(moment), date(2026, 11, 26));
    }

    #[test]
    fn a_day_lasts_from_midnight_to_midnight_of_its_zone() {
        let moment = 1_795_656_600_000_000_000;
        let hour = 3_600_000_000_000;
        let day = Zone::default().day_at(moment);
        assert_eq!(
            (day_of(day.number), day.ends_ns - day.begins_ns),
            (date(2026, 11, 25), 24 * hour)
        );
        assert!(
            day.holds(day.begins_ns) && !day.holds(day.begins_ns - 1) && !day.holds(day.ends_ns)
        );
        assert_eq!(day.begins_ns % (24 * hour), 3 * hour, "three hours behind UTC");
        // Clocks were put on an hour at midnight of 2018-11-04, and back over midnight of
        // 2018-02-18.
        let on =
            Zone::default().day_at(
                Timestamp::from_second(1_541_340_000).expect("a moment").as_nanosecond() as u64,
            );
        assert_eq!((day_of(on.number), on.ends_ns - on.begins_ns), (date(2018, 11, 4), 23 * hour));
        let back =
            Zone::default().day_at(
                Timestamp::from_second(1_518_912_000).expect("a moment").as_nanosecond() as u64,
            );
        assert_eq!(
            (day_of(back.number), back.ends_ns - back.begins_ns),
            (date(2018, 2, 17), 25 * hour)
        );
        let last = Zone::default().day_at(u64::MAX);
        assert_eq!(last.number, u16::MAX, "past the days that have a number");
    }

    proptest::proptest! {
        #[test]
        fn a_cached_day_says_what_the_calendar_does(seconds in 0u64..4_000_000_000, later in 0u64..100_000, zone in 0usize..4) {
            let zone = Zone::named([DEFAULT_ZONE, "America/Noronha", "Australia/Lord_Howe", "Europe/Lisbon"][zone], None).expect("a zone");
            let (wall_ns, later) = (seconds * 1_000_000_000 + 1, (seconds + later) * 1_000_000_000);
            let day = zone.day_at(wall_ns);
            proptest::prop_assert!(day.holds(wall_ns));
            if day.holds(later) {
                proptest::prop_assert_eq!(day.number, day_number(zone.date_at(later)));
            }
        }
    }

    #[test]
    fn a_day_has_a_number_and_the_number_a_day() {
        for (number, day) in
            [(1, date(1970, 1, 2)), (20_782, date(2026, 11, 25)), (u16::MAX, date(2149, 6, 6))]
        {
            assert_eq!((day_number(day), day_of(number)), (number, day));
        }
        assert_eq!((day_number(date(1950, 1, 1)), day_number(date(9999, 12, 31))), (1, u16::MAX));
    }

    #[test]
    fn an_unknown_zone_is_refused_with_one_sentence() {
        for name in ["Brasilia", "", "America/Sao_Paulo2", "BRT3", "Etc/Unknown"] {
            let error = Zone::named(name, None).expect_err(name).to_string();
            assert!(error.contains("no time zone") && error.contains(DEFAULT_ZONE), "{error}");
        }
    }
}
