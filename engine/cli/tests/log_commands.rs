//! `catraca log verify|show|export` as a person and a program meet them.

mod log_program;

use catraca_core::replica::{Peer, ReplicaState};
use catraca_node::replication::state_file;
use catraca_wire::block::SECTOR_LEN;
use log_program::{command, damage, data_dir, json, run, stream};
use std::fs;
use std::io::Read;
use std::process::Stdio;

#[test]
fn verify_tells_what_is_there() {
    let dir = data_dir();
    let (status, text, _) = run(dir.path(), &["verify"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("1200 records in 40 blocks, sound"), "{text}");
    assert!(
        text.contains("2026-11-23 09:00:00.001 -03:00 local, 2026-11-23T12:00:00.001Z UTC"),
        "{text}"
    );
    let (status, report) = json(dir.path(), &["verify", "--json"]);
    assert_eq!(
        (status, &report["sound"], &report["chain_values_checked"]),
        (0, &true.into(), &true.into())
    );
    assert_eq!(report["streams"][1]["records"], 600);
    assert_eq!(report["streams"][1]["last_lsn"], 600);
    assert_eq!(report["streams"][0]["state"], "clean");
    assert_eq!(report["streams"][0]["chain_head"].as_str().map(str::len), Some(64));
}

#[test]
fn verify_without_the_key_says_so_and_with_another_fails() {
    let dir = data_dir();
    let key = dir.path().join("chain.key");
    let other = dir.path().join("other.key");
    fs::write(&other, "ab".repeat(32)).expect("own");
    let (status, text, _) =
        run(dir.path(), &["verify", "--key-file", other.to_str().expect("UTF-8")]);
    assert_eq!(status, 3);
    assert!(text.contains("chain value is wrong"), "{text}");
    fs::remove_file(&key).expect("own");
    let (status, text, _) = run(dir.path(), &["verify"]);
    assert_eq!(status, 0);
    assert!(text.contains("the chain's values were not"), "{text}");
    let (status, _, stderr) =
        run(dir.path(), &["verify", "--key-file", key.to_str().expect("UTF-8")]);
    assert_eq!(status, 1);
    assert!(stderr.contains("chain.key: could not read"), "{stderr}");
}

#[test]
fn verify_names_every_damaged_stream_and_pardons_a_torn_tail() {
    let dir = data_dir();
    let log = stream(0);
    let last = log.last();
    damage(dir.path(), 0, last.segment as u32, |bytes| {
        bytes[last.offset + SECTOR_LEN..last.offset + 2 * SECTOR_LEN].fill(0);
    });
    let (status, text, _) = run(dir.path(), &["verify"]);
    assert_eq!(status, 0, "{text}");
    assert!(
        text.contains(&format!(
            "offset {}: a block of which sectors were never written",
            last.offset
        )),
        "{text}"
    );
    assert!(text.contains("1170 records in 39 blocks, sound"), "{text}");

    damage(dir.path(), 0, 0, |bytes| bytes[5000] ^= 1);
    damage(dir.path(), 1, 2, |bytes| bytes.clear());
    let (status, report) = json(dir.path(), &["verify", "--json"]);
    assert_eq!(status, 3);
    let problem = |stream: usize| report["streams"][stream]["problem"].clone();
    assert!(
        problem(0)["file"].as_str().is_some_and(|file| file.ends_with("shard-0000/00000000.seg"))
    );
    assert_eq!(problem(0)["offset"], 4096);
    assert!(problem(1)["reason"].as_str().is_some_and(|reason| reason.contains("empty")));
    let (status, text, _) = run(dir.path(), &["verify"]);
    assert_eq!((status, text.matches("DAMAGED: ").count()), (3, 2), "{text}");
}

#[test]
fn show_explains_masked_unless_asked() {
    let dir = data_dir();
    let (status, text, _) = run(dir.path(), &["show", "--transaction", "T00000003"]);
    assert_eq!(status, 0);
    assert_eq!(
        text.matches("T00000003: DENY, because the payer is listed (ceis)").count(),
        2,
        "{text}"
    );
    for part in [
        "R$ 12.345,03",
        "***.456.003-**, listed in ceis",
        "12.ABC.345/****-**, not listed",
        "2026-11-23 09:00:00.003 -03:00 local",
        "snapshot feedbeef01020304, overlay change 2 (version feedbeef01000002)",
        "shard 1, lsn 3, epoch 1",
        "shard-0001/00000000.seg offset 4096",
        "pix, app",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("123456003") && !text.contains("203.0.113.9"), "{text}");
    let (_, report) =
        json(dir.path(), &["show", "--transaction", "T00000003", "--json", "--unmask"]);
    let decision = &report["decisions"][0];
    assert!(decision["payer"].as_str().is_some_and(|payer| payer.starts_with("123456003")));
    assert_eq!((&decision["ip"], &decision["verdict"]), (&"203.0.113.9".into(), &"deny".into()));
    let (chain, receipt) =
        (decision["chain"].as_str().expect("text"), decision["receipt"].as_str().expect("text"));
    let first: String = (0..8).rev().map(|i| &chain[2 * i..2 * i + 2]).collect();
    assert_eq!(receipt, first);

    let (status, _, stderr) = run(dir.path(), &["show", "--transaction", "nobody"]);
    assert_eq!(status, 1);
    assert!(stderr.contains("no stored decision has the id nobody"), "{stderr}");
    let (status, _, stderr) =
        run(dir.path(), &["show", "--transaction", "T00000003", "--payer", "123"]);
    assert_eq!(status, 2);
    assert!(stderr.contains("--payer"), "{stderr}");
}

#[test]
fn export_writes_every_record_in_order() {
    let dir = data_dir();
    let (status, text, _) = run(dir.path(), &["export", "--format", "ndjson"]);
    assert_eq!((status, text.lines().count()), (0, 1200));
    let third: serde_json::Value =
        serde_json::from_str(text.lines().nth(2).expect("a line")).expect("JSON");
    assert_eq!(
        (&third["lsn"], &third["reason"], &third["amount_centavos"]),
        (&3.into(), &"payer_listed".into(), &1_234_503.into())
    );
    assert_eq!(
        (&third["payer"], &third["ip"]),
        (&"***.456.003-**".into(), &serde_json::Value::Null)
    );

    let out = dir.path().join("out.csv");
    let range = ["--from", "2026-11-23T09:00:00.100", "--to", "2026-11-23T12:00:00.200Z"];
    let mut arguments =
        vec!["export", "--format", "csv", "--unmask", "--out", out.to_str().expect("UTF-8")];
    arguments.extend(range);
    let (status, stdout, _) = run(dir.path(), &arguments);
    assert_eq!((status, stdout.as_str()), (0, ""));
    let mut reader = csv::Reader::from_path(&out).expect("readable");
    let headers = reader.headers().expect("a header").clone();
    let column = |name| headers.iter().position(|header| header == name).expect("a column");
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("CSV");
    assert_eq!(rows.len(), 200);
    assert_eq!(
        (&rows[0][column("lsn")], &rows[199][column("lsn")], &rows[199][column("shard")]),
        ("100", "199", "1")
    );
    assert_eq!(&rows[0][column("ip")], "203.0.113.9");
    assert!(!dir.path().join("out.partial").exists());

    let (status, _, stderr) = run(
        dir.path(),
        &["export", "--format", "csv", "--from", "2026-12-01", "--to", "2026-11-01"],
    );
    assert_eq!(status, 2);
    assert!(stderr.contains("--from lies after --to"), "{stderr}");
}

#[test]
fn export_ends_quietly_when_the_pipe_closes_and_loudly_on_damage() {
    let dir = data_dir();
    let mut child = command(dir.path(), &["export", "--format", "ndjson"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut first = [0; 10];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("a beginning");
    // The other end of the pipe is closed now, with most of 1 MB unread.
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));

    damage(dir.path(), 0, 1, |bytes| bytes[5000] ^= 1);
    let (status, text, stderr) = run(dir.path(), &["export", "--format", "ndjson"]);
    assert_eq!(status, 3);
    assert!(stderr.contains("00000001.seg offset 4096"), "{stderr}");
    assert!(text.lines().count() > 600 && text.lines().count() < 1200);
}

#[test]
fn what_was_put_aside_is_exported_too() {
    let dir = data_dir();
    let log = stream(0);
    let folder = dir.path().join("quarantine");
    fs::create_dir(&folder).expect("own");
    let kept = folder.join("shard-0000-lsn-541-600-epoch-1.blocks");
    let bytes =
        log.blocks[18..].iter().flat_map(|block| log.bytes_of(block).to_vec()).collect::<Vec<u8>>();
    fs::write(&kept, &bytes).expect("own");
    let export = ["export", "--format", "ndjson"];
    let (status, text, stderr) = run(&kept, &export);
    assert_eq!(status, 0, "{stderr}");
    let records: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 60);
    assert_eq!((&records[0]["lsn"], &records[59]["lsn"]), (&541.into(), &600.into()));
    assert_eq!(
        (&records[0]["transaction_id"], &records[0]["segment"]),
        (&"T00000541".into(), &().into())
    );
    assert!(!text.contains("12345654"), "documents are masked");

    // Cut short, spoilt, and with no key.
    fs::write(&kept, &bytes[..bytes.len() - 1]).expect("own");
    let (status, text, stderr) = run(&kept, &export);
    assert_eq!((status, text.lines().count()), (3, 30));
    assert!(
        stderr.contains("30 records written") && stderr.contains("the block is incomplete"),
        "{stderr}"
    );
    let mut spoilt = bytes;
    spoilt[600] ^= 1;
    fs::write(&kept, &spoilt).expect("own");
    let (status, text, stderr) = run(&kept, &export);
    assert_eq!((status, text.lines().count()), (3, 30), "the sound one is found behind it");
    assert!(stderr.contains("offset 0: ") && stderr.contains("check sum"), "{stderr}");
    assert_eq!(stderr.matches("offset").count(), 1, "{stderr}");
    fs::remove_file(dir.path().join("chain.key")).expect("own");
    let (status, _, stderr) = run(&kept, &export);
    assert_eq!(status, 2);
    assert!(stderr.contains("--key-file"), "{stderr}");
}

#[test]
fn the_hole_that_a_standby_left_while_it_caught_up_is_no_damage() {
    let dir = data_dir();
    let log = stream(0);
    let [hole, .., last] = log.blocks[16..] else { unreachable!("twenty blocks") };
    assert_eq!(hole.segment, last.segment, "one write is of one segment");
    damage(dir.path(), 0, hole.segment as u32, |bytes| {
        bytes[hole.offset..hole.offset + SECTOR_LEN].fill(0)
    });
    assert_eq!(run(dir.path(), &["verify"]).0, 3);
    let standby = ReplicaState::joining(2, 0, "127.0.0.1:7401".to_owned());
    let primary = Peer {
        node_id: [7; 16],
        replication_address: "127.0.0.1:7401".to_owned(),
        client_address: String::new(),
    };
    let behind = standby.following(1, primary, true, false).expect("it has seen nothing");
    state_file::save(dir.path(), &behind).expect("own");
    let (status, text, _) = run(dir.path(), &["verify"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("several blocks of one write"), "{text}");
    state_file::save(dir.path(), &behind.with_membership(1, true).expect("its epoch"))
        .expect("own");
    assert_eq!(run(dir.path(), &["verify"]).0, 3, "with the grant it is");
}
