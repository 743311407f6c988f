//! Counters of a shard: plain numbers on its core, copied each tick to where the control thread
//! reads them.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident => $metric:literal, $help:literal;)+) => {
        /// Counters and gauges of one shard.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$meta])* pub $name: u64),+ }

        /// The same where another thread may read them: one writer, relaxed, a tick old.
        #[derive(Debug, Default)]
        pub struct SharedCounters { $($name: AtomicU64),+ }

        impl SharedCounters {
            /// Stores the values; by the shard's core only.
            pub fn publish(&self, counters: &Counters) { $(self.$name.store(counters.$name, Ordering::Relaxed);)+ }

            /// The values last published.
            pub fn read(&self) -> Counters { Counters { $($name: self.$name.load(Ordering::Relaxed)),+ } }
        }

        impl Counters {
            /// Name, help text and value of each; a name that ends in `_total` is a counter,
            /// another one a gauge. Values are nanoseconds where the name ends in
            /// `_timestamp_seconds`.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$(($metric, $help, self.$name)),+].into_iter()
            }
        }
    };
}

counters! {
    /// Decisions that approved.
    approved => "catraca_approved_total", "Decisions that approved.";
    /// Decisions that asked for review.
    reviewed => "catraca_reviewed_total", "Decisions that asked for review.";
    /// Decisions that denied.
    denied => "catraca_denied_total", "Decisions that denied.";
    /// Transactions answered from the dedupe table.
    duplicates => "catraca_duplicates_total", "Transactions sent again and answered with their first decision.";
    /// Payments that waited for a validator.
    validators_parked => "catraca_validators_parked_total", "Payments that waited for the answer of a validator.";
    /// Questions that found no room to wait.
    validators_not_parked => "catraca_validators_not_parked_total", "Payments decided without a validator's answer because too many waited.";
    /// Answers out of the cores' caches.
    validators_cached => "catraca_validators_core_cache_hits_total", "Answers of validators out of a core's own cache.";
    /// Answers that did not come.
    validators_no_answer => "catraca_validators_no_answer_total", "Answers of validators that decisions had to do without.";
    /// Payments that wait for a validator.
    parked => "catraca_validators_waiting", "Payments that wait for the answer of a validator.";
    /// Requests refused, for any reason.
    refused => "catraca_refused_total", "Requests refused with an ERROR.";
    /// Transactions refused because a bounded queue was full.
    overloaded => "catraca_overloaded_total", "Transactions refused because a bounded queue was full.";
    /// Transactions refused because their client sends more than it may.
    rate_limited => "catraca_rate_limited_total", "Transactions refused because their client sends more than it may.";
    /// Transactions answered UNCONFIRMED, LATE or DEADLINE.
    deadlines_missed => "catraca_deadlines_missed_total", "Transactions whose budget ran out before their decision was safe.";
    /// Frames that broke the protocol.
    bad_frames => "catraca_bad_frames_total", "Connections closed for breaking the protocol.";
    /// Transactions forwarded to another shard.
    forwarded => "catraca_forwarded_total", "Transactions forwarded to the shard that owns the payer.";
    /// Blocks written.
    blocks => "catraca_log_blocks_total", "Log blocks made durable.";
    /// Bytes written, padding included.
    log_bytes => "catraca_log_bytes_total", "Bytes of log made durable, padding included.";
    /// Last log sequence number durable on this node's disk.
    durable_lsn => "catraca_log_durable_lsn", "Last log sequence number durable on this node's disk.";
    /// Last committed log sequence number.
    committed_lsn => "catraca_log_committed_lsn", "Last committed log sequence number.";
    /// Connections open.
    connections => "catraca_connections", "Connections open.";
    /// Connections ever accepted.
    accepted => "catraca_connections_accepted_total", "Connections accepted.";
    /// Answers that wait for their record.
    pending => "catraca_pending", "Decisions that wait for their record to be committed.";
    /// Entries of the dedupe table.
    dedupe_entries => "catraca_dedupe_entries", "Decisions held to recognise a resend.";
    /// Event time up to which the dedupe table may have forgotten, nanoseconds since 1970 UTC; 0
    /// while it has forgotten nothing.
    dedupe_horizon_ns => "catraca_dedupe_horizon_timestamp_seconds", "Transactions whose event time lies before this are refused, because a resend would not be recognised; since 1970 UTC, 0 while there is no such time.";
    /// Keys that the windows of the policy in force hold, of all subjects.
    window_keys => "catraca_window_keys", "Payers, payees, devices, accounts and pairs of them that the windows of the policy in force hold.";
    /// Keys that they let go because a table was full.
    window_keys_let_go => "catraca_window_keys_let_go_total", "Keys that windows let go because their table was full; since the policy with these windows came into force.";
    /// Event time up to which windows may have forgotten payments, nanoseconds since 1970 UTC; 0 while they
    /// have forgotten nothing.
    window_horizon_ns => "catraca_window_horizon_timestamp_seconds", "Payments of keys that were let go, up to this event time, may be missing from windows, which then say that they do not know; since 1970 UTC, 0 while there is no such time.";
    /// Payments that came too late for a window, once for each.
    window_late => "catraca_window_late_payments_total", "Payments that came too late for a window, once for each window; since the policy with these windows came into force.";
    /// Payments that siblings decided and windows count.
    window_from_siblings => "catraca_window_payments_from_siblings_total", "Payments decided by other shards that were added to this one's windows.";
    /// Ticks of the core: stands still when the core does.
    ticks => "catraca_core_ticks_total", "Ticks of the data core; stands still when the core is stuck.";
}
