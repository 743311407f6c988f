//! REPLICATION.md says what the layouts and codes of `replication` are, to the byte.

use catraca_wire::replication::{
    AcceptFrame, AckFrame, BlockPrefaceFields, FilePartPrefaceFields, HeartbeatFrame, JoinFrame,
    LinkHeadFields, LinkKind, MatchFrame, ProbeFrame, ProofFrame, Purpose, RefuseFrame,
    RefuseReason, length_bounds,
};
use std::mem::{offset_of, size_of};

const PAGE: &str = include_str!("../REPLICATION.md");

/// The rows of the first table under a heading that begins like this, each cell trimmed.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let mut lines = PAGE
        .lines()
        .skip_while(|line| !line.trim_start_matches('#').trim_start().starts_with(heading))
        .skip(1);
    let table = lines
        .by_ref()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    let rows: Vec<Vec<&str>> = table.skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "the page has no table {heading:?}");
    rows
}

macro_rules! assert_layout {
    ($heading:literal, $frame:ident: $first:literal; $($field:ident),+) => {
        let expected: Vec<(String, usize)> = vec![$((stringify!($field).to_owned(), offset_of!($frame, $field))),+];
        let mut end = $first;
        let mut found = Vec::new();
        for row in rows($heading) {
            let offset: usize = row[0].parse().expect("an offset");
            assert_eq!(offset, end, "{}: {}", $heading, row[3]);
            // The last part of some frames is of any length.
            match row[1].parse::<usize>() {
                Ok(size) => {
                    end += size;
                    found.push((row[3].to_owned(), offset));
                }
                Err(_) => assert_eq!(row[1], format!("length − {end}"), "{}", $heading),
            }
        }
        assert_eq!(found, expected, $heading);
        assert_eq!(end, size_of::<$frame>(), $heading);
    };
}

#[test]
fn every_layout_is_on_the_page() {
    assert_layout!("Head (16", LinkHeadFields: 0; length, kind, version, stream, epoch, reserved);
    assert_layout!("JOIN (", JoinFrame: 16; format_version, shards, purpose, in_sync, role, reserved_a, session, list_id, cluster_id,
        node_id, nonce, replication_address, client_address, run, reserved_b);
    assert_layout!("ACCEPT (", AcceptFrame: 16; format_version, shards, streams, role, odd_epochs, segment_len, session,
        solo_after_ms, cluster_id, node_id, nonce, proof, client_address, reserved);
    assert_layout!("PROOF (", ProofFrame: 16; proof);
    assert_layout!("REFUSE (", RefuseFrame: 16; reason, reserved_a, primary, text, reserved_b);
    assert_layout!("PROBE (", ProbeFrame: 16; lsn, chain, reserved);
    assert_layout!("MATCH (", MatchFrame: 16; matches, reserved, tail_lsn);
    assert_layout!("BLOCK (", BlockPrefaceFields: 16; committed_lsn, durable_lsn);
    assert_layout!("ACK (", AckFrame: 16; lsn, receipt);
    assert_layout!("HEARTBEAT (", HeartbeatFrame: 16; disk_full, reserved);
    assert_layout!("FILE_PART (", FilePartPrefaceFields: 16; file_len, offset);
}

#[test]
fn every_code_is_on_the_page() {
    let kinds = rows("Kinds");
    assert_eq!(kinds.len(), LinkKind::ALL.len());
    for (row, kind) in kinds.iter().zip(LinkKind::ALL) {
        let (least, most) = length_bounds(*kind);
        let with_commas = |number: usize| {
            let digits = number.to_string();
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .map(|group| std::str::from_utf8(group).expect("digits"))
                .collect();
            groups.join(",")
        };
        let lengths = if least == most {
            with_commas(least)
        } else {
            format!("{} to {}", with_commas(least), with_commas(most))
        };
        assert_eq!(row[..3], [kind.to_wire().to_string().as_str(), kind.name(), &lengths]);
    }
    let pairs = |heading| {
        rows(heading).iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect::<Vec<_>>()
    };
    let purposes: Vec<_> = Purpose::ALL
        .iter()
        .map(|code| (code.to_wire().to_string(), code.name().to_owned()))
        .collect();
    assert_eq!(pairs("Connections"), purposes);
    let reasons: Vec<_> = RefuseReason::ALL
        .iter()
        .map(|code| (code.to_wire().to_string(), code.name().to_owned()))
        .collect();
    assert_eq!(pairs("Refusals"), reasons);
}
