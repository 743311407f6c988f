//! Who pays whom, and the bytes of it: drawn by a seeded generator, written over a ready-made
//! SUBMIT in the send buffer.

use crate::documents::{Documents, WireDocument};
use crate::scenario::{Label, Payment};
use catraca_wire::frame::{Submit, SubmitFrame, TRANSACTION_ID_LEN};
use rand::RngCore;
use rand::rngs::SmallRng;

/// Answered transactions to choose from when one is sent again. Recent ones, so that the node's
/// bounded dedupe window holds them.
const RECENT: usize = 1024;
/// Largest amount, centavos: R$ 5,000.00.
const MAX_AMOUNT_CENTAVOS: u64 = 500_000;
/// Transactions drawn at once. Documents lie in no order that a processor foresees: copied one by
/// one between other work, each waits for memory in turn, which is a fifth of the time at full
/// load; copied in a tight loop, the waits overlap.
const BLOCK: usize = 64;
/// Characters of an id that name the run; the others count.
const PREFIX_LEN: usize = 16;

/// What one transaction is, as little as it takes to write it, to know what its answer must be, and
/// to write it again.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Counts the run's transactions: the end of the id.
    pub number: u64,
    /// Event time, nanoseconds since 1970 UTC.
    pub event_time_ns: u64,
    /// Index of the payer's document.
    pub payer: u32,
    /// Index of the payee's document.
    pub payee: u32,
    /// Amount, centavos.
    pub amount_centavos: u32,
    /// For one that is sent again: what it was answered.
    pub answered: Option<Answered>,
    /// For one of a scenario: the truth. Its parties are in no population.
    pub label: Option<Label>,
}

/// What an answer says that a second answer must repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Log sequence number.
    pub lsn: u64,
    /// Log stream.
    pub shard: u16,
    /// The verdict's code.
    pub verdict: u8,
}

impl Planned {
    /// No transaction.
    pub const NONE: Self = Self {
        number: 0,
        event_time_ns: 0,
        payer: 0,
        payee: 0,
        amount_centavos: 0,
        answered: None,
        label: None,
    };

    /// What is kept of a payment of a scenario until it is answered.
    pub fn of_scenario(payment: &Payment) -> Self {
        Self {
            number: payment.number,
            event_time_ns: payment.event_time_ns,
            label: Some(payment.label),
            ..Self::NONE
        }
    }
}

/// Payer and payee as they go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties {
    /// The payer's document.
    pub payer: WireDocument,
    /// The payee's document.
    pub payee: WireDocument,
}

/// Part of a transaction, drawn ahead.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    random: u64,
    payer: u32,
    payee: u32,
    parties: Parties,
}

/// Draws transactions.
#[derive(Debug)]
pub struct Transactions {
    documents: Documents,
    rng: SmallRng,
    /// A random 32-bit number below this draws a listed transaction; 2^32 draws always.
    listed_below: u64,
    resend_below: u64,
    next_number: u64,
    block: [Drawn; BLOCK],
    /// How many of the block are used up.
    used: usize,
    keeps_recent: bool,
    recent: Vec<Planned>,
    oldest: usize,
}

impl Transactions {
    /// Draws from `documents`, listed and repeated ones with these shares (0 to 1).
    pub fn new(documents: Documents, rng: SmallRng, listed_share: f64, resend_share: f64) -> Self {
        let below = |share: f64| (share * 2f64.powi(32)) as u64;
        let listed_below = if documents.listed() == 0 { 0 } else { below(listed_share) };
        let recent = Vec::with_capacity(if resend_share > 0.0 { RECENT } else { 0 });
        let parties = Parties { payer: *documents.get(0), payee: *documents.get(1) };
        Self {
            documents,
            rng,
            listed_below,
            resend_below: below(resend_share),
            next_number: 0,
            block: [Drawn { random: 0, payer: 0, payee: 1, parties }; BLOCK],
            used: BLOCK,
            keeps_recent: resend_share > 0.0,
            recent,
            oldest: 0,
        }
    }

