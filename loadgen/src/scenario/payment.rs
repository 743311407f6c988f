//! One payment of a stream and its truth; its EndToEndId, and its bytes in a SUBMIT.

use super::Label;
use super::chance::scramble;
use super::people::{Party, People, Who};
use super::rhythm::SECOND_NS;
use catraca_wire::frame::{SubmitFrame, TRANSACTION_ID_LEN};

/// The rail of Pix, PROTOCOL.md "Rails".
const RAIL_PIX: u8 = 1;
/// Channels, PROTOCOL.md "Channels".
pub(super) const CHANNEL_APP: u8 = 1;
pub(super) const CHANNEL_WEB: u8 = 2;
pub(super) const CHANNEL_API: u8 = 3;
/// Where the parts of an EndToEndId begin: after `E`, the institution, and the minute.
const ID_MINUTE_AT: usize = 9;
const ID_REST_AT: usize = 21;
/// The characters at an EndToEndId's end; eleven of them hold any number of 64 bits.
const ID_CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Reais as centavos.
pub(super) const fn reais(amount: u64) -> u64 {
    amount * 100
}

/// A payment as it is planned: people by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft {
    pub event_time_ns: u64,
    pub payer: Who,
    pub payee: Who,
    /// 0: none is known.
    pub device: u64,
    pub amount_centavos: u64,
    pub channel: u8,
    /// Whether the payee was named by a Pix key.
    pub by_key: bool,
    pub label: Label,
}

const _: () = assert!(size_of::<Draft>() <= 48, "frauds are held as drafts: see MAX_PAYMENTS");

/// A payment, and beside it the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// Place in the stream, from 0.
    pub number: u64,
    /// EndToEndId.
    pub id: [u8; TRANSACTION_ID_LEN],
    /// When it happened, nanoseconds since 1970 UTC.
    pub event_time_ns: u64,
    /// Who pays.
    pub payer: Party,
    /// Who is paid.
    pub payee: Party,
    /// Hash of the device; 0 where none is known.
    pub device: u64,
    /// Hash of the payee's Pix key; zeros where the account was named.
    pub pix_key: [u8; 16],
    /// Amount, centavos.
    pub amount_centavos: u64,
    /// Code of the channel.
    pub channel: u8,
    /// The truth, which goes to nobody who decides.
    pub label: Label,
}

/// Makes payments of drafts.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    people: People,
    /// Tells the ids of one stream from those of another.
    salt: u64,
    /// The minute that was written last, minutes since 1970 UTC, and its twelve digits.
    minute: u64,
    digits: [u8; ID_REST_AT - ID_MINUTE_AT],
}

impl Writer {
    pub fn new(people: People, salt: u64) -> Self {
        Self { people, salt, minute: 0, digits: *b"197001010000" }
    }

    /// The payment of a draft, as the one of this number.
    pub fn payment(&mut self, number: u64, draft: &Draft) -> Payment {
        let payer = self.people.party(draft.payer);
        Payment {
            number,
            id: self.id(&payer.ispb, draft.event_time_ns, number),
            event_time_ns: draft.event_time_ns,
            payer,
            payee: self.people.party(draft.payee),
            device: draft.device,
            pix_key: if draft.by_key { self.people.pix_key(draft.payee) } else { [0; 16] },
            amount_centavos: draft.amount_centavos,
            channel: draft.channel,
            label: draft.label,
        }
    }

    /// `E`, the institution of the payer, the minute in UTC, and eleven characters that no other
    /// payment of the stream has.
    fn id(&mut self, ispb: &[u8; 8], event_time_ns: u64, number: u64) -> [u8; TRANSACTION_ID_LEN] {
        let minute = event_time_ns / SECOND_NS / 60;
        if minute != self.minute {
            (self.minute, self.digits) = (minute, minute_digits(minute));
        }
        let mut id = [b'E'; TRANSACTION_ID_LEN];
        id[1..ID_MINUTE_AT].copy_from_slice(ispb);
        id[ID_MINUTE_AT..ID_REST_AT].copy_from_slice(&self.digits);
        let mut rest = scramble(self.salt ^ number);
        for character in id[ID_REST_AT..].iter_mut().rev() {
            *character = ID_CHARACTERS[(rest % 62) as usize];
            rest /= 62;
        }
        id
    }
}

/// A minute as `yyyyMMddHHmm` in UTC, for years of four digits.
fn minute_digits(minute: u64) -> [u8; ID_REST_AT - ID_MINUTE_AT] {
    let (day, of_day) = (minute / (24 * 60), minute % (24 * 60));
    // Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`: years begin
    // in March, so that the day that not every year has is the last.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + 400 * era + u64::from(month <= 2);
    let date = (year * 100 + month) * 100 + day_of_month;
    let mut number = (date * 100 + of_day / 60) * 100 + of_day % 60;
    let mut digits = [0; ID_REST_AT - ID_MINUTE_AT];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Writes a payment over a [`template`](crate::transactions::template), truth excepted.
pub fn write(frame: &mut SubmitFrame, payment: &Payment, correlation: u64) {
    frame.header.correlation = correlation.into();
    let fields = &mut frame.transaction;
    fields.id = payment.id;
    fields.payer = payment.payer.document;
    fields.payee = payment.payee.document;
    fields.amount_centavos = (payment.amount_centavos as i64).into();
    fields.event_time_ns = payment.event_time_ns.into();
    fields.rail = RAIL_PIX;
    fields.channel = payment.channel;
    fields.payer_account = payment.payer.account.into();
    fields.payee_account = payment.payee.account.into();
    fields.pix_key = payment.pix_key;
    fields.device = payment.device.into();
    fields.payer_ispb = payment.payer.ispb;
    fields.payee_ispb = payment.payee.ispb;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_those_of_the_calendar() {
        let zone = jiff::tz::TimeZone::UTC;
        let last = 75 * 366 * 24 * 60;
        for minute in (0..last).step_by(7_001).chain([29_921_760, 15_853_859, 15_853_860]) {
            let time = jiff::Timestamp::from_second(minute as i64 * 60).expect("in range");
            let text = time.to_zoned(zone.clone()).strftime("%Y%m%d%H%M").to_string();
            assert_eq!(std::str::from_utf8(&minute_digits(minute)), Ok(text.as_str()));
        }
    }
}
