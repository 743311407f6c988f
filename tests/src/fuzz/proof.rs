//! A proof: altered it proves nothing; and only what was sealed can be proved.

use super::input::{Input, spoil};
use catraca_core::log::hex;
use catraca_core::log::proof::{MAX_PROOF_LEN, Proof, ProofError};
use catraca_testkit::log::{KEY, TestLog};
use catraca_wire::block::{BLOCK_HEAD_LEN, BlockHead, Chain};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// A sound proof, with its parts as a forger would take it apart.
struct Sound {
    text: String,
    proof: Proof,
    parts: Parts,
}

#[derive(Clone)]
struct Parts {
    stream: u64,
    lsn: u64,
    chain: Chain,
    record_offset: u64,
    chunks: Vec<(u64, Vec<u8>)>,
    subtrees: Vec<Vec<u8>>,
}

/// Proofs of records alone in their block, among others, behind extensions, with one over several
/// chunks; and one kept as a file.
static SOUND: LazyLock<Vec<Sound>> = LazyLock::new(|| {
    let mut log = TestLog::new(64 * 1024);
    log.plain(1);
    log.plain(40);
    log.block(&[vec![5; 8], vec![], vec![6; 2048], vec![]]);
    let bytes = |block| log.bytes_of(block);
    let kept = include_str!("../../../engine/core/tests/data/proof.json").to_owned();
    let of = |(block, lsn): (usize, u64)| {
        let block = &log.blocks[block];
        let head: &BlockHead = bytemuck::from_bytes(&bytes(block)[..BLOCK_HEAD_LEN]);
        Proof::of(head, &bytes(block)[BLOCK_HEAD_LEN..block.end], lsn, &KEY)
            .expect("the block holds the record")
            .to_text()
    };
    let texts =
        [(0, 1), (1, 2), (1, 20), (1, 41), (2, 43), (2, 44)].map(of).into_iter().chain([kept]);
    let sound = texts.map(|text| {
        let proof = Proof::parse(text.as_bytes()).expect("a proof");
        let parts = Parts::of(&text);
        assert_eq!(parts.to_text(), text, "proofs are put together here as they are there");
        Sound { text, proof, parts }
    });
    sound.collect()
});

/// The first byte picks a proof and what becomes of it: its text is spoilt, its parts are, or the
/// rest is the text.
pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let first = usize::from(input.byte());
    let sound = &SOUND[first / 3 % SOUND.len()];
    let text = match first % 3 {
        0 => {
            let mut text = sound.text.clone().into_bytes();
            spoil(&mut text, &mut input);
            text
        }
        1 => {
            let mut parts = sound.parts.clone();
            while !input.is_empty() {
                parts.alter(&mut input);
            }
            parts.to_text().into_bytes()
        }
        _ => input.rest().to_vec(),
    };
    let proof = match Proof::parse(&text) {
        Ok(proof) => proof,
        Err(error) => {
            assert_eq!(error == ProofError::TooLong, text.len() > MAX_PROOF_LEN);
            assert!(
                SOUND.iter().all(|sound| sound.text.as_bytes() != text),
                "a sound proof is refused: {error}"
            );
            return;
        }
    };
    assert_eq!(proof.to_text().as_bytes(), text, "a proof has one spelling");
    let meant = SOUND.iter().find(|sound| sound.proof == proof);
    match proof.verify(&KEY) {
        Ok(proved) => {
            let sound = meant.expect("a proof that nobody made holds");
            assert_eq!(Ok(proved), sound.proof.verify(&KEY));
        }
        Err(error) => assert!(meant.is_none(), "a sound proof does not hold: {error}"),
    }
}

impl Parts {
    fn of(text: &str) -> Self {
        let json: serde_json::Value = serde_json::from_str(text).expect("a proof is JSON");
        let number = |value: &serde_json::Value| value.as_u64().expect("a number");
        let bytes = |value: &serde_json::Value| {
            hex::decode(value.as_str().expect("text")).expect("hexadecimal")
        };
        let list = |name: &str| json[name].as_array().expect("a list").clone();
        Self {
            stream: number(&json["stream"]),
            lsn: number(&json["lsn"]),
            chain: bytes(&json["chain"]).try_into().expect("32 bytes"),
            record_offset: number(&json["record_offset"]),
            chunks: list("chunks")
                .iter()
                .map(|chunk| (number(&chunk["index"]), bytes(&chunk["bytes"])))
                .collect(),
            subtrees: list("subtrees").iter().map(bytes).collect(),
        }
    }

    /// One change, well formed: so that what is behind the parser has to find it.
    fn alter(&mut self, input: &mut Input<'_>) {
        match input.byte() % 10 {
            0 => self.stream = input.number(),
            1 => self.lsn = self.lsn.wrapping_add(input.number()).wrapping_sub(64),
            2 => {
                self.record_offset =
                    self.record_offset.wrapping_add(8 * input.number()).wrapping_sub(1024)
            }
            3 => self.chain[input.below(32)] ^= input.byte(),
            4 if !self.chunks.is_empty() => {
                let at = input.below(self.chunks.len());
                let bytes = &mut self.chunks[at].1;
                if !bytes.is_empty() {
                    let at = input.below(bytes.len());
                    bytes[at] ^= input.byte();
                }
            }
            5 if !self.chunks.is_empty() => {
                let at = input.below(self.chunks.len());
                let len = input.below(1100);
                self.chunks[at].1.resize(len, 0);
            }
            6 if !self.chunks.is_empty() => {
                let at = input.below(self.chunks.len());
                self.chunks[at].0 = u64::from(input.byte());
            }
            7 => {
                let other = &SOUND[input.below(SOUND.len())].parts;
                match input.byte() % 3 {
                    0 => self.chunks.extend_from_slice(&other.chunks),
                    1 => self.subtrees.extend_from_slice(&other.subtrees),
                    _ => (self.chain, self.lsn) = (other.chain, other.lsn),
                }
            }
            8 => drop(self.chunks.pop()),
            _ => drop(self.subtrees.pop()),
        }
    }

    fn to_text(&self) -> String {
        let chunk = |(index, bytes): &(u64, Vec<u8>)| {
            format!(
                "    {{\n      \"index\": {index},\n      \"bytes\": \"{}\"\n    }}",
                hex::encode(bytes)
            )
        };
        let list = |items: Vec<String>| {
            if items.is_empty() {
                "[]".to_owned()
            } else {
                format!("[\n{}\n  ]", items.join(",\n"))
            }
        };
        let mut text = String::from("{\n  \"format\": \"catraca-proof-1\",\n");
        let Self { stream, lsn, record_offset, .. } = self;
        let chain = hex::encode(&self.chain);
        let chunks = list(self.chunks.iter().map(chunk).collect());
        let subtrees = list(
            self.subtrees.iter().map(|value| format!("    \"{}\"", hex::encode(value))).collect(),
        );
        writeln!(text, "  \"stream\": {stream},\n  \"lsn\": {lsn},\n  \"chain\": \"{chain}\",")
            .expect("a string");
        writeln!(text, "  \"record_offset\": {record_offset},\n  \"chunks\": {chunks},\n  \"subtrees\": {subtrees}\n}}")
            .expect("a string");
        text
    }
}
