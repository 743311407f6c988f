//! Invented payments: valid documents that stand for nobody, ids that never repeat within a test.

use catraca_core::blacklist::synthetic;
use catraca_wire::DocumentKey;
use catraca_wire::client::now_ns;
use catraca_wire::frame::{FrameKind, HeaderFields, SubmitFrame, Transaction, TransactionFields};

/// Seed of the documents that pay and are paid.
const SEED: u64 = 20_261_123;

/// The document with this number; half are CPFs, half CNPJs.
pub fn document(number: u64) -> DocumentKey {
    synthetic::document(SEED, number)
}

/// The first CPF from this number on.
///
/// # Panics
/// Never: half of the documents are CPFs.
pub fn cpf(number: u64) -> DocumentKey {
    (number..)
        .map(document)
        .find(|key| key.cpf_number().is_some())
        .expect("half of all documents are CPFs")
}

/// The payment with this id, between documents that follow from the number, now.
///
/// # Panics
/// When the id is none.
pub fn payment(id: &str, number: u64) -> Transaction {
    between(id, document(number % 5_000), document(5_000 + number % 4_999), now_ns())
}

/// A payment between two documents.
///
/// # Panics
/// When the id is none.
pub fn between(
    id: &str,
    payer: DocumentKey,
    payee: DocumentKey,
    event_time_ns: u64,
) -> Transaction {
    Transaction::pix(id, &payer.to_canonical(), &payee.to_canonical(), 12_34, event_time_ns)
        .expect("a valid payment")
}

/// The frame that submits a payment.
pub fn submit(correlation: u64, transaction: &Transaction) -> SubmitFrame {
    let mut frame = SubmitFrame::empty(correlation);
    frame.header = HeaderFields::new(FrameKind::Submit, size_of::<SubmitFrame>(), 0, correlation);
    frame.transaction = TransactionFields::from(transaction);
    frame
}