    /// The documents drawn from.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The next transaction: a new one at `event_time_ns`, or one answered before.
    #[inline]
    pub fn draw(&mut self, event_time_ns: u64) -> (Planned, Parties) {
        if self.used == BLOCK {
            self.draw_block();
        }
        let Drawn { random, payer, payee, parties } = self.block[self.used];
        self.used += 1;
        let low = random & 0xffff_ffff;
        if self.resend_below > 0 && !self.recent.is_empty() && random >> 32 < self.resend_below {
            let again = self.recent[low as usize % self.recent.len()];
            return (again, self.parties(&again));
        }
        let number = self.next_number;
        self.next_number += 1;
        // Scrambled, because the same bits drew whether a party is listed.
        let amount_centavos = 1 + (low.wrapping_mul(0x9e37_79b9) >> 16) % MAX_AMOUNT_CENTAVOS;
        let planned = Planned {
            number,
            event_time_ns,
            payer,
            payee,
            amount_centavos: amount_centavos as u32,
            answered: None,
            label: None,
        };
        (planned, parties)
    }

    #[inline(never)]
    fn draw_block(&mut self) {
        for drawn in &mut self.block {
            let (random, people) = (self.rng.next_u64(), self.rng.next_u64());
            let (payer_random, payee_random) = ((people >> 32) as u32, people as u32);
            let mut payer = self.documents.pick_unlisted(payer_random);
            let mut payee = self.documents.pick_unlisted(payee_random);
            if payer == payee {
                payee = if payee == 0 { 1 } else { payee - 1 };
            }
            // The low half, because the high one draws repetitions: the two shares must not depend
            // on each other.
            if random & 0xffff_ffff < self.listed_below {
                let (listed_payer, listed_payee) = (
                    self.documents.pick_listed(payer_random),
                    self.documents.pick_listed(payee_random),
                );
                match self.rng.next_u32() % 8 {
                    0 if listed_payer != listed_payee => {
                        (payer, payee) = (listed_payer, listed_payee)
                    }
                    0..5 => payer = listed_payer,
                    _ => payee = listed_payee,
                }
            }
            (drawn.random, drawn.payer, drawn.payee) = (random, payer, payee);
        }
        for drawn in &mut self.block {
            drawn.parties = Parties {
                payer: *self.documents.get(drawn.payer),
                payee: *self.documents.get(drawn.payee),
            };
        }
        self.used = 0;
    }

    /// Whether the node must deny it.
    #[inline]
    pub fn is_listed(&self, transaction: &Planned) -> bool {
        self.documents.is_listed(transaction.payer) || self.documents.is_listed(transaction.payee)
    }

    /// Keeps answers also where none is repeated by chance: for [`Self::recent`].
    pub fn keep_recent(&mut self) {
        self.keeps_recent = true;
        self.recent.reserve(RECENT);
    }

    /// The transactions answered last, with their answers.
    pub fn recent(&self) -> &[Planned] {
        &self.recent
    }

    /// The documents of a transaction.
    pub fn parties(&self, transaction: &Planned) -> Parties {
        Parties {
            payer: *self.documents.get(transaction.payer),
            payee: *self.documents.get(transaction.payee),
        }
    }

    /// Keeps a new transaction's answer, so that it may be sent again.
    #[inline]
    pub fn remember(&mut self, transaction: &Planned, answered: Answered) {
        if !self.keeps_recent {
            return;
        }
        let known = Planned { answered: Some(answered), ..*transaction };
        if self.recent.len() < RECENT {
            self.recent.push(known);
        } else {
            self.recent[self.oldest] = known;
            self.oldest = (self.oldest + 1) % RECENT;
        }
    }
}

/// A SUBMIT with everything filled in that is the same for all transactions of a run.
pub fn template(run_id: u64) -> SubmitFrame {
    let mut frame = SubmitFrame::empty(0);
    frame.transaction.id[..PREFIX_LEN].copy_from_slice(&hex(run_id));
    frame.transaction.rail = 1;
    frame.transaction.channel = 1;
    frame.transaction.payer_ispb = *b"12345678";
    frame.transaction.payee_ispb = *b"87654321";
    frame
}

/// Writes what differs over a [`template`].
#[inline]
pub fn write(frame: &mut SubmitFrame, transaction: &Planned, parties: &Parties, correlation: u64) {
    frame.header.correlation = correlation.into();
    let fields = &mut frame.transaction;
    fields.id[PREFIX_LEN..].copy_from_slice(&hex(transaction.number));
    fields.payer = parties.payer;
    fields.payee = parties.payee;
    fields.amount_centavos = i64::from(transaction.amount_centavos).into();
    fields.event_time_ns = transaction.event_time_ns.into();
    // One account and one device a document, so that windows over them have something to count; 0
    // would mean unknown.
    fields.payer_account = (u64::from(transaction.payer) + 1).into();
    fields.payee_account = (u64::from(transaction.payee) + 1).into();
    fields.device = (u64::from(transaction.payer) + 1).into();
}

