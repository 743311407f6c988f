//! Proofs: that they hold for every record, disclose what LOG.md says, and hold for nothing else.

use catraca_core::log::hex;
use catraca_core::log::proof::{MAX_PROOF_LEN, Proof, ProofError};
use catraca_testkit::log::{KEY, TestLog, Written, decision};
use catraca_wire::block::{BLOCK_HEAD_LEN, BlockHead, MAX_BLOCK_LEN, SEGMENT_HEAD_LEN, records};
use std::collections::BTreeSet;

/// The proof made of the log below for record 7, as a file.
const GOLDEN: &str = include_str!("data/proof.json");

fn head_and_payload<'a>(log: &'a TestLog, block: &Written) -> (&'a BlockHead, &'a [u8]) {
    let bytes = log.bytes_of(block);
    (bytemuck::from_bytes(&bytes[..BLOCK_HEAD_LEN]), &bytes[BLOCK_HEAD_LEN..block.end])
}

fn proof(log: &TestLog, block: &Written, lsn: u64) -> Proof {
    let (head, payload) = head_and_payload(log, block);
    Proof::of(head, payload, lsn, &KEY).unwrap_or_else(|| panic!("record {lsn} is in its block"))
}

/// Blocks of all shapes: within a chunk, at its edges, over several, with extensions, and the
/// longest.
fn log() -> TestLog {
    let mut log = TestLog::new(SEGMENT_HEAD_LEN + 2 * MAX_BLOCK_LEN);
    for count in [1, 3, 4, 30] {
        log.plain(count);
    }
    log.block(&[
        vec![0xe0; 4096],
        vec![],
        vec![0xe1; 8],
        vec![0xe2; 1024],
        vec![],
        vec![0xe3; 512],
    ]);
    log.plain(4095);
    log
}

#[test]
fn every_record_has_a_proof_that_holds() {
    let log = log();
    for block in &log.blocks {
        let (head, payload) = head_and_payload(&log, block);
        for (record, extension) in records(payload) {
            let lsn = record.lsn.to_native();
            // Of the longest block, each record of its ends and some of its middle.
            if block.records > 1000
                && (10..4090).contains(&(lsn - block.first_lsn))
                && !lsn.is_multiple_of(97)
            {
                continue;
            }
            let proof = proof(&log, block, lsn);
            let text = proof.to_text();
            assert!(text.len() < 18 * 1024, "{}", text.len());
            let read = Proof::parse(text.as_bytes()).expect("as written");
            assert_eq!(read, proof);
            let proved = read.verify(&KEY).unwrap_or_else(|error| panic!("record {lsn}: {error}"));
            assert_eq!((proved.record, proved.extension.as_slice()), (*record, extension));
            assert_eq!(
                (read.chain(), proved.last_lsn()),
                (&head.chain, block.first_lsn + block.records - 1)
            );
            let plain = BlockHead { payload_crc: 0.into(), header_crc: 0.into(), ..*head };
            assert_eq!(BlockHead { header_crc: 0.into(), ..proved.block }, plain);
            assert_eq!(read.verify(&[0x5b; 32]), Err(ProofError::Chain), "another key");
        }
        assert_eq!(Proof::of(head, payload, block.first_lsn - 1, &KEY), None);
        assert_eq!(Proof::of(head, payload, block.first_lsn + block.records, &KEY), None);
    }
}

#[test]
fn a_proof_discloses_its_chunks_and_nothing_else() {
    let mut log = TestLog::new(64 * 1024);
    let block = log.plain(30);
    for lsn in 1..=30 {
        let proof = proof(&log, &block, lsn);
        let text = proof.to_text();
        let shown: BTreeSet<u64> = (1..=30)
            .filter(|&lsn| text.contains(&hex::encode(&decision(lsn).transaction.id)))
            .collect();
        // The first chunk has the head and three records, each later one four.
        let chunk =
            if lsn <= 3 { 1..=3 } else { (lsn - 4) / 4 * 4 + 4..=((lsn - 4) / 4 * 4 + 7).min(30) };
        assert_eq!(shown, (1..=3).chain(chunk).collect(), "record {lsn}");
        assert_eq!(proof.disclosed_records(), shown.len());
    }
}

