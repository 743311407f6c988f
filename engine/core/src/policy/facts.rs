//! What a decision may depend on, and how it stands in a batch's row. A record holds all of it, so that
//! the same row can be made of one later.

use super::language::{Field, Rows};
use crate::blacklist::Listing;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{ListSource, TransactionFields};

/// A payer or payee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// Its document.
    pub document: DocumentKey,
    /// The list that names it, unless something allows it all the same.
    pub listed: Option<ListSource>,
    /// A list names it, and it is allowed all the same.
    pub is_allowed: bool,
}

impl Party {
    /// A document and what the lists know of it.
    #[inline]
    pub fn new(document: DocumentKey, listing: Listing) -> Self {
        Self {
            document,
            listed: listing.counts().map(|hit| hit.source),
            is_allowed: listing.is_allowed(),
        }
    }

    /// Whether it is listed, and nothing allows it.
    pub const fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// The bit that says what the lists know of it.
    pub(super) const fn bits(&self, listed: u64, allowed: u64) -> u64 {
        match (self.is_listed(), self.is_allowed) {
            (true, _) => listed,
            (false, true) => allowed,
            (false, false) => 0,
        }
    }
}

/// What a decision may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The transaction as submitted; validated.
    pub transaction: &'a TransactionFields,
    /// Who pays.
    pub payer: Party,
    /// Who is paid.
    pub payee: Party,
    /// When it is decided, nanoseconds since 1970 UTC.
    pub decided_at_ns: u64,
    /// What the clocks of the policy's zone were ahead of UTC when it happened, minutes.
    pub offset_minutes: i16,
}

const NS_PER_S: u64 = 1_000_000_000;
const MINUTES_PER_DAY: i64 = 24 * 60;

/// Local time of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalTime {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Minute of the day, 0 to 1439.
    pub minute: i64,
}

impl LocalTime {
    pub fn new(event_time_ns: u64, offset_minutes: i16) -> Self {
        // A u64 of nanoseconds has fewer than 2^29 minutes.
        let minutes = (event_time_ns / (60 * NS_PER_S)) as i64 + i64::from(offset_minutes);
        Self {
            day: minutes.div_euclid(MINUTES_PER_DAY),
            minute: minutes.rem_euclid(MINUTES_PER_DAY),
        }
    }

    /// 1 Monday to 7 Sunday; 1970-01-01 was a Thursday.
    pub const fn weekday(self) -> i64 {
        (self.day + 3).rem_euclid(7) + 1
    }
}

/// Puts a transaction into a batch, behind the others. Gives when it happened.
pub(super) fn push(rows: &mut Rows, facts: &Facts<'_>) -> LocalTime {
    let transaction = facts.transaction;
    let event_time_ns = transaction.event_time_ns.to_native();
    let local = LocalTime::new(event_time_ns, facts.offset_minutes);
    rows.push();
    rows.set(Field::Amount, transaction.amount_centavos.to_native());
    rows.set(Field::Rail, transaction.rail.into());
    rows.set(Field::Channel, transaction.channel.into());
    rows.set(Field::Hour, local.minute / 60);
    rows.set(Field::MinuteOfDay, local.minute);
    rows.set(Field::Weekday, local.weekday());
    let age_s = facts.decided_at_ns.saturating_sub(event_time_ns) / NS_PER_S;
    rows.set(Field::Age, age_s as i64);
    let pix_key = u128::from_le_bytes(transaction.pix_key);
    for (field, value) in [
        (Field::PayerAccount, transaction.payer_account.to_native()),
        (Field::PayeeAccount, transaction.payee_account.to_native()),
        (Field::Device, transaction.device.to_native()),
        (Field::PayerIspb, u64::from_be_bytes(transaction.payer_ispb)),
        (Field::PayeeIspb, u64::from_be_bytes(transaction.payee_ispb)),
    ] {
        if value != 0 {
            rows.set(field, value as i64);
        }
    }
    if pix_key != 0 {
        // A keyed hash: half as many bits tell keys apart as well. Halves that are equal must not cancel out.
        let folded = (pix_key as u64).rotate_left(1) ^ (pix_key >> 64) as u64;
        rows.set(Field::PixKey, folded as i64);
    }
    push_party(rows, &facts.payer, &PAYER);
    push_party(rows, &facts.payee, &PAYEE);
    local
}

/// The fields of a party: document, kind, root, listed, list, allowed.
type PartyFields = [Field; 6];

const PAYER: PartyFields = [
    Field::PayerDocument,
    Field::PayerKind,
    Field::PayerRoot,
    Field::PayerListed,
    Field::PayerList,
    Field::PayerAllowed,
];
const PAYEE: PartyFields = [
    Field::PayeeDocument,
    Field::PayeeKind,
    Field::PayeeRoot,
    Field::PayeeListed,
    Field::PayeeList,
    Field::PayeeAllowed,
];

const KIND_CPF: i64 = 1;
const KIND_CNPJ: i64 = 2;

#[inline]
fn push_party(rows: &mut Rows, party: &Party, fields: &PartyFields) {
    let [document, kind, root, listed, list, allowed] = *fields;
    rows.set(document, party.document.raw() as i64);
    match party.document.cnpj_root() {
        None => rows.set(kind, KIND_CPF),
        Some(company) => {
            rows.set(kind, KIND_CNPJ);
            rows.set(root, company as i64);
        }
    }
    rows.set(listed, party.is_listed().into());
    if let Some(source) = party.listed {
        rows.set(list, source.to_wire().into());
    }
    rows.set(allowed, party.is_allowed.into());
}
