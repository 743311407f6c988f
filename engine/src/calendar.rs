//! Days: the number that stands for one in records and list files, and the zone that says which day it is at a moment.
//!
//! Pure: the moment is handed in. Only [`Zone::named`] reads, once, the table of time zones.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::fmt;

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
    name: String,
    rules: TimeZone,
}

impl Zone {
    /// The zone of this name in the system's table, or else in the program's own: a container may have none.
    ///
    /// # Errors
    /// [`UnknownZone`].
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let rules = TimeZone::get(name).or_else(|_| TimeZoneDatabase::bundled().get(name));
        let known = rules.ok().filter(|rules| !rules.is_unknown());
        let rules = known.ok_or_else(|| UnknownZone { name: name.to_owned() })?;
        Ok(Self { name: name.to_owned(), rules })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The date at a moment, nanoseconds since 1970 UTC.
    pub fn date_at(&self, wall_ns: u64) -> Date {
        // A u64 of nanoseconds ends in the year 2554, which a time stamp holds.
        let moment = Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or(Timestamp::MAX);
        self.rules.to_datetime(moment).date()
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
    fn the_day_is_that_of_the_zone_and_not_of_utc() {
        let zone = Zone::named(DEFAULT_ZONE).expect("in the program's table");
        // 2026-11-26 01:30 UTC is the evening before in São Paulo.
        let moment = Timestamp::from_second(1_795_656_600).expect("a moment").as_nanosecond() as u64;
        assert_eq!(zone.date_at(moment), date(2026, 11, 25));
        assert_eq!(Zone::named("UTC").expect("a zone").date_at(moment), date(2026, 11, 26));
    }

    #[test]
    fn an_unknown_zone_is_refused_with_one_sentence() {
        for name in ["Brasilia", "", "America/Sao_Paulo2", "BRT3", "Etc/Unknown"] {
            let error = Zone::named(name).expect_err(name).to_string();
            assert!(error.contains("no time zone") && error.contains(DEFAULT_ZONE), "{error}");
        }
    }
}
