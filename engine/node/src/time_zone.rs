//! Time zones as the system knows them.

use catraca_core::calendar::{UnknownZone, Zone};
use jiff::tz::TimeZone;

/// The zone of this name in the system's table, or else in the program's own.
///
/// # Errors
/// [`UnknownZone`].
pub fn named(name: &str) -> Result<Zone, UnknownZone> {
    Zone::named(name, TimeZone::get(name).ok())
}