const _: () = assert!(TRANSACTION_ID_LEN == 2 * PREFIX_LEN);
const _: () = assert!(size_of::<SubmitFrame>() == 192 && size_of::<Submit>() >= 192);

/// The number of a transaction of this run, from its id; `None` for an id of something else.
pub(crate) fn number_of(run_id: u64, id: &[u8]) -> Option<u64> {
    let (prefix, digits) = id.split_at_checked(PREFIX_LEN)?;
    let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (prefix == hex(run_id) && digits == hex(number)).then_some(number)
}

#[cfg(test)]
pub(crate) fn id_of(run_id: u64, number: u64) -> [u8; TRANSACTION_ID_LEN] {
    let mut id = [0; TRANSACTION_ID_LEN];
    id[..PREFIX_LEN].copy_from_slice(&hex(run_id));
    id[PREFIX_LEN..].copy_from_slice(&hex(number));
    id
}

/// 16 hexadecimal digits, all at once: bytes of a register instead of a loop over digits, because
/// it runs for every transaction.
#[inline]
fn hex(number: u64) -> [u8; PREFIX_LEN] {
    let mut text = [0; PREFIX_LEN];
    text[..8].copy_from_slice(&hex_half((number >> 32) as u32));
    text[8..].copy_from_slice(&hex_half(number as u32));
    text
}

#[inline]
fn hex_half(number: u32) -> [u8; 8] {
    // Spread the eight digits over eight bytes, the last digit lowest.
    let mut spread = u64::from(number);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // Adding 6 carries into bit 4 exactly where a digit is above 9: those become letters, 39 above
    // where `0` + 10 would be.
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::List;
    use catraca_wire::DocumentKey;
    use catraca_wire::frame::is_transaction_id;
    use rand::SeedableRng;

    fn transactions(listed_share: f64, resend_share: f64) -> Transactions {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "document\n04933228680\n12ABC34501DE35\n").expect("writable");
        let list = List::read(file.path(), jiff::civil::date(2026, 11, 22)).expect("a list");
        let mut rng = SmallRng::seed_from_u64(3);
        let documents = Documents::generate(100, &list, &mut rng).expect("room");
        Transactions::new(documents, rng, listed_share, resend_share)
    }

    #[test]
    fn hexadecimal_is_as_the_standard_library_prints_it() {
        for number in [0, 9, 10, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(hex(number), format!("{number:016x}").as_bytes(), "{number:#x}");
        }
    }

    #[test]
    fn frames_are_what_a_server_takes() {
        let mut source = transactions(0.5, 0.0);
        let mut frame = template(0xfeed);
        let mut ids = std::collections::HashSet::new();
        for correlation in 1..1_000 {
            let (planned, parties) = source.draw(77);
            write(&mut frame, &planned, &parties, correlation);
            assert_eq!(frame.transaction.payer, *source.documents().get(planned.payer));
            assert_eq!(frame.transaction.payee, *source.documents().get(planned.payee));
            assert_eq!(frame.header.length, 192);
            assert_eq!(frame.header.correlation, correlation);
            assert!(is_transaction_id(&frame.transaction.id));
            assert!(ids.insert(frame.transaction.id));
            assert_ne!(frame.transaction.payer, frame.transaction.payee);
            assert!((1..=500_000).contains(&frame.transaction.amount_centavos.to_native()));
            DocumentKey::from_wire(&frame.transaction.payer).expect("valid");
            DocumentKey::from_wire(&frame.transaction.payee).expect("valid");
        }
    }

    #[test]
    fn shares_are_kept() {
        let mut source = transactions(0.25, 0.1);
        let (mut listed, mut resent) = (0, 0);
        for _ in 0..100_000 {
            let (planned, _) = source.draw(1);
            if planned.answered.is_some() {
                resent += 1;
            } else {
                listed += u32::from(source.is_listed(&planned));
                source.remember(&planned, Answered { lsn: planned.number, shard: 0, verdict: 1 });
            }
        }
        assert!((9_500..10_500).contains(&resent), "{resent}");
        assert!((21_500..23_500).contains(&listed), "{listed} of 90,000 or so");
        let mut always = transactions(1.0, 0.0);
        assert!((0..1_000).all(|_| {
            let (planned, _) = always.draw(1);
            always.is_listed(&planned)
        }));
    }
}
