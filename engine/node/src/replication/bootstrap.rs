//! What a node that has no place yet asks its primary.

use super::connection::{ConnectionFailure, dial};
use super::{ReplicationSetup, join_of};
use crate::fatal::{Failure, Status};
use catraca_tls::Renewable as _;
use catraca_wire::frame::Role;
use catraca_wire::replication::{Purpose, RefuseReason};
use std::time::Duration;

/// What a primary says of itself to a node that knows nothing yet.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrapped {
    /// Cluster.
    pub cluster_id: [u8; 16],
    /// Length of its segments, bytes.
    pub segment_len: u64,
}

/// Pause between two calls.
const CALL_PAUSE: Duration = Duration::from_millis(200);

/// Says why it waits, each time that is something else.
fn tell_once(told: &mut String, address: &str, why: &str) {
    if told != why {
        tracing::warn!(primary = address, why, "waiting for the primary");
        why.clone_into(told);
    }
}

/// Asks the primary who it is, for as long as that takes: a new standby takes its cluster from it.
///
/// # Errors
/// What waiting does not change: another key, another number of shards, another version.
pub fn bootstrap(address: &str, setup: &ReplicationSetup) -> Result<Bootstrapped, Failure> {
    let mut told = String::new();
    loop {
        let refuse =
            |why: String| Failure::new(Status::Config, format!("the primary at {address}: {why}"));
        match dial(address, &join_of(setup, Purpose::Inquiry, 0, 0), &setup.link_keys()) {
            Ok((_, accept)) if accept.role != Role::Primary.to_wire() => {
                tell_once(&mut told, address, "it is a standby itself: name its primary");
            }
            Ok((_, accept)) if accept.shards.to_native() != setup.shards => {
                return Err(refuse(format!(
                    "it has {} shards, this node {}: set `shards` alike",
                    accept.shards, setup.shards
                )));
            }
            Ok((_, accept)) => {
                return Ok(Bootstrapped {
                    cluster_id: accept.cluster_id,
                    segment_len: accept.segment_len.to_native(),
                });
            }
            Err(
                failure @ (ConnectionFailure::Key
                | ConnectionFailure::Frame(_)
                | ConnectionFailure::SpeaksTls),
            ) => {
                return Err(refuse(failure.to_string()));
            }
            Err(failure @ ConnectionFailure::Refused { reason, .. })
                if reason != RefuseReason::NotPrimary =>
            {
                return Err(refuse(failure.to_string()));
            }
            Err(failure) => {
                tell_once(&mut told, address, &failure.to_string());
                // Nobody else looks yet whether there are new certificates; what is no good leaves
                // what there was.
                if let Some(Err(fault)) = setup.tls.as_ref().map(|tls| tls.renew()) {
                    tell_once(&mut told, address, &fault.to_string());
                }
            }
        }
        std::thread::sleep(CALL_PAUSE);
    }
}