/// What a changed text of a proof is taken for.
fn judged(text: &[u8]) -> ProofError {
    match Proof::parse(text).and_then(|proof| proof.verify(&KEY)) {
        Ok(proved) => panic!("holds: {proved:?}: {}", String::from_utf8_lossy(text)),
        Err(error) => error,
    }
}

#[test]
fn altered_in_any_bit_it_proves_nothing() {
    let mut log = TestLog::new(64 * 1024);
    let alone = log.plain(1);
    let among = log.plain(9);
    for (block, lsn, bits) in [(alone, 1, 0..8), (among, 8, 0..1)] {
        let text = proof(&log, &block, lsn).to_text().into_bytes();
        let mut kinds = BTreeSet::new();
        for at in 0..text.len() {
            for bit in bits.clone() {
                let mut altered = text.clone();
                altered[at] ^= 1 << bit;
                let error = judged(&altered);
                kinds.insert(
                    format!("{error:?}").split(['(', ' ']).next().expect("a name").to_owned(),
                );
            }
            judged(&text[..at]);
        }
        // Many a changed text is still well formed: it is the checks behind the parser that find
        // it.
        for kind in ["Json", "Format", "Hex", "Stream", "Lsn", "Head", "Record", "Chain"] {
            assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
        }
    }
}

#[test]
fn put_together_otherwise_it_proves_nothing() {
    let mut log = TestLog::new(64 * 1024);
    let first = log.plain(9);
    let second = log.plain(9);
    let text = proof(&log, &first, 8).to_text();
    let other = proof(&log, &second, 17).to_text();
    let replaced = |from: &str, to: &str| {
        let altered = text.replace(from, to);
        assert_ne!(altered, text, "{from}");
        judged(altered.as_bytes())
    };
    let no_room = ProofError::Record("the records before and behind it leave no room");
    assert_eq!(replaced("\"lsn\": 8", "\"lsn\": 9"), no_room);
    assert_eq!(replaced("\"record_offset\": 2048", "\"record_offset\": 2304"), no_room);
    assert_eq!(
        replaced("\"record_offset\": 2048", "\"record_offset\": 18446744073709551615"),
        no_room
    );
    assert_eq!(replaced("\"index\": 2", "\"index\": 1"), ProofError::Chunks);
    assert_eq!(replaced("\"index\": 2", "\"index\": 18446744073709551615"), ProofError::Chunks);
    assert_eq!(
        replaced("\"format\": \"catraca-proof-1\"", "\"format\": \"catraca-proof-2\""),
        ProofError::Format
    );
    assert_eq!(replaced("  \"lsn\"", "   \"lsn\""), ProofError::NotAsWritten);
    assert!(matches!(replaced("\"lsn\"", "\"lsm\""), ProofError::Json(_)));
    assert!(matches!(replaced("\"lsn\": 8,", "\"lsn\": 8, \"lsn\": 8,"), ProofError::Json(_)));

    // A subtree too few, one too many, and those of another block.
    let subtrees = |text: &str| text.split_once("\"subtrees\": [").expect("there").1.to_owned();
    assert_eq!(replaced(&subtrees(&text), &subtrees(&other)), ProofError::Chain);
    assert_eq!(
        replaced(&format!("[{}", subtrees(&text)), "[]\n}\n"),
        ProofError::Subtrees { expected: 1, found: 0 }
    );
    let value = "00".repeat(32);
    let one_more = format!(": [\n    \"{value}\",{}", subtrees(&text));
    assert_eq!(
        replaced(&format!(": [{}", subtrees(&text)), &one_more),
        ProofError::Subtrees { expected: 1, found: 2 }
    );

    assert_eq!(judged(&vec![b' '; MAX_PROOF_LEN + 1]), ProofError::TooLong);
    assert!(matches!(judged(&vec![b'['; MAX_PROOF_LEN]), ProofError::Json(_)));
}

#[test]
fn the_format_is_what_it_was() {
    let mut log = TestLog::new(64 * 1024);
    let block = log.plain(12);
    assert_eq!(proof(&log, &block, 7).to_text(), GOLDEN);
    let proved = Proof::parse(GOLDEN.as_bytes()).expect("a proof").verify(&KEY).expect("holds");
    assert_eq!(proved.record, decision(7));
}
