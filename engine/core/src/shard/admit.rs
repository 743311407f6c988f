//! Admission: a SUBMIT's fields, checked once. Behind this every transaction has valid documents,
//! amount, times and codes.

use super::messages::Refusal;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ErrorCode, MAX_BUDGET_US, SubmitFrame, is_transaction_id};

/// Highest rail code in use.
const MAX_RAIL: u8 = 4;
/// Highest channel code in use.
const MAX_CHANNEL: u8 = 5;

/// How far a transaction's own time may lie from the server's, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimeLimits {
    /// In the past.
    pub age_ns: u64,
    /// In the future: clocks differ.
    pub ahead_ns: u64,
}

impl EventTimeLimits {
    /// Whether a transaction that is not held may be decided. What happened up to `horizon_ns` may
    /// have been decided and forgotten since (0 while nothing was forgotten): the detail says so.
    ///
    /// # Errors
    /// BAD_FIELD.
    #[inline]
    pub(super) fn check(
        &self,
        event_time_ns: u64,
        horizon_ns: u64,
        wall_ns: u64,
    ) -> Result<(), Refusal> {
        if horizon_ns > 0 && event_time_ns <= horizon_ns {
            return Err(field(
                "event_time_ns: before what the server remembers; it may have been decided, LOOKUP tells",
            ));
        }
        if event_time_ns < wall_ns.saturating_sub(self.age_ns) {
            return Err(field(
                "event_time_ns: too old, and never decided here; nanoseconds since 1970 UTC are expected",
            ));
        }
        if event_time_ns > wall_ns.saturating_add(self.ahead_ns) {
            return Err(field(
                "event_time_ns: too far in the future, never decided here; nanoseconds since 1970 UTC are expected",
            ));
        }
        // The horizon will be where the newest of what falls out was: times ahead of the clock must
        // not carry it up to the present, where it would refuse everybody.
        if horizon_ns > 0
            && event_time_ns.saturating_sub(wall_ns) > wall_ns.saturating_sub(horizon_ns) / 2
        {
            return Err(field(
                "event_time_ns: further in the future than the dedupe window allows at this load; never decided here",
            ));
        }
        Ok(())
    }
}

/// What admission learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    pub payer: DocumentKey,
    pub payee: DocumentKey,
    pub budget_ns: u64,
}

const fn field(detail: &'static str) -> Refusal {
    Refusal::new(ErrorCode::BadField, detail)
}

fn is_ispb(text: &[u8; 8]) -> bool {
    // Without a branch for each byte: this runs twice for every transaction.
    *text == [0; 8] || text.iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric())
}

/// Checks every field of a SUBMIT but its time, which counts only where it is new
/// ([`EventTimeLimits::check`]).
///
/// # Errors
/// BAD_DOCUMENT or BAD_FIELD, naming the field.
#[inline]
pub(super) fn admit(frame: &SubmitFrame) -> Result<Admitted, Refusal> {
    let t = &frame.transaction;
    let payer = DocumentKey::from_wire(&t.payer).map_err(|_| {
        Refusal::new(ErrorCode::BadDocument, "payer: not a valid CPF or CNPJ in canonical form")
    })?;
    let payee = DocumentKey::from_wire(&t.payee).map_err(|_| {
        Refusal::new(ErrorCode::BadDocument, "payee: not a valid CPF or CNPJ in canonical form")
    })?;
    if !is_transaction_id(&t.id) {
        return Err(field("id: 1 to 32 printable ASCII characters, left-aligned, zero-filled"));
    }
    if t.amount_centavos.to_native() <= 0 {
        return Err(field("amount_centavos: must be above 0"));
    }
    let budget_us = match t.budget_us.to_native() {
        0 => MAX_BUDGET_US,
        budget if budget <= MAX_BUDGET_US => budget,
        _ => return Err(field("budget_us: at most 2000000")),
    };
    if t.rail > MAX_RAIL {
        return Err(field("rail: unknown code"));
    }
    if t.channel > MAX_CHANNEL {
        return Err(field("channel: unknown code"));
    }
    if !is_ispb(&t.payer_ispb) {
        return Err(field("payer_ispb: 8 ASCII letters or digits, or zeros"));
    }
    if !is_ispb(&t.payee_ispb) {
        return Err(field("payee_ispb: 8 ASCII letters or digits, or zeros"));
    }
    Ok(Admitted { payer, payee, budget_ns: u64::from(budget_us) * 1_000 })
}
