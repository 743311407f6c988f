//! SUBMIT frames in any number, each with an id of its own, made ahead of what is measured.

use catraca_core::blacklist::synthetic::document;
use catraca_wire::DocumentKey;
use catraca_wire::frame::{FixedFrame, SubmitFrame};
use std::collections::HashSet;

/// Documents that payers and payees are drawn from: a power of two, and far more than any cache
/// holds.
const DOCUMENTS: usize = 1 << 17;
const SEED: u64 = 1;

/// Makes frames. One party in ten is listed, where the list holds the documents `0..entries`.
pub struct Frames {
    documents: Vec<[u8; 14]>,
    /// Those who pay, where they are few.
    payers: Vec<[u8; 14]>,
    next: u64,
}

impl Frames {
    /// For a list of the first `entries` documents.
    pub fn new(entries: u64) -> Self {
        let number = |place: u64| {
            if place.is_multiple_of(10) {
                place * 7_919 % entries.max(1)
            } else {
                entries + place * 101
            }
        };
        let documents =
            (0..DOCUMENTS as u64).map(|place| document(SEED, number(place)).to_wire()).collect();
        Self { documents, payers: Vec::new(), next: 0 }
    }

    /// The same, where only `payers` of the documents pay.
    pub fn of_payers(entries: u64, payers: usize) -> Self {
        let mut frames = Self::new(entries);
        frames.payers = frames.documents[..payers].to_vec();
        frames
    }

    /// These pay no more, of few who pay.
    pub fn drop_payers(&mut self, dropped: &HashSet<[u8; 14]>) {
        self.payers.retain(|payer| !dropped.contains(payer));
    }

    /// The first `entries` documents.
    pub fn listed(entries: u64) -> impl Iterator<Item = DocumentKey> {
        (0..entries).map(|number| document(SEED, number))
    }

    /// Fills `bytes`, whole frames, with new transactions that happened at `event_time_ns`.
    pub fn fill(&mut self, bytes: &mut [u8], event_time_ns: u64) {
        for chunk in bytes.chunks_exact_mut(SubmitFrame::LEN) {
            let n = self.next;
            self.next += 1;
            // Scattered, as payers are.
            let place = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let mut frame = SubmitFrame::empty(n);
            let t = &mut frame.transaction;
            t.id = [b'E'; 32];
            for (i, byte) in t.id[16..].iter_mut().enumerate() {
                *byte = b'A' + ((n >> (i * 4)) & 15) as u8;
            }
            t.payer = match self.payers.len() {
                0 => self.documents[place as usize % DOCUMENTS],
                payers => self.payers[place as usize % payers],
            };
            t.payee = self.documents[(place >> 15) as usize % DOCUMENTS];
            t.amount_centavos = 12_345.into();
            t.event_time_ns = event_time_ns.into();
            t.rail = 1;
            chunk.copy_from_slice(bytemuck::bytes_of(&frame));
        }
    }
}
