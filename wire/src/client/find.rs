//! From the addresses to a connection: the next one, and from there to the primary.

use super::connection::{Connection, time_left};
use super::error::ClientError;
use super::options::{ClientOptions, Wanted};
use super::reply::address;
use super::route::Route;
use super::rules::{MAX_HOPS, is_final_refusal};
use crate::frame::Role;
use std::time::{Duration, Instant};

/// One attempt: the next address, and from there to the primary where a standby names it. Without
/// `until` the time-out for connecting is the only bound.
pub(super) fn find(
    route: &mut Route,
    options: &ClientOptions,
    until: Option<Instant>,
) -> Result<Connection, ClientError> {
    for hop in 0.. {
        let timeout = Instant::now() + Duration::from_millis(options.connect_timeout_ms);
        match Connection::open(
            route.address(),
            options,
            until.map_or(timeout, |until| until.min(timeout)),
        ) {
            Ok(connection)
                if options.role == Wanted::Primary
                    && connection.welcome.role == Role::Standby.to_wire() =>
            {
                let named = route.standby(address(&connection.welcome.primary));
                if !named || hop == MAX_HOPS {
                    break;
                }
            }
            Ok(connection) => {
                route.found();
                return Ok(connection);
            }
            Err(error) => {
                let why = match &error {
                    ClientError::Connect { detail, .. } => detail.clone(),
                    other => other.to_string(),
                };
                if until.is_some_and(|until| time_left(until).is_none()) {
                    route.cut_off(why);
                } else {
                    route.failed(why);
                }
                if is_final(&error) || route.no_primary().is_none() {
                    return Err(error);
                }
                break;
            }
        }
    }
    Err(ClientError::NoPrimary { detail: route.no_primary().unwrap_or_default() })
}

/// Errors that another attempt can't change.
pub(super) fn is_final(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refused) if is_final_refusal(refused.code))
}
